"""Results of experiments on real designs, from the modules that a study takes them from; nothing is read or kept."""

from labd_host.experiments.model import (
    Experiment,
    LayerResult,
    Outcome,
    Predicted,
    Result,
    Simulated,
)
from labd_host.explore.calibration import load
from labd_host.explore.comparison import calibrated_total, finn_total
from labd_host.explore.cycles import CONVERTER, estimate
from labd_host.explore.design import design_of
from labd_host.explore.fifos import depths_of_finn, unbounded
from labd_host.explore.inventory import layer_unit
from labd_host.explore.machine import assemble
from labd_host.explore.resources import Resources, finn_estimate
from labd_host.explore.simulator import BLOCKED, STARVED, WORKING, simulate
from labd_host.flow import load_folding
from labd_host.flow.folding import Folding, folding_of
from labd_host.networks import NETWORKS

PART = "xc7z020"


def lab_with(network, changes):
    """The lab's folding with *changes*: node -> attribute -> value."""
    lab = load_folding("lab", network)
    nodes = {name: {**values, **changes.get(name, {})} for name, values in lab.nodes.items()}
    return Folding("changed", nodes, lab.defaults)


def experiment(name, network, folding, words="lab", clock_mhz=100.0, frames=3):
    """An experiment on a network of the table in *folding*."""
    design = design_of(NETWORKS[network]).folded(folding)
    return Experiment(name, network, "0" * 64, words, design.settings, clock_mhz, PART, frames)


def outcome(asked, *, simulated=True, **known):
    """What is found out about an experiment; *known*: measured, accuracy, built."""
    design = design_of(NETWORKS[asked.network]).folded(Folding("asked", asked.settings, {}))
    cycles = estimate(design.layers, design.inputs, design.outputs)
    expected, plus_minus = calibrated_total(design, load())
    folds = folding_of(design.layers)
    layers = {layer.name: layer for layer in design.layers}
    run = (
        simulate(assemble(design).with_named_depths(depths_of_finn(design)), asked.frames)
        if simulated
        else None
    )
    shares = _shares(run) if run else {}
    rows = []
    for node in cycles.nodes:
        layer = layers.get(node.name)
        settings = design.settings.get(node.name, {})
        fold = folds.get(node.name, {})
        rows.append(
            LayerResult(
                node.name,
                node.op,
                fold.get("PE", 0),
                fold.get("SIMD", 0),
                node.interval_cycles,
                finn_estimate(layer, settings) if layer else Resources(),
                load().cost(layer_unit(layer, settings)) if layer else Resources(),
                *shares.get(node.name, (0.0, 0.0, 0.0)),
            )
        )
    matrices = [layer for layer in design.layers if hasattr(layer, "mw")]
    predicted = Predicted(
        interval_cycles=cycles.cycles_per_frame,
        dma_interval_cycles=max(node.cycles for node in cycles.nodes if node.op == "IODMA"),
        frames_per_s=cycles.frames_per_s(asked.clock_mhz),
        slowest=tuple(node.name for node in cycles.slowest(len(cycles.nodes)) if node.op != CONVERTER)[:3],
        finn=finn_total(design),
        expected=expected,
        plus_minus=plus_minus,
        operations=sum(2 * layer.mw * layer.mh * layer.vectors for layer in matrices),
        peak_operations=sum(2 * layer.pe * layer.simd for layer in matrices),
        input_bytes=design.inputs[0].frame_bytes,
        output_bytes=design.outputs[0].frame_bytes,
    )
    found = None
    if run:
        rate = asked.clock_mhz * 1e6 / run.interval_cycles
        free = unbounded(run.machine, asked.frames).interval_cycles
        found = Simulated(run.latency_cycles, run.interval_cycles, rate, run.bottleneck.name, "", free)
    parts = {"measured": None, "accuracy": None, "built": None, **known}
    result = Result(asked.key, predicted, tuple(rows), found, seconds=0.1, origin="labd 0, a test", **parts)
    return Outcome(asked, result)


def _shares(run):
    return {
        unit.name: tuple(float(busy[state] / run.cycles) for state in (WORKING, STARVED, BLOCKED))
        for unit, busy in zip(run.machine.units, run.busy, strict=True)
    }
