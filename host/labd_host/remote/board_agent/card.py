"""The folder of labd on the board's card, and what is done to the files in it."""

import hashlib
import json
import os
import shutil
from typing import Any, Dict

ROOT = os.path.join(os.path.expanduser("~"), "labd")
CHUNK_BYTES = 1 << 20


def at(*parts: str) -> str:
    return os.path.join(ROOT, *parts)


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for chunk in iter(lambda: handle.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def is_whole(path: str, sha256: str, size: int) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) == size and sha256_of(path) == sha256


def flush(path: str) -> None:
    """Bring a file or folder to the card before something is renamed: a power cut must not leave a name
    without its bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_text(path: str) -> str:
    try:
        with open(path) as handle:
            return handle.read(1 << 20)
    except OSError:
        return ""


def write_text(path: str, text: str) -> None:
    """Write a small file in one step."""
    with open(path + ".new", "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(path + ".new", path)


def read_json(path: str) -> Dict[str, Any]:
    try:
        record = json.loads(read_text(path))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def free_bytes() -> int:
    where = os.statvfs(ROOT if os.path.isdir(ROOT) else os.path.dirname(ROOT))
    return where.f_bavail * where.f_frsize


def copy_in(sha256: str, target: str) -> None:
    """A copy, no hard link: whoever edits a release in place must not change the store."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(at("store", sha256), target + ".new")
    flush(target + ".new")
    os.rename(target + ".new", target)


def remove_tree(path: str) -> bool:
    """Whether it is gone; files that root left there (a run under sudo) stay, and are no reason to fail."""
    shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)
