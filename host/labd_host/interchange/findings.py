"""What an import looked at, what it had to assume, and where it is in doubt: all of it is said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["checked", "assumed", "doubt"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: "checked" (the files say it, and nothing contradicts), "assumed" (no file says it), "doubt"
            (look at it yourself).
        subject: What it is about, in a word or two.
        text: One sentence.
    """

    kind: Kind
    subject: str
    text: str


class Findings(list[Finding]):
    """The findings of one import or export, in order."""

    def checked(self, subject: str, text: str) -> None:
        """The files say it, and nothing contradicts."""
        self._add("checked", subject, text)

    def assumed(self, subject: str, text: str) -> None:
        """No source says it."""
        self._add("assumed", subject, text)

    def doubt(self, subject: str, text: str) -> None:
        """It may be wrong."""
        self._add("doubt", subject, text)

    def _add(self, kind: Kind, subject: str, text: str) -> None:
        """Texts come from files of others: what would steer a terminal is taken out."""
        self.append(Finding(kind, subject, "".join(each if each.isprintable() else "?" for each in text)))

    def as_records(self) -> list[dict[str, str]]:
        """JSON-able, in order."""
        return [asdict(finding) for finding in self]
