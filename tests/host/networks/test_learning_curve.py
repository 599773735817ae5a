"""The learning curve: read from the log a training leaves, drawn, and drawn the same again."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from labd_host.networks.learning_curve import CURVE_FILE, write_learning_curve
from labd_host.networks.training_log import best_epoch, read_log
from labd_shared.errors import ArtifactError
from support.paths import ROOT

# Epochs 5 to 7 of a real training of cnv-w1a1, with the entries labd writes; and a tie after them.
ENTRIES = [
    {
        "epoch": 1,
        "loss": 1.2002,
        "train_percent": 58.09,
        "validation_percent": 58.88,
        "learning_rate": 0.0049,
    },
    {
        "epoch": 2,
        "loss": 1.1335,
        "train_percent": 60.32,
        "validation_percent": 58.56,
        "learning_rate": 0.0048,
    },
    {"epoch": 3, "loss": 1.0770, "train_percent": 62.44, "validation_percent": 63.6, "learning_rate": 0.0047},
    {"epoch": 4, "loss": 1.0256, "train_percent": 64.17, "validation_percent": 63.6, "learning_rate": 0.0046},
]


def texts(path):
    return [
        "".join(each.itertext()) for each in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    ]


def line_points(path):
    """Points of every line of the plot, as drawn: SVG's y grows downwards."""
    found = []
    for each in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}path"):
        if "stroke-width: 1.5" in each.get("style", "") and each.get("clip-path"):
            words = each.get("d").replace("M", "").replace("L", "").split()
            found.append([float(word) for word in words[1::2]])
    return found


def test_the_curve_shows_both_accuracies_the_loss_and_the_best_epoch(tmp_path):
    (tmp_path / "log.json").write_text(json.dumps(ENTRIES))
    path = write_learning_curve(tmp_path, "cnv-w1a1")
    assert path == tmp_path / CURVE_FILE
    said = texts(path)
    assert "Training of cnv-w1a1" in said
    assert "best: epoch 4, 63.60 % (exported)" in said
    training, validation, loss = (points for points in line_points(path) if len(points) == len(ENTRIES))
    assert training == sorted(training, reverse=True), "accuracy rises"
    assert validation[1] > validation[0] > validation[2] == validation[3]
    assert loss == sorted(loss), "the loss falls"
    first = path.read_bytes()
    write_learning_curve(tmp_path, "cnv-w1a1")
    assert path.read_bytes() == first
    assert {each.name for each in tmp_path.iterdir()} == {"log.json", CURVE_FILE}


def test_before_an_epoch_has_ended_there_is_nothing_to_draw(tmp_path):
    assert write_learning_curve(tmp_path, "cnv-w1a1") is None
    (tmp_path / "log.json").write_text("[]")
    assert write_learning_curve(tmp_path, "cnv-w1a1") is None


def test_of_equal_epochs_the_last_is_the_best(tmp_path):
    (tmp_path / "log.json").write_text(json.dumps(ENTRIES))
    assert best_epoch(read_log(tmp_path / "log.json")).number == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "log.json: not JSON: Expecting property name"),
        ('[{"epoch": 1}]', r"log.json: \[0\].loss is missing"),
        ("[1]", r"log.json: \[0\] is 1, an object is wanted"),
        (json.dumps(ENTRIES[1:]), r"log.json: \[0\].epoch is 2, 1 \(epochs count from 1\) is wanted"),
        (json.dumps(ENTRIES).replace("1.2002", "NaN"), r"log.json: \[0\].loss is nan, a finite number"),
        (json.dumps(ENTRIES).replace("58.09", "580.9"), r"train_percent is 580.9, a number from 0 to 100"),
        (json.dumps(ENTRIES).replace("0.0049", "-1"), r"learning_rate is -1, a number from 0 on is wanted"),
        (
            json.dumps(ENTRIES).replace("0.0049", "1" + "0" * 400),
            "log.json: not JSON: the number 1000.* 64 bits",
        ),
        (
            json.dumps(ENTRIES).replace('"loss"', '"epoch"'),
            "log.json: not JSON: the key 'epoch' stands twice",
        ),
        ("[" * 10_000, "log.json: lists and objects are nested more than 32 deep"),
    ],
)
def test_a_damaged_log_is_named(tmp_path, text, says):
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(ArtifactError, match=says):
        write_learning_curve(tmp_path, "cnv-w1a1")


def test_labd_starts_without_matplotlib():
    code = "import sys, labd_host.cli.main, labd_host.cli.train, labd_host.networks.learning_curve; "
    code += "sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
