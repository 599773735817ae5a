"""What can be asked of boards, one function a command: each takes board numbers and returns a report of them.

`fab` tasks, the labd command and `labd.Board` call these and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labd_host.remote import enrolment, look, tasks
from labd_host.remote.tasks import COMMAND_S
from labd_shared.errors import UsageError
from labd_shared.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from labd_host.machine.listener import Listener
    from labd_host.remote.fleet import Report

BUNDLE_VARIABLE = "LABD_BUNDLE"
BUILD_FOLDER = Path("build")


def deploy(boards: Sequence[str], *, bundle: str | Path = "", listener: Listener) -> Report:
    """Deploy a bundle, with the code that runs it and its test data, and prove it with its golden samples.

    Args:
        boards: Numbers; virtual ones that are down are started.
        bundle: Folder or .zip; LABD_BUNDLE, then the last build of this folder when "".
        listener: Told what happens.

    Raises:
        UsageError: no board, or no bundle.
        ArtifactError: the bundle is damaged.
        UnknownName, SetupError: as of the inventory and the board wheel.
    """
    path = chosen_bundle(bundle)
    if not bundle:
        listener.say(f"bundle: {path}")
    start_virtual(boards, listener)
    return tasks.deploy(boards, bundle=str(path), listener=listener)


# A parameter an option of the command on the board.
def validate(
    boards: Sequence[str],
    *,
    dataset: str = "",
    batchsize: int | None = None,
    limit: int | None = None,
    compare: str = "",
    min_accuracy: float | None = None,
    passes: int | None = None,
    resume: bool = False,
    recover: bool = False,
    predictions: str = "",
    deadline_s: float = COMMAND_S,
    as_data: bool = False,
    listener: Listener,
) -> Report:
    """The accuracy of the deployed accelerator on a data set's test split.

    Args:
        boards: Numbers.
        dataset: "" for the one the bundle is for; sent first where the board lacks it.
        batchsize: Frames a run; any number.
        limit: Only the first images.
        compare: "golden": each answer with the golden model's.
        min_accuracy: Percent below which the board's command fails.
        passes: Go through the images so often; an answer that changes fails.
        resume: Go on with a killed run of the same bundle and images.
        recover: After a deadline program again and repeat the batch, once.
        predictions: A file here for what was said of each image.
        deadline_s: Longest time it may take.
        as_data: The report as data; otherwise its lines are shown.
        listener: Told what happens.
    """
    options = {
        "dataset": dataset,
        "batchsize": batchsize,
        "limit": limit,
        "compare": compare,
        "min-accuracy": min_accuracy,
        "passes": passes,
        "resume": resume,
        "recover": recover,
    }
    start_virtual(boards, listener)
    return tasks.run_command(
        "validate", boards, options, as_data=as_data, dataset=dataset, predictions=predictions,
        deadline_s=deadline_s, listener=listener,
    )  # fmt: skip


def throughput(
    boards: Sequence[str],
    *,
    batchsize: int | None = None,
    repeats: int | None = None,
    sweep: tuple[int, ...] = (),
    deadline_s: float = COMMAND_S,
    as_data: bool = False,
    listener: Listener,
) -> Report:
    """How fast the deployed accelerator is, and where each figure comes from.

    Args:
        boards: Numbers.
        batchsize: Frames a run.
        repeats: Timed runs.
        sweep: These batch sizes as well.
        deadline_s: Longest time it may take.
        as_data: The report as data; otherwise its lines are shown.
        listener: Told what happens.
    """
    options = {"batchsize": batchsize, "repeats": repeats, "sweep": sweep}
    start_virtual(boards, listener)
    return tasks.run_command(
        "throughput", boards, options, as_data=as_data, deadline_s=deadline_s, listener=listener
    )


def selftest(
    boards: Sequence[str],
    *,
    passes: int | None = None,
    deadline_s: float = COMMAND_S,
    as_data: bool = False,
    listener: Listener,
) -> Report:
    """Whether the boards compute exactly what the golden model does; *passes*: how often each sample is run."""
    options = {"passes": passes}
    start_virtual(boards, listener)
    return tasks.run_command(
        "selftest", boards, options, as_data=as_data, deadline_s=deadline_s, listener=listener
    )


def classify(
    boards: Sequence[str],
    pictures: Sequence[str],
    *,
    invert: bool = False,
    deadline_s: float = COMMAND_S,
    as_data: bool = False,
    listener: Listener,
) -> Report:
    """What the deployed accelerator sees in *pictures*, files or folders of this machine; *invert*: dark for light."""
    start_virtual(boards, listener)
    return tasks.classify(
        boards, pictures, invert=invert, as_data=as_data, deadline_s=deadline_s, listener=listener
    )


def info(boards: Sequence[str], *, as_data: bool = False, listener: Listener) -> Report:
    """What the boards are and what is deployed on them."""
    start_virtual(boards, listener)
    return tasks.run_command("info", boards, {}, as_data=as_data, listener=listener)


def boards(boards: Sequence[str], *, listener: Listener) -> Report:
    """Which boards there are, whether they answer, what runs on them, and who has them."""
    return look.look(boards, listener=listener)


def enroll(
    boards: Sequence[str], *, fingerprint: str = "", ask: Callable[[str], bool] | None, listener: Listener
) -> Report:
    """Trust the host key a board presents, once it was compared; see `labd_host.remote.enrolment.enroll`."""
    return enrolment.enroll(boards, fingerprint=fingerprint, ask=ask, listener=listener)


def setup(boards: Sequence[str], *, listener: Listener) -> Report:
    """Once per board: let its Python find the current release from any directory."""
    start_virtual(boards, listener)
    return tasks.set_up(boards, listener=listener)


def rollback(boards: Sequence[str], *, listener: Listener) -> Report:
    """Go back to the release before the current one."""
    start_virtual(boards, listener)
    return tasks.rollback(boards, listener=listener)


def data(boards: Sequence[str], *, dataset: str = "mnist", split: str = "test", listener: Listener) -> Report:
    """Send a data set to the boards, when what they have differs."""
    start_virtual(boards, listener)
    return tasks.push_data(boards, dataset, split, listener=listener)


def start_virtual(boards: Sequence[str], listener: Listener) -> None:
    """Start those of *boards* that are virtual and down; whatever else is wrong with a board is said later."""
    from labd_host.remote import inventory
    from labd_host.virtual_board import board_state, virtual_board

    known = inventory.load()
    for number in boards:
        if known.board(number).kind == "virtual" and board_state.load(number) is None:
            virtual_board.up(number, listener=listener)
            listener.say(
                f"virtual board {number} is up; it ends by itself when idle: labd board down {number}"
            )


def chosen_bundle(named: str | Path) -> Path:
    """The bundle *named*; where that is "", the one of LABD_BUNDLE, then the last that was built in this folder.

    Raises:
        UsageError: there is none.
    """
    path = str(named) or os.environ.get(BUNDLE_VARIABLE, "")
    if path:
        return Path(path).expanduser()
    built = sorted(BUILD_FOLDER.glob(f"*/{MANIFEST_NAME}"), key=lambda file: file.stat().st_mtime_ns)
    if built:
        return built[-1].parent
    raise UsageError(
        f"no bundle was named, {BUNDLE_VARIABLE} is not set, and nothing was built in {BUILD_FOLDER.absolute()}",
        fix="build one: labd build tfc-w1a1",
    )
