"""The releases on the board: built from the store, verified, switched, confirmed and pruned."""

import compileall
import json
import os
from typing import Any, Dict, List

from labd_host.remote.board_agent.board_lock import BoardLock
from labd_host.remote.board_agent.card import at, copy_in, flush, is_whole, read_json, remove_tree, write_text
from labd_host.remote.board_agent.current_release import current, history, point_current_at, roll_back
from labd_host.remote.board_agent.file_list import Files, checked_files
from labd_host.remote.board_agent.refusal import Refused, checked

KEEP_RELEASES = 3


def release_files(release: str) -> Files:
    return checked_files(read_json(at("releases", release, "release.json")).get("files", {}))


def wrong_in(release: str, files: Files) -> List[str]:
    """The files of a release that are missing, changed, or there without being asked for."""
    folder = at("releases", release)
    wrong = [
        path
        for path, (sha256, size) in files.items()
        if not is_whole(os.path.join(folder, path), sha256, size)
    ]
    return sorted(wrong) + strangers_in(folder, files)


def strangers_in(folder: str, files: Files) -> List[str]:
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = os.path.relpath(os.path.join(base, name), folder)
            if path not in files and path != "release.json":
                found.append(path)
    return sorted(found)


class InstalledReleases(object):
    """The folders in releases/.

    Args:
        lock: Of this session; a switch needs it.
    """

    def __init__(self, lock: BoardLock) -> None:
        self._lock = lock

    def do_release(self, release: str, files: Dict[str, Any]) -> Dict[str, Any]:
        """Build a release from the store, or mend the one that is there; every file is verified."""
        wanted = checked_files(files)
        folder = at("releases", checked("[0-9a-f]{16}", release))
        if os.path.isdir(folder):
            mended = wrong_in(release, wanted)
            for path in mended:
                if path in wanted:
                    copy_in(wanted[path][0], os.path.join(folder, path))
                else:
                    os.unlink(os.path.join(folder, path))
        else:
            mended = []
            making = folder + ".tmp"
            remove_tree(making)
            for path, (sha256, _) in sorted(wanted.items()):
                copy_in(sha256, os.path.join(making, path))
            # Compiled now, or the first run under sudo leaves files that only root can remove.
            compileall.compile_dir(
                os.path.join(making, "site"), quiet=2, force=False, ddir=os.path.join(folder, "site")
            )
            write_text(os.path.join(making, "release.json"), json.dumps({"files": wanted}, sort_keys=True))
            for base, _, _ in os.walk(making):
                flush(base)
            os.rename(making, folder)
            flush(at("releases"))
        self._verify(release, wanted)
        return {"mended": mended}

    def do_verify(self, release: str) -> Dict[str, Any]:
        self._verify(checked("[0-9a-f]{16}", release), release_files(release))
        return {}

    def do_switch(self, release: str) -> Dict[str, Any]:
        """Make a release the current one, on probation until `do_confirm`."""
        self._lock.require("a switch")
        previous = current()
        previous = previous if os.path.isdir(at("releases", previous)) else ""
        write_text(at("pending"), json.dumps({"previous": previous}))
        point_current_at(checked("[0-9a-f]{16}", release))
        return {"previous": previous}

    def do_back(self) -> Dict[str, Any]:
        return {"release": roll_back()}

    def do_confirm(self, when: str, who: str) -> Dict[str, Any]:
        """The current release proved itself: note it, and prune what is no longer needed."""
        release = current()
        entries = history()
        if not entries or entries[-1]["release"] != release:
            entries.append({"release": release, "when": when, "who": who})
        write_text(at("history"), "".join(json.dumps(entry) + "\n" for entry in entries[-100:]))
        if os.path.exists(at("pending")):
            os.unlink(at("pending"))
        return self._prune(release, entries)

    def _verify(self, release: str, files: Files) -> None:
        wrong = wrong_in(release, files)
        if wrong or not files:
            raise Refused(
                "DigestMismatch",
                "release {} on the board is damaged: {}".format(
                    release, ", ".join(wrong[:5]) or "no file list"
                ),
                "deploy again: fab deploy --board NN --bundle DIR",
                wrong=wrong,
            )

    def _prune(self, release: str, entries: List[Dict[str, Any]]) -> Dict[str, Any]:
        keep = [release]
        for entry in reversed(entries):
            if len(keep) < KEEP_RELEASES and entry["release"] not in keep:
                keep.append(entry["release"])
        stuck = []
        for name in sorted(os.listdir(at("releases"))):
            if name not in keep and not remove_tree(at("releases", name)):
                stuck.append(name)
        needed = {sha256 for name in keep for sha256, _ in release_files(name).values()}
        for name in os.listdir(at("store")):
            if name != "part" and name not in needed:
                os.unlink(at("store", name))
        for name in os.listdir(at("store", "part")):
            os.unlink(at("store", "part", name))
        return {"kept": keep, "stuck": stuck}
