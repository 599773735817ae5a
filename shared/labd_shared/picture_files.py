"""Which files are pictures, on a board and on the host."""

from pathlib import Path
from typing import Iterable, List, Sequence

from labd_shared.errors import ArtifactError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".npy")
OTHER_ENDINGS = (
    ".tif",
    ".tiff",
    ".webp",
    ".heic",
    ".svg",
    ".raw",
    ".dng",
    ".avif",
)  # pictures that are not read
MAX_PICTURE_BYTES = 64 << 20


def is_hidden(name: str) -> bool:
    """Whether a file or folder is nobody's picture: Jupyter's, macOS' and other systems' own."""
    return name.startswith((".", "__MACOSX"))


def pictures_among(paths: Iterable[Path]) -> List[Path]:
    """Those of *paths* that are pictures, in order of their names."""
    return sorted(
        each
        for each in paths
        if each.suffix.lower() in ENDINGS and not is_hidden(each.name) and each.is_file()
    )


def unread_among(paths: Iterable[Path]) -> str:
    """The ending of pictures among *paths* that labd does not read, with their number, or ""."""
    found = [each.suffix.lower() for each in paths if each.suffix.lower() in OTHER_ENDINGS]
    return "{} files of {}, which labd does not read".format(len(found), found[0]) if found else ""


def pictures_in(names: Sequence[str]) -> List[Path]:
    """The files *names*, and of folders among them every picture below, in order of their names.

    Raises:
        ArtifactError: there is nothing of that name, or no picture in a folder.
    """
    found: List[Path] = []
    for name in names:
        path = Path(name)
        inside, unread = [path], ""
        if path.is_dir():
            below = [
                each for each in path.rglob("*") if not any(map(is_hidden, each.relative_to(path).parts))
            ]
            inside, unread = pictures_among(below), unread_among(below)
        if not inside or not inside[0].is_file():
            raise ArtifactError(
                "there is no picture at {}{}".format(name, unread and "; it has " + unread),
                fix="name files or folders of " + ", ".join(ENDINGS),
            )
        found += inside
    return found
