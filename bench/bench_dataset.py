"""MNIST's and CIFAR-10's test set on the board side: CPU time and memory of streaming them from their
packed cache, the batch buffer of 1,000 images included.

Measured in fresh interpreters of the host environment; the board's code runs there as it does on a
board. A data set that is not on this machine is skipped by name.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from measure import figure

from labd_host import datasets
from labd_shared.datasets import DATASETS, write_packed
from labd_shared.errors import DataMissing

# VmHWM, not ru_maxrss: that one begins with what the parent had when it forked.
PEAK = """
def peak_kb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
"""
BARE = (
    PEAK
    + """
import json
import numpy as np
print(json.dumps({"kb": peak_kb()}))
"""
)
STREAMING = (
    PEAK
    + """
import json, sys, time
import numpy as np
from labd_shared.datasets import open_packed
buffer = np.empty((1000, int(sys.argv[3])), np.uint8)
began_s = time.process_time()
with open_packed(sys.argv[1], sys.argv[2], "test") as dataset:
    for start in range(0, dataset.count, 1000):
        dataset.read_into(start, buffer)
spent_s = time.process_time() - began_s
print(json.dumps({"kb": peak_kb(), "ms": 1e3 * spent_s}))
"""
)
RUNS = 15
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


def run(code: str, *arguments: str, compiled: str) -> dict[str, float]:
    """What a fresh interpreter prints, as data; *compiled* is where it keeps compiled modules.

    A deploy compiles what it installs, so no board compiles while it streams; neither does this.
    """
    surroundings = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    surroundings.pop("PYTHONDONTWRITEBYTECODE", None)
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
        env=surroundings,
    )
    return dict(json.loads(ended.stdout))


def measured(name: str, root: str) -> list[bool]:
    """Whether each goal of one data set was reached; none where it is not on this machine."""
    try:
        images, labels = datasets.load(name, "test")
    except DataMissing as missing:
        sys.stderr.write(f"skipped {name}: {missing}\n")
        return []
    write_packed(root, DATASETS[name], "test", images, labels)
    compiled = root + "/compiled"
    streaming = (STREAMING, root, name, str(images[0].size))
    run(*streaming, compiled=compiled)
    bare = statistics.median(run(BARE, compiled=compiled)["kb"] for _ in range(RUNS))
    streamed = [run(*streaming, compiled=compiled) for _ in range(RUNS)]
    spent_ms = statistics.median(each["ms"] for each in streamed)
    peak = statistics.median(each["kb"] for each in streamed)
    title = TITLES[name]
    return [
        figure(f"{title} test set from its cache, CPU", spent_ms, "ms", "<= 10"),
        figure(f"{title} test set, peak memory above numpy", (peak - bare) / 1024, "MB", "<= 4"),
    ]


def main() -> int:
    with tempfile.TemporaryDirectory() as root:
        reached = [each for name in TITLES for each in measured(name, root)]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
