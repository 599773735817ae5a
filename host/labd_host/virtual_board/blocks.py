"""What answers on the bus of a virtual board: the clock registers, the IODMAs, any other block.

Source: Xilinx UG585 appendix B.28 (SLCR: PLL and FPGA clock control, reset values of a PYNQ-Z2);
Vitis HLS UG1399, S_AXILITE control register (which bits clear when read).
"""

from __future__ import annotations

from labd_shared.errors import DmaBusy
from labd_shared.registers import Control, Iodma

WORD = 0xFFFF_FFFF


class RegisterFile:
    """Registers that keep what is written to them, 32 bits each, and read as 0 before."""

    def __init__(self, name: str, base: int, size_bytes: int) -> None:
        self.name, self.base, self.size_bytes = name, base, size_bytes
        self._values: dict[int, int] = {}

    def peek(self, offset: int) -> int:
        """The register's value, without the side effects of reading it."""
        return self._values.get(offset, 0)

    def read(self, offset: int) -> int:
        """The register's value, as the bus gives it."""
        return self.peek(offset)

    def write(self, offset: int, value: int) -> bool:
        """Set a register; True where the write starts the block."""
        self._values[offset] = value & WORD
        return False


class Slcr(RegisterFile):
    """The system-level control registers, as far as they set clocks."""

    REFERENCE_MHZ = 50.0
    ARM_PLL, DDR_PLL, IO_PLL, ARM_CLOCK = 0x100, 0x104, 0x108, 0x120
    FPGA_CLOCKS = (0x170, 0x180, 0x190, 0x1A0)
    SOURCES = (IO_PLL, IO_PLL, ARM_PLL, DDR_PLL)  # by the two bits that choose one

    def __init__(self) -> None:
        super().__init__("slcr", 0xF800_0000, 0x1000)
        self.power_up()

    def power_up(self) -> None:
        """Take the reset values."""
        self._values = {self.ARM_PLL: 26 << 12, self.DDR_PLL: 21 << 12, self.IO_PLL: 20 << 12}
        self._values[self.ARM_CLOCK] = 0x1F00_0200
        for offset in self.FPGA_CLOCKS:
            self._values[offset] = 1 << 20 | 20 << 8  # 1000 MHz / (1 * 20)

    def fclk_mhz(self, index: int = 0) -> float:
        """The clock the logic runs at, MHz."""
        setting = self.peek(self.FPGA_CLOCKS[index])
        multiplier = self.peek(self.SOURCES[setting >> 4 & 3]) >> 12 & 127
        first, second = setting >> 8 & 63, setting >> 20 & 63
        return self.REFERENCE_MHZ * multiplier / (max(first, 1) * max(second, 1))


class DmaBlock(RegisterFile):
    """One of FINN's IODMAs: a Vitis HLS block under the ap_ctrl_hs protocol."""

    def __init__(self, name: str, base: int, size_bytes: int) -> None:
        super().__init__(name, base, size_bytes)
        self.running = False
        self._events = Control(0)  # DONE and READY, until somebody reads them

    @property
    def address(self) -> int:
        """Physical address of the buffer."""
        return self.peek(Iodma.ADDRESS_HIGH) << 32 | self.peek(Iodma.ADDRESS_LOW)

    @property
    def repetitions(self) -> int:
        """Frames of this transfer."""
        return self.peek(Iodma.REPETITIONS)

    def peek(self, offset: int) -> int:
        if offset != Iodma.CONTROL:
            return super().peek(offset)
        return int(self._events | (Control.START if self.running else Control.IDLE))

    def read(self, offset: int) -> int:
        value = self.peek(offset)
        if offset == Iodma.CONTROL:
            self._events = Control(0)
        return value

    def write(self, offset: int, value: int) -> bool:
        """Set a register; True where it starts the DMA.

        Raises:
            DmaBusy: it is running. Silicon ignores such a start without a word.
        """
        if offset != Iodma.CONTROL:
            return super().write(offset, value)
        if not value & Control.START:
            return False
        if self.running:
            raise DmaBusy(
                f"{self.name} was started while it was still running",
                fix="wait for its done bit before the next start",
                block=self.name,
            )
        self.running, self._events = True, Control(0)
        return True

    def finish(self) -> None:
        """The transfer is over: raise done and ready."""
        self.running, self._events = False, Control.DONE | Control.READY
