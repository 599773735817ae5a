"""Predictions of a data set, image by image: what validate writes and compare reads.

One .npz, described in docs/predictions.md. Rows are matched by the image's digest, never by their number:
archives of one data set differ in order.
"""

import json
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Union

import numpy as np

from labd_shared.arrays import load_npz, save_npz
from labd_shared.errors import ArtifactError
from labd_shared.files import replacing
from labd_shared.records import MAX_NAME, Origin, parse_json

FORMAT = "labd-predictions"
VERSION = 1
ABOUT_KEYS = ("network", "dataset", "split", "target", "source")
MAX_ABOUT_BYTES = 1 << 16


class Predictions(NamedTuple):
    """What one network said of *n* images.

    Attributes:
        about: network, dataset, split, target ("hw", "emu" or "host") and source (who computed), text each.
        row: int64 ``(n,)``, the image's place in the packed split; ascending, each once.
        digest: uint64 ``(n,)``, `labd_shared.digest.image_digest` of each image.
        label: int32 ``(n,)``, the true class, `UNKNOWN_LABEL` where nobody knows it.
        predicted: int32 ``(n,)``, the class the network says.
        scores: int64 ``(n, c)`` where the network gives scores, else None.
        passes: int32 ``(p, n)``, the class by pass where there was more than one, else None.
    """

    about: Dict[str, str]
    row: np.ndarray
    digest: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    scores: Optional[np.ndarray] = None
    passes: Optional[np.ndarray] = None


_TYPES = {
    "row": np.int64,
    "digest": np.uint64,
    "label": np.int32,
    "predicted": np.int32,
    "scores": np.int64,
    "passes": np.int32,
}
_AGAIN = "write it again: labd_board.validate or labd validate with --predictions FILE.npz"


def save_predictions(path: Union[str, Path], predictions: Predictions) -> None:
    """Write *predictions*; the file appears whole or not at all, and the same predictions give the same bytes.

    Raises:
        ArtifactError: they contradict each other.
        OSError: *path* cannot be written.
    """
    arrays: Dict[str, np.ndarray] = {}
    for name, kind in _TYPES.items():
        array = getattr(predictions, name)
        if array is not None:
            arrays[name] = np.asarray(array, kind)
    _check(arrays, "these predictions")
    about = {key: str(predictions.about[key]) for key in ABOUT_KEYS}
    text = json.dumps(dict(about, format=FORMAT, version=VERSION), sort_keys=True)
    arrays["about"] = np.frombuffer(text.encode("utf-8"), np.uint8)
    with replacing(path) as making:
        save_npz(making, arrays)


def load_predictions(path: Union[str, Path]) -> Predictions:
    """Read a file of `save_predictions`.

    Raises:
        ArtifactError: no such file, of another format or version, or its arrays contradict each other.
    """
    name = Path(str(path)).name
    arrays = load_npz(path)
    about = _about(arrays.pop("about", None), name)
    for key in set(arrays) - set(_TYPES):
        del arrays[key]
    for key, array in arrays.items():
        if array.dtype != np.dtype(_TYPES[key]):
            raise ArtifactError(
                "{}: {} is of type {}, not {}".format(name, key, array.dtype, np.dtype(_TYPES[key])),
                fix=_AGAIN,
            )
    _check(arrays, name)
    return Predictions(about=about, **arrays)


def _about(array: Optional[np.ndarray], name: str) -> Dict[str, str]:
    if array is None or array.dtype != np.uint8:
        raise ArtifactError('{} holds no predictions: it has no text "about"'.format(name), fix=_AGAIN)
    record = parse_json(array.tobytes(), MAX_ABOUT_BYTES, Origin(name, _AGAIN)).of_format(FORMAT, VERSION)
    return {
        key: value.text(MAX_NAME)
        for key, value in record.fields(ABOUT_KEYS, None).items()
        if key in ABOUT_KEYS
    }


def _check(arrays: Dict[str, np.ndarray], name: str) -> None:
    """Every array is there, of the right shape, and each image stands in them once."""
    missing = [key for key in ("row", "digest", "label", "predicted") if key not in arrays]
    if missing:
        raise ArtifactError("{}: no array {}".format(name, ", ".join(missing)), fix=_AGAIN)
    images = arrays["row"].size
    for key, array in arrays.items():
        axes = 2 if key in ("scores", "passes") else 1
        rows = array.shape[-1:] if key == "passes" else array.shape[:1]
        if array.ndim != axes or rows != (images,):
            raise ArtifactError(
                "{}: {} is {}, {} images are indexed".format(name, key, array.shape, images), fix=_AGAIN
            )
    if images and (int(arrays["row"][0]) < 0 or (np.diff(arrays["row"]) <= 0).any()):
        raise ArtifactError("{}: an image is listed twice or out of order".format(name), fix=_AGAIN)
