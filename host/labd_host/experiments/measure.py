"""What a board says of an experiment: its bundle deployed, and timed there.

A virtual board gets a bundle that is made on the way; it answers by the cycle model, with DMA bursts and
driver calls. A real board needs one that Vivado built, which takes an hour and is never started from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labd_host import networks
from labd_host.dataflow.folding import Folding, to_json
from labd_host.experiments.builds import Builds
from labd_host.experiments.study_model import BoardMeasurement, Experiment
from labd_host.machine.listener import SILENT
from labd_host.remote import inventory, tasks
from labd_host.remote.fleet import Report
from labd_shared.errors import ArtifactError, SetupError

BATCH = 1000
VIRTUAL = "virtual"
BUNDLES, STAGES = "bundles", "stages"


@contextmanager
def board_at_hand(number: str) -> Iterator[None]:
    """Board *number*; a virtual one that is not up is started, and ended afterwards.

    Raises:
        UnknownName: the inventory has no such board.
        BoardError: it does not start.
    """
    from labd_host.virtual_board import board_state, virtual_board

    starts = inventory.load().board(number).kind == VIRTUAL and board_state.load(number) is None
    if starts:
        virtual_board.up(number)
    try:
        yield
    finally:
        if starts:
            virtual_board.down(number)


def measure(experiment: Experiment, folder: Path, builds: Builds) -> BoardMeasurement:
    """Deploy *experiment* to its board and time it.

    Args:
        folder: The study's; bundles made on the way are kept there.
        builds: Bundles that are there already.

    Raises:
        SetupError: a real board, and no bundle for it.
        LabdError: as building, deploying and the board raise them.
    """
    board = inventory.load().board(experiment.board)
    virtual = board.kind == VIRTUAL
    found = builds.bundle(experiment, "emu" if virtual else "hw")
    if found is not None:
        bundle = found.folder
    elif virtual:
        bundle = _emulation(experiment, folder)
    else:
        raise SetupError(
            f"board {experiment.board} is real, and there is no bundle of {experiment.network} "
            f"{experiment.name} built for it",
            fix=f"labd build {experiment.network} --target hw --folding {_written(experiment, folder)} "
            f"-o BUNDLE, then the study with --builds BUNDLE",
        )
    _result(tasks.deploy([board.number], bundle=str(bundle), listener=SILENT))
    ran = _result(
        tasks.run_command("throughput", [board.number], {"batchsize": BATCH}, as_data=True, listener=SILENT)
    )
    return _measured(f"{'virtual ' * virtual}board {board.number}", ran.report)


def _emulation(experiment: Experiment, folder: Path) -> Path:
    """A bundle for virtual boards; stages that foldings share are compiled once."""
    from labd_host.bundles.emulation_build import write_emulation
    from labd_host.bundles.preparation import prepare

    bundle = folder / BUNDLES / experiment.key
    stages = folder / STAGES / experiment.network_sha256
    bundle.parent.mkdir(parents=True, exist_ok=True)
    stages.parent.mkdir(parents=True, exist_ok=True)
    folding = Folding(experiment.name, experiment.settings, {})
    prepared = prepare(
        networks.resolve(experiment.network, experiment.dataset),
        stages,
        folding=folding,
        clock_mhz=experiment.clock_mhz,
        listener=SILENT,
    )
    return write_emulation(prepared, bundle, experiment.clock_mhz).folder


def _written(experiment: Experiment, folder: Path) -> Path:
    """A file with the experiment's folding."""
    path = folder / BUNDLES / f"{Path(experiment.network).stem}-{experiment.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(experiment.settings), encoding="utf-8")
    return path


def _result(report: Report) -> Any:
    (outcome,) = report.outcomes
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def _measured(where: str, report: Any) -> BoardMeasurement:
    try:
        return BoardMeasurement(
            where=where,
            frames_per_s=float(report["accelerator_frames_per_s"]),
            end_to_end_frames_per_s=float(report["end_to_end_frames_per_s"]),
            latency_us=1e6 * float(report["latency"]["accelerator_s"]["median"]),
            clock_mhz=float(report["clock_mhz"]),
            batchsize=int(report["batchsize"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{where} told no throughput: {error!r}", fix="fab throughput") from error
