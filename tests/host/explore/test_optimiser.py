"""The optimiser: what brute force finds, never worse than FINN's SetFolding, better than the lab's hand folding."""

import itertools
import random
from dataclasses import replace
from functools import partial

import pytest

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, check_folding, folding_of, load_folding
from labd_host.dataflow.layers import Mvau, WidthConverter
from labd_host.explore import calibration
from labd_host.explore.choices import calibrated_costs, choices_of, finn_costs, stages_of
from labd_host.explore.optimiser import Explorer
from labd_host.explore.rivals import (
    calibrated_total,
    cheapest_beside,
    explain,
    fastest_beside,
    finn_total,
    rival,
)
from labd_host.explore.set_folding import set_folding
from labd_host.flow import compile_network
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_host.flow.stages import Step
from labd_host.networks import NETWORKS
from labd_host.networks.table import Conv
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import IllegalFolding, UsageError
from support.convolutional import images, write_network
from support.mobile import write_mobile

SET_FOLDING = "finn.transformation.fpgadataflow.set_folding:SetFolding"
SHIPPED = calibration.read(calibration.SHIPPED)
COSTS = {"finn": finn_costs(SHIPPED), "calibrated": calibrated_costs(SHIPPED)}
PART_BUDGETS = {"lut": 37_240, "ff": 53_200, "bram18": 224, "dsp": 176}
TINY_TFC = replace(NETWORKS["tfc-w1a1"], input_shape=(2, 3, 1), hidden=(4,), classes=2)
TINY_CNV = replace(NETWORKS["cnv-w1a1"], input_shape=(4, 4, 1), convs=(Conv(2, True),), hidden=(), classes=2)


def network(name):
    return design_of(NETWORKS[name])


def cycles_of(design):
    return max(node.cycles for node in estimate(design.layers, (), ()).nodes)


def all_foldings(design, costs):
    """Every folding there is, with its cost counted unit by unit, as nothing in the search does it."""
    stages = [list(choices_of(stage, costs)) for stage in stages_of(design)]
    for chosen in itertools.product(*stages):
        settings = {node: each for choice in chosen for node, each in choice.settings.items()}
        folded = design.folded(Folding("tried", settings, {}))
        total = finn_total(folded) if costs.name == "finn" else calibrated_total(folded, SHIPPED)[0]
        nodes = estimate(folded.layers, (), ()).nodes
        # with FINN's figures alone an HLS unit starts again at once
        taken = [node.cycles if costs.name == "finn" else node.interval_cycles for node in nodes]
        fill = sum(cycles for cycles, node in zip(taken, nodes, strict=True) if node.op != WidthConverter.op)
        yield max(taken), fill, total


@pytest.mark.parametrize("model", sorted(COSTS))
@pytest.mark.parametrize("entry", [TINY_TFC, TINY_CNV], ids=["fc", "cnv"])
def test_no_folding_at_all_is_better(entry, model):
    design, costs, draw = design_of(entry), COSTS[model], random.Random(7)
    everything = list(all_foldings(design, costs))
    assert len(everything) > 1000
    rates = sorted({cycles for cycles, _, _ in everything})
    brams, ffs = ([getattr(total, cell) for _, _, total in everything] for cell in ("bram18", "ff"))
    for _ in range(8):
        rate = draw.choice(rates)
        budgets = {"bram18": draw.randint(int(min(brams)), int(max(brams)))}
        if model == "calibrated":
            budgets["ff"] = draw.randint(int(min(ffs)), int(max(ffs)))
        fitting = [
            each
            for each in everything
            if all(getattr(each[2], cell) <= most for cell, most in budgets.items())
        ]
        cheap = [total.lut for cycles, _, total in fitting if cycles <= rate]
        explorer = Explorer(design, costs, budgets, dma=False)
        if not cheap:
            with pytest.raises(UsageError, match="take at least|keeps all budgets"):
                explorer.cheapest(rate)
            continue
        assert explorer.cheapest(rate).cost.lut == min(cheap)
        assert explorer.fastest().cycles == min(cycles for cycles, _, _ in fitting)
        assert explorer.lowest_latency().fill_cycles == min(fill for _, fill, _ in fitting)


def test_the_frontier_is_every_folding_that_none_beats():
    design, costs = design_of(TINY_TFC), COSTS["calibrated"]
    everything = [(cycles, total.lut) for cycles, _, total in all_foldings(design, costs)]
    least = {rate: min(lut for cycles, lut in everything if cycles <= rate) for rate, _ in everything}
    pareto = [
        (rate, lut)
        for rate, lut in sorted(least.items())
        if not any(least[other] <= lut for other in least if other < rate)
    ]
    found = [(each.cycles, each.cost.lut) for each in Explorer(design, costs, {}, dma=False).frontier()]
    assert found[::-1] == pareto


def test_the_choices_are_all_that_the_check_lets_pass():
    layer = Mvau("MVAU_hls_0", 2304, 12, 1, 1, 1, 0, True, "BINARY", "BINARY", "UINT32", 0)
    passing = set()
    for pe, simd in itertools.product(range(1, 13), range(1, 2305)):
        if 12 % pe == 0 and 2304 % simd == 0:
            try:
                check_folding([layer], {"MVAU_hls_0": {"PE": pe, "SIMD": simd}})
            except IllegalFolding:
                continue
            passing.add((pe, simd))
    chosen = [choice.settings["MVAU_hls_0"] for choice in choices_of((layer,), COSTS["finn"])]
    assert {(each["PE"], each["SIMD"]) for each in chosen} == passing
    assert (12, 768) not in passing and (1, 2) not in passing and passing


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_choice_is_legal(name):
    design, draw = network(name), random.Random(3)
    stages = [list(choices_of(stage, COSTS["finn"])) for stage in stages_of(design)]
    for _ in range(20):
        chosen = [draw.choice(stage) for stage in stages]
        check_folding(
            design.layers, {node: each for choice in chosen for node, each in choice.settings.items()}
        )


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("target", [500, 20_000, 32_768])
def test_setfolding_is_never_cheaper_nor_faster_for_as_much(name, target):
    design = network(name)
    try:
        theirs = design.folded(set_folding(design, target))
    except IllegalFolding:
        return  # FINN folds a layer further than HLS can
    explorer = Explorer(design, COSTS["finn"], {"dsp": 0}, dma=False)  # SetFolding multiplies in LUTs
    reached = cycles_of(theirs)
    ours = explorer.cheapest(max(target, reached))
    assert finn_total(ours.design).lut <= finn_total(theirs).lut
    beside = cheapest_beside(explorer, theirs)
    assert cycles_of(beside.design) <= reached
    assert finn_total(beside.design).lut <= finn_total(theirs).lut


def test_of_equally_cheap_foldings_it_is_the_fastest():
    design, costs = design_of(TINY_CNV), COSTS["finn"]
    everything = [(cycles, total.lut) for cycles, _, total in all_foldings(design, costs)]
    explorer = Explorer(design, costs, {}, dma=False)
    for rate in sorted({cycles for cycles, _ in everything}):
        least = min(lut for cycles, lut in everything if cycles <= rate)
        found = explorer.cheapest(rate)
        assert (found.cycles, found.cost.lut) == (
            min(cycles for cycles, lut in everything if lut == least),
            least,
        )


def test_what_is_as_small_is_no_larger_and_as_fast():
    explorer = Explorer(network("tfc-w1a1"), COSTS["calibrated"], PART_BUDGETS)
    hand = explorer.design.folded(load_folding("lab", "tfc-w1a1"))
    spent = COSTS["calibrated"].total(hand)
    assert spent == calibrated_total(hand, SHIPPED)[0]
    found = fastest_beside(explorer, hand)
    assert found.cycles == 98, "the DMA's, as the lab's"
    assert found.cost.lut <= spent.lut and found.cost.bram18 <= spent.bram18


@pytest.mark.parametrize("name", ["cnv-w1a1", "vgg9-w1a1"])
def test_the_lab_s_hand_folding_is_beaten_by_the_goals(name):
    design = network(name)
    hand = design.folded(load_folding("lab", name))
    spent = finn_total(hand)
    budgets = {"lut": int(spent.lut), "bram18": int(spent.bram18)}
    faster = Explorer(design, COSTS["finn"], budgets).fastest()
    assert cycles_of(hand) / cycles_of(faster.design) >= 1.12
    found = finn_total(faster.design)
    assert found.lut <= spent.lut
    assert found.bram18 <= spent.bram18
    cheaper = Explorer(design, COSTS["finn"], {"bram18": int(spent.bram18)}).cheapest(cycles_of(hand))
    assert finn_total(cheaper.design).lut <= 0.94 * spent.lut


def folded_model(finn, compiled):
    return finn.load(next(stage.path for stage in compiled.stages if stage.name == "folded"))


def assert_folds_like_finn(compiled, targets):
    with Finn() as finn:
        model = folded_model(finn, compiled)
        network = describe(finn.graph(model), "any", finn.edges(model))
        design = replace(design_of(NETWORKS["tfc-w1a1"]), layers=network.layers, inputs=network.inputs)
        for target in targets:
            folded = finn.apply(model, Step(SET_FOLDING, {"target_cycles_per_frame": target}))
            theirs = describe(finn.graph(folded), "any", finn.edges(folded)).layers
            chosen = set_folding(design, target).nodes
            values = {
                name: {key: each[key] for key in ("PE", "SIMD") if key in each}
                for name, each in chosen.items()
            }
            assert values == folding_of(theirs), target
            whole = [chosen[layer.name]["parallel_window"] for layer in theirs if hasattr(layer, "parallel")]
            assert whole == [int(layer.parallel) for layer in theirs if hasattr(layer, "parallel")], target


def test_setfolding_is_finn_s(compiled):
    assert_folds_like_finn(compiled, [1, 5, 50, 98, 448, 500, 5_000, 20_000, 100_000])


def test_setfolding_is_finn_s_with_depthwise_convolutions(tmp_path):
    compiled = compile_network(
        write_mobile(tmp_path / "small.onnx", channels=8, depthwise=({}, {"strides": 2}, {"kernel": 1})),
        folding=Folding("none", {}, {}),
        out=tmp_path / "out",
        images=images(1),
        many_images=images(2, seed=6),
    )
    assert_folds_like_finn(compiled, [1, 20, 60, 100, 130, 200, 300, 1_000, 2_000, 5_000, 20_000])


@pytest.mark.parametrize(("bits", "average"), [(1, ""), (4, ""), (2, "GlobalAveragePool")])
def test_setfolding_is_finn_s_with_convolutions(bits, average, tmp_path):
    pads = int(bits > 1 and not average)
    path = write_network(tmp_path / "small.onnx", weight_bits=bits, act_bits=bits, pads=pads, average=average)
    compiled = compile_network(
        path,
        folding=Folding("none", {}, {}),
        out=tmp_path / "out",
        images=images(1),
        many_images=images(2, seed=6),
    )
    assert_folds_like_finn(compiled, [1, 20, 100, 200, 300, 1_000, 2_000, 5_000, 20_000])


def test_finn_says_of_the_folding_what_the_optimiser_said(compiled):
    from finn.analysis.fpgadataflow.res_estimation import res_estimation

    found = Explorer(network("tfc-w1a1"), COSTS["finn"], PART_BUDGETS).cheapest(200)
    with Finn() as finn:
        model = folded_model(finn, compiled)
        finn.set_attributes(model, found.folding)
        theirs = model.analysis(partial(res_estimation, fpgapart=PYNQ_Z2_PART))
        cycles = finn.expected_cycles(model)
    assert sum(each["LUT"] for each in theirs.values()) == found.cost.lut
    assert sum(each["BRAM_18K"] for each in theirs.values()) == found.cost.bram18
    assert max(cycles.values()) == found.cycles


def test_an_optimised_folding_compiles_and_is_proven(tmp_path, proof_images):
    from labd_host.dataflow.folding import read_folding, to_json
    from labd_host.networks import trained_onnx

    found = Explorer(network("tfc-w1a1"), COSTS["calibrated"], PART_BUDGETS).fastest()
    file = tmp_path / "folding.json"
    file.write_text(to_json(found.folding))
    compiled = compile_network(
        trained_onnx("tfc-w1a1"), folding=read_folding(file), out=tmp_path / "out", images=proof_images
    )
    assert compiled.golden.network.layers == found.design.layers
    assert all(stage.proof is not None for stage in compiled.stages)


def test_a_rate_that_nothing_reaches_names_the_layer_and_how_far_it_is():
    explorer = Explorer(network("tfc-w1a1"), COSTS["finn"], {})
    with pytest.raises(
        UsageError, match=r"the DMA takes 98 cycles for a frame, and the rate leaves 49"
    ) as caught:
        explorer.cheapest(49)
    assert "2 times lower" in caught.value.fix
    cnv = Explorer(network("cnv-w1a1"), COSTS["finn"], {})
    with pytest.raises(
        UsageError, match=r"MVAU_hls_1 cannot take fewer than 4,704 cycles .* the rate leaves 1,000"
    ):
        cnv.cheapest(1_000)


def test_budgets_that_are_too_small_say_by_how_much():
    with pytest.raises(UsageError, match=r"4,000 LUT is below what the shell alone takes, 5,\d+"):
        Explorer(network("tfc-w1a1"), COSTS["calibrated"], {"lut": 4_000})
    with pytest.raises(UsageError, match=r"200 cycles .* at least \d,\d+ LUT, the budget is 2,000"):
        Explorer(network("tfc-w1a1"), COSTS["finn"], {"lut": 2_000}).cheapest(200)


@pytest.mark.parametrize("model", sorted(COSTS))
def test_every_layer_s_choice_is_explained(model):
    explorer = Explorer(network("cnv-w1a1"), COSTS[model], PART_BUDGETS)
    found = explorer.fastest()
    layers = explain(found, COSTS[model], SHIPPED, found.cycles)
    assert [layer.name for layer in layers] == [layer.name for layer in found.design.layers]
    assert all(layer.why for layer in layers)
    assert [layer.name for layer in layers if "sets the rate" in layer.why]
    for layer in layers:  # what it says of other choices is so
        if "cheapest" not in layer.why:
            assert " LUT more, " in layer.why, layer


def test_a_rival_that_cannot_be_built_says_why():
    other = rival(network("cnv-w1a1"), set_folding(network("cnv-w1a1"), 10_000_000), SHIPPED)
    assert "1024 is the most" in other.fault
