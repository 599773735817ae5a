"""How the board's Python finds the current release."""

import errno
import os
import site
import sys
import sysconfig
from typing import Any, Dict

from labd_host.remote.board_agent.card import read_text, write_text


class PythonPath(object):
    """The labd.pth of the Python that runs the agent."""

    def do_pth(self, root: str) -> Dict[str, Any]:
        """Make this Python find the current release, from any directory and under sudo."""
        line = os.path.join(root, "current", "site") + "\n"
        folders = [sysconfig.get_path("purelib")] + list(getattr(site, "getsitepackages", list)())
        folder = next((found for found in folders if found in sys.path), folders[0])
        path = os.path.join(folder, "labd.pth")
        if read_text(path) == line:
            return {"path": path, "state": "there"}
        try:
            write_text(path, line)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return {"path": path, "state": "not allowed"}
            raise
        return {"path": path, "state": "written"}
