"""Progress as a person sees it: a bar in a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from labd_host.machine.listener import Listener

if TYPE_CHECKING:
    from IPython.display import DisplayHandle
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

FIRST_BAR_S = 2.0  # a task that takes less is not worth a bar
LINE_EVERY_S = 10.0  # between two plain lines about the same task
REDRAW_EVERY_S = 0.2  # between two pictures of a notebook's bar


class ProgressLines(Listener):
    """Lines on a stream; a task's progress now and then, with the time left.

    Args:
        stream: Standard error where it is None.
        outputs: Where results go; standard output where it is None.
        now_s: The clock.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        outputs: TextIO | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._outputs, self._now_s = stream, outputs, now_s
        self._lock = threading.Lock()
        self._pace: dict[str, Pace] = {}
        self._shown_s: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; subclasses take their bars away."""

    def say(self, line: str) -> None:
        self._write(self._stream or sys.stderr, line)

    def output(self, line: str) -> None:
        self._write(self._outputs or sys.stdout, line)

    def progress(self, task: str, done: float, total: float | None = None, note: str = "") -> None:
        now_s = self._now_s()
        with self._lock:
            pace = self._pace.setdefault(task, Pace(now_s, done))
            last_s = self._shown_s.get(task, pace.began_s)
            ended = total is not None and done >= total
            worth_it = now_s - last_s >= LINE_EVERY_S or (ended and task in self._shown_s)
            if worth_it:
                self._shown_s[task] = now_s
            if ended:
                self._pace.pop(task, None)
                self._shown_s.pop(task, None)
        if worth_it:
            self.say(_line(task, done, total, note, pace.left_s(now_s, done, total)))

    def _write(self, stream: TextIO, line: str) -> None:
        with self._lock:
            stream.write(line + "\n")
            stream.flush()


class Pace:
    """How fast a task goes: when it was first heard of, and how far it was then."""

    def __init__(self, began_s: float, done: float) -> None:
        self.began_s, self._done = began_s, done

    def left_s(self, now_s: float, done: float, total: float | None) -> float | None:
        """Seconds until *total* at this pace; None where it cannot be told."""
        gained = done - self._done
        if total is None or gained <= 0:
            return None
        return (now_s - self.began_s) / gained * max(0.0, total - done)


class ProgressBars(ProgressLines):
    """Bars in a terminal, for tasks that take longer than a moment; lines stay above them."""

    def __init__(self, *, outputs: TextIO | None = None) -> None:
        super().__init__(outputs=outputs)
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        if self._bars is None:
            super().say(line)
        else:
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def progress(self, task: str, done: float, total: float | None = None, note: str = "") -> None:
        with self._lock:
            now_s = self._now_s()
            pace = self._pace.setdefault(task, Pace(now_s, done))
            if task not in self._tasks:
                if now_s - pace.began_s < FIRST_BAR_S:
                    return
                self._tasks[task] = self._started().add_task(task, total=total, note="")
            bars = self._started()
            ended = total is not None and done >= total
            bars.update(self._tasks[task], completed=done, total=total, note=note, visible=not ended)
            if ended:
                bars.remove_task(self._tasks.pop(task))
                self._pace.pop(task, None)

    def _started(self) -> Bars:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns: tuple[Any, ...] = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self._bars = Bars(*columns, console=Console(stderr=True), transient=True)
            self._bars.start()
        return self._bars

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()


class NotebookBars(ProgressLines):
    """Bars below a notebook's cell, for tasks that take longer than a moment; each goes at its task's end.

    IPython alone draws them: rich's bars want ipywidgets.
    """

    def __init__(self, *, outputs: TextIO | None = None) -> None:
        super().__init__(outputs=outputs)
        self._bars: dict[str, DisplayHandle] = {}

    def progress(self, task: str, done: float, total: float | None = None, note: str = "") -> None:
        with self._lock:
            now_s = self._now_s()
            pace = self._pace.setdefault(task, Pace(now_s, done))
            if total is not None and done >= total:
                self._take_away(task)
                return
            if task not in self._bars and now_s - pace.began_s < FIRST_BAR_S:
                return
            if now_s - self._shown_s.get(task, 0.0) >= REDRAW_EVERY_S:
                self._shown_s[task] = now_s
                self._draw(task, done, total, _line(task, done, total, note, pace.left_s(now_s, done, total)))

    def _draw(self, task: str, done: float, total: float | None, line: str) -> None:
        from IPython.display import HTML, display

        share = "" if total is None else f'value="{done:g}" max="{total:g}"'
        bar = HTML(f"<progress {share}></progress> {html.escape(line)}")
        if task in self._bars:
            self._bars[task].update(bar)
        else:
            self._bars[task] = display(bar, display_id=True)

    def _take_away(self, task: str) -> None:
        self._pace.pop(task, None)
        self._shown_s.pop(task, None)
        bar = self._bars.pop(task, None)
        if bar is not None:
            from IPython.display import HTML

            bar.update(HTML(""))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for task in [*self._bars]:
                self._take_away(task)


def shown(outputs: TextIO | None = None) -> ProgressLines:
    """The listener that suits where this runs: bars in a terminal or a notebook, plain lines elsewhere.

    Use it as a context manager: bars are taken away at its end.

    Args:
        outputs: Where results go; standard output when None.
    """
    if _in_notebook():
        return NotebookBars(outputs=outputs)
    return ProgressBars(outputs=outputs) if sys.stderr.isatty() else ProgressLines(outputs=outputs)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and "IPKernelApp" in running.config


def _line(task: str, done: float, total: float | None, note: str, left_s: float | None) -> str:
    share = f" {100 * done / total:.0f} %" if total else ""
    left = (
        ""
        if left_s is None
        else f", {left_s / 60:.0f} min left"
        if left_s >= 90
        else f", {left_s:.0f} s left"
    )
    return f"{task}:{share}{left}{'  ' + note if note else ''}".replace(":,", ",")
