"""The door to the real pynq library: on a PYNQ board, and unchanged on a virtual one.

pynq is imported here only, and only when hardware is about to be touched: importing it takes
seconds on a board, and everything that can be refused is refused before.

Source: PYNQ 2.5 to 3.1.2 (Overlay, allocate, PynqBuffer, pynq.ps.Clocks); images 2.5 and 2.6 are
covered by the fake only, their library cannot run outside a board.
"""

import os
import platform
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from labd_board.device import Buffer, Device, Registers
from labd_board.surroundings import own, prepare, right_command
from labd_shared.bitfile import PYNQ_Z2_PART, check_part, read_bit
from labd_shared.errors import (
    ArtifactError,
    BoardError,
    BusFault,
    LabdError,
    OutOfMemory,
    PermissionMissing,
    SetupError,
    WrongVersion,
    from_wire,
    unknown_name,
)
from labd_shared.tensors import count

PART = PYNQ_Z2_PART  # the PYNQ-Z1 has the same


class PynqBufferOf(Buffer):
    """A `pynq.buffer.PynqBuffer`, cacheable, so that flush and invalidate matter."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self.array = buffer
        # device_address since 2.5; physical_address before and beside it
        self.physical_address = int(getattr(buffer, "device_address", None) or buffer.physical_address)

    def flush(self) -> None:
        self._buffer.flush()

    def invalidate(self) -> None:
        self._buffer.invalidate()

    def free(self) -> None:
        if self._buffer is not None:
            self.array = np.empty(0, np.uint8)  # what it was is unmapped: touching it would end the process
            self._buffer.freebuffer()
            self._buffer = None


class PynqRegisters(Registers):
    """A block's registers through pynq's MMIO."""

    def __init__(self, name: str, block: Any) -> None:
        self._name = name
        self._block = block

    def read(self, offset: int) -> int:
        try:
            return int(self._block.read(int(offset)))
        except Exception as error:
            raise _translated(error, "reading {} + {:#x} failed".format(self._name, offset)) from error

    def write(self, offset: int, value: int) -> None:
        try:
            self._block.write(int(offset), int(value))
        except Exception as error:
            raise _translated(error, "writing {} + {:#x} failed".format(self._name, offset)) from error


class PynqDevice(Device):
    """The board this process runs on."""

    def __init__(self) -> None:
        self._pynq: Any = None
        self._overlay: Any = None
        self._blocks: Dict[str, Any] = {}
        self._buffers: List[PynqBufferOf] = []

    def open(self) -> None:
        """Import pynq and check that this process may use the hardware.

        Raises:
            SetupError: pynq cannot be imported.
            WrongVersion: pynq 4 on a Zynq-7000.
            PermissionMissing: not root, or the XRT environment is missing.
        """
        self._library()

    def _library(self) -> Any:
        if self._pynq is None:
            pynq = _import_pynq()
            if getattr(_active_device(pynq), "emulated", False):
                self.target = "emu"
                self.timing = "virtual board's clock: cycle model plus driver calls"
            elif os.geteuid() != 0:
                raise PermissionMissing(
                    "this process runs as user id {}, programming the logic needs root".format(os.geteuid()),
                    fix=right_command(own()),
                )
            self._pynq = pynq
        return self._pynq

    def program(self, bitfile: str) -> None:
        from labd_shared.hwh import read_hwh  # and with it the XML parser

        check_part(read_bit(bitfile), PART)
        hwh = read_hwh(Path(bitfile).with_suffix(".hwh"))
        pynq = self._library()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pynq warns of its own deprecations
                self._overlay = pynq.Overlay(bitfile, download=True)
        except Exception as error:
            raise _translated(error, "pynq could not load {}".format(Path(bitfile).name)) from error
        self._blocks = hwh.blocks

    def registers(self, block: str) -> PynqRegisters:
        if self._overlay is None:
            raise BoardError("nothing is programmed", fix="call program(bitfile) first")
        if block not in self._blocks:
            raise unknown_name("block", block, self._blocks)
        # By the addresses of the .hwh beside the bitfile: pynq 3 caches an older one of the same bitfile.
        where = self._blocks[block]
        return PynqRegisters(block, self._pynq.MMIO(where.base, where.size))

    def allocate(self, shape: Tuple[int, ...]) -> PynqBufferOf:
        pynq = self._library()
        try:
            buffer = PynqBufferOf(pynq.allocate(shape=shape, dtype="u1", cacheable=True))
        except (MemoryError, RuntimeError, OSError) as error:
            carried = _carried(error)
            if carried is not None:
                raise carried from error
            raise OutOfMemory(
                "{} bytes of contiguous memory could not be allocated: {}".format(count(shape), error),
                fix="use a smaller --batchsize, or end other programs that use the board",
                wanted_bytes=count(shape),
                free_bytes=_cma_free_bytes(_active_device(pynq)),
            ) from error
        self._buffers.append(buffer)
        return buffer

    def contiguous_free_bytes(self) -> Optional[int]:
        return _cma_free_bytes(_active_device(self._library()))

    def set_clock_mhz(self, clock_mhz: float) -> float:
        self.open()
        from pynq.ps import Clocks

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pynq warns when the dividers round; we report the result
            Clocks.fclk0_mhz = clock_mhz
        return float(Clocks.fclk0_mhz)

    def now_s(self) -> float:
        if self._pynq is not None:
            clock = getattr(_active_device(self._pynq), "now_s", None)
            if clock is not None:
                return float(clock())
        return time.perf_counter()

    def facts(self) -> Dict[str, Any]:
        pynq = self._library()
        active = _active_device(pynq)
        from pynq.ps import Clocks

        return {
            "device": str(getattr(active, "name", "unknown")),
            "target": self.target,
            "timing": self.timing,
            "pynq": str(pynq.__version__),
            "part": PART,
            "clock_mhz": round(float(Clocks.fclk0_mhz), 3),
            "cma_free_bytes": _cma_free_bytes(active),
            "temperature_c": _temperature_c(),
        }

    def close(self) -> None:
        for buffer in self._buffers:
            buffer.free()
        self._buffers = []


def _import_pynq() -> Any:
    prepare(own())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pynq
    except ImportError as error:
        raise SetupError(
            "pynq cannot be imported in {}: {}".format(platform.python_version(), error),
            fix="use the image's own Python: " + right_command(own()),
        ) from error
    major = int(str(pynq.__version__).split(".")[0])
    if major >= 4 and not getattr(_active_device(pynq), "emulated", False):
        raise WrongVersion(
            "pynq {} has no support for the PYNQ-Z1 and PYNQ-Z2 (removed in 4.0)".format(pynq.__version__),
            fix="install image 3.1 or older, or: pip install 'pynq<4'",
        )
    return pynq


def _active_device(pynq: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pynq.Device.active_device
    except AttributeError:
        return None  # PYNQ 2.5 has no Device.active_device for Zynq
    except RuntimeError as error:
        raise PermissionMissing(
            "pynq finds no device ({}); XILINX_XRT is {}".format(
                error, os.environ.get("XILINX_XRT") or "not set"
            ),
            fix=right_command(own()),
        ) from error


def _carried(error: BaseException) -> Optional[LabdError]:
    """The LabdError a virtual board sent through pynq, if there is one anywhere in the chain."""
    link: Optional[BaseException] = error
    while link is not None:
        record = getattr(link, "labd_error", None)
        if isinstance(record, dict):
            return from_wire(record)
        if isinstance(link, LabdError):
            return link
        link = link.__cause__ or link.__context__
    return None


def _translated(error: Exception, what: str) -> LabdError:
    carried = _carried(error)
    if carried is not None:
        return carried
    if isinstance(error, (OSError, EnvironmentError)) and "ermission" in str(error):
        return PermissionMissing("{}: {}".format(what, error), fix=right_command(own()))
    if "failed" in what:
        return BusFault(
            "{}: {}".format(what, error), fix="program the bitfile again: python3 -m labd_board.selftest"
        )
    return ArtifactError("{}: {!r}".format(what, error), fix="deploy the bundle again: fab deploy --board NN")


def _cma_free_bytes(active: Any) -> Optional[int]:
    ask = getattr(active, "cma_free_bytes", None)
    if ask is not None:
        return int(ask())
    try:
        with open("/proc/meminfo") as handle:
            for line in handle:
                if line.startswith("CmaFree:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _temperature_c() -> Optional[float]:
    """The Zynq's XADC, where the kernel has it: (raw + offset) * scale, in milli-degrees."""
    for folder in Path("/sys/bus/iio/devices").glob("iio:device*"):
        try:
            raw, offset, scale = (
                float((folder / "in_temp0_{}".format(name)).read_text())
                for name in ("raw", "offset", "scale")
            )
        except (OSError, ValueError):
            continue
        return round((raw + offset) * scale / 1000.0, 1)
    return None
