"""A board made of Python, in this process: the mocked overlay.

A product, not a test helper: users without a board test their own code on it. It is never chosen
by itself. It refuses what hardware refuses and misbehaves as hardware does: caches are not
coherent, `done` clears when it is read, a busy DMA cannot be started, an address at which nothing
answers faults, contiguous memory is finite, and memory is never born zero.
"""

from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from labd_board.device import Buffer, Device, Registers
from labd_shared.errors import BoardError, BusFault, DmaBusy, OutOfMemory, unknown_name
from labd_shared.manifest import Expected
from labd_shared.packing import pack_tensor, unpack_tensor
from labd_shared.registers import Control, Iodma
from labd_shared.tensors import Tensor, count
from labd_shared.timing import batch_cycles

Model = Callable[[np.ndarray], np.ndarray]

PAGE_BYTES = 4096
CMA_BASE = 0x18000000
READ_S = 1e-6  # what one register access costs on the fake's clock
GARBAGE = 0xA5


class FakeBuffer(Buffer):
    """`array` is the processor's cached copy, `dram` what the accelerator sees; flush and invalidate copy."""

    def __init__(self, device: "FakeDevice", shape: Tuple[int, ...], physical_address: int) -> None:
        self._device = device
        self.physical_address = physical_address
        self.array = np.full(shape, GARBAGE, np.uint8)
        self.dram = np.full(count(shape), GARBAGE ^ 0xFF, np.uint8)

    def flush(self) -> None:
        self.dram[...] = self.array.reshape(-1)

    def invalidate(self) -> None:
        self.array.reshape(-1)[...] = self.dram

    def free(self) -> None:
        self._device.release(self)


class FakeDma(Registers):
    """One IODMA's registers: ap_ctrl_hs as Vitis HLS builds it."""

    def __init__(self, device: "FakeDevice", name: str) -> None:
        self._device = device
        self._name = name
        self._values = dict.fromkeys(Iodma, 0)
        self._done_at_s: Optional[float] = None
        self.idle = True
        self._flags = 0  # DONE and READY, until they are read

    @property
    def address(self) -> int:
        """The 64-bit buffer address."""
        return self._values[Iodma.ADDRESS_LOW] | self._values[Iodma.ADDRESS_HIGH] << 32

    @property
    def frames(self) -> int:
        """numReps."""
        return self._values[Iodma.REPETITIONS]

    def settle(self) -> None:
        """Let what the clock says has happened happen."""
        if self._done_at_s is not None and self._device.now_s() >= self._done_at_s:
            self._done_at_s = None
            self.idle = True
            self._flags = int(Control.DONE | Control.READY)

    def finish_at(self, when_s: Optional[float]) -> None:
        """Raise `done` at *when_s* on the device's clock; None: never."""
        self._done_at_s = when_s

    def read(self, offset: int) -> int:
        register = self._known(offset)
        self._device.advance_s(READ_S)
        if register is not Iodma.CONTROL:
            return self._values[register]
        self.settle()
        value = self._flags | (int(Control.IDLE) if self.idle else int(Control.START))
        self._flags = 0  # clears when read, as on silicon
        return value

    def write(self, offset: int, value: int) -> None:
        register = self._known(offset)
        self._device.advance_s(READ_S)
        self._device.history.append((self._name, register.name, value))
        if register is not Iodma.CONTROL:
            self._values[register] = value & 0xFFFFFFFF
            return
        if value & Control.START:
            self.settle()
            if not self.idle:
                raise DmaBusy(
                    "{} was started while it was still running".format(self._name),
                    fix="wait for the run before, or program the bitfile again",
                )
            self.idle = False
            self._flags = 0
            self._device.dma_started()

    def _known(self, offset: int) -> Iodma:
        try:
            return Iodma(offset)
        except ValueError:
            raise BusFault(
                "nothing answers at {} + {:#x}".format(self._name, offset),
                fix="registers of an IODMA are at " + ", ".join(hex(register) for register in Iodma),
            ) from None


class FakeDevice(Device):
    """A board in this process.

    Args:
        inputs, outputs: The accelerator's tensors (one each), as in a manifest.
        model: Integers ``(n,) + input.normal[1:]`` to ``(n,) + output.normal[1:]``.
        cycles_per_frame, latency_cycles: When `done` rises on the fake's clock (`labd_shared.timing`).
        cma_bytes: Contiguous memory there is.
        stuck: Names of DMAs that never finish.
    """

    target = "emu"
    timing = "made up by the fake"

    def __init__(
        self,
        inputs: Tuple[Tensor, ...],
        outputs: Tuple[Tensor, ...],
        model: Model,
        cycles_per_frame: int = 100,
        latency_cycles: int = 100,
        cma_bytes: int = 128 << 20,
        stuck: Tuple[str, ...] = (),
    ) -> None:
        self._source, self._sink = inputs[0], outputs[0]
        self._model = model
        self._cycles_per_frame = cycles_per_frame
        self._latency_cycles = latency_cycles
        self._cma_bytes = cma_bytes
        self.stuck = stuck
        self.programmed: Optional[str] = None
        self.history: List[Tuple[str, str, int]] = []
        self._clock_mhz = 100.0
        self._time_s = 0.0
        self._buffers: Dict[int, FakeBuffer] = {}
        self._blocks: Dict[str, FakeDma] = {}

    def open(self) -> None:
        """Nothing is needed."""

    def program(self, bitfile: str) -> None:
        self.programmed = bitfile
        self._blocks = {tensor.dma: FakeDma(self, tensor.dma) for tensor in (self._source, self._sink)}

    def registers(self, block: str) -> FakeDma:
        if self.programmed is None:
            raise BoardError("nothing is programmed", fix="call program(bitfile) first")
        if block not in self._blocks:
            raise unknown_name("block", block, self._blocks)
        return self._blocks[block]

    def allocate(self, shape: Tuple[int, ...]) -> FakeBuffer:
        wanted = _pages(count(shape))
        address = CMA_BASE
        for taken in sorted(self._buffers):
            if taken - address >= wanted:
                break
            address = taken + _pages(self._buffers[taken].dram.size)
        if address + wanted > CMA_BASE + self._cma_bytes:
            raise OutOfMemory(
                "{} bytes of contiguous memory were asked for, {} are free".format(
                    wanted, self.cma_free_bytes()
                ),
                fix="use a smaller --batchsize",
                wanted_bytes=wanted,
                free_bytes=self.cma_free_bytes(),
            )
        self._buffers[address] = FakeBuffer(self, shape, address)
        return self._buffers[address]

    def cma_free_bytes(self) -> int:
        """Contiguous memory that is not allocated (it may be in pieces)."""
        return self._cma_bytes - sum(_pages(buffer.dram.size) for buffer in self._buffers.values())

    def release(self, buffer: FakeBuffer) -> None:
        """Take a buffer's memory back."""
        self._buffers.pop(buffer.physical_address, None)

    def set_clock_mhz(self, clock_mhz: float) -> float:
        # FCLK0 is the 1000 MHz IO PLL over two dividers of 1 to 63 (Zynq-7000 TRM, FPGA0_CLK_CTRL).
        achievable = (1000.0 / (first * second) for first in range(1, 64) for second in range(1, first + 1))
        self._clock_mhz = min(achievable, key=lambda mhz: abs(mhz - clock_mhz))
        return self._clock_mhz

    def now_s(self) -> float:
        self._time_s += READ_S
        return self._time_s

    def pause(self, duration_s: float) -> None:
        self.advance_s(duration_s)

    def advance_s(self, duration_s: float) -> None:
        """Let time pass on the fake's clock."""
        self._time_s += duration_s

    def facts(self) -> Dict[str, Any]:
        return {"device": "fake", "cma_free_bytes": self.cma_free_bytes(), "clock_mhz": self._clock_mhz}

    def close(self) -> None:
        self._buffers.clear()

    def dma_started(self) -> None:
        """Compute once both DMAs run; until then the stream waits, as on silicon."""
        source, sink = self._blocks[self._source.dma], self._blocks[self._sink.dma]
        source.settle()
        sink.settle()
        if source.idle or sink.idle:
            return
        expected = Expected(self._cycles_per_frame, self._latency_cycles, 0.0, "made up")
        cycles = batch_cycles(expected, (self._source,), source.frames)
        finish_s = self._time_s + cycles / (self._clock_mhz * 1e6)
        taken, given = self._memory(source, self._source), self._memory(sink, self._sink)
        if self._source.dma not in self.stuck:
            source.finish_at(finish_s)
        else:
            return
        frames = min(source.frames, sink.frames)
        packed = taken[: frames * self._source.frame_bytes]
        images = unpack_tensor(
            packed.reshape(self._source.batched(self._source.packed, frames)), self._source
        )
        answers = pack_tensor(np.asarray(self._model(images)), self._sink).reshape(-1)
        given[: answers.size] = answers
        # Fewer frames in than awaited at the output: the output DMA waits for ever.
        if sink.frames <= source.frames and self._sink.dma not in self.stuck:
            sink.finish_at(finish_s)

    def _memory(self, dma: FakeDma, tensor: Tensor) -> np.ndarray:
        wanted = dma.frames * tensor.frame_bytes
        for base, buffer in self._buffers.items():
            start = dma.address - base
            if start >= 0 and start + wanted <= buffer.dram.size:
                return buffer.dram[start : start + wanted]
        raise BusFault(
            "the DMA of {!r} was pointed at {:#x}, where no buffer of {} bytes lies".format(
                tensor.name, dma.address, wanted
            ),
            fix="write the buffer's physical_address, and keep the buffer until the run is over",
        )


def _pages(size_bytes: int) -> int:
    return (size_bytes + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
