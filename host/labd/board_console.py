"""What a command for boards shows, and how it ends: results on standard output, progress on standard error.

With ``--json`` standard output is one JSON document and nothing else, also when the task fails.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from labd.progress import shown
from labd.shown import terminal
from labd_host.machine.listener import Listener
from labd_host.remote.data import Pushed
from labd_host.remote.enrolment import Enrolled
from labd_host.remote.fleet import BoardOutcome, Report
from labd_host.remote.look import BoardRow
from labd_host.remote.releases import Deployed
from labd_host.remote.tasks import DeployedWithData, Ran, SetUp
from labd_shared.errors import INTERRUPTED, LabdError

if TYPE_CHECKING:
    from rich.table import Table

JSON_VERSION = 1
_writing = threading.Lock()


def question() -> Callable[[str], bool] | None:
    """How to ask yes or no; None without a terminal."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(text: str) -> bool:
        _say(text + " [y/N]")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def show(work: Callable[[Listener], Report], *, as_json: bool = False) -> int:
    """Do *work* and show what came of it; the exit code: 0, that of the first error, 130 after Ctrl-C.

    Args:
        work: Takes the listener that it tells.
        as_json: One JSON document on standard output and nothing else, also when the work fails.
    """
    try:
        with shown(outputs=sys.stderr if as_json else None) as listener:
            report = work(listener)
    except LabdError as error:
        if as_json:
            _line(json.dumps({"labd": JSON_VERSION, "error": _error(error)}, indent=2))
        _say(_sentence(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted; nothing is left running on the board")
        return INTERRUPTED
    if as_json:
        _line(json.dumps(_record(report), indent=2, default=str))
    else:
        _show_results(report)
    for outcome in report.outcomes:
        if outcome.error:
            _say(
                f"board {outcome.board}: {_sentence(outcome.error)}"
                if len(report.outcomes) > 1
                else _sentence(outcome.error)
            )
    return report.exit_code


def _say(text: str) -> None:
    with _writing:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _line(text: str) -> None:
    with _writing:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # "| head" has seen enough; the work goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: LabdError) -> str:
    return f"{type(error).__name__}: {error}"


def _error(error: LabdError) -> dict[str, Any]:
    return {**error.to_wire(), "exit_code": error.exit_code}


def _record(report: Report) -> dict[str, Any]:
    boards = []
    for outcome in report.outcomes:
        entry: dict[str, Any] = {"board": outcome.board, "ok": outcome.error is None}
        if outcome.error:
            entry["error"] = _error(outcome.error)
        else:
            entry["result"] = asdict(outcome.result)
        boards.append(entry)
    return {"labd": JSON_VERSION, "task": report.task, "inventory": report.inventory, "boards": boards}


def _show_results(report: Report) -> None:
    if report.task == "boards":
        _table(report)
        return
    for outcome in report.outcomes:
        if outcome.error is None:
            _line(f"board {outcome.board}: {_told(outcome)}")


def _told(outcome: BoardOutcome) -> str:
    match outcome.result:
        case DeployedWithData(deploy=done):
            return f"{_deployed(done)}; {_data(outcome.result)}"
        case Deployed() as done:
            return f"release {done.release} is current again, before it {done.previous}"
        case Ran() as ran:
            return f"{ran.command} ended well after {ran.seconds:.1f} s"
        case Pushed(sent_bytes=0) as pushed:
            return f"has {pushed.dataset}/{pushed.split} already, 0 bytes sent"
        case Pushed() as pushed:
            return f"has {pushed.dataset}/{pushed.split} now, {pushed.sent_bytes / 1e6:.1f} MB sent"
        case Enrolled() as enrolled:
            before = f", before it {enrolled.before}" if enrolled.before != enrolled.fingerprint else ""
            return f"host key {enrolled.fingerprint} is trusted" + (before if enrolled.before else "")
        case SetUp() as done:
            return f"{done.path} {'was there' if done.state == 'there' else 'is written'}"
    return str(outcome.result)


def _deployed(done: Deployed) -> str:
    head = (
        f"release {done.release} was current already"
        if done.unchanged
        else f"release {done.release} is current"
    )
    sent = f"{done.sent_bytes} bytes" if done.sent_bytes < 10_000 else f"{done.sent_bytes / 1e6:.1f} MB"
    samples = done.selftest.get("samples", "?")
    proof = f"{samples} golden samples right" if samples else "not proven (no golden samples)"
    return f"{head}, {sent} sent in {done.sent_files} of {done.files} files, {proof}, {done.seconds:.1f} s"


def _data(done: DeployedWithData) -> str:
    if done.dataset_sent_bytes is None:
        return f"data set {done.dataset} is missing there"
    return f"data set {done.dataset} is there"


def _table(report: Report) -> None:
    from rich import box
    from rich.table import Table

    if not report.outcomes:
        _line("no real board in the inventory and no virtual one up; start one: labd board up 03")
        return
    rows: list[BoardRow] = [outcome.result for outcome in report.outcomes]
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("board", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for column in ("network", "in use by", "address", "free", "release"):
        table.add_column(column, overflow="fold")
    for row in rows:
        free = "" if row.free_mb is None else f"{row.free_mb} MB"
        address = row.address if row.kind == "real" else f"{row.address} ({row.kind})"
        table.add_row(row.number, row.state, row.network, row.owner, address, free, row.release)
    _print(table)
    for line in _problems(rows):
        _say(line)


def _problems(rows: Sequence[BoardRow]) -> Iterator[str]:
    """Why boards are not up: a line for boards in the same state, the whole reason for one alone."""
    states: dict[str, list[BoardRow]] = {}
    for row in rows:
        if row.problem:
            states.setdefault(row.state, []).append(row)
    for state, alike in states.items():
        if len(alike) == 1:
            yield alike[0].problem
        else:
            numbers = ", ".join(row.number for row in alike)
            yield f"boards {numbers}: {state}; the reason of one: labd boards --board {alike[0].number}"


def _print(table: Table) -> None:
    console = terminal()
    with console.capture() as captured:
        console.print(table)
    _line(captured.get().rstrip("\n"))
