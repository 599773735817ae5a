"""The distribution `labd-board`: labd_board and labd_shared in one pure wheel.

Python 3.6 and numpy 1.16 are the floor (PYNQ 2.5 and 2.6). numpy and pynq come with the image, so
nothing is declared: the board installs this wheel with --no-index --no-deps.
"""

from pathlib import Path

from setuptools import setup

SHARED = Path(__file__).resolve().parent.parent / "shared" / "labd_shared"

setup(
    name="labd-board",
    version="0.1.0",
    description="Runs FINN accelerators on a PYNQ-Z2: driver, validate, throughput, selftest",
    license="BSD-3-Clause",
    python_requires=">=3.6",
    packages=["labd_board", "labd_shared"],
    package_dir={"labd_board": "labd_board", "labd_shared": "../shared/labd_shared"},
)
