"""A board made of Python, in this process: the mocked overlay.

A product, not a test helper: users without a board test their own code on it. It is never chosen
by itself. It refuses what hardware refuses and misbehaves as hardware does: caches are not
coherent, `done` clears when it is read, a busy DMA cannot be started, an address at which nothing
answers faults, contiguous memory is finite, and memory is never born zero.
"""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from labd_board.device import Buffer, Device, Registers
from labd_shared.errors import BoardError, BusFault, DmaBusy, OutOfMemory, unknown_name
from labd_shared.manifest import Expected
from labd_shared.packing import pack_tensor, unpack_tensor
from labd_shared.rates import cycles_s
from labd_shared.registers import Control, Iodma
from labd_shared.tensors import Tensor, count
from labd_shared.timing import batch_cycles

Model = Callable[..., Any]

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


class FakeMemory(Registers):
    """A memory behind AXI-lite: the weights of a layer that can be written at run time."""

    def __init__(self, name: str, words: int) -> None:
        self._name = name
        self.words = np.full(words, 0xDEADBEEF, np.uint32)

    def read(self, offset: int) -> int:
        return int(self.words[self._place(offset)])

    def write(self, offset: int, value: int) -> None:
        self.words[self._place(offset)] = value

    def _place(self, offset: int) -> int:
        if offset % 4 or not 0 <= offset < 4 * len(self.words):
            raise BusFault(
                "nothing answers at {} + {:#x}".format(self._name, offset),
                fix="it has {} words of 4 bytes".format(len(self.words)),
            )
        return offset // 4


class FakeDevice(Device):
    """A board in this process.

    Args:
        inputs, outputs: The accelerator's tensors, as in a manifest.
        model: Integers ``(n,) + input.normal[1:]``, one array an input, to ``(n,) + output.normal[1:]``; a
            tuple of such where there are several outputs.
        cycles_per_frame, latency_cycles: When `done` rises on the fake's clock (`labd_shared.timing`).
        cma_bytes: Contiguous memory there is.
        stuck: Names of DMAs that never finish.
        weight_dmas: Names of DMAs that read weights; without them nothing is computed. What they read is
            in `weights_read`.
        memories: Block -> 32-bit words it holds: weights that can be written at run time.
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
        weight_dmas: Sequence[str] = (),
        memories: Optional[Dict[str, int]] = None,
    ) -> None:
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._weight_dmas = tuple(weight_dmas)
        self._memories = dict(memories or {})
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
        self._dmas: Dict[str, FakeDma] = {}
        self.memories: Dict[str, FakeMemory] = {}
        self.weights_read: Dict[str, bytes] = {}

    def open(self) -> None:
        """Nothing is needed."""

    def program(self, bitfile: str) -> None:
        self.programmed = bitfile
        names = [tensor.dma for tensor in self._inputs + self._outputs]
        self._dmas = {name: FakeDma(self, name) for name in names + list(self._weight_dmas)}
        self.memories = {name: FakeMemory(name, words) for name, words in self._memories.items()}

    def registers(self, block: str) -> Registers:
        if self.programmed is None:
            raise BoardError("nothing is programmed", fix="call program(bitfile) first")
        blocks: Dict[str, Registers] = dict(self.memories, **self._dmas)
        if block not in blocks:
            raise unknown_name("block", block, blocks)
        return blocks[block]

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
                    wanted, self.contiguous_free_bytes()
                ),
                fix="use a smaller --batchsize",
                wanted_bytes=wanted,
                free_bytes=self.contiguous_free_bytes(),
            )
        self._buffers[address] = FakeBuffer(self, shape, address)
        return self._buffers[address]

    def contiguous_free_bytes(self) -> int:
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
        return {
            "device": "fake",
            "cma_free_bytes": self.contiguous_free_bytes(),
            "clock_mhz": self._clock_mhz,
        }

    def close(self) -> None:
        self._buffers.clear()

    def dma_started(self) -> None:
        """Compute once all DMAs run; until then the stream waits, as on silicon."""
        for dma in self._dmas.values():
            dma.settle()
        if any(dma.idle for dma in self._dmas.values()):
            return
        sources = [self._dmas[tensor.dma] for tensor in self._inputs]
        frames = min(source.frames for source in sources)
        expected = Expected(self._cycles_per_frame, self._latency_cycles, 0.0, "made up")
        cycles = batch_cycles(expected, self._inputs, frames)
        finish_s = self._time_s + cycles_s(cycles, self._clock_mhz)
        for name in self._weight_dmas:
            self.weights_read[name] = self._behind(self._dmas[name].address)
            self._dmas[name].finish_at(finish_s)
        images = [self._received(tensor, frames) for tensor in self._inputs]
        if any(tensor.dma in self.stuck for tensor in self._inputs):
            for source in sources:
                source.finish_at(None)
            return
        for source in sources:
            source.finish_at(finish_s)
        answers = self._model(*images)
        if len(self._outputs) == 1:
            answers = (answers,)
        for tensor, answer in zip(self._outputs, answers):
            sink = self._dmas[tensor.dma]
            packed = pack_tensor(np.asarray(answer), tensor).reshape(-1)[: sink.frames * tensor.frame_bytes]
            self._memory(sink, tensor)[: packed.size] = packed
            # Fewer frames in than awaited at the output: the output DMA waits for ever.
            if sink.frames <= frames and tensor.dma not in self.stuck:
                sink.finish_at(finish_s)

    def _received(self, tensor: Tensor, frames: int) -> np.ndarray:
        """What an input DMA brings, unpacked."""
        packed = self._memory(self._dmas[tensor.dma], tensor)[: frames * tensor.frame_bytes]
        return unpack_tensor(packed.reshape(tensor.batched(tensor.packed, frames)), tensor)

    def _behind(self, address: int) -> bytes:
        """What lies in the buffer at *address*."""
        if address not in self._buffers:
            raise BusFault(
                "a weight DMA was pointed at {:#x}, where no buffer lies".format(address),
                fix="write the buffer's physical_address, and keep the buffer until the run is over",
            )
        return self._buffers[address].dram.tobytes()

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
