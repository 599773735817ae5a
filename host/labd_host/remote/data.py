"""Data sets on a board: packed here, sent once, verified, put in place in one step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host.machine import places
from labd_host.machine.listener import Listener
from labd_host.remote.agent import Session
from labd_host.remote.releases import RESERVE_BYTES, Content, upload_missing
from labd_shared.datasets import INDEX_NAME, MAX_INDEX_BYTES, SPLITS, dataset_spec, packed_sizes, write_packed
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, DataMissing, UnknownName, unknown_name
from labd_shared.records import Origin, parse_json


@dataclass(frozen=True)
class Pushed:
    """What a push did; 0 bytes when the board had the same."""

    board: str
    dataset: str
    split: str
    sent_bytes: int


def pack(name: str, split: str) -> Path:
    """The packed form of a data set of this machine, written anew into the cache; its folder.

    Raises:
        UnknownName: no such data set or split.
        DataMissing: it is neither here nor to be had.
    """
    from labd_host.datasets import load

    dataset_spec(name)
    if split not in SPLITS:
        raise unknown_name(f"split of {name}", split, SPLITS)
    images, labels = load(name, split)
    return write_packed(places.cache() / "packed", name, split, images, labels)


def push_dataset(session: Session, packed: Path, name: str, split: str, *, listener: Listener) -> Pushed:
    """Bring a packed split to the board, when what is there differs.

    Args:
        session: Holding the board's lock.
        packed: Folder that `labd_shared.datasets.write_packed` made.
        name, split: Of the data set.
        listener: Told what happens.

    Raises:
        BoardDiskFull, BoardLost, DigestMismatch, BoardError: as of `releases.upload_missing`.
    """
    board = session.connection.board.number
    there = session.ask("dataset", name=name, split=split)
    if there["index"] == (packed / INDEX_NAME).read_text() and is_whole(there, name):
        return Pushed(board, name, split, 0)
    contents = {}
    for file_name in (INDEX_NAME, *packed_sizes(dataset_spec(name), 0)):
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
        index = parse_json(str(there["index"]), MAX_INDEX_BYTES, Origin(INDEX_NAME)).fields(("count",), None)
        wanted = packed_sizes(dataset_spec(name), index["count"].integer(0))
    except (ArtifactError, KeyError):
        return False
    return all(there["sizes"].get(file_name) == size for file_name, size in wanted.items())


def bring_dataset(session: Session, name: str, *, listener: Listener) -> Pushed | None:
    """See to it that the board has the test split of *name*; None when it cannot be had here.

    A board that has it keeps it as it is; `fab data` compares and replaces.
    """
    if name and is_whole(session.ask("dataset", name=name, split="test"), name):
        return Pushed(session.connection.board.number, name, "test", 0)
    try:
        return push_dataset(session, pack(name, "test"), name, "test", listener=listener)
    except UnknownName as error:  # of an imported design
        listener.say(f"no test data was brought: {error.what}")
        return None
    except DataMissing as error:
        listener.say(f"the board lacks data set {name}, and so does this machine: {error.what}")
        listener.say(
            f"  fix: {error.fix}; then: fab data --board {session.connection.board.number} --dataset {name}"
        )
        return None
