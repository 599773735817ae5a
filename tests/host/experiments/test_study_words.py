"""Why an experiment is as fast as it is: the words, on real designs."""

import re
from dataclasses import replace

import pytest

from labd_host.dataflow.design import design_of
from labd_host.dataflow.resources import Resources
from labd_host.experiments.explain import explain
from labd_host.experiments.study_model import Measured, Outcome
from labd_host.networks import NETWORKS
from support.experiments import experiment, lab_with, outcome

TFC, CNV = "tfc-w1a1", "cnv-w1a1"
DESIGNS = {name: design_of(NETWORKS[name]) for name in (TFC, CNV)}


def made(name, network, changes, **known):
    return outcome(experiment(name, network, lab_with(network, changes)), **known)


@pytest.fixture(scope="module")
def lab():
    return {TFC: made("baseline", TFC, {}), CNV: made("baseline", CNV, {}, simulated=False)}


def words(found, base):
    return "\n".join(explain(found, base, DESIGNS[found.experiment.network]))


@pytest.fixture(scope="module")
def exp1():
    return made("Exp1", TFC, {"MVAU_hls_1": {"PE": 1, "SIMD": 1}})


def test_exp1_of_tfc_is_slow_because_one_lane_works_off_all_weights(lab, exp1):
    said = words(exp1, lab[TFC])
    assert "layer 2 (MVAU_hls_1) PE 8 → 1, SIMD 8 → 1." in said
    assert (
        "Layer 2 (MVAU_hls_1) has one PE and one SIMD lane: it works on 1 of its 64 x 64 weights a cycle, 4,096 cycles "
        "and 6 more to start again, 4,102 a frame, 59 times baseline's 70." in said
    ), "64 * 64 = 4096; 4102 / 70 = 58.6"
    assert "100 MHz / 4,102 cycles = 24,378 frames/s, 1/42 of baseline's 1,020,408." in said
    assert "The simulation says 24,378, a frame every 4,102 cycles." in said
    rows = {row.name: row for row in exp1.result.layers}
    assert f"MVAU_hls_0 in front of it is blocked for {100 * rows['MVAU_hls_0'].blocked:.0f} %" in said
    assert f"MVAU_hls_2 behind it starves for {100 * rows['MVAU_hls_2'].starved:.0f} %" in said
    less = 1 - exp1.result.predicted.expected.lut / lab[TFC].result.predicted.expected.lut
    assert (
        f"The rate falls to 1/42 of baseline's in the simulation, the LUTs by {100 * less:.1f} % only."
        in said
    )
    assert "The next slowest stage, the input DMA (idma0), takes 98 cycles" in said
    assert said.endswith("42 times this one. Beyond that no folding helps.")


def test_exp1_of_cnv_counts_the_places_of_the_convolution(lab):
    said = words(made("Exp1", CNV, {"MVAU_hls_1": {"PE": 1, "SIMD": 1}}, simulated=False), lab[CNV])
    assert (
        "it works on 1 of its 64 x 576 weights a cycle, 36,864 cycles for each of 784 places, 28,901,376 cycles and 6 "
        "more to start again, 28,901,382 a frame, 1,024 times baseline's 28,230." in said
    )
    assert "100 MHz / 28,901,382 cycles = 3.46 frames/s, 1/882 of baseline's 3,051." in said
    assert "simulation" not in said, "nothing was simulated"


def test_where_the_dma_is_the_limit_no_folding_is_blamed(lab):
    said = words(lab[TFC], None)
    assert (
        "The input DMA (idma0) moves 784 bytes, 8 a cycle, and so takes 98 cycles a frame, whatever the folding."
        in said
    )
    assert "No folding makes this faster" in said
    assert "The slowest layer, MVAU_hls_0, needs 70 of the 98 cycles" in said


def test_a_layer_as_slow_as_the_output_dma_makes_no_odds(lab):
    rows = tuple(
        replace(row, interval_cycles=98) if row.name in ("odma0", "MVAU_hls_0") else row
        for row in lab[TFC].result.layers
    )
    said = words(replace(lab[TFC], result=replace(lab[TFC].result, layers=rows)), None)
    assert "Layer 1 (MVAU_hls_0) and the output DMA (odma0) take as many" in said
    assert said.endswith("only fewer bits a frame or a higher clock would.")


def test_two_layers_equally_slow_are_both_named(lab):
    said = words(lab[CNV], lab[CNV])
    assert "Layer 7 (MVAU_hls_6) has PE 1 and SIMD 4" in said
    assert (
        "Layer 8 (MVAU_hls_7) takes as many, so speeding up one of them alone would change nothing." in said
    )
    assert "give MVAU_hls_6 and MVAU_hls_7 more PE or SIMD" in said
    cycles = [row.interval_cycles for row in lab[CNV].result.layers if "Converter" not in row.name]
    near = sum(each >= 0.9 * 32774 for each in cycles)
    assert f" {near} of {len(cycles)} stages take 90 % of the slowest's cycles or more" in said
    assert "baseline" not in said, "it is compared with nothing"


def test_a_change_beside_the_slowest_stage_has_no_effect(lab):
    said = words(made("Exp2d", TFC, {"MVAU_hls_2": {"PE": 16, "SIMD": 8}}), lab[TFC])
    assert "1,020,408 frames/s, as predicted of baseline." in said
    assert "What changed does not touch the slowest stage, idma0, so the rate is the same" in said
    assert re.search(r"The same rate for [\d.]+ % more LUT\.", said)


def test_a_window_can_be_the_limit(lab):
    said = words(
        made("Exp3", CNV, {"ConvolutionInputGenerator_rtl_1": {"SIMD": 4}}, simulated=False), lab[CNV]
    )
    assert (
        "The sliding window in front of layer 2 (ConvolutionInputGenerator_rtl_1) gives 4 of 64 channels of one place "
        "of its 3 x 3 window a cycle, for 784 windows, 113,904 cycles a frame, 8 times baseline's 14,238."
        in said
    )
    assert "give ConvolutionInputGenerator_rtl_1 more SIMD." in said


def test_the_restart_is_named_where_it_weighs():
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
    said = words(replace(asked, result=replace(asked.result, layers=rows, predicted=predicted)), None)
    assert "8 cycles and 6 more to start again, 14 a frame" in said
    assert "The restart is 43 % of that, and no PE or SIMD makes it shorter." in said


def test_where_no_fifo_is_to_blame_the_busiest_stage_is_named(lab):
    slower = replace(lab[TFC].result.simulated, interval_cycles=141.0, free_interval_cycles=140.0)
    said = words(replace(lab[TFC], result=replace(lab[TFC].result, simulated=slower)), None)
    assert (
        "a frame every 141 cycles, 44 % more than predicted. No stage works all the time, idma0 most" in said
    )
    assert "FIFOs are too small" not in said


def test_small_fifos_are_named_with_the_rate_without_them(exp1, lab):
    slower = replace(
        exp1.result.simulated, interval_cycles=5000.0, frames_per_s=20000.0, free_interval_cycles=4102.0
    )
    said = words(replace(exp1, result=replace(exp1.result, simulated=slower)), lab[TFC])
    assert "The simulation says 20,000, a frame every 5,000 cycles, 22 % more than predicted." in said
    assert (
        "The FIFOs are too small as FINN sizes them: were they never full, it would be 4,102 cycles." in said
    )
    assert "labd simulate tfc-w1a1 --size-fifos" in said


def test_a_simulation_that_failed_gives_its_reason(exp1):
    dead = replace(exp1.result.simulated, fault="tfc-w1a1 is dead after 9 cycles")
    said = words(replace(exp1, result=replace(exp1.result, simulated=dead)), None)
    assert "The simulation shows nothing: tfc-w1a1 is dead after 9 cycles" in said
    assert "blocked" not in said


def test_a_measurement_off_by_more_than_two_percent_is_explained(lab):
    measured = Measured("board 05", 837019.0, 1e5, 5.0, 100.0, 1000)
    said = words(replace(lab[TFC], result=replace(lab[TFC].result, measured=measured)), None)
    assert "Board 05 measured 837,019 frames/s in batches of 1,000, 18 % fewer than predicted" in said
    assert (
        "asks the memory 70 times a batch and waits about 78 cycles for each answer, 5.46 cycles a frame"
        in said
    )
    # 1000 frames take 1194.7 us there; (98 + 5.46) cycles each are 1034.6 us
    assert "160 us of each batch remain" in said
    near = Measured("board 05", 1010000.0, 1e5, 5.0, 100.0, 1000)
    said = words(replace(lab[TFC], result=replace(lab[TFC].result, measured=near)), None)
    assert "Board 05 measured 1,010,000 frames/s in batches of 1,000." in said


def test_faster_and_cheaper_says_both(lab, exp1):
    def with_luts(found, lut):
        predicted = replace(found.result.predicted, expected=Resources(lut=lut, bram18=20))
        return replace(found, result=replace(found.result, predicted=predicted))

    slow = with_luts(exp1, 12000)
    assert "42 times the frames in the simulation for 5 % more LUT." in words(
        with_luts(lab[TFC], 12600), slow
    )
    assert "42 times the frames in the simulation with 25 % fewer LUT." in words(
        with_luts(lab[TFC], 9000), slow
    )
    assert "42 times the frames in the simulation with as many LUT." in words(
        with_luts(lab[TFC], 12010), slow
    )


def test_what_does_not_fit_and_what_fills_the_part_too_far_is_said(lab):
    def with_cells(lut, bram18):
        predicted = replace(lab[TFC].result.predicted, expected=Resources(lut=lut, bram18=bram18))
        return words(replace(lab[TFC], result=replace(lab[TFC].result, predicted=predicted)), None)

    assert "That does not fit the xc7z020: 60,000 LUT of 53,200 and 300 BRAM18 of 280." in with_cells(
        60000, 300
    )
    assert "close: 40,000 LUT of 37,240." in with_cells(40000, 100)
    assert "It fits the xc7z020, 50 % of its LUT." in with_cells(26600, 100)


def test_a_build_is_held_against_the_band(lab):
    expected, band = lab[TFC].result.predicted.expected.lut, lab[TFC].result.predicted.plus_minus.lut
    for lut, where in ((expected + 100, "within the band"), (expected + band + 100, "outside the band")):
        built = replace(lab[TFC].result, built=Resources(lut=lut, bram18=33))
        said = words(replace(lab[TFC], result=built), None)
        assert (
            f"A build of this folding reported {lut:,.0f} LUT and 33 BRAM18 after synthesis, {where}." in said
        )


def test_another_clock_and_an_equal_folding_are_said(lab):
    slow = outcome(experiment("half", TFC, lab_with(TFC, {}), clock_mhz=50.0))
    said = words(slow, lab[TFC])
    assert "half is folded like baseline. Its clock is 50 MHz in place of 100 MHz." in said
    assert "50 MHz / 98 cycles = 510,204 frames/s, 50 % of baseline's 1,020,408." in said


def test_a_failed_experiment_has_no_words(lab):
    asked = experiment("Exp9", TFC, lab_with(TFC, {}))
    assert explain(Outcome(asked, None, "no"), lab[TFC], DESIGNS[TFC]) == []
    assert "baseline" not in words(made("Exp1", TFC, {}), Outcome(asked, None, "no"))


def test_a_converter_slower_than_every_layer_is_the_bottleneck(lab):
    folding = {"Thresholding_rtl_0": {"PE": 8}, "MVAU_hls_0": {"PE": 32, "SIMD": 28}}
    found = made("Exp2b", TFC, folding)
    said = words(found, lab[TFC])
    # 56 values are 7 words of 8 and 2 of 28; 7 + 2 - 1 cycles each, 14 times a frame
    assert (
        "The width converter (StreamingDataWidthConverter_rtl_0) makes words of 28 values for MVAU_hls_0 out of words "
        "of 8 from Thresholding_rtl_0: for 56 values 7 words in and 2 out, of which it does no more than one of each "
        "in the same cycle, 112 cycles a frame." in said
    )
    assert (
        "fold the layers beside StreamingDataWidthConverter_rtl_0 to widths of which one is a multiple"
        in said
    )
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
    said = words(found, lab[network])
    numbers = {
        int(text.replace(",", "")) for text in re.findall(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?![\w.]\d)", said)
    }
    assert len(numbers) > 5
    assert numbers <= known, sorted(numbers - known)
