"""The logs and reports of Vivado and Vitis HLS, line by line as public issues have them."""

import os

import pytest

from labd_host.vivado.logs import first_cause, last_line
from labd_host.vivado.reports import read_resources, read_timing
from labd_shared.errors import ArtifactError, DoesNotFit, SetupError, ToolFailed, WrongVersion
from support.vivado_stand_in import timing_report, utilisation_report

REAL_LINES = [
    (
        "ERROR: [Place 30-640] Place Check : This design requires more LUT as Memory cells than are available in the "
        "target device. This design requires 30417 of such cell types but only 17400 compatible sites are available "
        "in the target device. Please analyze your synthesis results",
        DoesNotFit,
        "the design needs 30417 LUT as Memory, the part has 17400",
    ),
    (
        "ERROR: [DRC UTLZ-1] Resource utilization: LUT as Logic over-utilized in Top Level Design (This design "
        "requires more LUT as Logic cells than are available in the target device. This design requires 261110 of "
        "such cell types but only 203800 compatible sites are available in the target device.",
        DoesNotFit,
        "the design needs 261110 LUT as Logic, the part has 203800",
    ),
    (
        "ERROR: [Place 30-484] The packing of LUTRAM/SRL instances into capable slices could not be obeyed.",
        DoesNotFit,
        "cannot place the design: The packing of LUTRAM/SRL instances",
    ),
    (
        "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or device 'xc7z020'. Please "
        "run the Vivado License Manager",
        SetupError,
        "no licence for Synthesis on xc7z020",
    ),
    (
        "ERROR: [Board 49-71] The board_part definition was not found for tul.com.tw:pynq-z2:part0:1.0. The project's "
        "board_part property was not set",
        SetupError,
        "does not know the board tul.com.tw:pynq-z2:part0:1.0",
    ),
    (
        "ERROR: '2201251806' is an invalid argument. Please specify an integer value.",
        WrongVersion,
        "cannot export IP after 2021",
    ),
    (
        "bad lexical cast: source type value could not be interpreted as target",
        WrongVersion,
        "cannot export IP after 2021",
    ),
    (
        "ERROR: [HLS 200-101] 'config_rtl': Unknown option '-deadlock_detection'.",
        WrongVersion,
        "does not know an option that FINN gives it",
    ),
    (
        '/tools/Xilinx/Vivado/2021.2/bin/rdiArgs.sh: line 311:  8214 Killed                  "$RDI_PROG" "$@"',
        SetupError,
        "ran out of memory",
    ),
    (
        "synth_project.sh: line 3: 4711 Killed    vivado -mode batch -source x.tcl",
        SetupError,
        "out of memory",
    ),
    ("terminate called after throwing an instance of 'std::bad_alloc'", SetupError, "ran out of memory"),
    ('couldn\'t write file "x": no space left on device', SetupError, "the disk is full"),
    ("Abnormal program termination (11)", ToolFailed, "crashed by itself"),
    ("ERROR: [Common 17-680] Path length exceeds 260-Byte maximum", SetupError, "too long for Vivado"),
    (
        "ERROR: [Synth 8-439] module 'foo' not found [/x/top.v:12]",
        ToolFailed,
        r"Vivado failed: module 'foo' not found \[/x/top.v:12\] \[Synth 8-439\]",
    ),
]


@pytest.mark.parametrize("line, kind, words", REAL_LINES, ids=[line[:40] for line, _, _ in REAL_LINES])
def test_a_line_of_a_real_log_becomes_a_sentence_and_a_way_out(tmp_path, line, kind, words):
    (tmp_path / "vivado.log").write_text(
        f"INFO: [Common 17-206] before\nCRITICAL WARNING: [X 1-2] no error\n{line}\n"
    )
    cause = first_cause(tmp_path)
    assert type(cause.error) is kind and cause.error.fix
    with pytest.raises(kind, match=words):
        raise cause.error
    assert cause.log == tmp_path / "vivado.log" and cause.line == line[
        : len(cause.line.removesuffix("..."))
    ] + ("..." if len(line) > 300 else "")


def test_a_log_without_errors_tells_no_cause(tmp_path):
    assert first_cause(tmp_path) is None
    (tmp_path / "vivado.log").write_text("INFO: fine\nWARNING: [Vivado 12-1] hm\nKilled time for 3 s\n")
    assert first_cause(tmp_path) is None


def test_what_only_says_that_something_failed_before_it_is_no_cause(tmp_path):
    (tmp_path / "vivado.log").write_text(
        "ERROR: [Common 17-39] 'wait_on_runs' failed due to earlier errors.\nERROR: [Synth 8-27] the cause\n"
    )
    assert "the cause" in first_cause(tmp_path).error.what
    (tmp_path / "vivado.log").write_text(
        "ERROR: [Common 17-39] 'wait_on_runs' failed due to earlier errors.\n"
    )
    assert "'wait_on_runs' failed" in first_cause(tmp_path).error.what, "better than nothing"


def test_the_run_that_failed_first_is_read_before_the_program_that_waited_for_it(tmp_path):
    project = tmp_path / "vivado_zynq_proj_x"
    for index, run in enumerate(("synth_1", "impl_1")):
        log = project / "finn_zynq_link.runs" / run / "runme.log"
        log.parent.mkdir(parents=True)
        log.write_text(f"ERROR: [Synth 8-27] of {run}\n")
        os.utime(log, (1000 + index, 1000 + index))
    (project / "vivado.log").write_text("ERROR: [Vivado 12-99] last of all\n")
    assert "of synth_1" in first_cause(tmp_path).error.what


def test_a_hostile_log_neither_steers_the_terminal_nor_fills_the_memory(tmp_path):
    (tmp_path / "vivado.log").write_bytes(
        b"x" * 100_000 + b"\nERROR: [A 1-2] \x1b[2J\xff" + b"y" * 100_000 + b"\n"
    )
    cause = first_cause(tmp_path)
    assert "\x1b" not in cause.error.what and len(cause.error.what) < 400
    assert len(last_line(tmp_path)) <= 300


def test_timing_is_read_from_the_summary_and_not_from_a_clocks_own(tmp_path):
    path = tmp_path / "timing.rpt"
    path.write_text(timing_report(-0.412, 0.022))
    timing = read_timing(path)
    assert (timing.wns_ns, timing.whs_ns, timing.wpws_ns, timing.failing) == (-0.412, 0.022, 3.75, 37)
    assert not timing.met and timing.slack_ns == -0.412
    assert timing.fastest_mhz(100) == pytest.approx(1000 / 10.412)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no design timing summary"),
        (timing_report(1, 1).replace("1.000", "NA"), "no path was timed"),
        (timing_report(1, 1).split("\n      1.000")[0], "no path was timed"),
    ],
    ids=["empty", "NA", "cut short"],
)
def test_a_timing_report_that_tells_nothing_is_no_met_timing(tmp_path, text, words):
    (tmp_path / "timing.rpt").write_text(text)
    with pytest.raises(ArtifactError, match=words):
        read_timing(tmp_path / "timing.rpt")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda text: text[:-100], "is not XML"),
        (lambda text: text.replace("(top)", "other"), "has no row of the whole design"),
        (lambda text: text.replace('contents="8220"', 'contents="many"', 1), "holds no numbers"),
        (lambda text: '<!DOCTYPE x [<!ENTITY a "b">]>' + text.split("?>", 1)[1], "declares a document type"),
        (lambda text: "<RptDoc/>", "has no row of the whole design"),
    ],
    ids=["cut short", "no top", "no number", "entity", "empty"],
)
def test_a_damaged_utilisation_report_is_refused(tmp_path, change, words):
    path = tmp_path / "synth_report.xml"
    path.write_text(change(utilisation_report()))
    with pytest.raises(ArtifactError, match=words):
        read_resources(path)


def test_dsp_columns_of_older_vivados_are_understood(tmp_path):
    path = tmp_path / "synth_report.xml"
    path.write_text(utilisation_report().replace("DSP Blocks", "DSP48 Blocks"))
    assert read_resources(path)["(top)"]["DSP"] == 0
