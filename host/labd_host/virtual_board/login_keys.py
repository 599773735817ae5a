"""The keys of the virtual boards: one that logs in, and one a board that it shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from labd_host.machine import places
from labd_host.machine.locks import hold
from labd_host.virtual_board import board_state

CLIENT_KEY, HOST_KEY = "id_ed25519", "host_key"
LOCK_TIMEOUT_S = 10.0


def client_key() -> Path:
    """The private key labd logs in to virtual boards with, made when it is first needed."""
    path = places.home() / "keys" / CLIENT_KEY
    _ensure(path, "labd")
    return path


def host_key(board: str) -> Path:
    """A board's private host key; it stays the same as long as the board's folder."""
    path = board_state.folder(board) / HOST_KEY
    _ensure(path, f"labd virtual board {board}")
    return path


def public_half(path: Path) -> str:
    """The public key of a private one, "type base64 comment"."""
    return path.with_name(path.name + ".pub").read_text().strip()


def allowed_keys() -> list[Any]:
    """The public keys a virtual board lets in: labd's own and those of the user who started it."""
    import asyncssh

    files = [client_key().with_name(CLIENT_KEY + ".pub"), *sorted((Path.home() / ".ssh").glob("*.pub"))]
    keys = []
    for file in files:
        try:
            keys.append(asyncssh.read_public_key(str(file)))
        except (OSError, asyncssh.KeyImportError):
            continue  # a certificate, a kind of key asyncssh does not know, not ours to read
    return keys


def _ensure(path: Path, comment: str) -> None:
    """Make the pair *path*, *path*.pub; two who do it at once end with the same pair."""
    import asyncssh

    with hold(path.with_name(path.name + ".lock"), LOCK_TIMEOUT_S, f"making the key {path}"):
        public = path.with_name(path.name + ".pub")
        if path.exists() and public.exists():
            return
        path.parent.chmod(0o700)
        key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            handle.write(key.export_private_key())
        public.write_bytes(key.export_public_key())
