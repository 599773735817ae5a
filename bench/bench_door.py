"""The Python door: `import labd` beside `import numpy`, and a network's second command beside its first.

CPU time of fresh processes of the host environment. The first command is `labd compile` of the network whose
stages take longest; the others are in folders of their own and find what it proved in the user's cache. `build`
and `experiments` also classify the whole test split, draw samples and simulate.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import figure

from labd_host.machine import places

PAIRS = 9
NETWORK = "cnv-w1a1"
SECOND = (
    ("compile", NETWORK),
    ("build", NETWORK),
    ("experiments", "--network", NETWORK, "--folding", "lab"),
)
SPENT = "import time; began = time.process_time(); {}; print(time.process_time() - began)"


def spent_s(what: str) -> float:
    """CPU seconds of a statement in a fresh interpreter."""
    ended = subprocess.run(
        [sys.executable, "-c", SPENT.format(what)], stdout=subprocess.PIPE, check=True, timeout=60
    )
    return float(ended.stdout)


def command_s(arguments: Sequence[str], folder: Path, out: str) -> float:
    """CPU seconds of a labd command and all it starts; stages and golden models are kept in *folder*."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "labd_host.cli.main", *arguments, "-o", str(folder / out)],
        env={**os.environ, "LABD_STAGES": str(folder / "stages"), "LABD_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=600,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    ratios = [spent_s("import labd") / spent_s("import numpy") for _ in range(PAIRS)]
    good = figure("import labd", statistics.median(ratios), "x numpy", "<= 2")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        kernels = place / "cache" / "kernels"
        kernels.parent.mkdir()
        kernels.symlink_to(places.cache() / "kernels")  # compiled once a machine: no part of a proof
        first = command_s(["compile", NETWORK], place, "first")
        for command in SECOND:
            second = command_s(command, place, command[0])
            good &= figure(
                f"{command[0]} of {NETWORK} after its compile", second / first, "x the compile", "<= 0.25"
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
