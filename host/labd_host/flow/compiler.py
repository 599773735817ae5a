"""From an exported network to a folded dataflow graph, proven stage by stage."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.emulation.golden import GoldenModel
from labd_host.emulation.golden_layers import Network
from labd_host.explore.cycles import Estimate, estimate
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn, Model, tool_versions
from labd_host.flow.folding import Attribute, Folding, check_folding, folding_of, to_json
from labd_host.flow.graph import Graph, Values
from labd_host.flow.observe import Observation, Point, observe, observe_golden
from labd_host.flow.proof import Proof, compare, first_proof, observe_answers
from labd_host.flow.stages import (
    EXPORTED,
    FOLDED,
    HARDWARE,
    PARTITION,
    PREPOST,
    STREAMLINED,
    TIDY,
    Stage,
)
from labd_host.networks.exported import Exported
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, ShapeError, StageFailed, StageMismatch, UsageError
from labd_shared.tensors import Tensor

NETWORK_FILE = "network.npz"
FOLDING_FILE = "folding.json"
PARTITION_FILE = "6-partition-dataflow.onnx"
CHATTER_FILE = "finn.log"
ANSWERED_AT_ONCE = 200  # images in onnxruntime: bounds the memory of its feature maps

Say = Callable[[str], None]


@dataclass(frozen=True)
class CompiledStage:
    """One stage that was made, saved and proven.

    Attributes:
        name, title: As in `labd_host.flow.stages`; then the golden model, as "golden", and "answers", the
            golden model's answers to many images against the export's own arithmetic.
        path: Its file in the output folder.
        proof: Against the stage before it.
        nodes: How many operations the graph has.
        seconds: What making and proving it took.
    """

    name: str
    title: str
    path: Path
    proof: Proof
    nodes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled network.

    Attributes:
        folder: Where its files lie.
        stages: From the exported network to the golden model.
        inputs, outputs: The accelerator's tensors.
        folding: Node name -> {"PE": ..., "SIMD": ...}, of every layer.
        estimate: The cycle model, DMA counted.
        finn_cycles: FINN's own estimate, node name -> cycles (it knows no DMA).
        golden: The golden model.
        tools: Distribution -> version.
    """

    folder: Path
    stages: tuple[CompiledStage, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    folding: Mapping[str, Mapping[str, int]]
    estimate: Estimate
    finn_cycles: Mapping[str, int] = field(repr=False)
    golden: GoldenModel = field(repr=False)
    tools: Mapping[str, str] = field(repr=False)

    @property
    def network_file(self) -> Path:
        """The golden model's file."""
        return self.folder / NETWORK_FILE


def _silent(_: str) -> None:
    """Say nothing."""


def compile_network(
    onnx: Path,
    *,
    folding: Folding,
    out: Path,
    images: npt.NDArray[np.uint8],
    many_images: npt.NDArray[np.uint8] | None = None,
    say: Say = _silent,
) -> Compiled:
    """Compile an exported network and prove every stage against the one before it.

    Args:
        onnx: QONNX that takes pixels / 255 as float32 (1, channels, height, width), or FINN-ONNX
            whose input is declared UINT8 and takes pixels as they are.
        folding: PE and SIMD of the layers.
        out: Folder for the stages, their proofs and ``network.npz``; made if missing. Files of an
            earlier run are replaced.
        images: uint8 (N, height, width, channels), real ones, to compare the stages on.
        many_images: More of them, to compare the golden model's logits and classes with those of the
            exported network in onnxruntime; only a QONNX export runs there.
        say: Called with a line about what happens.

    Raises:
        ArtifactError: *onnx* is no network.
        ShapeError: the images do not fit the network, or there are none.
        StageFailed: FINN gave up, or the network holds something that labd does not know.
        StageMismatch: a stage computes something else than the stage before it.
        IllegalFolding, UnknownName: the folding does not fit the network.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be made: {error.strerror}", fix="choose another folder with -o"
        ) from error
    with Finn() as finn:
        run = _Run(finn, out, say, images)
        try:
            return run.compile(onnx, folding, many_images)
        finally:
            (out / CHATTER_FILE).write_text(finn.chatter, encoding="utf-8")


class _Run:
    """One compilation: the graph as it is now, and what it computed."""

    def __init__(self, finn: Finn, out: Path, say: Say, images: npt.NDArray[np.uint8]) -> None:
        self._finn = finn
        self._out = out
        self._say = say
        self._images = images
        self._stages: list[CompiledStage] = []
        self._observed: Observation | None = None

    def compile(self, onnx: Path, folding: Folding, many_images: npt.NDArray[np.uint8] | None) -> Compiled:
        model = self._finn.load(onnx)
        for stage in (EXPORTED, TIDY, PREPOST, STREAMLINED, HARDWARE):
            started = time.monotonic()
            model = self._make(stage, model)
            graph = self._finn.graph(model)
            observed = observe(graph, self._finn.run(model, self._frames(graph)))
            self._prove(stage, model, graph, observed, started)
        child, frames = self._partition(model)
        network, folded = self._fold(child, frames, folding, onnx.stem)
        golden = self._golden(network, frames)
        if many_images is not None:
            self._answers(onnx, golden, many_images)
        return Compiled(
            folder=self._out,
            stages=tuple(self._stages),
            inputs=network.inputs,
            outputs=network.outputs,
            folding=folding_of(network.layers),
            estimate=estimate(network.layers, network.inputs, network.outputs),
            finn_cycles=self._finn.expected_cycles(folded),
            golden=golden,
            tools=tool_versions(),
        )

    def _make(self, stage: Stage, model: Model) -> Model:
        self._say(f"{stage.name}: {stage.title}")
        try:
            for step in stage.steps:
                model = self._finn.apply(model, step)
        except StageFailed as error:
            facts = {**error.facts, "stage": stage.name}
            raise StageFailed(f"stage {stage.name}: {error.what}", fix=error.fix, **facts) from error
        return model

    def _partition(self, model: Model) -> tuple[Model, Values]:
        """Cut the dataflow part out; it, and what enters it for each image."""
        started = time.monotonic()
        parent = self._make(PARTITION, model)
        child, entry = self._finn.dataflow(parent)
        graph, inside = self._finn.graph(parent), self._finn.graph(child)
        outer = self._finn.run(parent, self._frames(graph))
        frames = outer.values[entry]
        flat = self._images.reshape(len(self._images), -1)
        if not np.array_equal(frames.reshape(len(frames), -1), flat):
            raise StageMismatch(
                "what enters the dataflow partition is not the image's bytes in their order",
                fix="a layout change is left outside the partition; the accelerator's driver cannot make it",
                stage=PARTITION.name,
            )
        observed = observe(inside, self._finn.run(child, frames))
        label = Point("label", graph.output, outer.values[graph.output].astype(np.int64))
        points = tuple(point for point in observed.points if point.kind != "label")
        self._finn.save(child, self._out / PARTITION_FILE)
        self._prove(PARTITION, parent, inside, Observation((*points, label), observed.scores), started)
        return child, frames

    def _fold(self, child: Model, frames: Values, folding: Folding, name: str) -> tuple[Network, Model]:
        started = time.monotonic()
        model = self._make(FOLDED, child)
        graph = self._finn.graph(model)
        layers = describe(graph, name, self._finn.edges(model)).layers
        settings: dict[str, dict[str, Attribute]] = folding.resolve(
            {node.name: node.op for node in graph.nodes}, layers
        )
        check_folding(layers, settings)
        self._finn.set_attributes(model, settings)
        graph = self._finn.graph(model)
        self._prove(FOLDED, model, graph, observe(graph, self._finn.run(model, frames)), started)
        (self._out / FOLDING_FILE).write_text(to_json(settings), encoding="utf-8")
        return describe(graph, name, self._finn.edges(model)), model

    def _golden(self, network: Network, frames: Values) -> GoldenModel:
        started = time.monotonic()
        self._say("golden: the golden model, read from the folded graph")
        path = self._out / NETWORK_FILE
        GoldenModel(network).save(path)
        golden = GoldenModel.load(path)  # what is proven is what the file holds
        pixels = frames.astype(np.uint8).reshape(len(frames), -1)
        observed = observe_golden(golden.network, golden.run(pixels, intermediates=True))
        proof = self._compared("golden", observed)
        self._record("golden", "the golden model", path, proof, len(network.layers), started)
        return golden

    def _answers(self, onnx: Path, golden: GoldenModel, images: npt.NDArray[np.uint8]) -> None:
        """Compare the golden model's answers to *images* with the export's own."""
        started = time.monotonic()
        title = "the golden model's answers against the export's own arithmetic"
        try:
            exported = Exported(onnx)
        except ArtifactError as error:
            self._say(f"answers: not compared, {error.what}")
            return
        self._say(f"answers: {title}, {len(images)} images")
        parts = range(0, len(images), ANSWERED_AT_ONCE)
        logits = np.concatenate([exported.run(images[start : start + ANSWERED_AT_ONCE]) for start in parts])
        ours, theirs = observe_answers(
            golden.network, golden.run(images), logits, self._stages[0].proof.scores
        )
        proof = compare("answers", ours, EXPORTED.name, theirs)
        self._record("answers", title, self._out / NETWORK_FILE, proof, len(golden.network.layers), started)

    def _prove(self, stage: Stage, model: Model, graph: Graph, observed: Observation, started: float) -> None:
        path = self._out / f"{len(self._stages) + 1}-{stage.name}.onnx"
        self._finn.save(model, path)
        proof = self._compared(stage.name, observed, moves_scales=stage.moves_scales)
        steps = [asdict(step) for step in stage.steps]
        self._record(stage.name, stage.title, path, proof, len(graph.nodes), started, steps)

    def _compared(self, name: str, observed: Observation, *, moves_scales: bool = False) -> Proof:
        """Compare with the stage before, and be what the next one is compared with."""
        before, self._observed = self._observed, observed
        if before is None:
            return first_proof(name, observed)
        return compare(name, observed, self._stages[-1].name, before, moves_scales=moves_scales)

    def _record(
        self,
        name: str,
        title: str,
        path: Path,
        proof: Proof,
        nodes: int,
        started: float,
        steps: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write the record beside the file; a stage that differs has left its file, without one."""
        record = {
            "stage": name,
            "title": title,
            "file": path.name,
            "sha256": file_sha256(path),
            "steps": list(steps),
            "proof": proof.record(),
            "tools": tool_versions(),
        }
        number = len(self._stages) + 1
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        (self._out / f"{number}-{name}.json").write_text(text, encoding="utf-8")
        seconds = time.monotonic() - started
        self._stages.append(CompiledStage(name, title, path, proof, nodes, seconds))

    def _frames(self, graph: Graph) -> Values:
        """The images in the form *graph* takes: pixels where its input is declared UINT8, else pixels / 255."""
        shape = graph.shapes[graph.input]
        channels_first = self._images.transpose(0, 3, 1, 2) if self._images.ndim == 4 else self._images
        if not len(self._images) or self._images.dtype != np.uint8 or channels_first.shape[1:] != shape[1:]:
            raise ShapeError(
                f"the images are {self._images.dtype} {self._images.shape}, the network takes one of {shape}",
                fix="choose the data set the network was trained on; images are uint8 (N, height, width, channels)",
            )
        pixels = channels_first.astype(np.float32)
        return pixels if graph.datatypes[graph.input] == "UINT8" else pixels / np.float32(255)
