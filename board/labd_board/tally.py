"""What a validation has so far, image by image; saved as it goes, so that a killed run can go on."""

import contextlib
import json
import time
from pathlib import Path
from typing import Callable, Dict, Optional

import numpy as np

from labd_board.accelerator import Accelerator, Times
from labd_board.session import Dataset
from labd_shared.answers import best_classes, gives_scores
from labd_shared.arrays import load_npz, save_npz
from labd_shared.digest import file_sha256, json_sha256
from labd_shared.errors import ArtifactError
from labd_shared.files import replacing
from labd_shared.manifest import MANIFEST_NAME
from labd_shared.records import Origin, parse_json
from labd_shared.tensors import count

NOT_YET = -1
MAX_ABOUT_BYTES = 1 << 16
SAVE_EVERY_S = 5.0
SAVE_SHARE = 0.05  # of the time at most goes into saving: large ones are saved less often
PARTS = ("pack_s", "flush_s", "run_s", "wait_s", "invalidate_s", "unpack_s", "wall_s")


class Tally(object):
    """Answers to *frames* images in *passes* passes.

    Attributes:
        passes: int32 ``(passes, frames)``, the class by pass; `NOT_YET` where it was not asked.
        best: int32 ``(frames, k)``, the best classes of the first pass, best first.
        scores: int64 ``(frames, c)`` of the first pass, None where the network gives none.
        done: Images answered, over all passes; they are asked in order.
        counted: uint8 ``(passes, frames)``, how often each image was counted.
        seconds: Sums of `Times`, and ``wall_s``.
    """

    def __init__(self, passes: int, frames: int, values: int, classes: int) -> None:
        """An empty one. *values*: how many a frame the network gives, of *classes* classes."""
        has_scores = gives_scores(values, classes)
        self.passes = np.full((passes, frames), NOT_YET, np.int32)
        self.best = np.full((frames, min(values, 5)), NOT_YET, np.int32)
        self.scores: Optional[np.ndarray] = np.zeros((frames, values), np.int64) if has_scores else None
        self.counted = np.zeros((passes, frames), np.uint8)
        self.done = 0
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._classes = classes

    @property
    def frames(self) -> int:
        """Images in the data set, or as many of them as were asked for."""
        return int(self.passes.shape[1])

    @property
    def total(self) -> int:
        """Answers when all is done."""
        return int(self.passes.size)

    def add(self, number: int, start: int, answers: np.ndarray, times: Times) -> None:
        """Count the *answers* to the images from *start* on, in pass *number*."""
        rows = slice(start, start + len(answers))
        best = best_classes(answers, self._classes)
        self.passes[number, rows] = best[:, 0]
        self.counted[number, rows] += 1
        if number == 0:
            self.best[rows] = best
            if self.scores is not None:
                self.scores[rows] = answers.reshape(len(answers), -1)
        self.done += len(answers)
        for part, spent_s in times._asdict().items():
            self.seconds[part] += spent_s

    def check(self) -> None:
        """Every image was counted once a pass, or this is a bug of ours that must not become an accuracy."""
        if self.done != self.total or not (self.counted == 1).all():
            raise AssertionError(
                "{} images were not counted once".format(int((self.counted != 1).any(axis=0).sum()))
            )

    def save(self, path: Path, key: str) -> None:
        """Write it, whole or not at all; *key* says what it belongs to."""
        about = json.dumps({"key": key, "done": self.done, "seconds": self.seconds}, sort_keys=True)
        arrays: Dict[str, np.ndarray] = {"passes": self.passes, "best": self.best}
        arrays["about"] = np.frombuffer(about.encode("utf-8"), np.uint8)
        if self.scores is not None:
            arrays["scores"] = self.scores
        with replacing(path) as making:
            save_npz(making, arrays)

    def restore(self, path: Path, key: str) -> None:
        """Take up what `save` wrote.

        Raises:
            ArtifactError: it cannot be read, or belongs to another run.
        """
        arrays = load_npz(path)
        mine = {"passes": self.passes, "best": self.best}
        if self.scores is not None:
            mine["scores"] = self.scores
        if not set(mine) | {"about"} <= set(arrays):
            raise ArtifactError("{} holds no run: it has {}".format(path, sorted(arrays)), fix=_FRESH)
        origin = Origin(path.name, _FRESH)
        about = parse_json(arrays["about"].tobytes(), MAX_ABOUT_BYTES, origin).fields(
            ("key", "done", "seconds")
        )
        done, spent = about["done"].integer(), about["seconds"].fields(PARTS)
        seconds = {part: spent[part].number(0.0) for part in PARTS}
        fits = about["key"].raw == key and 0 <= done <= self.total
        if not (fits and all(arrays[name].shape == array.shape for name, array in mine.items())):
            raise ArtifactError("{} belongs to another run".format(path), fix=_FRESH)
        for name, array in mine.items():
            array[...] = arrays[name]
        self.done, self.seconds = done, seconds
        self.counted.reshape(-1)[:done] = 1


_FRESH = "run it without --resume"


def run_key(accelerator: Accelerator, dataset: Dataset, frames: int, passes: int) -> str:
    """What a run is of: the same bundle, images and numbers give the same hex digest."""
    return json_sha256(
        {
            "manifest": file_sha256(accelerator.bundle.path(MANIFEST_NAME)),
            "dataset": [dataset.name, dataset.split, dataset.digests],
            "frames": frames,
            "passes": passes,
        }
    )


def new_tally(accelerator: Accelerator, dataset: Dataset, frames: int, passes: int) -> Tally:
    """An empty tally for what the accelerator gives and the data set has."""
    values = count(accelerator.manifest.outputs[0].normal)
    return Tally(passes, frames, values, len(dataset.spec.class_names))


class Keeper(object):
    """Saves a tally every few seconds while it grows.

    Args:
        folder: Where.
        key: Of `run_key`.
        monotonic_s: The wall clock, for tests.
    """

    def __init__(self, folder: Path, key: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.path = folder / "validate-{}.npz".format(key[:16])
        self._key = key
        self._monotonic_s = monotonic_s
        self._next_s = monotonic_s() + SAVE_EVERY_S

    def keep(self, tally: Tally) -> None:
        """Save, if it is time."""
        began_s = self._monotonic_s()
        if began_s < self._next_s:
            return
        self.save(tally)
        ended_s = self._monotonic_s()
        self._next_s = ended_s + max(SAVE_EVERY_S, (ended_s - began_s) / SAVE_SHARE)

    def save(self, tally: Tally) -> None:
        """Save now. A full disk costs the resuming, not the run."""
        with contextlib.suppress(OSError):
            tally.save(self.path, self._key)

    def there(self) -> bool:
        """Whether a run of this kind was left unfinished."""
        return self.path.is_file()

    def restore(self, tally: Tally) -> None:
        """Take up the unfinished run. Raises ArtifactError as `Tally.restore`."""
        tally.restore(self.path, self._key)

    def forget(self) -> None:
        """The run is over."""
        if self.there():
            self.path.unlink()
