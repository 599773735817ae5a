"""Random small networks: of kinds that labd takes they are proven, else refused for the reason that is in them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from labd_host.explore.for_a_rate import CheapestFolding
from labd_host.flow import compile_network
from labd_shared.errors import ArtifactError
from support.random_networks import REFUSED, SIDE, networks, write

IMAGES, MANY = 2, 60
LEAST_PROVEN = 0.6


def outcome_of(network, folder):
    """ "proven", or the word of the reason for which *network* was refused."""
    path = write(network, folder / "drawn.onnx")
    images = np.random.default_rng(network.seed).integers(
        0, 256, (MANY, SIDE, SIDE, network.colours), np.uint8
    )
    try:
        made = compile_network(
            path, folding=CheapestFolding(), out=folder / "out", images=images[:IMAGES], many_images=images
        )
    except ArtifactError as error:
        assert network.refused, f"refused, though every kind in it is taken: {error}\n{network}"
        assert REFUSED[network.refused].lower() in str(error).lower(), f"{error}\n{network}"
        return network.refused
    assert not network.refused, f"taken with {network.refused} in it\n{network}"
    answers = made.stages[-1]
    assert answers.name == "answers" and answers.proof.images == MANY, network
    return "proven"


def draw_and_try(count, start, tmp_path_factory):
    """Outcomes of *count* networks."""
    found = Counter()

    @seed(start)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(networks())
    def try_one(network):
        found[outcome_of(network, tmp_path_factory.mktemp("drawn"))] += 1

    try_one()
    return found


@pytest.mark.slow
def test_25_random_networks_are_proven_or_refused_for_their_reason(tmp_path_factory):
    found = draw_and_try(25, 12, tmp_path_factory)
    assert found["proven"] >= LEAST_PROVEN * found.total(), found


@pytest.mark.soak
def test_200_random_networks_are_proven_or_refused_for_their_reason(tmp_path_factory):
    found = draw_and_try(200, 2026, tmp_path_factory)
    assert found["proven"] >= LEAST_PROVEN * found.total(), found
