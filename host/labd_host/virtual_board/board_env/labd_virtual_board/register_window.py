"""A window on the bus: an array of 32-bit registers in which each access of an element is one access
of the bus, so that clear-on-read, starts and faults happen as they do on /dev/mem.
"""

from typing import Any

import numpy as np

from .link import Link


class RegisterWindow(np.ndarray):
    """What `pynq.MMIO` and pynq's register maps read and write.

    Reading or writing one element goes over the bus. Slices are windows of their own; what numpy
    copies out of a longer slice is what the registers held when the slice was made, read without
    side effects.
    """

    _link: Any
    _base: int
    _origin: int

    def __new__(cls, link: Link, base: int, size_bytes: int) -> "RegisterWindow":
        values = np.zeros(size_bytes >> 2, np.uint32)
        window = values.view(cls)
        window._link, window._base = link, base
        window._origin = values.__array_interface__["data"][0]
        return window

    def __array_finalize__(self, obj: Any) -> None:
        self._link = getattr(obj, "_link", None)
        self._base = getattr(obj, "_base", 0)
        self._origin = getattr(obj, "_origin", 0)

    @property
    def _is_on_the_bus(self) -> bool:
        """Whether this is a piece of the window, not a result computed from it."""
        return self._link is not None and self.dtype == np.uint32 and self.ndim == 1 and self.base is not None

    def _address(self, index: int) -> int:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"register {index} of {size}")
        offset = int(self.__array_interface__["data"][0]) - self._origin
        return int(self._base + offset + 4 * (index % size))

    def __getitem__(self, index: Any) -> Any:
        if not self._is_on_the_bus:
            return super().__getitem__(index)
        if not isinstance(index, slice):
            return np.uint32(self._link.ask("read", address=self._address(int(index))))
        start, stop, step = index.indices(len(self))
        if step == 1 and stop - start > 1:
            held = self._link.ask("peek", address=self._address(start), words=stop - start)
            self.view(np.ndarray)[index] = held  # numpy's own assignment would slice this window again
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if not self._is_on_the_bus:
            super().__setitem__(index, value)
        elif isinstance(index, slice):
            places = range(*index.indices(len(self)))
            words = np.broadcast_to(np.asarray(value), (len(places),))
            for place, word in zip(places, words, strict=True):
                self._link.ask("write", address=self._address(place), value=int(word))
        else:
            self._link.ask("write", address=self._address(int(index)), value=int(value))
