"""``python3 -m labd_board.selftest``: does this board compute exactly what the golden model does?"""

import argparse
import sys
from typing import Any, Dict, List, Optional

import numpy as np

from labd_board import session
from labd_board.accelerator import Accelerator
from labd_board.command import Arguments, Output, positive, run
from labd_board.device import Device
from labd_shared.bundle import Golden, load_golden
from labd_shared.errors import GoldenMismatch, NoGoldenSamples


def selftest(accelerator: Accelerator, golden: Golden, passes: int = 3) -> Dict[str, Any]:
    """Run the golden samples *passes* times: in order, each alone, and backwards in odd batches.

    Designs exist that answer rightly once and wrongly afterwards (finn#796), so the samples are
    repeated and interleaved, with one accelerator that stays loaded.

    Returns:
        JSON-able counts.

    Raises:
        GoldenMismatch: an answer differs; the sentence says in which pass and for which sample.
    """
    frames = len(golden.images)
    backwards = np.arange(frames)[::-1]
    orders = (
        ("in one batch", [np.arange(frames)]),
        ("one by one", [np.array([index]) for index in range(frames)]),
        ("backwards in threes", [backwards[start : start + 3] for start in range(0, frames, 3)]),
    )
    compared = 0
    for number in range(1, passes + 1):
        for how, groups in orders:
            for group in groups:
                answers = accelerator.run(golden.images[group])
                wrong = (answers != golden.outputs[group]).reshape(len(group), -1).any(axis=1)
                if wrong.any():
                    raise _mismatch(group, answers, golden, wrong, how, number)
                compared += len(group)
    return {
        "network": accelerator.manifest.network,
        "target": accelerator.manifest.target,
        "samples": frames,
        "passes": passes,
        "compared": compared,
        "different": 0,
        "clock_mhz": accelerator.clock_mhz,
    }


def _mismatch(
    group: np.ndarray, answers: np.ndarray, golden: Golden, wrong: np.ndarray, how: str, number: int
) -> GoldenMismatch:
    first = int(np.flatnonzero(wrong)[0])
    sample = int(group[first])
    return GoldenMismatch(
        "golden sample {} gave {}, the golden model says {} (pass {}, {}; {} of {} in that batch differ)".format(
            sample,
            answers[first].reshape(-1)[:10].tolist(),
            golden.outputs[sample].reshape(-1)[:10].tolist(),
            number,
            how,
            int(wrong.sum()),
            len(group),
        ),
        fix="the packed input is the same for every board, so suspect the bitfile: build or deploy the bundle again",
        sample=sample,
        passes=number,
    )


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
    with session.held_board(), Accelerator(bundle, device, len(golden.images)) as accelerator:
        report = selftest(accelerator, golden, wanted.passes)
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
