"""``python3 -m labd_board.throughput``: how fast the deployed accelerator is, with where each figure comes from."""

import argparse
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from labd_board import session
from labd_board.accelerator import Accelerator, Times
from labd_board.command import Arguments, Output, positive, run
from labd_board.device import Device
from labd_shared.manifest import Manifest
from labd_shared.packing import container
from labd_shared.rates import frames_per_s
from labd_shared.statistics import percentile, spread
from labd_shared.tensors import Tensor

SWEEP = (1, 10, 100, 1000, 10000)
NEAR = 0.95  # of the expectation is what the cycle model promises
STREAMED_BATCHES = 10  # enough for double buffering to show
PARTS = ("pack_s", "flush_s", "run_s", "invalidate_s", "unpack_s")

Clock = Callable[[], float]


def throughput(
    accelerator: Accelerator,
    repeats: int = 20,
    warmup: int = 3,
    monotonic_s: Clock = time.perf_counter,
) -> Dict[str, Any]:
    """Run full batches of arbitrary frames, and single frames, and time them.

    Args:
        accelerator: Open.
        repeats: Timed runs of each.
        warmup: Runs before them that do not count.
        monotonic_s: The wall clock, for tests.

    Returns:
        JSON-able. ``accelerator_*`` is on the device's clock, whose origin ``timing`` names;
        ``end_to_end_*`` is this process's wall clock: pack, flush, run, invalidate, unpack, one after the
        other; ``streamed_*`` the same with the next batch packed beside the run where that pays;
        ``latency`` a single frame; ``finn`` has the keys of FINN's own report.
    """
    manifest = accelerator.manifest
    frames = accelerator.batch_size
    inputs = [some_frames(tensor, frames) for tensor in manifest.inputs]
    alone = _measured(accelerator, inputs, 1, repeats, warmup, monotonic_s)
    report: Dict[str, Any] = {
        "network": manifest.network,
        "target": manifest.target,
        "repeats": repeats,
        "warmup": warmup,
        "clock_requested_mhz": manifest.clock_mhz,
        "clock_mhz": accelerator.clock_mhz,
        "timing": accelerator.device.timing,
        "ceiling_frames_per_s": frames_per_s(accelerator.clock_mhz, manifest.expected.cycles_per_frame),
        "bottleneck": manifest.expected.bottleneck,
        "input_bytes_per_frame": sum(tensor.frame_bytes for tensor in manifest.inputs),
        "output_bytes_per_frame": sum(tensor.frame_bytes for tensor in manifest.outputs),
        "latency": {key: alone[key] for key in ("accelerator_s", "end_to_end_s", "expected_s")},
        "sweep": [],
        "streamed_frames_per_s": None,
        "double_buffered": False,
    }
    report.update(_measured(accelerator, inputs, frames, repeats, warmup, monotonic_s))
    if len(manifest.inputs) == 1 and len(manifest.outputs) == 1:
        report["streamed_frames_per_s"] = _streamed(accelerator, inputs[0], monotonic_s)
        report["double_buffered"] = accelerator.overlaps
    report["gap"], report["gap_reason"] = gap(report, manifest)
    report["finn"] = finn_keys(report, manifest, _fold_s(manifest, inputs, monotonic_s))
    return report


def sweep(
    accelerator: Accelerator,
    sizes: Sequence[int],
    repeats: int = 20,
    warmup: int = 3,
    monotonic_s: Clock = time.perf_counter,
) -> List[Dict[str, Any]]:
    """The same for several batch sizes, ascending; those that the accelerator's buffers do not hold are
    left out."""
    inputs = [some_frames(tensor, accelerator.batch_size) for tensor in accelerator.manifest.inputs]
    return [
        _measured(accelerator, inputs, size, repeats, warmup, monotonic_s)
        for size in sorted(set(sizes))
        if size <= accelerator.batch_size
    ]


def some_frames(tensor: Tensor, frames: int) -> np.ndarray:
    """Legal frames in the smallest type that holds them: any will do, a FINN pipeline takes the same time
    whatever flows through it."""
    datatype = tensor.datatype
    values = np.random.RandomState(0).randint(
        datatype.low, datatype.high, size=tensor.batched(tensor.normal, frames), dtype=container(datatype)
    )
    if datatype.name == "BIPOLAR":
        values[values == 0] = 1
    return values * datatype.step if datatype.fraction_bits else values


def _measured(
    accelerator: Accelerator,
    inputs: Sequence[np.ndarray],
    frames: int,
    repeats: int,
    warmup: int,
    monotonic_s: Clock,
) -> Dict[str, Any]:
    """Batches of *frames* frames, one after the other."""
    part = [images[:frames] for images in inputs]
    times: List[Times] = []
    wall_s: List[float] = []
    for repeat in range(-warmup, repeats):
        began_s = monotonic_s()
        taken = accelerator.run_once(part)
        ended_s = monotonic_s()
        if repeat >= 0:
            times.append(taken)
            wall_s.append(ended_s - began_s)
    parts = {name: spread([getattr(each, name) for each in times]) for name in PARTS}
    known = accelerator.manifest.expected.known
    expected_s = accelerator.expected_s(frames) if known else None
    return {
        "batchsize": frames,
        "accelerator_s": parts["run_s"],
        "accelerator_frames_per_s": _rate(frames, parts["run_s"]["median"]),
        "expected_s": expected_s,
        "expected_frames_per_s": None if expected_s is None else frames / expected_s,
        "end_to_end_s": spread(wall_s),
        "end_to_end_frames_per_s": _rate(frames, percentile(wall_s, 50)),
        "prepare_s": spread([each.prepare_s for each in times]),
        "finish_s": spread([each.finish_s for each in times]),
        "packing_s": parts["pack_s"],
        "copying_in_s": parts["flush_s"],
        "copying_out_s": parts["invalidate_s"],
        "unpacking_s": parts["unpack_s"],
    }


def _rate(frames: int, seconds: float) -> float:
    return frames / seconds if seconds > 0 else 0.0


class _Endless(object):
    """A data set of the same frames again and again."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self.dtype = images.dtype

    def read_into(self, start: int, out: np.ndarray) -> None:
        np.copyto(out, self._images[: len(out)].reshape(out.shape), casting="unsafe")


def _streamed(accelerator: Accelerator, images: np.ndarray, monotonic_s: Clock) -> float:
    """Frames/s of many batches, as validate runs them."""
    frames = accelerator.batch_size * STREAMED_BATCHES
    began_s = monotonic_s()
    for _ in accelerator.stream(_Endless(images), frames):
        pass
    return _rate(frames, monotonic_s() - began_s)


def gap(report: Dict[str, Any], manifest: Manifest) -> Tuple[str, str]:
    """What keeps the accelerator from being faster: a word and a sentence.

    Args:
        report: With ``accelerator_s``, ``expected_s``, ``latency`` and the clocks.
        manifest: Of the bundle.

    Returns:
        "unknown", "clock", "driver", "stalls", "DMA" or "compute", and why.
    """
    expected_s, run_s = report["expected_s"], report["accelerator_s"]["median"]
    if expected_s is None:
        return "unknown", "the network's cycles are {}".format(report["bottleneck"])
    share = expected_s / run_s if run_s > 0 else 1.0
    if share >= NEAR:
        names = [tensor.dma for tensor in manifest.inputs + manifest.outputs]
        moved = report["bottleneck"] in names
        return (
            "DMA" if moved else "compute",
            "it runs as the cycle model says; {} {}".format(
                report["bottleneck"], "cannot move more" if moved else "is the slowest layer: fold it wider"
            ),
        )
    if report["clock_mhz"] < NEAR * report["clock_requested_mhz"]:
        return "clock", "the clock is {:.2f} MHz, the bundle was built for {:.2f}".format(
            report["clock_mhz"], report["clock_requested_mhz"]
        )
    latency = report["latency"]
    call_s = max(latency["accelerator_s"]["median"] - latency["expected_s"], 0.0)
    missing_s = run_s - expected_s
    if manifest.target == "emu":  # no FIFO stalls there
        return "driver", (
            "{:.3f} ms of each batch are the driver's calls, as fast as this machine made them".format(
                1e3 * missing_s
            )
        )
    if call_s >= missing_s / 2:
        return "driver", "{:.0f} us of each batch are the driver's calls: larger batches hide them".format(
            1e6 * call_s
        )
    return "stalls", (
        "{:.3f} ms of each batch are neither the cycle model's nor the driver's calls: "
        "a FIFO too small, or the memory is busy".format(1e3 * (missing_s - call_s))
    )


def _fold_s(manifest: Manifest, inputs: Sequence[np.ndarray], monotonic_s: Clock) -> float:
    """Folding alone: a change of shape that copies nothing."""
    began_s = monotonic_s()
    for images, tensor in zip(inputs, manifest.inputs):
        images.reshape(tensor.batched(tensor.folded, len(images)))
    return monotonic_s() - began_s


def finn_keys(report: Dict[str, Any], manifest: Manifest, fold_s: float) -> Dict[str, float]:
    """The keys of FINN's own throughput test, so that people can compare.

    Unfolding is the same change of shape as folding. Ours packs into the DMA buffer, so the copy to the
    device is the flush alone, and the one back the invalidate.

    Source: Xilinx/finn 39f0c9a, driver_base.py (throughput_test).
    """
    run_s, frames = report["accelerator_s"]["median"], report["batchsize"]
    return {
        "runtime[ms]": 1e3 * run_s,
        "throughput[images/s]": report["accelerator_frames_per_s"],
        "DRAM_in_bandwidth[MB/s]": 1e-6 * _rate(report["input_bytes_per_frame"] * frames, run_s),
        "DRAM_out_bandwidth[MB/s]": 1e-6 * _rate(report["output_bytes_per_frame"] * frames, run_s),
        "fclk[mhz]": report["clock_mhz"],
        "batch_size": frames,
        "fold_input[ms]": 1e3 * fold_s,
        "pack_input[ms]": 1e3 * report["packing_s"]["median"],
        "copy_input_data_to_device[ms]": 1e3 * report["copying_in_s"]["median"],
        "copy_output_data_from_device[ms]": 1e3 * report["copying_out_s"]["median"],
        "unpack_output[ms]": 1e3 * report["unpacking_s"]["median"],
        "unfold_output[ms]": 1e3 * fold_s,
    }


def summary(report: Dict[str, Any]) -> List[str]:
    """The report for people."""
    wall = (
        "wall clock of this process"
        if report["target"] == "hw"
        else "wall clock of the emulator, not of a board"
    )
    latency = report["latency"]
    lines = [
        "{network}, batch {batchsize}, {repeats} repeats after {warmup} to warm up".format(**report),
        "  clock        {clock_mhz:.2f} MHz, requested {clock_requested_mhz:.2f}".format(**report),
        "  accelerator  {:.0f} frames/s ({}); {} a batch".format(
            report["accelerator_frames_per_s"], report["timing"], _spread_ms(report["accelerator_s"])
        ),
        _expectation(report),
        "  end to end   {:.0f} frames/s ({}); {} a batch".format(
            report["end_to_end_frames_per_s"], wall, _spread_ms(report["end_to_end_s"])
        ),
        "  bound by     {gap}: {gap_reason}".format(**report),
        "  of a batch   packing {:.3f} ms, copying in {:.3f}, copying out {:.3f}, unpacking {:.3f} ({})".format(
            *(
                [
                    1e3 * report[key]["median"]
                    for key in ("packing_s", "copying_in_s", "copying_out_s", "unpacking_s")
                ]
                + [wall]
            )
        ),
        "  one image    {} accelerator, {} end to end".format(
            _spread_ms(latency["accelerator_s"]), _spread_ms(latency["end_to_end_s"])
        ),
    ]
    if report["streamed_frames_per_s"] is not None:
        lines.append(
            "  streamed     {:.0f} frames/s ({}; {})".format(
                report["streamed_frames_per_s"],
                wall,
                "packing beside the run" if report["double_buffered"] else "one batch after the other",
            )
        )
    if report["sweep"]:
        lines.append("  frames/s at each batch size:")
        lines.append("     batch  accelerator     expected   end to end")
        lines += [
            "    {:6} {:12.0f} {:>12} {:12.0f}".format(
                row["batchsize"],
                row["accelerator_frames_per_s"],
                "unknown" if row["expected_s"] is None else "{:.0f}".format(row["expected_frames_per_s"]),
                row["end_to_end_frames_per_s"],
            )
            for row in report["sweep"]
        ]
    return lines


def _spread_ms(values: Dict[str, float]) -> str:
    return "{:.3f} ms (p5 {:.3f}, p95 {:.3f})".format(*(1e3 * values[key] for key in ("median", "p5", "p95")))


def _expectation(report: Dict[str, Any]) -> str:
    if report["expected_frames_per_s"] is None:  # imported without its network: what a DMA can move
        return "  expected     {:.0f} frames/s at most, the network's cycles are {}".format(
            report["ceiling_frames_per_s"], report["bottleneck"]
        )
    return "  expected     {:.0f} frames/s at this batch, {:.0f} at most, bound by {} (cycle model)".format(
        report["expected_frames_per_s"], report["ceiling_frames_per_s"], report["bottleneck"]
    )


def body(wanted: argparse.Namespace, device: Device, output: Output) -> None:
    """The command."""
    bundle = session.find_bundle(wanted.bundle)
    with session.held_board():
        with Accelerator(bundle, device, wanted.batchsize, say=output.progress) as accelerator:
            report = throughput(accelerator, wanted.repeats, wanted.warmup)
        if wanted.sweep:
            with Accelerator(bundle, device, max(wanted.sweep), say=output.progress) as accelerator:
                report["sweep"] = sweep(accelerator, wanted.sweep, wanted.repeats, wanted.warmup)
    for line in summary(report):
        output.line(line)
    output.result(report)


def sizes(text: str) -> Tuple[int, ...]:
    """Batch sizes with commas between them, for argparse."""
    return tuple(positive(part) for part in text.split(","))


def main(argv: Optional[List[str]] = None, device: Optional[Device] = None) -> int:
    """Run the command; the exit code."""
    parser = Arguments(
        "throughput", "How fast the deployed accelerator is, and where each figure comes from."
    )
    parser.add_batchsize()
    parser.add_argument("--repeats", type=positive, default=20, metavar="N", help="timed runs")
    parser.add_argument(
        "--warmup", type=positive, default=3, metavar="N", help="runs before them that do not count"
    )
    parser.add_argument(
        "--sweep",
        type=sizes,
        nargs="?",
        const=SWEEP,
        default=(),
        metavar="N,N,...",
        help="these batch sizes, too; without a list {}".format(",".join(map(str, SWEEP))),
    )
    return run(parser, body, argv, device)


if __name__ == "__main__":
    sys.exit(main())
