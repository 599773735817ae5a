"""The files of a package from outside, a folder or a .zip: read by exact names, bounded, never unpacked."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Protocol

from labd_shared.errors import ArtifactError
from labd_shared.files import read_bounded

MAX_ENTRIES = 10_000
AGAIN = "copy the package again, or name the folder that holds bitfile/ and driver/"


class Files(Protocol):
    """Names are relative, with forward slashes."""

    def has(self, name: str) -> bool:
        """Whether there is a file of exactly that name."""

    def below(self, folder: str) -> list[str]:
        """The files in *folder* and below it, sorted."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a file; ArtifactError where it is not there, or larger."""


class PackageFolder:
    """A folder; a link that leads out of it is no file of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, name: str) -> bool:
        path = self.root / name
        return path.is_file() and path.resolve().is_relative_to(self.root.resolve())

    def below(self, folder: str) -> list[str]:
        names = []
        for path in (self.root / folder).rglob("*"):
            if path.is_file():
                names.append(path.relative_to(self.root).as_posix())
            if len(names) > MAX_ENTRIES:
                raise ArtifactError(f"{self.root / folder} holds more than {MAX_ENTRIES} files", fix=AGAIN)
        return sorted(names)

    def read(self, name: str, max_bytes: int) -> bytes:
        if not self.has(name):
            raise ArtifactError(f"{self.root} has no {name} of its own", fix=AGAIN)
        return read_bounded(self.root / name, max_bytes, AGAIN)


class Zip:
    """A .zip archive.

    Raises:
        ArtifactError: no archive, too many entries, or a name that leads out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ArtifactError(f"{path.name} is no .zip that can be read: {error}", fix=AGAIN) from error
        if len(names) > MAX_ENTRIES:
            raise ArtifactError(f"{path.name} has {len(names)} entries, more than {MAX_ENTRIES}", fix=AGAIN)
        for name in names:
            if "\\" in name or name.startswith("/") or ".." in PurePosixPath(name).parts or ":" in name:
                raise ArtifactError(
                    f"{path.name} holds {name!r}, which leads out of the archive",
                    fix="do not trust this file",
                )
        if len(set(names)) != len(names):
            raise ArtifactError(f"{path.name} holds two files of one name", fix="do not trust this file")
        self._names = {name for name in names if not name.endswith("/")}

    def has(self, name: str) -> bool:
        return name in self._names

    def below(self, folder: str) -> list[str]:
        return sorted(name for name in self._names if name.startswith(folder + "/"))

    def read(self, name: str, max_bytes: int) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as source:
                content = source.read(max_bytes + 1)  # the stated size is not believed
        except (zipfile.BadZipFile, zlib.error, OSError, KeyError, EOFError, RuntimeError) as error:
            raise ArtifactError(f"{name} in {self.path.name} cannot be read: {error}", fix=AGAIN) from error
        if len(content) > max_bytes:
            raise ArtifactError(
                f"{name} in {self.path.name} unpacks to more than {max_bytes} bytes", fix=AGAIN
            )
        return content
