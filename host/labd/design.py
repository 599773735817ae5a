"""A network compiled to a folded dataflow graph, every stage proven."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labd.accuracy_score import Score
from labd.built_bundle import Bundle
from labd.compile_tables import cost_table, fit_line, speed_lines, stage_table
from labd.cycle_table import CycleTable
from labd.exploration import FoldingAnswer, FoldingSearch
from labd.figure import MODELLED
from labd.shown import Shown, terminal
from labd.simulated_run import FRAMES, SimulatedRun
from labd_host.machine.listener import SILENT
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import UsageError
from labd_shared.frame_form import tensor_form

if TYPE_CHECKING:
    from rich.console import Console

    from labd.network import Network
    from labd_host.dataflow.folded_chain import FoldedChain
    from labd_host.flow import CompiledNetwork

TARGETS = ("emu", "hw")


class Page:
    """A page that labd wrote: a file of its own that loads nothing.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> bool:
        """Show it in the user's browser; whether one was found."""
        return webbrowser.open(self.path.absolute().as_uri())

    def __repr__(self) -> str:
        return f"<Page {self.path}>"

    def _repr_html_(self) -> str:
        from labd_host.drawing.markup import element, fragment

        text = self.path.read_text(encoding="utf-8")
        return fragment(element(None, "iframe", srcdoc=text, width="100%", height=600, style="border:0"))


class Design(Shown):
    """A network compiled to a folded dataflow graph.

    Attributes:
        network: What it was made of.
        compiled: How it was compiled, stage by stage.
        folder: Its stages, their proofs and pictures, network.npz.
        clock_mhz: Of the accelerator.
    """

    def __init__(self, network: Network, compiled: CompiledNetwork, clock_mhz: float) -> None:
        self.network, self.compiled, self.clock_mhz = network, compiled, clock_mhz
        self.folder = compiled.folder

    @property
    def folding(self) -> dict[str, dict[str, Any]]:
        """What the folding sets: node name -> attribute -> value."""
        return {name: dict(settings) for name, settings in self.compiled.settings.items()}

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(stage.name for stage in self.compiled.stages)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files of the stages, each once, then of the folding and the estimate."""
        from labd_host.dataflow.folding import FOLDING_FILE
        from labd_host.flow.cost import ESTIMATE_FILE

        stages = dict.fromkeys(stage.path.name for stage in self.compiled.stages)
        return (*stages, FOLDING_FILE, ESTIMATE_FILE)

    def gallery(self) -> Page:
        """The page with every stage as a picture, explained."""
        from labd_host.flow.gallery import GALLERY_FILE

        return Page(self.folder / GALLERY_FILE)

    def summary(self) -> str:
        cycles = self.estimate()
        stages = [stage for stage in self.compiled.stages if not stage.proof.missing]
        values = sum(stage.proof.elements for stage in stages)
        missing = [stage.name for stage in self.compiled.stages if stage.proof.missing]
        ignored = [name for stage in stages for name in stage.proof.ignored]
        doubts = "".join(
            [f" ({', '.join(missing)} not compared)"] * bool(missing)
            + [f" (ignored: {', '.join(ignored)})"] * bool(ignored)
        )
        return (
            f"{self.network.name}: {len(stages)} stages proven on {values:,} values{doubts}, "
            f"{cycles.cycles_per_frame:,.0f} cycles a frame, {cycles.frames_per_s:,.0f} frames/s at "
            f"{self.clock_mhz:g} MHz ({MODELLED}), {self.folder}"
        )

    @property
    def record(self) -> dict[str, Any]:
        return {
            "network": self.network.name,
            "folder": str(self.folder),
            "clock_mhz": self.clock_mhz,
            "folding": self.folding,
            "stages": [
                {
                    "stage": stage.name,
                    "title": stage.title,
                    "file": stage.path.name,
                    "nodes": stage.nodes,
                    "reused": stage.reused,
                    **stage.proof.record(),
                }
                for stage in self.compiled.stages
            ],
        }

    def estimate(self, *, clock_mhz: float | None = None) -> CycleTable:
        """Cycles of each layer, the rate and what limits it, by the cycle model."""
        return CycleTable(self.chain(), clock_mhz or self.clock_mhz)

    def simulate(
        self,
        frames: int = FRAMES,
        *,
        size_fifos: bool = False,
        dma: bool = True,
        clock_mhz: float | None = None,
    ) -> SimulatedRun:
        """Run it cycle by cycle, with FIFOs as FINN sizes them.

        Args:
            frames: How many frames go through.
            size_fifos: Find the smallest FIFOs that keep the rate, and use them.
            dma: Whether the DMAs are there.
            clock_mhz: Another clock.
        """
        from labd_host.simulate.fifos import depths_of_finn
        from labd_host.simulate.pipeline import assemble

        chain = self.chain()
        machine = assemble(chain, dma=dma).with_named_depths(depths_of_finn(chain))
        return SimulatedRun(machine, frames, clock_mhz or self.clock_mhz, size_fifos=size_fifos)

    def explore(self, **search: Any) -> FoldingAnswer:
        """What this folding costs, how far from the best it is, and what to change; arguments of `FoldingSearch`."""
        from labd_host.dataflow.folding import Folding

        chosen = {"clock_mhz": self.clock_mhz, "part": PYNQ_Z2_DEVICE, **search}
        return FoldingSearch(self.chain(), **chosen).judge(Folding("this folding", self.folding, {}))

    def validate(self, *, limit: int | None = None) -> Score:
        """What a board would score: the golden model on the test split, bit by bit.

        Raises:
            UsageError: the data set is not known.
            DataMissing: it is not available.
        """
        from labd_host.judge.classifiers import golden
        from labd_host.judge.scoring import scored

        found = scored(golden(str(self.folder), SILENT), self.network.dataset or None, limit)
        return Score(found.report, "golden model", found.predictions)

    def build(self, target: str = "emu", *, out: str | Path | None = None) -> Bundle:
        """Write a bundle of this design for virtual boards, its golden model measured on the whole test split.

        For a real board (``target="hw"``, Vivado and hours): `labd.build_hardware`.

        Args:
            target: "emu".
            out: The bundle's folder; build/NAME-emu when None.

        Raises:
            UsageError: no such target, the data set is not known, or *out* holds something else than a bundle.
            DataMissing: the data set is not available.
        """
        from labd_host import datasets
        from labd_host.bundles.emulation_build import write_emulation
        from labd_host.bundles.preparation import measure
        from labd_host.flow.compiled_folder import read_purpose

        if target != "emu":
            raise UsageError(
                f"target {target!r}: a design is built for 'emu' here", fix="labd build NETWORK --target hw"
            )
        name, dataset = self.network.name, self.network.known_dataset
        golden = self.compiled.golden
        frame = read_purpose(self.folder).frame
        found = datasets.read(
            dataset, "test", tensor_form(name, golden.inputs[0], golden.scores() or 0, frame)
        )
        folder = bundle_folder(name, target, out)
        prepared = measure(name, found, self.compiled)
        return Bundle(write_emulation(prepared, folder.absolute(), self.clock_mhz))

    def chain(self) -> FoldedChain:
        """Its folded layers."""
        from labd_host.dataflow.folded_chain import read_design

        return read_design(self.folder)

    def show(self, console: Console | None = None) -> None:
        console = console or terminal()
        cost = self.compiled.cost
        console.print(stage_table(self.compiled))
        for note in self.compiled.notes:
            console.print(note, soft_wrap=True, markup=False)
        console.print(cost_table(cost))
        for line in (*speed_lines(cost), fit_line(cost)):
            console.print(line, soft_wrap=True)


def bundle_folder(name: str, target: str, out: str | Path | None) -> Path:
    """Where a bundle goes: *out*, or build/NAME-TARGET."""
    return Path(out) if out is not None else Path("build") / f"{name}-{target}"


def load_design(folder: Path, dataset: str = "") -> Design:
    """The design in *folder*, which `labd compile` left.

    Args:
        folder: Of the stages.
        dataset: Another data set than the one that it was compiled for.

    Raises:
        UsageError: it does not hold a whole compilation.
        ArtifactError: a file is damaged.
    """
    from labd.network import Network
    from labd_host.flow.compiled_folder import load_compiled, read_purpose
    from labd_host.networks import NETWORKS

    compiled = load_compiled(folder)
    name = compiled.golden.network.name
    spec = NETWORKS.get(name)
    network = Network(name, name if spec else str(folder), spec, dataset or read_purpose(folder).dataset)
    return Design(network, compiled, compiled.cost.clock_mhz)
