"""Pinning a board's host key, after somebody compared it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labd_host.machine import hostkeys
from labd_host.machine.listener import Listener
from labd_host.remote import inventory, transport
from labd_host.remote.fleet import Report, on_each
from labd_host.remote.inventory import BoardEntry, Inventory
from labd_shared.errors import HostKeyChanged, HostKeyUnknown, UsageError


@dataclass(frozen=True)
class Enrolled:
    """A pinned host key; *before* is the one it replaced, "" for none."""

    board: str
    fingerprint: str
    before: str
    shared_with: tuple[str, ...]


def enroll(
    boards: Sequence[str], *, fingerprint: str = "", ask: Callable[[str], bool] | None, listener: Listener
) -> Report:
    """Pin the host key that a board presents, after somebody compared it.

    Args:
        boards: Numbers; one alone when a fingerprint is given.
        fingerprint: ``SHA256:...`` the key must have.
        ask: Puts a question to the user; None where nobody can be asked.
        listener: Told what happens.
    """
    if fingerprint and len(boards) != 1:
        raise UsageError(
            "--fingerprint is one board's", fix="name one board: fab enroll --board 03 --fingerprint ..."
        )
    taken = inventory.load()

    def work(board: BoardEntry, listener: Listener) -> Enrolled:
        reached = inventory.endpoint(board)
        key = transport.host_key(reached)
        shown = hostkeys.fingerprint(key)
        before = hostkeys.lookup(reached.host, reached.port)
        shared = _shared_with(taken, board, key)
        if shared:
            listener.say(
                f"boards {', '.join(shared)} present the same host key: their SD cards are copies of one"
            )
        if key not in before:
            _confirm(board, reached, shown, before, fingerprint, ask)
            hostkeys.pin(reached.host, reached.port, key)
        return Enrolled(board.number, shown, ", ".join(map(hostkeys.fingerprint, before)), shared)

    return on_each("enroll", boards, work, listener, aside=False)


def _confirm(
    board: BoardEntry,
    reached: BoardEntry,
    shown: str,
    before: tuple[str, ...],
    wanted: str,
    ask: Callable[[str], bool] | None,
) -> None:
    where = f"board {board.number} at {reached.host}:{reached.port}"
    if wanted and wanted != shown:
        raise HostKeyChanged(
            f"{where} presents host key {shown}, --fingerprint says {wanted}",
            fix="ask the board itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            board=board.number,
            presented=shown,
        )
    if wanted:
        return
    if ask is None:
        raise HostKeyUnknown(
            f"{where} presents host key {shown}, and without a terminal nobody can be asked whether it is right",
            fix=f"compare it with the board's own, then: fab enroll --board {board.number} --fingerprint {shown}",
            board=board.number,
            presented=shown,
        )
    changed = f"\nNOT the enrolled one: {', '.join(map(hostkeys.fingerprint, before))}" if before else ""
    if not ask(f"{where} presents host key {shown}{changed}\ntrust it from now on?"):
        raise HostKeyUnknown(
            f"the host key of board {board.number} was not trusted",
            fix=f"when it is right: fab enroll --board {board.number}",
            board=board.number,
        )


def _shared_with(taken: Inventory, board: BoardEntry, key: str) -> tuple[str, ...]:
    others = []
    for number in taken.numbers():
        other = taken.board(number)
        elsewhere = (other.host, other.port) != (board.host, board.port)
        if elsewhere and other.kind == "real" and key in hostkeys.lookup(other.host, other.port):
            others.append(number)
    return tuple(others)
