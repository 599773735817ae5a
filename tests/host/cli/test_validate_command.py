"""`labd validate`: what a board would score, on the host, in a board's words."""

import json

import numpy as np
import pytest

from labd.accuracy_score import Score
from labd_host.cli.main import run
from labd_host.golden.golden_model import GoldenModel
from labd_host.judge.classifiers import Classifier, Said, golden
from labd_host.judge.scoring import scored
from labd_host.networks import trained_record
from labd_shared.datasets import DATASETS
from labd_shared.digest import image_digest
from labd_shared.errors import UsageError
from labd_shared.predictions import load_predictions
from labd_shared.score import score_lines
from support.cifar_files import split_of, write_official
from support.paths import SHIPPED_BUNDLE

CIFAR100 = DATASETS["cifar100"]


def validated(arguments, capsys):
    assert run(["validate", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    """A small CIFAR-100 in LABD_DATASETS: its images and labels."""
    write_official(tmp_path / "cifar100", "cifar100")
    monkeypatch.setenv("LABD_DATASETS", str(tmp_path))
    return split_of("cifar100", "test")


def ranking(images, classes, entering=None):
    """A network of tests: scores that follow from the image's digest."""
    scores = np.array(
        [np.random.RandomState(image_digest(i.tobytes()) % 2**32).permutation(classes) for i in images]
    )
    return Said(np.argsort(-scores, axis=1)[:, :5], scores.astype(np.int64))


def test_the_report_counts_what_a_board_s_does(cifar100):
    images, labels = cifar100
    ticks = iter([10.0, 12.5])
    report = scored(
        Classifier("digest", "cifar100", "a test", ranking), monotonic_s=lambda: next(ticks)
    ).report
    best = ranking(images, 100).best
    assert report["samples"] == len(labels) == 20
    assert report["correct"] == sum(best[row][0] == labels[row] for row in range(20))
    assert report["top5_correct"] == sum(labels[row] in best[row] for row in range(20))
    coarse = [CIFAR100.coarse_of[best[row][0]] == CIFAR100.coarse_of[labels[row]] for row in range(20)]
    assert report["coarse_correct"] == sum(coarse)
    assert np.array(report["confusion"]).sum() == 20 and len(report["per_class"]) == 100
    assert report["wall_s"] == 2.5
    assert (report["target"], report["source"]) == ("host", "a test")


def test_predictions_are_kept_image_by_image(cifar100):
    images, labels = cifar100
    kept = scored(Classifier("digest", "cifar100", "a test", ranking), limit=7).predictions
    assert kept.row.tolist() == list(range(7))
    assert kept.label.tolist() == labels[:7].tolist()
    assert kept.digest.tolist() == [image_digest(image.tobytes()) for image in images[:7]]
    assert np.array_equal(kept.scores.argmax(axis=1), kept.predicted)
    assert kept.about["dataset"] == "cifar100"


def test_a_network_that_nobody_knows_needs_its_data_set():
    with pytest.raises(UsageError, match="the data set of mine is not known") as caught:
        scored(Classifier("mine", None, "a test", ranking))
    assert "--dataset" in caught.value.fix


def test_the_golden_model_s_best_is_the_label_the_accelerator_gives(mnist_test):
    images, _ = mnist_test
    said = golden(str(SHIPPED_BUNDLE), print).run(images[:500], 10)
    answers = GoldenModel.load(SHIPPED_BUNDLE / "network.npz").run(images[:500]).outputs[0]
    assert np.array_equal(said.best[:, 0], answers[:, 0])
    assert said.best.shape == (500, 5) and said.scores.shape == (500, 10)


def test_a_bundle_a_network_file_and_their_record_agree(mnist_test, capsys, tmp_path):
    of_bundle = validated([str(SHIPPED_BUNDLE), "--predictions", str(tmp_path / "p.npz")], capsys)
    of_file = validated([str(SHIPPED_BUNDLE / "network.npz"), "--dataset", "mnist"], capsys)
    record = trained_record("tfc-w1a1")
    assert (of_bundle["correct"], of_bundle["samples"]) == (record.correct, record.samples)
    assert {**of_bundle, "wall_s": 0} == {**of_file, "wall_s": 0}
    kept = load_predictions(tmp_path / "p.npz")
    assert (kept.predicted == kept.label).sum() == record.correct


def test_the_report_has_the_keys_and_the_words_of_a_board_s(mnist_test, capsys):
    ours = validated([str(SHIPPED_BUNDLE), "--limit", "50"], capsys)
    shared = {"network", "dataset", "split", "target", "samples", "correct", "accuracy_percent", "timing"}
    shared |= {"interval95_percent", "top5_correct", "coarse_correct", "per_class", "confusion", "batchsize"}
    shared |= {"clock_mhz", "clock_requested_mhz", "accelerator_s", "prepare_s", "finish_s", "wall_s"}
    shared |= {"passes", "accuracy_percent_by_pass", "changed", "agreement", "time_s", "double_buffered"}
    assert shared <= set(ours)
    told = Score(ours, "golden model").lines()
    assert told[0] == "tfc-w1a1 on mnist (test split, target host)"
    assert told[1:-1] == score_lines(ours), "the board tells these as well"
    assert told[-1].startswith("  end to end  ") and "golden model, wall clock of this machine" in told[-1]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["tfc-w1a1x"], 2, "did you mean 'tfc-w1a1'?"),
        (["model.onnx"], 5, "there is no model model.onnx"),
        ([str(SHIPPED_BUNDLE), "--dataset", "mnits"], 2, "did you mean 'mnist'?"),
        (["nothing.npz", "--dataset", "mnist"], 2, "there is no nothing.npz"),
    ],
)
def test_what_cannot_be_validated_says_why(arguments, code, words, capsys):
    assert run(["validate", *arguments]) == code
    assert words in capsys.readouterr().err


def test_predictions_that_cannot_be_written_are_said_so(mnist_test, capsys, tmp_path):
    wanted = str(tmp_path / "nowhere" / "p.npz")
    assert run(["validate", str(SHIPPED_BUNDLE), "--limit", "10", "--predictions", wanted]) == 2
    assert "p.npz cannot be written" in capsys.readouterr().err


def test_a_network_of_the_table_is_compiled_once(mnist_test, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path / "cache"))
    first = validated(["tfc-w1a1", "--limit", "200"], capsys)
    assert [path.name for path in (tmp_path / "cache" / "golden").glob("*/*")] == ["network.npz"]
    assert run(["validate", "--json", "tfc-w1a1", "--limit", "200"]) == 0
    again = capsys.readouterr()
    assert again.err == "", "the second time nothing is compiled"
    assert json.loads(again.out)["confusion"] == first["confusion"]
    assert validated([str(SHIPPED_BUNDLE), "--limit", "200"], capsys)["confusion"] == first["confusion"]
