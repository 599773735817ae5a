"""One IODMA of FINN's shell."""

from typing import Dict

from labd_board.device import Registers
from labd_shared.errors import DmaBusy
from labd_shared.registers import Control, Iodma


class DmaEngine(object):
    """Starts one IODMA and knows whether it is done.

    `done` clears when the control register is read, so `_status` is the only place that reads it,
    and what it saw is remembered.
    """

    def __init__(self, name: str, registers: Registers) -> None:
        self.name = name
        self._registers = registers
        self._done = False
        self.started_with = 0  # frames of the run that was started last

    def _status(self) -> Control:
        status = Control(self._registers.read(Iodma.CONTROL) & 0xFF)
        if status & Control.DONE:
            self._done = True
        return status

    def start(self, physical_address: int, frames: int) -> None:
        """Move *frames* frames from or to *physical_address*.

        Raises:
            DmaBusy: it is still running.
        """
        status = self._status()
        if not status & Control.IDLE:
            raise DmaBusy(
                "{} is still busy with a run before (control register {:#x})".format(self.name, int(status)),
                fix="program the bitfile again: python3 -m labd_board.selftest does",
                registers=self.registers(),
            )
        self._registers.write(Iodma.ADDRESS_LOW, physical_address & 0xFFFFFFFF)
        self._registers.write(Iodma.ADDRESS_HIGH, physical_address >> 32)
        self._registers.write(Iodma.REPETITIONS, frames)
        self._done = False
        self.started_with = frames
        self._registers.write(Iodma.CONTROL, int(Control.START))

    def is_done(self) -> bool:
        """Whether the run that was started last is over."""
        if not self._done:
            self._status()
        return self._done

    def repetitions(self) -> int:
        """How many frames the DMA itself counts to."""
        return self._registers.read(Iodma.REPETITIONS)

    def registers(self) -> Dict[str, str]:
        """Every register by name, hexadecimal, for messages; `done` is remembered, not lost."""
        status = int(self._status())
        values = {
            register.name: "{:#010x}".format(self._registers.read(register))
            for register in Iodma
            if register is not Iodma.CONTROL
        }
        values["CONTROL"] = "{:#04x} ({})".format(status, _bits(status))
        return values


def _bits(status: int) -> str:
    return "|".join(bit.name or "" for bit in Control if status & bit) or "nothing set"
