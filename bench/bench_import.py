"""Importing the board's runtime, without pynq, beside importing numpy: what each command pays before it works.

Measured in fresh interpreters of the host environment, in pairs; compiled modules are there, as after a deploy.
"""

import os
import statistics
import subprocess
import sys
import tempfile

from measure import figure

PAIRS = 15
SPENT = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
NUMPY = "import numpy"
RUNTIME = "import labd_board.validate, labd_board.pynq_device"


def spent_s(what: str, compiled: str) -> float:
    """CPU seconds of a statement in a fresh interpreter."""
    surroundings = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    surroundings.pop("PYTHONDONTWRITEBYTECODE", None)
    ended = subprocess.run(
        [sys.executable, "-c", SPENT.format(what)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
        env=surroundings,
    )
    return float(ended.stdout)


def main() -> int:
    with tempfile.TemporaryDirectory() as compiled:
        spent_s(RUNTIME, compiled)
        ratios = [spent_s(RUNTIME, compiled) / spent_s(NUMPY, compiled) for _ in range(PAIRS)]
    return 0 if figure("importing the runtime", statistics.median(ratios), "x numpy", "<= 1.3") else 1


if __name__ == "__main__":
    sys.exit(main())
