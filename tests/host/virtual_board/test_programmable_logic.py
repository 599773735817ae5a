"""The programmable logic of a virtual board: as unforgiving as silicon, on a clock the test moves."""

import threading
import time

import numpy as np
import pytest

from labd_host.dataflow.layers import GlobalPool, LabelSelect, Upsample
from labd_host.virtual_board.contiguous_memory import CMA_BASE, CMA_BYTES, ContiguousMemory
from labd_host.virtual_board.device_clock import DeviceClock
from labd_host.virtual_board.logic import SPINNING, STUCK_STEP_S, ProgrammableLogic
from labd_shared.errors import (
    ArtifactError,
    BoardError,
    BusFault,
    DigestMismatch,
    DmaBusy,
    OutOfMemory,
    UnknownName,
    WrongPart,
    WrongTarget,
)
from labd_shared.manifest import parse_manifest
from labd_shared.registers import Control, Iodma
from labd_shared.timing import GAP_CYCLES
from support.emulated import (
    INPUT,
    LATENCY_CYCLES,
    PIXELS,
    brightest,
    random_images,
    write_emulated_bundle,
)

IDMA, ODMA = 0x40000000, 0x40001000
FPGA0_CLOCK = 0xF8000170
# Eight frames at the 50 MHz after a reset. The DMA asks for each by itself (8 is no multiple of 16), 25
# beats after a gap: it is slower than the 98 cycles of the slowest layer. The rest of the latency follows.
BATCH_S = (8 * (25 + GAP_CYCLES) + LATENCY_CYCLES - 25) / 50e6
OWNER = object()


class Wall:
    """A wall clock that moves when told."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


class Board:
    """A configured logic, and the few lines of a driver."""

    def __init__(self, logic, wall):
        self.logic, self.wall = logic, wall
        self.source = logic.allocate(64 * PIXELS, OWNER)
        self.target = logic.allocate(64, OWNER)

    def put(self, images):
        self.logic.memory.view(self.source, images.size)[:] = images.reshape(-1)

    def got(self, count):
        return self.logic.memory.view(self.target, count).reshape(-1, 1).copy()

    def start(self, dma, address, frames):
        self.logic.write(dma + Iodma.ADDRESS_LOW, address)
        self.logic.write(dma + Iodma.REPETITIONS, frames)
        self.logic.write(dma + Iodma.CONTROL, Control.START)

    def start_both(self, frames):
        self.start(ODMA, self.target, frames)
        self.start(IDMA, self.source, frames)
        self.computed()

    def status(self, dma):
        return Control(self.logic.read(dma + Iodma.CONTROL))

    def computed(self):
        """Wait until the emulator has computed: only then does the board's time go on."""
        deadline_s = time.monotonic() + 10
        while self.logic._computing:
            assert time.monotonic() < deadline_s, "the emulator never finished computing"
            time.sleep(0.001)

    def events(self):
        return " | ".join(self.logic.facts()["events"])


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def blank(wall):
    """A logic without a bitfile."""
    logic = ProgrammableLogic(ContiguousMemory(), clock=DeviceClock(wall))
    yield logic
    logic.close()


@pytest.fixture
def board(blank, wall, tmp_path):
    blank.configure(write_emulated_bundle(tmp_path / "bundle") / "accel.bit")
    return Board(blank, wall)


def test_a_batch_is_right_and_takes_the_time_that_the_cycle_model_says(board):
    images = random_images(8)
    board.put(images)
    board.start_both(8)
    board.wall.seconds += BATCH_S * 0.99
    assert board.status(ODMA) == Control.START, "the output DMA is done too early"
    board.wall.seconds += BATCH_S * 0.02
    assert board.status(ODMA) == Control.IDLE | Control.DONE | Control.READY
    assert np.array_equal(board.got(8), brightest(images))


@pytest.mark.parametrize("scale", [1, 2])
def test_a_bundle_with_a_global_pool_answers_with_the_brightest_map(scale, blank, wall, tmp_path):
    side = 10 * scale
    larger = Upsample("UpsampleNearestNeighbour_hls_0", 2, 10, 10, scale, scale, 1, "UINT8", "UINT8")
    layers = (
        *([larger] if scale > 1 else []),
        GlobalPool("GlobalAccPool_hls_0", 2, side, side, 1, "UINT8", "UINT17"),
        LabelSelect("LabelSelect_hls_0", 2, 1, "UINT17", "UINT8"),
    )
    blank.configure(write_emulated_bundle(tmp_path / "bundle", layers=layers) / "accel.bit")
    board, images = Board(blank, wall), random_images(8)
    board.put(images)
    board.start_both(8)
    wall.seconds += BATCH_S * 2
    assert board.status(ODMA) == Control.IDLE | Control.DONE | Control.READY
    sums = images.reshape(8, 100, 2).astype(int).sum(axis=1)
    assert np.array_equal(board.got(8)[:, 0], sums.argmax(axis=1))


def test_done_and_ready_clear_when_they_are_read(board):
    board.start_both(1)
    board.wall.seconds += 1
    for dma in (IDMA, ODMA):
        assert board.logic.peek(dma, 1) == [Control.IDLE | Control.DONE | Control.READY]
        assert board.status(dma) == Control.IDLE | Control.DONE | Control.READY
        assert board.status(dma) == Control.IDLE


def test_the_input_dma_may_be_started_first(board):
    images = random_images(8)
    board.put(images)
    board.start(IDMA, board.source, 8)
    board.computed()
    board.wall.seconds += 1
    assert board.status(IDMA) == Control.START, "eight frames do not fit into the accelerator"
    board.start(ODMA, board.target, 8)
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE
    assert board.status(IDMA) & Control.DONE
    assert np.array_equal(board.got(8), brightest(images))


def test_a_single_frame_fits_into_the_accelerator(board):
    board.start(IDMA, board.source, 1)
    board.computed()
    board.wall.seconds += 1
    assert board.status(IDMA) & Control.DONE
    assert board.status(ODMA) == Control.IDLE


def test_an_output_that_wants_more_frames_than_went_in_waits_for_the_next_input(board):
    images = random_images(8)
    board.put(images)
    board.start(ODMA, board.target, 8)
    board.start(IDMA, board.source, 5)
    board.computed()
    board.wall.seconds += 60
    assert board.status(ODMA) == Control.START
    board.start(IDMA, board.source + 5 * PIXELS, 3)
    board.computed()
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE
    assert np.array_equal(board.got(8), brightest(images))


def test_frames_that_nobody_fetched_come_out_first_next_time(board):
    images = random_images(4)
    board.put(images)
    board.start(ODMA, board.target, 3)
    board.start(IDMA, board.source, 4)
    board.computed()
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE
    assert board.status(IDMA) & Control.DONE
    board.start(ODMA, board.target, 1)
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE
    assert np.array_equal(board.got(1), brightest(images[3:]))


def test_zero_repetitions_are_done_at_once(board):
    board.start_both(0)
    assert board.status(IDMA) & Control.DONE
    assert board.status(ODMA) & Control.DONE


def test_the_clock_registers_set_the_pace(board):
    board.logic.write(FPGA0_CLOCK, 2 << 20 | 5 << 8)
    assert board.logic.facts()["fclk0_mhz"] == 100.0
    board.start_both(8)
    board.wall.seconds += BATCH_S / 2 * 1.01
    assert board.status(ODMA) & Control.DONE


def test_starting_a_running_dma_is_refused_and_leaves_an_event(board):
    board.start_both(8)
    with pytest.raises(DmaBusy, match="odma0 was started while it was still running"):
        board.logic.write(ODMA, Control.START)
    assert "odma0 was started while it was still running" in board.events()
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE, "the refused start disturbed the running transfer"


@pytest.mark.parametrize("address", [0x43C00000, 0x40002000, 0x0, 0x10000000, 0xFFFFFFFC])
def test_an_address_where_nothing_is_faults(board, address):
    with pytest.raises(BusFault, match=f"{address:#010x}"):
        board.logic.read(address)
    with pytest.raises(BusFault, match=f"{address:#010x}"):
        board.logic.write(address, 1)
    assert f"bus fault at {address:#010x}" in board.events()


def test_without_a_bitfile_no_block_answers(blank):
    with pytest.raises(BusFault, match="load it first"):
        blank.read(IDMA)
    assert blank.read(FPGA0_CLOCK) == 1 << 20 | 20 << 8, "the clocks are the processor's"


@pytest.mark.parametrize("dma", [IDMA, ODMA])
def test_a_dma_sent_outside_allocated_memory_never_finishes_and_says_why(board, dma):
    board.start(dma, board.source + 63 * PIXELS + 1 << 4, 2000)
    board.wall.seconds += 3600
    assert board.status(dma) == Control.START
    assert "are not allocated" in board.events()


def test_output_into_freed_memory_is_dropped(board):
    board.start_both(8)
    board.logic.free(board.target, OWNER)
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE
    assert "after that memory was freed" in board.events()


def test_the_boards_time_stands_still_while_the_emulator_computes(wall, tmp_path):
    release = threading.Event()

    class Slow:
        def run(self, images):
            assert release.wait(10)
            return type("Result", (), {"outputs": (brightest(images),)})

    logic = ProgrammableLogic(ContiguousMemory(), clock=DeviceClock(wall), load_network=lambda path: Slow())
    try:
        logic.configure(write_emulated_bundle(tmp_path / "bundle") / "accel.bit")
        board = Board(logic, wall)
        board.start(ODMA, board.target, 8)
        before_s = logic.now_s()
        board.start(IDMA, board.source, 8)
        wall.seconds += 500
        assert logic.now_s() == before_s
        assert board.status(ODMA) == Control.START, "a poll during a computation must not hang"
        release.set()
        board.computed()
        assert logic.now_s() == before_s
        wall.seconds += BATCH_S * 1.01
        assert board.status(ODMA) & Control.DONE
    finally:
        release.set()
        logic.close()


def test_done_rises_without_anybody_polling(tmp_path):
    logic = ProgrammableLogic(ContiguousMemory())
    try:
        logic.configure(write_emulated_bundle(tmp_path / "bundle") / "accel.bit")
        board, images = Board(logic, None), random_images(8)
        board.put(images)
        board.start_both(8)
        deadline_s = time.monotonic() + 10
        while not np.array_equal(board.got(8), brightest(images)):
            assert time.monotonic() < deadline_s, "the result never reached the memory"
            time.sleep(0.001)
    finally:
        logic.close()


@pytest.mark.parametrize("fault, stuck", [("stuck-odma", ODMA), ("stuck-idma", IDMA)])
def test_a_stuck_dma_never_finishes_though_time_goes_on(board, fault, stuck):
    board.logic.set_faults([fault])
    board.start_both(8)
    before_s = board.logic.now_s()
    board.wall.seconds += 3600
    assert board.logic.now_s() == before_s + 3600
    assert board.status(stuck) == Control.START
    assert board.status(ODMA) == Control.START


def test_loading_the_bitfile_again_revives_a_stuck_accelerator(board, tmp_path):
    board.logic.set_faults(["stuck-odma"])
    board.start_both(8)
    board.logic.set_faults([])
    board.logic.configure(tmp_path / "bundle" / "accel.bit")
    images = random_images(8, seed=2)
    board.put(images)
    board.start_both(8)
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE
    assert np.array_equal(board.got(8), brightest(images))


def test_wrong_results_differ_in_every_frame(board):
    images = random_images(8)
    board.put(images)
    board.logic.set_faults(["wrong-results"])
    board.start_both(8)
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE
    assert np.array_equal(board.got(8), brightest(images) ^ 1)


def test_an_unknown_fault_is_refused_with_the_nearest_name(blank):
    with pytest.raises(UnknownName, match="did you mean 'stuck-odma'"):
        blank.set_faults(["stuck-oma"])


def test_an_emulator_that_fails_says_so_instead_of_hanging(wall, tmp_path, caplog):
    class Broken:
        def run(self, images):
            raise ZeroDivisionError("no such weight")

    logic = ProgrammableLogic(ContiguousMemory(), clock=DeviceClock(wall), load_network=lambda path: Broken())
    try:
        logic.configure(write_emulated_bundle(tmp_path / "bundle") / "accel.bit")
        board = Board(logic, wall)
        board.start_both(8)
        with pytest.raises(BoardError, match="could not compute a batch: ZeroDivisionError"):
            board.status(ODMA)
        assert "no such weight" in caplog.text
    finally:
        logic.close()


def test_configuring_drops_a_batch_that_waits_to_be_computed(board, tmp_path):
    board.start_both(8)
    board.logic.configure(tmp_path / "bundle" / "accel.bit")
    board.computed()
    assert board.status(ODMA) == Control.IDLE
    before_s = board.logic.now_s()
    board.wall.seconds += 1
    assert board.logic.now_s() == before_s + 1


# -- what it refuses to load ---------------------------------------------------------------------


def test_a_bundle_without_network_is_refused_with_the_way_to_add_it(blank, tmp_path):
    folder = write_emulated_bundle(tmp_path / "hw", target="hw", network=False)
    with pytest.raises(WrongTarget, match="hw has no network.npz") as caught:
        blank.configure(folder / "accel.bit")
    assert caught.value.fix == f"labd attach-network {folder} network.npz"


def test_a_hardware_bundle_with_its_network_attached_is_loaded(blank, tmp_path):
    blank.configure(write_emulated_bundle(tmp_path / "hw", target="hw") / "accel.bit")
    assert blank.facts()["bitfile"].endswith("hw/accel.bit")


def test_a_network_that_is_not_the_bitfiles_is_refused(blank, tmp_path):
    folder = write_emulated_bundle(tmp_path / "bundle")
    (folder / "network.npz").write_bytes(b"another")
    with pytest.raises(DigestMismatch, match="network.npz has sha256 .*, accel.bit names"):
        blank.configure(folder / "accel.bit")


def test_a_network_that_is_not_the_manifests_is_refused(blank, tmp_path):
    folder = write_emulated_bundle(tmp_path / "hw", target="hw")
    (folder / "network.npz").write_bytes(b"another")
    with pytest.raises(DigestMismatch, match="manifest.json names"):
        blank.configure(folder / "accel.bit")


def test_a_bitfile_or_hwh_for_another_part_is_refused(blank, tmp_path):
    folder = write_emulated_bundle(tmp_path / "big", part="xc7z045ffg900-2")
    with pytest.raises(WrongPart, match="xc7z045ffg900"):
        blank.configure(folder / "accel.bit")
    folder = write_emulated_bundle(tmp_path / "mixed")
    hwh = folder / "accel.hwh"
    hwh.write_text(hwh.read_text().replace('SPEEDGRADE="-1"', 'SPEEDGRADE="-3"'))
    with pytest.raises(WrongPart, match="accel.hwh is for xc7z020clg400-3"):
        blank.configure(folder / "accel.bit")


def test_a_bitfile_alone_is_refused(blank, tmp_path):
    folder = write_emulated_bundle(tmp_path / "bundle")
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="does not know the tensors"):
        blank.configure(folder / "accel.bit")


def test_a_manifest_whose_dma_is_not_in_the_hwh_is_refused(blank, tmp_path):
    folder = write_emulated_bundle(tmp_path / "bundle")
    hwh = folder / "accel.hwh"
    hwh.write_text(hwh.read_text().replace('"odma0"', '"odma9"'))
    with pytest.raises(ArtifactError, match="with odma0, the .hwh has idma0, odma9"):
        blank.configure(folder / "accel.bit")


def test_a_refused_bitfile_leaves_the_one_before(board, tmp_path):
    folder = write_emulated_bundle(tmp_path / "big", part="xc7z045ffg900-2")
    with pytest.raises(WrongPart):
        board.logic.configure(folder / "accel.bit")
    board.start_both(8)
    board.wall.seconds += 1
    assert board.status(ODMA) & Control.DONE


# -- memory --------------------------------------------------------------------------------------


def test_memory_is_finite_and_says_how_much_is_left(blank):
    first = blank.allocate(CMA_BYTES - 4096, OWNER)
    assert first == CMA_BASE
    with pytest.raises(OutOfMemory, match="5000 bytes .* were asked for, 4096 of 134217728 are free"):
        blank.allocate(5000, OWNER)
    blank.free(first, OWNER)
    assert blank.allocate(CMA_BYTES, OWNER) == CMA_BASE


def test_a_hole_between_two_buffers_is_used_again(blank):
    addresses = [blank.allocate(4096, OWNER) for _ in range(3)]
    blank.free(addresses[1], OWNER)
    assert blank.allocate(8192, OWNER) == addresses[2] + 4096
    assert blank.allocate(1, OWNER) == addresses[1]


def test_only_the_owner_frees_a_buffer(blank):
    address = blank.allocate(4096, OWNER)
    blank.free(address, object())
    blank.free(address + 4096, OWNER)
    assert blank.facts()["cma_free_bytes"] == CMA_BYTES - 4096
    blank.free_all(OWNER)
    assert blank.facts()["cma_free_bytes"] == CMA_BYTES


@pytest.mark.parametrize("noun", ["inputs", "outputs"])
def test_a_design_with_several_tensors_is_refused_before_it_runs(blank, tmp_path, noun):
    folder = write_emulated_bundle(tmp_path / "bundle")
    manifest = parse_manifest((folder / "manifest.json").read_text())
    tensor = getattr(manifest, noun)[0]
    both = (tensor, tensor._replace(name="other", dma=tensor.dma[:-1] + "1"))
    (folder / "manifest.json").write_text(manifest._replace(**{noun: both}).to_json())
    with pytest.raises(ArtifactError, match=f"brightest has 2 {noun}, a virtual board .* one"):
        blank.configure(folder / "accel.bit")


def test_fresh_memory_holds_no_zeros(blank):
    view = blank.memory.view(blank.allocate(INPUT.frame_bytes, OWNER), INPUT.frame_bytes)
    assert (view == 0x5A).all()


# -- time ------------------------------------------------------------------------------------------


def test_a_processor_that_only_spins_need_not_wait_in_real_time(board):
    images = random_images(8)
    board.put(images)
    board.start_both(8)
    began_s = board.logic.now_s()
    polls = next(count for count in range(1, 100) if board.status(ODMA) & Control.DONE)
    assert polls > SPINNING, "the first polls see the transfer running"
    assert board.logic.now_s() - began_s == pytest.approx(BATCH_S), "and the board's time is the model's"
    assert np.array_equal(board.got(8), brightest(images))


def test_a_processor_that_spins_on_a_stuck_dma_runs_into_its_deadline(board):
    board.logic.set_faults(["stuck-odma"])
    board.start_both(8)
    began_s = board.logic.now_s()
    for _ in range(1000):
        assert not board.status(ODMA) & Control.DONE
    assert board.logic.now_s() - began_s == pytest.approx((1000 - SPINNING) * STUCK_STEP_S)


def test_no_time_passes_while_a_request_is_served_or_on_its_way(board):
    began_s = board.logic.now_s()
    board.wall.seconds += 2.0
    with board.logic.no_time_passes(lost_s=1.5):
        board.wall.seconds += 5.0
        assert board.logic.now_s() - began_s == pytest.approx(0.5)
    assert board.logic.now_s() - began_s == pytest.approx(0.5)
