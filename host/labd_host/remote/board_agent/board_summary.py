"""What the agent reports about the board."""

import os
import sys
from typing import Any, Dict

from labd_host.remote.board_agent.board_lock import lock_owner
from labd_host.remote.board_agent.card import ROOT, at, free_bytes, read_json, read_text
from labd_host.remote.board_agent.current_release import current, history


class BoardSummary(object):
    """The board's Python, model, room, release, history and owner."""

    def do_hello(self) -> Dict[str, Any]:
        model = read_text("/proc/device-tree/chosen/pynq_board").strip("\0\n ")
        release = current()
        manifest = read_json(at("current", "bundle", "manifest.json"))
        return {
            "root": ROOT,
            "python": "{}.{}.{}".format(*sys.version_info[:3]),
            "machine": os.uname().machine,
            "model": model,
            "free_bytes": free_bytes(),
            "release": release if os.path.isdir(at("releases", release)) else "",
            "manifest": {key: manifest.get(key) for key in ("network", "dataset", "target", "clock_mhz")},
            "history": history(),
            "owner": lock_owner(),
        }

    def do_free(self) -> Dict[str, Any]:
        return {"free_bytes": free_bytes()}
