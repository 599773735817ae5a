"""FIFO depths: the smallest that keep the rate, each of them against trying one word less."""

import random

import pytest

from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.networks import NETWORKS
from labd_host.simulate.fifos import depths_of_finn, size_fifos, unbounded
from labd_host.simulate.pipeline import LEAST_DEPTH, assemble
from labd_host.simulate.simulator import simulate
from labd_shared.errors import UnknownName


def tfc(**folds):
    names = {"threshold": "Thresholding_rtl_0", "label": "LabelSelect_hls_0"}
    nodes = {names.get(name, f"MVAU_hls_{name[-1]}"): fold for name, fold in folds.items()}
    return design_of(NETWORKS["tfc-w1a1"]).folded(Folding("mine", nodes, {}))


def random_tfc(draw):
    def fold(rows, columns):
        pes = [each for each in range(1, rows + 1) if rows % each == 0]
        simds = [each for each in range(1, columns + 1) if columns % each == 0 and columns // each <= 100]
        return {"PE": draw.choice(pes), "SIMD": draw.choice(simds)}

    return tfc(
        threshold={"PE": draw.choice([7, 49, 112])},
        mvau0=fold(64, 784), mvau1=fold(64, 64), mvau2=fold(64, 64), mvau3=fold(10, 64),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_sized_fifos_keep_the_rate_and_none_can_be_one_word_smaller(seed):
    machine = assemble(random_tfc(random.Random(seed)), dma=seed % 2 == 0)
    sized = size_fifos(machine)
    best = unbounded(machine, 5).interval_cycles
    assert simulate(machine.with_depths(sized.depths), 5).interval_cycles == best == sized.interval_cycles
    for index, depth in enumerate(sized.depths):
        if depth > LEAST_DEPTH:
            smaller = [*sized.depths[:index], depth - 1, *sized.depths[index + 1 :]]
            assert simulate(machine.with_depths(smaller), 5).interval_cycles > best, machine.fifos[index].name


def test_small_fifos_can_cost_rate_and_deep_ones_bring_it_back():
    design = tfc(threshold={"PE": 49}, mvau0={"PE": 16, "SIMD": 7}, mvau1={"PE": 1, "SIMD": 8},
                 mvau2={"PE": 2, "SIMD": 4}, mvau3={"PE": 1, "SIMD": 1})  # fmt: skip
    machine = assemble(design, dma=False)
    free = unbounded(machine, 5).interval_cycles
    assert simulate(machine, 5).interval_cycles > free
    assert simulate(machine.with_depths(size_fifos(machine).depths), 5).interval_cycles == free


def test_finn_s_depths_are_those_finn_can_build():
    depths = depths_of_finn(design_of(NETWORKS["cnv-w1a1"]).folded(load_folding("lab", "cnv-w1a1")))
    assert len(depths) == 33
    assert all(depth in (2, 32) or 32 < depth <= 256 or depth & (depth - 1) == 0 for depth in depths.values())
    assert max(depths.values()) > 32


def test_depths_go_to_the_fifos_they_name():
    machine = assemble(tfc(), dma=True)
    deeper = machine.with_named_depths({"StreamingFIFO_rtl_1": 9})
    assert [fifo.name for fifo in deeper.fifos if fifo.depth == 9] == ["StreamingFIFO_rtl_1"]
    with pytest.raises(UnknownName, match="StreamingFIFO_rtl_99"):
        machine.with_named_depths({"StreamingFIFO_rtl_99": 9})
    with pytest.raises(UnknownName, match="idma_fifo_1"):
        machine.with_named_depths({"idma_fifo_1": 9})
    assert {fifo.depth for fifo in machine.with_depths([50] * len(machine.fifos)).fifos if fifo.fixed} == {2}
