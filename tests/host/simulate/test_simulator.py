"""The cycle-accurate simulator against a slow obvious one, and against what Verilator measured."""

import random
from dataclasses import replace

import numpy as np
import pytest

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import FoldedChain, design_of
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.dataflow.layers import (
    GlobalPool,
    LabelSelect,
    MaxPool,
    Mvau,
    Padding,
    SlidingWindow,
    Thresholding,
    Upsample,
    Vvau,
    WidthConverter,
)
from labd_host.dataflow.programs import (
    HLS,
    READ,
    WRITE,
    Gear,
    Loop,
    Window,
    giving,
    taking,
    words_read,
    words_written,
)
from labd_host.explore import calibration
from labd_host.explore.choices import choices_of, finn_costs, stages_of
from labd_host.networks import NETWORKS
from labd_host.simulate.fifos import unbounded
from labd_host.simulate.pipeline import Fifo, Machine, PipelineUnit, assemble
from labd_host.simulate.simulator import BLOCKED, IDLE, STARVED, WORKING, Deadlock, simulate
from labd_shared.errors import UsageError
from labd_shared.tensors import make_tensor
from support import slow_simulator


def window(kernel, side, channels, simd, stride, *, depthwise=False, parallel=False, dilation=1):
    return SlidingWindow(
        "ConvolutionInputGenerator_rtl_0", channels, side, side, kernel, kernel, stride, stride,
        dilation, dilation, depthwise, parallel, simd, "INT4", "INT4",
    )  # fmt: skip


def alone(program, depth=2):
    """*program* fed and emptied a word a cycle."""
    source = giving(words_read(program))
    sink = taking(words_written(program))
    units = (
        PipelineUnit("source", "source", source, (), (0,)),
        PipelineUnit("unit", "unit", program, (0,), (1,)),
        PipelineUnit("sink", "sink", sink, (1,), ()),
    )
    return Machine("alone", units, (Fifo("in", depth, 1), Fifo("out", depth, 1)))


@pytest.mark.parametrize(
    ("layer", "measured"),
    [
        (window(3, 32, 3, 3, 1), 8160),
        (window(3, 30, 64, 32, 1), 14222),
        (window(3, 12, 128, 32, 1), 3674),
        (window(3, 3, 256, 32, 1), 74),
        (window(3, 34, 16, 2, 2), 18938),
        (window(2, 28, 64, 64, 2), 812),
        (window(3, 16, 16, 4, 1, depthwise=True), 7186),
    ],
)
def test_windows_take_the_cycles_that_verilator_measured_of_finn_s_rtl(layer, measured):
    found = simulate(alone(layer.program()), 4)
    assert set(np.diff(found.finished)[1:]) == {measured}


def test_rtl_units_take_as_long_as_verilator_measured():
    fifos = 2  # the one in front and the one behind take a cycle each
    mvau = Mvau("MVAU_rtl_0", 64, 16, 1, 4, 8, 0, False, "INT4", "INT4", "INT16", 0)
    found = simulate(alone(mvau.program()), 3)
    assert found.latency_cycles - fifos == 40
    assert found.interval_cycles == 32
    thresholding = Thresholding("Thresholding_rtl_0", 64, 1, 4, 1, "INT4", "BINARY", 0)
    found = simulate(alone(thresholding.program()), 3)
    assert found.latency_cycles - fifos == 15 + 4, "16 words, the last of them 4 cycles later"
    assert found.interval_cycles == 16


@pytest.mark.parametrize(("pe", "simd"), [(1, 1), (2, 3), (6, 9)])
def test_a_depthwise_product_gives_a_sum_with_the_last_word_of_its_window(pe, simd):
    layer = Vvau("VVAU_hls_0", 6, 9, 4, pe, simd, 0, "UINT4", "INT4", "INT12", 0)
    words = 9 // simd
    found = words_out(layer.program(), layer.cycles, 4 * 6 // pe)
    assert found == [(each + 1) * words - 1 + layer.hls_latency(HLS) for each in range(4 * 6 // pe)]
    found = simulate(alone(layer.program()), 4).interval_cycles
    assert found == layer.cycles + layer.restart_cycles == 4 * 6 * 9 // (pe * simd) + layer.restart_cycles


@pytest.mark.parametrize("whole", [False, True])
def test_a_depthwise_product_keeps_up_with_its_window(whole):
    before = window(3, 16, 4, 2, 1, depthwise=True, parallel=whole)
    layer = Vvau("VVAU_hls_0", 4, 9, 14 * 14, 2, 9 if whole else 1, 0, "INT4", "INT4", "INT12", 0)
    source = make_tensor("in", "INT4", (1, 16, 16, 4), (1, 16, 16, 2, 2), "NHWC", "idma0")
    sink = make_tensor("out", "INT12", (1, 14, 14, 4), (1, 14, 14, 2, 2), "NHWC", "odma0")
    found = simulate(assemble(FoldedChain("small", (before, layer), (source,), (sink,))), 6)
    slowest = max(each.cycles + each.restart_cycles for each in (before, layer))
    assert 0.95 * slowest <= found.interval_cycles <= slowest, "the pair is as fast as its slower half"


def larger(scales=(2, 2), sizes=(3, 4), channels=4, simd=2):
    return Upsample("UpsampleNearestNeighbour_hls_0", channels, *sizes, *scales, simd, "INT4", "INT4")


@pytest.mark.parametrize("scales", [(2, 2), (1, 3), (4, 1), (3, 2)])
def test_an_upsampling_gives_a_word_a_cycle_from_four_cycles_after_the_first(scales):
    layer = larger(scales)
    found = words_out(layer.program(), 3 * 4 * 2, layer.cycles)
    assert found == [4 + each for each in range(layer.cycles)]
    assert simulate(alone(layer.program()), 4).interval_cycles == layer.cycles


def test_an_upsampling_takes_words_at_their_pace_while_it_repeats_rows():
    """Its buffer holds the map: a unit that gives a word every four cycles is never held up by repeated rows."""
    layer = larger((2, 2), (4, 4), 1, 1)
    units = (
        PipelineUnit("source", "source", giving(16, 4), (), (0,)),
        PipelineUnit("unit", "unit", layer.program(), (0,), (1,)),
        PipelineUnit("sink", "sink", taking(64), (1,), ()),
    )
    found = simulate(Machine("paced", units, (Fifo("in", 2, 1), Fifo("out", 2, 1))), 6)
    assert found.interval_cycles == 64


@pytest.mark.parametrize("pe", [1, 2, 6])
def test_a_global_pool_gives_its_sums_when_it_has_read_the_whole_map(pe):
    layer = GlobalPool("GlobalAccPool_rtl_0", 6, 4, 4, pe, "UINT4", "UINT8")
    folds = 6 // pe
    found = words_out(layer.program(), 16 * folds, folds)
    assert found == [16 * folds + layer.rtl_latency() + each for each in range(folds)]
    assert simulate(alone(layer.program()), 4).interval_cycles == layer.cycles == 17 * folds
    hls = replace(layer, name="GlobalAccPool_hls_0")
    assert simulate(alone(hls.program()), 4).interval_cycles == hls.cycles + hls.restart_cycles


def words_out(program, words, count):
    """The cycles in which *program* writes its first *count* words, fed *words* a frame without a pause."""
    units = (
        PipelineUnit("source", "source", giving(words), (), (0,)),
        PipelineUnit("unit", "unit", program, (0,), (1,)),
        PipelineUnit("sink", "sink", taking(1), (1,), ()),
    )
    found = simulate(Machine("measured", units, (Fifo("in", 2, 1), Fifo("out", 2, 1))), count)
    return [int(cycle) - 2 for cycle in found.finished]  # the two FIFOs


@pytest.mark.parametrize(
    ("thresholds", "first"), [(1, 4), (3, 6), (255, 18)], ids=["1 bit", "2 bits", "8 bits"]
)
def test_thresholds_take_as_long_as_verilator_measured(thresholds, first):
    layer = Thresholding("Thresholding_rtl_0", 16, 1, 4, thresholds, "INT8", "INT8", 0)
    assert words_out(layer.program(), 4, 6) == list(range(first, first + 6))


@pytest.mark.parametrize(
    ("takes", "gives", "measured"),
    [
        (6, 4, [1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 19, 20, 21, 23, 24, 25, 27]),
        (8, 49, list(range(7, 113, 7))),
    ],
)
def test_converters_give_their_words_when_verilator_saw_them(takes, gives, measured):
    assert (
        words_out(WidthConverter(takes, gives).program(), 98, len(measured)) == measured
    )  # dwc_axi of finn-plus 1.6.1


@pytest.mark.parametrize(
    ("takes", "gives", "words", "cycles"),
    [
        (4, 3, 7999, 12000),
        (3, 4, 5999, 12000),
        (2, 5, 3999, 12000),
        (8, 4, 11999, 12000),
        (5, 3, 8571, 12000),
    ],
)
def test_converters_keep_the_rate_that_verilator_measured(takes, gives, words, cycles):
    # vpc.sv of finn-plus 1.6.1, with a word to take and room to give in each of 12,000 cycles
    assert WidthConverter(takes, gives).cycles(words * gives) == pytest.approx(cycles, abs=takes + gives)
    written = words_out(WidthConverter(takes, gives).program(), 120_000 // takes * takes, words)
    assert written[-1] == pytest.approx(cycles, abs=takes + gives)


@pytest.mark.parametrize(
    ("name", "most_cycles"), [("tfc-w1a1", 200), ("cnv-w1a1", 20_000), ("vgg9-w1a1", 20_000)]
)
def test_what_is_predicted_is_simulated_where_no_fifo_fills(name, most_cycles):
    design, draw = design_of(NETWORKS[name]), random.Random(20261124)
    costs = finn_costs(calibration.read(calibration.SHIPPED))
    stages = [list(choices_of(stage, costs, most_cycles)) for stage in stages_of(design)]
    bottlenecks = set()
    for _ in range(12):
        settings = {node: each for stage in stages for node, each in draw.choice(stage).settings.items()}
        folded = design.folded(Folding("drawn", settings, {}))
        expected = estimate(folded.layers, folded.inputs, folded.outputs)
        simulated = unbounded(assemble(folded), 6).interval_cycles
        bottleneck = expected.bottleneck.partition("_")[0]
        if bottleneck == "ConvolutionInputGenerator":  # FINN counts some more than they take
            assert 0.8 * expected.cycles_per_frame < simulated <= expected.cycles_per_frame, settings
        else:
            assert simulated == expected.cycles_per_frame, settings
        bottlenecks.add(bottleneck)
    assert WidthConverter.op in bottlenecks or not any(
        isinstance(layer, SlidingWindow) for layer in design.layers
    )


def test_padding_gives_a_word_a_cycle_as_verilator_saw_it():
    layer = Padding("FMPadding_rtl_0", 4, 3, 3, 1, 1, 1, 1, 2, "INT4", "INT4")
    found = words_out(layer.program(), 18, 100)
    assert np.diff(found).tolist() == [1] * 99
    assert found[0] == 1 - 1, "the first row needs no input, so it does not wait for the FIFO in front"


def test_an_hls_unit_is_empty_before_it_starts_again():
    mvau = Mvau("MVAU_hls_0", 784, 64, 1, 32, 112, 1, True, "BINARY", "BINARY", "BINARY", 0)
    assert simulate(alone(mvau.program()), 4).interval_cycles == 14 + 6, "14 steps"
    assert simulate(alone(replace(mvau, name="MVAU_rtl_0").program()), 4).interval_cycles == 14


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_window_writes_the_words_of_im2col(stride, dilation, depthwise):
    layer = window(3, 9, 6, 2, stride, depthwise=depthwise, dilation=dilation)
    groups = layer.channels // layer.simd
    words = np.arange(9 * 9 * groups).reshape(9, 9, groups)
    expected = []
    for row in range(0, 9 - 2 * dilation, stride):
        for column in range(0, 9 - 2 * dilation, stride):
            patch = words[
                row : row + 2 * dilation + 1 : dilation, column : column + 2 * dilation + 1 : dilation
            ]
            expected += list((patch.transpose(2, 0, 1) if depthwise else patch).ravel())
    assert list(layer.program().needs) == expected


def random_layer(draw, values, channels, side):
    """A layer that takes a map of *side* x *side* x *channels*, or *values* values; and what it leaves."""

    def divisor(extent):
        return draw.choice([each for each in range(1, extent + 1) if extent % each == 0])

    maps = ["window", "pool", "padding", "larger", "depthwise"] if side else []
    kind = draw.choice(["mvau", "threshold", *maps])
    if kind == "mvau":
        rows = draw.choice([2, 3, 4, 6])
        columns, vectors = (channels, side * side) if side else (values, 1)
        hls = draw.choice(["hls", "rtl"])
        layer = Mvau(
            f"MVAU_{hls}_0", columns, rows, vectors, divisor(rows), divisor(columns), 1, False,
            "INT4", "INT4", "INT4", 0,
        )  # fmt: skip
        return [layer], rows, side
    if kind == "threshold":
        extent, vectors = (channels, side * side) if side else (values, 1)
        name, steps = "Thresholding_rtl_0", draw.choice([1, 3, 15])
        return (
            [Thresholding(name, extent, vectors, divisor(extent), steps, "INT4", "INT4", 0)],
            channels,
            side,
        )
    if kind == "padding":
        layer = Padding(
            "FMPadding_rtl_0", channels, side, side, 1, 1, 1, 1, divisor(channels), "INT4", "INT4"
        )
        return [layer], channels, side + 2
    if kind == "larger" and side <= 6:
        scale = draw.choice([2, 3])
        return [larger((scale, scale), (side, side), channels, divisor(channels))], channels, side * scale
    if kind == "depthwise" and side >= 3:
        simd, whole = divisor(channels), draw.random() < 0.5
        before = window(3, side, channels, simd, draw.choice([1, 2]), depthwise=True, parallel=whole)
        places = draw.choice([1, 3, 9]) if whole else 1
        kinds = ("INT4", "INT4", "INT4", 0)
        after = Vvau("VVAU_hls_0", channels, 9, before.out_height**2, simd, places, 1, *kinds)
        return [before, after], channels, before.out_height
    if kind == "window" and side >= 3:
        parallel = draw.random() < 0.4
        simd = channels if parallel else divisor(channels)
        layer = window(3, side, channels, simd, draw.choice([1, 2]), parallel=parallel)
        rows = draw.choice([2, 4])
        after = Mvau(
            "MVAU_hls_1", 9 * channels, rows, layer.out_height**2, divisor(rows), divisor(9 * channels), 1,
            False, "INT4", "INT4", "INT4", 0,
        )  # fmt: skip
        return [layer, after], rows, layer.out_height
    if side >= 2:
        simd = divisor(channels)
        layer = window(2, side, channels, simd, 2, depthwise=True, parallel=draw.random() < 0.3)
        pool = MaxPool("Pool_hls_0", channels, layer.out_height**2, 4, simd, "INT4", "INT4")
        return (
            ([layer] if layer.parallel else [layer, pool]),
            channels * (4 if layer.parallel else 1),
            (layer.out_height),
        )
    return random_layer(draw, values, channels, side)


def random_design(draw):
    side, channels = draw.choice([0, 4, 5, 6]), draw.choice([2, 3, 4, 6])
    values = 12
    layers = []
    for _ in range(draw.choice([2, 3])):
        more, channels, side = random_layer(draw, values, channels, side)
        layers += more
        values = layers[-1].out_values
    named = [replace(layer, name=f"{layer.name[:-2]}_{index}") for index, layer in enumerate(layers)]
    named.append(LabelSelect("LabelSelect_hls_0", values, draw.choice([1, values]), "INT4", "UINT8"))
    count = named[0].in_values
    lanes = named[0].words[0]
    first = make_tensor("in", "UINT8", (1, count), (1, count // lanes, lanes), "NC", "idma0")
    last = make_tensor("out", "UINT8", (1, 1), (1, 1, 1), "NC", "odma0")
    return FoldedChain("random", tuple(named), (first,), (last,))


@pytest.mark.parametrize("seed", range(60))
def test_small_random_designs_run_as_in_the_slow_simulator(seed):
    draw = random.Random(seed)
    design = random_design(draw)
    machine = assemble(design, dma=draw.random() < 0.5)
    machine = machine.with_depths([draw.choice([1, 2, 2, 3, 9]) for _ in machine.fifos])
    slow = slow_simulator.run(machine, 3)
    assert slow is not None
    fast = simulate(machine, 3)
    assert (list(fast.finished), list(fast.high_water)) == slow, design
    assert (fast.busy.sum(axis=1) == fast.cycles).all()


def fork_and_join(short, delay=8):
    """A stream that forks, delays one branch by *delay* words, and joins: a residual connection."""
    both = np.full(16, READ | WRITE, np.uint8)
    late = np.concatenate([np.full(delay, READ), np.full(16 - delay, READ | WRITE), np.full(delay, WRITE)])
    units = (
        PipelineUnit("source", "source", giving(16), (), (0,)),
        PipelineUnit("fork", "DuplicateStreams", Loop(both, 1, 1), (0,), (1, 2)),
        PipelineUnit("branch", "branch", Loop(late.astype(np.uint8), 1, 1), (1,), (3,)),
        PipelineUnit("join", "AddStreams", Loop(both, 1, 1), (2, 3), (4,)),
        PipelineUnit("sink", "sink", taking(16), (4,), ()),
    )
    names = ("first", "to_branch", "bypass", "from_branch", "last")
    depths = (2, 2, short, 2, 2)
    return Machine("residual", units, tuple(Fifo(*each, 8) for each in zip(names, depths, strict=True)))


def test_a_bypass_that_is_too_short_is_a_deadlock_and_explained():
    with pytest.raises(Deadlock) as caught:
        simulate(fork_and_join(short=4), 1)
    assert "0 of 1 frames done" in caught.value.what
    assert "fork waits for bypass (depth 4) to have room" in caught.value.what
    assert "join waits for a word in from_branch" in caught.value.what
    assert "--size-fifos" in caught.value.fix


@pytest.mark.parametrize("short", range(1, 14))
def test_the_least_bypass_that_lives_is_that_of_the_slow_simulator(short):
    slow = slow_simulator.run(fork_and_join(short), 2)
    if slow is None:
        with pytest.raises(Deadlock):
            simulate(fork_and_join(short), 2)
    else:
        assert list(simulate(fork_and_join(short), 2).finished) == slow[0]


def test_stalls_are_counted_where_they_are():
    found = simulate(alone(Loop(np.array([READ | WRITE, 0, 0, 0], np.uint8), 25, 1)), 1)
    source, unit, sink = found.busy
    assert unit[WORKING] > 95
    assert unit[STARVED] == 1, "until the first word is there"
    assert source[BLOCKED] > 60
    assert source[WORKING] == 25
    assert sink[WORKING] == 25
    assert sink[STARVED] == found.cycles - 25
    assert source[IDLE] == found.cycles - source[BLOCKED] - 25
    assert found.bottleneck.name == "unit"


def test_a_trace_sums_up_to_the_run():
    design = design_of(NETWORKS["tfc-w1a1"]).folded(load_folding("lab", "tfc-w1a1"))
    plain = simulate(assemble(design), 3)
    found = simulate(assemble(design), 3, trace_rows=50)
    assert found.trace is not None
    assert len(found.trace.units) <= 50
    assert np.array_equal(found.trace.units.sum(axis=0), plain.busy)
    assert np.array_equal(found.trace.fifos.max(axis=0), plain.high_water)
    assert list(found.finished) == list(plain.finished)


def test_a_converter_that_never_fills_a_word_is_a_deadlock():
    units = (
        PipelineUnit("source", "source", giving(3), (), (0,)),
        PipelineUnit("converter", "converter", Gear(1, 4), (0,), (1,)),
        PipelineUnit("sink", "sink", taking(1), (1,), ()),
    )
    with pytest.raises(Deadlock, match="0 of 1 frames done: no FIFO is full, .* no whole frame"):
        simulate(Machine("odd", units, (Fifo("a", 2, 1), Fifo("b", 2, 1))), 1)


def test_a_run_in_parts_is_the_same_run(monkeypatch):
    design = design_of(NETWORKS["tfc-w1a1"]).folded(load_folding("lab", "tfc-w1a1"))
    machine = assemble(design)
    whole = simulate(machine, 5)
    monkeypatch.setattr("labd_host.simulate.simulator.UNIT_CYCLES_AT_ONCE", 7 * len(machine.units))
    parts = simulate(machine, 5)
    assert list(parts.finished) == list(whole.finished)
    assert np.array_equal(parts.busy, whole.busy)


@pytest.mark.parametrize("seed", range(10))
def test_quiet_cycles_counted_at_once_are_those_counted_one_by_one(seed, monkeypatch):
    """One cycle a call leaves nothing to be counted at once."""
    layers = design_of(NETWORKS["tfc-w1a1"]).folded(load_folding("lab", "tfc-w1a1")).layers
    draw = random.Random(seed)
    slow = replace(layers[2], pe=draw.choice([1, 4]), simd=draw.choice([1, 2, 8]))
    machine = alone(slow.program(), draw.choice([1, 2, 9])) if seed % 2 else assemble(random_design(draw))
    frames = 2
    at_once = simulate(machine, frames, trace_rows=50)
    monkeypatch.setattr("labd_host.simulate.simulator.UNIT_CYCLES_AT_ONCE", len(machine.units))
    one_by_one = simulate(machine, frames, trace_rows=50)
    assert list(at_once.finished) == list(one_by_one.finished)
    assert np.array_equal(at_once.busy, one_by_one.busy)
    assert np.array_equal(at_once.high_water, one_by_one.high_water)
    assert np.array_equal(at_once.trace.units, one_by_one.trace.units)
    assert np.array_equal(at_once.trace.fifos, one_by_one.trace.fifos)


def test_frames_and_cycles_have_bounds():
    machine = alone(window(3, 9, 2, 2, 1).program())
    with pytest.raises(UsageError, match="0 frames"):
        simulate(machine, 0)
    with pytest.raises(UsageError, match=r"gave 2 of 100 frames in 1,000 cycles"):
        simulate(machine, 100, max_cycles=1000)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_window_keeps_what_later_windows_need(depthwise):
    program = window(3, 10, 4, 2, 2, depthwise=depthwise).program()
    assert isinstance(program, Window)
    words = 9 if depthwise else 18
    needs, keeps = program.needs.reshape(-1, words), program.keeps.reshape(-1, words)
    for index in range(len(needs) - 1):
        assert keeps[index].max() <= needs[index + 1 :].min()
        assert needs[index].max() - keeps[index].min() < program.buffer
