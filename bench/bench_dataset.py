"""The MNIST test set on the board side: CPU time and memory of streaming it from its packed cache.

Measured in fresh interpreters of the host environment; the board's code runs there as it does on a
board. Skipped by name where MNIST is not on this machine.
"""

import json
import subprocess
import sys
import tempfile

from measure import figure

from labd_host import datasets
from labd_shared.datasets import write_packed
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
buffer = np.empty((1000, 784), np.uint8)
began_s = time.process_time()
with open_packed(sys.argv[1], "mnist", "test") as dataset:
    for start in range(0, dataset.count, 1000):
        dataset.read_into(start, buffer)
spent_s = time.process_time() - began_s
print(json.dumps({"kb": peak_kb(), "ms": 1e3 * spent_s}))
"""
)
RUNS = 7


def run(code: str, *arguments: str) -> dict[str, float]:
    """What a fresh interpreter prints, as data."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True, timeout=60
    )
    return dict(json.loads(ended.stdout))


def main() -> int:
    try:
        images, labels = datasets.load("mnist", "test")
    except DataMissing as missing:
        sys.stderr.write(f"skipped: {missing}\n")
        return 0
    with tempfile.TemporaryDirectory() as root:
        write_packed(root, "mnist", "test", images, labels)
        bare = min(run(BARE)["kb"] for _ in range(RUNS))
        streamed = [run(STREAMING, root) for _ in range(RUNS)]
    middle = sorted(each["ms"] for each in streamed)[RUNS // 2]
    peak = sorted(each["kb"] for each in streamed)[RUNS // 2]
    reached = [
        figure("MNIST test set from its cache, CPU", middle, "ms", "<= 10"),
        figure("MNIST test set, peak memory above numpy", (peak - bare) / 1024, "MB", "<= 10"),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
