"""``python3 -m labd_board.selftest``: does this board compute exactly what the golden model does?"""

import argparse
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

import numpy as np

from labd_board import session
from labd_board.accelerator import Accelerator
from labd_board.command import Arguments, Output, positive, run
from labd_board.device import Device
from labd_shared.bundle import Golden, load_golden
from labd_shared.errors import (
    AnswersVary,
    DmaTimeout,
    FifoStuck,
    GoldenMismatch,
    InputStuck,
    NoGoldenSamples,
    OtherNetwork,
    OutputStuck,
    PreparationWrong,
    ResultError,
    StaleAnswers,
)
from labd_shared.packing import pack_tensor, unpack_tensor


class SampleBatch(NamedTuple):
    """One batch of golden samples and what came of it."""

    number: int  # of the pass
    how: str
    group: np.ndarray  # which samples
    answers: np.ndarray
    before: np.ndarray  # what the same places of the output buffer held from batches before; NaN: nothing


def selftest(accelerator: Accelerator, golden: Golden, passes: int = 3) -> Dict[str, Any]:
    """Run the golden samples *passes* times: in order, each alone, and backwards in odd batches.

    Designs exist that answer rightly once and wrongly afterwards (finn#796), so the samples are
    repeated and interleaved, with one accelerator that stays loaded. When an answer differs, all are
    run to the end, and what they have in common says which part is wrong.

    Returns:
        JSON-able counts.

    Raises:
        PreparationWrong: packing on this machine does not keep the samples: the data preparation.
        StaleAnswers: answers of a batch before: the hardware, or a buffer that was not brought up to date.
        AnswersVary: a sample gets different answers: the hardware.
        OtherNetwork: most answers are steadily wrong: the bundle.
        GoldenMismatch: a few answers are steadily wrong: the bitfile.
    """
    frames = len(golden.images)
    check_preparation(accelerator, golden.images)
    backwards = np.arange(frames)[::-1]
    orders = (
        ("in one batch", [np.arange(frames)]),
        ("one by one", [np.array([index]) for index in range(frames)]),
        ("backwards in threes", [backwards[start : start + 3] for start in range(0, frames, 3)]),
    )
    seen: List[SampleBatch] = []
    buffer = np.full((frames,) + golden.outputs.shape[1:], np.nan)
    for number in range(1, passes + 1):
        for how, groups in orders:
            for group in groups:
                answers = accelerator.run(golden.images[group])
                seen.append(SampleBatch(number, how, group, answers, buffer[: len(group)].copy()))
                buffer[: len(group)] = answers
    if any(_wrong(each, golden).any() for each in seen):
        raise verdict(seen, golden)
    return {
        "network": accelerator.manifest.network,
        "target": accelerator.manifest.target,
        "samples": frames,
        "passes": passes,
        "compared": sum(len(each.group) for each in seen),
        "different": 0,
        "clock_mhz": accelerator.clock_mhz,
    }


def check_preparation(accelerator: Accelerator, images: np.ndarray) -> None:
    """See to it that this machine packs the samples so that unpacking gives them back.

    Raises:
        PreparationWrong: it does not.
    """
    source = accelerator.manifest.inputs[0]
    contract = accelerator.manifest.input_contract
    values: np.ndarray = images
    if contract.kind == "scaled":
        values = images * np.float32(contract.scale) + np.float32(contract.offset)
    back = unpack_tensor(pack_tensor(values, source), source)
    wrong = (back != values).reshape(len(images), -1).any(axis=1)
    if wrong.any():
        raise PreparationWrong(
            "golden sample {} does not survive packing as {} and unpacking: the data preparation on this "
            "machine is wrong, numpy {}".format(
                int(np.flatnonzero(wrong)[0]), source.datatype.name, np.__version__
            ),
            fix="deploy again, so that labd's own code is whole: fab deploy --board NN --bundle DIR",
        )


def probed(accelerator: Accelerator, image: np.ndarray, error: InputStuck) -> DmaTimeout:
    """Which side is stuck when the input is not taken in: everything behind it may be full.

    One frame alone, after programming again, has room inside and tells.

    Args:
        accelerator: On which *error* happened; it is programmed again.
        image: One frame.
        error: What `selftest` raised.
    """
    accelerator.recover()
    try:
        accelerator.run(image)
    except OutputStuck:
        return OutputStuck(
            error.what + "; one frame alone is taken in and never comes out, so the output side is stuck: a "
            "FIFO inside is dead, or the output DMA does not run",
            fix="build or deploy the bundle again; if it stays, build it with larger FIFOs",
            **error.facts,
        )
    except DmaTimeout:
        return InputStuck(
            error.what + "; one frame alone is not taken in either, so it is the input DMA",
            fix="build or deploy the bundle again: the input side of this bitfile does not run",
            **error.facts,
        )
    return FifoStuck(
        error.what + "; one frame alone goes through, so a FIFO is too small for more",
        fix="build it with larger FIFOs",
        **error.facts,
    )


def _wrong(each: SampleBatch, golden: Golden) -> np.ndarray:
    """Which samples of the batch got another answer than the golden model's."""
    differs: np.ndarray = (
        (each.answers != golden.outputs[each.group]).reshape(len(each.group), -1).any(axis=1)
    )
    return differs


def verdict(seen: Sequence[SampleBatch], golden: Golden) -> ResultError:
    """The error for answers of which at least one is wrong: what they have in common names the culprit."""
    first = next(each for each in seen if _wrong(each, golden).any())
    place = int(np.flatnonzero(_wrong(first, golden))[0])
    sample = int(first.group[place])
    what = "golden sample {} gave {}, the golden model says {} (pass {}, {}; {} of {} in that batch differ)".format(
        sample,
        first.answers[place].reshape(-1)[:10].tolist(),
        golden.outputs[sample].reshape(-1)[:10].tolist(),
        first.number,
        first.how,
        int(_wrong(first, golden).sum()),
        len(first.group),
    )
    facts = {"sample": sample, "passes": first.number}
    if _all_stale(seen, golden):
        return StaleAnswers(
            what + ": every wrong answer is the one of the batch before, so the hardware did not write, or "
            "the processor did not see what it wrote",
            fix="fab deploy again, then selftest; if it stays, the image's cache handling: use image 3.0 or 3.1",
            **facts,
        )
    answers: Dict[int, Set[bytes]] = {}
    for each in seen:
        for index, answer in zip(each.group.tolist(), each.answers):
            answers.setdefault(index, set()).add(answer.tobytes())
    varying = [index for index in sorted(answers) if len(answers[index]) > 1]
    if varying:
        return AnswersVary(
            what
            + ": {} of {} samples get different answers to the same input, so the hardware is wrong, "
            "sample {} first".format(len(varying), len(answers), varying[0]),
            fix="timing or a FIFO: build for a lower clock, and look at the slack: labd inspect BUNDLE",
            **facts,
        )
    wrong = {int(index) for each in seen for index in each.group[_wrong(each, golden)]}
    if 2 * len(wrong) > len(answers):  # of ten classes another network hits one in ten by chance
        return OtherNetwork(
            what
            + ": {} of {} samples are wrong, the same way each time, so the bundle is wrong: its bitfile "
            "computes something else than its golden samples".format(len(wrong), len(answers)),
            fix="build or import the bundle again, bitfile and network together; then fab deploy",
            **facts,
        )
    return GoldenMismatch(
        what
        + ": {} of {} samples are wrong, the same way each time, so neither timing nor data "
        "preparation: the bitfile computes them wrongly".format(len(wrong), len(answers)),
        fix="build or deploy the bundle again; labd compile proves every stage of the network",
        **facts,
    )


def _all_stale(seen: Sequence[SampleBatch], golden: Golden) -> bool:
    """Whether every wrong answer stood at its place in the output buffer before the batch was run.

    An accelerator that always says the same does that, too: so there must be different ones.
    """
    found = set()
    for each in seen:
        wrong = _wrong(each, golden)
        known = ~np.isnan(each.before.reshape(len(each.group), -1)).any(axis=1)
        same = (each.before == each.answers).reshape(len(each.group), -1).all(axis=1)
        if (wrong & known & ~same).any():
            return False
        found |= {answer.tobytes() for answer in each.answers[wrong & same]}
    return len(found) > 1


def body(wanted: argparse.Namespace, device: Device, output: Output) -> None:
    """The command."""
    bundle = session.find_bundle(wanted.bundle)
    golden = load_golden(bundle)
    if not len(golden.images):
        raise NoGoldenSamples(
            "the bundle of {} has no golden samples: nothing proves what this board computes".format(
                bundle.manifest.network
            ),
            fix="import it again with its network: labd import PATH --network-file network.npz -o BUNDLE",
        )
    with session.held_board(), Accelerator(
        bundle, device, len(golden.images), say=output.progress
    ) as accelerator:
        try:
            report = selftest(accelerator, golden, wanted.passes)
        except InputStuck as error:
            raise probed(accelerator, golden.images[:1], error) from error
    output.line(
        "{network}: {samples} golden samples, {compared} answers in {passes} passes, all bit-exact".format(
            **report
        )
    )
    output.result(report)


def main(argv: Optional[List[str]] = None, device: Optional[Device] = None) -> int:
    """Run the command; the exit code."""
    parser = Arguments("selftest", "Does this board compute exactly what the golden model does?")
    parser.add_argument(
        "--passes", type=positive, default=3, metavar="N", help="how often each sample is run"
    )
    return run(parser, body, argv, device)


if __name__ == "__main__":
    sys.exit(main())
