"""Runs programs in a board's Python, with the programmable logic in the test's own process."""

import contextlib
import json
import subprocess

from labd_host.virtual_board import board_root
from labd_host.virtual_board.contiguous_memory import ContiguousMemory
from labd_host.virtual_board.logic import ProgrammableLogic
from labd_host.virtual_board.logic_server import serving

TIMEOUT_S = 60


class BoardWithoutSsh:
    """A board's folder and its logic."""

    def __init__(self, folder, logic, python):
        self.folder, self.logic = folder, logic
        self.root = folder / "root"
        self.python = board_root.prepare(self.root, python)

    def environment(self):
        """The variables of a command on the board."""
        return board_root.environment(self.root, self.folder / "logic")

    def start(self, program, *arguments, environment=None):
        """A running Python on the board: *program* is its arguments, ["-c", code] or [file]."""
        return subprocess.Popen(
            [str(self.python), "-W", "ignore", *map(str, program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=board_root.home(self.root),
            env=self.environment() if environment is None else environment,
        )

    def run(self, code, *arguments, environment=None):
        """What *code* printed, as JSON."""
        process = self.start(["-c", code], *arguments, environment=environment)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert output, f"the program printed nothing; its standard error:\n{errors}"
        return json.loads(output)


@contextlib.contextmanager
def board_without_ssh(folder, python):
    """A `BoardWithoutSsh` whose logic answers as long as the context lasts."""
    logic = ProgrammableLogic(ContiguousMemory())
    with serving(folder / "logic", logic):
        yield BoardWithoutSsh(folder, logic, python)
