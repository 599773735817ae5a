"""What every command does first: find the release, its bundle and data, and hold the board."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Callable, Iterator, List, NamedTuple, Optional, Sequence, Union

from labd_shared.bundle import BundleFiles, open_bundle
from labd_shared.datasets import (
    DATASETS,
    INDEX_NAME,
    PackedDataset,
    dataset_spec,
    packed_folder,
    read_official,
    write_packed,
)
from labd_shared.errors import ArtifactError, BoardBusy, DataMissing
from labd_shared.manifest import Manifest

if TYPE_CHECKING:
    from labd_board.own_data import OwnData

SPLIT = "test"

Dataset = Union[PackedDataset, "OwnData"]  # what validate streams


class Release(NamedTuple):
    """Where this package lies after a deploy: ``<root>/releases/<name>/site/labd_board``."""

    root: Path  # the labd folder on the board
    name: str
    bundle: Path


def current_release() -> Optional[Release]:
    """The release this very package belongs to, found from its own place (HOME differs under sudo);
    None where it was installed in another way."""
    site = Path(os.path.realpath(__file__)).parent.parent
    folder = site.parent
    if site.name == "site" and folder.parent.name == "releases" and (folder / "bundle").is_dir():
        return Release(folder.parent.parent, folder.name, folder / "bundle")
    return None


def find_bundle(path: Optional[str]) -> BundleFiles:
    """The bundle at *path*, or the current release's.

    Raises:
        ArtifactError: neither is there, or it is damaged.
    """
    if path is not None:
        return open_bundle(path)
    release = current_release()
    if release is None:
        raise ArtifactError(
            "no release is deployed here ({} lies outside one)".format(__file__),
            fix="from the host: fab deploy --board NN, or give --bundle PATH",
        )
    return open_bundle(release.bundle)


def data_roots(extra: Optional[str] = None) -> List[Path]:
    """Where data sets are looked for: *extra*, LABD_DATASETS, the labd folder on the board."""
    roots = [extra, os.environ.get("LABD_DATASETS")]
    found = [Path(root) for root in roots if root]
    release = current_release()
    if release is not None:
        found.append(release.root / "datasets")
    return found


def find_dataset(
    name: str, extra: Optional[str], manifest: Manifest, say: Callable[[str], None] = lambda line: None
) -> Dataset:
    """The packed test split of *name*, made from the official files where only those are there; or the
    user's own images, ``npz:PATH`` or ``dir:PATH``, for the network of *manifest*. *say* is told what was done
    to them.

    Raises:
        UnknownName: no such data set.
        DataMissing: in none of the places.
        DataDamaged: what is there is broken.
    """
    if ":" in name:
        from labd_board.own_data import own_data  # few runs need it, and what reads pictures

        own = own_data(name, manifest, say)
        if own is not None:
            return own
    roots = data_roots(extra)
    for root in roots:
        folder = packed_folder(root, name, SPLIT)
        if (folder / INDEX_NAME).is_file():
            return PackedDataset(folder)
    if name not in DATASETS and name == manifest.dataset:
        raise DataMissing(
            "{} is a data set of your own, and it was not sent to this board".format(name),
            fix="from the host: labd data --board NN --dataset npz:FILE, the one it was built with",
        )
    dataset_spec(name)
    made = pack_official(roots, name, SPLIT, packed_root())
    if made is not None:
        return PackedDataset(made)
    raise DataMissing(
        "{} is in none of: {}".format(
            name, ", ".join(str(root) for root in roots) or "no data folder is known"
        ),
        fix="from the host: fab data --board NN --dataset {}, or set LABD_DATASETS to a folder with {}/".format(
            name, name
        ),
    )


def pack_official(roots: Sequence[Path], name: str, split: str, into: Path) -> Optional[Path]:
    """Pack a split from its official files, in the first of *roots* that has them; its folder.

    Returns:
        None when no root has them.

    Raises:
        DataDamaged: a file there does not have the format's structure.
    """
    for root in roots:
        for folder in (root / name, root):
            with contextlib.suppress(DataMissing):
                images, labels = read_official(folder, name, split)
                return write_packed(into, DATASETS[name], split, images, labels)
    return None


def packed_root() -> Path:
    """Where packed splits are made: the labd folder on the board, else a temporary one. Never the folder
    that holds the official files: that is somebody's."""
    release = current_release()
    if release is not None:
        return release.root / "datasets"
    return _own_temporary("datasets")


def runs_folder() -> Path:
    """Where unfinished runs are kept: in the labd folder on the board, else in a temporary one of this user."""
    release = current_release()
    folder = release.root / "runs" if release is not None else _own_temporary("runs")
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def _own_temporary(name: str) -> Path:
    """Of this user, so that nobody else's is in the way."""
    return _temporary_root() / "labd-{}-{}".format(name, os.geteuid())


def _temporary_root() -> Path:
    """Where there is no labd folder: off a board."""
    import tempfile

    return Path(tempfile.gettempdir())


@contextlib.contextmanager
def held_board() -> Iterator[None]:
    """Hold the board's logic: one process at a time; the kernel lets go when the process dies.

    Raises:
        BoardBusy: another process runs on it; the facts name it.
    """
    release = current_release()
    folder = release.root if release is not None else _temporary_root()
    path = folder / "logic.lock"
    handle = _open_for_all(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = handle.read(200).strip() or "another process"
            raise BoardBusy(
                "the accelerator is in use by {}".format(owner),
                fix="wait until it ends, or end that process",
                owner=owner,
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(
            "process {} of {}\n".format(os.getpid(), os.environ.get("SUDO_USER") or os.environ.get("USER"))
        )
        handle.flush()
        yield
    finally:
        handle.close()


def _open_for_all(path: Path) -> "IO[str]":
    """Open the lock file without emptying it; root and xilinx both use it."""
    old = os.umask(0)
    try:
        return os.fdopen(os.open(str(path), os.O_RDWR | os.O_CREAT, 0o666), "r+")
    finally:
        os.umask(old)
