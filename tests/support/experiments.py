"""Experiments on real designs, as a study has them: planned, predicted and simulated; nothing is read or kept."""

from dataclasses import replace
from unittest.mock import patch

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.experiments import assess
from labd_host.experiments.basis import network_sha256
from labd_host.experiments.study_model import Experiment, ExperimentOutcome
from labd_host.experiments.study_plan import settings_in_full
from labd_host.networks import NETWORKS
from labd_host.simulate.simulator import Deadlock
from labd_shared.bitfile import PYNQ_Z2_DEVICE

PART = PYNQ_Z2_DEVICE


def lab_with(network, changes):
    """The lab's folding with *changes*: node -> attribute -> value."""
    lab = load_folding("lab", network)
    nodes = {name: {**values, **changes.get(name, {})} for name, values in lab.nodes.items()}
    return Folding("changed", nodes, lab.defaults)


def experiment(name, network, folding, words="lab", clock_mhz=100.0, frames=3):
    """An experiment on a network of the table in *folding*."""
    design = design_of(NETWORKS[network])
    settings = settings_in_full(design.folded(folding))
    return Experiment(name, network, network_sha256(design), words, settings, clock_mhz, PART, frames)


def outcome(asked, *, simulated=True, **known):
    """What is found out about an experiment; *known*: measured, accuracy, built.

    CNV with one lane in a layer is simulated for seconds: without *simulated* it is predicted only.
    """
    if simulated:
        return ExperimentOutcome(asked, replace(assess.assess(asked), **known))
    unsimulated = Deadlock("not simulated", fix="")
    with (
        patch.object(assess, "depths_of_finn", lambda design: {}),
        patch.object(assess, "simulate", side_effect=unsimulated),
    ):
        predicted = assess.assess(asked)
    return ExperimentOutcome(asked, replace(predicted, simulated=None, **known))
