"""One experiment, computed: what the models predict and what the simulation shows."""

from __future__ import annotations

import time

from labd_host.dataflow.cycles import CycleEstimate, NodeCycles, estimate
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import Folding
from labd_host.dataflow.layers import Layer
from labd_host.dataflow.resources import CostUnit, Resources
from labd_host.experiments.basis import network_sha256, origin
from labd_host.experiments.study_model import Experiment, LayerResult, Predicted, Result, Simulated
from labd_host.explore import calibration
from labd_host.explore.cost_units import units_of
from labd_host.explore.rivals import finn_total
from labd_host.judge.chains import named_chain
from labd_host.simulate.fifos import depths_of_finn, unbounded
from labd_host.simulate.pipeline import FIFO, assemble
from labd_host.simulate.simulator import BLOCKED, STARVED, WORKING, Deadlock, Simulation, simulate
from labd_shared.errors import ArtifactError, UsageError
from labd_shared.rates import frames_per_s
from labd_shared.timing import dma_cycles

NAMED = 3  # the bottleneck and the next two


def assess(experiment: Experiment) -> Result:
    """Predict and simulate *experiment*.

    A design that deadlocks, or takes too long, is predicted all the same; its simulation says why there is none.

    Raises:
        ArtifactError: the network is no longer the one that was planned with.
        LabdError: as design and calibration raise them.
    """
    began_s = time.perf_counter()
    design = _design(experiment)
    cycles = estimate(design.layers, design.inputs, design.outputs)
    depths = depths_of_finn(design)
    run, simulated = _simulated(experiment, design, depths)
    known = calibration.load()
    units = units_of(design, {int(name.removeprefix(f"{FIFO}_")): depth for name, depth in depths.items()})
    expected = {unit.name: known.cost(unit) for unit in units}
    predicted = _predicted(experiment, design, cycles, known, units)
    shares = _shares(run)
    layers = tuple(
        LayerResult(
            name=node.name,
            op=node.op,
            pe=getattr(layer, "pe", 0),
            simd=getattr(layer, "simd", 0),
            interval_cycles=node.interval_cycles,
            finn=Resources() if layer is None else layer.finn_estimate(design.settings[layer.name]),
            expected=Resources() if layer is None else expected[layer.name],
            **shares.get(node.name, _NOTHING),
        )
        for node, layer in _nodes(cycles, design)
    )
    return Result(
        key=experiment.key,
        predicted=predicted,
        layers=layers,
        simulated=simulated,
        measured=None,
        accuracy=None,
        built=None,
        seconds=time.perf_counter() - began_s,
        origin=origin(),
    )


def _design(experiment: Experiment) -> FoldedChain:
    design = named_chain(experiment.network, dataset=experiment.dataset)
    if network_sha256(design) != experiment.network_sha256:
        raise ArtifactError(
            f"{experiment.network} is not the network any more that {experiment.name} was planned for",
            fix="start the study again",
        )
    return design.folded(Folding(experiment.name, experiment.settings, {}))


def _predicted(
    experiment: Experiment,
    design: FoldedChain,
    cycles: CycleEstimate,
    known: calibration.Calibration,
    units: list[CostUnit],
) -> Predicted:
    tensors = (*design.inputs, *design.outputs)
    return Predicted(
        interval_cycles=cycles.cycles_per_frame,
        dma_interval_cycles=max(map(dma_cycles, tensors)),
        frames_per_s=cycles.frames_per_s(experiment.clock_mhz),
        slowest=tuple(node.name for node in cycles.slowest(NAMED)),
        finn=finn_total(design),
        expected=sum((known.cost(unit) for unit in units), Resources()),
        plus_minus=sum((known.spread(unit) for unit in units), Resources()),
        operations=sum(2 * layer.products for layer in design.layers),
        peak_operations=sum(2 * layer.products_a_cycle for layer in design.layers),
        input_bytes=sum(tensor.frame_bytes for tensor in design.inputs),
        output_bytes=sum(tensor.frame_bytes for tensor in design.outputs),
    )


def _simulated(
    experiment: Experiment, design: FoldedChain, depths: dict[str, int]
) -> tuple[Simulation | None, Simulated]:
    machine = assemble(design).with_named_depths(depths)
    try:
        run = simulate(machine, experiment.frames)
        free = unbounded(machine, experiment.frames)
    except (Deadlock, UsageError) as error:
        return None, Simulated(0, 0.0, 0.0, "", error.what)
    interval = run.interval_cycles
    return run, Simulated(
        latency_cycles=run.latency_cycles,
        interval_cycles=interval,
        frames_per_s=frames_per_s(experiment.clock_mhz, interval),
        bottleneck=run.bottleneck.name,
        free_interval_cycles=free.interval_cycles,
    )


_NOTHING = {"working": 0.0, "starved": 0.0, "blocked": 0.0}


def _shares(run: Simulation | None) -> dict[str, dict[str, float]]:
    """What part of the time each unit worked, starved and was blocked."""
    if run is None:
        return {}
    states = {"working": WORKING, "starved": STARVED, "blocked": BLOCKED}
    return {
        unit.name: {state: int(busy[column]) / run.cycles for state, column in states.items()}
        for unit, busy in zip(run.machine.units, run.busy, strict=True)
    }


def _nodes(cycles: CycleEstimate, design: FoldedChain) -> list[tuple[NodeCycles, Layer | None]]:
    layers = {layer.name: layer for layer in design.layers}
    return [(node, layers.get(node.name)) for node in cycles.nodes]
