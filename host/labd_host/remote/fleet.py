"""Work on several boards side by side: one that fails or hangs does not stop the others."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from labd_host.machine.listener import Listener
from labd_host.remote import inventory, passwords, transport
from labd_host.remote.inventory import BoardEntry
from labd_shared.errors import BoardUnreachable, LabdError, UsageError

AFTER_INTERRUPT_S = 1.5


@dataclass(frozen=True)
class BoardOutcome:
    """What came of one board: a result, or the error that ended it."""

    board: str
    result: Any = None
    error: LabdError | None = None


@dataclass(frozen=True)
class Report:
    """What came of a task: one outcome a board, in the order they were named."""

    task: str
    inventory: str
    outcomes: tuple[BoardOutcome, ...]

    @property
    def exit_code(self) -> int:
        """0, or that of the first error."""
        return next((outcome.error.exit_code for outcome in self.outcomes if outcome.error), 0)


def on_each(
    task: str,
    numbers: Sequence[str],
    work: Callable[[BoardEntry, Listener], Any],
    listener: Listener,
    *,
    aside: bool = True,
    root: bool = False,
    limit_s: float | None = None,
    may_be_empty: bool = False,
) -> Report:
    """Do *work* on each board, side by side unless there is one alone or *aside* is off.

    Args:
        task: Its name, for messages.
        numbers: The boards.
        work: Told the board and whom to tell; a LabdError ends this board's part alone.
        listener: Told which inventory was taken; each board's words carry its number when there are several.
        aside: Off for what must ask one question after the other.
        root: Whether sudo will be needed where the inventory says so.
        limit_s: A board that takes longer gets an error, and the rest do not wait for it.
        may_be_empty: Whether no board at all is fine.

    Raises:
        UsageError, UnknownName: as of the inventory; no board was named.
    """
    taken = inventory.load()
    listener.say(f"inventory: {taken}")
    if not numbers and not may_be_empty:
        raise UsageError("no board was named", fix=f"fab {task} --board 03")
    boards = [taken.board(number) for number in dict.fromkeys(numbers)]
    outcomes: dict[str, BoardOutcome] = {}
    bugs: list[BaseException] = []

    def one(board: BoardEntry) -> None:
        try:
            result = work(board, listener.of(f"[{board.number}] ") if len(boards) > 1 else listener)
            outcomes[board.number] = BoardOutcome(board.number, result)
        except LabdError as error:
            outcomes[board.number] = BoardOutcome(board.number, error=error)

    def one_aside(board: BoardEntry) -> None:
        try:
            one(board)
        except BaseException as error:  # noqa: BLE001 - a bug of ours, raised below where it can be seen
            bugs.append(error)

    if not limit_s and (len(boards) == 1 or not aside):
        for board in boards:
            one(board)
    else:
        passwords.ask_ahead(boards, root=root)
        _wait_for([_started(one_aside, board) for board in boards], limit_s)
    if bugs:
        raise bugs[0]
    return Report(
        task, str(taken), tuple(outcomes.get(board.number) or _too_late(board, limit_s) for board in boards)
    )


def _started(work: Callable[[BoardEntry], None], board: BoardEntry) -> threading.Thread:
    thread = threading.Thread(target=work, args=(board,), name=f"labd-task-{board.number}", daemon=True)
    thread.start()
    return thread


def _wait_for(threads: Sequence[threading.Thread], limit_s: float | None) -> None:
    ends_s = None if limit_s is None else time.monotonic() + limit_s
    try:
        for thread in threads:
            while thread.is_alive() and (ends_s is None or time.monotonic() < ends_s):
                thread.join(0.1)
    except KeyboardInterrupt:
        transport.abandon_all()
        until_s = time.monotonic() + AFTER_INTERRUPT_S
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        raise


def _too_late(board: BoardEntry, limit_s: float | None) -> BoardOutcome:
    return BoardOutcome(
        board.number,
        error=BoardUnreachable(
            f"board {board.number} gave no answer within {limit_s:g} s",
            fix=f"look at it alone: fab boards --board {board.number}",
            board=board.number,
        ),
    )
