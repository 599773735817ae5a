"""A trained network: measured, explored, compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labd.accuracy_score import Score
from labd.exploration import FoldingAnswer, FoldingSearch, Frontier
from labd.figure import Figure
from labd.folding_requests import DEFAULT_CLOCK_MHZ, FoldingRequest, chosen_folding
from labd.progress import shown
from labd.shown import Shown
from labd_host.machine.listener import Listener
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import ArtifactError, DataMissing, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from labd.design import Design
    from labd_host.dataflow.folded_chain import FoldedChain
    from labd_host.datasets import Entering
    from labd_host.flow import CompiledNetwork
    from labd_host.networks import NetworkSpec, TrainedExport

BUILD_FOLDER = Path("build")


class Network(Shown):
    """A trained network, before FINN.

    Attributes:
        name: "tfc-w1a1", or the name of the export's file.
        typed: What stands for it on a command line.
        dataset: Name of the data set it classifies; "" where nobody knows.
    """

    def __init__(
        self, name: str, typed: str, spec: NetworkSpec | None, dataset: str = "", *, model: Path | None = None
    ) -> None:
        self.name, self.typed, self._spec, self._model = name, typed, spec, model
        self.dataset = dataset or (spec.dataset if spec else "")

    @property
    def spec(self) -> NetworkSpec | None:
        """Its structure, where it is in the network table or a file of the user's."""
        return self._spec

    @property
    def model(self) -> Path:
        """The trained export.

        Raises:
            DataMissing: it was not trained.
            ArtifactError: there is no such file, or it is damaged.
        """
        return self.export.file

    @property
    def export(self) -> TrainedExport:
        """The trained export, and what is known of it; errors as of `model`."""
        from labd_host.networks import resolve

        found = resolve(self.typed, self.dataset, self._model)
        if not found.file.is_file():
            raise ArtifactError(
                f"there is no model {found.file}",
                fix="give the path of an exported network, or its name: labd networks",
            )
        return found

    @property
    def accuracy_percent(self) -> Figure | None:
        """The accuracy in the record beside the export; None where there is no record."""
        from labd_host.networks import find_trained, trained_record

        if self._spec is None:
            return None
        try:
            record = trained_record(self.name, find_trained(self._spec))
        except DataMissing:
            return None
        return Figure(record.accuracy_percent, "%", f"{record.samples} {record.split} images, onnxruntime")

    def summary(self) -> str:
        layers = f", {self._spec.layers}" if self._spec else ""
        accuracy = self.accuracy_percent
        trained = f", {float(accuracy):.2f} % ({accuracy.origin})" if accuracy is not None else ""
        return f"{self.name} for {self.dataset or 'an unknown data set'}{layers}{trained}"

    @property
    def record(self) -> dict[str, Any]:
        accuracy = self.accuracy_percent
        return {
            "network": self.name,
            "dataset": self.dataset,
            "layers": self._spec.layers if self._spec else None,
            "accuracy_percent": None if accuracy is None else float(accuracy),
        }

    def evaluate(
        self, *, dataset: str | None = None, limit: int | None = None, listener: Listener | None = None
    ) -> Score:
        """Measure the export on a test split with its own arithmetic: onnxruntime, floating point.

        Args:
            dataset: Another data set than the network's own.
            limit: Only the first images.
            listener: Told what was read otherwise than the file has it; a person at a terminal or notebook when None.

        Raises:
            UsageError: the data set is not known, or the network does not give scores of its classes.
            DataMissing: it is not available.
            ArtifactError: the export cannot be run.
        """
        from labd_host.judge.classifiers import exported
        from labd_host.judge.scoring import scored

        with heard(listener) as told:
            found = scored(exported(self.export, told), dataset or self.dataset or None, limit)
        return Score(found.report, "onnxruntime", found.predictions)

    def compile(
        self,
        folding: FoldingRequest = None,
        *,
        target_fps: float | None = None,
        clock_mhz: float = DEFAULT_CLOCK_MHZ,
        images: int | npt.NDArray[Any] | None = None,
        start: str | None = None,
        ignored: Collection[str] = (),
        out: str | Path | None = None,
        listener: Listener | None = None,
    ) -> Design:
        """Bring the network through FINN's flow to a folded dataflow graph, every stage proven.

        Args:
            folding: A preset ("lab"), a folding file, "auto" for the fastest that fits, or FINN's settings
                themselves (node -> attribute -> value). None: the lab's where there is one, else "auto".
            target_fps: The cheapest folding for so many frames a second instead.
            clock_mhz: Of the accelerator.
            images: What the stages are compared on: (n, height, width, channels), or how many of the
                data set's test images; None for 100, or 4 with convolutions.
            start: Make this stage and those behind it again; without it, only what changed is made.
            ignored: Checks of the proof that may fail (`labd_host.flow.CHECKS`); a bundle says so.
            out: The folder of the stages; build/NAME.stages when None.
            listener: Told what happens; a person at a terminal or notebook when None.

        Raises:
            UsageError: the data set is not known, or the folding was asked for in two ways.
            IllegalFolding, UnknownName: the folding does not fit the network.
            DataMissing: the network was not trained, or its data set is not available.
            ArtifactError: the network cannot be built; its nodes are named.
            BuildError: a stage failed or changed a result.
        """
        from labd_host.flow import MANY_IMAGES, compile_network, proof_images
        from labd_host.flow.gallery import GALLERY_FILE
        from labd_host.networks import ONNX

        source = chosen_folding(folding, target_fps, clock_mhz, network=self.name)
        if self._spec is not None and not self.typed.endswith(ONNX):
            self.chain().folded(source)  # refused now, not minutes later
        export = self.export
        data = self._proof_data(export, images)
        count = images if isinstance(images, int) else None
        few = data.images[: count or proof_images(export.kind)]
        folder = Path(out) if out is not None else BUILD_FOLDER / f"{self.name}.stages"
        (folder / GALLERY_FILE).unlink(missing_ok=True)  # a page about an earlier run must not outlive it
        with heard(listener) as told:
            for note in data.notes:
                told.say(note)
            compiled = compile_network(
                export.file,
                folding=source,
                out=folder,
                images=few,
                many_images=data.images[:MANY_IMAGES],
                entering=data.entering,
                classes=data.classes,
                clock_mhz=clock_mhz,
                start=start,
                ignored=ignored,
                listener=told,
            )
            return self.design_of(compiled, clock_mhz)

    def _proof_data(self, export: TrainedExport, images: int | npt.NDArray[Any] | None) -> _ProofData:
        """What the stages are compared on: *images*, or the test split of the data set."""
        from labd_host import datasets
        from labd_host.networks.input_form import input_form

        drawn = images is None or isinstance(images, int)
        dataset = self.known_dataset if drawn else self.dataset
        form = input_form(export)
        if images is None or isinstance(images, int):
            found = datasets.read(dataset, "test", form)
            entering, classes = (
                datasets.Entering.of(found.spec),
                datasets.classes_of(found.spec, form.classes),
            )
            return _ProofData(found.images, found.notes, entering, classes)
        spec = datasets.describe(dataset, form) if dataset else None
        return _ProofData(images, (), datasets.PIXELS, spec and datasets.classes_of(spec, form.classes))

    def design_of(self, compiled: CompiledNetwork, clock_mhz: float) -> Design:
        """The design that *compiled* is, its gallery written."""
        from labd.design import Design
        from labd_host import datasets
        from labd_host.flow.compiled_folder import Purpose, write_purpose
        from labd_host.flow.gallery import write_gallery
        from labd_host.networks.input_form import input_form

        self._check_structure(compiled)
        frame = input_form(self.export).shape
        write_purpose(compiled.folder, Purpose(datasets.located(self.dataset, Path()), frame))
        write_gallery(compiled, clock_mhz)
        return Design(self, compiled, clock_mhz)

    def _check_structure(self, compiled: CompiledNetwork) -> None:
        """Refuse an export given in place of this network's own, and of another structure.

        Raises:
            UsageError: a layer differs; both are shown.
        """
        if self._model is None:
            return
        wanted = [_shape(layer) for layer in self.chain().layers]
        found = [_shape(layer) for layer in compiled.golden.network.layers]
        for ours, theirs in zip_longest(wanted, found, fillvalue="nothing"):
            if ours != theirs:
                raise UsageError(
                    f"{self._model} does not have the structure of {self.name}: {theirs} where {ours} should be",
                    fix=f"build it under its own name: labd build {self._model} --dataset {self.dataset}",
                )

    def search(
        self,
        *,
        clock_mhz: float = DEFAULT_CLOCK_MHZ,
        part: str = PYNQ_Z2_DEVICE,
        costs: str = "finn",
        budgets: Mapping[str, int | None] | None = None,
        dma: bool = True,
    ) -> FoldingSearch:
        """The search for foldings of this network; see `FoldingSearch` for the arguments."""
        return FoldingSearch(
            self.chain(), clock_mhz=clock_mhz, part=part, costs=costs, budgets=budgets, dma=dma
        )

    def explore(
        self,
        *,
        fastest: bool = False,
        target_fps: float | None = None,
        lowest_latency: bool = False,
        **search: Any,
    ) -> FoldingAnswer:
        """The best folding within budgets, and why it is the best.

        Args:
            fastest: The fastest that fits; the same as asking for nothing else.
            target_fps: The cheapest for so many frames a second.
            lowest_latency: The one whose first frame is out soonest, simulated.
            search: Arguments of `search`.

        Raises:
            UsageError: several were asked for, or no folding is that fast.
        """
        if fastest + (target_fps is not None) + lowest_latency > 1:
            raise UsageError(
                "only one of fastest, target_fps and lowest_latency can be asked for",
                fix="leave the others out",
            )
        found = self.search(**search)
        if target_fps is not None:
            return found.for_rate(target_fps)
        return found.lowest_latency() if lowest_latency else found.fastest()

    def frontier(self, **search: Any) -> Frontier:
        """The cheapest folding for every rate there is; arguments of `search`."""
        return self.search(**search).frontier()

    def chain(self) -> FoldedChain:
        """Its layers, as FINN makes them where no folding says otherwise.

        Those of a model that labd does not know are found by a compile, which is kept in the user's cache.

        Raises:
            ArtifactError: it cannot be read or built.
            BuildError: a stage failed or changed a result.
        """
        from labd_host.judge.chains import named_chain

        with shown() as listener:
            return named_chain(self.typed, listener, self.dataset)

    @property
    def known_dataset(self) -> str:
        """Name of its data set.

        Raises:
            UsageError: nobody knows it.
        """
        if not self.dataset:
            raise UsageError(
                f"{self.name} is not in the network table, so its data set is not known",
                fix="say which, for example: --dataset mnist",
            )
        return self.dataset


class _ProofData(NamedTuple):
    """Frames to compare stages on, what was done to them, how they enter, and how many classes judge them."""

    images: npt.NDArray[Any]
    notes: tuple[str, ...]
    entering: Entering
    classes: int | None


@contextlib.contextmanager
def heard(listener: Listener | None) -> Iterator[Listener]:
    """The caller's own listener; or, where there is none, one that is shown for the length of the block."""
    if listener is not None:
        yield listener
        return
    with shown() as own:
        yield own


def _shape(layer: Any) -> str:
    """A layer without its name and folding, for people."""
    sizes = {
        key: value
        for key, value in asdict(layer).items()
        if key not in ("name", "pe", "simd", "parallel") and not isinstance(value, bool)
    }
    return f"{layer.op}({', '.join(f'{key} {value}' for key, value in sizes.items())})"
