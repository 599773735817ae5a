"""FINN's own hardware transformations, up to where Vivado would start and past it, with stand-ins for the tools."""

import os

import onnx
import pytest

from labd_host.explore.build_reports import XML_REPORT
from labd_host.flow.finn_door import Finn
from labd_host.vivado.finn_worker import _exact_period_ns
from labd_host.vivado.followed_build import run
from labd_host.vivado.hardware_build import fifo_depths
from labd_host.vivado.job import BuildJob
from labd_host.vivado.products import BIT, HWH
from labd_host.vivado.reports import TOP, read_resources, read_timing
from labd_host.vivado.tools import environment, find_toolchain
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import SetupError
from support.hardware import equip
from support.listeners import Kept
from support.vivado_stand_in import timing_report, utilisation_report


@pytest.fixture
def job(compiled, tmp_path):
    """A build of tfc-w1a1 with the lab's folding."""
    folded = next(stage.path for stage in compiled.stages if stage.name == "folded")
    depths = fifo_depths(compiled.golden.network)
    return BuildJob(str(folded), str(tmp_path / "work"), "key", PYNQ_Z2_PART, "Pynq-Z2", 125, 2, depths)


@pytest.fixture
def build(job, monkeypatch, tmp_path):
    """A function: build with FINN and tools that fail so; the units that were begun and the products' folder."""
    equip(monkeypatch, tmp_path)

    def building(fault=""):
        heard, variables = Kept(), {**environment(find_toolchain()), "LABD_STAND_IN": fault}
        try:
            ended = run(job, variables, listener=heard).project
        except SetupError as error:
            ended = error
        return [task.partition(",")[0] for task, done, *_ in heard.progressed if not done], ended

    return building


def fifos_of(work):
    """Depths of the FIFOs that FINN put between the layers, in the order of the stream."""
    kernels = [onnx.load(path).graph.node for path in work.rglob("*.code.onnx")]
    layers = next(nodes for nodes in kernels if any("MVAU" in node.op_type for node in nodes))
    fifos = [node for node in layers if node.op_type.startswith("StreamingFIFO")]
    return [each.i for node in fifos for each in node.attribute if each.name == "depth"]


def test_finn_goes_through_every_step_and_a_build_that_failed_goes_on_where_it_was(build, job, tmp_path):
    begun, error = build("hls-once")
    assert [unit.split()[0] for unit in begun][:4] == ["partition", "code", "code", "code"]
    names = [unit for unit in begun if unit.startswith("hls ")]
    assert any("IODMA_hls" in name for name in names) and any("MVAU_hls_1" in name for name in names)
    assert "MVAU_hls_1: Vitis HLS does not find bnn-library.h" in error.what
    assert error.facts["step"] == "hls" and error.facts["line"].startswith("ERROR: [HLS 207-812]")

    again, project = build()
    steps = [unit.split()[0] for unit in again]
    assert "code" not in steps and "partition" not in steps, "finished units are not repeated"
    assert steps.count("hls") < 7 and steps.count("stitch") == 3 and steps[-1] == "synthesis"
    for name in (BIT, HWH, XML_REPORT):
        assert (tmp_path / "work" / project / name).is_file()
    tcl = (tmp_path / "work" / project / "ip_config.tcl").read_text()
    assert "set FREQ_MHZ 125\n" in tcl and "set BOARD Pynq-Z2\n" in tcl, (
        "FINN's shell is for the clock asked for"
    )
    assert "idma0" in tcl and "odma0" in tcl
    assert f"{os.environ['FINN_DEPS']}/board_files" in tcl
    assert sum(depth > 2 for depth in job.fifo_depths) >= 2, "some are deeper than FINN's default"
    assert fifos_of(tmp_path / "work") == [depth for depth in job.fifo_depths if depth > 2]

    nothing, same = build()
    assert nothing == [] and same == project


def test_every_clock_reaches_finns_project_as_asked_for():
    for clock_mhz in range(1, 251):
        job = BuildJob("", "", "", "", "", clock_mhz, 1)
        assert int(1 / (_exact_period_ns(job) * 0.001)) == clock_mhz, "as make_zynq_proj.py computes fclk_mhz"


def test_reports_say_what_finn_reads_in_them(tmp_path):
    (tmp_path / "synth_report.xml").write_text(utilisation_report())
    (tmp_path / "timing.rpt").write_text(timing_report(-0.412, 0.022))
    with Finn():
        from finn.analysis.fpgadataflow.post_synth_res import post_synth_res
        from finn.util.vivado import _parse_vivado_timing_report
        from onnx import helper
        from qonnx.core.modelwrapper import ModelWrapper

        empty = ModelWrapper(helper.make_model(helper.make_graph([], "empty", [], [])))
        theirs = post_synth_res(empty, tmp_path / "synth_report.xml")[0]["(top)"]
        wns_ns = _parse_vivado_timing_report(tmp_path / "timing.rpt")["WNS"]
    ours = read_resources(tmp_path / "synth_report.xml")[TOP]
    same = ("LUT", "FF", "SRL", "DSP")
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert ours["BRAM18"] == 2 * theirs["BRAM_36K"] + theirs["BRAM_18K"] == 10
    assert read_timing(tmp_path / "timing.rpt").wns_ns == wns_ns == -0.412
