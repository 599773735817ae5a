"""A `pynq.Device` whose board is a process on the same machine.

pynq finds it by itself: its metaclass collects every subclass that can probe. Overlay, MMIO, Clocks,
register maps, PynqBuffer and allocate are pynq's own and unchanged. What the board refuses arrives as
a `RuntimeError` with the attribute ``labd_error``; labd's driver raises the error it holds.

Source: pynq 3.1.2 pl_server/device.py (the seam), pl_server/xrt_device.py (how it allocates).
"""

import ctypes
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from pynq.buffer import PynqBuffer
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynq.pl_server.device import Device
from pynqmetadata.frontends import Metadata

from .link import VARIABLE, Link, VirtualBoardError
from .register_window import RegisterWindow

STALE_CACHE = 0xA5  # what the processor sees in a buffer before it writes or invalidates

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


_NOTHING_LOADED = {
    "error": "BoardError",
    "what": "Overlay is not downloaded: pynq on a board allocates nothing before",
    "fix": "load a bitfile before the first allocate",
    "facts": {},
}


class Allocation:
    """Contiguous memory of this process: what XRT calls a buffer object.

    A cacheable one has pages of its own, the processor's cache; `flush` and `invalidate` copy
    between them and the memory that the DMAs see. Any other one is that memory.
    """

    def __init__(self, device: "VirtualDevice", size_bytes: int, cacheable: bool) -> None:
        self.size_bytes = size_bytes
        self.process = os.getpid()
        self.address = int(device.link.ask("allocate", bytes=size_bytes))
        self.shared = device.memory(self.address, size_bytes)
        self.pages = 0
        if cacheable:
            private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            pages = _LIBC.mmap(None, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)
            if pages in (None, ctypes.c_void_p(-1).value):
                raise MemoryError(os.strerror(ctypes.get_errno()))
            self.pages = int(pages)
            ctypes.memset(self.pages, STALE_CACHE, size_bytes)

    def view(self) -> memoryview:
        """The bytes as the processor sees them."""
        if not self.pages:
            return memoryview(self.shared)
        return memoryview((ctypes.c_ubyte * self.size_bytes).from_address(self.pages)).cast("B")

    def flush(self, offset: int, size_bytes: int) -> None:
        """Processor -> memory."""
        if self.pages:
            ctypes.memmove(self.shared.ctypes.data + offset, self.pages + offset, size_bytes)

    def invalidate(self, offset: int, size_bytes: int) -> None:
        """Memory -> processor."""
        if self.pages:
            ctypes.memmove(self.pages + offset, self.shared.ctypes.data + offset, size_bytes)

    def unmap(self) -> None:
        """Give the processor's pages back; touching them afterwards is a segmentation fault, as on a board."""
        if self.pages:
            _LIBC.munmap(self.pages, self.size_bytes)
            self.pages = 0


class Memory:
    """What a buffer is returned to; pynq's PynqBuffer calls `return_pointer` when it is freed."""

    def __init__(self, device: "VirtualDevice") -> None:
        self._device = device

    def return_pointer(self, allocation: Allocation) -> None:
        """Free what `VirtualDevice.allocate` got."""
        allocation.unmap()
        if allocation.process == os.getpid():  # a forked child does not own its parent's memory
            self._device.link.ask("free", address=allocation.address)


class VirtualDevice(Device):  # type: ignore[misc]
    """The PYNQ-Z2 that ``LABD_VIRTUAL_BOARD`` names.

    Attributes:
        emulated: True; how a program can tell.
    """

    _probe_priority_ = 10  # before pynq's own EmbeddedDevice, which has 50

    emulated = True
    name = "Pynq-Z2"
    arch = "armv7l"

    @classmethod
    def _probe_(cls) -> Any:
        folder = os.environ.get(VARIABLE)
        return [cls(folder)] if folder else []

    def __init__(self, folder: str) -> None:
        super().__init__("labd_virtual_board")
        self.capabilities = {"MEMORY_MAPPED": True}
        self.link = Link(folder)
        self._home = Memory(self)
        self._mapped: mmap.mmap | None = None
        self._mapped_by = 0
        self._base = 0
        from pynq import ps

        if hasattr(ps, "CPU_ARCH"):
            ps.CPU_ARCH = self.arch  # pynq 3.0 asks this machine for its processor, 3.1 the device

    # -- what labd's driver asks beyond pynq's contract ---------------------------------------

    def now_s(self) -> float:
        """The board's clock, s: monotonic, and it stands still while the emulator computes."""
        return float(self.link.ask("now"))

    def cma_free_bytes(self) -> int:
        """Contiguous memory that nobody holds, bytes."""
        return int(self.facts()["cma_free_bytes"])

    def facts(self) -> dict[str, Any]:
        """What the logic says of itself: part, bitfile, clock, memory, faults, the last events."""
        return dict(self.link.ask("facts"))

    # -- pynq's contract ----------------------------------------------------------------------

    def memory(self, address: int, size_bytes: int) -> Any:
        """The shared memory at a physical address, as bytes."""
        descriptor = self.link.memory_descriptor()
        if self._mapped is None or self._mapped_by != os.getpid():
            facts = self.facts()
            self._mapped = mmap.mmap(descriptor, int(facts["cma_bytes"]))
            self._base, self._mapped_by = int(facts["cma_base"]), os.getpid()
        return np.frombuffer(self._mapped, np.uint8, size_bytes, address - self._base)

    def mmap(self, base_addr: int, length: int) -> Any:
        """An array of 32-bit words at *base_addr*: contiguous memory as it is, the rest over the bus."""
        facts = self.facts()
        start = int(facts["cma_base"])
        if start <= base_addr and base_addr + length <= start + int(facts["cma_bytes"]):
            return self.memory(base_addr, length).view(np.uint32)
        return RegisterWindow(self.link, base_addr, length)

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        """What pynq reads of the .hwh beside the bitfile; pynq's cache in site-packages is left out."""
        parser = RuntimeMetadataParser(Metadata(input=Path(bitfile_name).with_suffix(".hwh")))
        parser.refresh_hierarchy_dict()
        return parser

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Load a bitfile into the logic."""
        if bitstream.partial:
            raise RuntimeError("a virtual board has no partial reconfiguration")
        self.link.ask("configure", bitfile=str(Path(bitstream.bitfile_name).absolute()))
        self.post_download(bitstream, parser or self.get_bitfile_metadata(bitstream.bitfile_name), self.name)

    def gen_cache(self, bitstream: Any, parser: Any = None) -> None:
        """Nothing to do: the metadata is parsed anew each time."""

    def shutdown(self) -> None:
        """Nothing to do: the design has no shutdown manager."""

    def allocate(
        self,
        shape: int | tuple[int, ...],
        dtype: Any = "u4",
        cacheable: bool | int = 0,
        **kwargs: Any,
    ) -> Any:
        """A buffer that processor and accelerator share, as pynq's XRT device makes it."""
        if kwargs:
            raise TypeError("allocate does not take {}".format(", ".join(sorted(kwargs))))
        if not hasattr(self, "mem_dict") and self.facts()["bitfile"] is None:
            raise VirtualBoardError(_NOTHING_LOADED)
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            allocation = Allocation(self, max(size_bytes, 1), bool(cacheable))
        except VirtualBoardError as error:
            raise VirtualBoardError(error.labd_error, prefix="BO allocation failed: ") from error
        buffer = PynqBuffer(
            shape,
            dtype,
            bo=allocation,
            device=self,
            buffer=allocation.view(),
            device_address=allocation.address,
            coherent=False,
        )
        # pynq frees through these; without `pointer` it would call a libc it loads on a board only.
        buffer.memory = self._home
        buffer.pointer = allocation
        buffer.return_to = _Once(self._home, buffer)
        return buffer

    def flush(self, bo: Allocation, offset: int, ptr: int, size: int) -> None:
        """Make the processor's writes visible to the accelerator."""
        bo.flush(offset, size)

    def invalidate(self, bo: Allocation, offset: int, ptr: int, size: int) -> None:
        """Make the accelerator's writes visible to the processor."""
        bo.invalidate(offset, size)

    def close(self) -> None:
        """Nothing to do: the connection ends with the process."""


class _Once:
    """Marks a buffer as freed, because pynq frees a second time when the array is collected."""

    def __init__(self, home: Memory, buffer: Any) -> None:
        self._home = home
        self._buffer = weakref.ref(buffer)

    def return_pointer(self, allocation: Allocation) -> None:
        self._home.return_pointer(allocation)
        buffer = self._buffer()
        if buffer is not None:
            buffer.freed = True
