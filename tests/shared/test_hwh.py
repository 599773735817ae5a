"""Reading .hwh files. Python 3.6 code."""

import pytest

from labd_shared.errors import ArtifactError
from labd_shared.hwh import Block, parse_hwh, read_hwh

HWH = """<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<EDKSYSTEM EDWVERSION="1.2" VIVADOVERSION="2020.1">
<SYSTEMINFO ARCH="zynq" DEVICE="7z020" NAME="top" PACKAGE="clg400" SPEEDGRADE="-1"/>
<MODULES>
<MODULE INSTANCE="idma0" MODTYPE="StreamingDataflowPartition_0"
 VLNV="xilinx_finn:finn:StreamingDataflowPartition_0:1.0"/>
<MODULE INSTANCE="zynq_ps" MODTYPE="processing_system7" VLNV="xilinx.com:ip:processing_system7:5.5">
 <PARAMETERS>
  <PARAMETER NAME="PCW_FPGA_FCLK0_ENABLE" VALUE="1"/>
  <PARAMETER NAME="PCW_FCLK0_PERIPHERAL_CLKSRC" VALUE="IO PLL"/>
  <PARAMETER NAME="PCW_FCLK0_PERIPHERAL_DIVISOR0" VALUE="5"/>
  <PARAMETER NAME="PCW_FCLK0_PERIPHERAL_DIVISOR1" VALUE="2"/>
  <PARAMETER NAME="PCW_FPGA_FCLK1_ENABLE" VALUE="0"/>
 </PARAMETERS>
 <MEMORYMAP>
  <MEMRANGE BASEVALUE="0x40010000" HIGHVALUE="0x4001FFFF" INSTANCE="idma0" MEMTYPE="REGISTER"/>
  <MEMRANGE BASEVALUE="0x00000000" HIGHVALUE="0x1FFFFFFF" INSTANCE="ddr" MEMTYPE="MEMORY"/>
 </MEMORYMAP>
</MODULE>
</MODULES>
</EDKSYSTEM>
"""


def test_part_clock_and_blocks_are_read(tmp_path):
    (tmp_path / "top.hwh").write_text(HWH)
    hwh = read_hwh(tmp_path / "top.hwh")
    assert hwh.part == "xc7z020clg400-1"
    assert hwh.clocks_mhz == {0: 100.0}
    assert hwh.fclk0_mhz == 100.0
    block = Block(0x40010000, 0x10000, "xilinx_finn:finn:StreamingDataflowPartition_0:1.0")
    assert hwh.blocks == {"idma0": block}


def test_a_design_without_pl_clock_has_clock_0():
    off = HWH.replace('FCLK0_ENABLE" VALUE="1"', 'FCLK0_ENABLE" VALUE="0"')
    assert parse_hwh(off.encode("utf-8")).fclk0_mhz == 0.0


@pytest.mark.parametrize(
    "prologue",
    ['<!DOCTYPE a [<!ENTITY b "c">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">', "<!ENTITY b 'c'>"],
)
def test_a_document_type_is_refused_before_parsing(prologue):
    hostile = HWH.replace("<EDKSYSTEM", prologue + "<EDKSYSTEM")
    with pytest.raises(ArtifactError, match="declares a document type or entities"):
        parse_hwh(hostile.encode("utf-8"))


def test_utf_16_cannot_hide_a_document_type():
    with pytest.raises(ArtifactError, match="or is no UTF-8"):
        parse_hwh(HWH.replace("UTF-8", "UTF-16").encode("utf-16"))


def test_text_that_is_not_xml_is_refused():
    with pytest.raises(ArtifactError, match="is not XML: .*line"):
        parse_hwh(HWH[:500].encode("utf-8"))


def test_a_design_without_zynq_is_refused():
    with pytest.raises(ArtifactError, match="no Zynq-7000 processing system"):
        parse_hwh(HWH.replace("processing_system7", "zynq_ultra_ps_e").encode("utf-8"))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('DIVISOR1" VALUE="2"', 'DIVISOR1" VALUE="0"', "division by zero"),
        ('DIVISOR0" VALUE="5"', 'DIVISOR0" VALUE="five"', "five"),
        ("IO PLL", "moon", "moon"),
        ('HIGHVALUE="0x4001FFFF"', 'HIGHVALUE="0x4000FFFF"', "before it begins"),
        ('BASEVALUE="0x40010000"', 'BASEVALUE="here"', "here"),
    ],
)
def test_nonsense_in_the_file_is_an_artifact_error(old, new, said):
    assert old in HWH
    with pytest.raises(ArtifactError, match=said):
        parse_hwh(HWH.replace(old, new).encode("utf-8"))


def test_a_missing_hwh_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="top.hwh cannot be read: No such file"):
        read_hwh(tmp_path / "top.hwh")


def test_a_file_larger_than_any_hwh_is_not_read(tmp_path):
    with open(str(tmp_path / "huge.hwh"), "wb") as handle:
        handle.truncate(33 << 20)
    with pytest.raises(ArtifactError, match=r"has \d+ bytes, more than \d+"):
        read_hwh(tmp_path / "huge.hwh")
