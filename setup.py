"""The distribution `labd`: the host side. The board side is board/setup.py (`labd-board`).

finn-plus is not declared: its pins cannot be resolved beside ours (DESIGN.md, Environments), so
`labd_host.environments` installs it in two steps.
"""

import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class BuildWithBoardWheel(build_py):
    """Puts the wheel that `fab deploy` sends to boards into the package; a checkout makes its own."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "labd_host" / "remote" / "wheel"
            pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
            subprocess.run([*pip, "--wheel-dir", str(target), str(HERE / "board")], check=True, timeout=300)


setup(
    name="labd",
    version="0.1.0",
    description="From a quantized neural network to a proven FINN accelerator on a PYNQ-Z2",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    cmdclass={"build_py": BuildWithBoardWheel},
    packages=find_packages("host"),
    package_dir={"": "host"},
    package_data={
        "labd": ["py.typed"],
        "labd_host": ["py.typed"],
        "labd_host.environments": ["*.txt", "*.sh"],
        "labd_host.experiments": ["*.toml"],
        "labd_host.explore": ["*.json"],
        "labd_host.networks": ["*.toml", "trained/*"],
        "labd_host.remote": ["*.toml"],
        "labd_host.simulate": ["*.js"],
    },
    install_requires=[
        "labd-board==0.1.0",  # labd_shared, which both ends speak
        "numpy>=2.4",
        "onnx==1.21.0",  # what finn-plus 1.6.1 and qonnx 1.0.0 agree on
        "onnxruntime==1.25.1",  # the exported network's own arithmetic, to compare with
        "click>=8.1.8,<9",  # the command line; finn-plus pins it below 9
        "rich>=13.9,<14",  # tables and progress
        "fabric>=3.2.3,<4",  # the tasks
        "invoke>=2.2.1,<3",
        "paramiko>=5.0.1,<6",  # CVE-2026-44405 below 5
        "asyncssh>=2.24,<3",  # the virtual board's SSH server
        "numba>=0.68,<0.69",  # compiles the golden model; its kernels use numba's and llvmlite's builders
        "pyyaml>=6.0.3,<7",  # FINN's build configurations
        "pooch>=1.9",  # downloads with a pinned checksum
        "submitit>=1.5.4,<2",  # hands experiments to Slurm
        "scipy>=1.16",  # least squares of the calibration
        "matplotlib>=3.10,<4",  # the learning curve, pictures of simulated runs
    ],
    extras_require={"train": ["torch==2.13.0", "brevitas==0.13.4"]},
    entry_points={"console_scripts": ["labd = labd_host.cli.main:main"]},
)
