"""One line of JSON per message between board and host.

An error that ends a board command travels as the last line of its standard error when the caller
set ``LABD_ERRORS=wire``; `find_error` picks it out of whatever else was printed there.
"""

import json
from typing import Any, Dict, Optional

from labd_shared.errors import ArtifactError, LabdError, from_wire
from labd_shared.records import Origin, parse_json

MAX_LINE_BYTES = 16 << 20
ERRORS_VARIABLE = "LABD_ERRORS"  # "wire": errors as JSON lines; anything else: for people


def dump_line(message: Dict[str, Any]) -> str:
    """*message* as one line of ASCII JSON, without the newline; the same input gives the same bytes."""
    return json.dumps(message, sort_keys=True, separators=(",", ":"), allow_nan=False)


def load_line(line: str) -> Optional[Dict[str, Any]]:
    """The message on *line*, or None where the line is something else (a warning, a stray print)."""
    if len(line) > MAX_LINE_BYTES or not line.lstrip().startswith("{"):
        return None
    try:
        message = parse_json(line, MAX_LINE_BYTES, _LINE)
        message.entries()
    except ArtifactError:
        return None
    return dict(message.raw)


_LINE = Origin("the line")


def dump_error(error: LabdError) -> str:
    """*error* as one line."""
    return json.dumps({"labd_error": error.to_wire()}, sort_keys=True, separators=(",", ":"), default=str)


def find_error(text: str) -> Optional[LabdError]:
    """The last error line in *text*, rebuilt as the class that was raised, or None."""
    for line in reversed(text.splitlines()):
        message = load_line(line)
        if message is not None and isinstance(message.get("labd_error"), dict):
            return from_wire(message["labd_error"])
    return None
