"""Where numba keeps what it compiled: in the user's cache, by the digest of a source and by the processor.

numba's index files are pickles: the folder has to be one that nobody else can write to.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numba.core import config

from labd_host.machine import places


def keep_compiled(kernels: Iterable[Any], source: Path) -> None:
    """Let *kernels* be compiled once; numba checks their own source, the processor and its version.

    Args:
        kernels: What ``numba.njit`` made.
        source: A file that they depend on and numba does not look at, or their own.
    """
    folder = Path(config.CACHE_DIR) if config.CACHE_DIR else cache_folder(source)
    if folder is None:
        return
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        for kernel in kernels:
            kernel.enable_caching()
    finally:
        config.CACHE_DIR = before


def cache_folder(source: Path) -> Path | None:
    """Where compiled code may lie: a folder that nobody else can write to; None where there is none."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    folder = places.cache() / "kernels" / digest
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return None
    others = stat.S_IWGRP | stat.S_IWOTH
    return folder if found.st_uid == os.getuid() and not found.st_mode & others else None
