"""Which files are pictures, on a board and on the host."""

from pathlib import Path
from typing import List, Sequence

from labd_shared.errors import ArtifactError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".npy")
MAX_PICTURE_BYTES = 64 << 20


def pictures_in(names: Sequence[str]) -> List[Path]:
    """The files *names*, and of folders among them every picture below, in order of their names.

    Raises:
        ArtifactError: there is nothing of that name, or no picture in a folder.
    """
    found: List[Path] = []
    for name in names:
        path = Path(name)
        inside = [path]
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in ENDINGS)
        if not inside or not inside[0].is_file():
            raise ArtifactError(
                "there is no picture at {}".format(name), fix="name files or folders of " + ", ".join(ENDINGS)
            )
        found += inside
    return found
