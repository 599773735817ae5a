"""Where labd keeps things on this machine. Standard library only: the set-up runs before pip.

``LABD_HOME`` (default: the user's data folder) holds environments and virtual boards;
``LABD_CACHE`` (default: the user's cache folder) holds what can be made or fetched again.
"""

import os
from pathlib import Path


def _folder(variable: str, xdg: str, default: str) -> Path:
    explicit = os.environ.get(variable)
    if explicit:
        return Path(explicit).expanduser().absolute()
    base = os.environ.get(xdg)
    return (Path(base) if base else Path.home() / default) / "labd"


def home() -> Path:
    """Environments, virtual boards, host keys."""
    return _folder("LABD_HOME", "XDG_DATA_HOME", ".local/share")


def cache() -> Path:
    """Data sets and compiled networks; deleting it loses time, nothing else."""
    return _folder("LABD_CACHE", "XDG_CACHE_HOME", ".cache")


def config() -> Path:
    """The user's own inventory, boards.toml."""
    return _folder("LABD_CONFIG", "XDG_CONFIG_HOME", ".config")
