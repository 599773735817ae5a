"""The commands as a user types them, in a home of the tests' own."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from labd_host.virtual_board import board_state
from support.paths import ROOT

BOARD = "61"
COMMAND_S = 120.0


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


class Shell:
    """Types commands in *home*, standard input closed."""

    def __init__(self, home: Path, data: Path) -> None:
        self.home = home
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("host", "board", "shared")),
            "LABD_HOME": str(home),
            "LABD_CACHE": str(home / "cache"),
            "LABD_STAGES": str(home / "stages"),
            "LABD_CONFIG": str(home / "config"),
            "LABD_DATASETS": str(data),
            "https_proxy": "http://127.0.0.1:9",  # nothing is fetched in a test
        }

    def _run(self, *command: str, **variables: str) -> Said:
        began_s = time.monotonic()
        ended = subprocess.run(
            command, env={**self.environment, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=COMMAND_S, cwd=self.home, check=False,
        )  # fmt: skip
        return Said(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - began_s)

    def labd(self, *arguments: str, **variables: str) -> Said:
        return self._run(sys.executable, "-m", "labd_host.cli.main", *arguments, **variables)

    def fab(self, *arguments: str, **variables: str) -> Said:
        return self._run(sys.executable, "-m", "fabric", "--search-root", str(ROOT), *arguments, **variables)

    def current(self, board: str = BOARD) -> str:
        """The release a board has."""
        running = board_state.load(board)
        return str((running.root / "home" / "xilinx" / "labd" / "current").readlink())
