"""With an .onnx and an .npz only: to a validated virtual board, by the commands and the Python lines of the page."""

import json
import re

import numpy as np
import pytest

from labd_host.cli.main import run
from support.own_networks import CLASSES, write_mlp
from support.paths import ROOT

pytestmark = pytest.mark.slow
BOARD = "67"
FRAMES = 50


@pytest.fixture
def mine(labd_home, board_python, tmp_path, monkeypatch, rng):
    """A network and data in a folder of their own, and a virtual board."""
    from labd_host.virtual_board import board_root, board_state

    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    if not (board_state.folder(BOARD) / "root").exists():
        board_root.prepare(board_state.folder(BOARD) / "root", board_python)
    write_mlp("MODEL.onnx", (1, 3, 12, 12), quantiser=(8, 1 / 128), spread=15.0)
    images = rng.randint(0, 256, (FRAMES, 12, 12, 3))
    np.savez("digits.npz", images=images, labels=rng.randint(0, CLASSES, FRAMES))
    return images


def test_the_commands_of_the_page_end_on_a_validated_board(mine, capsys):
    page = (ROOT / "docs" / "own-data.md").read_text()
    commands = re.findall(r"^    labd (.*)$", page, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["build", "deploy"]
    for command in commands:
        assert run(command.replace("03", BOARD).split()) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    golden, board = re.findall(r"(\d+\.\d+) % on 50|Final accuracy: (\d+\.\d+)", said)
    assert float(golden[0]) == float(board[1])


def test_the_python_lines_of_the_page_do_the_same(mine, capsys):
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-data.md").read_text(), re.DOTALL)
    named = {}
    exec(compile(lines.replace('"03"', f'"{BOARD}"'), "own-data.md", "exec"), named)
    accuracy = named["bundle"].manifest.accuracy
    assert float(capsys.readouterr().out.splitlines()[-1]) == accuracy.top1_percent
    assert accuracy.samples == FRAMES and named["bundle"].manifest.dataset == "digits"


def test_a_board_validates_other_data_of_this_machine_and_random_ones(mine, capsys):
    assert run(["build", "MODEL.onnx", "--dataset", "random", "--folding", "auto"]) == 0
    assert run(["deploy", "--board", BOARD, "--validate"]) == 0
    said = capsys.readouterr().out
    assert "accuracy not measured" in said and "not judged: the data set has no labels" in said
    options = ["validate", "--board", BOARD, "--json", "--dataset"]
    assert run([*options, "npz:digits.npz"]) == 0
    report = json.loads(capsys.readouterr().out)["boards"][0]["result"]["report"]
    assert (report["dataset"], report["samples"]) == ("digits", FRAMES)
    np.savez("first.npz", images=mine.transpose(0, 3, 1, 2), labels=np.zeros(FRAMES))
    with pytest.raises(SystemExit, match="5"):
        run([*options, "npz:first.npz"])
    told = json.loads(capsys.readouterr().out)["boards"][0]["error"]
    assert "(50, 3, 12, 12), channels first" in told["what"] and "(n, 12, 12, 3)" in told["what"]
