"""Read TOML from outside within the bounds of `labd_shared.records`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from labd_shared.files import read_bounded
from labd_shared.records import Origin, Value, bounded


def read_toml(path: Path, max_bytes: int, origin: Origin) -> Value:
    """The tables in the file *path*.

    Raises:
        LabdError: of the origin's class: it cannot be read, is larger than *max_bytes*, or is not TOML within
            the bounds.
    """
    return parse_toml(read_bounded(path, max_bytes, origin.fix, origin.error), origin)


def parse_toml(content: bytes, origin: Origin) -> Value:
    """The tables in *content*; errors as of `read_toml`."""
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise origin.fault(f"not TOML: {error}") from error
    except RecursionError as error:
        raise origin.fault("not TOML: it is nested too deep") from error
    return bounded(tables, origin)
