"""Releases on a board: content-addressed, verified, switched in one step, taken back when they fail.

    plan      what a release holds, as data; its digest is its name
    deploy    upload what is missing, verify, switch, run the golden samples, confirm or roll back

A release is a bundle and the code that runs it, so an old release runs as it did. Everything on the
board is done by its agent under the board's lock; what is not confirmed when the host vanishes is
taken back by the agent itself.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host.machine.listener import Listener
from labd_host.remote.agent import Session, now, who
from labd_host.remote.inventory import BoardEntry
from labd_host.remote.wheel import wheel_files
from labd_shared.bundle import BundleFiles
from labd_shared.digest import bytes_sha256, file_sha256, json_sha256
from labd_shared.errors import (
    ArtifactError,
    BoardDiskFull,
    BoardError,
    BoardLost,
    DigestMismatch,
    LabdError,
    NoGoldenSamples,
    WrongPart,
    WrongTarget,
)
from labd_shared.manifest import MANIFEST_NAME, NETWORK_NAME, Manifest
from labd_shared.wire import load_line

RESERVE_BYTES = 32 << 20  # left free on the board: logs, Python's caches, the user's own files
SELFTEST_S = 300.0


@dataclass(frozen=True)
class Content:
    """The content of one file to send."""

    sha256: str
    size_bytes: int
    source: Path | bytes


@dataclass(frozen=True)
class Plan:
    """What a release will hold.

    Attributes:
        release: Sixteen hex digits over the file list.
        files: By path inside the release.
        manifest: The bundle's.
        bundle: Keeps a bundle that was unpacked from a .zip alive.
    """

    release: str
    files: Mapping[str, Content]
    manifest: Manifest
    bundle: BundleFiles

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(content.size_bytes for content in self.files.values())


@dataclass(frozen=True)
class Deployed:
    """What a deploy did.

    Attributes:
        board, release: Where and what.
        previous: The release that was current before, "" for none.
        files: Number of files in the release.
        sent_files, sent_bytes: What went over the link; 0 when everything was there.
        unchanged: Whether this release was the current one already.
        mended: Files of it that had been changed on the board and were put right.
        selftest: What the golden samples said.
        seconds: The whole deploy.
    """

    board: str
    release: str
    previous: str
    files: int
    sent_files: int
    sent_bytes: int
    unchanged: bool
    mended: tuple[str, ...]
    selftest: dict[str, Any]
    seconds: float


def plan(bundle: BundleFiles, wheel: Path) -> Plan:
    """What to put on a board for *bundle*, run by the code in *wheel*."""
    files = {}
    for name in (MANIFEST_NAME, *bundle.manifest.files):
        path = bundle.path(name)
        files[f"bundle/{name}"] = Content(file_sha256(path), path.stat().st_size, path)
    for name, text in wheel_files(wheel).items():
        files[f"site/{name}"] = Content(bytes_sha256(text), len(text), text)
    listing = {path: content.sha256 for path, content in files.items()}
    return Plan(json_sha256(listing)[:16], files, bundle.manifest, bundle)


def check_identity(wanted: Plan, board: BoardEntry, hello: Mapping[str, Any]) -> None:
    """Refuse a release that cannot run on *board*, before anything is written there.

    Raises:
        WrongTarget: an emulation bundle for a real board, or a hardware bundle that the virtual board
            cannot compute.
        WrongPart: built for another device or another board.
    """
    manifest = wanted.manifest
    if manifest.target == "emu" and board.kind == "real":
        raise WrongTarget(
            f"the bundle of {manifest.network} was built for target emu, board {board.number} is a real one",
            fix=f"build it for hardware: labd build {manifest.network} --target hw -o DIR",
            board=board.number,
        )
    if board.kind == "virtual" and NETWORK_NAME not in manifest.files:
        raise WrongTarget(
            f"the bundle of {manifest.network} has no network.npz, virtual board {board.number} "
            "cannot compute it",
            fix="add the network it was built from: labd attach-network BUNDLE network.npz",
            board=board.number,
        )
    if _device(manifest.part) != _device(board.part):
        raise WrongPart(
            f"the bundle was built for part {manifest.part}, board {board.number} has {board.part}",
            fix=f"build it for that part, or correct part of board {board.number} in the inventory",
            board=board.number,
        )
    model = str(hello["model"])
    if model and model.lower() != manifest.board.lower():
        raise WrongPart(
            f"the bundle was built for {manifest.board}, board {board.number} says it is a {model}",
            fix="build it for that board, or deploy it to another",
            board=board.number,
        )


def _device(part: str) -> str:
    """xc7z020clg400-1 without vendor prefix and speed grade: what a .bit header says of it."""
    return part.lower().removeprefix("xc").split("-")[0]


def deploy(
    session: Session, wanted: Plan, *, listener: Listener, reserve_bytes: int = RESERVE_BYTES
) -> Deployed:
    """Put a release on the board, make it the current one, and prove it there.

    Args:
        session: With the board's agent; takes the board's lock.
        wanted: What to deploy.
        listener: Told what happens.
        reserve_bytes: Room to leave on the board.

    Raises:
        BoardBusy: somebody else has the board.
        WrongTarget, WrongPart: it cannot run there; nothing was written.
        BoardDiskFull: no room; nothing was switched.
        DigestMismatch: what arrived is not what was sent.
        BoardLost, CommandTimeout, BoardError: the link or the board gave up.
        LabdError: the golden samples failed; the previous release is current again.
    """
    started_s = time.monotonic()
    board = session.connection.board
    check_identity(wanted, board, session.hello)
    slack_ns = wanted.manifest.slack_ns
    if slack_ns is not None and slack_ns < 0:
        listener.say(
            f"this design does not keep its timing (slack {slack_ns:g} ns): its answers may be wrong"
        )
    session.lock(f"deploy {wanted.manifest.network}")
    sent_files, sent_bytes = upload_missing(
        session, wanted.files.values(), listener=listener, reserve_bytes=reserve_bytes
    )
    listing = {path: [content.sha256, content.size_bytes] for path, content in wanted.files.items()}
    mended = tuple(session.ask("release", release=wanted.release, files=listing)["mended"])
    if mended:
        listener.say(f"put right on the board: {', '.join(mended[:5])}")
    previous = str(session.ask("switch", release=wanted.release)["previous"])
    unchanged = previous == wanted.release
    listener.say(
        f"release {wanted.release} " + ("is current already" if unchanged else "is current, on probation")
    )
    selftest = prove(session, listener=listener)
    stuck = session.ask("confirm", when=now(), who=who())["stuck"]
    if stuck:
        listener.say(f"not removed, files in it belong to root: {', '.join(stuck)}")
    return Deployed(
        board.number,
        wanted.release,
        previous,
        len(wanted.files),
        sent_files,
        sent_bytes,
        unchanged,
        mended,
        selftest,
        time.monotonic() - started_s,
    )


def prove(session: Session, *, listener: Listener) -> dict[str, Any]:
    """Run the golden samples on the release that was switched to; take it back when they fail.

    Returns:
        What labd_board.selftest said, as data; no samples for an imported bundle that has none.
    """
    listener.say("golden samples ...")
    try:
        report = run_labd(session, "selftest", ["--json"], deadline_s=SELFTEST_S)
        return parse_report(session.connection.board, "selftest", report.stdout)
    except NoGoldenSamples as error:
        listener.say(f"not proven: {error.what}")
        return {"samples": 0}
    except LabdError as error:
        if session.connection.lost():
            raise  # the agent takes the release back by itself
        back = session.ask("back")["release"]
        listener.say(f"the golden samples failed; current is {back or 'no release'} again")
        error.facts["current"] = back
        raise


def parse_report(board: BoardEntry, command: str, text: str) -> dict[str, Any]:
    """The JSON a board command printed.

    Raises:
        BoardError: it printed something else.
    """
    report = load_line(text.strip())
    if report is None:
        raise BoardError(
            f"labd_board.{command} on board {board.number} printed {text.strip()[:80]!r} instead of JSON",
            fix=f"see what runs there: fab info --board {board.number}",
            board=board.number,
        )
    return report


def run_labd(
    session: Session, command: str, arguments: list[str], *, deadline_s: float, **streams: Any
) -> Any:
    """Run ``labd_board.COMMAND`` of the current release; arguments as of `Connection.run`.

    PYTHONPATH names the release as labd.pth does, and comes before anything installed there.
    """
    board, root = session.connection.board, session.hello["root"]
    env = {"PYTHONPATH": f"{root}/current/site", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if board.kind == "real":  # a login shell would set these; a command over SSH has none
        env |= {"BOARD": str(session.hello["model"]) or board.model}
        env |= {"XILINX_XRT": board.xilinx_xrt} if board.xilinx_xrt else {}
    argv = [board.python, "-m", f"labd_board.{command}", *arguments]
    return session.connection.run(
        argv, what=f"labd_board.{command}", deadline_s=deadline_s, env=env, root=True, **streams
    )


def roll_back(session: Session, *, listener: Listener) -> Deployed:
    """Go back to the release before the current one, verified and proved like a deploy.

    Raises:
        ArtifactError: there is none.
        BoardBusy, DigestMismatch, LabdError: as of `deploy`.
    """
    started_s = time.monotonic()
    board = session.connection.board
    session.lock("rollback")
    hello = session.ask("hello")  # again: before the lock somebody else may have deployed
    current = str(hello["release"])
    earlier = [entry["release"] for entry in hello["history"] if entry["release"] != current]
    if not earlier:
        raise ArtifactError(
            f"board {board.number} has no release before {current or 'its first'}",
            fix=f"deploy another bundle: fab deploy --board {board.number} --bundle DIR",
            board=board.number,
        )
    session.ask("verify", release=earlier[-1])
    session.ask("switch", release=earlier[-1])
    listener.say(f"release {earlier[-1]} is current, on probation")
    selftest = prove(session, listener=listener)
    session.ask("confirm", when=now(), who=who())
    return Deployed(
        board.number, earlier[-1], current, 0, 0, 0, False, (), selftest, time.monotonic() - started_s
    )


def upload_missing(
    session: Session, contents: Iterable[Content], *, listener: Listener, reserve_bytes: int, copies: int = 1
) -> tuple[int, int]:
    """Bring contents into the board's store: only what it lacks, resumed where an earlier try ended.

    Args:
        session: Holding the board's lock.
        contents: What must be there.
        listener: Told how it goes.
        reserve_bytes: Room to leave on the board.
        copies: How often each content is written once more after it arrived: once for a release.

    Returns:
        Number of files and of bytes that went over the link.

    Raises:
        BoardDiskFull: no room for them and the reserve.
        DigestMismatch: a content arrived damaged twice.
        BoardLost, BoardError: the link or the board gave up.
    """
    board = session.connection.board
    by_digest = {content.sha256: content for content in contents}
    sizes = {digest: [digest, content.size_bytes] for digest, content in by_digest.items()}
    sent_files = sent_bytes = 0
    for _ in range(2):  # a part that was spoilt by an earlier try is thrown away and sent once more
        answer = session.ask("want", files=sizes)
        missing: dict[str, int] = answer["missing"]
        if not missing:
            return sent_files, sent_bytes
        to_send = sum(by_digest[digest].size_bytes - have for digest, have in missing.items())
        copied = copies * sum(content.size_bytes for content in by_digest.values())
        need = to_send + copied + reserve_bytes
        if answer["free_bytes"] < need:
            raise no_room(board, answer["free_bytes"], need)
        listener.say(f"sending {to_send / 1e6:.1f} MB in {len(missing)} files ...")
        progress = _Upload(to_send, listener)
        for digest, have in missing.items():
            sent_files += 1
            sent_bytes += _send(session, by_digest[digest], f"{answer['parts']}/{digest}", have, progress)
        damaged = session.ask("adopt", files={digest: sizes[digest] for digest in missing})["damaged"]
        if not damaged:
            return sent_files, sent_bytes
        sizes = {digest: sizes[digest] for digest in damaged}
    raise DigestMismatch(
        f"{len(sizes)} files arrived damaged on board {board.number}, twice",
        fix=f"check its SD card and the link, then deploy again: fab deploy --board {board.number}",
        board=board.number,
    )


def _send(session: Session, content: Content, part: str, have: int, progress: "_Upload") -> int:
    board = session.connection.board
    try:
        return session.connection.upload(content.source, part, offset=have, on_bytes=progress.add)
    except BoardError as error:
        if session.connection.lost() or isinstance(error, BoardLost):
            raise
        # SFTP may say no more than "Failure" of a full disk; the agent knows.
        left = session.ask("free")["free_bytes"]
        if left > content.size_bytes - have and not isinstance(error, BoardDiskFull):
            raise
        session.ask("drop", sha256=content.sha256)  # the board needs the room more than we the torso
        raise no_room(board, left, content.size_bytes) from error


def no_room(board: BoardEntry, free: int, need: int) -> BoardDiskFull:
    """The error for a board with *free* bytes where *need* are needed."""
    return BoardDiskFull(
        f"board {board.number} has {free / 1e6:.1f} MB free, {need / 1e6:.1f} MB are needed",
        fix=f"make room there: ssh -p {board.port} {board.user}@{board.host} du -xh --max-depth=2",
        board=board.number,
        free_bytes=free,
        need_bytes=need,
    )


class _Upload:
    """How far a transfer is."""

    def __init__(self, total: int, listener: Listener) -> None:
        self._total, self._listener = total, listener
        self._done, self._started_s = 0, time.monotonic()

    def add(self, count: int) -> None:
        """*count* bytes more are on the board."""
        self._done += count
        rate = self._done / 1e6 / max(1e-9, time.monotonic() - self._started_s)
        note = f"{self._done / 1e6:.1f} of {self._total / 1e6:.1f} MB, {rate:.1f} MB/s"
        self._listener.progress("upload", self._done, self._total, note)
