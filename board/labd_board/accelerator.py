"""The driver: arrays in, arrays out, through the DMAs of FINN's shell."""

import time
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple

import numpy as np

from labd_board.device import Buffer, Device
from labd_board.dma import DmaEngine
from labd_shared.bundle import Bundle
from labd_shared.errors import ClockRefused, DmaTimeout, UsageError, WrongTarget
from labd_shared.packing import PackingPlan, pack_tensor, unpack_tensor
from labd_shared.tensors import count
from labd_shared.timing import batch_cycles

DEFAULT_BATCH = 1000
CLOCK_TOLERANCE = 0.01  # over the built clock: dividers round, timing was met for the built clock only
DEADLINE_FACTOR = 10.0  # a run may take this many times what the cycle model expects...
DEADLINE_FLOOR_S = 0.5  # ...and never less than this: an interrupt-laden Linux polls late
WALL_CEILING_S = 300.0  # whatever the device's clock says
PAUSE_S = 0.0002
PATIENT_POLLS = 2.0  # spin this many times the expected time, then let others have the processor


class Times(NamedTuple):
    """Where the time of one batch went, s.

    ``run_s`` is on the device's clock (see `Device.timing`), the others are this process's wall clock.
    """

    prepare_s: float  # read, scale, pack, flush
    run_s: float  # first DMA started to output DMA done
    finish_s: float  # invalidate, unpack, unfold


class Accelerator(object):
    """One bundle on one device.

    Constructing it touches no hardware; `open` (or ``with``) programs the bitfile and sets the clock.

    Args:
        bundle: A checked bundle; one input, one output.
        device: A closed or fresh device.
        batch_size: Frames the DMA buffers hold. Any number of frames can be run with any batch size.
        monotonic_s: The wall clock, for tests.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        batch_size: int = DEFAULT_BATCH,
        monotonic_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        manifest = bundle.manifest
        if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
            raise UsageError(
                "the bundle has {} inputs and {} outputs, this driver runs one of each".format(
                    len(manifest.inputs), len(manifest.outputs)
                ),
                fix="use a newer labd-board",
            )
        if batch_size < 1:
            raise UsageError(
                "a batch of {} frames cannot be run".format(batch_size), fix="--batchsize 1 or more"
            )
        self.bundle = bundle
        self.manifest = manifest
        self.device = device
        self.batch_size = batch_size
        self.clock_mhz = 0.0  # achieved; 0 while closed
        self._monotonic_s = monotonic_s
        self._source, self._sink = manifest.inputs[0], manifest.outputs[0]
        self._pack_plan = PackingPlan(self._source.datatype, self._source.folded[-1])
        self._unpack_plan = PackingPlan(self._sink.datatype, self._sink.folded[-1])
        self._staging = np.empty((0,) + self._source.normal[1:], np.uint8)
        self._open: Optional[Tuple[DmaEngine, Buffer, DmaEngine, Buffer]] = None

    def __enter__(self) -> "Accelerator":
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open(self) -> None:
        """Program the bitfile, set the built clock, allocate the DMA buffers.

        Raises:
            WrongTarget: an emu bundle on silicon.
            ClockRefused: the achieved clock is above the one timing was met for.
            BoardError, ArtifactError: as the device raises them.
        """
        self.device.open()
        if self.manifest.target == "emu" and self.device.target == "hw":
            raise WrongTarget(
                "the bundle of {} was built for emulation (target emu), this is a real board".format(
                    self.manifest.network
                ),
                fix="deploy it to a virtual board: labd board up 03, then fab deploy --board 03",
            )
        self.device.program(str(self.bundle.path("accel.bit")))
        self.clock_mhz = self.device.set_clock_mhz(self.manifest.clock_mhz)
        if self.clock_mhz > self.manifest.clock_mhz * (1 + CLOCK_TOLERANCE):
            raise ClockRefused(
                "the clock became {:.2f} MHz, the bundle was built for {:.2f} MHz".format(
                    self.clock_mhz, self.manifest.clock_mhz
                ),
                fix="build the bundle for a clock the dividers reach (1000 MHz over two factors up to 63)",
            )
        odma = DmaEngine(self._sink.dma, self.device.registers(self._sink.dma))
        idma = DmaEngine(self._source.dma, self.device.registers(self._source.dma))
        taken = self.device.allocate(self._source.batched(self._source.packed, self.batch_size))
        try:
            given = self.device.allocate(self._sink.batched(self._sink.packed, self.batch_size))
        except BaseException:
            taken.free()
            raise
        self._open = (idma, taken, odma, given)

    def close(self) -> None:
        """Free the buffers and the device. Twice is harmless."""
        if self._open is not None:
            _, taken, _, given = self._open
            self._open = None
            taken.free()
            given.free()
        self.device.close()

    def run(self, images: np.ndarray) -> np.ndarray:
        """The accelerator's answers to a batch of any size.

        Args:
            images: ``(n, ...)`` with as many values a frame as the network takes, channels last, raw
                as the input contract has it.

        Returns:
            Integers, ``(n,) + output.normal[1:]``, a copy.

        Raises:
            ShapeError: frames of another size.
            DatatypeError: a value does not fit the network's input.
            DmaTimeout: a run did not end in time.
        """
        if count(images.shape[1:]) == count(self._source.normal) and images.ndim > 1:
            images = images.reshape(self._source.batched(self._source.normal, len(images)))
        parts = [self._sink_empty()]
        for start in range(0, len(images), self.batch_size):
            parts.append(self._batch(images[start : start + self.batch_size])[0])
        return np.concatenate(parts)

    def stream(self, source: Any, frames: int) -> Iterator[Tuple[int, np.ndarray, Times]]:
        """Run the first *frames* frames of *source* batch by batch; the last batch may be short.

        Args:
            source: Has ``read_into(start, out)`` (`labd_shared.datasets.PackedDataset`). Raw bytes go
                straight into the DMA buffer where the network takes them as they are.
            frames: How many.

        Yields:
            Index of the batch's first frame, answers ``(n,) + output.normal[1:]``, times.
        """
        for start in range(0, frames, self.batch_size):
            number = min(self.batch_size, frames - start)
            answers, times = self._batch_from(source, start, number)
            yield start, answers, times

    def run_once(self, images: np.ndarray) -> Times:
        """Run one batch of at most `batch_size` frames in normal layout and say where the time went."""
        return self._batch(images)[1]

    @property
    def takes_raw_bytes(self) -> bool:
        """Whether a frame's packed bytes are its pixels, so that nothing has to be packed."""
        return (
            self.manifest.input_contract.kind == "raw-uint8"
            and self._source.datatype.name == "UINT8"
            and self._source.frame_bytes == count(self._source.normal)
        )

    def expected_s(self, frames: int) -> float:
        """What the cycle model expects a run of *frames* to take at the achieved clock, s."""
        return batch_cycles(self.manifest.expected, self.manifest.inputs, frames) / (self.clock_mhz * 1e6)

    def _sink_empty(self) -> np.ndarray:
        return unpack_tensor(np.empty(self._sink.batched(self._sink.packed, 0), np.uint8), self._sink)

    def _batch(self, images: np.ndarray) -> Tuple[np.ndarray, Times]:
        began_s = self._monotonic_s()
        self._pack(images)
        return self._transfer(len(images), began_s)

    def _batch_from(self, source: Any, start: int, frames: int) -> Tuple[np.ndarray, Times]:
        _, taken, _, _ = self._opened()
        began_s = self._monotonic_s()
        if self.takes_raw_bytes:
            source.read_into(start, taken.array[:frames])
        else:
            if len(self._staging) < frames:
                self._staging = np.empty(self._source.batched(self._source.normal, frames), np.uint8)
            source.read_into(start, self._staging[:frames])
            self._pack(self._staging[:frames])
        return self._transfer(frames, began_s)

    def _pack(self, images: np.ndarray) -> None:
        """Images by the input contract, straight into the DMA buffer."""
        _, taken, _, _ = self._opened()
        contract = self.manifest.input_contract
        values = images
        if contract.kind == "scaled":
            values = images * np.float32(contract.scale) + np.float32(contract.offset)
        pack_tensor(values, self._source, taken.array[: len(values)], self._pack_plan)

    def _transfer(self, frames: int, began_s: float) -> Tuple[np.ndarray, Times]:
        """Run what lies in the input buffer. The one place that flushes and invalidates."""
        idma, taken, odma, given = self._opened()
        taken.flush()
        prepared_s = self._monotonic_s()
        device_start_s = self.device.now_s()
        odma.start(given.physical_address, frames)  # the sink first, so that nothing waits for it
        idma.start(taken.physical_address, frames)
        self._wait(frames, device_start_s, prepared_s)
        run_s = self.device.now_s() - device_start_s
        done_s = self._monotonic_s()
        given.invalidate()
        answers = unpack_tensor(given.array[:frames], self._sink, self._unpack_plan)
        return answers, Times(prepared_s - began_s, run_s, self._monotonic_s() - done_s)

    def _wait(self, frames: int, device_start_s: float, wall_start_s: float) -> None:
        """Until the output DMA is done, or a deadline on the device's clock or the wall's passes."""
        _, _, odma, _ = self._opened()
        expected_s = self.expected_s(frames)
        allowed_s = DEADLINE_FLOOR_S + DEADLINE_FACTOR * expected_s
        while not odma.is_done():
            waited_s = self.device.now_s() - device_start_s
            wall_s = self._monotonic_s() - wall_start_s
            if waited_s > allowed_s or wall_s > WALL_CEILING_S:
                raise self._timeout(frames, expected_s, waited_s, wall_s)
            if waited_s > PATIENT_POLLS * expected_s:
                self.device.pause(PAUSE_S)

    def _timeout(self, frames: int, expected_s: float, waited_s: float, wall_s: float) -> DmaTimeout:
        idma, _, odma, _ = self._opened()
        source_done = idma.is_done()
        registers: Dict[str, Dict[str, str]] = {idma.name: idma.registers(), odma.name: odma.registers()}
        if source_done:
            cause = "{} delivered all its frames, so the output side is stuck: a FIFO, or fewer frames out".format(
                idma.name
            )
        else:
            cause = "{} is not done either, so the accelerator stopped taking input".format(idma.name)
        listed = "; ".join(
            "{}: {}".format(name, ", ".join("{} {}".format(key, values[key]) for key in sorted(values)))
            for name, values in sorted(registers.items())
        )
        return DmaTimeout(
            "{} is not done {:.2f} s after it was started with {} frames, {:.4f} s were expected ({}; {})".format(
                odma.name, max(waited_s, 0.0), frames, expected_s, cause, listed
            ),
            fix="program it again and run the golden samples: python3 -m labd_board.selftest",
            registers=registers,
            waited_s=waited_s,
            wall_s=wall_s,
            expected_s=expected_s,
            input_done=source_done,
        )

    def _opened(self) -> Tuple[DmaEngine, Buffer, DmaEngine, Buffer]:
        if self._open is None:
            raise UsageError(
                "the accelerator is not open", fix="use it in a with statement, or call open() first"
            )
        return self._open
