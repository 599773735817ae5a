"""Packed data sets on the board, a folder a split."""

import os
from typing import Any, Dict

from labd_host.remote.board_agent.card import at, flush, read_text, remove_tree
from labd_host.remote.board_agent.file_list import checked_files
from labd_host.remote.board_agent.refusal import checked


class DatasetFolders(object):
    """The folders in datasets/."""

    def do_dataset(self, name: str, split: str) -> Dict[str, Any]:
        """The index of a packed split and the sizes of its files; nothing where there is none."""
        folder = at("datasets", checked("[A-Za-z0-9][A-Za-z0-9-]*", name), checked("train|test", split))
        if not os.path.isdir(folder):
            return {"index": "", "sizes": {}}
        sizes = {item: os.path.getsize(os.path.join(folder, item)) for item in os.listdir(folder)}
        return {"index": read_text(os.path.join(folder, "index.json")), "sizes": sizes}

    def do_put_dataset(self, name: str, split: str, files: Dict[str, Any]) -> Dict[str, Any]:
        """Put a packed split in place, out of the store and into its folder, in one step."""
        wanted = checked_files(files)
        folder = at("datasets", checked("[A-Za-z0-9][A-Za-z0-9-]*", name), checked("train|test", split))
        making, old = folder + ".tmp", folder + ".old"
        remove_tree(making)
        remove_tree(old)
        os.makedirs(making)
        for path, (sha256, _) in wanted.items():
            # A link instead of a second copy: the store's name goes away below.
            os.link(at("store", sha256), os.path.join(making, os.path.basename(path)))
        flush(making)
        if os.path.isdir(folder):
            os.rename(folder, old)
        os.rename(making, folder)
        remove_tree(old)
        for sha256 in {sha256 for sha256, _ in wanted.values()}:
            os.unlink(at("store", sha256))
        return {"folder": folder}
