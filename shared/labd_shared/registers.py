"""Register map of FINN's IODMA, as seen over AXI-lite.

Source: Xilinx/finn 39f0c9a, src/finn/qnn-data/templates/driver/driver_base.py:350-388 (offsets);
Vitis HLS s_axilite block-level protocol ap_ctrl_hs (control bits).
"""

from enum import IntEnum, IntFlag


class Iodma(IntEnum):
    """Byte offsets of an IODMA's registers."""

    CONTROL = 0x00
    ADDRESS_LOW = 0x10  # physical address of the buffer, bits 31..0
    ADDRESS_HIGH = 0x14  # bits 63..32: always 0 on a Zynq-7000
    REPETITIONS = 0x1C  # numReps: frames in this transfer


class Control(IntFlag):
    """Bits of `Iodma.CONTROL`."""

    START = 1 << 0
    DONE = 1 << 1  # CLEARS WHEN READ: whoever reads it must remember it
    IDLE = 1 << 2
    READY = 1 << 3  # clears when read, too
    AUTO_RESTART = 1 << 7
