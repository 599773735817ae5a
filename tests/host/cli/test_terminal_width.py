"""Tables of every command: whole at 80 columns, and not folded in a pipe."""

import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest

from labd.shown import PIPE_WIDTH
from support.paths import SHIPPED_BUNDLE
from support.patience import PATIENCE_S

COLUMNS = 80
BUNDLE = str(SHIPPED_BUNDLE)
COMMANDS = {
    "networks": (["networks"], ["network", "data set", "layers", "trained"]),
    "estimate": (
        ["estimate", "cnv-w1a1", "--folding", "lab"],
        ["node", "PE", "SIMD", "cycles", "restart", "share"],
    ),
    "simulate": (
        ["simulate", "cnv-w1a1", "--folding", "lab", "--frames", "2"],
        ["node", "work", "starve", "block", "FIFO", "depth", "most"],
    ),
    "explore": (["explore", "cnv-w1a1", "--fastest"], ["layer", "PE", "SIMD", "LUT"]),
    "frontier": (["explore", "tfc-w1a1", "--frontier"], ["cycles", "frames/s", "LUT", "FF"]),
    "inspect": (["inspect", BUNDLE], ["golden samples", "predictions"]),
    "doctor": (["doctor"], []),
    "boards": (["boards"], ["03"]),
    "validate": (["validate", BUNDLE, "--limit", "50"], []),
}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


def in_a_terminal(arguments, environment):
    """What the command draws on a terminal of `COLUMNS` columns, without colours: lines."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "labd_host.cli.main", *arguments],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, env=environment,
    ) as child:  # fmt: skip
        os.close(theirs)
        told = b""
        try:
            while block := os.read(ours, 1 << 16):
                told += block
        except OSError:  # EIO: nobody holds the other end any more
            pass
        child.wait(PATIENCE_S)
    os.close(ours)
    return ESCAPES.sub("", told.decode("utf-8")).replace("\r", "").splitlines()


@pytest.fixture
def environment(labd_home):
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    return {**kept, "TERM": "xterm", "LABD_HOME": str(labd_home)}


def is_prose(line):
    """A sentence or one long value (a digest), which the terminal itself folds; a table's row has several cells."""
    return len(re.split(r" {2,}|[│┃]", line.strip())) <= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_a_table_is_whole_at_80_columns(name, environment, request):
    if name == "validate":
        request.getfixturevalue("mnist_folder")
    arguments, shown = COMMANDS[name]
    lines = in_a_terminal(arguments, environment)
    text = "\n".join(lines)
    assert "…" not in text, "nothing is cut off"
    wide = [line for line in lines if len(line) > COLUMNS and not is_prose(line)]
    assert not wide, "no row of a table is folded by the terminal"
    for heading in shown:
        assert heading in text, f"the column {heading} is there"


@pytest.mark.parametrize("name", ["networks", "estimate", "explore", "doctor"])
def test_a_pipe_gets_every_row_in_one_line(name, environment):
    arguments, shown = COMMANDS[name]
    ended = subprocess.run(
        [sys.executable, "-m", "labd_host.cli.main", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        timeout=PATIENCE_S, check=False, text=True,
    )  # fmt: skip
    assert "…" not in ended.stdout
    narrow = in_a_terminal(arguments, environment)
    assert len(ended.stdout.splitlines()) <= len(narrow)
    assert all(len(line) <= PIPE_WIDTH or is_prose(line) for line in ended.stdout.splitlines())
    assert all(heading in ended.stdout for heading in shown)
