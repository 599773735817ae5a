"""What the driver needs of a board, and nothing more.

Two doors lead to this contract: `labd_board.pynq_device` (the real pynq library, on silicon or on
a virtual board) and `labd_board.fake` (in-process, for tests). tests/contract runs one suite on all.
"""

import abc
import time
from typing import Any, Dict, Optional, Tuple

import numpy as np


class Buffer(abc.ABC):
    """Memory that processor and accelerator share, physically contiguous (CMA).

    The caches are NOT coherent: what the processor wrote reaches the accelerator with `flush`, what
    the accelerator wrote reaches the processor with `invalidate`. Only the driver calls them.

    Attributes:
        array: The processor's view.
        physical_address: Where the accelerator finds it, bytes.
    """

    array: np.ndarray
    physical_address = 0

    @abc.abstractmethod
    def flush(self) -> None:
        """Make the processor's writes visible to the accelerator."""

    @abc.abstractmethod
    def invalidate(self) -> None:
        """Make the accelerator's writes visible to the processor."""

    @abc.abstractmethod
    def free(self) -> None:
        """Give the memory back; the array must not be used afterwards. Twice is harmless."""


class Registers(abc.ABC):
    """The AXI-lite registers of one block, 32 bits each, by byte offset."""

    @abc.abstractmethod
    def read(self, offset: int) -> int:
        """The register's value. Reading may clear bits (`Control.DONE`)."""

    @abc.abstractmethod
    def write(self, offset: int, value: int) -> None:
        """Set the register."""

    def write_words(self, offset: int, words: np.ndarray) -> None:
        """Write uint32 *words* one after the other, the first at *offset*."""
        for index, word in enumerate(words.tolist()):
            self.write(offset + 4 * index, word)

    def read_words(self, offset: int, number: int) -> np.ndarray:
        """The *number* words from *offset* on, uint32."""
        return np.array([self.read(offset + 4 * index) for index in range(number)], np.uint32)


class Device(abc.ABC):
    """One board. Constructing it touches no hardware; `program` is the first call that does.

    Attributes:
        target: "hw" on silicon, "emu" where the accelerator is emulated.
        timing: Where this device's times come from: "measured on the board", "virtual board's
            clock: cycle model plus driver calls", "made up by the fake".
    """

    target = "hw"
    timing = "measured on the board"

    @abc.abstractmethod
    def open(self) -> None:
        """Find the board and check that this process may use it; programs nothing. `target` and
        `timing` hold from here on. Twice is harmless.

        Raises:
            SetupError: a library, a permission or an environment is missing.
        """

    @abc.abstractmethod
    def program(self, bitfile: str) -> None:
        """Load *bitfile* (its .hwh lies beside it under the same name) into the logic.

        Raises:
            WrongPart: the bitfile is for another device.
            ArtifactError: bitfile or .hwh cannot be read, or do not belong together.
            WrongTarget: the logic is emulated and the bundle has no network to compute with.
        """

    @abc.abstractmethod
    def registers(self, block: str) -> Registers:
        """The registers of the block called *block*, e.g. "idma0".

        Raises:
            BoardError: nothing is programmed.
            UnknownName: the overlay has no such block.
        """

    @abc.abstractmethod
    def allocate(self, shape: Tuple[int, ...]) -> Buffer:
        """A uint8 buffer; its content is undefined.

        Raises:
            OutOfMemory: no contiguous memory of that size is free.
        """

    @abc.abstractmethod
    def contiguous_free_bytes(self) -> Optional[int]:
        """Contiguous memory that nobody holds, bytes (it may lie in pieces); None where nobody knows."""

    @abc.abstractmethod
    def set_clock_mhz(self, clock_mhz: float) -> float:
        """Set FCLK0, MHz; returns the clock achieved, which the dividers may round."""

    @abc.abstractmethod
    def now_s(self) -> float:
        """The device's clock, s: monotonic. On a virtual board it stands still while the emulator
        computes, so that a deadline never blames the emulator for being slow."""

    def pause(self, duration_s: float) -> None:
        """Let others have the processor while a run takes longer than expected."""
        time.sleep(duration_s)

    @abc.abstractmethod
    def facts(self) -> Dict[str, Any]:
        """What `info` shows: library and image versions, part, free CMA, clock, ... JSON-able."""

    @abc.abstractmethod
    def close(self) -> None:
        """Free every buffer of this device. Twice is harmless."""
