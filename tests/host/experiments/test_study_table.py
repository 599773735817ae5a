"""The table of a study on a terminal, as CSV, as Markdown and in a page."""

import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from rich.console import Console

from labd_host.dataflow.resources import Resources
from labd_host.drawing.markup import element
from labd_host.experiments.study_model import BoardMeasurement, ExperimentOutcome, NetworkAccuracy, Study
from labd_host.experiments.study_table import (
    COLUMNS,
    add_table,
    as_csv,
    as_markdown,
    in_markdown,
    terminal_tables,
)
from support.experiments import experiment, lab_with, outcome

NETWORK = "tfc-w1a1"
ACCURACY = NetworkAccuracy(9355, 10000, "mnist", "golden model here")
HOSTILE = "<script>alert(1)</script>|$x$\n\N{RIGHT-TO-LEFT OVERRIDE}[red]=1+1"


@pytest.fixture(scope="module")
def outcomes():
    slow = {"MVAU_hls_1": {"PE": 1, "SIMD": 1}}
    asked = experiment("Exp1", NETWORK, lab_with(NETWORK, slow), "lab, layer 2 at PE 1, SIMD 1")
    return [
        outcome(experiment("baseline", NETWORK, lab_with(NETWORK, {})), accuracy=ACCURACY),
        outcome(asked, accuracy=ACCURACY),
        ExperimentOutcome(
            experiment("Exp2", NETWORK, lab_with(NETWORK, {})), None, "the worker was killed twice"
        ),
    ]


def printed(outcomes, width):
    study = Study("part3", "Part 3", tuple(each.experiment for each in outcomes), "baseline")
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(terminal_tables(study, outcomes, width))
    return console.file.getvalue()


def in_page(outcomes):
    parent = element(None, "section")
    add_table(parent, outcomes)
    return parent


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(outcomes, width):
    lines = printed(outcomes, width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    row = next(line for line in lines if line.startswith("Exp1"))
    lut = outcomes[1].result.predicted.expected.lut
    assert " 4,102 " in row and " 24,378 " in row and f" {lut:,}" in row


def test_a_narrow_terminal_says_what_it_leaves_out_and_a_wide_one_has_all(outcomes):
    narrow, wide = printed(outcomes, 80), printed(outcomes, 200)
    assert "accuracy %" in next(line for line in narrow.splitlines() if line.startswith("no room here for"))
    assert "Exp1: lab, layer 2 at PE 1, SIMD 1" in narrow
    band = outcomes[1].result.predicted.plus_minus.lut
    assert "no room here" not in wide and " 93.55" in wide and f" {band:,.0f}" in wide


def test_a_failed_experiment_is_a_row_and_a_sentence(outcomes):
    for text in (printed(outcomes, 80), as_markdown(outcomes), ET.tostring(in_page(outcomes), "unicode")):
        assert "Exp2 failed: the worker was killed twice" in text
    row = next(line for line in printed(outcomes, 80).splitlines() if line.startswith("Exp2"))
    assert set(row.split()[1:]) == {"-"}


def test_one_that_waits_says_so(outcomes):
    waits = replace(outcomes[2], fault="")
    assert "Exp2 has no result yet: run the study again" in as_markdown([*outcomes[:2], waits])


def test_a_figure_that_is_missing_says_why(outcomes):
    assert "no board was asked: --board 03" in as_markdown(outcomes)
    on_board = [replace(outcomes[0], experiment=replace(outcomes[0].experiment, board="03"))]
    assert "board 03 gave no figure" in as_markdown(on_board)
    dead = replace(outcomes[0].result.simulated, fault="it is dead after 12 cycles")
    stuck = [replace(outcomes[0], result=replace(outcomes[0].result, simulated=dead))]
    assert "not simulated: it is dead after 12 cycles" in as_markdown(stuck)
    assert "1,020,408 | -¹" in as_markdown(stuck), "what is predicted stays"


def test_the_csv_has_plain_numbers_and_units_in_its_header(outcomes):
    rows = list(csv.DictReader(io.StringIO(as_csv(outcomes))))
    found = outcomes[1].result
    row = rows[1]
    assert float(row["predicted_frames_per_s"]) == 100e6 / 4102
    assert float(row["latency_us"]) == found.simulated.latency_cycles / 100
    assert float(row["expected_lut_percent_of_part"]) == pytest.approx(
        100 * found.predicted.expected.lut / 53200
    )
    assert row["measured_frames_per_s"] == row["built_lut"] == ""
    assert rows[2]["fault"] == "the worker was killed twice" and rows[2]["interval_cycles"] == ""
    assert len(set(rows[0])) == len(COLUMNS)


def test_what_a_board_measured_stands_in_every_form(outcomes):
    measured = BoardMeasurement("virtual board 03", 745868.4, 175285.0, 5.25, 100.0, 1000)
    known = [replace(outcomes[0], result=replace(outcomes[0].result, measured=measured))]
    for text in (printed(known, 200), as_markdown(known), ET.tostring(in_page(known), "unicode")):
        assert "745,868" in text
    assert ",745868.4,175285.0,virtual board 03," in as_csv(known)


def test_what_vivado_built_has_a_column_where_there_is_a_build(outcomes):
    assert "built" not in as_markdown(outcomes)
    built = replace(outcomes[0], result=replace(outcomes[0].result, built=Resources(lut=11987, bram18=32)))
    shown = as_markdown([built, *outcomes[1:]])
    assert "| LUT built |" in shown and "| 11,987 |" in shown
    assert "no build of this folding was given: --builds DIR" in shown
    assert "built_lut,expected_ff" in as_csv([built]) and ",11987," in as_csv([built])


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_computes_no_name(outcomes, name):
    named = [replace(outcomes[0], experiment=replace(outcomes[0].experiment, name=name))]
    row = next(csv.DictReader(io.StringIO(as_csv(named))))
    assert row["experiment"][0] not in "=+-@\t\r"


def test_a_hostile_name_is_text_in_every_form(outcomes):
    named = [replace(outcomes[0], experiment=replace(outcomes[0].experiment, name=HOSTILE))]
    terminal = printed(named, 200)
    assert "[red]" in terminal, "rich reads no markup"
    line = as_markdown(named).splitlines()[2]
    assert line.count("|") - line.count("\\|") == len(as_markdown(named).splitlines()[0].split("|")) - 1
    assert "\\<script\\>" in line and "\\$x\\$" in line
    page = in_page(named)
    assert page.find(".//script") is None
    for text in (terminal, as_markdown(named), as_csv(named), ET.tostring(page, "unicode")):
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text


def test_markdown_leaves_names_of_nodes_alone():
    assert in_markdown("MVAU_hls_1") == "MVAU_hls_1"
    assert in_markdown("_emphasis_ *strong* a|b") == "\\_emphasis\\_ \\*strong\\* a\\|b"


def test_several_clocks_have_a_column(outcomes):
    slower = outcome(experiment("slow", NETWORK, lab_with(NETWORK, {}), clock_mhz=50.0))
    titles = as_markdown([*outcomes, slower]).splitlines()[0]
    assert "| MHz |" in titles and "MHz" not in as_markdown(outcomes)
    assert " 510,204 " in printed([slower], 80)
