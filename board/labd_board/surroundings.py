"""What a board's process needs around it, checked and put right before pynq is imported.

A command over SSH or under sudo has neither the image's virtual environment nor its variables, and
pynq then fails in words that name neither. Importing it takes seconds, so this comes before.

Source: PYNQ v2.5 to v3.1, sdbuild/packages (pynq_venv.sh, xrt_setup.sh, boardname.sh, sudoers).
"""

import importlib.util
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import List, MutableMapping, NamedTuple, Optional

from labd_shared.errors import PermissionMissing, SetupError

VENV = "usr/local/share/pynq-venv/bin/python3"  # images 2.7 and later
XRT = "usr/lib/libxrt_core.so"
BOARD_NAME = "proc/device-tree/chosen/pynq_board"
DEFAULT_BOARD = "Pynq-Z2"


class Surroundings(NamedTuple):
    """Of one process.

    Attributes:
        machine: "armv7l" on a board.
        user_id: 0 for root.
        variables: The environment; what lacks is put into it.
        root: "/".
        command: What was typed after ``python3``: ["-m", "labd_board.validate", "--dataset", "mnist"].
        has_pynq: Whether this Python could import pynq.
    """

    machine: str
    user_id: int
    variables: MutableMapping[str, str]
    root: Path
    command: List[str]
    has_pynq: bool


def own() -> Surroundings:
    """This process's."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    started = ["-m", main.name] if main is not None else [sys.argv[0]]
    return Surroundings(
        platform.machine(),
        os.geteuid(),
        os.environ,
        Path("/"),
        started + sys.argv[1:],
        importlib.util.find_spec("pynq") is not None,
    )


def right_command(around: Surroundings) -> str:
    """What to type instead, the same command as root, in the image's Python, with its variables."""
    python = "/" + VENV if (around.root / VENV).exists() else "python3"
    wanted = ["sudo", "env", "XILINX_XRT=/usr", "BOARD=" + _board(around), python] + around.command
    return " ".join(shlex.quote(word) for word in wanted)


def prepare(around: Surroundings) -> None:
    """Set the variables that pynq reads, and refuse what cannot work.

    Raises:
        SetupError: this Python has no pynq.
        PermissionMissing: on a board, not as root.
    """
    if not around.has_pynq:
        raise SetupError(
            "pynq is not installed in this Python ({}, {})".format(sys.executable, platform.python_version()),
            fix="use the image's own: " + right_command(around),
        )
    if not around.machine.startswith("arm"):
        return  # no Zynq: a virtual board, whose pynq needs none of this
    if around.user_id != 0:
        raise PermissionMissing(
            "this process runs as user id {}, programming the logic needs root".format(around.user_id),
            fix=right_command(around),
        )
    around.variables.setdefault("BOARD", _board(around))
    if (around.root / XRT).exists():
        around.variables.setdefault("XILINX_XRT", "/usr")


def _board(around: Surroundings) -> str:
    try:
        name: Optional[str] = (around.root / BOARD_NAME).read_text().strip("\0\n ")
    except OSError:
        name = None
    return name or around.variables.get("BOARD") or DEFAULT_BOARD
