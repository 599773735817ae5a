"""What `fab` offers, as functions: each takes board numbers, does one thing, and returns what came of it.

Nothing is printed here: a `Listener` is told what happens, the report says what came of it (`console`
shows both). Pinning host keys is in `enrolment`, the table of boards in `look`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host import datasets
from labd_host.machine.listener import Listener
from labd_host.remote import data as board_data
from labd_host.remote import inventory, releases, scratch
from labd_host.remote.agent import Session, session
from labd_host.remote.fleet import Report, on_each
from labd_host.remote.inventory import BoardEntry
from labd_host.remote.transport import Connection
from labd_host.remote.wheel import board_wheel
from labd_shared.answers import class_lines
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import ArtifactError, BoardError, UsageError
from labd_shared.files import check_writable
from labd_shared.picture_files import pictures_in

COMMAND_S = 900.0
Option = str | int | float | tuple[int, ...] | None  # of a command on the board; bool for a flag


@dataclass(frozen=True)
class Ran:
    """A labd command that ran on a board: its report as data (None when it was shown as lines)."""

    board: str
    command: str
    report: dict[str, Any] | None
    seconds: float


@dataclass(frozen=True)
class DeployedWithData:
    """A deploy, and what surrounds it: the data set's state and labd.pth's."""

    deploy: releases.Deployed
    dataset: str
    dataset_sent_bytes: int | None
    pth: str


@dataclass(frozen=True)
class SetUp:
    """labd.pth on a board: where, and whether it was "there" or "written"."""

    board: str
    path: str
    state: str


def deploy(boards: Sequence[str], *, bundle: str, wheel: Path | None = None, listener: Listener) -> Report:
    """Deploy a bundle, with the code that runs it and its test data, and prove it with its golden samples.

    Args:
        boards: Numbers.
        bundle: Folder or .zip.
        wheel: The code that runs it; `board_wheel` when None.
        listener: Told what happens.

    Raises:
        UsageError: no board was named.
        ArtifactError: the bundle is damaged.
        UnknownName, SetupError: as of the inventory and the board wheel.
    """
    opened = open_bundle(Path(bundle).expanduser())
    wanted = releases.plan(opened, wheel or board_wheel())
    own = datasets.is_own(wanted.manifest.dataset)
    measured_on = load_golden(opened).digests.tolist() if own else ()

    def work(board: BoardEntry, listener: Listener) -> DeployedWithData:
        with Connection(inventory.endpoint(board)) as connection, session(connection) as agent:
            done = releases.deploy(agent, wanted, listener=listener)
            pushed = board_data.bring_dataset(
                agent, wanted.manifest.dataset, measured_on=measured_on, listener=listener
            )
            pth = str(agent.ask("pth", root=agent.hello["root"])["state"])
            if pth == "not allowed":
                listener.say(
                    f"outside fab its Python does not find labd yet: fab setup --board {board.number}"
                )
            sent = None if pushed is None else pushed.sent_bytes
            return DeployedWithData(done, wanted.manifest.dataset, sent, pth)

    return on_each("deploy", boards, work, listener, root=True)


def run_command(
    command: str,
    boards: Sequence[str],
    options: Mapping[str, Option],
    *,
    as_data: bool,
    dataset: str | None = None,
    predictions: str = "",
    deadline_s: float = COMMAND_S,
    listener: Listener,
) -> Report:
    """Run one of labd's commands on the current release of each board, under the board's lock.

    Args:
        command: "validate", "throughput", "selftest" or "info".
        boards: Numbers.
        options: For it, without the dashes; those that are None, "", () or False are left out, True is a bare flag.
        as_data: Its report as data; its lines are said. Otherwise its lines are shown as it prints them.
        dataset: Sent first where the board lacks it: a name, data of this machine (npz:FILE, dir:FOLDER,
            NAME.toml, random), "" for the bundle's own, None for none.
        predictions: A file here for what was said of each image ("validate" only), "" for none; of several
            boards each has its own, the number before the ending.
        deadline_s: Longest time it may take.
        listener: Told what happens.

    Raises:
        UsageError: *predictions* cannot be written.
    """
    check_writable(predictions or None)

    def work(board: BoardEntry, listener: Listener) -> Ran:
        with Connection(inventory.endpoint(board)) as connection, session(connection) as agent:
            if command != "info":
                agent.lock(command)
            _require_release(agent)
            asked_for = dict(options)
            if dataset and datasets.is_named_here(dataset):
                asked_for["dataset"] = board_data.bring_own(agent, dataset, listener=listener).dataset
            elif dataset is not None:
                name = dataset or str(agent.ask("hello")["manifest"]["dataset"] or "")
                board_data.bring_dataset(agent, name, listener=listener)
            arguments = [text for name, value in asked_for.items() if (text := _argument(name, value))]
            arguments += ["--json"] if as_data else []
            with scratch.predictions(
                agent, _own_file(predictions, board, boards), listener=listener
            ) as asked:
                ended = releases.run_labd(
                    agent,
                    command,
                    arguments + asked,
                    deadline_s=deadline_s,
                    on_stdout_line=None if as_data else listener.output,
                    on_stderr_line=listener.say,
                )
            report = releases.parse_report(board, command, ended.stdout) if as_data else None
            return Ran(board.number, command, report, ended.seconds)

    return on_each(command, boards, work, listener, root=True)


def _argument(name: str, value: Option) -> str:
    """An option as the board's command takes it; "" for one that is left out."""
    if value is True:
        return f"--{name}"
    if value is None or value is False or value in ("", ()):
        return ""
    return f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"


def _own_file(path: str, board: BoardEntry, boards: Sequence[str]) -> Path | None:
    """The file of one board, None for none; with the board's number in its name where there are several."""
    if not path:
        return None
    file = Path(path)
    return file if len(set(boards)) == 1 else file.with_name(f"{file.stem}-{board.number}{file.suffix}")


def classify(
    boards: Sequence[str],
    pictures: Sequence[str],
    *,
    invert: bool = False,
    as_data: bool,
    deadline_s: float = COMMAND_S,
    listener: Listener,
) -> Report:
    """Send pictures to each board, and have its current release say what is in them.

    Args:
        boards: Numbers.
        pictures: Files of this machine, or folders of such.
        invert: Dark for light.
        as_data: Its report as data. Otherwise a line a picture is shown.
        deadline_s: Longest time the command may take there.
        listener: Told what happens.

    Raises:
        UsageError: no picture was named.
        ArtifactError: a picture is not there or cannot be read.
    """
    if not pictures:
        raise UsageError("no picture was named", fix="fab classify --board 03 --picture FILE")
    files = pictures_in(pictures)
    scratch.check_pictures(files)

    def work(board: BoardEntry, listener: Listener) -> Ran:
        with Connection(inventory.endpoint(board)) as connection, session(connection) as agent:
            agent.lock("classify")
            _require_release(agent)
            with scratch.pictures(agent, files, listener=listener) as brought:

                def say(line: str) -> None:  # its lines of pictures are shown below, once
                    if as_data or not line.startswith(brought.folder):
                        listener.say(brought.named_as_here(line))

                options = ["--json", *(["--invert"] if invert else [])]
                ended = releases.run_labd(
                    agent,
                    "classify",
                    [*options, brought.folder],
                    deadline_s=deadline_s,
                    on_stderr_line=say,
                )
            report = releases.parse_report(board, "classify", ended.stdout)
            try:
                for told in report["images"]:
                    told["file"] = brought.named_as_here(told["file"])
                lines = class_lines(report["images"])
            except (KeyError, TypeError) as error:
                raise BoardError(
                    f"labd_board.classify on board {board.number} told nothing of the pictures",
                    fix=f"deploy again: fab deploy --board {board.number} --bundle DIR",
                    board=board.number,
                ) from error
            for line in [] if as_data else lines:
                listener.output(line)
            return Ran(board.number, "classify", report if as_data else None, ended.seconds)

    return on_each("classify", boards, work, listener, root=True)


def _require_release(agent: Session) -> None:
    board = agent.connection.board.number
    if not agent.ask("hello")["release"]:
        raise ArtifactError(
            f"nothing is deployed on board {board}",
            fix=f"fab deploy --board {board} --bundle DIR",
            board=board,
        )


def rollback(boards: Sequence[str], *, listener: Listener) -> Report:
    """Go back to the release before the current one."""

    def work(board: BoardEntry, listener: Listener) -> releases.Deployed:
        with Connection(inventory.endpoint(board)) as connection, session(connection) as agent:
            return releases.roll_back(agent, listener=listener)

    return on_each("rollback", boards, work, listener, root=True)


def push_data(boards: Sequence[str], dataset: str, split: str, *, listener: Listener) -> Report:
    """Send a packed data set, when what the board has differs."""
    own = datasets.is_named_here(dataset)
    packed = None if own else board_data.pack(dataset, split)  # the same for all boards

    def work(board: BoardEntry, listener: Listener) -> board_data.Pushed:
        with Connection(inventory.endpoint(board)) as connection, session(connection) as agent:
            agent.lock(f"data {dataset}")
            ready = packed or board_data.pack(dataset, split, board_data.deployed_form(agent))
            return board_data.push_dataset(agent, ready, listener=listener)

    return on_each("data", boards, work, listener)


def set_up(boards: Sequence[str], *, listener: Listener) -> Report:
    """Write labd.pth, once per board, so that its Python finds whatever release is current."""

    def work(board: BoardEntry, listener: Listener) -> SetUp:
        with Connection(inventory.endpoint(board)) as connection:
            with session(connection) as agent:
                root = agent.hello["root"]
                answer = agent.ask("pth", root=root)
            if answer["state"] == "not allowed" and board.sudo:
                with session(connection, root=True) as agent:
                    answer = agent.ask("pth", root=root)
        if answer["state"] == "not allowed":
            raise UsageError(
                f"{board.user} may not write {answer['path']} on board {board.number}",
                fix=f"allow sudo there: sudo = true for board {board.number} in the inventory",
                board=board.number,
            )
        return SetUp(board.number, answer["path"], answer["state"])

    return on_each("setup", boards, work, listener, root=True)
