"""Networks that take something else than pixels, on a board: vectors, bits, signed values, odd sizes."""

import json
import tempfile

import numpy as np
import pytest

from labd_board import classify, selftest, validate
from labd_board.accelerator import Accelerator
from labd_shared.arrays import save_npz
from labd_shared.bundle import open_bundle
from labd_shared.datasets import DatasetSpec, write_packed
from labd_shared.digest import file_sha256
from labd_shared.errors import DatatypeError, ShapeError
from labd_shared.fields import container
from labd_shared.manifest import BIT_NAME, GOLDEN_NAME, HWH_NAME, MANIFEST_NAME, FileEntry, InputContract
from labd_shared.tensors import make_tensor
from support.bundles import fake_board, make_manifest

KINDS = [
    ("INT8", (1, 128), (1, 8, 16)),
    ("BINARY", (1, 100), (1, 4, 25)),
    ("UINT4", (1, 30), (1, 10, 3)),
    ("BIPOLAR", (1, 64), (1, 4, 16)),
    ("INT16", (1, 20), (1, 5, 4)),
    ("UINT8", (1, 12, 12, 3), (1, 12, 12, 1, 3)),
    ("UINT8", (1, 72, 72, 3), (1, 72, 72, 1, 3)),
]
CLASSES = ("low", "middle", "high")


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def thirds(tensor):
    """A classifier of three classes by the mean value of a frame."""

    def model(frames):
        total = frames.reshape(len(frames), -1).astype(np.int64).sum(axis=1)
        values = int(np.prod(tensor.normal))
        place = (total - tensor.datatype.low * values) * 3
        return (place // ((tensor.datatype.high - tensor.datatype.low) * values + 1)).reshape(-1, 1)

    return model


class Own(object):
    """A bundle of such a network, a board that has it, and frames for it with labels."""

    def __init__(self, folder, rng, datatype, normal, folded):
        layout = "NHWC" if len(normal) == 4 else "NC"
        self.tensor = make_tensor("in0", datatype, normal, folded, layout, "idma0")
        self.model = thirds(self.tensor)
        kind, low, high = self.tensor.datatype, self.tensor.datatype.low, self.tensor.datatype.high
        shares = rng.rand(40, *[1] * (len(normal) - 1))
        frames = rng.rand(40, *normal[1:]) < shares if kind.bits == 1 else rng.rand(40, *normal[1:]) * shares
        self.frames = np.where(frames, high, low) if kind.bits == 1 else np.floor(low + (high - low) * frames)
        self.frames = self.frames.astype(container(kind))
        self.labels = self.model(self.frames)[:, 0]
        self.labels[:4] = (self.labels[:4] + 1) % 3
        self.folder = folder / "own"
        contract = InputContract("raw-uint8" if datatype == "UINT8" else "integers")
        self.folder.mkdir()
        (self.folder / BIT_NAME).write_bytes(b"only a fake board loads this")
        (self.folder / HWH_NAME).write_text("<EDKSYSTEM/>")
        none = np.zeros(0, np.uint64)
        save_npz(
            self.folder / GOLDEN_NAME,
            {"images": self.frames, "outputs": self.model(self.frames), "digests": none, "predictions": none},
        )
        names = (BIT_NAME, HWH_NAME, GOLDEN_NAME)
        files = {
            name: FileEntry(file_sha256(self.folder / name), (self.folder / name).stat().st_size)
            for name in names
        }
        manifest = make_manifest(
            files, inputs=(self.tensor,), input_contract=contract, dataset="mine", class_names=CLASSES
        )
        (self.folder / MANIFEST_NAME).write_text(manifest.to_json())
        self.board = fake_board(self.model, manifest)
        self.options = ["--bundle", str(self.folder), "--json"]


@pytest.fixture(params=KINDS, ids=lambda kind: "{}-{}".format(kind[0], kind[1][1]))
def own(request, tmp_path, rng):
    return Own(tmp_path, rng, *request.param)


def report_of(command, own, options, capsys):
    assert command.main(own.options + options, own.board) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_its_golden_samples_are_proven(own, capsys):
    assert report_of(selftest, own, [], capsys)["samples"] == 40


def test_arrays_of_its_own_type_are_validated(own, tmp_path, capsys):
    np.savez(str(tmp_path / "mine.npz"), images=own.frames, labels=own.labels)
    options = ["--dataset", "npz:{}".format(tmp_path / "mine.npz"), "--batchsize", "7"]
    report = report_of(validate, own, options, capsys)
    assert (report["samples"], report["correct"]) == (40, 36)
    assert [entry["name"] for entry in report["per_class"]] == list(CLASSES)


def test_a_packed_set_of_its_own_type_is_what_the_bundle_is_for(own, tmp_path, capsys):
    spec = DatasetSpec("mine", own.tensor.normal[1:], CLASSES, (), datatype=own.tensor.datatype.name)
    write_packed(tmp_path / "data", spec, "test", own.frames, own.labels)
    options = ["--data", str(tmp_path / "data"), "--batchsize", "7", "--passes", "2"]
    assert report_of(validate, own, options, capsys)["correct"] == 36


def test_without_labels_nothing_is_judged(own, tmp_path, capsys):
    spec = DatasetSpec("mine", own.tensor.normal[1:], CLASSES, (), datatype=own.tensor.datatype.name)
    write_packed(tmp_path / "data", spec, "test", own.frames, np.full(40, -1))
    report = report_of(validate, own, ["--data", str(tmp_path / "data")], capsys)
    assert (report["samples"], report["accuracy_percent"], report["interval95_percent"]) == (40, None, None)
    assert (
        validate.main(own.options + ["--data", str(tmp_path / "data"), "--min-accuracy", "5"], own.board) == 2
    )


def test_a_set_that_was_not_sent_is_named(own, capsys):
    assert validate.main(own.options, own.board) == 3
    assert "labd data --board NN --dataset npz:FILE" in capsys.readouterr().err


def test_a_file_of_its_own_type_is_classified(own, tmp_path, capsys):
    np.save(str(tmp_path / "one.npy"), own.frames[5])
    told = report_of(classify, own, [str(tmp_path / "one.npy")], capsys)["images"]
    assert [each["label"] for each in told] == own.model(own.frames[5:6])[:, 0].tolist()


def test_values_beyond_its_type_are_refused(own):
    beyond = own.frames.astype(np.int64) * 100000 + 70000
    with Accelerator(open_bundle(own.folder), own.board) as accelerator, pytest.raises(DatatypeError):
        accelerator.run(beyond)


def test_channels_first_are_no_images_of_the_network(own):
    if len(own.tensor.normal) != 4:
        pytest.skip("a vector has no channels")
    with Accelerator(open_bundle(own.folder), own.board) as accelerator:
        with pytest.raises(ShapeError, match=r"\(40, 3, .* channels first; .*, 3\)") as caught:
            accelerator.run(own.frames.transpose(0, 3, 1, 2))
        assert accelerator.run(own.frames).shape == (40, 1)
    assert caught.value.fix == "images = images.transpose(0, 2, 3, 1)"
