"""`make demo` without the installations, on this machine: the whole road in at most 120 s."""

import subprocess
import sys
import tempfile
import time

from measure import figure

from labd_host import datasets
from labd_shared.errors import DataMissing


def main() -> int:
    try:
        datasets.find("mnist")
    except DataMissing as missing:
        sys.stderr.write(f"skipped: {missing}\n")
        return 0
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [sys.executable, "-m", "labd_host.cli.main", "demo", "--board", "97", "-o", out],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=600,
        )
    return 0 if figure("labd demo, environments there", time.monotonic() - began_s, "s", "<= 120") else 1


if __name__ == "__main__":
    sys.exit(main())
