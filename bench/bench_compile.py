"""labd compile: CPU time and memory of a whole compilation, proof included, and of a second one into the same
folder with only the folding changed.

Each in a fresh interpreter, start-up counted, on real images; CPU time, since FINN computes on one core. A
network whose data set is not on this machine is skipped by name.
"""

import os
import subprocess
import sys
import tempfile

from measure import figure

from labd_host import datasets, networks
from labd_shared.errors import DataMissing

# network -> CPU seconds that the first run may take, frames a second of the second run's folding
RUNS = {"tfc-w1a1": (60, 500_000), "cnv-w1a1": (180, 2_000), "vgg9-w1a1": (180, 2_000)}
CHANGED_S, PEAK_MB = 10, 3000
DEADLINE_S = 1800


def run(*arguments: str) -> tuple[float, float]:
    """CPU seconds and peak megabytes of a ``labd compile``."""
    command = [sys.executable, "-m", "labd_host.cli.main", "compile", *arguments]
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2, timeout=1800); "
    )
    code += "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    code += "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    ended = subprocess.run(
        [sys.executable, "-c", code, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=DEADLINE_S + 10,
        env=os.environ,
    )
    spent_s, peak_mb = map(float, ended.stdout.split())
    return spent_s, peak_mb


def measured(network: str) -> list[bool]:
    """Whether each goal of one network was reached; none where its data set is not on this machine."""
    try:
        datasets.load(networks.network(network).dataset, "test")
    except DataMissing as missing:
        sys.stderr.write(f"skipped {network}: {missing}\n")
        return []
    most_s, frames_per_s = RUNS[network]
    with tempfile.TemporaryDirectory() as folder:
        first_s, peak_mb = run(network, "--folding", "lab", "-o", folder)
        second_s, _ = run(network, "--target-fps", str(frames_per_s), "-o", folder)
    return [
        figure(f"{network} compiled and proven, CPU", first_s, "s", f"<= {most_s}"),
        figure(f"{network} with another folding, CPU", second_s, "s", f"<= {CHANGED_S}"),
        figure(f"{network} compiled, over another folding", first_s / second_s, "x", ">= 1"),
        figure(f"{network} compiled, peak memory", peak_mb, "MB", f"<= {PEAK_MB}"),
    ]


def main() -> int:
    reached = [each for network in RUNS for each in measured(network)]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
