"""Uploaded contents, each under its SHA-256."""

import os
from typing import Any, Dict

from labd_host.remote.board_agent.card import at, flush, free_bytes, is_whole
from labd_host.remote.board_agent.file_list import checked_files
from labd_host.remote.board_agent.refusal import checked


class UploadStore(object):
    """Whole contents in store/, those on their way in store/part/."""

    def do_want(self, files: Dict[str, Any]) -> Dict[str, Any]:
        """Which contents are missing, and how many bytes of each came already."""
        missing = {}
        for sha256, size in sorted(set(checked_files(files).values())):
            if is_whole(at("store", sha256), sha256, size):
                continue
            part = at("store", "part", sha256)
            have = os.path.getsize(part) if os.path.isfile(part) else 0
            if have > size:
                os.unlink(part)
                have = 0
            missing[sha256] = have
        return {"missing": missing, "parts": at("store", "part"), "free_bytes": free_bytes()}

    def do_adopt(self, files: Dict[str, Any]) -> Dict[str, Any]:
        """Take uploaded contents into the store; those that came damaged are thrown away and named."""
        damaged = []
        for sha256, size in sorted(set(checked_files(files).values())):
            part = at("store", "part", sha256)
            if is_whole(part, sha256, size):
                flush(part)
                os.chmod(part, 0o444)
                os.rename(part, at("store", sha256))
            elif not is_whole(at("store", sha256), sha256, size):
                if os.path.exists(part):
                    os.unlink(part)
                damaged.append(sha256)
        return {"damaged": damaged}

    def do_drop(self, sha256: str) -> Dict[str, Any]:
        """Give a part's room back."""
        part = at("store", "part", checked("[0-9a-f]{64}", sha256))
        if os.path.exists(part):
            os.unlink(part)
        return {"free_bytes": free_bytes()}
