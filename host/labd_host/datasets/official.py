"""Where the data sets of the table come from: the user's folder, the cache, or their living mirrors.

`find` looks in ``LABD_DATASETS``/NAME, then in the cache, then downloads into the cache. What a
user supplies is checked by structure (`labd_shared.datasets`), what is downloaded by a pinned
checksum before it gets its name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labd_host.machine import places
from labd_host.machine.downloads import LIMITS, DownloadLimits, download
from labd_shared.datasets import SPLITS, dataset_spec, missing_files, read_official
from labd_shared.errors import DataDamaged, DataMissing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

VARIABLE = "LABD_DATASETS"


@dataclass(frozen=True)
class Source:
    """Where one official file is to be had: addresses in the order of asking, and its sha256."""

    sha256: str
    urls: tuple[str, ...]


# The data set's own home (yann.lecun.com) no longer serves these. Checksums: of files whose md5
# equals the one torchvision pins (9fb629c4..., ec29112d..., f68b3c2d..., d53e105e...).
_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_CIFAR_HOME = ("https://www.cs.toronto.edu/~kriz/",)  # the binary archives: nothing in them is executed

SOURCES = {
    name: Source(sha256, tuple(home + name for home in homes))
    for name, sha256, homes in (
        (
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            _MNIST_MIRRORS,
        ),
        (
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            _MNIST_MIRRORS,
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            _MNIST_MIRRORS,
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            _MNIST_MIRRORS,
        ),
        (
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            _CIFAR_HOME,
        ),
        (
            "cifar-100-binary.tar.gz",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            _CIFAR_HOME,
        ),
    )
}


def load_official(
    name: str, split: str, *, sources: Mapping[str, Source] = SOURCES, limits: DownloadLimits = LIMITS
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images uint8 (n, height, width, channels) and labels uint8 (n,) of a split.

    Args:
        name: "mnist".
        split: "train" or "test". An archive may turn out to be without it; then the next place is asked.
        sources: Where files are to be had.
        limits: Of every download.

    Raises:
        UnknownName: no such data set or split.
        DataMissing: it is neither here nor to be had.
        DataDamaged: a file does not have the format's structure.
    """
    folder = find(name, split, sources=sources, limits=limits)
    try:
        return _read(folder, name, split)
    except DataMissing as lacking:
        if folder == cache_folder(name):
            raise
        _download_missing(name, (split,), [lacking.what], sources, limits)
        return _read(cache_folder(name), name, split)


def _read(folder: Path, name: str, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    try:
        return read_official(folder, name, split)
    except DataDamaged as error:
        if folder == cache_folder(name):
            error.fix = f"remove {folder}, then again: it is downloaded anew"
        raise


def find(
    name: str,
    split: str | None = None,
    *,
    sources: Mapping[str, Source] = SOURCES,
    limits: DownloadLimits = LIMITS,
) -> Path:
    """The folder that holds the official files of *name*, downloaded first where it is nowhere.

    Args:
        name: "mnist".
        split: Only this split is needed; every one when None.
        sources: Where files are to be had.
        limits: Of every download.

    Raises:
        UnknownName: no such data set or split.
        DataMissing: it is neither here nor to be had; says what to put where.
        SetupError: the cache cannot be written.
    """
    dataset_spec(name)
    splits = SPLITS if split is None else (split,)
    looked = []
    for folder in _folders(name):
        if not (missing := _missing(folder, name, splits)):
            return folder
        looked.append(f"{folder} lacks {', '.join(missing)}")
    _download_missing(name, splits, looked, sources, limits)
    return cache_folder(name)


def _download_missing(
    name: str,
    splits: tuple[str, ...],
    looked: list[str],
    sources: Mapping[str, Source],
    limits: DownloadLimits,
) -> None:
    """Download into the cache what it lacks of *splits*; *looked* is what was found wanting elsewhere."""
    cached = cache_folder(name)
    failures = []
    for file_name in _missing(cached, name, splits):
        failures += _fetch(file_name, cached, sources, limits)
        if failures:  # no use in asking for the next file
            break
    if not failures:
        return
    form = dataset_spec(name).forms[0]
    files = list(dict.fromkeys(each for split in splits for each in form.handed_out(split)))
    variable = (
        f"{VARIABLE} is {os.environ[VARIABLE]!r}" if os.environ.get(VARIABLE) else f"{VARIABLE} is not set"
    )
    raise DataMissing(
        f"{name} is not on this machine ({variable}; {'; '.join(looked)}) and could not be downloaded "
        f"({'; '.join(failures)})",
        fix=f"put {', '.join(files)} into {cached}; or into a folder {name} of your own, and set {VARIABLE} "
        "to the folder that holds it",
        dataset=name,
        files=files,
    )


def present(name: str) -> Path | None:
    """The folder that holds every official file of *name*'s test split, None where it is nowhere; nothing is loaded."""
    return next((folder for folder in _folders(name) if not _missing(folder, name, ("test",))), None)


def cache_folder(name: str) -> Path:
    """Where downloads of *name* are kept."""
    return places.cache() / "datasets" / name


def _folders(name: str) -> tuple[Path, ...]:
    """The folders to look in, in order."""
    own = os.environ.get(VARIABLE)
    return ((Path(own).expanduser() / name,) if own else ()) + (cache_folder(name),)


def _missing(folder: Path, name: str, splits: tuple[str, ...]) -> list[str]:
    """Official files of *splits* that *folder* does not have, each once."""
    return list(dict.fromkeys(each for split in splits for each in missing_files(folder, name, split)))


def _fetch(file_name: str, folder: Path, sources: Mapping[str, Source], limits: DownloadLimits) -> list[str]:
    """Download one file into *folder*; why each mirror failed, empty when one did not."""
    if file_name not in sources:
        return [f"no address of {file_name} is known"]
    source = sources[file_name]
    return download(source.urls, folder / file_name, source.sha256, limits)
