"""What the self-test says is wrong: the hardware, the data preparation or the bundle."""

import numpy as np
import pytest

from labd_board import selftest as selftest_module
from labd_board.accelerator import Accelerator
from labd_board.fake import FakeBuffer
from labd_board.selftest import selftest
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import (
    AnswersVary,
    FifoStuck,
    GoldenMismatch,
    InputStuck,
    OtherNetwork,
    PreparationWrong,
    StaleAnswers,
)
from labd_shared.wire import find_error
from support.bundles import darkness, fake_board, golden_images, write_bundle
from support.facts import lacking


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_bundle(tmp_path / "tiny"))


def verdict(bundle, model=darkness, expected=GoldenMismatch):
    with Accelerator(bundle, fake_board(model)) as accelerator:
        with pytest.raises(GoldenMismatch if issubclass(expected, GoldenMismatch) else expected) as caught:
            selftest(accelerator, load_golden(bundle), passes=2)
    assert type(caught.value) is expected, caught.value
    return caught.value.what


def test_all_answers_steadily_wrong_mean_another_network(bundle):
    said = verdict(bundle, lambda images: 9 - darkness(images), OtherNetwork)
    assert lacking(said, "20 of 20 samples", "same way each time", "the bundle is wrong") == []


def test_an_accelerator_that_always_says_the_same_is_no_stale_buffer(bundle):
    assert "19 of 20 samples are wrong" in verdict(
        bundle, lambda images: darkness(images) * 0 + 9, OtherNetwork
    )


def test_some_answers_steadily_wrong_mean_the_bitfile(bundle):
    image = golden_images()[7].reshape(784)

    def model(images):
        return darkness(images) + (images == image).all(axis=1, keepdims=True)

    said = verdict(bundle, model)
    assert (
        said.startswith("golden sample 7 gave [")
        and "1 of 20 samples are wrong, the same way each time" in said
    )


def test_answers_that_vary_mean_the_hardware(bundle):
    calls = []

    def model(images):
        calls.append(1)
        return darkness(images) + (len(calls) in (3, 9))

    said = verdict(bundle, model, AnswersVary)
    assert lacking(said, "2 of 20 samples", "different answers", "the hardware is wrong") == []


def test_answers_of_the_batch_before_mean_a_stale_buffer(bundle, monkeypatch):
    real, calls = FakeBuffer.invalidate, []

    def sometimes(buffer):
        calls.append(1)
        if len(calls) % 3:
            real(buffer)

    monkeypatch.setattr(FakeBuffer, "invalidate", sometimes)
    said = verdict(bundle, expected=StaleAnswers)
    assert lacking(said, "every wrong answer", "the batch before") == []


def test_a_packer_that_loses_values_is_found_before_the_accelerator_is_blamed(bundle, monkeypatch):
    real = selftest_module.pack_tensor

    def lossy(values, tensor):
        return real(values & 0xFE, tensor)

    monkeypatch.setattr(selftest_module, "pack_tensor", lossy)
    said = verdict(bundle, expected=PreparationWrong)
    assert "does not survive packing as UINT8" in said and np.__version__ in said


@pytest.mark.parametrize(
    "most, expected, why",
    [
        (0, InputStuck, "it is the input DMA"),
        (1, FifoStuck, "a FIFO is too small"),
    ],
)
def test_one_frame_alone_tells_a_small_fifo_from_a_dead_input(
    bundle, capsys, monkeypatch, most, expected, why
):
    monkeypatch.setenv("LABD_ERRORS", "wire")
    board = fake_board()
    started = board.dma_started

    def room_for_few():
        board.stuck = ("idma0",) if board.registers("idma0").frames > most else ()
        started()

    board.dma_started = room_for_few
    assert selftest_module.main(["--bundle", str(bundle.folder)], board) == 6
    said = capsys.readouterr().err
    assert type(find_error(said)) is expected and why in find_error(said).what
