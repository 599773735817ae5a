"""Answers of a golden model to a whole split: computed once, by content."""

from types import SimpleNamespace

import numpy as np
import pytest

from labd_host.flow import kept_answers
from labd_host.flow.kept_answers import kept_outputs

IMAGES = np.arange(40, dtype=np.uint8).reshape(10, 4)


class Model:
    """Counts how often it runs."""

    def __init__(self, digest, answer=3):
        self.network = SimpleNamespace(arithmetic_sha256=digest)
        self.answer, self.runs = answer, 0

    def run(self, images):
        self.runs += 1
        return SimpleNamespace(outputs=(np.full((len(images), 1), self.answer, np.uint8),))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_CACHE", str(tmp_path))
    return tmp_path / "answers"


def test_the_second_time_nothing_runs():
    model = Model("a")
    first, second = (kept_outputs(model, IMAGES) for _ in range(2))
    assert model.runs == 1
    assert first.tolist() == second.tolist() == [[3]] * 10


@pytest.mark.parametrize(
    ("digest", "images"), [("b", IMAGES), ("a", IMAGES[::-1].copy()), ("a", IMAGES.reshape(10, 2, 2))]
)
def test_another_network_or_other_images_are_computed(digest, images):
    kept_outputs(Model("a"), IMAGES)
    other = Model(digest, answer=5)
    assert kept_outputs(other, images).tolist() == [[5]] * 10
    assert other.runs == 1


def test_a_damaged_entry_is_computed_again(cache):
    kept_outputs(Model("a"), IMAGES)
    (entry,) = cache.iterdir()
    entry.write_bytes(b"PK damaged")
    again = Model("a")
    assert kept_outputs(again, IMAGES).tolist() == [[3]] * 10
    assert again.runs == 1


def test_the_oldest_entries_go(cache, monkeypatch):
    monkeypatch.setattr(kept_answers, "MAX_ENTRIES", 3)
    for digest in "abcde":
        kept_outputs(Model(digest), IMAGES)
    assert len(list(cache.iterdir())) == 3


def test_a_cache_that_cannot_be_written_changes_nothing(cache):
    cache.write_text("a file where the folder would be")
    assert kept_outputs(Model("a"), IMAGES).shape == (10, 1)
