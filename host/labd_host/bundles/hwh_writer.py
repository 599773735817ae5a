"""Write the .hwh of a bundle for virtual boards: FINN's shell, as far as pynq looks at it.

The shell is a processing system, one IODMA a tensor, and the parts of the accelerator whose weights can
be written. What else Vivado would list (interconnects, reset, the rest of the accelerator) has no address
and may be absent. The same arguments give the same bytes.

Source: .hwh files of FINN-built designs (Vivado 2022.2, 2023.2); what pynq 3.0.1 and 3.1.2 demand of
one, found by leaving things out; Xilinx UG585 chapter 25 (FPGA clock dividers).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from labd_shared.errors import UsageError
from labd_shared.hwh import PLL_MHZ
from labd_shared.registers import Iodma
from labd_shared.tensors import Tensor

PL_CLOCKS = range(4)
LARGEST_DIVISOR = 63  # two dividers of 6 bits each
ROUNDING = 2e-3  # 33.3 MHz means the 33.333 MHz that can be had
FIRST_ADDRESS, BLOCK_BYTES = 0x4000_0000, 0x1000  # where Vivado 2023.2 puts the IODMAs

AXI, STREAM = "xilinx.com:interface:aximm:1.0", "xilinx.com:interface:axis:1.0"
WEIGHTS_PORT = "s_axilite_0"
CONTROL_FIELDS = (("AP_START", 0), ("AP_DONE", 1), ("AP_IDLE", 2), ("AP_READY", 3), ("AUTO_RESTART", 7))


def fclk_divisors(clock_mhz: float) -> tuple[int, int]:
    """The dividers that give the fastest PL clock of the 1000 MHz IO PLL not above *clock_mhz*.

    Never above: a design built for *clock_mhz* may not keep its timing there.

    >>> fclk_divisors(100.0), fclk_divisors(150.0)
    ((5, 2), (7, 1))
    """
    source_mhz = PLL_MHZ["IO PLL"]
    pairs = [(first, second) for first in range(1, LARGEST_DIVISOR + 1) for second in range(1, first + 1)]
    allowed = [pair for pair in pairs if source_mhz / (pair[0] * pair[1]) <= clock_mhz * (1 + ROUNDING)]
    if not allowed or clock_mhz > source_mhz * (1 + ROUNDING):
        slowest_mhz = source_mhz / LARGEST_DIVISOR**2
        raise UsageError(
            f"no divider gives a clock of {clock_mhz} MHz, {slowest_mhz:.3f} to {source_mhz:.0f} MHz can be had",
            fix="choose a clock in that range, 100 MHz suits most designs",
        )
    # Of the pairs with the same product the most even one: neither divider gets near its limit.
    return min(allowed, key=lambda pair: (pair[0] * pair[1], pair[0]))


def write_hwh(
    path: Path,
    *,
    clock_mhz: float,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    memories: Mapping[str, int] = MappingProxyType({}),
) -> float:
    """Write a .hwh that pynq loads.

    Args:
        path: The file, overwritten.
        clock_mhz: The clock of the design, MHz.
        inputs, outputs: Their DMAs become the design's blocks.
        memories: Blocks with weights that can be written -> bytes of their addresses, a power of two.

    Returns:
        The clock achieved, MHz: the fastest not above *clock_mhz*.

    Raises:
        UsageError: no divider gives such a clock, or two tensors name one DMA.
    """
    blocks = [(tensor.dma, True) for tensor in inputs] + [(tensor.dma, False) for tensor in outputs]
    names = [name for name, _ in blocks]
    if len(set(names)) != len(names):
        raise UsageError(f"the tensors share a DMA: {', '.join(names)}", fix="give each tensor its own DMA")
    ranges = _ranges({**dict.fromkeys(names, BLOCK_BYTES), **memories})
    divisors = fclk_divisors(clock_mhz)

    root = ElementTree.Element(
        "EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="Sat Jan  1 00:00:00 2000", VIVADOVERSION="2022.2"
    )
    ElementTree.SubElement(
        root, "SYSTEMINFO", ARCH="zynq", BOARD="tul.com.tw:pynq-z2:part0:1.0", DEVICE="7z020", NAME="top",
        PACKAGE="clg400", SPEEDGRADE="-1",
    )  # fmt: skip
    ElementTree.SubElement(root, "EXTERNALPORTS")  # pynq insists on the element, not on anything in it
    ElementTree.SubElement(root, "EXTERNALINTERFACES")
    modules = ElementTree.SubElement(root, "MODULES")
    for index, (name, is_input) in enumerate(blocks):
        _iodma(modules, name, is_input, f"StreamingDataflowPartition_{index}", ranges[name].start)
    for name in memories:
        _memory(modules, name, ranges[name])
    _processor(modules, divisors, ranges, memories)
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n{text}\n', encoding="utf-8")
    return PLL_MHZ["IO PLL"] / (divisors[0] * divisors[1])


def _ranges(sizes: Mapping[str, int]) -> dict[str, range]:
    """The addresses of each block, one after the other, each at a multiple of its size."""
    found = {}
    free = FIRST_ADDRESS
    for name, size in sizes.items():
        start = -(-free // size) * size
        free = start + size
        found[name] = range(start, free)
    return found


def _module(parent: ElementTree.Element, name: str, kind: str, vlnv: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        parent, "MODULE", COREREVISION="1", FULLNAME=f"/{name}", HWVERSION="1.0", INSTANCE=name, IPTYPE="PERIPHERAL",
        IS_ENABLE="1", MODCLASS="PERIPHERAL", MODTYPE=kind, VLNV=vlnv,
    )  # fmt: skip


def _parameters(module: ElementTree.Element, values: Mapping[str, object]) -> None:
    parameters = ElementTree.SubElement(module, "PARAMETERS")
    for name, value in values.items():
        ElementTree.SubElement(parameters, "PARAMETER", NAME=name, VALUE=str(value))


def _interface(
    parent: ElementTree.Element, name: str, kind: str, vlnv: str, bus: str, width_bits: int
) -> None:
    ElementTree.SubElement(
        parent, "BUSINTERFACE", BUSNAME=bus, DATAWIDTH=str(width_bits), NAME=name, TYPE=kind, VLNV=vlnv
    )


def _iodma(modules: ElementTree.Element, name: str, is_input: bool, kind: str, address: int) -> None:
    module = _module(modules, name, kind, f"xilinx_finn:finn:{kind}:1.0")
    ElementTree.SubElement(module, "DOCUMENTS")
    blocks = ElementTree.SubElement(module, "ADDRESSBLOCKS")
    block = ElementTree.SubElement(
        blocks, "ADDRESSBLOCK", ACCESS="", INTERFACE="s_axi_control_0", NAME="Reg0", RANGE=str(BLOCK_BYTES),
        USAGE="register",
    )  # fmt: skip
    _registers(block, "in0_V" if is_input else "out0_V")
    _parameters(
        module,
        {
            "Component_Name": f"top_{name}_0",
            "C_S_AXI_CONTROL_0_BASEADDR": f"0x{address:08X}",
            "C_S_AXI_CONTROL_0_HIGHADDR": f"0x{address + BLOCK_BYTES - 1:08X}",
        },
    )
    ElementTree.SubElement(module, "PORTS")
    interfaces = ElementTree.SubElement(module, "BUSINTERFACES")
    _interface(interfaces, "s_axi_control_0", "SLAVE", AXI, f"axi_interconnect_0_{name}", 32)
    _interface(interfaces, "m_axi_gmem0", "MASTER", AXI, f"{name}_m_axi_gmem0", 64)
    stream, end = ("m_axis_0", "INITIATOR") if is_input else ("s_axis_0", "TARGET")
    _interface(interfaces, stream, end, STREAM, f"{name}_{stream}", 64)
    memory = ElementTree.SubElement(module, "MEMORYMAP")
    ElementTree.SubElement(
        memory, "MEMRANGE", ADDRESSBLOCK="HP0_DDR_LOWOCM", BASENAME="C_BASEADDR", BASEVALUE="0x00000000",
        HIGHNAME="C_HIGHADDR", HIGHVALUE="0x1FFFFFFF", INSTANCE="zynq_ps", IS_DATA="TRUE", IS_INSTRUCTION="TRUE",
        MASTERBUSINTERFACE="m_axi_gmem0", MEMTYPE="MEMORY", SLAVEBUSINTERFACE="S_AXI_HP0",
    )  # fmt: skip


def _memory(modules: ElementTree.Element, name: str, addresses: range) -> None:
    """A part of the design whose weights can be written: it has an AXI-lite port beside its streams."""
    module = _module(modules, name, name, f"xilinx_finn:finn:{name}:1.0")
    ElementTree.SubElement(module, "DOCUMENTS")
    blocks = ElementTree.SubElement(module, "ADDRESSBLOCKS")
    ElementTree.SubElement(
        blocks, "ADDRESSBLOCK", ACCESS="read-write", INTERFACE=WEIGHTS_PORT, NAME="reg0", RANGE=str(len(addresses)),
        USAGE="register",
    )  # fmt: skip
    _parameters(module, {"Component_Name": f"top_{name}_0"})
    ElementTree.SubElement(module, "PORTS")
    interfaces = ElementTree.SubElement(module, "BUSINTERFACES")
    _interface(interfaces, WEIGHTS_PORT, "SLAVE", AXI, f"axi_interconnect_0_{name}", 32)


def _registers(block: ElementTree.Element, pointer: str) -> None:
    registers = ElementTree.SubElement(block, "REGISTERS")
    for name, offset, access in (
        ("CTRL", Iodma.CONTROL, "read-write"),
        ("GIER", 0x04, "read-write"),
        ("IP_IER", 0x08, "read-write"),
        ("IP_ISR", 0x0C, "read-write"),
        (f"{pointer}_1", Iodma.ADDRESS_LOW, "write-only"),
        (f"{pointer}_2", Iodma.ADDRESS_HIGH, "write-only"),
        ("numReps", Iodma.REPETITIONS, "write-only"),
    ):
        register = ElementTree.SubElement(registers, "REGISTER", NAME=name)
        _properties(
            register, DESCRIPTION=name, ADDRESS_OFFSET=int(offset), SIZE=32, ACCESS=access, IS_ENABLED="true"
        )
        fields = ElementTree.SubElement(register, "FIELDS")
        for field, bit in CONTROL_FIELDS if name == "CTRL" else ():
            entry = ElementTree.SubElement(fields, "FIELD", NAME=field)
            writable = field in ("AP_START", "AUTO_RESTART")
            _properties(
                entry,
                ADDRESS_OFFSET=bit,
                ACCESS="read-write" if writable else "read-only",
                BIT_OFFSET=bit,
                BIT_WIDTH=1,
            )


def _properties(parent: ElementTree.Element, **values: object) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, "PROPERTY", NAME=name, VALUE=str(value))


def _processor(
    modules: ElementTree.Element,
    divisors: tuple[int, int],
    ranges: Mapping[str, range],
    memories: Mapping[str, int],
) -> None:
    module = _module(modules, "zynq_ps", "processing_system7", "xilinx.com:ip:processing_system7:5.5")
    module.set("IS_PL", "FALSE")  # by this alone pynq 3.0 knows the processor
    ElementTree.SubElement(module, "DOCUMENTS")
    settings: dict[str, object] = {}
    for index in PL_CLOCKS:
        # pynq insists on the divisors of all four clocks; only the first one runs in FINN's shell.
        first, second = divisors if index == 0 else (1, 1)
        settings[f"PCW_FPGA_FCLK{index}_ENABLE"] = int(index == 0)
        settings[f"PCW_FCLK{index}_PERIPHERAL_CLKSRC"] = "IO PLL"
        settings[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR0"] = first
        settings[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR1"] = second
        clock_mhz = PLL_MHZ["IO PLL"] / (first * second) if index == 0 else 10.0
        settings[f"PCW_ACT_FPGA{index}_PERIPHERAL_FREQMHZ"] = f"{clock_mhz:.6f}"
    settings |= {"PCW_USE_M_AXI_GP0": 1, "PCW_USE_S_AXI_HP0": 1, "PCW_S_AXI_HP0_DATA_WIDTH": 64}
    _parameters(module, settings)
    ElementTree.SubElement(module, "PORTS")
    interfaces = ElementTree.SubElement(module, "BUSINTERFACES")
    _interface(interfaces, "M_AXI_GP0", "MASTER", AXI, "zynq_ps_M_AXI_GP0", 32)
    _interface(interfaces, "S_AXI_HP0", "SLAVE", AXI, "smartconnect_0_M00_AXI", 64)
    memory = ElementTree.SubElement(module, "MEMORYMAP")
    for name, addresses in ranges.items():
        is_memory = name in memories
        ElementTree.SubElement(
            memory, "MEMRANGE", ADDRESSBLOCK="reg0" if is_memory else "Reg0", BASENAME="C_BASEADDR",
            BASEVALUE=f"0x{addresses[0]:08X}", HIGHNAME="C_HIGHADDR", HIGHVALUE=f"0x{addresses[-1]:08X}",
            INSTANCE=name, IS_DATA="TRUE", IS_INSTRUCTION="TRUE", MASTERBUSINTERFACE="M_AXI_GP0", MEMTYPE="REGISTER",
            SLAVEBUSINTERFACE=WEIGHTS_PORT if is_memory else "s_axi_control_0",
        )  # fmt: skip
