"""The lock that one client at a time holds, and what goes with it."""

import fcntl
import json
import os
import time
from typing import Any, Dict, Optional

from labd_host.remote.board_agent.card import at, free_bytes, read_json, remove_tree, write_text
from labd_host.remote.board_agent.current_release import roll_back
from labd_host.remote.board_agent.refusal import Refused

LOCK_WAIT_S = 1.0  # for the last client's agent, which may be ending just now


def took_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def lock_owner() -> Optional[Dict[str, Any]]:
    """Who holds the lock now; the kernel says whether, the file says who."""
    try:
        handle = os.open(at(".lock"), os.O_RDWR)
    except OSError:
        return None
    try:
        if took_lock(handle):
            return None
    finally:
        os.close(handle)
    return read_json(at(".owner")) or {"who": "somebody", "since": "?", "what": "?"}


class BoardLock(object):
    """The lock of this board, free or held by this session."""

    def __init__(self) -> None:
        self._handle: Optional[int] = None

    def require(self, what: str) -> None:
        """Refuse to go on where the client did not lock the board before *what*."""
        if self._handle is None:
            raise Refused(
                "BoardBusy", "the board was not locked before {}".format(what), "update labd on the host"
            )

    def do_lock(self, who: str, since: str, what: str) -> Dict[str, Any]:
        os.makedirs(at("store", "part"), exist_ok=True)
        os.makedirs(at("releases"), exist_ok=True)
        handle = os.open(at(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        patience = time.monotonic() + LOCK_WAIT_S
        while not took_lock(handle):
            if time.monotonic() > patience:
                os.close(handle)
                raise self._busy()
            time.sleep(0.1)
        self._handle = handle
        write_text(at(".owner"), json.dumps({"who": who, "since": since, "what": what}))
        return {"rolled_back": self._clean_up()}

    def do_scratch(self) -> Dict[str, Any]:
        """An empty folder for the files of one command; it goes when the lock does."""
        self.require("files came")
        remove_tree(at("scratch"))
        os.mkdir(at("scratch"))
        return {"folder": at("scratch"), "free_bytes": free_bytes()}

    def leave(self) -> None:
        """The host is done or gone."""
        if self._handle is None:
            return
        if os.path.exists(at("pending")):
            roll_back()
        remove_tree(at("scratch"))
        if os.path.exists(at(".owner")):
            os.unlink(at(".owner"))
        os.close(self._handle)
        self._handle = None

    def _busy(self) -> Refused:
        owner = read_json(at(".owner")) or {"who": "somebody"}
        return Refused(
            "BoardBusy",
            "the board is in use by {} since {} ({})".format(
                owner["who"], owner.get("since"), owner.get("what")
            ),
            "wait, or ask the owner; who holds which board: fab boards",
            owner=owner,
        )

    def _clean_up(self) -> str:
        """Undo what an agent that was killed left half done; the release it went back to, or ""."""
        back = roll_back() if os.path.exists(at("pending")) else ""
        remove_tree(at("scratch"))
        for name in os.listdir(at("releases")):
            if name.endswith(".tmp"):
                remove_tree(at("releases", name))
        return back
