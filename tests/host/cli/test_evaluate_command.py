"""`labd evaluate`: what a trained export scores in floating point."""

import json

import numpy as np
import pytest

from labd_host.cli.main import run
from labd_host.networks import trained_onnx, trained_record
from labd_host.networks.exported import ExportedModel
from support.paths import SHIPPED_BUNDLE


def evaluated(arguments, capsys):
    assert run(["evaluate", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_export_is_as_good_as_its_record_says(mnist_test, capsys):
    report, record = evaluated(["tfc-w1a1"], capsys), trained_record("tfc-w1a1")
    assert (report["correct"], report["samples"]) == (record.correct, record.samples)
    assert (report["network"], report["source"], report["target"]) == ("tfc-w1a1", "onnxruntime", "host")


def test_a_file_is_measured_on_the_data_set_it_is_given(mnist_test, capsys):
    wanted = evaluated(["tfc-w1a1", "--limit", "500"], capsys)["correct"]
    path = trained_onnx("tfc-w1a1")
    report = evaluated([str(path), "--dataset", "mnist", "--limit", "500"], capsys)
    assert (report["correct"], report["samples"]) == (wanted, 500)


def test_the_five_best_of_the_export_count_for_its_top_five(mnist_test, capsys):
    images, labels = mnist_test
    logits = ExportedModel(trained_onnx("tfc-w1a1")).run(images[:300])
    better = (logits > logits[np.arange(300), labels[:300]][:, None]).sum(axis=1)
    assert evaluated(["tfc-w1a1", "--limit", "300"], capsys)["top5_correct"] == (better < 5).sum()


def test_the_line_for_people_says_by_what_it_was_computed(mnist_test, capsys):
    assert run(["evaluate", "tfc-w1a1", "--limit", "100"]) == 0
    assert "of 100 mnist test images, 95 % interval" in (said := capsys.readouterr().out)
    assert "(tfc-w1a1, onnxruntime," in said


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["tfc-w1a1x"], 2, "did you mean 'tfc-w1a1'?"),
        (["tfc-w1a1", "--dataset", "mnits"], 2, "did you mean 'mnist'?"),
        ([str(SHIPPED_BUNDLE)], 2, f"labd validate {SHIPPED_BUNDLE}"),
        ([str(SHIPPED_BUNDLE / "network.npz")], 2, "is a golden model, not an export"),
        (["nothing.onnx", "--dataset", "mnist"], 5, "nothing.onnx"),
    ],
)
def test_what_cannot_be_measured_says_why(arguments, code, words, capsys):
    assert run(["evaluate", *arguments]) == code
    assert words in capsys.readouterr().err
