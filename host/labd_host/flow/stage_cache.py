"""Finished stages in the user's cache, by content: proven once, used by every command and folder.

An entry is a folder with the stage's record and its files, named by the digest of all that the stage came from.
A stage folder and the cache share the bytes (hard links, where the file system has them), so that a second
folder costs next to nothing and stays whole when the cache is emptied. So those files are read-only: what is to
be changed is replaced, never written into. The folding, which people edit, is copied.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from labd_host.flow.stage_records import Inputs, Record, read_record
from labd_host.machine import places
from labd_shared.digest import file_sha256, json_sha256
from labd_shared.files import replacing_folder

VARIABLE = "LABD_STAGES"
LIMIT_BYTES = 5 << 30
RECORD_NAME = "record.json"
READ_ONLY = 0o444
EDITED = ".json"  # what people change and compile again


def cache_folder() -> Path:
    """Where the entries are: the folder ``LABD_STAGES`` names, else a folder of the user's cache."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else places.cache() / "stages"


def entry_of(stage: str, inputs: Inputs, files: Sequence[str]) -> Path:
    """The folder of stage *stage* made from *inputs*, whether it is there or not."""
    return cache_folder() / json_sha256([stage, asdict(inputs), list(files)])


def fetch(stage: str, inputs: Inputs, files: Sequence[str], folder: Path) -> Record | None:
    """Put a finished stage into *folder*; its record, None where the cache lacks it or holds it damaged.

    Args:
        stage: Its name.
        inputs: What it would be made from.
        files: Names of its files.
        folder: Where they go; files of these names there are replaced.
    """
    entry = entry_of(stage, inputs, files)
    record = read_record(entry / RECORD_NAME, stage)
    if record is None or record.inputs != inputs:
        return None
    if any(_digest(entry / name) != record.files.get(name) for name in files):
        shutil.rmtree(entry, ignore_errors=True)  # damaged: it is made again, and kept again
        return None
    try:
        for name in files:
            _share(entry / name, folder / name)
    except OSError:  # no room, or somebody empties the cache: the stage is made instead
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # used last now
    return record


def keep(record: Record, files: Sequence[str], folder: Path) -> None:
    """Keep the finished stage of *record*, whose *files* are in *folder*; nothing is said where that cannot be."""
    entry = entry_of(record.stage, record.inputs, files)
    if (entry / RECORD_NAME).is_file():
        return
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(entry) as making:
            for name in files:
                _share(folder / name, making / name)
            (making / RECORD_NAME).write_text(record.text(), encoding="utf-8")
        _make_room()
    except OSError:
        return


def held_bytes() -> int:
    """What all entries hold."""
    return sum(size for _, size, _ in _entries())


def _make_room() -> None:
    """Remove the entries that were not used for longest, until the rest keeps the limit."""
    entries = sorted(_entries())
    held = sum(size for _, size, _ in entries)
    for _, size, entry in entries:
        if held <= LIMIT_BYTES:
            return
        shutil.rmtree(entry, ignore_errors=True)
        held -= size


def _entries() -> list[tuple[float, int, Path]]:
    """When each entry was last used, its bytes, and its folder."""
    found = []
    folder = cache_folder()
    for entry in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            size = sum(file.stat().st_size for file in entry.iterdir())
            found.append((entry.stat().st_mtime, size, entry))
    return found


def _share(source: Path, target: Path) -> None:
    """Have *target* be *source*: the same bytes on disk where that can be, else a copy."""
    target.unlink(missing_ok=True)
    if source.suffix != EDITED:
        source.chmod(READ_ONLY)
        with contextlib.suppress(OSError):  # another file system, or one without links
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _digest(path: Path) -> str:
    return file_sha256(path) if path.is_file() else ""
