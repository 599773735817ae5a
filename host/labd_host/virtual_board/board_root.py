"""The file system of a virtual board with the light body: a folder, a home, and a Python of its own.

The Python is a thin virtual environment over the shared board environment, so that `fab setup` can
write its labd.pth into this board only. It is made in about a tenth of a second.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from labd_host.virtual_board.board_env.labd_virtual_board.link import VARIABLE
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import SetupError

USER = "xilinx"
VENV = Path("usr/local/share/pynq-venv")
DEVICE_PACKAGE = Path(__file__).parent / "board_env" / "labd_virtual_board"
PTH_LINE = f"import os; os.environ.get({VARIABLE!r}) and __import__('labd_virtual_board.hook')"
SETUPTOOLS_PTH = "distutils-precedence.pth"
SOURCE = "labd-made-from"  # in the board's site-packages: the Python its environment was made from
VENV_TIMEOUT_S = 60
THREADS = "2"  # a Zynq-7000 has two cores: numpy must not start one thread for each of the host's


def prepare(root: Path, board_python: Path) -> Path:
    """Make or repair a board's folder.

    Args:
        root: What is / on a board.
        board_python: The Python of the finished board environment.

    Returns:
        The board's own Python.

    Raises:
        SetupError: the virtual environment cannot be made.
    """
    (root / "home" / USER).mkdir(parents=True, exist_ok=True)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc" / "labd-board").write_text(f"board=Pynq-Z2\npart={PYNQ_Z2_PART}\nbody=light\n")
    python = root / VENV / "bin" / "python3"
    shared = site_packages(board_python)
    own = root / VENV / "lib" / shared.parent.name / "site-packages"
    if not (python.exists() and own.is_dir() and _is_of(root / VENV, board_python)):
        shutil.rmtree(root / VENV, ignore_errors=True)
        _make_venv(root / VENV, board_python)
    shim = shared / SETUPTOOLS_PTH  # .pth files are obeyed in one's own site-packages only
    lines = [str(shared), *(shim.read_text().splitlines() if shim.is_file() else []), PTH_LINE]
    (own / "labd_virtual_board.pth").write_text("\n".join(lines) + "\n")
    shutil.rmtree(own / DEVICE_PACKAGE.name, ignore_errors=True)
    shutil.copytree(DEVICE_PACKAGE, own / DEVICE_PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (own / SOURCE).write_text(str(board_python))
    return python


def _is_of(venv: Path, board_python: Path) -> bool:
    return any(path.read_text() == str(board_python) for path in venv.glob(f"lib/*/site-packages/{SOURCE}"))


def site_packages(python: Path) -> Path:
    """The site-packages of a virtual environment.

    Raises:
        SetupError: there is none.
    """
    found = sorted(python.parent.parent.glob("lib/python3.*/site-packages"))
    if not found:
        raise SetupError(f"{python} is no Python of a virtual environment", fix="make it again: make setup")
    return found[-1]


def _make_venv(venv: Path, board_python: Path) -> None:
    command = [str(board_python), "-m", "venv", "--without-pip", str(venv)]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VENV_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{board_python} did not make {venv}: {error}", fix="make setup") from error
    if result.returncode:
        raise SetupError(
            f"{board_python} did not make {venv} (exit {result.returncode}): {result.stderr.strip()[-300:]}",
            fix="make the board environment again: make setup",
        )


def home(root: Path) -> Path:
    """The home of user xilinx, where a login starts."""
    return root / "home" / USER


def environment(root: Path, logic_folder: Path) -> dict[str, str]:
    """The variables a command on the board sees: nothing of the caller's but its language."""
    return {
        "HOME": str(home(root)),
        "USER": USER,
        "LOGNAME": USER,
        "SHELL": "/bin/bash",
        "BOARD": "Pynq-Z2",
        "PATH": f"{root / VENV / 'bin'}:/usr/bin:/bin",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TERM": os.environ.get("TERM", "dumb"),
        "OMP_NUM_THREADS": THREADS,
        "OPENBLAS_NUM_THREADS": THREADS,
        VARIABLE: str(logic_folder),
    }
