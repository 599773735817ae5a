"""A board: bundles deployed to it, its accelerator run and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from labd.accuracy_score import Score
from labd.built_bundle import Bundle
from labd.figure import Figure
from labd.network import heard
from labd.shown import Shown, terminal
from labd_host.machine.listener import Listener
from labd_shared.errors import ShapeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import Console

    from labd_host.remote.fleet import Report
    from labd_host.remote.inventory import BoardEntry

ON_DATA = ("validate", "throughput", "selftest", "classify", "info")  # commands whose report is data
SHOWN_KEYS = {
    "deploy": ("dataset",),
    "throughput": ("accelerator_frames_per_s", "end_to_end_frames_per_s", "bound_by"),
    "selftest": ("samples", "different"),
    "info": ("image", "python", "release"),
    "classify": ("network",),
    "validate": ("accuracy_percent",),
    "rollback": ("release", "previous"),
}


class BoardReport(Shown):
    """What a command on a board found, by key.

    Attributes:
        board: Its number.
        command: "throughput", "selftest", "info", "deploy", ...
        origin: Of its figures: "measured on board 03", or "virtual board 03".
    """

    def __init__(self, board: str, command: str, report: Mapping[str, Any], origin: str) -> None:
        self.board, self.command, self._report, self.origin = board, command, dict(report), origin

    def __getitem__(self, key: str) -> Any:
        return self._report[key]

    @property
    def record(self) -> dict[str, Any]:
        return dict(self._report)

    def figure(self, key: str, unit: str) -> Figure:
        """The number under *key*, with its unit and origin."""
        return Figure(self._report[key], unit, self.origin)

    def summary(self) -> str:
        shown = [
            f"{key} {self._report[key]}"
            for key in SHOWN_KEYS[self.command]
            if self._report.get(key) is not None
        ]
        return f"{self.command} on board {self.board}: {', '.join(shown) or 'done'} ({self.origin})"

    def show(self, console: Console | None = None) -> None:
        console = console or terminal()
        console.print(self.summary(), markup=False, soft_wrap=True)
        for key, value in self._report.items():
            if isinstance(value, str | int | float):
                console.print(f"  {key:32} {value}", markup=False, soft_wrap=True)


class Board:
    """A board of the inventory; a virtual one is started when it is entered, and ended with the block.

    ::

        with labd.Board("03") as board:
            board.deploy(bundle)
            board.validate()

    Args:
        number: Two digits.
        listener: Told what happens; a person at a terminal or notebook when None.

    Raises:
        UnknownName: the inventory has no such board.
    """

    def __init__(self, number: str, *, listener: Listener | None = None) -> None:
        from labd_host.remote import inventory

        self.number, self._listener = number, listener
        self._entry: BoardEntry = inventory.load().board(number)
        self._started = False

    @property
    def virtual(self) -> bool:
        """Whether it is emulated on this machine."""
        return self._entry.kind == "virtual"

    @property
    def origin(self) -> str:
        """What its figures are called: "virtual board 03", or "measured on board 03"."""
        return f"virtual board {self.number}" if self.virtual else f"measured on board {self.number}"

    def up(self) -> Self:
        """Start it, where it is virtual and down; a real board and a running one are left as they are."""
        if self.virtual:
            from labd_host.virtual_board import board_state, virtual_board

            if board_state.load(self.number) is None:
                with heard(self._listener) as listener:
                    virtual_board.up(self.number, listener=listener)
                self._started = True
        return self

    def down(self) -> None:
        """End it, where it is virtual; a real board is left as it is."""
        if self.virtual:
            from labd_host.virtual_board import virtual_board

            virtual_board.down(self.number)
            self._started = False

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:  # one that ran before the block goes on running
            self.down()

    def __repr__(self) -> str:
        return f"<Board {self.number}: {'virtual' if self.virtual else 'real'}, {self._entry.host}>"

    def deploy(self, bundle: Bundle | str | Path) -> BoardReport:
        """Bring a bundle to the board, with the code that runs it and its test data, and prove it.

        A release whose golden samples come out wrong is rolled back.

        Raises:
            ArtifactError: the bundle is damaged.
            BoardError: the board cannot be reached, is in use, or lost the connection.
            ResultError: the golden samples came out wrong.
        """
        from labd.board_commands import deploy

        path = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
        return self._one("deploy", deploy, bundle=str(path))

    def validate(
        self,
        *,
        dataset: str = "",
        batchsize: int | None = None,
        limit: int | None = None,
        compare: str = "",
        passes: int | None = None,
    ) -> Score:
        """The accuracy of the deployed accelerator on a data set's test split.

        Args:
            dataset: "" for the one the bundle is for.
            batchsize: Frames a run; any number.
            limit: Only the first images.
            compare: "golden": each answer with the golden model's.
            passes: How often to go through the images.

        Raises:
            ArtifactError: nothing is deployed.
            BoardError: of the connection or the accelerator.
            ResultError: answers changed from pass to pass.
        """
        from labd.board_commands import validate
        from labd_shared.predictions import load_predictions

        with tempfile.TemporaryDirectory(prefix="labd-") as folder:
            file = Path(folder) / "predictions.npz"
            found = self._one(
                "validate",
                validate,
                dataset=dataset,
                batchsize=batchsize,
                limit=limit,
                compare=compare,
                passes=passes,
                predictions=str(file),
            )
            predictions = load_predictions(file) if file.is_file() else None
        return Score(found.record, self.origin, predictions)

    def throughput(self, *, batchsize: int | None = None, repeats: int | None = None) -> BoardReport:
        """How fast the deployed accelerator is, and where each figure comes from."""
        from labd.board_commands import throughput

        return self._one("throughput", throughput, batchsize=batchsize, repeats=repeats)

    def selftest(self, *, passes: int | None = None) -> BoardReport:
        """Whether the board computes exactly what the golden model does."""
        from labd.board_commands import selftest

        return self._one("selftest", selftest, passes=passes)

    def info(self) -> BoardReport:
        """What the board is and what is deployed on it."""
        from labd.board_commands import info

        return self._one("info", info)

    def rollback(self) -> BoardReport:
        """Go back to the release before the current one."""
        from labd.board_commands import rollback

        return self._one("rollback", rollback)

    def classify(
        self, images: npt.NDArray[np.uint8] | Sequence[str | Path], *, invert: bool = False
    ) -> list[str]:
        """The class of each image, by the deployed accelerator.

        Args:
            images: uint8 (n, height, width, channels), or picture files.
            invert: Dark for light, for digits drawn dark on light.
        """
        from labd.board_commands import classify

        with tempfile.TemporaryDirectory(prefix="labd-") as folder:
            report = self._one("classify", classify, pictures=_files(images, Path(folder)), invert=invert)
        return [str(image["class"]) for image in report["images"]]

    def _one(self, command: str, work: Callable[..., Report], **options: Any) -> BoardReport:
        """Run *work* on this board alone.

        Raises:
            LabdError: what ended it.
        """
        if command in ON_DATA:
            options["as_data"] = True
        with heard(self._listener) as listener:
            whole = (
                self._listener is not None
            )  # who listens hears everything, who looks at results only how far it is
            told = listener if whole else Notes(listener, f"{command} on board {self.number}")
            (outcome,) = work([self.number], listener=told, **options).outcomes
        if outcome.error is not None:
            raise outcome.error
        report = outcome.result.report if command in ON_DATA else asdict(outcome.result)
        return BoardReport(self.number, command, report, self.origin)


class Notes(Listener):
    """Turns every line into a note beside a task's progress: a caller of the Python door wants the result alone."""

    def __init__(self, whole: Listener, task: str) -> None:
        self._whole, self._task = whole, task

    def say(self, line: str) -> None:
        self._whole.progress(self._task, 0, None, line)

    def progress(self, task: str, done: float, total: float | None = None, note: str = "") -> None:
        self._whole.progress(task, done, total, note)


def _files(images: Any, folder: Path) -> list[str]:
    """*images* as files: each of an array as a .npy of its own in *folder*."""
    import numpy as np

    if not isinstance(images, np.ndarray):
        return [str(path) for path in images]
    if images.ndim not in (2, 4) or images.dtype.kind not in "iu":
        raise ShapeError(
            f"the images are {images.dtype} {images.shape}, integers (n, height, width, channels) or (n, values) are "
            "needed",
            fix="images[np.newaxis] for a single one",
        )
    for number, image in enumerate(images):
        np.save(folder / f"{number:06d}.npy", image)
    return [str(folder)] if len(images) else []
