"""What each board is doing: reachable, what runs there, who holds it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from labd_host.machine.listener import Listener
from labd_host.remote import inventory
from labd_host.remote.agent import session
from labd_host.remote.fleet import BoardOutcome, Report, on_each
from labd_host.remote.inventory import BoardEntry, Inventory
from labd_host.remote.transport import Connection, Deadlines
from labd_shared.errors import BoardUnreachable, HostKeyChanged, HostKeyUnknown, LabdError, LoginRefused

LOOK_S = 6.0  # for each board, all at once
LOOK_DEADLINES = Deadlines(connect_s=3, banner_s=3, auth_s=4, channel_s=3, silence_s=3, transfer_s=3)


@dataclass(frozen=True)
class BoardRow:
    """One row of `boards`: *state* in a word, *problem* as a sentence with its fix where it is not "up"."""

    number: str
    kind: str
    address: str
    state: str
    release: str = ""
    network: str = ""
    owner: str = ""
    python: str = ""
    free_mb: int | None = None
    problem: str = ""


def look(boards: Sequence[str] = (), *, deadlines: Deadlines = LOOK_DEADLINES, listener: Listener) -> Report:
    """What each board is doing; without numbers: every real board, and the virtual ones that are up."""
    taken = inventory.load()
    numbers = list(boards) or [number for number in taken.numbers() if _worth_a_look(taken.board(number))]

    def work(board: BoardEntry, listener: Listener) -> BoardRow:
        address = f"{board.host}:{board.port}"
        try:
            reached = inventory.endpoint(board)
            address = f"{reached.host}:{reached.port}"
            with Connection(reached, deadlines) as connection, session(connection) as agent:
                hello = agent.hello
        except LabdError as error:
            return BoardRow(board.number, board.kind, address, _state(error), problem=str(error))
        owner = hello["owner"]
        return BoardRow(
            board.number,
            board.kind,
            address,
            "up",
            str(hello["release"]),
            str(hello["manifest"]["network"] or ""),
            f"{owner['who']} since {owner.get('since')}: {owner.get('what')}" if owner else "",
            str(hello["python"]),
            int(hello["free_bytes"]) // 1_000_000,
        )

    report = on_each("boards", numbers, work, listener, limit_s=LOOK_S, may_be_empty=True)
    rows = tuple(_late_row(taken, outcome) if outcome.error else outcome for outcome in report.outcomes)
    return replace(report, outcomes=rows)


def _worth_a_look(board: BoardEntry) -> bool:
    if board.kind == "real":
        return True
    try:
        inventory.endpoint(board)
    except BoardUnreachable:
        return False
    return True


def _late_row(taken: Inventory, outcome: BoardOutcome) -> BoardOutcome:
    board = taken.board(outcome.board)
    address = f"{board.host}:{board.port}"
    return BoardOutcome(
        board.number, BoardRow(board.number, board.kind, address, "down", problem=str(outcome.error))
    )


def _state(error: LabdError) -> str:
    for kind, state in _STATES.items():
        if isinstance(error, kind):
            return state
    return "trouble"


_STATES: dict[type[LabdError], str] = {
    BoardUnreachable: "down",
    HostKeyUnknown: "not enrolled",
    HostKeyChanged: "other host key",
    LoginRefused: "no login",
}
