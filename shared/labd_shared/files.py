"""Read files from outside within bounds; write files and folders in one step.

What is written appears whole or not at all, whatever kills the process or the machine: a temporary name in
the same folder, fsync, rename, fsync of the folder. After an error nothing is left behind.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Iterator, Optional, Type, Union

from labd_shared.errors import ArtifactError, LabdError, UsageError

ANY_FILE, ANY_FOLDER = 0o666, 0o777  # as open() and mkdir() ask for; the umask takes from them
PRIVATE_FILE = 0o600


def read_bounded(
    path: Union[str, Path], max_bytes: int, fix: str, error: Type[LabdError] = ArtifactError
) -> bytes:
    """The content of *path*.

    Raises:
        LabdError: of class *error*: it cannot be read, or has more than *max_bytes*; *fix* says what to do
            then.
    """
    try:
        with open(str(path), "rb") as handle:
            content = handle.read(max_bytes + 1)
            size = max(len(content), os.fstat(handle.fileno()).st_size)
    except OSError as failure:
        reason = failure.strerror or failure
        raise error("{} cannot be read: {}".format(path, reason), fix=fix) from failure
    if size > max_bytes:
        raise error("{} has {} bytes, more than {}".format(path, size, max_bytes), fix=fix)
    return content


def check_writable(path: Union[str, Path, None]) -> None:
    """Check, before anything runs, that a result can be written to *path*; None needs no check.

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


def write_text(path: Union[str, Path], text: str, mode: int = ANY_FILE) -> None:
    """Write *text* as UTF-8 in one step; arguments and errors as of `replacing`."""
    with replacing(path, mode) as making:
        making.write_bytes(text.encode("utf-8"))


@contextlib.contextmanager
def replacing(path: Union[str, Path], mode: int = ANY_FILE) -> Iterator[Path]:
    """A file beside *path* for the block to fill: it replaces *path* when the block succeeds, else it goes.

    Args:
        path: The file to be written; its folder must exist.
        mode: Its permissions, less the umask's.

    Raises:
        OSError: it cannot be written there.
    """
    target = Path(str(path))
    making = _beside(target)
    os.close(os.open(str(making), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield making
        _sync(making)
        making.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            making.unlink()
        raise
    _sync(target.parent)


@contextlib.contextmanager
def replacing_folder(path: Union[str, Path]) -> Iterator[Path]:
    """An empty folder beside *path* for the block to fill, as of `replacing`.

    A folder that stands at *path* is removed after the exchange; a process that has a file of it open keeps
    reading that file.

    Raises:
        OSError: it cannot be written there.
    """
    import shutil  # with every compressor: a process that only reads does not pay for it

    target = Path(str(path))
    making = _beside(target)
    making.mkdir(ANY_FOLDER)
    try:
        yield making
        for folder, _, files in os.walk(str(making)):
            for name in files:
                _sync(Path(folder, name))
            _sync(Path(folder))
        old = _exchange(making, target)
    except BaseException:
        shutil.rmtree(str(making), ignore_errors=True)
        raise
    _sync(target.parent)
    if old is not None:
        shutil.rmtree(str(old), ignore_errors=True)


def _exchange(making: Path, target: Path) -> Optional[Path]:
    """Rename *making* to *target*; where the folder that stood there lies now, None if there was none."""
    try:
        making.rename(target)
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    old = _beside(target)
    target.rename(old)
    try:
        making.rename(target)
    except BaseException:
        old.rename(target)
        raise
    return old


def _beside(target: Path) -> Path:
    """A name of its own in *target*'s folder."""
    return target.parent / "{}.{}".format(target.name, os.urandom(8).hex())


def _sync(path: Path) -> None:
    """Have the disk hold *path*, a file's content or a folder's names; some file systems sync no folders."""
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
