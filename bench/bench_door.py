"""The Python door: `import labd` beside `import numpy`, and a network's second command beside its first.

CPU time of fresh processes of the host environment. The second command is in another folder and finds the
stages that the first one proved in the user's cache; `labd compile` of the network whose stages take longest.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import figure

PAIRS = 9
NETWORK = "cnv-w1a1"
SPENT = "import time; began = time.process_time(); {}; print(time.process_time() - began)"


def spent_s(what: str) -> float:
    """CPU seconds of a statement in a fresh interpreter."""
    ended = subprocess.run(
        [sys.executable, "-c", SPENT.format(what)], stdout=subprocess.PIPE, check=True, timeout=60
    )
    return float(ended.stdout)


def compiled_s(out: Path, stages: Path) -> float:
    """CPU seconds of a compile and all it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "labd_host.cli.main", "compile", NETWORK, "-o", str(out)],
        env={**os.environ, "LABD_STAGES": str(stages)},
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
        first = compiled_s(Path(folder) / "first", Path(folder) / "stages")
        second = compiled_s(Path(folder) / "second", Path(folder) / "stages")
    good &= figure(f"second compile of {NETWORK} in another folder", second / first, "x the first", "<= 0.25")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
