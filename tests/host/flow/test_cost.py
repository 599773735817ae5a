"""What a folded network takes, against FINN and by hand."""

import json

import pytest

from labd.compile_tables import fit_line, speed_lines
from labd_host.dataflow.cycles import CycleEstimate, NodeCycles
from labd_host.dataflow.parts import part_of
from labd_host.flow.cost import RESOURCES, amounts, cost_of
from labd_host.flow.finn_door import Finn
from labd_shared.bitfile import PYNQ_Z2_DEVICE, PYNQ_Z2_PART
from labd_shared.errors import SetupError
from support.facts import lacking

PART = {"LUT": 53_200, "BRAM18": 280, "URAM": 0, "DSP": 220}  # AMD DS190, table 1: Z-7020, 140 BRAM of 36 Kb


def test_the_fpga_has_what_its_data_sheet_says_and_finn_recommends_to_leave_room():
    part = part_of(PYNQ_Z2_PART)
    assert amounts(part.holds) == PART
    assert amounts(part.recommended) == {"LUT": 37_240, "BRAM18": 224, "URAM": 0, "DSP": 176}, "70 and 80 %"


def test_finn_knows_the_same_fpga():
    with Finn():
        from finn.util.platforms import platforms

        platform = platforms["Pynq-Z2"]()
    has = [sum(cells) for cells in zip(*platform.compute_resources, strict=True)]
    part = part_of(PYNQ_Z2_DEVICE)
    kinds = ("lut", "ff", "bram18", "uram", "dsp")
    assert [getattr(part.holds, kind) for kind in kinds] == has
    allowed = [int(share * cells) for share, cells in zip(platform.res_limits, has, strict=True)]
    assert [getattr(part.recommended, kind) for kind in kinds] == allowed


def test_every_node_is_estimated_as_finn_estimates_it(compiled):
    from finn.analysis.fpgadataflow.res_estimation import res_estimation

    folded = next(stage.path for stage in compiled.stages if stage.name == "folded")
    with Finn() as finn:
        theirs = res_estimation(finn.load(folded), PYNQ_Z2_PART)
    found = {node.name: node.uses for node in compiled.cost.nodes if node.uses}
    assert set(found) == set(theirs) and len(found) == 6
    for name, uses in found.items():
        wanted = [theirs[name][key] for key in ("LUT", "BRAM_18K", "URAM", "DSP")]
        assert [uses[kind] for kind in RESOURCES] == wanted, name
    cycles = {node.name: node.cycles for node in compiled.cost.nodes}
    assert {name: cycles[name] for name in compiled.finn_cycles} == dict(compiled.finn_cycles)


def test_a_layer_of_eight_rows_and_columns_takes_what_the_formula_gives_by_hand(compiled):
    node = next(node for node in compiled.cost.nodes if node.name == "MVAU_hls_1")
    products, adders, sums = 8 * 1 * 2, 2 * (2 * 8 - 1), 9
    assert node.uses["LUT"] == 300 + 1.1 * 8 * (products + adders + sums)
    assert node.uses["BRAM18"] == 2, "64 bits wide, 64 deep: two of 36 bits"
    assert (node.folding, node.cycles) == ({"PE": 8, "SIMD": 8}, 64)


def test_the_estimate_lies_beside_the_stages_and_names_the_bottleneck_with_and_without_dma(compiled):
    record = json.loads((compiled.folder / "estimate.json").read_text())
    assert (record["bottleneck"], record["cycles_per_frame"]) == ("idma0", 98)
    assert record["frames_per_s"] == pytest.approx(1e8 / 98)
    assert record["layers_alone"] == {
        "bottleneck": "MVAU_hls_0",
        "cycles_per_frame": 64 + 6,  # and the restart of an HLS unit
        "frames_per_s": 1e8 / 70,
    }
    assert record["part"] == {"name": "xc7z020clg400-1", **PART}
    names = [node["name"] for node in record["nodes"]]
    assert (names[0], names[-1]) == ("idma0", "odma0") and set(compiled.folding) < set(names)
    for kind in RESOURCES:
        assert record["sums"][kind] == sum(node.get(kind, 0) for node in record["nodes"])
    assert record["fits"] and record["sums"]["LUT"] > 0
    assert "FINN's own estimates" in record["origin"] and "nothing of it was measured" in record["origin"]


def large(**uses):
    nodes = (NodeCycles("idma0", "IODMA", 98), NodeCycles("MVAU_hls_0", "MVAU", 64))
    used = {"MVAU_hls_0": {**dict.fromkeys(RESOURCES, 0), **uses}}
    cycles = CycleEstimate(nodes, 98, 162, "idma0")
    return cost_of(cycles, {}, used, clock_mhz=50.0, part=PYNQ_Z2_PART)


def test_what_does_not_fit_is_said_with_how_much_is_too_many():
    assert fit_line(large(LUT=53_200, BRAM18=280)).startswith("fits xc7z020clg400-1, by FINN's estimates")
    assert fit_line(large(LUT=53_201, BRAM18=300)).startswith(
        "does not fit xc7z020clg400-1: 1 LUT too many, 20 BRAM18 too many, by FINN's estimates"
    )
    assert large(URAM=1).too_many == {"URAM": 1}, "the part has none"


def test_speed_follows_the_clock_and_the_dma_s_ceiling_is_said():
    first, second = speed_lines(large())
    assert "98 cycles a frame, set by idma0: 510,204 frames/s at 50 MHz" in first
    assert lacking(second, "DMA", "781,250 frames/s", "MVAU_hls_0", "64 cycles") == []


def test_an_estimate_that_cannot_be_written_says_where(tmp_path):
    with pytest.raises(SetupError, match=r"estimate\.json cannot be written: No such file or directory"):
        large().write(tmp_path / "gone")
