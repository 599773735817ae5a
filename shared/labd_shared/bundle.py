"""A bundle: a folder, or the same as one .zip, whose manifest names every file with its sha256.

What only a .zip needs is imported there: on a board a bundle is a folder.
"""

import weakref
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from labd_shared.arrays import load_npz
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, DigestMismatch
from labd_shared.files import read_bounded
from labd_shared.manifest import GOLDEN_NAME, MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, parse_manifest

MAX_FILE_BYTES = 512 << 20


class BundleFiles(object):
    """A bundle that was checked: every file the manifest names is there, whole and unchanged.

    Attributes:
        folder: Where its files lie; a temporary folder (of this object) when it was opened from a .zip.
        manifest: What it says of itself.
    """

    def __init__(self, folder: Path, manifest: Manifest, temporary: bool = False) -> None:
        self.folder = folder
        self.manifest = manifest
        if temporary:  # unpacked from a .zip: it goes when the bundle goes
            import shutil

            weakref.finalize(self, shutil.rmtree, str(folder), True)

    def path(self, name: str) -> Path:
        """The path of one of its files.

        Raises:
            ArtifactError: the manifest names no such file.
        """
        if name != MANIFEST_NAME and name not in self.manifest.files:
            raise ArtifactError(
                "the bundle of {} has no {}".format(self.manifest.network, name),
                fix="it has: " + ", ".join(sorted(self.manifest.files)),
            )
        return self.folder / name


class Golden(NamedTuple):
    """What the golden model computes, shipped with the bundle.

    An imported design whose network is unknown has none of it: every array is empty (``n = m = 0``).

    Attributes:
        images: ``(n,) + input.normal[1:]``, uint8 of pixels: the golden samples, drawn by labd (no data
            set's pictures).
        outputs: ``(n,) + output.normal[1:]``, integers: the accelerator's exact answers to them.
        digests: uint64 ``(m,)`` in ascending order: image digests of the whole test split, or empty.
        predictions: ``(m,)``: the class for each digest.
    """

    images: np.ndarray
    outputs: np.ndarray
    digests: np.ndarray
    predictions: np.ndarray


def open_bundle(path: Union[str, Path]) -> BundleFiles:
    """Open a bundle, folder or .zip, and verify every file.

    Raises:
        ArtifactError: not there, no manifest, a file missing, or a .zip with other names than its manifest's.
        ManifestInvalid: the manifest is wrong.
        DigestMismatch: a file is not the one that was packed.
    """
    where = Path(path)
    if not where.is_file():
        return BundleFiles(where, _verified(where))
    import shutil
    import tempfile

    unpacked = Path(tempfile.mkdtemp(prefix="labd-bundle-"))
    try:
        _unzip(where, unpacked)
        return BundleFiles(unpacked, _verified(unpacked), temporary=True)
    except BaseException:
        shutil.rmtree(str(unpacked), ignore_errors=True)
        raise


def _verified(folder: Path) -> Manifest:
    if not (folder / MANIFEST_NAME).is_file():
        raise ArtifactError(
            "{} is no bundle: it has no {}".format(folder, MANIFEST_NAME),
            fix="build one: labd build NETWORK --target emu -o DIR",
        )
    manifest = parse_manifest(
        read_bounded(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES, "copy the whole bundle again")
    )
    for name, entry in sorted(manifest.files.items()):
        file = folder / name
        if not file.is_file():
            raise ArtifactError(
                "{} is missing from the bundle of {}".format(name, manifest.network),
                fix="copy the whole bundle again",
            )
        size = file.stat().st_size
        if size != entry.size_bytes:
            raise DigestMismatch(
                "{} has {} bytes, the manifest says {}".format(name, size, entry.size_bytes),
                fix="copy or build the bundle again; this one is damaged",
            )
        found = file_sha256(file)
        if found != entry.sha256:
            raise DigestMismatch(
                "{} has sha256 {}..., the manifest says {}...".format(name, found[:12], entry.sha256[:12]),
                fix="copy or build the bundle again; this one is damaged or mixed from two builds",
            )
    return manifest


def _unzip(archive_path: Path, folder: Path) -> None:
    """Unpack exactly the files the manifest inside names, each bounded by the size it states."""
    import shutil
    import zipfile
    import zlib

    again = "copy or build the bundle again"
    try:
        with zipfile.ZipFile(str(archive_path)) as archive:
            names = set(archive.namelist())
            if MANIFEST_NAME not in names:
                raise ArtifactError(
                    "{} is no bundle: it has no {}".format(archive_path, MANIFEST_NAME), fix=again
                )
            with archive.open(MANIFEST_NAME) as source:
                text = source.read(MAX_MANIFEST_BYTES + 1)
            manifest = parse_manifest(text)  # checks the names, so none leads out of the folder
            wanted = set(manifest.files)
            if names != wanted | {MANIFEST_NAME}:
                strange = sorted(names ^ (wanted | {MANIFEST_NAME}))
                raise ArtifactError(
                    "{} and its manifest disagree about {}".format(archive_path.name, ", ".join(strange[:3])),
                    fix=again,
                )
            (folder / MANIFEST_NAME).write_bytes(text)
            for name in sorted(wanted):
                size = archive.getinfo(name).file_size
                if size != manifest.files[name].size_bytes or size > MAX_FILE_BYTES:
                    raise DigestMismatch(
                        "{} unpacks to {} bytes, the manifest says {}".format(
                            name, size, manifest.files[name].size_bytes
                        ),
                        fix=again,
                    )
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, open(str(target), "wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, KeyError) as error:
        raise ArtifactError("{} is no bundle: {}".format(archive_path, error), fix=again) from error


def load_golden(bundle: BundleFiles) -> Golden:
    """The golden samples, checked against the manifest's tensors; none where the network is unknown.

    Raises:
        ArtifactError: an array is missing or of another shape or type.
    """
    arrays = load_npz(bundle.path(GOLDEN_NAME))
    source, sink = bundle.manifest.inputs[0], bundle.manifest.outputs[0]
    frames = len(arrays["images"]) if "images" in arrays and arrays["images"].ndim else 0
    digests = len(arrays["digests"]) if "digests" in arrays and arrays["digests"].ndim else 0
    wanted = {
        "images": (source.batched(source.normal, frames), "iu"),
        "outputs": (sink.batched(sink.normal, frames), "iu"),
        "digests": ((digests,), "u"),
        "predictions": ((digests,), "iu"),
    }
    for name, (shape, kinds) in wanted.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype.kind not in kinds:
            found = "missing" if array is None else "{} {}".format(array.dtype, array.shape)
            raise ArtifactError(
                "{}: {} is {}, wanted integers of shape {}".format(GOLDEN_NAME, name, found, shape),
                fix="build the bundle again: labd build NETWORK --target TARGET -o DIR",
            )
    return Golden(**{name: arrays[name] for name in wanted})
