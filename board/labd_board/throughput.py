"""``python3 -m labd_board.throughput``: how fast the deployed accelerator is, with where each figure comes from."""

import argparse
import sys
import time
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from labd_board import session
from labd_board.accelerator import Accelerator
from labd_board.command import Arguments, Output, positive, run
from labd_board.device import Device
from labd_shared.statistics import percentile, spread


def throughput(
    accelerator: Accelerator,
    repeats: int = 20,
    warmup: int = 3,
    monotonic_s: Callable[[], float] = time.perf_counter,
) -> Dict[str, Any]:
    """Run full batches of arbitrary frames and time them.

    Args:
        accelerator: Open.
        repeats: Timed runs.
        warmup: Runs before them that do not count.
        monotonic_s: The wall clock, for tests.

    Returns:
        JSON-able. ``accelerator_*`` is on the device's clock, whose origin ``timing`` names;
        ``end_to_end_*`` is this process's wall clock: pack, flush, run, invalidate, unpack.
    """
    manifest = accelerator.manifest
    source = manifest.inputs[0]
    datatype = source.datatype
    frames = accelerator.batch_size
    # Any legal frames will do: a FINN pipeline takes the same time whatever flows through it.
    values = np.random.RandomState(0).randint(
        datatype.low, datatype.high, size=source.batched(source.normal, frames)
    )
    images = np.where(values == 0, datatype.low, values) if datatype.name == "BIPOLAR" else values
    if datatype.name == "UINT8":
        images = images.astype(np.uint8)
    run_s, wall_s, prepare_s, finish_s = [], [], [], []  # type: List[float], List[float], List[float], List[float]
    for repeat in range(-warmup, repeats):
        began_s = monotonic_s()
        times = accelerator.run_once(images)
        ended_s = monotonic_s()
        if repeat >= 0:
            run_s.append(times.run_s)
            prepare_s.append(times.prepare_s)
            finish_s.append(times.finish_s)
            wall_s.append(ended_s - began_s)
    expected_s = accelerator.expected_s(frames) if manifest.expected.known else None
    median_s = percentile(run_s, 50)
    return {
        "network": manifest.network,
        "target": manifest.target,
        "batchsize": frames,
        "repeats": repeats,
        "warmup": warmup,
        "clock_requested_mhz": manifest.clock_mhz,
        "clock_mhz": accelerator.clock_mhz,
        "timing": accelerator.device.timing,
        "accelerator_s": spread(run_s),
        "accelerator_frames_per_s": frames / median_s if median_s > 0 else 0.0,
        "expected_s": expected_s,
        "expected_frames_per_s": None if expected_s is None else frames / expected_s,
        "ceiling_frames_per_s": accelerator.clock_mhz * 1e6 / manifest.expected.cycles_per_frame,
        "bottleneck": manifest.expected.bottleneck,
        "end_to_end_s": spread(wall_s),
        "end_to_end_frames_per_s": frames / percentile(wall_s, 50),
        "prepare_s": spread(prepare_s),
        "finish_s": spread(finish_s),
        "input_bytes_per_frame": source.frame_bytes,
        "output_bytes_per_frame": manifest.outputs[0].frame_bytes,
    }


def summary(report: Dict[str, Any]) -> List[str]:
    """The report in a few lines for people."""
    wall = (
        "wall clock of this process"
        if report["target"] == "hw"
        else "wall clock of the emulator, not of a board"
    )
    return [
        "{network}, batch {batchsize}, {repeats} repeats after {warmup} to warm up".format(**report),
        "  clock        {clock_mhz:.2f} MHz, requested {clock_requested_mhz:.2f}".format(**report),
        "  accelerator  {:.0f} frames/s ({}); {:.3f} ms a batch, p5 {:.3f}, p95 {:.3f}".format(
            report["accelerator_frames_per_s"],
            report["timing"],
            *(1e3 * report["accelerator_s"][key] for key in ("median", "p5", "p95")),
        ),
        _expectation(report),
        "  end to end   {:.0f} frames/s ({})".format(report["end_to_end_frames_per_s"], wall),
    ]


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
    with session.held_board(), Accelerator(bundle, device, wanted.batchsize) as accelerator:
        report = throughput(accelerator, wanted.repeats, wanted.warmup)
    for line in summary(report):
        output.line(line)
    output.result(report)


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
    return run(parser, body, argv, device)


if __name__ == "__main__":
    sys.exit(main())
