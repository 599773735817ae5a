"""The unmodified pynq library reads the .bit and .hwh that labd writes."""

import json
import subprocess

import pytest

from support.emulated import write_emulated_bundle

READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from pynqmetadata.frontends import Metadata
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynq.pl_server.embedded_device import bit2bin, parse_bit_header
from pynq.pl_server.hwh_parser import _HWHZynq

bit, hwh = sys.argv[1] + "/accel.bit", sys.argv[1] + "/accel.hwh"
header = parse_bit_header(Path(bit).read_bytes())
new = RuntimeMetadataParser(Metadata(input=hwh))
old = _HWHZynq(hwh)
print(json.dumps({
    "header": [header[key] for key in ("design", "version", "part", "date", "time")],
    "sync": bit2bin(Path(bit).read_bytes()).find(bytes.fromhex("665599aa")) % 4,
    "new": {name: [new.ip_dict[name]["phys_addr"], new.ip_dict[name]["addr_range"], new.ip_dict[name]["type"]]
            for name in sorted(new.ip_dict) if name != "zynq_ps"},
    "names": sorted(new.ip_dict),
    "registers": {name: {register: entry["address_offset"]
                         for register, entry in new.ip_dict[name]["registers"].items()}
                  for name in ("idma0", "odma0")},
    "fields": sorted(new.ip_dict["idma0"]["registers"]["CTRL"]["fields"]),
    "clock": new.clock_dict[0],
    "old": {name: old.ip_dict[name]["phys_addr"] for name in sorted(old.ip_dict) if "dma" in name},
    "old_clock": old.clock_dict[0],
}))
"""


@pytest.fixture(scope="module")
def read(image_python, tmp_path_factory):
    """What pynq reads of a bundle built for 150 MHz."""
    folder = write_emulated_bundle(tmp_path_factory.mktemp("bundle"), clock_mhz=150.0)
    command = [str(image_python), "-c", READ, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_pynq_reads_the_bitfiles_header(read):
    assert read["header"] == ["labd_emulated", "Version=2022.2", "7z020clg400", "2000/01/01", "00:00:00"]


def test_the_bin_that_pynq_makes_of_it_has_its_sync_word_on_a_word(read):
    assert read["sync"] == 0


def test_pynq_finds_exactly_the_blocks_of_finns_shell(read):
    kind = "xilinx_finn:finn:StreamingDataflowPartition_{}:1.0"
    assert read["names"] == ["idma0", "odma0", "zynq_ps"]
    assert read["new"] == {
        "idma0": [0x40000000, 0x1000, kind.format(0)],
        "odma0": [0x40001000, 0x1000, kind.format(1)],
    }


def test_pynq_finds_the_registers_of_the_iodmas(read):
    shared = {"CTRL": 0, "GIER": 4, "IP_IER": 8, "IP_ISR": 12, "numReps": 0x1C}
    assert read["registers"]["idma0"] == {**shared, "in0_V_1": 0x10, "in0_V_2": 0x14}
    assert read["registers"]["odma0"] == {**shared, "out0_V_1": 0x10, "out0_V_2": 0x14}
    assert read["fields"] == ["AP_DONE", "AP_IDLE", "AP_READY", "AP_START", "AUTO_RESTART"]


def test_pynq_finds_the_dividers_of_the_clock(read):
    assert read["clock"] == {"enable": 1, "divisor0": 7, "divisor1": 1}


def test_the_parser_of_older_pynq_finds_the_same(read):
    assert read["old"] == {"idma0": 0x40000000, "odma0": 0x40001000}
    assert (read["old_clock"]["divisor0"], read["old_clock"]["divisor1"]) == (7, 1)
