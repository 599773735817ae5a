"""validate as a user runs it: what is counted, written, repeated and resumed."""

import csv
import json
import re
import tempfile

import numpy as np
import pytest

from labd_board import classify, session, validate
from labd_board.accelerator import Times
from labd_board.tally import Keeper, Tally
from labd_shared.arrays import load_npz, save_npz
from labd_shared.datasets import DATASETS, write_packed
from labd_shared.digest import image_digest
from labd_shared.errors import ArtifactError
from labd_shared.manifest import OutputContract
from labd_shared.predictions import load_predictions
from labd_shared.tensors import make_tensor
from support.bundles import darkness, fake_board, write_bundle
from support.facts import lacking

COUNT = 500


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Locks and unfinished runs lie in the temporary folder; each test has its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def drawn(rng, count):
    images = (rng.randint(0, 256, (count, 28, 28, 1)) * rng.rand(count, 1, 1, 1)).astype(np.uint8)
    labels = darkness(images)[:, 0].astype(np.uint8)
    labels[::5] = (labels[::5] + 1) % 10
    return images, labels


@pytest.fixture
def images(rng):
    return drawn(rng, COUNT)


@pytest.fixture
def options(tmp_path, images):
    write_packed(tmp_path / "data", DATASETS["mnist"], "test", *images)
    return ["--bundle", str(write_bundle(tmp_path / "tiny")), "--data", str(tmp_path / "data")]


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory):
    """A data set of 10,000 images and a bundle, made once; nothing writes to them."""
    root = tmp_path_factory.mktemp("ten-thousand")
    write_packed(root / "data", DATASETS["mnist"], "test", *drawn(np.random.RandomState(0), 10000))
    return ["--bundle", str(write_bundle(root / "tiny")), "--data", str(root / "data")]


@pytest.mark.parametrize("batchsize", [1, 7, 300, 1000, 10000])
def test_ten_thousand_images_are_counted_once_each(ten_thousand, tmp_path, capsys, batchsize):
    said = ["--batchsize", str(batchsize), "--json", "--predictions", str(tmp_path / "p.npz")]
    assert validate.main(ten_thousand + said, fake_board()) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["correct"], report["accuracy_percent"]) == (10000, 8000, 80.0)
    assert np.array(report["confusion"]).sum() == 10000 and np.trace(report["confusion"]) == 8000
    found = load_predictions(tmp_path / "p.npz")
    assert np.array_equal(found.row, np.arange(10000)) and (found.predicted == found.label).sum() == 8000


def test_predictions_name_every_image_by_its_digest(options, images, tmp_path):
    assert (
        validate.main(options + ["--predictions", str(tmp_path / "p.npz"), "--limit", "40"], fake_board())
        == 0
    )
    found = load_predictions(tmp_path / "p.npz")
    assert found.digest.tolist() == [image_digest(image.tobytes()) for image in images[0][:40]]
    assert found.predicted.tolist() == darkness(images[0][:40])[:, 0].tolist()
    assert found.label.tolist() == images[1][:40].tolist()
    assert (found.about["network"], found.about["dataset"], found.about["target"]) == ("tiny", "mnist", "emu")
    assert "made up by the fake" in found.about["source"] and found.scores is None and found.passes is None


def test_the_table_says_the_same_as_the_predictions(options, tmp_path):
    both = ["--predictions", str(tmp_path / "p.npz"), "--csv", str(tmp_path / "p.csv"), "--passes", "2"]
    assert validate.main(options + both, fake_board()) == 0
    found = load_predictions(tmp_path / "p.npz")
    with (tmp_path / "p.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["row"]) for row in rows] == found.row.tolist()
    assert [int(row["digest"], 16) for row in rows] == found.digest.tolist()
    assert [int(row["predicted"]) for row in rows] == found.predicted.tolist()
    assert [int(row["right"]) for row in rows] == (found.predicted == found.label).astype(int).tolist()
    assert [[int(row["pass1"]), int(row["pass2"])] for row in rows] == found.passes.T.tolist()
    assert rows[0]["label_name"] == rows[0]["label"], "digits are called by their digit"


@pytest.mark.parametrize("option", ["--predictions", "--csv"])
def test_a_result_that_cannot_be_written_is_refused_before_anything_runs(options, tmp_path, capsys, option):
    board = fake_board()
    assert validate.main(options + [option, str(tmp_path / "none" / "x")], board) == 2
    assert "none/x cannot be written" in capsys.readouterr().err and board.programmed is None


SCORES = (make_tensor("out0", "INT8", (1, 10), (1, 10, 1), "NC", "odma0"),)


def scored(images):
    """Scores whose order is known: the class of `darkness` first, then the classes after it."""
    return 100 - (np.arange(10) - darkness(images)) % 10


def test_top_5_is_counted_where_the_network_gives_scores(tmp_path, images, capsys):
    labels = (images[1].astype(int) + np.arange(COUNT) % 8).astype(np.uint8) % 10
    write_packed(tmp_path / "data", DATASETS["mnist"], "test", images[0], labels)
    bundle = write_bundle(tmp_path / "scores", model=scored, outputs=SCORES)
    said = [
        "--bundle",
        str(bundle),
        "--data",
        str(tmp_path / "data"),
        "--predictions",
        str(tmp_path / "p.npz"),
    ]
    board = fake_board(scored, session.find_bundle(str(bundle)).manifest)
    assert validate.main(said + ["--json"], board) == 0
    report = json.loads(capsys.readouterr().out)
    away = (labels.astype(int) - darkness(images[0])[:, 0]) % 10
    assert (report["correct"], report["top5_correct"]) == ((away == 0).sum(), (away < 5).sum())
    assert np.array_equal(load_predictions(tmp_path / "p.npz").scores, scored(images[0]))


class Flickering(object):
    """A model that says something else of one image in one of its calls."""

    def __init__(self, image, call):
        self.image, self.call, self.asked = image.reshape(784), call, 0

    def __call__(self, batch):
        answers = darkness(batch)
        hit = (batch == self.image).all(axis=1)
        if hit.any():
            self.asked += 1
            answers[hit] += self.asked == self.call
        return answers


def test_an_image_whose_answer_changes_between_passes_is_asked_again_alone(options, images, capsys):
    board = fake_board(Flickering(images[0][77], call=2))
    assert validate.main(options + ["--passes", "3", "--json", "--batchsize", "100"], board) == 7
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    first = int(darkness(images[0][77:78])[0, 0])
    assert report["changed"] == {
        "count": 1,
        "rerun": [
            {
                "row": 77,
                "label": int(images[1][77]),
                "passes": [first, first + 1, first],
                "alone": [first] * 3,
            }
        ],
        "steady_alone": 1,
    }
    assert lacking(captured.err, "1 of 500 images", "different answers", "3 passes", "image 77") == []
    assert [line for line in captured.err.splitlines() if line.startswith("pass ")] == [
        "pass 1 / 3", "pass 2 / 3", "pass 3 / 3",
    ]  # fmt: skip


def test_passes_that_agree_are_no_error(options, capsys):
    assert validate.main(options + ["--passes", "2", "--batchsize", "100"], fake_board()) == 0
    assert "passes      80.00 %, 80.00 %; 0 images changed their answer\n" in capsys.readouterr().out


# A killed run.


class Dies(object):
    """A model that interrupts the process in its n-th batch."""

    def __init__(self, call):
        self.call, self.seen = call, []

    def __call__(self, batch):
        self.seen.append(len(batch))
        if len(self.seen) == self.call:
            raise KeyboardInterrupt
        return darkness(batch)


def unfinished(tmp_path):
    return sorted(path.name for path in tmp_path.glob("labd-runs-*/*"))


def test_an_interrupted_run_is_resumed_with_any_batch_size_and_counts_every_image_once(
    options, tmp_path, capsys
):
    assert validate.main(options + ["--batchsize", "100"], fake_board(Dies(4))) == 130
    assert len(unfinished(tmp_path)) == 1
    capsys.readouterr()
    rest = Dies(0)
    said = ["--resume", "--batchsize", "70", "--json", "--predictions", str(tmp_path / "p.npz")]
    assert validate.main(options + said, fake_board(rest)) == 0
    captured = capsys.readouterr()
    counted = int(re.search(r"resumed: (\d+) of 500 images were counted before", captured.err).group(1))
    assert counted >= 200 and sum(rest.seen) == 500 - counted
    report = json.loads(captured.out)
    assert (report["samples"], report["correct"]) == (500, 400)
    assert (np.diff(load_predictions(tmp_path / "p.npz").row) == 1).all()
    assert unfinished(tmp_path) == [], "a finished run leaves nothing"


def test_a_second_pass_is_resumed_in_the_second_pass(options, capsys):
    assert validate.main(options + ["--batchsize", "100", "--passes", "2"], fake_board(Dies(8))) == 130
    rest = Dies(0)
    said = ["--resume", "--batchsize", "100", "--passes", "2"]
    assert validate.main(options + said, fake_board(rest)) == 0
    assert sum(rest.seen) < 500 and "passes      80.00 %, 80.00 %; 0" in capsys.readouterr().out


def test_a_run_without_resume_starts_over_and_says_so(options, capsys):
    assert validate.main(options + ["--batchsize", "100"], fake_board(Dies(4))) == 130
    whole = Dies(0)
    assert validate.main(options, fake_board(whole)) == 0
    assert "left unfinished; --resume goes on with it" in capsys.readouterr().err and sum(whole.seen) == 500


def test_resume_takes_no_other_run(options, tmp_path, capsys):
    assert validate.main(options + ["--batchsize", "100"], fake_board(Dies(4))) == 130
    other = ["--bundle", str(write_bundle(tmp_path / "other", network="other"))] + options[2:]
    assert validate.main(other + ["--resume"], fake_board()) == 0
    assert validate.main(options + ["--resume", "--limit", "450"], fake_board()) == 0
    assert capsys.readouterr().err.count("nothing to resume") == 2
    state = next(tmp_path.glob("labd-runs-*/*"))
    state.write_bytes(state.read_bytes()[:100])
    assert validate.main(options + ["--resume"], fake_board()) == 0
    assert "starting over: " in capsys.readouterr().err


def test_a_tally_is_saved_every_few_seconds_and_seldom_when_saving_is_slow(tmp_path):
    now = [0.0]
    saved = []

    class Slow(Tally):
        def save(self, path, key):
            saved.append(now[0])
            now[0] += 2.0

    keeper = Keeper(tmp_path, "0" * 64, lambda: now[0])
    for _ in range(200):
        keeper.keep(Slow(1, 10, 1, 10))
        now[0] += 0.5
    assert saved == [5.0, 47.0, 89.0], "every 2 s of saving buy 40 s of running"


@pytest.mark.parametrize(
    "about, words",
    [
        ("[" * 50000, "nested more than 32 deep"),
        ('{"key": "key", "done": 1' + "0" * 400 + ', "seconds": {}}', "more than 64 bits"),
        ('{"key": "key", "done": 4, "seconds": {"wait_s": NaN}}', "seconds.wait_s is nan"),
        ('{"key": "key", "done": 4, "seconds": {"wait_s": 1}}', "seconds.pack_s is missing"),
        ('{"key": "key", "done": "4", "seconds": {}}', "done is '4', a whole number is wanted"),
    ],
)
def test_a_damaged_tally_is_refused(tmp_path, about, words):
    Tally(1, 10, 1, 10).save(tmp_path / "t.npz", "key")
    arrays = load_npz(tmp_path / "t.npz")
    save_npz(tmp_path / "t.npz", dict(arrays, about=np.frombuffer(about.encode(), np.uint8)))
    with pytest.raises(ArtifactError, match="t.npz: .*" + words):
        Tally(1, 10, 1, 10).restore(tmp_path / "t.npz", "key")


def test_a_saved_tally_of_other_numbers_is_refused(tmp_path):
    tally = Tally(1, 10, 1, 10)
    tally.add(0, 0, np.zeros((4, 1), np.uint8), Times(*range(6)))
    tally.save(tmp_path / "t.npz", "key")
    for other, key in (
        (Tally(1, 10, 1, 10), "other"),
        (Tally(1, 9, 1, 10), "key"),
        (Tally(2, 10, 1, 10), "key"),
    ):
        with pytest.raises(ArtifactError, match="belongs to another run"):
            other.restore(tmp_path / "t.npz", key)
    again = Tally(1, 10, 1, 10)
    again.restore(tmp_path / "t.npz", "key")
    assert (again.done, again.seconds["wait_s"]) == (4, 3.0)
    assert again.passes.tolist() == [[0] * 4 + [-1] * 6]


def test_an_image_that_was_not_counted_once_never_becomes_an_accuracy():
    tally = Tally(1, 2, 1, 10)
    for _ in range(2):
        tally.add(0, 0, np.zeros((1, 1), np.uint8), Times(*range(6)))
    with pytest.raises(AssertionError, match="2 images were not counted once"):
        tally.check()


# Deadlines.


class StuckOnce(object):
    """A model that sticks the output DMA of its board in the batches *numbers*, counted from 1."""

    def __init__(self, numbers):
        self.board, self.numbers, self.seen = None, numbers, 0

    def __call__(self, batch):
        self.seen += 1
        self.board.stuck = ("odma0",) if self.seen in self.numbers else ()
        return darkness(batch)


@pytest.mark.parametrize("stuck, code", [((3,), 0), ((3, 4), 6)])
def test_with_recover_a_batch_is_repeated_once(options, capsys, stuck, code):
    model = StuckOnce(stuck)
    model.board = board = fake_board(model)
    said = ["--recover", "--batchsize", "100", "--json"]
    assert validate.main(options + said, board) == code
    captured = capsys.readouterr()
    assert "programming it again" in captured.err
    if code == 0:
        assert json.loads(captured.out)["correct"] == 400


def test_time_left_is_told_on_standard_error(options, monkeypatch, capsys):
    monkeypatch.setattr(validate, "TELL_EVERY_S", 0.0)
    assert validate.main(options + ["--batchsize", "100"], fake_board()) == 0
    captured = capsys.readouterr()
    assert re.search(r"^400 of 500 images, about \d+ s left$", captured.err, re.MULTILINE)
    assert "left" not in captured.out


def test_where_the_time_went_adds_up(options, capsys):
    assert validate.main(options + ["--json", "--batchsize", "50"], fake_board()) == 0
    report = json.loads(capsys.readouterr().out)
    assert sum(report["time_s"].values()) == pytest.approx(report["wall_s"], rel=0.05)
    assert min(report["time_s"].values()) >= 0


@pytest.mark.parametrize("command", [validate, classify])
def test_an_accelerator_that_gives_values_is_not_judged_or_asked_for_classes(
    images, tmp_path, capsys, command
):
    write_packed(tmp_path / "data", DATASETS["mnist"], "test", *images)
    contract = OutputContract("values", (0.5,), (0.0,))
    bundle = ["--bundle", str(write_bundle(tmp_path / "tiny", output_contract=contract))]
    (tmp_path / "a.npy").write_bytes(b"")
    given = ["--data", str(tmp_path / "data")] if command is validate else [str(tmp_path / "a.npy")]
    assert command.main(bundle + given, fake_board()) == 2
    assert "tiny gives 1 values for an image, not a class" in capsys.readouterr().err


def test_a_yes_or_no_is_not_judged_by_ten_classes(images, tmp_path, capsys):
    write_packed(tmp_path / "data", DATASETS["mnist"], "test", *images)
    bundle = str(write_bundle(tmp_path / "tiny", output_contract=OutputContract("sign")))
    assert validate.main(["--bundle", bundle, "--data", str(tmp_path / "data")], fake_board()) == 2
    assert "tiny gives one yes or no for an image" in capsys.readouterr().err
