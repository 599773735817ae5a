"""Two sets of buffers: one is packed while the other one is computed."""

import numpy as np
import pytest

from labd_board.accelerator import Accelerator
from labd_shared.bundle import open_bundle
from labd_shared.errors import OutputStuck
from support.bundles import darkness, fake_board, write_bundle


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_bundle(tmp_path / "tiny"))


@pytest.fixture
def images(rng):
    return (rng.randint(0, 256, (200, 28, 28, 1)) * rng.rand(200, 1, 1, 1)).astype(np.uint8)


class Slow(object):
    """A source whose reading takes *read_s* on the wall clock; it remembers what ran meanwhile."""

    def __init__(self, images, read_s, board):
        self.images, self.read_s, self.board = images, read_s, board
        self.dtype = images.dtype
        self.time_s = 0.0
        self.busy = []

    def read_into(self, start, out):
        self.time_s += self.read_s
        self.busy.append(not self.board.registers("odma0").idle)
        out[...] = self.images[start : start + len(out)].reshape(out.shape)

    def monotonic_s(self):
        return self.time_s


def streamed(bundle, images, read_s, board=None, **options):
    board = board or fake_board()
    free_bytes = board.contiguous_free_bytes()
    source = Slow(images, read_s, board)
    with Accelerator(bundle, board, 20, source.monotonic_s, **options) as accelerator:
        parts = list(accelerator.stream(source, len(images)))
        overlaps = accelerator.overlaps
    assert [start for start, _, _ in parts] == list(range(0, len(images), 20))
    assert np.array_equal(np.concatenate([answers for _, answers, _ in parts]), darkness(images))
    assert board.contiguous_free_bytes() == free_bytes
    return overlaps, source.busy


def test_the_next_batch_is_packed_while_one_runs(bundle, images):
    overlaps, busy = streamed(bundle, images, read_s=1e-4)
    assert overlaps and busy == [False, False] + [True] * 8, "the first batch is measured alone"


def test_it_is_left_out_where_packing_costs_next_to_nothing(bundle, images):
    overlaps, busy = streamed(bundle, images, read_s=1e-9)
    assert not overlaps and busy == [False] * 10


def test_it_is_left_out_for_two_batches(bundle, images):
    assert streamed(bundle, images[:40], read_s=1e-4) == (False, [False, False])


def test_too_little_memory_for_it_is_said_and_the_run_goes_on(bundle, images):
    said = []
    assert not streamed(bundle, images, 1e-4, fake_board(cma_bytes=6 * 4096), say=said.append)[0]
    assert len(set(said)) == 1 and said[0].startswith("no double buffering: ")


def test_a_stream_that_is_left_does_not_disturb_the_next_run(bundle, images):
    board = fake_board()
    source = Slow(images, 1e-4, board)
    with Accelerator(bundle, board, 20, source.monotonic_s) as accelerator:
        for start, _, _ in accelerator.stream(source, 200):
            if start == 60:
                break
        assert not board.registers("odma0").idle
        assert np.array_equal(accelerator.run(images[:30]), darkness(images[:30]))


def test_an_interrupt_frees_no_buffer_that_a_dma_still_writes_to(bundle, images):
    board = fake_board()
    source = Slow(images, 1e-4, board)
    freed_while_running = []
    release = board.release

    def watched(buffer):
        freed_while_running.append(not board.registers("odma0").idle)
        release(buffer)

    board.release = watched
    with pytest.raises(KeyboardInterrupt):
        with Accelerator(bundle, board, 20, source.monotonic_s) as accelerator:
            for start, _, _ in accelerator.stream(source, 200):
                if start == 60:
                    raise KeyboardInterrupt
    assert freed_while_running == [False] * 4
    assert board.contiguous_free_bytes() == 128 << 20


def test_what_never_ends_is_programmed_again_before_its_buffers_are_freed(bundle, images):
    board = fake_board()
    source = Slow(images, 1e-4, board)
    programmed = []
    program = board.program

    def watched(bitfile):
        programmed.append(board.contiguous_free_bytes())
        program(bitfile)

    board.program = watched
    with pytest.raises(OutputStuck):
        with Accelerator(bundle, board, 20, source.monotonic_s) as accelerator:
            for start, _, _ in accelerator.stream(source, 200):
                board.stuck = ("odma0",) if start == 60 else ()
    assert programmed[0] == 128 << 20 and programmed[1] < 128 << 20 and len(programmed) == 2
    with Accelerator(bundle, board, 20) as accelerator:
        assert np.array_equal(accelerator.run(images), darkness(images))


def test_after_a_deadline_the_same_accelerator_recovers(bundle, images):
    board = fake_board(stuck=("odma0",))
    with Accelerator(bundle, board, 20) as accelerator:
        with pytest.raises(OutputStuck):
            accelerator.run(images)
        board.stuck = ()
        accelerator.recover()
        assert np.array_equal(accelerator.run(images), darkness(images))
