"""Data sets on a board: packed here, sent once, verified, put in place in one step."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host import datasets
from labd_host.machine.listener import Listener
from labd_host.remote.agent import Session
from labd_host.remote.releases import RESERVE_BYTES, Content, upload_missing
from labd_shared.datasets import INDEX_NAME, packed_sizes, read_index
from labd_shared.digest import file_sha256, image_digest
from labd_shared.errors import ArtifactError, DataMissing, UnknownName
from labd_shared.frame_form import FrameForm, frame_form
from labd_shared.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, parse_manifest
from labd_shared.records import Origin


@dataclass(frozen=True)
class Pushed:
    """What a push did; 0 bytes when the board had the same."""

    board: str
    dataset: str
    split: str
    sent_bytes: int


def pack(text: str, split: str, form: FrameForm | None = None) -> Path:
    """The packed form of a data set of this machine, written anew into the cache; its folder.

    Args:
        text: As of `labd_host.datasets.read`: a name, or data of one's own.
        split: "test" or "train".
        form: What the network on the board takes; None where none is known.

    Raises:
        As `labd_host.datasets.read`.
    """
    found = datasets.read(text, split, form)
    return datasets.keep(found, split)


def deployed_form(session: Session) -> FrameForm | None:
    """What the network that is deployed on a board takes; None where none is.

    Raises:
        BoardLost, BoardError, ArtifactError: its manifest cannot be fetched.
    """
    if not session.hello["release"]:
        return None
    remote = f"{session.hello['root']}/current/bundle/{MANIFEST_NAME}"
    return frame_form(parse_manifest(session.connection.download(remote, max_bytes=MAX_MANIFEST_BYTES)))


def push_dataset(session: Session, packed: Path, *, listener: Listener) -> Pushed:
    """Bring a packed split to the board, when what is there differs.

    Args:
        session: Holding the board's lock.
        packed: Folder that `labd_shared.datasets.write_packed` made.
        listener: Told what happens.

    Raises:
        BoardDiskFull, BoardLost, DigestMismatch, BoardError: as of `releases.upload_missing`.
    """
    board = session.connection.board.number
    content = (packed / INDEX_NAME).read_text()
    spec, index = read_index(content, Origin(INDEX_NAME))
    name, split = spec.name, index["split"].text()
    there = session.ask("dataset", name=name, split=split)
    if there["index"] == content and is_whole(there, name):
        return Pushed(board, name, split, 0)
    contents = {}
    for file_name in (INDEX_NAME, *packed_sizes(spec, 0)):
        path = packed / file_name
        contents[file_name] = Content(file_sha256(path), path.stat().st_size, path)
    listener.say(f"data set {name}/{split}")
    _, sent_bytes = upload_missing(
        session, contents.values(), listener=listener, reserve_bytes=RESERVE_BYTES, copies=0
    )
    listing = {file_name: [content.sha256, content.size_bytes] for file_name, content in contents.items()}
    session.ask("put_dataset", name=name, split=split, files=listing)
    return Pushed(board, name, split, sent_bytes)


def is_whole(there: dict[str, Any], name: str) -> bool:
    """Whether the files on the board are those that its index of data set *name* asks for, by their sizes."""
    try:
        spec, index = read_index(str(there["index"]), Origin(INDEX_NAME))
        wanted = packed_sizes(spec, index["count"].integer(0))
    except (ArtifactError, UnknownName):
        return False
    return spec.name == name and all(
        there["sizes"].get(file_name) == size for file_name, size in wanted.items()
    )


def bring_dataset(
    session: Session, name: str, *, measured_on: Collection[int] = (), listener: Listener
) -> Pushed | None:
    """See to it that the board has the test split of *name*; None when it cannot be had here.

    A board that has a data set of the table keeps it as it is; `fab data` compares and replaces. A user's own is
    compared: another one may have had its name.

    Args:
        session: Holding the board's lock.
        name: As a bundle has it.
        measured_on: Digests of the images that the bundle was measured on; () where nobody knows.
        listener: Told what happens.
    """
    own = datasets.is_own(name)
    there = name and is_whole(session.ask("dataset", name=name, split="test"), name)
    if there and not own:
        return Pushed(session.connection.board.number, name, "test", 0)
    try:
        if own and measured_on and (other := _is_another(name, measured_on)):
            listener.say(other)
            return None
        return push_dataset(session, pack(name, "test"), listener=listener)
    except UnknownName as error:  # of an imported design, or built on another machine
        if there:
            return Pushed(session.connection.board.number, name, "test", 0)
        listener.say(f"no test data was brought: {error.what}")
        return None
    except DataMissing as error:
        listener.say(f"the board lacks data set {name}, and so does this machine: {error.what}")
        listener.say(
            f"  fix: {error.fix}; then: fab data --board {session.connection.board.number} --dataset {name}"
        )
        return None


def _is_another(name: str, measured_on: Collection[int]) -> str:
    """What to say where the data set that is kept here as *name* is not the one that a bundle was measured on."""
    images, _ = datasets.load(name, "test")
    found = {image_digest(image.tobytes()) for image in images}
    if found == set(measured_on):
        return ""
    return (
        f"no test data was brought: {name} on this machine is another one than the bundle was measured on; say "
        "which: labd data --board NN --dataset npz:FILE"
    )


def bring_own(session: Session, text: str, *, listener: Listener) -> Pushed:
    """Pack data of this machine for the network on the board, and send it where the board has something else.

    Args:
        session: Holding the board's lock.
        text: As of `labd_host.datasets.read`.
        listener: Told what happens.

    Raises:
        As `labd_host.datasets.read` and `push_dataset`.
    """
    found = datasets.read(text, "test", deployed_form(session))
    for note in found.notes:
        listener.say(note)
    return push_dataset(session, datasets.keep(found, "test"), listener=listener)
