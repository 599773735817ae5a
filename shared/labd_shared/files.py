"""Files from outside, read whole but never more than is sane."""

from pathlib import Path
from typing import Union

from labd_shared.errors import ArtifactError


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
