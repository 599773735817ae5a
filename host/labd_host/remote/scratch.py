"""Files of one command on a board: pictures brought before it runs, predictions fetched behind it.

They lie in a folder of the agent's, which goes when the board's lock does, however the command ends.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labd_host.machine.listener import Listener
from labd_host.remote.agent import Session
from labd_host.remote.releases import RESERVE_BYTES, no_room
from labd_shared.arrays import MAX_NPZ_BYTES
from labd_shared.errors import ArtifactError, LabdError, ResultError, UsageError
from labd_shared.files import replacing
from labd_shared.picture_files import MAX_PICTURE_BYTES
from labd_shared.predictions import load_predictions

PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class Brought:
    """Pictures on a board: their folder there, and which file of this machine each one is, in order."""

    folder: str
    files: Mapping[str, Path]

    def named_as_here(self, text: str) -> str:
        """*text* with the name that a picture has here wherever its path on the board stands."""
        pattern = re.escape(self.folder) + r"/([0-9]{6}\.[a-z]+)"
        return re.sub(pattern, lambda found: str(self.files.get(found[1], found[0])), text)


def check_pictures(files: Sequence[Path]) -> None:
    """Look whether *files* can be sent, before a board is asked.

    Raises:
        ArtifactError: one cannot be read, or is too large to be a picture.
    """
    for path in files:
        try:
            with path.open("rb"):
                size = path.stat().st_size
        except OSError as error:
            raise ArtifactError(
                f"{path} cannot be read: {error.strerror}", fix="name another file"
            ) from error
        if size > MAX_PICTURE_BYTES:
            raise ArtifactError(
                f"{path} has {size} bytes, more than {MAX_PICTURE_BYTES}", fix="make the picture smaller"
            )


@contextmanager
def pictures(session: Session, files: Sequence[Path], *, listener: Listener) -> Iterator[Brought]:
    """Send *files* to the board; an error in the block names them as they are called here.

    They are numbered there, so that their order stays and no name of this machine becomes a path on a board.

    Args:
        session: Holding the board's lock.
        files: As `check_pictures` passed them.
        listener: Told what happens.

    Raises:
        BoardDiskFull: no room for them.
        BoardLost, BoardError: the link or the board gave up.
    """
    there = session.ask("scratch")
    size = sum(path.stat().st_size for path in files)
    if there["free_bytes"] < size + RESERVE_BYTES:
        raise no_room(session.connection.board, there["free_bytes"], size + RESERVE_BYTES)
    named = {f"{number:06d}{path.suffix.lower()}": path for number, path in enumerate(files)}
    brought = Brought(str(there["folder"]), named)
    listener.say(f"sending {size / 1e6:.1f} MB in {len(files)} files ...")
    for name, path in named.items():
        session.connection.upload(path, f"{brought.folder}/{name}")
    try:
        yield brought
    except LabdError as error:
        error.what = brought.named_as_here(error.what)
        raise


@contextmanager
def predictions(session: Session, local: Path | None, *, listener: Listener) -> Iterator[list[str]]:
    """The option that makes a command of the block write its predictions; at its end they are in *local*,
    also when their answers were not good enough.

    Args:
        session: Holding the board's lock.
        local: A file; nothing is asked for and fetched when None.
        listener: Told what happens.

    Raises:
        ArtifactError: what the board wrote is no file of predictions.
        UsageError: *local* cannot be written.
        BoardLost, BoardError: the link or the board gave up.
    """
    if local is None:
        yield []
        return
    remote = f"{session.ask('scratch')['folder']}/{PREDICTIONS}"
    try:
        yield [f"--predictions={remote}"]
    except ResultError:
        _fetch(session, remote, local, listener)
        raise
    _fetch(session, remote, local, listener)


def _fetch(session: Session, remote: str, local: Path, listener: Listener) -> None:
    content = session.connection.download(remote, max_bytes=MAX_NPZ_BYTES)
    try:
        with replacing(local) as making:
            making.write_bytes(content)
            images = len(
                load_predictions(making).row
            )  # whatever a board sends: what cannot be read takes no name
    except OSError as error:
        raise UsageError(f"{local} cannot be written: {error.strerror}", fix="choose another file") from error
    listener.say(f"what was said of {images} images: {local}")
