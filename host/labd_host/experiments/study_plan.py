"""From what a study asks for to its experiments: every folding found, checked and written out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding, Settings, load_folding
from labd_host.dataflow.layers import Mvau
from labd_host.dataflow.parts import part_of
from labd_host.experiments.basis import basis_sha256, network_sha256
from labd_host.experiments.request import (
    CHEAPEST,
    FASTEST,
    FOLDING_ENDING,
    FOUND,
    SET_FOLDING,
    Asked,
    Request,
)
from labd_host.experiments.study_model import Experiment, Study
from labd_host.explore import calibration
from labd_host.explore.choices import calibrated_costs
from labd_host.explore.for_a_rate import most_cycles
from labd_host.explore.latency import lowest_latency
from labd_host.explore.optimiser import Explorer
from labd_host.explore.rivals import folding_words
from labd_host.explore.set_folding import set_folding
from labd_host.judge.chains import named_chain
from labd_shared.errors import IllegalFolding, LabdError, UsageError, unknown_name

BUDGETED = ("lut", "ff", "bram18", "dsp")


def plan(request: Request) -> Study:
    """The experiments of *request*, network by network and clock by clock.

    A rate that no folding reaches, or a budget that none keeps, becomes an experiment with a fault: the others
    are done. What the study itself gets wrong is refused.

    Raises:
        UnknownName: no such preset, file or layer.
        IllegalFolding: PE or SIMD values that the layers cannot have, with the nearest that they can.
        ArtifactError: a file of a folding is damaged.
    """
    found = []
    for name in request.networks:
        network = _Network(name, request)
        for clock_mhz in request.clocks_mhz:
            network.rates = {}
            for asked in request.experiments:
                if asked.network in ("", name):
                    found.append(network.experiment(asked, clock_mhz))
    if not found:
        raise UsageError(
            f"the study {request.name} has no experiment of {', '.join(request.networks)}",
            fix="name a network that an experiment is for, or add --folding lab",
        )
    questions = {asked.name: asked.question for asked in request.experiments if asked.question}
    return Study(request.name, request.title, tuple(found), request.baseline, questions)


def settings_in_full(design: FoldedChain) -> dict[str, dict[str, Attribute]]:
    """What *design* is folded to, defaults written out: the same folding always gives the same."""
    return {
        layer.name: {**layer.settings(), **design.settings.get(layer.name, {})} for layer in design.layers
    }


@dataclass
class _Network:
    """One network of the study.

    Attributes:
        rates: Experiment -> its cycles a frame, at the clock that is planned.
    """

    name: str
    request: Request
    rates: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.design = named_chain(self.name, dataset=self.request.dataset)
        self.sha256 = network_sha256(self.design)
        self.matrices = [layer.name for layer in self.design.layers if isinstance(layer, Mvau)]
        recommended = part_of(self.request.part).recommended
        budgets = {cell: int(getattr(recommended, cell)) for cell in BUDGETED}
        self.explorer = Explorer(self.design, calibrated_costs(calibration.load()), budgets)

    def experiment(self, asked: Asked, clock_mhz: float) -> Experiment:
        """*asked* of this network."""
        words = _words(asked)
        fault = ""
        settings: Settings = {}
        try:
            folded = self._folded(asked, clock_mhz)
            words = ", ".join([words, *self._changes(asked)])
            self.rates[asked.name] = estimate(folded.layers, folded.inputs, folded.outputs).cycles_per_frame
            settings = settings_in_full(folded)
        except _NoFolding as error:
            fault = error.what
        return Experiment(
            name=asked.name,
            network=self.name,
            network_sha256=self.sha256,
            folding=words,
            settings=settings,
            clock_mhz=clock_mhz,
            part=self.request.part,
            frames=self.request.frames,
            board=self.request.board,
            basis=basis_sha256(),
            fault=fault,
            dataset=self.request.dataset,
        )

    def _folded(self, asked: Asked, clock_mhz: float) -> FoldedChain:
        base = self._base(asked, clock_mhz)
        changed = base.settings_for(self.design)  # a file of an older FINN has other names
        for layer, settings in asked.change.items():
            changed[self._node(layer, asked)].update(settings)
        try:
            return self.design.folded(Folding(base.name, changed, {}))
        except IllegalFolding as error:
            raise IllegalFolding(
                f"{asked.name} of {self.name}: {error.what}", fix=error.fix, **error.facts
            ) from error

    def _base(self, asked: Asked, clock_mhz: float) -> Folding:
        if asked.folding not in FOUND:
            return self._given(asked.folding)
        if asked.folding == SET_FOLDING:
            return set_folding(self.design, self._cycles(asked, clock_mhz))
        try:
            if asked.folding == CHEAPEST:
                solution = self.explorer.cheapest(self._cycles(asked, clock_mhz))
            elif asked.folding == FASTEST:
                solution = self.explorer.fastest()
            else:
                solution = lowest_latency(self.explorer).solution
        except UsageError as error:
            raise _NoFolding(error.what) from error
        return Folding(asked.folding, solution.folding, {})

    def _given(self, wanted: str) -> Folding:
        beside = self.request.folder / wanted
        return load_folding(str(beside) if wanted.endswith(FOLDING_ENDING) else wanted, self.design.name)

    def _cycles(self, asked: Asked, clock_mhz: float) -> int:
        """The most cycles a frame that *asked*, which asks for a rate, may take."""
        if asked.target_fps is not None:
            return most_cycles(asked.target_fps, clock_mhz)
        if asked.as_fast_as not in self.rates:
            raise _NoFolding(f'"{asked.as_fast_as}" was not planned, so as_fast_as has no target rate')
        return self.rates[asked.as_fast_as]

    def _node(self, layer: str, asked: Asked) -> str:
        """FINN's name of *layer*."""
        names = {f"layer {number}": name for number, name in enumerate(self.matrices, 1)}
        known = [each.name for each in self.design.layers]
        if layer in known:
            return layer
        if layer not in names:
            raise unknown_name(f"layer of {self.name} (experiment {asked.name})", layer, [*names, *known])
        return names[layer]

    def _changes(self, asked: Asked) -> list[str]:
        return [f"{layer} at {folding_words(settings)}" for layer, settings in asked.change.items()]


class _NoFolding(LabdError):
    """There is no folding as the experiment wants it."""


def _words(asked: Asked) -> str:
    if asked.as_fast_as:
        return f"{asked.folding} as fast as {asked.as_fast_as}"
    if asked.target_fps is not None:
        return f"{asked.folding} for {asked.target_fps:,.10g} frames/s"
    return Path(asked.folding).name
