"""The driver: arrays in, arrays out, through the DMAs of FINN's shell."""

import time
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from labd_board.device import Buffer, Device
from labd_board.dma import DmaEngine
from labd_board.framing import Framing
from labd_board.lanes import Lane, allocate_fitting_lane, allocate_lane
from labd_board.stuck import Waited, timeout_error
from labd_board.weights import (
    external_weights,
    load_external_weights,
    runtime_weights,
    write_runtime_weights,
)
from labd_shared.bundle import Bundle
from labd_shared.errors import (
    ClockRefused,
    DmaTimeout,
    LabdError,
    OutOfMemory,
    ShapeError,
    UsageError,
    WrongTarget,
)
from labd_shared.rates import cycles_s
from labd_shared.tensors import Tensor, count
from labd_shared.timing import batch_cycles

DEFAULT_BATCH = 1000
CLOCK_TOLERANCE = 0.01  # over the built clock: dividers round, timing was met for the built clock only
CLOCK_AT_LEAST = 0.75  # of the built clock: the dividers reach more of any clock up to 250 MHz
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


class _Opened(NamedTuple):
    """What `open` found and allocated."""

    sources: Tuple[DmaEngine, ...]
    sinks: Tuple[DmaEngine, ...]
    weights: Tuple[Tuple[DmaEngine, Buffer, int], ...]  # external ones, with their repeats a frame
    lanes: List[Lane]


class Accelerator(object):
    """One bundle on one device.

    Constructing it touches no hardware; `open` (or ``with``) programs the bitfile, sets the clock and
    loads what weights are not in the bitfile.

    Args:
        bundle: A checked bundle, any number of inputs and outputs.
        device: A closed or fresh device.
        batch_size: Frames the DMA buffers hold; fewer where memory is short. Any number of frames can be
            run with any batch size.
        monotonic_s: The wall clock, for tests.
        say: Told what is done differently than asked, and why.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        batch_size: int = DEFAULT_BATCH,
        monotonic_s: Callable[[], float] = time.perf_counter,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(
                "a batch of {} frames cannot be run".format(batch_size), fix="--batchsize 1 or more"
            )
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.device = device
        self.batch_size = self._wanted_batch = batch_size
        self.clock_mhz = 0.0  # achieved; 0 while closed
        self._monotonic_s = monotonic_s
        self._say = say
        self._sources, self._sinks = self.manifest.inputs, self.manifest.outputs
        self._framing = Framing(self.manifest)
        self._runtime_weights = runtime_weights(bundle)
        self._external_weights = external_weights(bundle)
        self._open: Optional[_Opened] = None
        self._running: Optional[_Run] = None
        self._stuck = False

    def __enter__(self) -> "Accelerator":
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open(self) -> None:
        """Program the bitfile, set the built clock, load weights, allocate the DMA buffers.

        Raises:
            WrongTarget: an emu bundle on silicon.
            ClockRefused: the achieved clock is above the one timing was met for, or far below it.
            OutOfMemory: there is no contiguous memory for a single frame.
            WeightsNotWritten: weights are read back as something else.
            BoardError, ArtifactError: as the device raises them.
        """
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def recover(self) -> None:
        """Program the bitfile again after a run that did not end; the buffers stay.

        Raises:
            What `open` raises.
        """
        opened = self._opened()
        self._running = None
        self._program()
        self._stuck = False
        sources, sinks = self._engines()
        weights = tuple((self._engine(engine.name), buffer, n) for engine, buffer, n in opened.weights)
        self._open = _Opened(sources, sinks, weights, opened.lanes)
        if self._runtime_weights:
            self._flush_pipeline()

    def close(self) -> None:
        """Free the buffers and the device. Twice is harmless.

        What an interrupt leaves behind must not hurt the next run. No buffer is freed while a DMA may
        still write to it: what runs is waited for, and what does not end is programmed again.
        """
        opened, self._open = self._open, None
        if opened is not None:
            try:
                self._quiet(opened)
            finally:
                for lane in opened.lanes:
                    lane.free()
                for _, buffer, _ in opened.weights:
                    buffer.free()
        self.device.close()

    def run(self, images: np.ndarray) -> np.ndarray:
        """The accelerator's answers to a batch of any size, of a network with one input and one output.

        Args:
            images: ``(n, ...)`` with as many values a frame as the network takes, channels last, raw
                as the input contract has it.

        Returns:
            Integers (multiples of its step for a FIXED output), ``(n,) + output.normal[1:]``, a copy.

        Raises:
            UsageError: the network has several inputs or outputs.
            ShapeError: frames of another size.
            DatatypeError: a value does not fit the network's input.
            DmaTimeout: a run did not end in time.
        """
        if len(self._sinks) != 1:
            raise UsageError(
                "{} has {} outputs, run gives one".format(self.manifest.network, len(self._sinks)),
                fix="call run_all, which takes and gives one array for each",
            )
        return self.run_all([images])[0]

    def run_all(self, inputs: Sequence[np.ndarray]) -> Tuple[np.ndarray, ...]:
        """The answers of a network with any number of inputs and outputs.

        Args:
            inputs: One array an input, in the manifest's order, each as in `run` and all of as many frames.

        Returns:
            One array an output, in the manifest's order.

        Raises:
            As `run`; ShapeError also when the inputs are not as many as the network's, or of different
            numbers of frames.
        """
        if len(inputs) != len(self._sources) or len({len(images) for images in inputs}) != 1:
            raise ShapeError(
                "{} arrays of {} frames were given, {} takes {} of equally many frames".format(
                    len(inputs),
                    " and ".join(str(len(images)) for images in inputs),
                    self.manifest.network,
                    len(self._sources),
                ),
                fix="one array for each of: " + ", ".join(tensor.name for tensor in self._sources),
            )
        ready = [_in_normal_layout(images, tensor) for images, tensor in zip(inputs, self._sources)]
        parts = [self._framing.nothing()]
        for start in range(0, len(ready[0]), self.batch_size):
            parts.append(self._batch([images[start : start + self.batch_size] for images in ready])[0])
        return tuple(np.concatenate(outputs) for outputs in zip(*parts))

    def run_once(self, inputs: Sequence[np.ndarray]) -> Times:
        """Run one batch of at most `batch_size` frames, an array an input in normal layout, and say where the
        time went."""
        return self._batch(inputs)[1]

    def stream(self, source: Any, frames: int, first: int = 0) -> Iterator[Tuple[int, np.ndarray, Times]]:
        """Run the frames *first* to *frames* of *source* batch by batch; the last batch may be short.

        Where it pays, a second set of buffers is packed while the first one is being computed.

        Args:
            source: Has ``read_into(start, out)`` (`labd_shared.datasets.PackedDataset`). Raw bytes go
                straight into the DMA buffer where the network takes them as they are.
            frames: Where to end.
            first: Where to begin.

        Yields:
            Index of the batch's first frame, answers ``(n,) + output.normal[1:]``, times.

        Raises:
            UsageError: the network has several inputs or outputs.
        """
        if len(self._sources) != 1 or len(self._sinks) != 1:
            raise UsageError(
                "{} has {} inputs and {} outputs, a data set feeds one and judges one".format(
                    self.manifest.network, len(self._sources), len(self._sinks)
                ),
                fix="call run_all from a program of your own",
            )
        lanes = self._opened().lanes
        self._settle()
        ahead: Optional[Tuple[int, _Run]] = None
        for place, start in enumerate(range(first, frames, self.batch_size)):
            number = min(self.batch_size, frames - start)
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
                if start + 2 * self.batch_size < frames:  # two more batches: one could be packed meanwhile
                    self._consider_overlap(times)
                yield begin, answers, times
        if ahead is not None:
            yield self._streamed(ahead, self._await(ahead[1]))

    @property
    def overlaps(self) -> bool:
        """Whether the next batch is packed while one runs."""
        return self._open is not None and len(self._open.lanes) > 1

    @property
    def takes_raw_bytes(self) -> bool:
        """Whether a frame's packed bytes are its pixels, so that nothing has to be packed."""
        return self._framing.takes_raw_bytes

    def expected_s(self, frames: int) -> float:
        """What the cycle model expects a run of *frames* to take at the achieved clock, s."""
        return cycles_s(batch_cycles(self.manifest.expected, self._sources, frames), self.clock_mhz)

    def _prepare(self) -> None:
        self.device.open()
        if self.manifest.target == "emu" and self.device.target == "hw":
            raise WrongTarget(
                "the bundle of {} was built for emulation (target emu), this is a real board".format(
                    self.manifest.network
                ),
                fix="deploy it to a virtual board: labd board up 03, then fab deploy --board 03",
            )
        self._program()
        sources, sinks = self._engines()
        held = tuple(
            (self._engine(weights.dma), load_external_weights(self.device, weights), weights.repeats)
            for weights in self._external_weights
        )
        lane, self.batch_size = allocate_fitting_lane(
            self.device, self._sources, self._sinks, self._wanted_batch, self._say
        )
        self._open = _Opened(sources, sinks, held, [lane])
        if self._runtime_weights:
            self._flush_pipeline()

    def _program(self) -> None:
        """The bitfile, its clock, and the weights that are written into it."""
        self.device.program(str(self.bundle.path("accel.bit")))
        self.clock_mhz = self.device.set_clock_mhz(self.manifest.clock_mhz)
        if self.clock_mhz > self.manifest.clock_mhz * (1 + CLOCK_TOLERANCE):
            raise ClockRefused(
                "the clock became {:.2f} MHz, the bundle was built for {:.2f} MHz".format(
                    self.clock_mhz, self.manifest.clock_mhz
                ),
                fix="build the bundle for a clock the dividers reach (1000 MHz over two factors up to 63)",
            )
        if self.clock_mhz < self.manifest.clock_mhz * CLOCK_AT_LEAST:
            raise ClockRefused(
                "the clock stays at {:.2f} MHz, {:.2f} MHz was asked for".format(
                    self.clock_mhz, self.manifest.clock_mhz
                ),
                fix="restart the board: something else holds its clock registers",
            )
        for weights in self._runtime_weights:
            write_runtime_weights(self.device, weights)

    def _engines(self) -> Tuple[Tuple[DmaEngine, ...], Tuple[DmaEngine, ...]]:
        sources = tuple(self._engine(tensor.dma) for tensor in self._sources)
        return sources, tuple(self._engine(tensor.dma) for tensor in self._sinks)

    def _engine(self, name: str) -> DmaEngine:
        return DmaEngine(name, self.device.registers(name))

    def _flush_pipeline(self) -> None:
        """Run frames until no weight is left that a streamer had fetched before it was written."""
        left = FLUSH_FRAMES
        while left:
            frames = min(left, self.batch_size)
            self._batch(
                [
                    np.full(tensor.batched(tensor.normal, frames), tensor.datatype.low * tensor.datatype.step)
                    for tensor in self._sources
                ],
                raw=True,
            )
            left -= frames

    def _quiet(self, opened: _Opened) -> None:
        """See to it that no DMA runs."""
        if self._running is not None:
            self._open = opened
            try:
                self._await(self._running)
            except LabdError:
                self._stuck = True
            finally:
                self._open = None
        if self._stuck:
            self._stuck = False
            self.device.program(str(self.bundle.path("accel.bit")))

    def _batch(self, inputs: Sequence[np.ndarray], raw: bool = False) -> Tuple[Tuple[np.ndarray, ...], Times]:
        lane = self._opened().lanes[0]
        self._settle()
        began_s = self._monotonic_s()
        for place, images in enumerate(inputs):
            self._framing.pack(lane, place, images, raw)
        run = self._launch(lane, len(inputs[0]), self._monotonic_s() - began_s)
        return self._take_out(run, self._await(run))

    def _settle(self) -> None:
        """Wait for a batch that nobody waited for: its stream was left."""
        if self._running is not None:
            self._await(self._running)

    def _launch(self, lane: Lane, frames: int, pack_s: float) -> _Run:
        """Start the DMAs on what lies in the input buffers: the sinks first, so that nothing waits for them."""
        opened = self._opened()
        self._settle()
        began_s = self._monotonic_s()
        for buffer in lane.taken:
            buffer.flush()
        flush_s = self._monotonic_s() - began_s
        run = _Run(lane, frames, pack_s, flush_s, self.device.now_s())
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
        opened = self._opened()
        expected_s = self.expected_s(run.frames)
        allowed_s = DEADLINE_FLOOR_S + DEADLINE_FACTOR * expected_s
        began_s = self._monotonic_s()
        while not all(engine.is_done() for engine in opened.sinks):
            waited_s = self.device.now_s() - run.device_start_s
            wall_s = self._monotonic_s() - began_s
            if waited_s > allowed_s or wall_s > WALL_CEILING_S:
                self._running, self._stuck = None, True
                raise self._timeout(run, Waited(run.frames, expected_s, waited_s, wall_s))
            if waited_s > max(PATIENT_POLLS * expected_s, PATIENT_FLOOR_S):  # let others have the processor
                self.device.pause(PAUSE_S)
        self._running = None
        return self.device.now_s() - run.device_start_s, self._monotonic_s() - began_s

    def _timeout(self, run: _Run, waited: Waited) -> DmaTimeout:
        opened = self._opened()
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
        opened = self._opened()
        try:
            opened.lanes.append(allocate_lane(self.device, self._sources, self._sinks, self.batch_size))
        except OutOfMemory as error:
            self._say("no double buffering: {}".format(error.what))

    def _opened(self) -> _Opened:
        if self._open is None:
            raise UsageError(
                "the accelerator is not open", fix="use it in a with statement, or call open() first"
            )
        return self._open


def _in_normal_layout(images: np.ndarray, tensor: Tensor) -> np.ndarray:
    """*images* in the tensor's normal shape where they hold as many values a frame."""
    if images.ndim > 1 and count(images.shape[1:]) == count(tensor.normal):
        return images.reshape(tensor.batched(tensor.normal, len(images)))
    return images
