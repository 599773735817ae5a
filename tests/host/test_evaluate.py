"""`labd evaluate`: what a network scores before any board."""

import json

import pytest

from labd_host.cli.main import run
from labd_host.networks import trained_onnx
from support.paths import SHIPPED_BUNDLE


def evaluated(arguments, capsys):
    assert run(["evaluate", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)[0]


def test_export_and_golden_model_are_right_about_the_same_number_of_images(mnist_test, capsys):
    export, golden = evaluated(["tfc-w1a1"], capsys), evaluated([str(SHIPPED_BUNDLE)], capsys)
    assert (export["computed_by"], golden["computed_by"]) == ("onnxruntime", "golden model")
    assert export["correct"] == golden["correct"] >= 9200 and export["samples"] == golden["samples"] == 10000


def test_a_file_is_measured_on_the_data_set_it_is_given(mnist_test, capsys):
    wanted = evaluated(["tfc-w1a1", "--limit", "500"], capsys)["correct"]
    for path in (trained_onnx("tfc-w1a1"), SHIPPED_BUNDLE / "network.npz"):
        row = evaluated([str(path), "--dataset", "mnist", "--limit", "500"], capsys)
        assert (row["correct"], row["samples"]) == (wanted, 500)


def test_the_line_for_people_says_by_what_it_was_computed(mnist_test, capsys):
    assert run(["evaluate", str(SHIPPED_BUNDLE), "--limit", "100"]) == 0
    assert "of 100 mnist test images, 95 % interval" in (said := capsys.readouterr().out)
    assert "(bundle tfc-w1a1, golden model," in said


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["tfc-w1a"], 2, "did you mean 'tfc-w1a1'?"),
        (["tfc-w1a1", "--dataset", "mnits"], 2, "did you mean 'mnist'?"),
        ([str(SHIPPED_BUNDLE / "network.npz")], 2, "--dataset mnist"),
        (["nothing.onnx", "--dataset", "mnist"], 5, "nothing.onnx"),
    ],
)
def test_what_cannot_be_measured_says_why(arguments, code, words, capsys):
    assert run(["evaluate", *arguments]) == code
    assert words in capsys.readouterr().err
