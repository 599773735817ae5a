import re

import numpy as np
import pytest

from labd_shared.arrays import load_npz, save_npz
from labd_shared.errors import ArtifactError
from labd_shared.predictions import Predictions, load_predictions, save_predictions

ABOUT = {"network": "tiny", "dataset": "mnist", "split": "test", "target": "emu", "source": "the fake"}


def some(**changes):
    fields = {
        "about": ABOUT,
        "row": np.array([3, 5, 9]),
        "digest": np.array([1 << 63, 7, 7], np.uint64),
        "label": np.array([1, 2, -1]),
        "predicted": np.array([1, 3, 2]),
        "scores": np.array([[1, -5], [2, 1 << 40], [0, 0]]),
        "passes": np.array([[1, 3, 2], [1, 2, 2]]),
    }
    fields.update(changes)
    return Predictions(**fields)


def test_what_was_written_is_read(tmp_path):
    save_predictions(tmp_path / "p.npz", some())
    found = load_predictions(tmp_path / "p.npz")
    assert found.about == ABOUT
    for name in Predictions._fields[1:]:
        assert np.array_equal(getattr(found, name), getattr(some(), name)), name
    assert found.digest.dtype == np.uint64 and found.predicted.dtype == np.int32


def test_scores_and_passes_may_be_absent(tmp_path):
    save_predictions(tmp_path / "p.npz", some(scores=None, passes=None))
    found = load_predictions(tmp_path / "p.npz")
    assert found.scores is None and found.passes is None


def test_the_same_predictions_give_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_predictions(tmp_path / name, some())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"row": np.array([3, 3, 9])}, "an image is listed twice or out of order"),
        ({"row": np.array([5, 3, 9])}, "an image is listed twice or out of order"),
        ({"row": np.array([-1, 3, 9])}, "an image is listed twice or out of order"),
        ({"label": np.array([1, 2])}, "label is (2,), 3 images are indexed"),
        ({"scores": np.zeros(3, np.int64)}, "scores is (3,), 3 images are indexed"),
        ({"passes": np.zeros((3, 2), np.int32)}, "passes is (3, 2), 3 images are indexed"),
        ({"predicted": None}, "no array predicted"),
    ],
)
def test_contradictions_are_neither_written_nor_read(tmp_path, changes, message):
    with pytest.raises(ArtifactError, match=re.escape(message)):
        save_predictions(tmp_path / "p.npz", some(**changes))
    assert list(tmp_path.iterdir()) == []
    save_predictions(tmp_path / "p.npz", some())
    arrays = load_npz(tmp_path / "p.npz")
    for key, array in changes.items():
        if array is None:
            del arrays[key]
        else:
            arrays[key] = array.astype(arrays[key].dtype)
    save_npz(tmp_path / "p.npz", arrays)
    with pytest.raises(ArtifactError, match=re.escape("p.npz: " + message)):
        load_predictions(tmp_path / "p.npz")


@pytest.mark.parametrize(
    "about, words",
    [
        (b"[" * 50000, "nested more than 32 deep"),
        (b'{"format": "labd-predictions", "version": NaN}', "version is nan"),
        (b'{"format": "labd-predictions", "version": 1, "version": 1}', "'version' stands twice"),
        (b'{"format": "labd-predictions", "version": 1}', "network is missing"),
    ],
)
def test_what_is_said_of_predictions_is_read_strictly(tmp_path, about, words):
    save_npz(tmp_path / "p.npz", {"about": np.frombuffer(about, np.uint8)})
    with pytest.raises(ArtifactError, match="p.npz: .*" + words):
        load_predictions(tmp_path / "p.npz")


def test_files_that_are_none_are_refused(tmp_path):
    save_npz(tmp_path / "other.npz", {"images": np.zeros(3)})
    with pytest.raises(ArtifactError, match="other.npz holds no predictions"):
        load_predictions(tmp_path / "other.npz")
    save_npz(
        tmp_path / "new.npz", {"about": np.frombuffer(b'{"format": "labd-predictions", "version": 2}', "u1")}
    )
    with pytest.raises(
        ArtifactError, match="new.npz: the version of labd-predictions is 2, this labd reads 1"
    ):
        load_predictions(tmp_path / "new.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ArtifactError, match="text.npz cannot be read"):
        load_predictions(tmp_path / "text.npz")


def test_arrays_of_another_type_are_refused(tmp_path):
    save_predictions(tmp_path / "p.npz", some())
    save_npz(tmp_path / "p.npz", dict(load_npz(tmp_path / "p.npz"), label=np.array([1.5, 2, 3])))
    with pytest.raises(ArtifactError, match="label is of type float64, not int32"):
        load_predictions(tmp_path / "p.npz")
