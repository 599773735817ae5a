"""The fake refuses what hardware refuses; what both doors promise is in tests/contract."""

import numpy as np
import pytest

from labd_shared.errors import BoardError, BusFault, DmaBusy, OutOfMemory, UnknownName
from labd_shared.registers import Control, Iodma
from support.bundles import fake_board


@pytest.fixture
def board():
    device = fake_board()
    device.program("accel.bit")
    return device


def test_nothing_answers_before_a_bitfile_is_programmed():
    with pytest.raises(BoardError, match="nothing is programmed"):
        fake_board().registers("idma0")


def test_an_unknown_block_offers_the_nearest(board):
    with pytest.raises(UnknownName, match="no block named 'idma1'") as caught:
        board.registers("idma1")
    assert caught.value.fix == "did you mean 'idma0'?"


def test_an_unmapped_offset_faults(board):
    with pytest.raises(BusFault, match=r"nothing answers at odma0 \+ 0x20"):
        board.registers("odma0").read(0x20)
    with pytest.raises(BusFault, match=r"nothing answers at idma0 \+ 0x2"):
        board.registers("idma0").write(0x02, 1)


def test_a_busy_dma_cannot_be_started(board):
    odma = board.registers("odma0")
    odma.write(Iodma.CONTROL, Control.START)
    assert not odma.read(Iodma.CONTROL) & Control.IDLE
    with pytest.raises(DmaBusy, match="odma0 was started while it was still running"):
        odma.write(Iodma.CONTROL, Control.START)


def test_memory_is_finite_and_comes_back(board):
    first = board.allocate((100 << 20,))
    with pytest.raises(OutOfMemory, match="were asked for, 29360128 are free"):
        board.allocate((40 << 20,))
    first.free()
    first.free()
    assert board.allocate((120 << 20,)).physical_address == first.physical_address


def test_memory_is_not_born_zero_and_not_coherent(board):
    buffer = board.allocate((4, 4))
    assert buffer.array.any() and buffer.dram.any()
    buffer.array[...] = 7
    assert not (buffer.dram == 7).any()
    buffer.flush()
    assert (buffer.dram == 7).all()
    buffer.dram[...] = 9
    assert (buffer.array == 7).all()
    buffer.invalidate()
    assert (buffer.array == 9).all()


def test_a_dma_pointed_outside_every_buffer_faults(board):
    odma, idma = board.registers("odma0"), board.registers("idma0")
    for dma in (odma, idma):
        dma.write(Iodma.ADDRESS_LOW, 0x1000)
        dma.write(Iodma.REPETITIONS, 1)
    odma.write(Iodma.CONTROL, Control.START)
    with pytest.raises(BusFault, match="was pointed at 0x1000"):
        idma.write(Iodma.CONTROL, Control.START)


def test_an_output_that_waits_for_more_frames_than_come_in_never_finishes(board):
    taken, given = board.allocate((2, 16, 49)), board.allocate((2, 1, 1))
    for name, buffer, frames in (("odma0", given, 2), ("idma0", taken, 1)):
        dma = board.registers(name)
        dma.write(Iodma.ADDRESS_LOW, buffer.physical_address)
        dma.write(Iodma.REPETITIONS, frames)
        dma.write(Iodma.CONTROL, Control.START)
    board.advance_s(60.0)
    assert board.registers("idma0").read(Iodma.CONTROL) & Control.DONE
    assert not board.registers("odma0").read(Iodma.CONTROL) & Control.DONE


@pytest.mark.parametrize(
    "asked, got", [(100.0, 100.0), (50.0, 50.0), (142.0, 1000.0 / 7), (33.0, 1000.0 / 30)]
)
def test_the_clock_is_what_the_dividers_reach(board, asked, got):
    assert board.set_clock_mhz(asked) == pytest.approx(got)


def test_history_says_what_was_written(board):
    board.registers("idma0").write(Iodma.REPETITIONS, 3)
    assert board.history == [("idma0", "REPETITIONS", 3)]


def test_the_model_sees_normal_shapes(board):
    seen = []

    def model(images):
        seen.append(images.shape)
        return np.zeros((len(images), 1), np.int64)

    device = fake_board(model)
    device.program("accel.bit")
    taken, given = device.allocate((2, 16, 49)), device.allocate((2, 1, 1))
    for name, buffer in (("odma0", given), ("idma0", taken)):
        dma = device.registers(name)
        dma.write(Iodma.ADDRESS_LOW, buffer.physical_address)
        dma.write(Iodma.REPETITIONS, 2)
        dma.write(Iodma.CONTROL, Control.START)
    assert seen == [(2, 784)]
