"""From an exported network to a folded dataflow graph, proven stage by stage.

Every stage starts from the file of the stage before it. So a stage that is finished, and came from the same
things, is used again (see `labd_host.flow.stage_records`), and only what changed is made, its proof included.
"""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folding import FoldingSource, folding_of, left_out
from labd_host.datasets import PIXELS, Entering
from labd_host.exports import Export, read_export
from labd_host.flow.answer_kind import answer_of
from labd_host.flow.compiled_network import CompiledNetwork
from labd_host.flow.cost import cost_of
from labd_host.flow.finn_door import Finn
from labd_host.flow.finn_estimates import read_finn_estimates
from labd_host.flow.onnx_graph import read_graph
from labd_host.flow.proof_frames import ProofFrames
from labd_host.flow.stage_records import STAGE_NAMES
from labd_host.flow.stage_runner import StageRunner
from labd_host.flow.stage_tasks import (
    AnswersTask,
    ExportTask,
    FoldTask,
    GoldenTask,
    PartitionTask,
    TransformTask,
)
from labd_host.flow.stages import CLOCK_MHZ, HARDWARE, STREAMLINED, TIDY, prepost
from labd_host.golden.golden_model import GoldenModel
from labd_host.machine.listener import SILENT, Listener
from labd_host.networks.exported import ExportedModel
from labd_host.proof.proof import CHECKS
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import ArtifactError, StageFailed, StageMismatch, UsageError, unknown_name
from labd_shared.manifest import NETWORK_NAME

CHATTER_FILE = "finn.log"


def _silent(_: str) -> None:
    """Say nothing."""


# What is compiled, what it is proven on and where it goes are decided by different people, each alone.
def compile_network(
    onnx: Path,
    *,
    folding: FoldingSource,
    out: Path,
    images: npt.NDArray[np.uint8],
    many_images: npt.NDArray[np.uint8] | None = None,
    entering: Entering = PIXELS,
    classes: int | None = None,
    clock_mhz: float = CLOCK_MHZ,
    start: str | None = None,
    ignored: Collection[str] = (),
    listener: Listener = SILENT,
) -> CompiledNetwork:
    """Compile an exported network and prove every stage against the one before it.

    Args:
        onnx: QONNX that takes pixels / 255 as float32 (1, channels, height, width) or, of one channel, (1, pixels);
            or FINN-ONNX whose input is declared UINT8 and takes pixels as they are. What `labd_host.exports` changes
            when it reads the file is told to *listener*.
        folding: Where PE and SIMD of the layers come from.
        out: Folder for the stages, their proofs, ``estimate.json`` and ``network.npz``; made if missing. Stages that an
            earlier run finished there are used again where nothing that decides on them changed.
        images: uint8 (N, height, width, channels), real ones, to compare the stages on.
        many_images: More of them, to compare the golden model's logits and classes with those of the
            exported network in onnxruntime.
        entering: How the images' values become what the export is given.
        classes: Of the data set: a network with as many scores answers with the best class, one with another
            number with its scores. None where nobody knows: then scores are classes.
        clock_mhz: For the frames a second of ``estimate.json``.
        start: This stage and those behind it are made again, the ones before it must be finished.
        ignored: Names of `labd_host.flow.CHECKS` that may fail; what they found stands in the stage's record.
        listener: Called with a line about what happens.

    Raises:
        ArtifactError: *onnx* is not a network, or one that labd cannot build.
        ShapeError: the images do not fit the network, or there are none.
        StageFailed: FINN gave up, or the network holds something that labd does not know.
        StageMismatch: a stage computes something else than the stage before it.
        IllegalFolding, UnknownName: the folding does not fit the network.
        UnknownName, UsageError: there is no stage *start*, or one before it is not finished; or no folding
            reaches what was asked for.
        SetupError: a file cannot be written; what was finished before is used by the next run.
    """
    _check_names(start, ignored)
    export = read_export(onnx)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be made: {error.strerror}", fix="choose another folder with -o"
        ) from error
    with Finn(at_once=False) as finn:
        compilation = _Compilation(
            finn,
            export,
            out,
            ProofFrames(images, entering),
            classes,
            StageRunner(out, start, ignored, listener),
            listener,
        )
        for note in export.notes:
            listener.say(f"read: {note}")
        try:
            folded = compilation.folded(folding)
            golden = compilation.golden(folded)
            for line in left_out(folding, golden.network):
                listener.say(line)
            if many_images is not None:
                compilation.answers(golden, many_images)
            return compilation.result(golden, clock_mhz)
        except (ArtifactError, StageFailed, StageMismatch):
            (out / NETWORK_NAME).unlink(missing_ok=True)  # nobody must judge what was not proven
            raise
        finally:
            if finn.chatter:  # else the stages are those of an earlier run, and its log is theirs
                with contextlib.suppress(OSError):  # the log of a run must not hide how the run ended
                    (out / CHATTER_FILE).write_text(finn.chatter, encoding="utf-8")


def _check_names(start: str | None, ignored: Collection[str]) -> None:
    if start is not None and start not in STAGE_NAMES:
        raise unknown_name("stage", start, STAGE_NAMES, fix=f"choose one of {', '.join(STAGE_NAMES)}")
    for name in ignored:
        if name not in CHECKS:
            raise unknown_name("check", name, CHECKS)


@dataclass(frozen=True, eq=False)
class _Compilation:
    """One compilation: the same things for every stage, and the runner that does their tasks."""

    finn: Finn
    export: Export
    folder: Path
    frames: ProofFrames
    classes: int | None
    runner: StageRunner
    listener: Listener

    def exported(self) -> Path:
        """The file of the first stage, the export."""
        task = ExportTask(
            finn=self.finn,
            folder=self.folder,
            source=self.export.path,
            frames=self.frames,
            export=self.export,
            classes=self.classes,
        )
        self.runner.advance(task)
        return task.path

    @cached_property
    def answer(self) -> str:
        """What the network answers with."""
        graph = read_graph(self.runner.stages[0].path)
        return answer_of(graph.shapes[graph.output], self.classes)

    def folded(self, folding: FoldingSource) -> Path:
        """From the export to the folded dataflow graph; its file."""
        source = self.exported()
        for stage in (TIDY, prepost(self.answer, self.frames.fed), STREAMLINED, HARDWARE):
            task = TransformTask(
                finn=self.finn,
                stage=stage,
                folder=self.folder,
                source=source,
                frames=self.frames,
                answer=self.answer,
            )
            self.runner.advance(task)
            source = task.path
        partition = PartitionTask(
            finn=self.finn, folder=self.folder, source=source, frames=self.frames, answer=self.answer
        )
        self.runner.advance(partition)
        folded = FoldTask(
            finn=self.finn,
            folder=self.folder,
            source=partition.inner,
            frames=self.frames,
            folding=folding,
            network=self.export.path.stem,
            answer=self.answer,
        )
        self.runner.advance(folded)
        return folded.path

    def golden(self, folded: Path) -> GoldenModel:
        """The golden model of the graph in *folded*, as its file holds it."""
        task = GoldenTask(
            finn=self.finn,
            folder=self.folder,
            source=folded,
            frames=self.frames,
            network=self.export.path.stem,
            answer=self.answer,
        )
        self.runner.advance(task)
        return GoldenModel.load(task.path)

    def answers(self, golden: GoldenModel, images: npt.NDArray[np.uint8]) -> None:
        """Compare the golden model's answers to *images* with the export's own, where the export can be run."""
        exported: ExportedModel | str
        try:
            exported = ExportedModel(self.export)
        except ArtifactError as error:
            exported = error.what
        self.runner.advance(
            AnswersTask(
                folder=self.folder,
                source=self.export.path,
                frames=ProofFrames(images, self.frames.fed),
                finn=self.finn,
                first=self.runner.stages[0].path,
                exported=exported,
                golden=golden,
                answer=self.answer,
                scores=self.runner.stages[0].proof.scores,
            )
        )
        if isinstance(exported, ExportedModel):
            exported.tell_zeros(self.listener)

    def result(self, golden: GoldenModel, clock_mhz: float) -> CompiledNetwork:
        """What was compiled, with its cost, which is written as well."""
        self.runner.end()
        network, estimates = golden.network, read_finn_estimates(self.folder)
        folds = folding_of(network.layers)
        cost = cost_of(
            estimate(network.layers, network.inputs, network.outputs),
            folds,
            estimates.resources,
            clock_mhz=clock_mhz,
            part=PYNQ_Z2_PART,
        )
        cost.write(self.folder)
        return CompiledNetwork(
            folder=self.folder,
            stages=tuple(self.runner.stages),
            inputs=network.inputs,
            outputs=network.outputs,
            folding=folds,
            cost=cost,
            finn_cycles=estimates.cycles,
            golden=golden,
            tools=self.runner.tools,
        )
