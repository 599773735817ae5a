"""Why an experiment is as fast as it is: the facts that the words give, on real designs."""

import re
from dataclasses import replace

import pytest

from labd_host.dataflow.folded_chain import FoldedChain, design_of
from labd_host.dataflow.resources import Resources
from labd_host.experiments import assess
from labd_host.experiments.basis import network_sha256
from labd_host.experiments.explain import explain
from labd_host.experiments.study_model import BoardMeasurement, Experiment, ExperimentOutcome
from labd_host.networks import NETWORKS
from support import odd_networks
from support.experiments import PART, experiment, lab_with, outcome
from support.facts import lacking, named, paragraph_with, said_of

TFC, CNV = "tfc-w1a1", "cnv-w1a1"
DESIGNS = {name: design_of(NETWORKS[name]) for name in (TFC, CNV)}
MORE_LANES = re.compile(r"more (PE|SIMD)")  # the remedy for a slow layer
NO_FOLDING = ("folding", "bits", "clock")  # where none helps: what is left to be changed


def made(name, network, changes, **known):
    return outcome(experiment(name, network, lab_with(network, changes)), **known)


@pytest.fixture(scope="module")
def lab():
    return {TFC: made("baseline", TFC, {}), CNV: made("baseline", CNV, {}, simulated=False)}


@pytest.fixture(scope="module")
def exp1():
    return made("Exp1", TFC, {"MVAU_hls_1": {"PE": 1, "SIMD": 1}})


class Words:
    """The paragraphs about an experiment; the first says what was changed where there is a baseline."""

    def __init__(self, found, base):
        self.paragraphs = explain(found, base, DESIGNS[found.experiment.network])
        self.text = "\n".join(self.paragraphs)
        compared = base is not None and base is not found
        self.changed = self.paragraphs[0] if compared else ""
        self.limit = self.paragraphs[int(compared)]
        self.remedy = self.paragraphs[-1]
        self.nodes = [row.name for row in found.result.layers]

    def stages(self, paragraph):
        """The stages that *paragraph* names, in its order."""
        return named(paragraph, self.nodes)

    def of(self, stage, paragraph):
        """What *paragraph* says of *stage*, up to the next stage that it names."""
        return said_of(stage, paragraph, self.nodes)


def test_exp1_of_tfc_is_slow_because_one_lane_works_off_all_weights(lab, exp1):
    said = Words(exp1, lab[TFC])
    assert lacking(said.changed, "baseline", "layer 2", "MVAU_hls_1", "PE 8 → 1", "SIMD 8 → 1") == []
    assert said.stages(said.changed) == said.stages(said.limit)[:1] == ["MVAU_hls_1"]
    # 64 * 64 = 4096; 4102 / 70 = 58.6
    cause = ("layer 2", "one PE", "one SIMD", "64 x 64", "4,096 cycles", "6", "4,102", "59 times", "70")
    assert lacking(said.limit, *cause) == []
    paragraph_with(
        said.paragraphs, "100 MHz / 4,102 cycles = 24,378 frames/s", "1/42", "1,020,408", "simulation"
    )
    less = 1 - exp1.result.predicted.expected.lut / lab[TFC].result.predicted.expected.lut
    paragraph_with(said.paragraphs, "LUT*", "1/42", "simulation", f"{100 * less:.1f} %")
    assert said.stages(said.remedy) == ["MVAU_hls_1", "idma0"]
    assert MORE_LANES.search(said.of("MVAU_hls_1", said.remedy))
    assert lacking(said.of("idma0", said.remedy), "98 cycles", "1,020,408", "42 times", "no folding") == []


def test_who_waits_for_the_slowest_stage_is_said_with_the_share_of_the_time(lab, exp1):
    said = Words(exp1, lab[TFC])
    rows = {row.name: row for row in exp1.result.layers}
    assert said.stages(said.limit) == ["MVAU_hls_1", "MVAU_hls_0", "MVAU_hls_2"]
    before, behind = f"{100 * rows['MVAU_hls_0'].blocked:.0f} %", f"{100 * rows['MVAU_hls_2'].starved:.0f} %"
    assert lacking(said.of("MVAU_hls_0", said.limit), "block*", before) == []
    assert lacking(said.of("MVAU_hls_2", said.limit), "starv*", behind) == []


def test_exp1_of_cnv_counts_the_places_of_the_convolution(lab):
    said = Words(made("Exp1", CNV, {"MVAU_hls_1": {"PE": 1, "SIMD": 1}}, simulated=False), lab[CNV])
    assert said.stages(said.limit) == ["MVAU_hls_1"]
    work = ("64 x 576", "36,864 cycles", "784", "28,901,376 cycles", "6", "28,901,382")
    assert lacking(said.limit, *work, "1,024 times", "28,230") == []
    paragraph_with(said.paragraphs, "100 MHz / 28,901,382 cycles = 3.46 frames/s", "1/882", "3,051")
    assert "simulat" not in said.text, "nothing was simulated"


def test_where_the_dma_is_the_limit_no_folding_is_blamed(lab):
    said = Words(lab[TFC], None)
    assert said.stages(said.limit)[0] == "idma0"
    assert lacking(said.limit, "input DMA") == []
    assert lacking(said.of("idma0", said.limit), "784 bytes", "8", "98 cycles", "folding") == []
    assert lacking(said.remedy, *NO_FOLDING) == [] and not MORE_LANES.search(said.remedy)
    assert said.stages(said.remedy) == ["MVAU_hls_0"], "the slowest layer"
    assert lacking(said.remedy, "70", "98 cycles") == []


def test_a_layer_as_slow_as_the_output_dma_makes_no_odds(lab):
    rows = tuple(
        replace(row, interval_cycles=98) if row.name in ("odma0", "MVAU_hls_0") else row
        for row in lab[TFC].result.layers
    )
    said = Words(replace(lab[TFC], result=replace(lab[TFC].result, layers=rows)), None)
    assert said.stages(said.limit)[:3] == ["idma0", "MVAU_hls_0", "odma0"]
    assert lacking(said.limit, "input DMA", "layer 1", "output DMA") == []
    assert lacking(said.remedy, *NO_FOLDING) == [] and not MORE_LANES.search(said.remedy)
    assert said.stages(said.remedy) == []


def test_two_layers_equally_slow_are_both_named(lab):
    said = Words(lab[CNV], lab[CNV])
    assert said.stages(said.limit) == ["MVAU_hls_6", "MVAU_hls_7"]
    assert lacking(said.limit, "layer 7", "PE 1", "SIMD 4", "layer 8", "alone") == []
    assert said.stages(said.remedy)[:2] == ["MVAU_hls_6", "MVAU_hls_7"]
    assert MORE_LANES.search(said.remedy)
    cycles = [row.interval_cycles for row in lab[CNV].result.layers if "Converter" not in row.name]
    near = sum(each >= 0.9 * 32774 for each in cycles)
    assert lacking(said.remedy, f"{near} of {len(cycles)}", "90 %") == []
    assert "baseline" not in said.text, "it is compared with nothing"


def test_a_change_beside_the_slowest_stage_has_no_effect(lab):
    said = Words(made("Exp2d", TFC, {"MVAU_hls_2": {"PE": 16, "SIMD": 8}}), lab[TFC])
    effect = paragraph_with(said.paragraphs, "1,020,408 frames/s", "baseline", "same", "simulation")
    assert said.stages(effect) == ["idma0"]
    cost = paragraph_with(said.paragraphs, "same rate", "LUT*", "BRAM18")
    assert re.search(r"[\d.]+ % more LUT", cost)


def test_a_window_can_be_the_limit(lab):
    window = "ConvolutionInputGenerator_rtl_1"
    said = Words(made("Exp3", CNV, {window: {"SIMD": 4}}, simulated=False), lab[CNV])
    assert said.stages(said.limit) == [window]
    work = ("layer 2", "4 of 64", "3 x 3", "784", "113,904 cycles")
    assert lacking(said.limit, *work, "8 times", "14,238") == []
    assert said.stages(said.remedy)[0] == window
    assert MORE_LANES.search(said.remedy).group(1) == "SIMD" and lacking(said.remedy, "PE") == ["PE"]


def test_the_restart_is_named_where_it_weighs(lab):
    folding = {
        "Thresholding_rtl_0": {"PE": 784},
        "MVAU_hls_0": {"PE": 8, "SIMD": 784},
        "MVAU_hls_1": {"PE": 32, "SIMD": 64},
        "MVAU_hls_2": {"PE": 32, "SIMD": 64},
    }
    asked = made("wide", TFC, folding, simulated=False)
    rows = tuple(
        replace(row, interval_cycles=1) if row.op == "IODMA" else row for row in asked.result.layers
    )  # as if no DMA were in the way
    predicted = replace(asked.result.predicted, interval_cycles=14, slowest=("MVAU_hls_0",))
    said = Words(replace(asked, result=replace(asked.result, layers=rows, predicted=predicted)), None)
    assert said.stages(said.limit)[0] == "MVAU_hls_0"
    assert lacking(said.limit, "8 cycles", "6", "14", "restart", "43 %") == []
    assert "%" not in Words(lab[CNV], None).limit, "6 of 32,774 cycles"


def test_where_no_fifo_is_to_blame_the_busiest_stage_is_named(lab):
    slower = replace(lab[TFC].result.simulated, interval_cycles=141.0, free_interval_cycles=140.0)
    said = Words(replace(lab[TFC], result=replace(lab[TFC].result, simulated=slower)), None)
    shown = paragraph_with(said.paragraphs, "simulation", "141 cycles", "44 %", "more", "3 frames")
    busiest = max(lab[TFC].result.layers, key=lambda row: row.working)
    assert said.stages(shown) == [busiest.name] == ["idma0"]
    assert lacking(shown, f"{100 * busiest.working:.0f} %") == []
    assert "FIFO" not in shown and "fifo" not in shown


def test_small_fifos_are_named_with_the_rate_without_them(exp1, lab):
    slower = replace(
        exp1.result.simulated, interval_cycles=5000.0, frames_per_s=20000.0, free_interval_cycles=4110.0
    )
    said = Words(replace(exp1, result=replace(exp1.result, simulated=slower)), lab[TFC])
    shown = paragraph_with(said.paragraphs, "simulation", "20,000", "5,000 cycles", "22 %", "more")
    assert lacking(shown[shown.index("22 %") :], "FIFO*", "too small", "4,110 cycles") == []
    assert lacking(shown, "labd simulate tfc-w1a1 --size-fifos") == []


def test_a_simulation_that_failed_gives_its_reason(exp1):
    dead = replace(exp1.result.simulated, fault="tfc-w1a1 is dead after 9 cycles")
    said = Words(replace(exp1, result=replace(exp1.result, simulated=dead)), None)
    paragraph_with(said.paragraphs, "simulation", dead.fault)
    assert "block" not in said.text and "starv" not in said.text


def test_a_measurement_off_by_more_than_two_percent_is_explained(lab):
    measured = BoardMeasurement("board 05", 837019.0, 1e5, 5.0, 100.0, 1000)
    said = Words(replace(lab[TFC], result=replace(lab[TFC].result, measured=measured)), None)
    shown = paragraph_with(said.paragraphs, "board 05", "837,019 frames/s", "1,000", "18 %", "fewer")
    assert lacking(shown, "DMA", "memory", "70 times", "78 cycles", "5.46 cycles") == []
    # 1000 frames take 1194.7 us there; (98 + 5.46) cycles each are 1034.6 us
    assert lacking(shown, "160 us") == []


def test_a_measurement_that_is_as_predicted_needs_no_reason(lab):
    near = BoardMeasurement("board 05", 1010000.0, 1e5, 5.0, 100.0, 1000)
    said = Words(replace(lab[TFC], result=replace(lab[TFC].result, measured=near)), None)
    shown = paragraph_with(said.paragraphs, "board 05", "1,010,000 frames/s", "1,000")
    assert "memory" not in shown and "%" not in shown


@pytest.mark.parametrize("lut, cells", [(12600, "5 % more LUT"), (9000, "25 % fewer LUT"), (12010, "")])
def test_faster_says_what_it_costs_or_saves(lab, exp1, lut, cells):
    def with_luts(found, lut):
        predicted = replace(found.result.predicted, expected=Resources(lut=lut, bram18=20))
        return replace(found, result=replace(found.result, predicted=predicted))

    said = Words(with_luts(lab[TFC], lut), with_luts(exp1, 12000))
    cost = paragraph_with(said.paragraphs, "LUT", "42 times", "simulation")
    assert re.findall(r"[\d.]+ % (?:more|fewer) LUT", cost) == ([cells] if cells else [])


@pytest.mark.parametrize(
    "lut, bram18, facts, fits",
    [
        (60000, 300, ("60,000 LUT of 53,200", "300 BRAM18 of 280"), False),
        (40000, 100, ("40,000 LUT of 37,240", "timing"), True),
        (26600, 100, ("50 % of its LUT",), True),
    ],
)
def test_what_does_not_fit_and_what_fills_the_part_too_far_is_said(lab, lut, bram18, facts, fits):
    predicted = replace(lab[TFC].result.predicted, expected=Resources(lut=lut, bram18=bram18))
    said = Words(replace(lab[TFC], result=replace(lab[TFC].result, predicted=predicted)), None)
    cost = paragraph_with(said.paragraphs, "xc7z020", *facts)
    assert ("not fit" not in cost) is fits


def test_a_build_is_held_against_the_band(lab):
    expected, band = lab[TFC].result.predicted.expected.lut, lab[TFC].result.predicted.plus_minus.lut
    for lut, where in ((expected + 100, "within"), (expected + band + 100, "outside")):
        built = replace(lab[TFC].result, built=Resources(lut=lut, bram18=33))
        said = Words(replace(lab[TFC], result=built), None)
        paragraph_with(said.paragraphs, "build", f"{lut:,.0f} LUT", "33 BRAM18", where)


def test_another_clock_and_an_equal_folding_are_said(lab):
    slow = outcome(experiment("half", TFC, lab_with(TFC, {}), clock_mhz=50.0))
    said = Words(slow, lab[TFC])
    assert lacking(said.changed, "half", "baseline", "50 MHz", "100 MHz") == []
    assert said.stages(said.changed) == []
    paragraph_with(said.paragraphs, "50 MHz / 98 cycles = 510,204 frames/s", "50 %", "1,020,408")


def test_a_failed_experiment_has_no_words(lab):
    asked = experiment("Exp9", TFC, lab_with(TFC, {}))
    assert explain(ExperimentOutcome(asked, None, "no"), lab[TFC], DESIGNS[TFC]) == []
    without = explain(made("Exp1", TFC, {}), ExperimentOutcome(asked, None, "no"), DESIGNS[TFC])
    assert without and "Exp9" not in "\n".join(without)


def test_a_converter_slower_than_every_layer_is_the_bottleneck(lab):
    converter = "StreamingDataWidthConverter_rtl_0"
    folding = {"Thresholding_rtl_0": {"PE": 8}, "MVAU_hls_0": {"PE": 32, "SIMD": 28}}
    found = made("Exp2b", TFC, folding)
    said = Words(found, lab[TFC])
    # 56 values are 7 words of 8 and 2 of 28; 7 + 2 - 1 cycles each, 14 times a frame
    assert said.stages(said.limit)[0] == converter
    assert lacking(said.of(converter, said.limit), "28") == []
    assert lacking(said.of("MVAU_hls_0", said.limit), "8") == []
    assert lacking(said.of("Thresholding_rtl_0", said.limit), "56", "7", "2", "112 cycles") == []
    assert said.stages(said.remedy)[0] == converter
    assert lacking(said.of(converter, said.remedy), "multiple") == []
    assert found.result.simulated.interval_cycles == 112


@pytest.mark.parametrize("network", [TFC, CNV])
def test_every_large_number_in_the_words_is_one_of_the_results_figures(network, lab):
    found = made("Exp1", network, {"MVAU_hls_1": {"PE": 1, "SIMD": 1}}, simulated=network == TFC)
    known = {100}
    for each in (found.result, lab[network].result):
        predicted = each.predicted
        known |= {row.interval_cycles for row in each.layers} | {row.expected.lut for row in each.layers}
        known |= {predicted.expected.lut, round(predicted.plus_minus.lut), round(predicted.frames_per_s)}
        known |= {predicted.dma_interval_cycles, predicted.input_bytes}
        known |= {predicted.expected.lut - sum(row.expected.lut for row in each.layers)}
        # rates that the next slowest stages allow
        known |= {round(100e6 / row.interval_cycles) for row in each.layers}
    layer = DESIGNS[network].layers
    second = next(one for one in layer if one.name == "MVAU_hls_1")
    known |= {second.mw * second.mh, second.mw * second.mh * second.vectors}
    intervals = [row.interval_cycles for each in (found.result, lab[network].result) for row in each.layers]
    known |= {round(more / fewer) for more in intervals for fewer in intervals}
    said = Words(found, lab[network]).text
    numbers = {
        int(text.replace(",", "")) for text in re.findall(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?![\w.]\d)", said)
    }
    assert len(numbers) > 5
    assert numbers <= known, sorted(numbers - known)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (
            "a map added up",
            "global pool in front of layer 1 (sum) adds 1 of 3 channels of one of 9 pixels a cycle, 30 cycles",
        ),
        (
            "sums of each channel",
            "depthwise product (d) multiplies 1 of 3 places for 1 of 4 channels a cycle, for 2 windows",
        ),
    ],
)
def test_a_layer_of_any_kind_is_named_and_says_what_it_does(monkeypatch, odd, words):
    network, _ = odd_networks.network(odd)
    settings = {layer.name: layer.settings() for layer in network.layers}
    design = FoldedChain("averaged", network.layers, network.inputs, network.outputs, settings)
    monkeypatch.setattr(assess, "_design", lambda asked: design)
    asked = Experiment("Exp", "averaged", network_sha256(design), "none", settings, 100.0, PART, frames=3)
    said = "\n".join(explain(outcome(asked), None, design))
    assert words in said
