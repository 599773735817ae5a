"""What the agent refuses."""

import re
from typing import Any


class Refused(Exception):
    """Crosses the wire as a LabdError of the class *error*."""

    def __init__(self, error: str, what: str, fix: str = "", **facts: Any) -> None:
        super(Refused, self).__init__(what)
        self.record = {"error": error, "what": what, "fix": fix, "facts": facts}


def checked(pattern: str, text: Any) -> str:
    """*text*, when all of it fits *pattern*: nothing else becomes part of a path here."""
    if not isinstance(text, str) or not re.match("^(?:" + pattern + r")\Z", text):
        raise Refused(
            "UsageError", "the board's agent was given {!r}".format(text), "update labd on the host"
        )
    return text
