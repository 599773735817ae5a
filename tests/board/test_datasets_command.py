"""``python3 -m labd_board.datasets``, and CIFAR on the board."""

import json
import tempfile

import numpy as np
import pytest

from labd_board import datasets, session, validate
from labd_shared.datasets import DATASETS, write_packed
from support.bundles import fake_board, make_manifest, write_bundle
from support.cifar_files import COUNTS, split_of, write_official
from support.facts import lacking


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """No folder of the user's; the board's lock lies in the temporary folder, each test has its own."""
    monkeypatch.delenv("LABD_DATASETS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def data(tmp_path):
    """A folder with the official files of both."""
    write_official(tmp_path / "data" / "cifar10", "cifar10", "python")
    write_official(tmp_path / "data" / "cifar100", "cifar100", "binary", splits=("test",))
    return tmp_path / "data"


def answers(folder, capsys, *argv):
    """The exit code, the records and the words on standard error."""
    code = datasets.main(list(argv) + ["--json", "--data", str(folder)])
    captured = capsys.readouterr()
    return code, json.loads(captured.out)["datasets"] if captured.out else None, captured.err


def test_prepare_packs_the_official_files_that_are_there(data, capsys):
    code, records, _ = answers(data, capsys, "prepare")
    assert code == 0
    assert [(each["name"], each["split"], each["state"], each["images"]) for each in records] == [
        ("cifar10", "test", "packed", 20),
        ("cifar100", "test", "packed", 20),
    ]
    with session.find_dataset("cifar100", str(data), make_manifest({})) as dataset:
        assert np.array_equal(dataset.labels, split_of("cifar100", "test")[1])


def test_prepare_says_what_it_did(data, capsys):
    assert datasets.main(["prepare", "cifar100", "--data", str(data)]) == 0
    assert capsys.readouterr().out == (
        "cifar100  test  packed         20 images, 100 classes in 20 coarse, 0.1 MB, {}/cifar100/test\n".format(
            data
        )
    )


def test_prepare_packs_another_split_into_another_folder(data, tmp_path, capsys):
    into = tmp_path / "cache"
    code, records, _ = answers(data, capsys, "prepare", "--split", "train", "--into", str(into))
    assert (code, [each["name"] for each in records]) == (
        0,
        ["cifar10"],
    )  # there is no training split of the other
    assert records[0]["folder"] == str(into / "cifar10" / "train")
    assert records[0]["images"] == COUNTS["train"]


def test_prepare_of_what_is_not_there_says_so(data, capsys):
    code, _, said = answers(data, capsys, "prepare", "mnist")
    assert code == 3
    assert lacking(said, "official files of mnist (test split)", str(data)) == []
    code, _, said = answers(data, capsys, "prepare", "cifar100", "--split", "train")
    assert code == 3 and "the official files of cifar100 (train split) are in none of" in said
    code, _, said = answers(data / "cifar10" / "nothing", capsys, "prepare")
    assert code == 3 and "the official files of a data set" in said


def test_without_any_folder_prepare_says_so(capsys):
    assert datasets.main(["prepare"]) == 3
    assert "no data folder is known" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_named(data, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    code, _, said = answers(data, capsys, "prepare", "cifar10", "--into", str(tmp_path / "file"))
    assert code == 3
    assert "cifar10 cannot be packed into {}".format(tmp_path / "file") in said and "--into FOLDER" in said


def test_list_tells_packed_from_official(data, capsys):
    datasets.main(["prepare", "cifar10", "--data", str(data)])
    capsys.readouterr()
    code, records, _ = answers(data, capsys, "list")
    assert code == 0
    assert [(each["name"], each["split"], each["state"]) for each in records] == [
        ("cifar10", "test", "packed"),
        ("cifar100", "", "official files"),
    ]


def test_list_of_nothing_is_no_error(tmp_path, capsys):
    assert datasets.main(["list", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing in: {}\n".format(tmp_path)


def test_verify_finds_one_changed_pixel(data, capsys):
    datasets.main(["prepare", "--data", str(data)])
    capsys.readouterr()
    code, records, _ = answers(data, capsys, "verify")
    assert (code, [each["state"] for each in records]) == (0, ["verified", "verified"])
    images = data / "cifar100" / "test" / "images.u8"
    content = images.read_bytes()
    images.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, records, said = answers(data, capsys, "verify")
    assert (code, [each["state"] for each in records]) == (5, ["verified", "damaged"])
    assert "images.u8 in {} does not have the digest".format(images.parent) in records[1]["reason"]
    assert "1 of 2 packed splits are damaged: cifar100/test" in said
    assert "fab data --board NN --dataset cifar100" in said
    assert answers(data, capsys, "verify", "cifar10")[0] == 0


def test_a_torn_split_is_listed_as_damaged_and_verify_goes_on(data, capsys):
    datasets.main(["prepare", "--data", str(data)])
    capsys.readouterr()
    (data / "cifar10" / "test" / "labels.u8").write_bytes(b"torn")
    code, records, _ = answers(data, capsys, "list")
    assert (code, [each["state"] for each in records]) == (0, ["damaged", "packed"])
    code, records, _ = answers(data, capsys, "verify")
    assert (code, [each["state"] for each in records]) == (5, ["damaged", "verified"])


def test_verify_without_anything_packed_says_so(data, capsys):
    code, _, said = answers(data, capsys, "verify")
    assert code == 3 and "a packed split of a data set is in none of: {}".format(data) in said
    code, _, said = answers(data, capsys, "verify", "cifar10")
    assert code == 3 and "a packed split of cifar10 is in none of" in said


def test_an_unknown_name_offers_the_nearest(data, capsys):
    for action in ("prepare", "verify"):
        code, _, said = answers(data, capsys, action, "cifar1000")
        assert code == 2 and "did you mean 'cifar100'?" in said


def first_byte(images):
    """The classifier of these tests: the first value of an image is its class."""
    return images.reshape(len(images), -1)[:, :1].astype(np.int64)


@pytest.fixture
def options(tmp_path):
    """A bundle for CIFAR images and a packed CIFAR-100: of 100 images 40 right, 30 right but for the
    fine class, 30 wrong or no class at all."""
    spec = DATASETS["cifar100"]
    images, labels = split_of("cifar100", "test", 100)
    said = labels.copy()
    for row in range(40, 70):
        siblings = [
            label for label, coarse in enumerate(spec.coarse_of) if coarse == spec.coarse_of[labels[row]]
        ]
        said[row] = next(label for label in siblings if label != labels[row])
    for row in range(70, 90):
        said[row] = next(
            label for label, coarse in enumerate(spec.coarse_of) if coarse != spec.coarse_of[labels[row]]
        )
    said[90:] = 200
    images[:, 0, 0, 0] = said
    write_packed(tmp_path / "packed", DATASETS["cifar100"], "test", images, labels)
    write_packed(tmp_path / "packed", DATASETS["cifar10"], "test", images, (labels % 10).astype(np.uint8))
    bundle = write_bundle(tmp_path / "tiny", normal=(1, 3072), folded=(1, 32, 96))
    return ["--bundle", str(bundle), "--data", str(tmp_path / "packed")]


def board_for(options):
    return fake_board(first_byte, session.find_bundle(options[1]).manifest)


@pytest.mark.parametrize("batchsize", [1, 7, 100])
def test_validate_counts_the_coarse_classes_of_cifar_100(options, capsys, batchsize):
    argv = ["--dataset", "cifar100", "--batchsize", str(batchsize), "--json"] + options
    assert validate.main(argv, board_for(options)) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["samples"], report["correct"], report["accuracy_percent"]) == (100, 40, 40.0)
    assert (report["coarse_correct"], report["coarse_accuracy_percent"]) == (70, 70.0)
    lines = captured.err.splitlines()
    place = lines.index("  accuracy    40.00 %  (95 % interval 30.94 to 49.80)")
    assert lines[place + 1] == "  coarse      70.00 %, 70 right"


def test_validate_of_cifar_10_tells_no_coarse_classes(options, capsys):
    assert validate.main(["--dataset", "cifar10", "--json"] + options, board_for(options)) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["coarse_correct"] is None and report["coarse_accuracy_percent"] is None
    assert "coarse" not in captured.err


def test_validate_packs_official_files_on_the_way(options, data, capsys):
    argv = options[:2] + ["--dataset", "cifar10", "--data", str(data), "--json"]
    assert validate.main(argv, board_for(options)) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 20
