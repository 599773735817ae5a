"""Calibrated resources: against reports of real builds, and learnt anew from a user's own."""

import importlib.util
import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from labd_host.cli.main import run
from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import load_folding
from labd_host.dataflow.layers import Thresholding, WidthConverter
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.explore import calibration
from labd_host.explore.build_reports import read_build
from labd_host.explore.calibration import Sample, fitted
from labd_host.explore.cost_units import fifo, units_of
from labd_host.explore.rivals import calibrated_total, least_sure
from labd_host.networks import NETWORKS
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import ArtifactError, IllegalFolding, WrongPart
from support.vivado_stand_in import UTILISATION

SHIPPED = calibration.read(calibration.SHIPPED)
PART = part_of(PYNQ_Z2_DEVICE)
TFC = design_of(NETWORKS["tfc-w1a1"])
FITTING = Path(__file__).with_name("fit_calibration.py")


@pytest.fixture(scope="module")
def fitting():
    spec = importlib.util.spec_from_file_location("fit_calibration", FITTING)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured():
    folder = os.environ.get("LABD_MEASURED")
    if not folder:
        pytest.skip("needs reports of real builds: LABD_MEASURED")
    return Path(folder)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A LABD_HOME of the test's own."""
    monkeypatch.setenv("LABD_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "calibration.json"


def test_what_ships_is_the_fit_of_the_measured_builds(fitting, measured):
    assert fitting.fit(measured).kinds == SHIPPED.kinds


def test_the_cells_of_every_measured_build_are_within_the_band(fitting, measured):
    for report, network in fitting.networks_of(measured):
        total, spread = calibrated_total(report.design(network), SHIPPED)
        found = report.cells["(top)"]
        assert abs(total.lut - found.lut) <= spread.lut, report.name
        assert abs(total.ff - found.ff) <= spread.ff, report.name
        assert abs(total.lut / found.lut - 1) < 0.08, report.name
        assert (total.bram18, total.dsp) == (found.bram18, found.dsp), report.name


def test_one_bit_layers_are_predicted_from_the_other_foldings(fitting, measured):
    samples, finn = {}, {}
    for report, network in fitting.networks_of(measured):
        for layer in report.design(network).layers:
            if layer.op == "MVAU":
                unit = layer.cost_unit({})
                key = (layer.mw, layer.mh, layer.pe, layer.simd)
                samples.setdefault(key, []).append(
                    Sample(unit.kind, unit.drivers, unit.exact, report.cells[layer.name])
                )
                finn[key] = layer.finn_estimate({}).lut
    assert len(samples) == 8
    errors, theirs = [], []
    for left_out, found in samples.items():
        rest = [sample for key, each in samples.items() if key != left_out for sample in each]
        truth = np.mean([sample.measured.lut for sample in found])
        predicted = fitted(rest, None, "the others").cost(replace_unit(found[0]))
        errors.append(abs(predicted.lut / truth - 1))
        theirs.append(abs(finn[left_out] / truth - 1))
    assert np.mean(errors) <= 0.20
    assert np.mean(theirs) > 0.5, "what it is compared with"


def replace_unit(sample):
    unit = fifo("any", 1)
    return replace(unit, kind=sample.kind, drivers=sample.drivers, exact=sample.exact)


def test_the_inventory_holds_what_finn_inserts():
    design = TFC.folded(load_folding("lab", "tfc-w1a1"))
    found = [(unit.kind, unit.drivers.get("bits")) for unit in units_of(design)]
    assert found == [
        ("shell", None),
        ("converting input dma", 49 * 8),
        ("fifo", 49 * 8),
        ("thresholding", None),
        ("fifo", 49),
        ("xnor", None),
        ("fifo", 16),
        ("converter", 16),
        ("fifo", 8),
        ("xnor", None),
        ("fifo", 8),
        ("xnor", None),
        ("fifo", 8),
        ("xnor", None),
        ("fifo", 10 * 32),
        ("converter", 10 * 32),
        ("fifo", 32),
        ("label", None),
        ("fifo", 8),
        ("output dma", None),
    ]
    deep = units_of(design, {0: 64, 1: 1024})
    assert [unit.kind for unit in deep if "fifo" in unit.kind][:3] == ["deep fifo", "deep fifo", "fifo"]
    assert [unit.exact for unit in deep if unit.kind == "deep fifo"] == [
        Resources(lut=49 * 8 * 2),  # 63 words: two shift registers of 32 a bit
        Resources(bram18=3),  # 1,024 words of 49 bits, 18 bits wide each
    ]


def test_widths_that_do_not_divide_go_through_their_common_multiple():
    assert WidthConverter(24, 32).cost_unit("").drivers["through"] == 96
    assert WidthConverter(24, 48).cost_unit("").kind == "converter"
    assert (
        SHIPPED.cost(WidthConverter(24, 32).cost_unit("")).lut
        > 3 * SHIPPED.cost(WidthConverter(24, 48).cost_unit("")).lut
    )


def test_a_converter_that_finn_may_make_in_hls_is_named_with_an_uncertainty_of_its_own():
    unit = WidthConverter(72, 54).cost_unit("")
    assert unit.kind == "hls converter"
    assert SHIPPED.cost(unit).lut == 461  # the one figure there is
    assert SHIPPED.spread(unit).lut == SHIPPED.cost(unit).lut
    quiet = replace(TFC, layers=TFC.layers[1:])
    assert least_sure(quiet, SHIPPED) == {}
    pictures = design_of(NETWORKS["cnv-w1a1"])
    cost, spread = least_sure(pictures, SHIPPED)["thresholds of several levels"]
    assert cost == SHIPPED.cost(pictures.layers[0].cost_unit({})) and 0 < spread.lut < cost.lut


def quantiser(levels=8, pe=1, channels=3, given="UINT8", kind="rtl"):
    """Thresholds on an image of 12x12."""
    return Thresholding(f"Thresholding_{kind}_0", channels, 144, pe, 2**levels - 1, given, f"UINT{levels}", 0)


def test_the_input_quantiser_of_a_published_network_is_within_the_uncertainty():
    unit = quantiser(pe=3).cost_unit({})
    found, spread = SHIPPED.cost(unit).lut, SHIPPED.spread(unit).lut
    assert unit.finn.lut == 243
    assert found == pytest.approx(5435, rel=0.05)  # finn-plus 1.4.0: every threshold kept in LUTs
    assert found - spread <= 564 * 1.06  # finn-plus 1.6.1's RTL in yosys: they become memories
    assert SHIPPED.cost(replace(quantiser(pe=3), steps=1, output="BINARY").cost_unit({})).lut == 39, (
        "one level has nothing to choose from"
    )


def lut_of(layer, **settings):
    return SHIPPED.cost(layer.cost_unit(settings)).lut


def test_thresholds_double_with_every_level_and_grow_with_their_bits_and_the_lanes():
    by_levels = [lut_of(quantiser(levels)) for levels in range(5, 10)]
    ratios = [after / before for before, after in pairwise(by_levels)]
    assert all(1.5 < ratio < 2.1 for ratio in ratios) and ratios == sorted(ratios)
    assert lut_of(quantiser(pe=3)) == pytest.approx(3 * lut_of(quantiser()), rel=0.05)
    assert lut_of(quantiser(given="UINT16")) == pytest.approx(17 / 9 * lut_of(quantiser()), rel=0.05)
    assert lut_of(quantiser(channels=300)) == lut_of(quantiser()), "all channels have the same thresholds"
    assert lut_of(quantiser(kind="hls")) == lut_of(quantiser())
    many = quantiser(channels=3072).cost_unit({})
    assert many.exact == Resources() and many.finn.bram18 + many.finn.uram > 60, "FINN counts every channel's"


def test_levels_from_the_depth_that_a_folding_says_are_block_rams():
    unit = quantiser(pe=3).cost_unit({"depth_trigger_bram": 64})
    assert unit.exact.bram18 == 3 * 2  # 64 and 128 words of 9 bits
    assert unit.drivers["kept"] == 3 * 9 * (2 + 4 + 8 + 16 + 32)
    assert quantiser(pe=3).cost_unit({"depth_trigger_bram": 0}).exact.bram18 == 0


def build(folder, *, lut=500, extra=None, config=None):
    """A report of TFC at PE = SIMD = 1 but for the first layer."""
    folder.mkdir()
    cells = {"LUT": lut, "SRL": 0, "FF": 800, "BRAM_36K": 0, "BRAM_18K": 1, "DSP": 0}
    report = {"StreamingDataflowPartition_1_MVAU_hls_0": cells, **(extra or {})}
    (folder / "post_synth_resources.json").write_text(json.dumps(report))
    nodes = config or {
        "Defaults": {},
        "Thresholding_rtl_0": {"PE": 1},
        "MVAU_hls_0": {"PE": 8, "SIMD": 8, "ram_style": "auto"},
        **{f"MVAU_hls_{index}": {"PE": 1, "SIMD": 1} for index in (1, 2, 3)},
        "LabelSelect_hls_0": {"PE": 1},
    }
    (folder / "final_hw_config.json").write_text(json.dumps(nodes))
    return folder


def test_a_report_moves_the_estimate_towards_it_and_counts_once(tmp_path, mine, capsys):
    unit = replace(TFC.layers[1], pe=8, simd=8).cost_unit({})
    before = calibration.load().cost(unit).lut
    reports = [str(build(tmp_path / f"build{index}", lut=2000 + index)) for index in range(3)]
    assert run(["calibrate", *reports, "--network", "tfc-w1a1"]) == 0
    assert "learnt from 3 builds" in capsys.readouterr().out
    after = calibration.load().cost(unit).lut
    assert before < 1.5 * before < after < 2001
    learnt = mine.read_bytes()
    assert run(["calibrate", *reports, "--network", "tfc-w1a1"]) == 0
    assert "nothing new" in capsys.readouterr().out
    assert mine.read_bytes() == learnt
    assert run(["calibrate", "--reset"]) == 0
    assert calibration.load().cost(unit).lut == before


def test_vivado_s_own_report_says_the_same(tmp_path, mine):
    rows = [
        ["top_wrapper", "(top)", "9000", "0", "0", "0", "9100", "3", "1", "0"],
        ["  StreamingDataflowPartition_1_MVAU_hls_0", "mvau", "500", "0", "0", "0", "800", "0", "1", "0"],
    ]
    folder = build(tmp_path / "build")
    plain = read_build(folder, PART)
    (folder / "post_synth_resources.json").unlink()
    table = "".join(
        f"<tablerow>{''.join(f'<tablecell contents={cell!r}/>' for cell in row)}</tablerow>" for row in rows
    )
    head = f"<tablerow>{''.join(f'<tableheader contents={each!r}/>' for each in UTILISATION)}</tablerow>"
    (folder / "synth_report.xml").write_text(
        f"<RptDoc><section><table>{head}{table}</table></section></RptDoc>"
    )
    found = read_build(folder, PART)
    assert found.cells["MVAU_hls_0"] == plain.cells["MVAU_hls_0"] == Resources(500, 800, 1, 0, 0)
    assert found.cells["(top)"] == Resources(9000, 9100, 7, 0, 0)


def test_reports_of_another_part_or_network_are_refused(tmp_path, mine):
    top = {"LUT": 60_000, "FF": 1, "BRAM_36K": 0, "BRAM_18K": 0, "DSP": 0}
    with pytest.raises(WrongPart, match=r"uses 60,000 LUT, the xc7z020 has 53,200"):
        read_build(build(tmp_path / "large", extra={"(top)": top}), PART)
    other = build(tmp_path / "other")
    (other / "synth_report.xml").write_text("<RptDoc part='xczu3eg-sbva484-1-e'/>")
    with pytest.raises(WrongPart, match="of the part xczu3eg"):
        read_build(other / "synth_report.xml", PART)
    with pytest.raises(IllegalFolding, match="MVAU_hls_0"):
        list(read_build(build(tmp_path / "tfc"), PART).samples(design_of(NETWORKS["cnv-w1a1"])))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100000, "nested more than 32 deep"),
        ('{"a": {"LUT": 1' + "0" * 400 + "}}", "more than 64 bits"),
        ('{"a": {"LUT": "many"}}', "a.LUT is 'many', a number from 0 on is wanted"),
        ('{"a": {"LUT": -1}}', "a.LUT is -1, a number from 0 on"),
        ("[1]", "a list of 1 entries, an object is wanted"),
    ],
)
def test_damaged_reports_are_refused(tmp_path, content, says):
    folder = build(tmp_path / "build")
    (folder / "post_synth_resources.json").write_text(content)
    with pytest.raises(ArtifactError, match=says):
        read_build(folder, PART)


def test_a_folder_without_a_report_says_what_is_missing(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"there is no post_synth_resources\.json and no synth_report\.xml"
    ):
        read_build(tmp_path, PART)


def test_a_damaged_calibration_says_how_to_be_rid_of_it(mine):
    mine.parent.mkdir()
    mine.write_text('{"kinds": {"xnor": {}}}')
    with pytest.raises(ArtifactError, match="calibration.json: reports is missing") as caught:
        calibration.load()
    assert caught.value.fix == "labd calibrate --reset"


def window(pixels, channels, simd, kernel, bits=1, *, whole=False, pool=False):
    first = next(
        layer for layer in design_of(NETWORKS["cnv-w1a1"]).layers if layer.op == "ConvolutionInputGenerator"
    )
    datatype = "BINARY" if bits == 1 else f"INT{bits}"
    return replace(
        first, channels=channels, height=pixels, width=pixels, kernel_h=kernel, kernel_w=kernel,
        stride_h=kernel if pool else 1, stride_w=kernel if pool else 1, depthwise=pool, parallel=whole,
        simd=simd, input=datatype, output=datatype,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "style", "lut", "ff"),
    [
        (window(12, 12, 12, 2, 3, pool=True), "distributed", 136, 94),
        (window(6, 24, 12, 2, 3, pool=True), "distributed", 125, 90),
        (window(5, 24, 24, 3, 3), "distributed", 134, 121),
        (window(28, 64, 8, 2, pool=True), "block", 157 * 1.06, 88),  # yosys, as all below
        (window(14, 64, 8, 3), "block", 135 * 1.06, 87),
        (window(30, 64, 64, 3, whole=True), "block", 74 * 1.06, 638),
        (window(30, 64, 64, 3, whole=True), "distributed", (78 + 88) * 1.06, 766),
        (window(30, 64, 32, 3), "distributed", (149 + 88) * 1.06, 114),
    ],
)
def test_windows_take_what_vivado_and_yosys_made_of_finn_s_rtl(layer, style, lut, ff):
    found = SHIPPED.cost(layer.cost_unit({"ram_style": style}))
    assert found.lut == pytest.approx(lut, rel=0.16)
    assert found.ff == pytest.approx(ff, rel=0.16)
