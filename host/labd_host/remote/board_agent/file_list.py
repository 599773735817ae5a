"""The files of a release, an upload or a data set, as the host lists them."""

from typing import Any, Dict, Tuple

from labd_host.remote.board_agent.refusal import checked

Files = Dict[str, Tuple[str, int]]  # path inside the release -> sha256, size


def checked_files(record: Dict[str, Any]) -> Files:
    files = {}
    for path, (sha256, size) in record.items():
        checked(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", path)
        files[path] = (checked("[0-9a-f]{64}", sha256), int(size))
    return files
