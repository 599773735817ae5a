"""Progress of a long task, told to whoever shows it.

A function that takes longer than a moment takes a `Listener` and tells it; what is made of it, a bar in a
terminal, plain lines in a log, nothing at all, is the caller's choice. Methods may be called often, from any
thread, and return at once.
"""

from __future__ import annotations


class Listener:
    """A listener that shows nothing; subclasses override what they show."""

    def say(self, line: str) -> None:
        """Something happened: a line that stays."""

    def output(self, line: str) -> None:
        """A line that a program printed as its result, on a board for example."""

    def progress(self, task: str, done: float, total: float | None = None, note: str = "") -> None:
        """How far a task is.

        Args:
            task: In a few words; the same for as long as it is the same task.
            done: How much of it is done, in any unit.
            total: How much there is, in the same unit; None where nobody knows.
            note: What is going on within it.
        """

    def of(self, prefix: str) -> Listener:
        """The same listener, with *prefix* before each line: for one of several boards."""
        return Prefixed(self, prefix)


class Prefixed(Listener):
    """A listener that puts a prefix before every line and task of another."""

    def __init__(self, whole: Listener, prefix: str) -> None:
        self._whole, self._prefix = whole, prefix

    def say(self, line: str) -> None:
        self._whole.say(f"{self._prefix}{line}")

    def output(self, line: str) -> None:
        self._whole.output(f"{self._prefix}{line}")

    def progress(self, task: str, done: float, total: float | None = None, note: str = "") -> None:
        self._whole.progress(f"{self._prefix}{task}", done, total, note)


SILENT = Listener()
