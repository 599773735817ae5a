"""The host keys labd trusts: pinned once, refused when they change.

They lie in known_hosts under `labd_host.machine.places.home()`, in OpenSSH's format, apart from the user's
own. Standard library only; a virtual board pins its own key through `pin` when it starts.
"""

import base64
import binascii
import hashlib
import re
from pathlib import Path

from labd_host.machine import places
from labd_host.machine.locks import hold
from labd_shared.errors import HostKeyChanged, HostKeyUnknown, UsageError
from labd_shared.files import PRIVATE_FILE, write_text

LOCK_TIMEOUT_S = 30.0  # a change takes milliseconds
_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")


def path() -> Path:
    """The file of pinned keys."""
    return places.home() / "known_hosts"


def host_name(host: str, port: int) -> str:
    """A server's name in known_hosts: ``[host]:port``, or the bare host on port 22."""
    return host if port == 22 else f"[{host}]:{port}"


def lookup(host: str, port: int) -> tuple[str, ...]:
    """The pinned keys of a server, each "type base64"; empty when it was never enrolled."""
    wanted = host_name(host, port)
    return tuple(key for name, key in _entries() if name == wanted)


def pin(host: str, port: int, key: str) -> None:
    """Trust *key* for a server from now on, in place of whatever was pinned for it.

    Args:
        host, port: The server.
        key: "type base64", as in an OpenSSH .pub file; a comment behind it is dropped.

    Raises:
        UsageError: *key* is no public key.
        SetupError: another process keeps the file locked.
    """
    wanted, text = host_name(host, port), _normal(key)
    with hold(path().with_name("known_hosts.lock"), LOCK_TIMEOUT_S, "changing the pinned host keys"):
        _write([entry for entry in _entries() if entry[0] != wanted] + [(wanted, text)])


def fingerprint(key: str) -> str:
    """``SHA256:...`` of a public key, as ssh-keygen -l prints it."""
    blob = base64.b64decode(_normal(key).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def unknown(board: str, host: str, port: int, key: str) -> HostKeyUnknown:
    """The error for a server that was never enrolled and presents *key*."""
    shown = fingerprint(key)
    return HostKeyUnknown(
        f"board {board} at {host}:{port} presents host key {shown}, and none was enrolled for it",
        fix=f"compare the fingerprint with the board's own, then: fab enroll --board {board}",
        board=board,
        presented=shown,
    )


def changed(board: str, host: str, port: int, key: str) -> HostKeyChanged:
    """The error for a server that presents another *key* than the pinned one."""
    shown, pinned = fingerprint(key), ", ".join(fingerprint(known) for known in lookup(host, port))
    return HostKeyChanged(
        f"board {board} at {host}:{port} presents host key {shown}, enrolled is {pinned}: "
        "another board, a new SD card, or somebody in between",
        fix=f"if the board was really replaced: fab enroll --board {board} --fingerprint {shown}",
        board=board,
        presented=shown,
        enrolled=pinned,
    )


def _normal(key: str) -> str:
    text = " ".join(key.split()[:2])
    try:
        if _KEY.fullmatch(text):
            base64.b64decode(text.split()[1], validate=True)
            return text
    except binascii.Error:
        pass  # the same answer as for any other text that is no key
    raise UsageError(
        f"{key[:40]!r} is no public host key", fix="give it as in a .pub file: ssh-ed25519 AAAA..."
    )


def _entries() -> list[tuple[str, str]]:
    try:
        lines = path().read_text().splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        words = line.split()
        if len(words) >= 3 and not line.startswith("#"):
            entries.append((words[0], f"{words[1]} {words[2]}"))
    return entries


def _write(entries: list[tuple[str, str]]) -> None:
    """Replace the file in one step: whoever reads it meanwhile sees the old one or the new one."""
    write_text(path(), "".join(f"{host} {key}\n" for host, key in sorted(entries)), PRIVATE_FILE)
