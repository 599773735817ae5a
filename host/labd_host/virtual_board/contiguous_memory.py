"""The memory that processor and accelerator of a virtual board share.

A PYNQ-Z2 has 512 MB of DDR; its image gives the topmost 128 MB to the contiguous memory allocator.
Here that is a sparse memory file: whoever gets its descriptor maps the same pages.

Source: PYNQ-Z2 image 3.1, kernel argument cma=128M; Xilinx UG585 chapter 4 (address map).
"""

from __future__ import annotations

import mmap
import os

import numpy as np
import numpy.typing as npt

from labd_shared.errors import OutOfMemory

CMA_BASE, CMA_BYTES = 0x1800_0000, 0x0800_0000
PAGE_BYTES = mmap.PAGESIZE
STALE = 0x5A  # what fresh memory holds: nobody gets right answers from data never written


class ContiguousMemory:
    """The board's CMA area. Not thread-safe: its owner holds a lock.

    Attributes:
        descriptor: Of the memory file, to pass to another process.
    """

    def __init__(self, base: int = CMA_BASE, size_bytes: int = CMA_BYTES) -> None:
        self.base, self.size_bytes = base, size_bytes
        self.descriptor = os.memfd_create("labd-cma", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, size_bytes)
        self._pages = mmap.mmap(self.descriptor, size_bytes)
        self._taken: dict[int, tuple[int, object]] = {}  # address -> bytes, owner

    def close(self) -> None:
        """Give the memory back. Views of it must not be alive."""
        self._pages.close()
        os.close(self.descriptor)

    @property
    def free_bytes(self) -> int:
        """Bytes nobody holds, in pages that need not be neighbours."""
        return self.size_bytes - sum(size for size, _ in self._taken.values())

    def allocate(self, size_bytes: int, owner: object) -> int:
        """The physical address of *size_bytes*, rounded up to pages; their content is stale.

        Raises:
            OutOfMemory: no hole is large enough.
        """
        wanted = max(-(-size_bytes // PAGE_BYTES), 1) * PAGE_BYTES
        address = self.base
        for taken in sorted(self._taken):
            if taken - address >= wanted:
                break
            address = taken + self._taken[taken][0]
        if address + wanted > self.base + self.size_bytes:
            raise OutOfMemory(
                f"{size_bytes} bytes of contiguous memory were asked for, {self.free_bytes} of "
                f"{self.size_bytes} are free",
                fix="use a smaller --batchsize, or free the buffers of other programs",
                wanted_bytes=size_bytes,
                free_bytes=self.free_bytes,
            )
        self._taken[address] = (wanted, owner)
        self.view(address, wanted)[:] = STALE
        return address

    def free(self, address: int, owner: object) -> None:
        """Take back what *owner* got at *address*; anything else is ignored."""
        size_bytes, holder = self._taken.get(address, (0, None))
        if size_bytes and holder is owner:
            del self._taken[address]
            self._pages.madvise(mmap.MADV_REMOVE, address - self.base, size_bytes)

    def free_all(self, owner: object) -> None:
        """Take back everything *owner* holds."""
        for address in [address for address, (_, holder) in self._taken.items() if holder is owner]:
            self.free(address, owner)

    def holds(self, address: int, size_bytes: int) -> bool:
        """Whether the range lies inside one allocation."""
        return any(
            start <= address and address + size_bytes <= start + size
            for start, (size, _) in self._taken.items()
        )

    def view(self, address: int, size_bytes: int) -> npt.NDArray[np.uint8]:
        """The bytes at a physical address inside the area."""
        return np.frombuffer(self._pages, np.uint8, size_bytes, address - self.base)
