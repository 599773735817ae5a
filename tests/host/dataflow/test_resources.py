"""Resources by FINN's formulas: the same figures as FINN's res_estimation, in any folding."""

import random
from functools import partial

import pytest

from labd_host.dataflow.folding import Folding, check_folding
from labd_host.dataflow.layers import MaxPool, Mvau, SlidingWindow, Vvau
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.flow import compile_network
from labd_host.flow.describe import describe
from labd_host.flow.finn_door import Finn
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import UnknownName
from support.convolutional import images, write_network
from support.mobile import write_mobile

STRUCTURES = {
    "w1a1": {},
    "w2a2": {"weight_bits": 2, "act_bits": 2, "pads": 1, "stride": 2},
    "average": {"weight_bits": 2, "act_bits": 2, "average": "GlobalAveragePool"},
    "w4a4": {"weight_bits": 4, "act_bits": 4, "kernel": 1},
}


def divisor(draw, extent, most=None):
    return draw.choice([each for each in range(1, (most or extent) + 1) if extent % each == 0])


def drawn(draw, layers):
    """A legal folding with every memory and multiplier there is."""
    settings = {}
    for at, layer in enumerate(layers):
        if isinstance(layer, Mvau):
            settings[layer.name] = {
                "PE": divisor(draw, layer.mh),
                "SIMD": divisor(draw, layer.mw, 64),
                "ram_style": draw.choice(["auto", "block", "distributed", "ultra"]),
                "mem_mode": draw.choice(["internal_decoupled", "internal_embedded", "external"]),
            }
            if "hls" in layer.name:
                settings[layer.name] |= {
                    "resType": draw.choice(["lut", "dsp"]),
                    "ram_style_thresholds": draw.choice(["auto", "distributed"]),
                }
        elif isinstance(layer, SlidingWindow):
            whole = draw.random() < 0.3
            every = whole and not isinstance(layers[at + 1], Vvau)
            settings[layer.name] = {
                "SIMD": layer.channels if every else divisor(draw, layer.channels),
                "ram_style": draw.choice(["auto", "block", "distributed", "ultra"]),
                "parallel_window": int(whole),
            }
        elif isinstance(layer, MaxPool):
            settings[layer.name] = {"PE": settings[layers[at - 1].name]["SIMD"]}
        elif isinstance(layer, Vvau):
            settings[layer.name] = {
                "PE": settings[layers[at - 1].name]["SIMD"],
                "SIMD": divisor(draw, layer.kernel),
                "ram_style": draw.choice(["auto", "block", "distributed", "ultra"]),
                "mem_mode": draw.choice(["internal_decoupled", "internal_embedded", "external"]),
                "resType": draw.choice(["auto", "lut", "dsp"]),
            }
        else:
            (axis,) = layer.axes
            settings[layer.name] = {axis.key: divisor(draw, axis.extent)}
    return settings


def assert_finn_says_the_same(path, foldings):
    from finn.analysis.fpgadataflow.res_estimation import res_estimation

    draw = random.Random(20261124)
    with Finn() as finn:
        model = finn.load(path)
        layers = describe(finn.graph(model), "any", finn.edges(model)).layers
        for _ in range(foldings):
            settings = drawn(draw, layers)
            check_folding(layers, settings)
            finn.set_attributes(model, settings)
            folded = describe(finn.graph(model), "any", finn.edges(model)).layers
            theirs = model.analysis(partial(res_estimation, fpgapart=PYNQ_Z2_PART))
            for layer in folded:
                ours = layer.finn_estimate(settings[layer.name])
                found = theirs[layer.name]
                assert ours == Resources(found["LUT"], 0, found["BRAM_18K"], found["DSP"], found["URAM"]), (
                    layer,
                    settings[layer.name],
                )


def folded_path(compiled):
    return next(stage.path for stage in compiled.stages if stage.name == "folded")


def test_tfc_costs_what_finn_says_in_any_folding(compiled):
    assert_finn_says_the_same(folded_path(compiled), 20)


@pytest.mark.parametrize("structure", [*sorted(STRUCTURES), "depthwise"])
def test_convolutional_networks_cost_what_finn_says_in_any_folding(structure, tmp_path):
    path = tmp_path / "small.onnx"
    if structure == "depthwise":
        write_mobile(path, channels=120)
    else:
        write_network(path, **STRUCTURES[structure])
    compiled = compile_network(
        path,
        folding=Folding("none", {}, {}),
        out=tmp_path / "out",
        images=images(1),
        many_images=images(2, seed=6),
    )
    assert_finn_says_the_same(folded_path(compiled), 20)


def test_deep_line_buffers_cascade_as_finn_counts_them():
    def window(width):
        return SlidingWindow(
            "ConvolutionInputGenerator_rtl_0", 4, 8, width, 3, 3, 1, 1, 1, 1, False, False, 1, "INT8", "INT8"
        )

    # (2 * width + 3) * 4 words of 8 bits; over 16,384 words a RAMB18 is 1 bit wide
    assert window(1000).finn_estimate({"ram_style": "block"}).bram18 == 4  # 8,012 words: 2 bits wide
    assert window(2000).finn_estimate({"ram_style": "block"}).bram18 == 8  # 16,012: 1 bit wide
    assert window(2100).finn_estimate({"ram_style": "block"}).bram18 == 16 - 8 + 1  # and 428 more: 36 wide


def test_a_part_is_known_by_its_full_name_too():
    assert part_of(PYNQ_Z2_PART) is part_of("xc7z020")
    assert part_of("xc7z020").recommended == Resources(lut=37_240, ff=53_200, bram18=224, dsp=176)
    with pytest.raises(UnknownName, match="xczu3eg"):
        part_of("xczu3eg")
