"""Which release is current, which were confirmed, and the way back from one that was not."""

import json
import os
import re
from typing import Any, Dict, List

from labd_host.remote.board_agent.card import ROOT, at, flush, read_json, read_text


def current() -> str:
    try:
        return os.path.basename(os.readlink(at("current")))
    except OSError:
        return ""


def point_current_at(release: str) -> None:
    """Switch in one step: ln -sfn removes the link first, a rename does not."""
    if os.path.lexists(at("current.new")):
        os.unlink(at("current.new"))
    if not release:
        if os.path.lexists(at("current")):
            os.unlink(at("current"))
        return
    os.symlink(os.path.join("releases", release), at("current.new"))
    os.rename(at("current.new"), at("current"))
    flush(ROOT)


def history() -> List[Dict[str, Any]]:
    """What was confirmed here, oldest first."""
    entries = []
    for line in read_text(at("history")).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line cut short by a power cut
        if isinstance(entry, dict) and re.match(r"^[0-9a-f]{16}\Z", str(entry.get("release"))):
            entries.append(entry)
    return entries


def roll_back() -> str:
    """Make the release before an unconfirmed switch the current one again; which it is, or ""."""
    previous = str(read_json(at("pending")).get("previous", ""))
    point_current_at(previous if os.path.isdir(at("releases", previous)) else "")
    os.unlink(at("pending"))
    return previous
