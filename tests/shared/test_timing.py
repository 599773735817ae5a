"""The time of a batch: the closed form against the mechanism, frame by frame and cycle by cycle."""

import pytest

from labd_shared.manifest import Expected
from labd_shared.rates import cycles_s, frames_per_s
from labd_shared.tensors import make_tensor
from labd_shared.timing import (
    GAP_CYCLES,
    batch_cycles,
    behind_the_dma,
    dma_cycles,
    leaving_cycles,
    requests,
)

WORDS = [1, 3, 98, 384]  # 64-bit beats a frame
FRAMES = [1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 100, 1000]


def source(beats):
    return make_tensor("in0", "UINT8", (1, 8 * beats), (1, beats, 8), "NC", "idma0")


def expected(interval, latency):
    return Expected(interval, latency, 0.0, "a layer")


def requested(frames):
    """finn-hlslib's Mem2Stream_Batch, as its loop runs: how many frames each request is for."""
    done, sizes = 0, []
    while done != frames:
        sizes.append(16 if (frames - done) & 0xF == 0 else 1)
        done += sizes[-1]
    return sizes


def simulated(frames, beats, interval, latency):
    """Cycle of each frame's departure: the DMA waits, then delivers; a frame starts an interval after the last."""
    cycle, started, leaving = 0, None, []
    for size in requested(frames):
        cycle += GAP_CYCLES
        for _ in range(size):
            cycle += beats
            started = cycle if started is None else max(cycle, started + interval)
            leaving.append(started + latency - beats)
    return leaving


@pytest.mark.parametrize("frames", FRAMES)
def test_requests_are_counted_as_the_hardware_makes_them(frames):
    assert requests(frames) == len(requested(frames))


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("beats", WORDS)
@pytest.mark.parametrize("slack", [0, 1, 4, 5, 6, 77, 78, 79, 30000])
def test_every_frame_leaves_when_the_mechanism_says(frames, beats, slack):
    interval, latency = beats + slack, 2 * beats + slack + 11
    found = leaving_cycles(expected(interval, latency), [source(beats)], frames)
    assert found.tolist() == simulated(frames, beats, interval, latency)
    assert batch_cycles(expected(interval, latency), [source(beats)], frames) == found[-1]


def test_gaps_are_hidden_behind_a_slow_layer_and_count_where_the_dma_is_the_limit():
    slow, fast = expected(32768, 40000), expected(98, 325)
    assert batch_cycles(slow, [source(98)], 1000) == GAP_CYCLES + 40000 + 999 * 32768
    assert batch_cycles(fast, [source(98)], 1000) == 325 + 999 * 98 + 70 * GAP_CYCLES


def test_nothing_takes_no_time_and_one_frame_the_latency_and_one_request():
    assert batch_cycles(expected(98, 325), [source(98)], 0) == 0
    assert batch_cycles(expected(98, 325), [source(98)], 1) == 325 + GAP_CYCLES


def test_a_latency_below_the_dma_s_own_is_not_believed():
    assert behind_the_dma(expected(98, 5), [source(98)]) == 0
    assert batch_cycles(expected(98, 5), [source(98)], 1) == 98 + GAP_CYCLES


def test_a_rate_and_the_time_of_a_frame_are_two_sides_of_one():
    assert frames_per_s(100.0, 98) == pytest.approx(1020408.16, abs=0.01)
    assert cycles_s(98, 100.0) == pytest.approx(0.98e-6)
    assert frames_per_s(142.857, 32768) * cycles_s(32768, 142.857) == pytest.approx(1.0)


def test_an_odd_frame_goes_byte_by_byte():
    assert dma_cycles(make_tensor("x", "BIPOLAR", (1, 600), (1, 15, 40), "NC", "idma0")) == 75


def test_a_frame_of_several_inputs_is_there_when_the_slowest_is():
    one, both = [source(98)], [source(12), source(98), source(3)]
    for frames in (1, 17, 100):
        found = leaving_cycles(expected(98, 325), both, frames)
        assert found.tolist() == leaving_cycles(expected(98, 325), one, frames).tolist()
