"""From an exported network to a folded dataflow graph, proven stage by stage.

Every stage starts from the file of the stage before it. So a stage that is finished, and came from the same
things, is used again (see `labd_host.flow.stage_records`), and only what changed is made, its proof included.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.cycles import Estimate, estimate
from labd_host.dataflow.folding import Attribute, Folding, check_folding, folding_of, read_folding, to_json
from labd_host.dataflow.layers import Network
from labd_host.explore.for_a_rate import Wanted, choose_folding
from labd_host.flow.admission import check_export, check_network
from labd_host.flow.cost import ESTIMATE_FILE, Cost, cost_of
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn, Model, tool_versions
from labd_host.flow.observe import Observation, Point, observe, observe_golden
from labd_host.flow.plain_graph import Graph, Values
from labd_host.flow.proof import Proof, compare, first_proof, observe_answers
from labd_host.flow.stage_records import (
    ANSWERS,
    GOLDEN,
    NOT_BEFORE,
    STAGE_NAMES,
    Inputs,
    Ledger,
    Record,
    code_sha256,
    images_sha256,
    load_observation,
    save_observation,
    stage_path,
    written,
)
from labd_host.flow.stages import (
    CLOCK_MHZ,
    EXPORTED,
    FOLD_CONSTANTS,
    FOLDED,
    HARDWARE,
    PARTITION,
    PREPOST,
    STREAMLINED,
    TIDY,
    Stage,
)
from labd_host.golden.golden_model import GoldenModel
from labd_host.networks.exported import Exported
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.digest import bytes_sha256, file_sha256, json_sha256
from labd_shared.errors import ArtifactError, ShapeError, StageFailed, StageMismatch, UsageError, unknown_name
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
        seconds: What making and proving it took, or finding that it can be used again.
        why: Why it was made in this run; "" for one that was finished before and used again.
    """

    name: str
    title: str
    path: Path
    proof: Proof
    nodes: int
    seconds: float
    why: str

    @property
    def reused(self) -> bool:
        """Was it finished before?"""
        return not self.why


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled network.

    Attributes:
        folder: Where its files lie.
        stages: From the exported network to the golden model.
        inputs, outputs: The accelerator's tensors.
        folding: Node name -> {"PE": ..., "SIMD": ...}, of every layer.
        cost: Cycles and FINN's estimate of the resources, node by node.
        finn_cycles: FINN's own estimate, node name -> cycles (it knows no DMA).
        golden: The golden model.
        tools: Distribution -> version.
    """

    folder: Path
    stages: tuple[CompiledStage, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    folding: Mapping[str, Mapping[str, int]]
    cost: Cost
    finn_cycles: Mapping[str, int] = field(repr=False)
    golden: GoldenModel = field(repr=False)
    tools: Mapping[str, str] = field(repr=False)

    @property
    def estimate(self) -> Estimate:
        """The cycle model, DMA counted."""
        return self.cost.cycles

    @property
    def settings(self) -> Mapping[str, Mapping[str, Attribute]]:
        """What the folding sets of each layer: node name -> attribute -> value, PE and SIMD among them."""
        return read_folding(self.folder / FOLDING_FILE).nodes

    @property
    def network_file(self) -> Path:
        """The golden model's file."""
        return self.folder / NETWORK_FILE


def _silent(_: str) -> None:
    """Say nothing."""


def compile_network(
    onnx: Path,
    *,
    folding: Folding | Wanted,
    out: Path,
    images: npt.NDArray[np.uint8],
    many_images: npt.NDArray[np.uint8] | None = None,
    clock_mhz: float = CLOCK_MHZ,
    start: str | None = None,
    say: Say = _silent,
) -> Compiled:
    """Compile an exported network and prove every stage against the one before it.

    Args:
        onnx: QONNX that takes pixels / 255 as float32 (1, channels, height, width), or FINN-ONNX
            whose input is declared UINT8 and takes pixels as they are.
        folding: PE and SIMD of the layers, or what labd is to choose them for.
        out: Folder for the stages, their proofs, ``estimate.json`` and ``network.npz``; made if missing. Stages that an
            earlier run finished there are used again where nothing that decides on them changed.
        images: uint8 (N, height, width, channels), real ones, to compare the stages on.
        many_images: More of them, to compare the golden model's logits and classes with those of the
            exported network in onnxruntime; only a QONNX export runs there.
        clock_mhz: For the frames a second of ``estimate.json``.
        start: This stage and those behind it are made anew, the ones before it must be finished.
        say: Called with a line about what happens.

    Raises:
        ArtifactError: *onnx* is no network, or one that labd cannot build.
        ShapeError: the images do not fit the network, or there are none.
        StageFailed: FINN gave up, or the network holds something that labd does not know.
        StageMismatch: a stage computes something else than the stage before it.
        IllegalFolding, UnknownName: the folding does not fit the network.
        UnknownName, UsageError: there is no stage *start*, or one before it is not finished; or no folding
            reaches what is wanted.
        SetupError: a file cannot be written; what was finished before is used by the next run.
    """
    if start is not None and start not in STAGE_NAMES:
        raise unknown_name("stage", start, STAGE_NAMES, fix=f"choose one of {', '.join(STAGE_NAMES)}")
    if not onnx.is_file():
        raise ArtifactError(f"no exported network at {onnx}", fix="give the path of an ONNX file")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be made: {error.strerror}", fix="choose another folder with -o"
        ) from error
    with Finn() as finn:
        run = _Run(finn, Ledger(out, start), out, say, images)
        try:
            return run.compile(onnx, folding, many_images, clock_mhz)
        finally:
            with contextlib.suppress(OSError):  # the log of a run must not hide how the run ended
                (out / CHATTER_FILE).write_text(finn.chatter, encoding="utf-8")


@dataclass(frozen=True, eq=False)
class _Made:
    """A stage that was just made: what it computed, to be compared, and the size of its graph.

    Attributes:
        nodes: How many operations.
        observed: What it computed.
        against, before: The stage it is compared with, and what that computed; None for the stage before.
    """

    nodes: int
    observed: Observation
    against: str | None = None
    before: Observation | None = None


class _Run:
    """One compilation: the stages so far, and what the last one computed."""

    def __init__(
        self, finn: Finn, ledger: Ledger, out: Path, say: Say, images: npt.NDArray[np.uint8]
    ) -> None:
        self._finn = finn
        self._ledger = ledger
        self._out = out
        self._say = say
        self._images = images
        self._images_sha256 = images_sha256(images)
        self._tools = tool_versions()
        self._stages: list[CompiledStage] = []
        self._last: Record | None = None
        self._observed: Observation | None = None  # of the last stage; None where it was used again

    def compile(
        self,
        onnx: Path,
        folding: Folding | Wanted,
        many_images: npt.NDArray[np.uint8] | None,
        clock_mhz: float,
    ) -> Compiled:
        source = onnx
        for stage in (EXPORTED, TIDY, PREPOST, STREAMLINED, HARDWARE):
            source = self._transformed(stage, source)
        child = self._partition(source)
        folded = self._fold(child, folding, onnx.stem)
        golden = self._golden(folded, onnx.stem)
        if many_images is not None:
            self._answers(onnx, golden, many_images)
        network = golden.network
        model = self._finn.load(folded)
        folds = folding_of(network.layers)
        cost = cost_of(
            estimate(network.layers, network.inputs, network.outputs),
            folds,
            self._finn.resources(model),
            clock_mhz=clock_mhz,
            part=PYNQ_Z2_PART,
        )
        cost.write(self._out)
        return Compiled(
            folder=self._out,
            stages=tuple(self._stages),
            inputs=network.inputs,
            outputs=network.outputs,
            folding=folds,
            cost=cost,
            finn_cycles=self._finn.expected_cycles(model),
            golden=golden,
            tools=self._tools,
        )

    def _admit(self, onnx: Path) -> None:
        """Refuse what cannot be built before anything long starts."""
        check_export(onnx)
        model = self._applied(EXPORTED, onnx)
        check_network(self._finn.graph(self._finn.apply(model, FOLD_CONSTANTS)))

    def _transformed(self, stage: Stage, source: Path) -> Path:
        """A stage that changes the graph and computes the same from the same image; its file."""
        path = stage_path(self._out, stage.name, ".onnx")

        def make() -> _Made:
            if stage is EXPORTED:
                self._admit(source)
            model = self._applied(stage, source)
            graph = self._finn.graph(model)
            observed = observe(graph, self._finn.run(model, self._frames(graph)))
            self._begin(stage.name)
            self._save(model, path)
            return _Made(len(graph.nodes), observed)

        self._advance(stage.name, stage.title, path, source, make, stage=stage)
        return path

    def _partition(self, source: Path) -> Path:
        """Cut the dataflow part out; its file."""
        path, inner = stage_path(self._out, PARTITION.name, ".onnx"), self._out / PARTITION_FILE

        def make() -> _Made:
            parent = self._applied(PARTITION, source)
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
            self._begin(PARTITION.name)
            self._save(child, inner)
            self._save(parent, path)
            return _Made(len(inside.nodes), Observation((*points, label), observed.scores))

        self._advance(PARTITION.name, PARTITION.title, path, source, make, stage=PARTITION, more=(inner,))
        return inner

    def _fold(self, source: Path, folding: Folding | Wanted, name: str) -> Path:
        """Choose implementations, set PE and SIMD; the folded graph's file."""
        path, chosen = stage_path(self._out, FOLDED.name, ".onnx"), self._out / FOLDING_FILE

        def make() -> _Made:
            model = self._applied(FOLDED, source)
            graph = self._finn.graph(model)
            network = describe(graph, name, self._finn.edges(model))
            settings = (
                choose_folding(network, folding)
                if isinstance(folding, Wanted)
                else folding.resolve({node.name: node.op for node in graph.nodes}, network.layers)
            )
            check_folding(network.layers, settings)
            self._finn.set_attributes(model, settings)
            graph = self._finn.graph(model)
            observed = observe(graph, self._finn.run(model, self._entering(graph)))
            self._begin(FOLDED.name)
            self._save(model, path)
            with written(chosen):
                chosen.write_text(to_json(settings), encoding="utf-8")
            return _Made(len(graph.nodes), observed)

        settings: dict[str, Any]
        if isinstance(folding, Wanted):
            settings = {"part": PYNQ_Z2_PART, "cycles_per_frame": folding.cycles_per_frame}
        else:
            settings = {"nodes": folding.nodes, "defaults": folding.defaults}
        self._advance(
            FOLDED.name, FOLDED.title, path, source, make, stage=FOLDED, settings=settings, more=(chosen,)
        )
        return path

    def _golden(self, source: Path, name: str) -> GoldenModel:
        """The golden model, as its file holds it."""
        path = self._out / NETWORK_FILE

        def make() -> _Made:
            folded = self._finn.load(source)
            graph = self._finn.graph(folded)
            self._begin(GOLDEN)
            with written(path):
                GoldenModel(describe(graph, name, self._finn.edges(folded))).save(path)
            golden = GoldenModel.load(path)
            pixels = self._entering(graph).astype(np.uint8).reshape(len(self._images), -1)
            observed = observe_golden(golden.network, golden.run(pixels, intermediates=True))
            return _Made(len(golden.network.layers), observed)

        title = "the golden model, read from the folded graph"
        self._advance(GOLDEN, title, path, source, make, settings={"network": name})
        return GoldenModel.load(path)

    def _answers(self, onnx: Path, golden: GoldenModel, images: npt.NDArray[np.uint8]) -> None:
        """Compare the golden model's answers to *images* with the export's own."""
        try:
            exported = Exported(onnx)
        except ArtifactError as error:
            self._say(f"answers: not compared, {error.what}")
            return
        scores = self._stages[0].proof.scores

        def make() -> _Made:
            parts = range(0, len(images), ANSWERED_AT_ONCE)
            logits = np.concatenate(
                [exported.run(images[start : start + ANSWERED_AT_ONCE]) for start in parts]
            )
            ours, theirs = observe_answers(golden.network, golden.run(images), logits, scores)
            self._begin(ANSWERS)
            return _Made(len(golden.network.layers), ours, EXPORTED.name, theirs)

        self._advance(
            ANSWERS,
            f"the golden model's answers against the export's own arithmetic, {len(images)} images",
            self._out / NETWORK_FILE,
            onnx,
            make,
            settings={
                "network": _arithmetic_sha256(golden.network),
                "scores": None if scores is None else asdict(scores),
            },
            images=images,
            compares=False,
        )

    def _applied(self, stage: Stage, source: Path) -> Model:
        """The model in *source* after the steps of *stage*."""
        model = self._finn.load(source)
        try:
            for step in stage.steps:
                model = self._finn.apply(model, step)
        except StageFailed as error:
            facts = {**error.facts, "stage": stage.name}
            raise StageFailed(f"stage {stage.name}: {error.what}", fix=error.fix, **facts) from error
        return model

    def _begin(self, name: str) -> None:
        """The files of stage *name* are about to change; what told of all stages tells of none now."""
        self._ledger.begin(name)
        (self._out / ESTIMATE_FILE).unlink(missing_ok=True)

    def _save(self, model: Model, path: Path) -> None:
        with written(path):
            self._finn.save(model, path)

    def _advance(
        self,
        name: str,
        title: str,
        path: Path,
        source: Path,
        make: Callable[[], _Made],
        *,
        stage: Stage | None = None,
        settings: Mapping[str, Any] | None = None,
        more: Sequence[Path] = (),
        images: npt.NDArray[np.uint8] | None = None,
        compares: bool = True,
    ) -> None:
        """Use the finished stage *name* again, or make, prove and record it.

        Args:
            name, title: Of the stage.
            path: Its file.
            source: The file it is made from.
            make: Makes its files and says what it computed.
            stage: Its transformations, and whether they move scales; None where FINN has no part in it.
            settings: What decides on it besides.
            more: Files it makes besides *path*.
            images: What it runs on; the images of all stages when None.
            compares: It makes its file, is compared with the stage before, and the next one with it; the
                answers only judge a file that is there.
        """
        started = time.monotonic()
        values = stage_path(self._out, name, ".npz") if compares and name != GOLDEN else None
        paths = [path, *more, *([values] if values else [])]
        steps = [asdict(step) for step in stage.steps] if stage else []
        inputs = Inputs(
            source=file_sha256(source),
            before=_values_sha256(self._last) if compares else "",
            steps=json_sha256(steps),
            settings=json_sha256(settings or {}),
            images=self._images_sha256 if images is None else images_sha256(images),
            labd=code_sha256(),
            tools=json_sha256(self._tools),
        )
        names = [each.name for each in paths] if compares else []
        record = self._ledger.finished(name, inputs, names)
        why = ""
        if record is None:
            why = self._ledger.why_anew(name, inputs, names)
            self._say(f"{name}: {title}{'' if why == NOT_BEFORE else f' (again: {why})'}")
            made = make()
            proof = self._proof(name, made, stage)
            if values:
                save_observation(values, made.observed)
            self._observed = made.observed
            points = tuple((point.kind, point.layer) for point in made.observed.points) if values else ()
            record = Record(name, title, path.name, {}, made.nodes, inputs, steps, points, proof, self._tools)
        else:
            self._say(f"{name}: finished before, used again")
            self._observed = None
        record = replace(record, files={each.name: file_sha256(each) for each in paths})
        self._ledger.keep(record)
        self._last = record
        self._stages.append(
            CompiledStage(name, title, path, record.proof, record.nodes, time.monotonic() - started, why)
        )

    def _proof(self, name: str, made: _Made, stage: Stage | None) -> Proof:
        if made.against is not None and made.before is not None:
            return compare(name, made.observed, made.against, made.before)
        if self._last is None:
            return first_proof(name, made.observed)
        before = self._observed or load_observation(self._out, self._last)
        moves_scales = stage is not None and stage.moves_scales
        return compare(name, made.observed, self._last.stage, before, moves_scales=moves_scales)

    def _entering(self, dataflow: Graph) -> Values:
        """The images as they enter the dataflow part: the bytes in their order."""
        shape = dataflow.shapes[dataflow.input]
        return self._images.reshape(-1, *shape[1:]).astype(np.float32)

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


def _values_sha256(record: Record | None) -> str:
    """Digest of what the stage of *record* computed."""
    return record.files[stage_path(Path(), record.stage, ".npz").name] if record else ""


def _arithmetic_sha256(network: Network) -> str:
    """Digest of all that decides on what *network* computes; a folding does not."""
    layers = []
    for layer in network.layers:
        values = asdict(layer)
        layers.append({key: value for key, value in values.items() if key not in ("pe", "simd", "parallel")})
    arrays = {
        name: [list(array.shape), bytes_sha256(np.ascontiguousarray(array, dtype="<i8").tobytes())]
        for name, array in network.arrays.items()
    }
    edges = [[tensor.datatype.name, list(tensor.normal)] for tensor in (*network.inputs, *network.outputs)]
    return json_sha256([layers, arrays, edges])
