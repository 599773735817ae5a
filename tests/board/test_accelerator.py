import re

import numpy as np
import pytest

from labd_board.accelerator import Accelerator
from labd_board.device import Registers
from labd_board.dma import DmaEngine
from labd_board.fake import FakeBuffer, FakeDevice
from labd_board.opened_device import CLOCK_AT_LEAST
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import (
    ArtifactError,
    ClockRefused,
    DatatypeError,
    DmaBusy,
    DmaTimeout,
    OutOfMemory,
    ShapeError,
    UsageError,
    WrongTarget,
)
from labd_shared.registers import Control, Iodma
from support.bundles import darkness, fake_board, write_bundle
from support.facts import lacking


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_bundle(tmp_path / "tiny"))


@pytest.fixture
def images(rng):
    return (rng.randint(0, 256, (23, 28, 28, 1)) * rng.rand(23, 1, 1, 1)).astype(np.uint8)


def test_any_number_of_frames_runs_with_any_batch_size(bundle, images):
    for batch_size in (1, 5, 7, 23, 1000):
        with Accelerator(bundle, fake_board(), batch_size) as accelerator:
            answers = accelerator.run(images)
            assert answers.shape == (23, 1) and answers.dtype == np.uint8
            assert np.array_equal(answers, darkness(images)), batch_size


def test_images_are_classified_by_name_from_the_packages_own_door(bundle, images):
    from labd_board import Accelerator as Door

    with Door(bundle, fake_board()) as accelerator:
        told = accelerator.classify(images)
    names = bundle.manifest.class_names
    expected = [names[each] if each < len(names) else "no class" for each in darkness(images)[:, 0]]
    assert told == expected


def test_without_a_bundle_the_deployed_one_is_meant_and_its_absence_is_said():
    with pytest.raises(ArtifactError, match="no release is deployed here"):
        Accelerator()


def test_the_short_last_batch_uses_num_reps(bundle, images):
    board = fake_board()
    with Accelerator(bundle, board, 10) as accelerator:
        accelerator.run(images)
    repetitions = [value for _, register, value in board.history if register == "REPETITIONS"]
    assert repetitions == [10, 10, 10, 10, 3, 3]


def test_the_sink_is_started_before_the_source(bundle, images):
    board = fake_board()
    with Accelerator(bundle, board, 1000) as accelerator:
        accelerator.run(images)
    starts = [name for name, register, _ in board.history if register == "CONTROL"]
    assert starts == ["odma0", "idma0"]


def test_both_words_of_a_buffer_s_address_are_written():
    written = []

    class Recording(Registers):
        def read(self, offset):
            return int(Control.IDLE)

        def write(self, offset, value):
            written.append((offset, value))

    DmaEngine("idma0", Recording()).start(0xB0000000A, 3)
    assert written == [(0x10, 0xA), (0x14, 0xB), (0x1C, 3), (0x00, 1)]


def test_no_images_give_no_answers(bundle):
    with Accelerator(bundle, fake_board()) as accelerator:
        assert accelerator.run(np.zeros((0, 28, 28, 1), np.uint8)).shape == (0, 1)


def test_answers_do_not_share_memory_with_the_buffer(bundle, images):
    with Accelerator(bundle, fake_board(), 30) as accelerator:
        first = accelerator.run(images)
        wanted = first.copy()
        accelerator.run(255 - images)
        assert np.array_equal(first, wanted)


class Images(object):
    """A source as PackedDataset is one."""

    def __init__(self, images):
        self.images, self.dtype = images, images.dtype

    def read_into(self, start, out):
        out[...] = self.images[start : start + len(out)].reshape(out.shape)


def test_streaming_gives_every_frame_once_with_its_times(bundle, images):
    with Accelerator(bundle, fake_board(), 10) as accelerator:
        assert accelerator.takes_raw_bytes
        parts = list(accelerator.stream(Images(images), 23))
    assert [start for start, _, _ in parts] == [0, 10, 20]
    assert np.array_equal(np.concatenate([answers for _, answers, _ in parts]), darkness(images))
    assert all(times.run_s > 0 for _, _, times in parts)


def test_streaming_packs_where_pixels_are_not_the_wire_format(tmp_path, rng):
    folder = write_bundle(tmp_path / "binary", datatype="BINARY", network="binary")
    bundle = open_bundle(folder)
    images = rng.randint(0, 2, (5, 784)).astype(np.uint8)

    def model(values):
        return values.sum(axis=1, keepdims=True) % 10

    with Accelerator(bundle, fake_board(model, bundle.manifest), 2) as accelerator:
        assert not accelerator.takes_raw_bytes
        streamed = np.concatenate([answers for _, answers, _ in accelerator.stream(Images(images), 5)])
        assert np.array_equal(streamed, model(images))
        assert np.array_equal(accelerator.run(images), model(images))
        with pytest.raises(DatatypeError, match="value 2 does not fit BINARY"):
            accelerator.run(images + 1)


@pytest.mark.parametrize(
    "stuck, cause",
    [
        (("odma0",), "idma0 delivered all its frames"),
        (("idma0",), "idma0 is not done"),
    ],
)
def test_a_dma_that_never_finishes_ends_in_an_error_that_shows_the_registers(bundle, images, stuck, cause):
    with Accelerator(bundle, fake_board(stuck=stuck)) as accelerator:
        with pytest.raises(DmaTimeout, match=re.escape(cause)) as caught:
            accelerator.run(images)
    assert re.match(r"odma0 is not done 0\.\d+ s .* 23 frames, 0\.0000 s", caught.value.what)
    assert "REPETITIONS 0x00000017" in caught.value.what
    assert sorted(caught.value.facts["registers"]) == ["idma0", "odma0"]
    assert caught.value.fix.endswith("python3 -m labd_board.selftest")


def test_the_wall_ceiling_ends_a_wait_whose_device_clock_stands_still(bundle, images):
    board = fake_board(stuck=("odma0",))
    board.now_s = lambda: 1.0
    ticks = iter(range(0, 100000, 100))
    with Accelerator(bundle, board, monotonic_s=lambda: float(next(ticks))) as accelerator:
        with pytest.raises(DmaTimeout, match="odma0 is not done 0.00 s"):
            accelerator.run(images)


def test_after_a_timeout_the_next_run_says_busy_until_it_is_programmed_again(bundle, images):
    board = fake_board(stuck=("odma0",))
    accelerator = Accelerator(bundle, board)
    accelerator.open()
    with pytest.raises(DmaTimeout):
        accelerator.run(images)
    with pytest.raises(DmaBusy, match=r"odma0 is still busy .*0x1\)"):
        accelerator.run(images)
    accelerator.close()
    board.stuck = ()
    with accelerator:
        assert np.array_equal(accelerator.run(images), darkness(images))


class RecordingRegisters(Registers):
    """A DMA's registers that note when it was started, and when DONE was read, which clears it."""

    def __init__(self, name, registers, events):
        self._name = name
        self._registers = registers
        self._events = events

    def read(self, offset):
        value = self._registers.read(offset)
        if offset == Iodma.CONTROL and value & Control.DONE:
            self._events.append(self._name + " done")
        return value

    def write(self, offset, value):
        if offset == Iodma.CONTROL and value & Control.START:
            self._events.append(self._name + " started")
        self._registers.write(offset, value)


class RecordingDevice(FakeDevice):
    """A fake board that lists in `events` what happens to its DMAs."""

    events = ()

    def registers(self, block):
        return RecordingRegisters(block, super(RecordingDevice, self).registers(block), self.events)


@pytest.fixture
def recorded(bundle, monkeypatch):
    """A fake board whose `events` also list what happens to its buffers."""
    board = RecordingDevice(bundle.manifest.inputs, bundle.manifest.outputs, darkness, 98, 300)
    board.events = []

    def note(call):
        plain = getattr(FakeBuffer, call)

        def noted(buffer):
            board.events.append(call)
            plain(buffer)

        monkeypatch.setattr(FakeBuffer, call, noted)

    note("flush")
    note("invalidate")
    return board


@pytest.mark.parametrize("frames, transfers", [(1, 1), (10, 1), (23, 3)])
def test_the_done_of_each_transfer_is_seen_once(bundle, recorded, images, frames, transfers):
    with Accelerator(bundle, recorded, 10) as accelerator:
        accelerator.run(images[:frames])
        list(accelerator.stream(Images(images), frames))
    assert recorded.events.count("odma0 done") == recorded.events.count("odma0 started") == 2 * transfers
    # nobody waits for an input DMA: its DONE is read when the next transfer starts
    assert recorded.events.count("idma0 done") == 2 * transfers - 1


def test_a_done_that_a_look_at_the_registers_clears_is_not_lost(bundle, images):
    board = fake_board()
    with Accelerator(bundle, board) as accelerator:
        accelerator.run(images)
        for name in ("odma0", "idma0"):  # once more, with the addresses of the run
            engine = DmaEngine(name, board.registers(name))
            engine.start(board.registers(name).read(Iodma.ADDRESS_LOW), 1)
        board.advance_s(1.0)
        assert "DONE" in engine.registers()["CONTROL"]
        assert "DONE" not in engine.registers()["CONTROL"]
        assert engine.is_done()


def test_a_batch_is_flushed_before_its_dmas_start_and_invalidated_after_them(bundle, recorded, images):
    with Accelerator(bundle, recorded, 10) as accelerator:
        accelerator.run(images)
    events = [event for event in recorded.events if event != "idma0 done"]
    assert events == ["flush", "odma0 started", "idma0 started", "odma0 done", "invalidate"] * 3


@pytest.mark.parametrize("call", ["flush", "invalidate"])
def test_without_a_flush_or_an_invalidate_the_answers_are_wrong(bundle, images, monkeypatch, call):
    monkeypatch.setattr(FakeBuffer, call, lambda buffer: None)
    with Accelerator(bundle, fake_board()) as accelerator:
        assert not np.array_equal(accelerator.run(images), darkness(images))


def test_an_emu_bundle_is_refused_on_a_real_board(bundle):
    board = fake_board()
    board.target = "hw"
    with pytest.raises(WrongTarget, match=r"built for emulation \(target emu\), .* real board") as caught:
        Accelerator(bundle, board).open()
    assert "labd board up 03" in caught.value.fix
    assert board.programmed is None


def test_a_clock_above_the_built_one_is_refused(bundle):
    board = fake_board()
    board.set_clock_mhz = lambda mhz: 125.0
    with pytest.raises(ClockRefused, match=r"became 125.00 MHz, the bundle was built for 100.00 MHz"):
        Accelerator(bundle, board).open()


def test_a_clock_that_stays_far_below_is_refused_too(bundle):
    board = fake_board()
    board.set_clock_mhz = lambda mhz: 50.0
    with pytest.raises(ClockRefused, match=r"the clock stays at 50.00 MHz, 100.00 MHz was asked for"):
        Accelerator(bundle, board).open()


def test_every_clock_up_to_250_mhz_has_dividers_that_are_not_refused_as_too_slow():
    board = fake_board()
    for wanted in range(5, 251, 7):
        assert board.set_clock_mhz(float(wanted)) >= CLOCK_AT_LEAST * wanted


def test_the_constructor_touches_no_hardware(bundle):
    board = fake_board()
    accelerator = Accelerator(bundle, board)
    assert board.programmed is None and board.contiguous_free_bytes() == 128 << 20
    with pytest.raises(UsageError, match="the accelerator is not open"):
        accelerator.run(np.zeros((1, 784), np.uint8))


def test_closing_gives_all_memory_back(bundle, images):
    board = fake_board()
    with Accelerator(bundle, board) as accelerator:
        accelerator.run(images)
        assert board.contiguous_free_bytes() < 128 << 20
    accelerator.close()
    assert board.contiguous_free_bytes() == 128 << 20


def test_a_batch_larger_than_the_free_memory_is_split_and_the_reason_given(bundle, images):
    said = []
    board = fake_board(cma_bytes=(8 + 1) * 4096)
    with Accelerator(bundle, board, 10000, say=said.append) as accelerator:
        assert accelerator.batch_size == 8 * 4096 // 784 == 41
        assert np.array_equal(
            accelerator.run(np.tile(images, (3, 1, 1, 1))), np.tile(darkness(images), (3, 1))
        )
    assert len(said) == 1
    assert lacking(said[0], "batches of 41 frames", "10000", "7.9 MB", "0.0 MB of contiguous memory") == []
    assert board.contiguous_free_bytes() == (8 + 1) * 4096


def test_a_batch_is_halved_where_the_free_memory_lies_in_pieces(bundle, images):
    board = fake_board(cma_bytes=20 * 4096)
    taken = [board.allocate((4096,)) for _ in range(20)]
    for buffer in taken[:9] + taken[10:]:
        buffer.free()  # 19 pages are free, at most 10 in a row
    with Accelerator(bundle, board, 90) as accelerator:
        assert accelerator.batch_size == 45
        assert np.array_equal(accelerator.run(images), darkness(images))


def test_memory_for_not_even_one_frame_leaves_nothing_behind(bundle):
    board = fake_board(cma_bytes=4096)
    with pytest.raises(OutOfMemory, match="use a smaller --batchsize"):
        Accelerator(bundle, board, 10000).open()
    assert board.contiguous_free_bytes() == 4096


@pytest.mark.parametrize("shape", [(3, 28, 28, 3), (3, 783), (784,)])
def test_images_of_another_size_are_refused(bundle, shape):
    with Accelerator(bundle, fake_board()) as accelerator:
        with pytest.raises(ShapeError, match=r"takes \(n, 784\)"):
            accelerator.run(np.zeros(shape, np.uint8))


def test_values_out_of_range_are_refused(bundle):
    with Accelerator(bundle, fake_board()) as accelerator:
        with pytest.raises(DatatypeError, match="value 256 does not fit UINT8"):
            accelerator.run(np.full((1, 784), 256))
        with pytest.raises(DatatypeError, match="value 0.5 does not fit UINT8"):
            accelerator.run(np.full((1, 784), 0.5, np.float32))


def test_a_batch_of_zero_is_refused(bundle):
    with pytest.raises(UsageError, match="a batch of 0 frames"):
        Accelerator(bundle, fake_board(), 0)


def test_the_golden_samples_come_out_exactly(bundle):
    golden = load_golden(bundle)
    with Accelerator(bundle, fake_board(), 6) as accelerator:
        assert np.array_equal(accelerator.run(golden.images), golden.outputs)
