"""validate, throughput, selftest and info as a user runs them, on the fake board."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from labd_board import info, selftest, session, throughput, validate
from labd_shared.datasets import DATASETS, write_packed
from labd_shared.errors import GoldenMismatch, OutputStuck
from labd_shared.statistics import percentile, wilson_interval
from labd_shared.wire import find_error
from support.bundles import darkness, fake_board, without_golden, write_bundle
from support.facts import lacking


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    """Outside a release the board's lock lies in the temporary folder; each test has its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def images(rng):
    return (rng.randint(0, 256, (1000, 28, 28, 1)) * rng.rand(1000, 1, 1, 1)).astype(np.uint8)


@pytest.fixture
def labels(images):
    """What the accelerator says, but wrong for every fifth image."""
    labels = darkness(images)[:, 0].astype(np.uint8)
    labels[::5] = (labels[::5] + 1) % 10
    return labels


@pytest.fixture
def options(tmp_path, images, labels, monkeypatch):
    """Where the command finds its bundle and data."""
    monkeypatch.delenv("LABD_DATASETS", raising=False)
    write_packed(tmp_path / "data", DATASETS["mnist"], "test", images, labels)
    bundle = write_bundle(tmp_path / "tiny", predicted=images.reshape(1000, 784))
    return ["--bundle", str(bundle), "--data", str(tmp_path / "data")]


def test_validate_prints_the_lines_of_the_lab_and_a_summary(options, capsys):
    assert validate.main(["--dataset", "mnist", "--batchsize", "300"] + options, fake_board()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "batch 1 / 4 : total OK 240 NOK 60",
        "batch 2 / 4 : total OK 480 NOK 120",
        "batch 3 / 4 : total OK 720 NOK 180",
        "batch 4 / 4 : total OK 800 NOK 200",
        "Final accuracy: 80.000000",
    ]
    assert "  images      1000, 800 right" in lines
    assert "  accuracy    80.00 %  (95 % interval 77.41 to 82.36)" in lines


@pytest.mark.parametrize("batchsize", [1, 7, 300, 1000, 10000])
def test_every_image_is_counted_once_at_any_batch_size(options, capsys, batchsize):
    assert validate.main(["--batchsize", str(batchsize), "--json"] + options, fake_board()) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["correct"], report["accuracy_percent"]) == (1000, 800, 80.0)


def test_json_is_alone_on_standard_output_and_the_lines_on_standard_error(options, capsys):
    assert validate.main(["--json"] + options, fake_board()) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert captured.err.startswith("batch 1 / 1 : total OK 800 NOK 200\n")
    assert report["timing"] == "made up by the fake"
    assert report["clock_mhz"] == 100.0 and report["dataset"] == "mnist" and report["target"] == "emu"


def test_limit_takes_the_first_images_only(options, capsys):
    assert validate.main(["--limit", "10", "--json"] + options, fake_board()) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 10


def test_an_accelerator_that_is_always_wrong_scores_zero(options, capsys):
    board = fake_board(lambda images: darkness(images) + 10)
    assert validate.main(options, board) == 0
    assert "Final accuracy: 0.000000" in capsys.readouterr().out


def test_agreement_with_the_golden_model_is_counted_by_digest(options, capsys):
    assert validate.main(["--compare", "golden", "--json"] + options, fake_board()) == 0
    agreement = json.loads(capsys.readouterr().out)["agreement"]
    assert agreement == {
        "same": 1000,
        "different": 0,
        "unknown": 0,
        "first_different": [],
        "different_by_class": {},
    }


def test_one_wrong_answer_is_found_and_named(options, images, capsys):
    def model(batch):
        answers = darkness(batch)
        answers[(batch == images[123].reshape(784)).all(axis=1)] += 1
        return answers

    assert validate.main(["--compare", "golden"] + options, fake_board(model)) == 7
    captured = capsys.readouterr()
    assert lacking(captured.err, "1 of 1000 answers differ", "golden model*", "image 123") == []
    assert "999 of 1000 answers are the golden model's, 1 not" in captured.out


def test_wrong_answers_of_one_class_are_told_from_wrong_answers(options, capsys):
    def model(batch):
        answers = darkness(batch)
        return answers + (answers == 3)

    assert validate.main(["--compare", "golden"] + options, fake_board(model)) == 7
    said = capsys.readouterr().err
    assert "and all of them should be class 3 (3), first at image" in said
    assert lacking(said, "last layer*", "weights or thresholds") == []


def test_too_low_an_accuracy_is_an_exit_code(options, capsys):
    assert validate.main(["--min-accuracy", "90"] + options, fake_board()) == 7
    assert "the accuracy is 80.00 %, at least 90.00 % was demanded" in capsys.readouterr().err


def test_an_unknown_data_set_offers_the_nearest(options, capsys):
    assert validate.main(["--dataset", "mnits"] + options, fake_board()) == 2
    assert "did you mean 'mnist'?" in capsys.readouterr().err


def test_missing_data_says_where_it_was_looked_for(options, tmp_path, capsys):
    assert validate.main(options[:2] + ["--data", str(tmp_path / "nothing")], fake_board()) == 3
    captured = capsys.readouterr()
    assert "mnist is in none of: {}".format(tmp_path / "nothing") in captured.err
    assert "fab data --board NN --dataset mnist" in captured.err


def test_images_of_another_size_than_the_network_s_are_refused(options, tmp_path, capsys):
    smaller = write_bundle(tmp_path / "smaller", normal=(1, 400), folded=(1, 8, 50))
    board = fake_board(manifest=session.find_bundle(str(smaller)).manifest)
    assert validate.main(["--bundle", str(smaller)] + options[2:], board) == 2
    captured = capsys.readouterr()
    assert "mnist has images of 28 x 28 x 1 (784 values), tiny takes 400" in captured.err
    assert "--dataset mnist" in captured.err


def test_a_damaged_bundle_is_refused_before_the_board_is_touched(options, tmp_path, capsys):
    (tmp_path / "tiny" / "accel.bit").write_bytes(b"x")
    board = fake_board()
    assert validate.main(options, board) == 5
    assert board.programmed is None
    assert "accel.bit has 1 bytes, the manifest says 28" in capsys.readouterr().err


def test_errors_cross_the_wire_when_asked(options, monkeypatch, capsys):
    monkeypatch.setenv("LABD_ERRORS", "wire")
    assert validate.main(options, fake_board(stuck=("odma0",))) == 6
    error = find_error(capsys.readouterr().err)
    assert type(error) is OutputStuck and error.facts["input_done"] is True


def test_official_files_are_packed_on_the_way(options, mnist_folder, tmp_path, capsys):
    (tmp_path / "own").mkdir()  # what is packed is put there, not among the real files
    for path in mnist_folder.glob("*.gz"):
        (tmp_path / "own" / path.name).symlink_to(path)
    assert validate.main(options[:2] + ["--data", str(tmp_path / "own"), "--json"], fake_board()) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 10000


def test_throughput_names_the_origin_of_every_figure(options, capsys):
    assert throughput.main(["--batchsize", "100", "--repeats", "5"] + options[:2], fake_board()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny, batch 100, 5 repeats after 3 to warm up"
    assert "made up by the fake" in lines[2]
    assert "1020408 at most, bound by idma0 (cycle model)" in lines[3]
    assert "wall clock of the emulator, not of a board" in lines[4]


def test_throughput_is_near_what_the_cycle_model_expects(options, capsys):
    assert throughput.main(["--batchsize", "1000", "--json"] + options[:2], fake_board()) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["accelerator_frames_per_s"] == pytest.approx(report["expected_frames_per_s"], rel=0.05)
    assert (
        report["accelerator_s"]["p5"] <= report["accelerator_s"]["median"] <= report["accelerator_s"]["p95"]
    )


def test_throughput_expects_nothing_of_an_import_whose_cycles_are_unknown(options, capsys):
    path = Path(options[1]) / "manifest.json"
    record = json.loads(path.read_text())
    record["expected"]["bottleneck"] = "unknown (idma0 at least)"
    path.write_text(json.dumps(record))
    assert throughput.main(["--batchsize", "100", "--repeats", "2"] + options[:2], fake_board()) == 0
    said = capsys.readouterr().out
    assert "1020408 frames/s at most, the network's cycles are unknown (idma0 at least)\n" in said
    assert throughput.main(["--json", "--repeats", "2"] + options[:2], fake_board()) == 0
    assert json.loads(capsys.readouterr().out)["expected_frames_per_s"] is None


def test_selftest_passes_on_a_right_accelerator(options, capsys):
    assert selftest.main(options[:2], fake_board()) == 0
    assert capsys.readouterr().out == "tiny: 20 golden samples, 180 answers in 3 passes, all bit-exact\n"


def test_selftest_finds_an_answer_that_is_right_only_once(options, capsys):
    calls = []

    def model(images):
        calls.append(len(images))
        return darkness(images) + (len(calls) > 25)

    assert selftest.main(options[:2], fake_board(model)) == 7
    assert "the golden model says" in capsys.readouterr().err


def test_selftest_without_golden_samples_says_that_nothing_is_proven(options, capsys):
    without_golden(Path(options[1]))
    assert selftest.main(options[:2], fake_board()) == 3
    said = capsys.readouterr().err
    assert "the bundle of tiny has no golden samples" in said
    assert "labd import PATH --network-file network.npz" in said


def test_an_imported_bundle_without_golden_samples_is_validated_all_the_same(options, capsys):
    without_golden(Path(options[1]))
    assert validate.main(options, fake_board()) == 0
    assert "Final accuracy: 80.000000" in capsys.readouterr().out


def test_selftest_raises_with_both_values(options):
    from labd_board.accelerator import Accelerator
    from labd_shared.bundle import load_golden

    bundle = session.find_bundle(options[1])
    with Accelerator(bundle, fake_board(lambda images: darkness(images) * 0 + 9)) as accelerator:
        with pytest.raises(
            GoldenMismatch, match=r"golden sample 0 gave \[9\], the golden model says \[0\] \(pass 1"
        ):
            selftest.selftest(accelerator, load_golden(bundle))


def test_info_says_what_it_knows(options, capsys):
    assert info.main(["--json"] + options[:2], fake_board()) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bundle"]["network"] == "tiny" and facts["device"]["device"] == "fake"
    assert facts["numpy"] == np.__version__ and facts["release"] is None


def test_info_reads_in_units_one_fact_a_line(options, capsys):
    assert info.main(options[:2], fake_board()) == 0
    lines = [re.sub(" +", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    assert "clock 100 MHz" in lines and "bundle" in lines and "device" in lines
    assert any(re.match(r"memory [0-9.]+ MB$", line) for line in lines)
    assert any(re.match(r"expected [0-9.]+ frames/s$", line) for line in lines)
    assert not any("_" in line for line in lines if not line.startswith(("labd", "release", "machine")))


def test_info_survives_a_board_without_a_bundle(capsys):
    assert info.main([], fake_board()) == 0
    assert "no release is deployed here" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv", [["--batchsize", "0"], ["--batchsize", "x"], ["--limit", "-1"], ["--nonsense"]]
)
def test_wrong_options_exit_with_2(argv):
    with pytest.raises(SystemExit) as caught:
        validate.main(argv, fake_board())
    assert caught.value.code == 2


def test_a_board_in_use_names_its_user(options, capsys):
    with session.held_board():
        assert selftest.main(options[:2], fake_board()) == 6
    assert "the accelerator is in use by process" in capsys.readouterr().err
    assert selftest.main(options[:2], fake_board()) == 0


def test_percentiles_lie_between_neighbours():
    assert [percentile([3.0, 1.0, 2.0], percent) for percent in (0, 25, 50, 100)] == [1.0, 1.5, 2.0, 3.0]


def test_the_wilson_interval_is_the_textbook_one():
    low, high = wilson_interval(8419, 10000)
    assert (round(100 * low, 2), round(100 * high, 2)) == (83.46, 84.89)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 10)[0] == 0.0 and wilson_interval(10, 10)[1] == 1.0
