"""Named arrays in one .npz: written with the same bytes every time, read without trust.

zipfile is imported where it is used: most commands on a board start without it.
"""

import io
from pathlib import Path
from typing import Dict, Union

import numpy as np

from labd_shared.errors import ArtifactError

MAX_NPZ_BYTES = 256 << 20


def save_npz(path: Union[str, Path], arrays: Dict[str, np.ndarray], compressed: bool = True) -> None:
    """Write *arrays* (no object arrays); names in order, fixed dates, so that the digest says the content."""
    import zipfile

    from labd_shared.archive import add_member

    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(
                buffer, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False
            )
            kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            add_member(archive, name + ".npy", buffer.getvalue(), kind)


def load_npz(path: Union[str, Path], max_bytes: int = MAX_NPZ_BYTES) -> Dict[str, np.ndarray]:
    """Every array in *path*; nothing is unpickled, and what would unpack to more than *max_bytes* is refused.

    Raises:
        ArtifactError: no readable .npz, too large, or it holds objects.
    """
    import zipfile

    rebuild = "make the file again; it is damaged or not ours"
    try:
        with zipfile.ZipFile(str(path)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
            if total > max_bytes:
                raise ArtifactError(
                    "{} unpacks to {} bytes, more than {}".format(Path(path).name, total, max_bytes),
                    fix=rebuild,
                )
        with np.load(str(path), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except ArtifactError:
        raise
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, MemoryError) as error:
        raise ArtifactError("{} cannot be read: {}".format(Path(path).name, error), fix=rebuild) from error
    except Exception as error:  # noqa: BLE001 - zlib.error and struct.error have no common parent below Exception
        raise ArtifactError("{} cannot be read: {!r}".format(Path(path).name, error), fix=rebuild) from error
