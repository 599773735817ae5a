"""What the results of the Python door have in common: a short repr, a table in a terminal, HTML in a notebook."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

NOTEBOOK_WIDTH = 100  # columns of a table in a notebook
PIPE_WIDTH = 160  # columns where no terminal says how wide it is: nothing is folded


class Shown(ABC):
    """A result that a person looks at.

    Subclasses give `summary` (one line), `record` (JSON-able) and `show`.
    """

    @abstractmethod
    def summary(self) -> str:
        """The result in a line."""

    @property
    @abstractmethod
    def record(self) -> dict[str, Any]:
        """The result as JSON-able data, as the command's --json prints it."""

    def show(self, console: Console | None = None) -> None:
        """Print the result; on standard output unless *console* says otherwise."""
        (console or terminal()).print(self.summary(), markup=False, soft_wrap=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    def _repr_html_(self) -> str:
        return as_html(self)


def terminal(*, markup: bool = True) -> Console:
    """A console on standard output: as wide as the terminal, and wide enough for every table in a pipe.

    Args:
        markup: Whether [bold] and its like in a text are instructions; not for texts from outside.
    """
    from rich.console import Console

    made = Console(highlight=False, markup=markup)
    return made if made.is_terminal else Console(highlight=False, markup=markup, width=PIPE_WIDTH)


def as_html(shown: Shown) -> str:
    """What `Shown.show` prints, as a block of a page with its colours."""
    from rich.console import Console

    console = Console(
        record=True, file=io.StringIO(), width=NOTEBOOK_WIDTH, highlight=False, force_jupyter=False
    )
    shown.show(console)
    text: str = console.export_html(
        inline_styles=True,
        code_format='<pre style="line-height:1.25;white-space:pre;overflow-x:auto">{code}</pre>',
    )
    return text
