"""What makes each stage: a task a kind, with all that decides on the stage it makes.

`labd_host.flow.stage_runner` does them, unless the stage is finished and nothing that decides on it changed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from labd_host.dataflow.folding import FOLDING_FILE, FoldingSource, check_folding, to_json
from labd_host.exports import Export
from labd_host.flow.admission import check_export, check_network
from labd_host.flow.answer_kind import answer_of
from labd_host.flow.compiled_network import PARTITION_FILE
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn, Model
from labd_host.flow.finn_estimates import FINN_ESTIMATES_FILE, FinnEstimates
from labd_host.flow.last_layer import check_scores
from labd_host.flow.onnx_graph import graph_of
from labd_host.flow.proof_frames import ProofFrames
from labd_host.flow.stage_records import GOLDEN, stage_path, written
from labd_host.flow.stages import EXPORTED, FOLD_CONSTANTS, FOLDED, PARTITION, Stage, Step
from labd_host.golden.golden_model import GoldenModel
from labd_host.machine.typed_records import write_record
from labd_host.networks.exported import ExportedModel
from labd_host.proof.observe import Observation, ObservedPoint, Scores, observe, observe_golden
from labd_host.proof.proof import ANSWERS, LEFT_OUT, differing_images, observe_answers
from labd_host.proof.roundings import doubtful
from labd_shared.answers import CLASS, VALUES
from labd_shared.errors import StageFailed, StageMismatch
from labd_shared.manifest import NETWORK_NAME

ANSWERED_AT_ONCE = 200  # images in onnxruntime: bounds the memory of its feature maps

Begin = Callable[[], None]


@dataclass(frozen=True, eq=False)
class StageResult:
    """What a stage that was just made computed, to be compared, and the size of its graph.

    Attributes:
        nodes: How many operations.
        observed: What it computed.
        notes: What was changed of the export, a line each.
        against, before: The stage it is compared with, and what that computed; None for the stage before.
        missing: Why it cannot be compared; "" where it can.
    """

    nodes: int
    observed: Observation
    notes: tuple[str, ...] = ()
    against: str | None = None
    before: Observation | None = None
    missing: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class StageTask(ABC):
    """Makes one stage.

    Attributes:
        folder: Where its files go.
        source: The file it is made from.
        frames: The images it runs on.
    """

    folder: Path
    source: Path
    frames: ProofFrames

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the stage, as in `stage_records.STAGE_NAMES`."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What the stage does, for people."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """FINN's transformations; none where FINN has no part in it."""
        return ()

    @property
    def moves_scales(self) -> bool:
        """May it turn signs and scale the scores (`Stage.moves_scales`)?"""
        return False

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides on the stage besides source, frames and steps; JSON-able."""
        return {}

    @property
    def compares(self) -> bool:
        """Does it make its file, and is it compared with the stage before, and the next one with it?

        The answers do not: they only judge a file that is there.
        """
        return True

    @property
    def path(self) -> Path:
        """Its file."""
        return stage_path(self.folder, self.name, ".onnx")

    @property
    def more(self) -> tuple[Path, ...]:
        """Files it makes besides `path`."""
        return ()

    @property
    def values(self) -> Path | None:
        """The file of what it computed, for the proof of the next stage; None where there is no next one."""
        return stage_path(self.folder, self.name, ".npz")

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        return (self.path, *self.more, *([self.values] if self.values else []))

    @abstractmethod
    def make(self, begin: Begin) -> StageResult:
        """Make its files, but for `values`.

        Args:
            begin: To be called when everything is computed and the files are about to change.

        Raises:
            StageFailed: FINN gave up, or the network holds something that labd does not know.
            SetupError: a file cannot be written.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class TransformTask(StageTask):
    """Makes a stage that changes the graph and computes the same from the same image.

    Attributes:
        finn: The open door to FINN.
        stage: Its transformations.
        answer: What the network answers with (`labd_host.flow.answer_kind`).
    """

    finn: Finn
    stage: Stage
    answer: str = CLASS

    @property
    def name(self) -> str:
        """Of the stage."""
        return self.stage.name

    @property
    def title(self) -> str:
        """What the stage does."""
        return self.stage.title

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its transformations."""
        return self.stage.steps

    @property
    def moves_scales(self) -> bool:
        """As the stage says."""
        return self.stage.moves_scales

    def make(self, begin: Begin) -> StageResult:
        """Transform the graph and run it."""
        return self.made(self.transformed(), begin, self.answer)

    def made(self, model: Model, begin: Begin, answer: str, notes: Sequence[str] = ()) -> StageResult:
        """Run *model*, the transformed graph of a network that answers with *answer*, and write it."""
        graph = self.finn.graph(model)
        observed = observe(graph, self.finn.run(model, self.frames.of(graph)), answer)
        begin()
        self.save(model, self.path)
        return StageResult(len(graph.nodes), observed, tuple(notes))

    def transformed(self) -> Model:
        """The model in the source file after the steps of the stage."""
        model = self.loaded()
        try:
            for step in self.steps:
                model = self.finn.apply(model, step)
        except StageFailed as error:
            facts = {**error.facts, "stage": self.name}
            raise StageFailed(f"stage {self.name}: {error.what}", fix=error.fix, **facts) from error
        return model

    def loaded(self) -> Model:
        """The model in the source file."""
        return self.finn.load(self.source)

    def save(self, model: Model, path: Path) -> None:
        """Write *model*."""
        with written(path):
            self.finn.save(model, path)


@dataclass(frozen=True, eq=False, kw_only=True)
class ExportTask(TransformTask):
    """Takes the exported network in.

    Attributes:
        export: What was read from the source file.
        classes: Of the data set; None where nobody knows.
    """

    stage: Stage = EXPORTED
    export: Export
    classes: int | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was read (the source file may have data beside it), and what decides on the answer."""
        return {"export": self.export.sha256(), "classes": self.classes}

    def make(self, begin: Begin) -> StageResult:
        """Refuse what cannot be built before anything long starts; else as every transformation."""
        check_export(graph_of(self.export.model), self.source.name)
        model, notes = self.finn.rewritten(self.transformed())
        graph = self.finn.graph(self.finn.apply(model, FOLD_CONSTANTS))
        check_network(graph)
        answer = answer_of(graph.shapes[graph.output], self.classes)
        if answer == CLASS:
            check_scores(graph)
        return self.made(model, begin, answer, notes)

    def loaded(self) -> Model:
        """The export in labd's form."""
        return self.finn.take(self.export.model)


@dataclass(frozen=True, eq=False, kw_only=True)
class PartitionTask(TransformTask):
    """Cuts the dataflow part out, into `inner`."""

    stage: Stage = PARTITION

    @property
    def inner(self) -> Path:
        """The file of the dataflow part."""
        return self.folder / PARTITION_FILE

    @property
    def more(self) -> tuple[Path, ...]:
        """The dataflow part."""
        return (self.inner,)

    def make(self, begin: Begin) -> StageResult:
        """Cut, and run the part and what is around it."""
        parent = self.transformed()
        child, entry = self.finn.dataflow(parent)
        graph, inside = self.finn.graph(parent), self.finn.graph(child)
        outer = self.finn.run(parent, self.frames.of(graph))
        frames = outer.values[entry]
        if not np.array_equal(frames.reshape(len(frames), -1), self.frames.pixels):
            raise StageMismatch(
                "what enters the dataflow partition is not the image's bytes in their order",
                fix="a layout change is left outside the partition; the accelerator's driver cannot make it",
                stage=self.name,
            )
        observed = observe(inside, self.finn.run(child, frames), self.answer)
        if self.answer != VALUES:
            label = ObservedPoint("label", graph.output, outer.values[graph.output].astype(np.int64))
            points = tuple(point for point in observed.points if point.kind != "label")
            observed = replace(observed, points=(*points, label))
        begin()
        self.save(child, self.inner)
        self.save(parent, self.path)
        return StageResult(len(inside.nodes), observed)


@dataclass(frozen=True, eq=False, kw_only=True)
class FoldTask(TransformTask):
    """Chooses implementations and sets PE and SIMD.

    Attributes:
        folding: Where PE and SIMD come from.
        network: Name of the network.
    """

    stage: Stage = FOLDED
    folding: FoldingSource
    network: str

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides on the folding."""
        return self.folding.key

    @property
    def more(self) -> tuple[Path, ...]:
        """The folding, and FINN's estimates of it."""
        return (self.folder / FOLDING_FILE, self.folder / FINN_ESTIMATES_FILE)

    def make(self, begin: Begin) -> StageResult:
        """Fold the graph and run it.

        Raises:
            IllegalFolding, UnknownName: the folding does not fit the network.
            UsageError: no folding reaches what was asked for.
        """
        model = self.transformed()
        network = describe(self.finn.graph(model), self.network, self.finn.edges(model))
        settings = self.folding.settings_for(network)
        check_folding(network.layers, settings)
        self.finn.set_attributes(model, settings)
        graph = self.finn.graph(model)
        observed = observe(graph, self.finn.run(model, self.frames.entering(graph)), self.answer)
        begin()
        self.save(model, self.path)
        estimates = FinnEstimates(self.finn.resources(model), self.finn.expected_cycles(model))
        chosen, estimated = self.more
        with written(chosen):
            chosen.write_text(to_json(settings), encoding="utf-8")
        with written(estimated):
            write_record(estimated, estimates)
        return StageResult(len(graph.nodes), observed)


@dataclass(frozen=True, eq=False, kw_only=True)
class GoldenTask(StageTask):
    """Reads the golden model from the folded graph.

    Attributes:
        finn: The open door to FINN.
        network: Name of the network.
        answer: What it answers with.
    """

    finn: Finn
    network: str
    answer: str

    @property
    def name(self) -> str:
        """Of the stage."""
        return GOLDEN

    @property
    def title(self) -> str:
        """What the stage does."""
        return "the golden model, read from the folded graph"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The name stands in the file."""
        return {"network": self.network}

    @property
    def path(self) -> Path:
        """The golden model's file."""
        return self.folder / NETWORK_NAME

    @property
    def values(self) -> None:
        """None: no stage is proven against it from a file."""
        return

    def make(self, begin: Begin) -> StageResult:
        """Write the golden model, read it again and run it."""
        folded = self.finn.load(self.source)
        model = GoldenModel(describe(self.finn.graph(folded), self.network, self.finn.edges(folded)))
        begin()
        with written(self.path):
            model.save(self.path)
        golden = GoldenModel.load(self.path)
        found = golden.run(self.frames.pixels, intermediates=True)
        observed = observe_golden(golden.network, found, self.answer)
        return StageResult(len(golden.network.layers), observed)


@dataclass(frozen=True, eq=False, kw_only=True)
class AnswersTask(StageTask):
    """Compares the golden model's answers to many images with the export's own; the source is the export.

    Where onnxruntime answers otherwise, FINN runs the export on the same image: if float32's rounding of a sum
    decides there, or may have decided in onnxruntime while FINN agrees with the golden model, it is left out.

    Attributes:
        finn: The open door to FINN.
        first: The file of the first stage, for FINN to run.
        exported: The exported network, to be run; or why it cannot be.
        golden: The golden model.
        answer: What the network answers with.
        scores: How the golden model's scores become the export's; None where the export gives classes.
    """

    finn: Finn
    first: Path
    exported: ExportedModel | str
    golden: GoldenModel
    answer: str
    scores: Scores | None

    @property
    def name(self) -> str:
        """Of the stage."""
        return ANSWERS

    @property
    def title(self) -> str:
        """What the stage does."""
        many = len(self.frames.images)
        return f"the golden model's answers against the export's own arithmetic, {many} images"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The golden model's arithmetic; its folding changes no answer."""
        return {
            "network": self.golden.network.arithmetic_sha256,
            "scores": None if self.scores is None else self.scores.record(),
            "export": "" if isinstance(self.exported, str) else self.exported.sha256,
            "answer": self.answer,
            "missing": self.exported if isinstance(self.exported, str) else "",
        }

    @property
    def compares(self) -> bool:
        """It makes no file."""
        return False

    @property
    def path(self) -> Path:
        """The golden model's file, which is judged."""
        return self.folder / NETWORK_NAME

    @property
    def values(self) -> None:
        """None: it is the last."""
        return

    def make(self, begin: Begin) -> StageResult:
        """Run both."""
        layers = len(self.golden.network.layers)
        if isinstance(self.exported, str):
            begin()
            return StageResult(layers, Observation(()), against=EXPORTED.name, missing=self.exported)
        images = self.frames.images
        parts = range(0, len(images), ANSWERED_AT_ONCE)
        logits = np.concatenate(
            [self.exported.run(images[start : start + ANSWERED_AT_ONCE], self.frames.fed) for start in parts]
        )
        ours, theirs = observe_answers(
            self.golden.network, self.answer, self.golden.run(images), logits, self.scores
        )
        differing = differing_images(ours, theirs)
        looked_at = differing[:LEFT_OUT]  # FINN takes seconds for one
        if looked_at:
            undecided = self._undecided(ours, looked_at)
            theirs = replace(theirs, undecided=differing if undecided == looked_at else undecided)
        begin()
        return StageResult(layers, ours, against=EXPORTED.name, before=theirs)

    def _undecided(self, ours: Observation, differing: tuple[int, ...]) -> tuple[int, ...]:
        """Those of *differing* images in which float32's roundings decide on what the export answers."""
        frames = ProofFrames(self.frames.images[list(differing)])
        model = self.finn.load(self.first)
        graph = self.finn.graph(model)
        trace = self.finn.run(model, frames.of(graph))
        found = observe(graph, trace, self.answer)
        again = found.of_kind("sums")[-1].values
        golden = ours.of_kind("sums")[-1].values[list(differing)] if ours.of_kind("sums") else None
        places = set(found.undecided)
        if golden is not None and golden.shape == again.shape:
            places |= doubtful(graph, trace).intersection(np.flatnonzero((golden == again).all(axis=1)))
        return tuple(differing[place] for place in sorted(places))
