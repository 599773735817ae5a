"""Batches in an open accelerator: packed, started, waited for and unpacked; one packed while another runs."""

from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from labd_board.framing import Framing
from labd_board.lanes import Lane, allocate_lane
from labd_board.opened_device import OpenedDevice
from labd_board.stuck import Waited, timeout_error
from labd_shared.errors import DmaTimeout, LabdError, OutOfMemory, UsageError
from labd_shared.manifest import Manifest
from labd_shared.rates import cycles_s
from labd_shared.timing import batch_cycles

DEADLINE_FACTOR = 10.0  # a run may take this many times what the cycle model expects...
DEADLINE_FLOOR_S = 0.5  # ...and never less than this: an interrupt-laden Linux polls late
WALL_CEILING_S = 300.0  # whatever the device's clock says
PAUSE_S = 0.0002
PATIENT_POLLS = 2.0  # spin this many times the expected time...
PATIENT_FLOOR_S = 0.002  # ...and never less than this: a pause would be longer than a small batch
FLUSH_FRAMES = (
    16  # streamers fetch 8 lines of weights ahead (FINN's memstream.sv); a small layer takes one a frame
)
OVERLAP_PAYS = 0.05  # double buffering costs memory: it must save this share of a batch's time


class Times(NamedTuple):
    """Where the time of one batch went, s.

    ``run_s`` is on the device's clock (see `Device.timing`), the others are this process's wall clock.
    """

    pack_s: float  # read, scale and pack into the DMA buffer
    flush_s: float  # bring it to the memory that the accelerator sees
    run_s: float  # first DMA started to last output DMA seen done; double-buffered, packing falls into it
    wait_s: float  # of it, waiting and nothing else
    invalidate_s: float  # bring the answers to the processor
    unpack_s: float  # unpack and unfold

    @property
    def prepare_s(self) -> float:
        """Before the run."""
        return self.pack_s + self.flush_s

    @property
    def finish_s(self) -> float:
        """After it."""
        return self.invalidate_s + self.unpack_s


class _Run(NamedTuple):
    """A batch that is in the accelerator."""

    lane: Lane
    frames: int
    pack_s: float
    flush_s: float
    device_start_s: float


def expected_s(manifest: Manifest, clock_mhz: float, frames: int) -> float:
    """What the cycle model expects a run of *frames* to take, s."""
    return cycles_s(batch_cycles(manifest.expected, manifest.inputs, frames), clock_mhz)


class BatchRunner(object):
    """Runs batches on an opened device, one at a time, or packs the next one while one runs.

    Args:
        manifest: Of the bundle.
        monotonic_s: The wall clock.
        say: Told what is done differently than asked, and why.

    Attributes:
        opened: The device; None while it is closed.
    """

    def __init__(
        self, manifest: Manifest, monotonic_s: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self.opened: Optional[OpenedDevice] = None
        self._manifest = manifest
        self._inputs, self._outputs = manifest.inputs, manifest.outputs
        self._monotonic_s = monotonic_s
        self._say = say
        self._framing = Framing(manifest)
        self._running: Optional[_Run] = None
        self._is_stuck = False  # a run did not end in time: its DMAs may still write to their buffers

    @property
    def takes_raw_bytes(self) -> bool:
        """Whether a frame's packed bytes are its pixels, so that nothing has to be packed."""
        return self._framing.takes_raw_bytes

    def nothing(self) -> Tuple[np.ndarray, ...]:
        """The answers to no frames: for each output an empty array of its type."""
        return self._framing.nothing()

    def device(self) -> OpenedDevice:
        """The opened device.

        Raises:
            UsageError: it is closed.
        """
        if self.opened is None:
            raise UsageError(
                "the accelerator is not open", fix="use it in a with statement, or call open() first"
            )
        return self.opened

    def take_over(self, opened: OpenedDevice) -> None:
        """Run on this device from now on; no DMA of it runs."""
        self.opened = opened
        self._running = None
        self._is_stuck = False

    def abandon(self) -> None:
        """Do not wait for the batch that runs: the device is about to be programmed again."""
        self._running = None

    def finish(self) -> bool:
        """Wait for the batch that runs; whether no DMA runs any more."""
        if self._running is not None:
            try:
                self._await(self._running)
            except LabdError:
                self._is_stuck = True
        return not self._is_stuck

    def release(self) -> None:
        """Run no more on the device."""
        self.opened = None
        self._running = None
        self._is_stuck = False

    def run(self, inputs: Sequence[np.ndarray], raw: bool = False) -> Tuple[Tuple[np.ndarray, ...], Times]:
        """Run one batch; its answers, an array an output, and where the time went.

        Args:
            inputs: Of at most the batch size's frames, an array an input, in normal layout.
            raw: They are the values that the network takes, whatever the input contract says.
        """
        lane = self.device().lanes[0]
        self._settle()
        began_s = self._monotonic_s()
        for place, images in enumerate(inputs):
            self._framing.pack(lane, place, images, raw)
        run = self._launch(lane, len(inputs[0]), self._monotonic_s() - began_s)
        return self._take_out(run, self._await(run))

    def stream(self, source: Any, frames: int, first: int = 0) -> Iterator[Tuple[int, np.ndarray, Times]]:
        """Run the frames *first* to *frames* of *source*, as `labd_board.accelerator.Accelerator.stream` says.

        Raises:
            UsageError: the network has several inputs or outputs.
        """
        if len(self._inputs) != 1 or len(self._outputs) != 1:
            raise UsageError(
                "{} has {} inputs and {} outputs, a data set feeds one and judges one".format(
                    self._manifest.network, len(self._inputs), len(self._outputs)
                ),
                fix="call run_all from a program of your own",
            )
        opened = self.device()
        lanes, batch_size = opened.lanes, opened.batch_size
        self._settle()
        ahead: Optional[Tuple[int, _Run]] = None
        for place, start in enumerate(range(first, frames, batch_size)):
            number = min(batch_size, frames - start)
            lane = lanes[place % len(lanes)]
            began_s = self._monotonic_s()
            self._framing.fill(lane, source, start, number)
            pack_s = self._monotonic_s() - began_s
            waited = None if ahead is None else self._await(ahead[1])
            run = self._launch(lane, number, pack_s)
            if ahead is not None and waited is not None:
                yield self._streamed(ahead, waited)
            ahead = (start, run)
            if len(lanes) == 1:
                begin, answers, times = self._streamed(ahead, self._await(run))
                ahead = None
                if start + 2 * batch_size < frames:  # two more batches: one could be packed meanwhile
                    self._consider_overlap(times)
                yield begin, answers, times
        if ahead is not None:
            yield self._streamed(ahead, self._await(ahead[1]))

    def flush_weights(self) -> None:
        """Run frames until no weight is left that a streamer had fetched before it was written."""
        left = FLUSH_FRAMES
        while left:
            frames = min(left, self.device().batch_size)
            self.run(
                [
                    np.full(tensor.batched(tensor.normal, frames), tensor.datatype.low * tensor.datatype.step)
                    for tensor in self._inputs
                ],
                raw=True,
            )
            left -= frames

    def _settle(self) -> None:
        """Wait for a batch that nobody waited for: its stream was left."""
        if self._running is not None:
            self._await(self._running)

    def _launch(self, lane: Lane, frames: int, pack_s: float) -> _Run:
        """Start the DMAs on what lies in the input buffers: the sinks first, so that nothing waits for them."""
        opened = self.device()
        self._settle()
        began_s = self._monotonic_s()
        for buffer in lane.taken:
            buffer.flush()
        flush_s = self._monotonic_s() - began_s
        run = _Run(lane, frames, pack_s, flush_s, opened.device.now_s())
        for engine, buffer, repeats in opened.weights:
            engine.start(buffer.physical_address, frames * repeats)
        for engine, buffer in zip(opened.sinks, lane.given):
            engine.start(buffer.physical_address, frames)
        self._running = run
        for engine, buffer in zip(opened.sources, lane.taken):
            engine.start(buffer.physical_address, frames)
        return run

    def _await(self, run: _Run) -> Tuple[float, float]:
        """Until every output DMA is done, or a deadline on the device's clock or the wall's passes.

        Returns:
            Seconds on the device's clock since the start, and seconds waited here.
        """
        opened = self.device()
        wanted_s = expected_s(self._manifest, opened.clock_mhz, run.frames)
        allowed_s = DEADLINE_FLOOR_S + DEADLINE_FACTOR * wanted_s
        began_s = self._monotonic_s()
        while not all(engine.is_done() for engine in opened.sinks):
            waited_s = opened.device.now_s() - run.device_start_s
            wall_s = self._monotonic_s() - began_s
            if waited_s > allowed_s or wall_s > WALL_CEILING_S:
                self._running, self._is_stuck = None, True
                raise self._timeout(run, Waited(run.frames, wanted_s, waited_s, wall_s))
            if waited_s > max(PATIENT_POLLS * wanted_s, PATIENT_FLOOR_S):  # let others have the processor
                opened.device.pause(PAUSE_S)
        self._running = None
        return opened.device.now_s() - run.device_start_s, self._monotonic_s() - began_s

    def _timeout(self, run: _Run, waited: Waited) -> DmaTimeout:
        opened = self.device()
        weights = tuple(engine for engine, _, _ in opened.weights)
        return timeout_error(weights + opened.sources, opened.sinks, waited)

    def _take_out(self, run: _Run, waited: Tuple[float, float]) -> Tuple[Tuple[np.ndarray, ...], Times]:
        """The answers to a run that is over."""
        began_s = self._monotonic_s()
        for buffer in run.lane.given:
            buffer.invalidate()
        there_s = self._monotonic_s()
        answers = self._framing.unpack(run.lane, run.frames)
        unpack_s = self._monotonic_s() - there_s
        run_s, wait_s = waited
        return answers, Times(run.pack_s, run.flush_s, run_s, wait_s, there_s - began_s, unpack_s)

    def _streamed(
        self, ahead: Tuple[int, _Run], waited: Tuple[float, float]
    ) -> Tuple[int, np.ndarray, Times]:
        start, run = ahead
        answers, times = self._take_out(run, waited)
        return start, answers[0], times

    def _consider_overlap(self, times: Times) -> None:
        """Allocate a second lane where packing beside the run saves more than a little."""
        serial_s = times.prepare_s + times.run_s + times.finish_s
        saved_s = min(times.prepare_s + times.finish_s, times.run_s)
        if saved_s < OVERLAP_PAYS * serial_s:
            return
        opened = self.device()
        try:
            opened.lanes.append(allocate_lane(opened.device, self._inputs, self._outputs, opened.batch_size))
        except OutOfMemory as error:
            self._say("no double buffering: {}".format(error.what))
