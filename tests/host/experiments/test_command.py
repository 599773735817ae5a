"""labd experiments: what it writes, prints and refuses."""

import json

import numpy as np
import pytest

from labd_host import datasets
from labd_host.cli.main import run
from labd_host.datasets import SplitFrames
from labd_host.experiments import study_page
from labd_host.experiments.accuracy import GOLDEN, RECORD, accuracy_of
from labd_host.experiments.request import PART3
from labd_host.experiments.store import Store
from labd_host.judge.classifiers import Classifier
from labd_host.networks import trained_record
from labd_shared.dataset_table import DATASETS

STUDY = """
name = "mine"
networks = ["tfc-w1a1"]
clocks_mhz = [50, 100]
baseline = "baseline"
[[experiments]]
name = "baseline"
folding = "lab"
[[experiments]]
name = "much"
folding = "cheapest"
target_fps = 600_000
"""


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    """As on a fresh machine; nothing is compiled for the accuracy's sake. A terminal wide enough for sentences.

    No plots, which take a second each time: tests/host/experiments/test_study_page.py draws them.
    """
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(datasets, "present", lambda name: None)
    monkeypatch.setattr(study_page, "_pictures", lambda *known: [])


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(STUDY)
    return path


def test_a_study_is_done_and_told(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["experiments", str(study), "-o", str(out), "--jobs", "1"]) == 1  # one rate cannot be had
    printed, told = capsys.readouterr()
    assert "1 of 4 experiments have no result: tfc-w1a1 much" in told
    record = json.loads((out / "mine.json").read_text())
    slow, too_much, fast, much = record["outcomes"]
    assert slow["result"]["predicted"]["frames_per_s"] == pytest.approx(50e6 / 98)
    assert fast["result"]["predicted"]["frames_per_s"] == pytest.approx(100e6 / 98)
    assert too_much["result"] is None
    assert "the DMA takes 98 cycles" in too_much["fault"]
    assert much["result"]["predicted"]["interval_cycles"] <= 166
    accuracy = slow["result"]["accuracy"]
    assert (accuracy["correct"], accuracy["source"]) == (trained_record("tfc-w1a1").correct, RECORD)
    assert "baseline" in printed
    assert str(out / "mine.html") in told
    page = (out / "mine.html").read_text()
    assert "target_fps = 600_000" in page, "the study, to do it again"
    assert "the DMA takes 98 cycles" in page

    capsys.readouterr()
    assert run(["experiments", str(study), "-o", str(out), "--status"]) == 0
    states = [line.split()[3] for line in capsys.readouterr().out.splitlines()[1:]]
    assert states == ["done", "failed", "done", "done"]


def test_status_of_a_study_nobody_began_runs_nothing(study, tmp_path, capsys):
    assert run(["experiments", str(study), "-o", str(tmp_path / "out"), "--status"]) == 0
    assert capsys.readouterr().out.count("waiting") == 3
    assert not list((tmp_path / "out" / "results").iterdir())


def test_options_stand_for_a_study(tmp_path, capsys):
    out = tmp_path / "out"
    command = [
        "experiments",
        "--network",
        "tfc-w1a1",
        "--folding",
        "lab",
        "--clock-mhz",
        "50",
        "-o",
        str(out),
    ]
    assert run([*command, "--jobs", "1"]) == 0
    record = json.loads((out / "part3.json").read_text())
    (only,) = record["outcomes"]
    assert (only["experiment"]["name"], only["experiment"]["clock_mhz"]) == ("lab", 50.0)
    page = (out / "part3.html").read_text()
    assert "510,204" in page and "to do it again" not in page, "no file says what the options said"


def test_what_failed_is_tried_again_when_asked(tmp_path, capsys):
    out = tmp_path / "out"
    command = ["experiments", "--network", "tfc-w1a1", "--folding", "lab", "-o", str(out), "--jobs", "1"]
    assert run([*command, "--status"]) == 0
    assert run(command) == 0
    store = Store(out)
    (key,) = (path.stem for path in (out / "results").iterdir())
    (out / "results" / f"{key}.json").unlink()
    store.fail(key, "the roof fell in", 3)
    capsys.readouterr()
    assert run(command) == 1
    assert "the roof fell in" in "".join(capsys.readouterr())
    assert run([*command, "--again"]) == 0


def test_a_damaged_result_is_said_and_made_again(tmp_path, capsys):
    out = tmp_path / "out"
    command = ["experiments", "--network", "tfc-w1a1", "--folding", "lab", "-o", str(out), "--jobs", "1"]
    assert run(command) == 0
    (path,) = (out / "results").iterdir()
    path.write_text("{}")
    capsys.readouterr()
    assert run(command) == 0
    assert f"the result {path.stem[:12]} is damaged and is made again" in capsys.readouterr().err


def test_builds_without_vivado_are_a_sentence_and_the_rest_is_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("XILINX_VIVADO", "XILINX_HLS"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out"
    command = ["experiments", "--network", "tfc-w1a1", "--folding", "lab", "-o", str(out), "--jobs", "1"]
    assert run([*command, "--vivado", "1", "--memory-gb", "8"]) == 4
    assert "tfc-w1a1 lab was not built: a hardware build lacks vivado" in capsys.readouterr().err
    assert json.loads((out / "part3.json").read_text())["outcomes"][0]["result"]["built"] is None


def test_the_example_is_the_study_that_ships(capsys):
    assert run(["experiments", "--example"]) == 0
    assert capsys.readouterr().out == PART3.read_text()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--network", "tfc-w1a9"], 2, "no network named 'tfc-w1a9'"),
        (["--folding", "cheapest"], 2, "is for a rate"),
        (["--folding", "nothing.json"], 2, "no folding for tfc-w1a1 named"),
        (["--part", "xczu3eg"], 2, "no part named"),
        (["--memory-gb", "0.2"], 2, "hold no worker"),
        (["--board", "3"], 2, "no board"),
        (["no-such-study.toml"], 2, "does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options, code, says, tmp_path, capsys):
    command = ["experiments", "--network", "tfc-w1a1", "-o", str(tmp_path / "out")]
    assert (
        run([*command[: 1 if options[0] == "--network" else 3], *options, "-o", str(tmp_path / "out")])
        == code
    )
    assert says in capsys.readouterr().err


def test_nobody_trained_it_so_it_has_no_accuracy(monkeypatch, tmp_path):
    monkeypatch.setenv("LABD_HOME", str(tmp_path))
    assert accuracy_of("tfc-w2a2", print) is None


def test_where_the_data_is_the_golden_model_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "present", lambda name: tmp_path)
    found = SplitFrames(DATASETS["mnist"], np.zeros((10, 28, 28, 1), np.uint8), np.arange(10))
    monkeypatch.setattr(datasets, "read", lambda name, split, form: found)
    known = Classifier("tfc-w1a1", "mnist", "golden model", run=None, model=object())
    monkeypatch.setattr("labd_host.judge.classifiers.golden", lambda name, say, dataset: known)
    answers = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]]).T
    monkeypatch.setattr("labd_host.flow.kept_answers.kept_outputs", lambda model, images: answers)
    found = accuracy_of("tfc-w1a1", print)
    assert (found.percent, found.source) == (90.0, GOLDEN)
