"""The programmable logic of a virtual board: a bus, the blocks on it, and the accelerator.

It is as unforgiving as silicon, and where silicon would hang or corrupt something without a word it
says so: an address where nothing is faults, a start of a running DMA is an error, and a DMA that is
sent outside the memory somebody allocated never finishes and leaves an event.

Time comes from the cycle model (`labd_shared.timing`: interval, pipeline fill, the input DMA's beats and
bursts) at the clock that the SLCR registers give. While the network is being computed the device's clock
stands still.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labd_host.virtual_board.blocks import DmaBlock, RegisterFile, Slcr
from labd_host.virtual_board.contiguous_memory import ContiguousMemory
from labd_host.virtual_board.device_clock import DeviceClock
from labd_host.virtual_board.logic_faults import check_faults, without_class
from labd_host.virtual_board.overlay import (
    FrameComputer,
    Frames,
    LoadNetwork,
    Overlay,
    load_golden_model,
    load_overlay,
)
from labd_host.virtual_board.stream import Stream
from labd_host.virtual_board.weight_memory_block import Rewriting, WeightMemory
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import BoardError, BusFault, DmaBusy, OutOfMemory
from labd_shared.registers import Iodma
from labd_shared.timing import behind_the_dma, leaving_cycles

LAST_EVENTS = 50
SPINNING = 3  # so many status reads with no write between them are a processor that only waits
STUCK_STEP_S = 0.002  # time then passes in steps of this, where nothing is going to happen
STATUS_PATIENCE_S = 0.1  # a status read waits so long for the emulator, and then says "running"

LOG = logging.getLogger(__name__)


@dataclass
class _Output:
    """A running output transfer and the frames it has got so far."""

    dma: DmaBlock
    address: int
    missing: int
    start_s: float
    frames: list[Frames] = field(default_factory=list)


@dataclass(frozen=True)
class _Computation:
    """Frames that an input DMA brought, and the networks that compute so many of them in turn."""

    overlay: Overlay
    dma: DmaBlock
    packed: Frames
    parts: list[tuple[int, FrameComputer]]
    start_s: float
    cycle_s: float


class ProgrammableLogic:
    """The logic of one board; every method may be called from any thread.

    Args:
        memory: What the DMAs reach.
        clock: The board's time.
        part: The device.
        load_network: Reads a network.npz.
    """

    def __init__(
        self,
        memory: ContiguousMemory,
        *,
        clock: DeviceClock | None = None,
        part: str = PYNQ_Z2_PART,
        load_network: LoadNetwork = load_golden_model,
    ) -> None:
        self.memory, self.part = memory, part
        self._clock = clock or DeviceClock()
        self._load_network = load_network
        self._slcr = Slcr()
        self._faults: frozenset[str] = frozenset()
        self._deliveries = 0
        self._log: deque[str] = deque(maxlen=LAST_EVENTS)
        self._changed = threading.Condition()
        self._closed = False
        self._spins = 0
        self._computing = 0  # batches that are or will be computed
        self._broken: BoardError | None = None
        self._unplug()
        self._thread = threading.Thread(target=self._work, name="programmable-logic", daemon=True)
        self._thread.start()

    def _unplug(self) -> None:
        """Forget the accelerator: what was running on it is lost, as on silicon."""
        self._overlay: Overlay | None = None
        self._blocks: list[RegisterFile] = [self._slcr]
        self._dmas: dict[str, DmaBlock] = {}
        self._streams: dict[str, Stream] = {}
        self._network: Rewriting[FrameComputer] | None = None
        self._computations: deque[_Computation] = deque()
        self._inputs: list[tuple[DmaBlock, float]] = []  # fed, and when the last frame was taken in
        self._outputs: list[_Output] = []  # waiting for frames
        self._events: list[tuple[float, Callable[[], None]]] = []

    def close(self) -> None:
        """Stop; what is running is lost."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=5.0)

    # -- what a board's processor asks for ---------------------------------------------------

    def configure(self, bitfile: Path) -> None:
        """Load a bitfile. Raises what `load_overlay` raises, and leaves the logic as it was then."""
        with self._changed:
            self._clock.freeze()
        try:
            overlay = load_overlay(bitfile, self.part, self._load_network)
            with self._changed:
                for _ in self._computations:  # each of them holds the clock, and none will run now
                    self._clock.thaw()
                    self._computing -= 1
                self._unplug()
                self._broken = None
                self._overlay = overlay
                for tensor in (overlay.input, *overlay.outputs):
                    block = overlay.blocks[tensor.dma]
                    self._dmas[tensor.dma] = DmaBlock(tensor.dma, block.base, block.size)
                self._streams = {tensor.dma: Stream() for tensor in overlay.outputs}
                memories = overlay.memories()
                self._network = Rewriting(overlay.network, memories)
                self._blocks += [*self._dmas.values(), *memories]
                self._blocks += [
                    RegisterFile(name, block.base, block.size)
                    for name, block in overlay.blocks.items()
                    if name not in self._dmas and name not in overlay.writable
                ]
                self._event(f"configured with {bitfile}: {', '.join(sorted(overlay.blocks))}")
        finally:
            with self._changed:
                self._clock.thaw()
                self._changed.notify_all()

    def read(self, address: int) -> int:
        """Read a register over the bus; reading the status of a DMA clears its done bit.

        Raises:
            BusFault: nothing answers at *address*.
            BoardError: the emulator itself failed to compute a batch.
        """
        with self._changed:
            block, offset = self._at(address)
            if isinstance(block, DmaBlock) and offset == Iodma.CONTROL:
                # A poll during a computation would only slow it down: no time passes on the board.
                self._changed.wait_for(lambda: not self._computing, STATUS_PATIENCE_S)
                self._settle()
                if block.running and not self._computing:
                    self._skip_what_is_only_waited_for()
                if self._broken is not None:
                    raise self._broken
            return block.read(offset)

    def _skip_what_is_only_waited_for(self) -> None:
        """Let a processor that spins see the next event now, or a stuck DMA run into its deadline."""
        self._spins += 1
        if self._spins <= SPINNING:
            return
        moments = [moment_s for moment_s, _ in self._events]
        self._clock.skip_to(min(moments) if moments else self._clock.now_s() + STUCK_STEP_S)
        self._settle()

    @contextlib.contextmanager
    def no_time_passes(self, lost_s: float = 0.0) -> Iterator[None]:
        """While a request is served; *lost_s* of the time since the last one is taken back, too."""
        with self._changed:
            self._clock.lose(lost_s)
            self._clock.freeze()
        try:
            yield
        finally:
            with self._changed:
                self._clock.thaw()

    def peek(self, address: int, words: int) -> list[int]:
        """Neighbouring registers without the side effects of reading them."""
        with self._changed:
            self._settle()
            found = [self._at(address + 4 * index) for index in range(words)]
            return [block.peek(offset) for block, offset in found]

    def write(self, address: int, value: int) -> None:
        """Write a register over the bus; the start bit starts a DMA.

        Raises:
            BusFault: nothing answers at *address*.
            DmaBusy: a running DMA was started, or weights were written while one was running.
        """
        with self._changed:
            block, offset = self._at(address)
            self._spins = 0
            self._settle()
            if block is self._slcr and offset in Slcr.FPGA_CLOCKS and "clock-refused" in self._faults:
                self._event(f"clock register {offset:#x} keeps its value: a fault that is switched on")
                return
            try:
                if isinstance(block, WeightMemory):
                    self._check_idle(block)
                started = block.write(offset, value)
            except DmaBusy as error:
                self._event(error.what)
                raise
            if started and isinstance(block, DmaBlock):
                self._start(block)

    def now_s(self) -> float:
        """The board's time, s."""
        with self._changed:
            return self._clock.now_s()

    def allocate(self, size_bytes: int, owner: object) -> int:
        """Contiguous memory for *owner*; its physical address. Raises OutOfMemory."""
        with self._changed:
            if "no-memory" in self._faults:
                raise OutOfMemory(
                    f"{size_bytes} bytes of contiguous memory were asked for, 0 of {self.memory.size_bytes} are free",
                    fix="end the program that holds it, or restart the board",
                    wanted_bytes=size_bytes,
                    free_bytes=0,
                )
            return self.memory.allocate(size_bytes, owner)

    def free(self, address: int, owner: object) -> None:
        """Take back contiguous memory of *owner*."""
        with self._changed:
            self.memory.free(address, owner)

    def free_all(self, owner: object) -> None:
        """Take back all memory of an *owner* who is gone."""
        with self._changed:
            self.memory.free_all(owner)

    def set_faults(self, names: Iterable[str]) -> None:
        """Switch exactly these faults on, from the next transfer on. Raises UnknownName."""
        wanted = check_faults(names)
        with self._changed:
            self._faults = frozenset(wanted)
            if "clock-refused" in wanted:
                self._slcr.power_up()
            self._event(f"faults: {', '.join(sorted(wanted)) or 'none'}")

    def facts(self) -> dict[str, Any]:
        """What can be said of the logic, JSON-able."""
        with self._changed:
            return {
                "part": self.part,
                "bitfile": str(self._overlay.bitfile) if self._overlay else None,
                "fclk0_mhz": round(self._slcr.fclk_mhz(), 6),
                "cma_base": self.memory.base,
                "cma_bytes": self.memory.size_bytes,
                "cma_free_bytes": 0 if "no-memory" in self._faults else self.memory.free_bytes,
                "faults": sorted(self._faults),
                "events": list(self._log),
            }

    # -- the hardware, all of it under the lock -----------------------------------------------

    def _event(self, what: str) -> None:
        self._log.append(f"{self._clock.now_s():.6f} s: {what}")
        LOG.info("%s", self._log[-1])

    def _at(self, address: int) -> tuple[RegisterFile, int]:
        for block in self._blocks:
            if block.base <= address < block.base + block.size_bytes:
                return block, address - block.base
        self._event(f"bus fault at {address:#010x}")
        raise BusFault(
            f"nothing answers at address {address:#010x}: a real board would hang here",
            fix="take addresses from the .hwh of the bitfile that is loaded, and load it first",
            address=address,
        )

    def _check_idle(self, memory: WeightMemory) -> None:
        """See to it that no frame meets weights of which a part is written."""
        for dma in self._dmas.values():
            if dma.running:
                raise DmaBusy(
                    f"{memory.name} was written while {dma.name} was running: its frames meet old and new weights",
                    fix="wait for the done bit of every DMA before weights are written",
                    block=memory.name,
                )

    def _start(self, dma: DmaBlock) -> None:
        overlay, network = self._overlay, self._network
        if overlay is None or network is None:
            raise BoardError(f"{dma.name} was started without an accelerator", fix="load a bitfile first")
        is_input = dma.name == overlay.input.dma
        tensor = overlay.input if is_input else next(t for t in overlay.outputs if t.dma == dma.name)
        if ("stuck-idma" if is_input else "stuck-odma") in self._faults:
            self._event(f"{dma.name} is stuck: a fault that is switched on")
            return
        frames, address = dma.repetitions, dma.address
        size_bytes = frames * tensor.frame_bytes
        if frames and not self.memory.holds(address, size_bytes):
            self._event(f"{dma.name} is stuck: {size_bytes} bytes at {address:#010x} are not allocated")
            return
        now_s = self._clock.now_s()
        if is_input:
            cycle_s = 1e-6 / self._slcr.fclk_mhz()
            packed = self.memory.view(address, size_bytes).reshape(frames, -1).copy() if frames else None
            if packed is None:
                self._events.append((now_s, dma.finish))
            else:
                self._clock.freeze()
                self._computing += 1
                self._computations.append(
                    _Computation(overlay, dma, packed, network.next_frames(frames), now_s, cycle_s)
                )
        else:
            self._outputs.append(_Output(dma, address, frames, now_s))
            self._move()
        self._changed.notify_all()

    def _fed(self, dma: DmaBlock, outputs: list[Frames], start_s: float, cycle_s: float) -> None:
        """A batch was computed: its frames are inside the accelerator."""
        overlay = self._overlay
        if overlay is None:
            return
        expected, sources = overlay.expected, (overlay.input,)
        leaving_s = start_s + leaving_cycles(expected, sources, len(outputs[0])) * cycle_s
        taken_s = float(leaving_s[-1]) - behind_the_dma(expected, sources) * cycle_s
        if "dead-fifo" in self._faults:
            self._event("the frames are stuck behind a dead FIFO: a fault that is switched on")
            if len(outputs[0]) <= overlay.depth_frames:  # so many find room before it
                self._events.append((taken_s, dma.finish))
            return
        for tensor, frames in zip(overlay.outputs, outputs, strict=True):
            if "wrong-results" in self._faults:
                frames[:, 0] ^= 1
            if "wrong-class" in self._faults:
                frames = without_class(frames, tensor)
            self._streams[tensor.dma].put(frames, leaving_s, expected.cycles_per_frame * cycle_s)
        self._inputs.append((dma, taken_s))
        self._move()

    def _move(self) -> None:
        """Let frames leave where an output DMA waits for them, and inputs end that found room."""
        for output in self._outputs:
            frames, finish_s = self._streams[output.dma.name].take(output.missing, output.start_s)
            output.frames.append(frames)
            output.missing -= len(frames)
            if not output.missing:
                self._events.append((finish_s, functools.partial(self._deliver, output)))
        self._outputs = [output for output in self._outputs if output.missing]
        room = self._overlay is not None and all(
            len(stream) <= self._overlay.depth_frames for stream in self._streams.values()
        )
        if room:
            now_s = self._clock.now_s()
            self._events += [(max(taken_s, now_s), dma.finish) for dma, taken_s in self._inputs]
            self._inputs = []

    def _deliver(self, output: _Output) -> None:
        data = np.concatenate([frames.reshape(-1) for frames in output.frames])
        self._deliveries += 1
        if "stale-buffer" in self._faults and self._deliveries % 2 == 0:
            self._event(f"{output.dma.name} wrote nothing: a fault that is switched on")
        elif self.memory.holds(output.address, data.size):
            self.memory.view(output.address, data.size)[:] = data
        elif data.size:
            self._event(f"{output.dma.name} wrote to {output.address:#010x} after that memory was freed")
        output.dma.finish()

    def _settle(self) -> None:
        """Let everything happen that the device's clock has reached."""
        now_s = self._clock.now_s()
        due = sorted((event for event in self._events if event[0] <= now_s), key=lambda event: event[0])
        if due:
            self._events = [event for event in self._events if event[0] > now_s]
            for _, happen in due:
                happen()

    def _work(self) -> None:
        """The emulator's own thread: computes batches and lets time-outs of the model happen."""
        with self._changed:
            while not self._closed:
                if self._computations:
                    self._compute(self._computations.popleft())
                    continue
                self._settle()
                wait_s = None
                if self._events:
                    wait_s = max(min(event[0] for event in self._events) - self._clock.now_s(), 0.0)
                self._changed.wait(wait_s)

    def _compute(self, work: _Computation) -> None:
        self._changed.release()
        outputs: list[Frames] | None = None
        failure: Exception | None = None
        try:
            outputs = work.overlay.compute(work.packed, work.parts)
        except Exception as error:  # noqa: BLE001 - it is handed to the board's program, see `read`
            LOG.exception("computing a batch of %d frames failed", len(work.packed))
            failure = error
        finally:
            self._changed.acquire()
        self._clock.thaw()
        self._computing -= 1
        if work.overlay is self._overlay:
            if outputs is not None:
                self._fed(work.dma, outputs, work.start_s, work.cycle_s)
            else:
                self._broken = BoardError(
                    f"the virtual board could not compute a batch: {failure!r}",
                    fix="load the bitfile again; the board's logic.log has the traceback",
                )
        self._changed.notify_all()
