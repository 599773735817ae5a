"""Files from outside, read whole but never more than is sane; files of ours, written whole or not at all."""

import contextlib
import os
from pathlib import Path
from typing import Iterator, Union

from labd_shared.errors import ArtifactError, UsageError


def read_bounded(path: Union[str, Path], max_bytes: int, fix: str) -> bytes:
    """The content of *path*.

    Raises:
        ArtifactError: it cannot be read, or has more than *max_bytes*; *fix* says what to do then.
    """
    file = Path(str(path))
    try:
        size = file.stat().st_size
        if size > max_bytes:
            raise ArtifactError("{} has {} bytes, more than {}".format(file, size, max_bytes), fix=fix)
        return file.read_bytes()
    except OSError as error:
        raise ArtifactError("{} cannot be read: {}".format(file, error.strerror or error), fix=fix) from error


def check_writable(path: Union[str, Path, None]) -> None:
    """See to it, before anything runs, that a result can be written to *path*, where one is wanted.

    Raises:
        UsageError: it cannot.
    """
    if path is None:
        return
    target = Path(str(path))
    folder = target.resolve().parent
    if not folder.is_dir() or not os.access(str(folder), os.W_OK) or target.is_dir():
        raise UsageError(
            "{} cannot be written".format(path), fix="name a file in a folder that is there and yours"
        )


@contextlib.contextmanager
def replacing(path: Union[str, Path]) -> Iterator[Path]:
    """A file to write beside *path*, which takes its place when the block ends well, and is gone otherwise.

    Raises:
        OSError: it cannot be written there.
    """
    import tempfile  # with shutil and every compressor: not paid for by who only reads

    target = Path(str(path))
    handle, name = tempfile.mkstemp(prefix=target.name + ".", dir=str(target.parent))
    os.close(handle)
    making = Path(name)
    try:
        yield making
        making.chmod(0o644)
        making.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            making.unlink()
        raise
