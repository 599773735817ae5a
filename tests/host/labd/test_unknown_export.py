"""An exported model that is in no network table goes wherever one of labd's own goes."""

import json
import shutil
from pathlib import Path

import pytest

import labd
from labd_host.cli.main import run
from labd_host.networks import trained_onnx
from labd_shared.errors import UsageError

ACCURACY = 93.55  # tfc-w1a1 on MNIST's test split, as its record says


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A copy of TFC under a name that labd does not know, and a cache of its own."""
    folder = tmp_path_factory.mktemp("mine")
    shutil.copy(trained_onnx("tfc-w1a1"), folder / "mine.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_CACHE", str(folder / "cache"))
        patch.setenv("LABD_STAGES", str(folder / "stages"))
        patch.chdir(folder)
        yield "mine.onnx"


@pytest.fixture(autouse=True)
def its_stages(mine, monkeypatch):
    """Every test here uses what the one before it proved."""
    monkeypatch.setenv("LABD_STAGES", str(Path.cwd() / "stages"))


def told(capsys, *arguments):
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "command",
    [["estimate", "--folding", "auto"], ["simulate", "--folding", "auto"], ["explore", "--frontier"]],
    ids=" ".join,
)
def test_its_foldings_are_those_of_the_same_network_by_name(mine, command, capsys):
    ours, theirs = (told(capsys, command[0], what, *command[1:]) for what in (mine, "tfc-w1a1"))
    text = json.dumps(ours).replace("mine", "tfc-w1a1")
    assert _without_kinds(text) == _without_kinds(json.dumps(theirs))


def _without_kinds(text):
    """FINN chooses RTL or HLS for the folding that a compile has; the table's layers are HLS."""
    return text.replace("_rtl_", "_hls_").replace("_rtl", "_hls")


def test_it_is_validated_by_its_golden_model(mine, mnist_folder, capsys):
    assert told(capsys, "validate", mine, "--dataset", "mnist")["accuracy_percent"] == ACCURACY


def test_without_a_data_set_it_is_explored_but_not_judged(mine, capsys):
    assert labd.load(mine).explore(target_fps=1000).frames_per_s >= 1000
    assert run(["validate", mine]) == 2
    assert "--dataset mnist" in capsys.readouterr().err


def test_it_is_built_and_what_is_left_is_taken_wherever_the_model_is(mine, mnist_folder, capsys, tmp_path):
    net = labd.load(mine, dataset="mnist")
    design = net.compile(out=tmp_path / "stages")
    bundle = design.build(out=tmp_path / "bundle")
    assert (bundle.manifest.network, bundle.manifest.dataset) == ("mine", "mnist")
    assert bundle.manifest.accuracy.top1_percent == ACCURACY
    again = labd.load(tmp_path / "stages")
    assert again.network.dataset == "mnist", "the folder knows what it was compiled for"
    assert again.validate(limit=100).samples == 100
    for what in (tmp_path / "stages", tmp_path / "bundle"):
        assert told(capsys, "estimate", str(what)) == told(capsys, "estimate", mine, "--folding", "auto")


def test_a_study_takes_it(mine, mnist_folder, capsys, tmp_path):
    out = tmp_path / "study"
    arguments = ["experiments", "--network", mine, "--network", "tfc-w1a1", "--dataset", "mnist"]
    assert run([*arguments, "--folding", "fastest", "-o", str(out)]) == 0, capsys.readouterr().err
    rows = json.loads((out / "part3.json").read_text())["outcomes"]
    mine_row, table_row = rows
    assert (
        mine_row["result"]["simulated"]["interval_cycles"]
        == table_row["result"]["simulated"]["interval_cycles"]
    )
    assert mine_row["result"]["accuracy"] == table_row["result"]["accuracy"]
    assert mine_row["result"]["accuracy"]["correct"] == 9355


def test_a_file_that_is_not_there_is_named(mine, capsys):
    for command in ("estimate", "validate", "explore", "compile", "build", "evaluate"):
        assert run([command, "none.onnx"]) in (2, 5)
        assert "none.onnx" in capsys.readouterr().err


def test_a_build_asks_for_the_data_set(mine, tmp_path):
    with pytest.raises(UsageError, match="data set is not known"):
        labd.load(mine).compile(out=tmp_path / "stages")
