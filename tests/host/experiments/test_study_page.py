"""The page of a study and its plots: complete, safe, the same every time, and as a browser shows it."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from labd_host.dataflow.cycles import estimate
from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, load_folding
from labd_host.dataflow.parts import part_of
from labd_host.experiments.study_model import BoardMeasurement, ExperimentOutcome, NetworkAccuracy, Study
from labd_host.experiments.study_page import write_page
from labd_host.experiments.study_plots import layer_cycles, roofline, speed_over_luts
from labd_host.explore import calibration
from labd_host.explore.bounds import bounds
from labd_host.explore.rivals import calibrated_total
from labd_host.networks import NETWORKS
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from support.browser import find_browser, opened
from support.experiments import experiment, lab_with, outcome

TFC = "tfc-w1a1"
DESIGN = design_of(NETWORKS[TFC])
PART = part_of(PYNQ_Z2_DEVICE)
SOURCE = 'name = "part3"  # ``` <script>\n[[experiments]]\n\tname = "Exp1"\n'
HOSTILE = "<script>alert(1)</script>|$x$\N{RIGHT-TO-LEFT OVERRIDE}"
VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def outcomes():
    accuracy = NetworkAccuracy(9355, 10000, "mnist", "golden model here")
    measured = BoardMeasurement("virtual board 03", 745868.4, 175285.0, 5.25, 100.0, 1000)
    slow = {"MVAU_hls_1": {"PE": 1, "SIMD": 1}}
    return [
        outcome(experiment("baseline", TFC, lab_with(TFC, {})), accuracy=accuracy, measured=measured),
        outcome(
            experiment("Exp1", TFC, lab_with(TFC, slow), "lab, layer 2 at PE 1, SIMD 1"), accuracy=accuracy
        ),
        ExperimentOutcome(experiment("Exp2", TFC, lab_with(TFC, {})), None, "the worker was killed twice"),
    ]


def study_of(outcomes, **changes):
    asked = tuple(each.experiment for each in outcomes)
    return Study(
        **{"name": "part3", "title": "Part 3", "experiments": asked, "baseline": "baseline", **changes}
    )


@pytest.fixture(scope="module")
def limits():
    return bounds(DESIGN, PART)


@pytest.fixture(scope="module")
def plots(outcomes, limits):
    """Speed over LUT, the roofline, the stages."""
    known = outcomes[:2]
    return speed_over_luts(TFC, known, limits), roofline(TFC, known, limits), layer_cycles(TFC, known)


@pytest.fixture(scope="module")
def written(outcomes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    study = study_of(outcomes, questions={"Exp1": "Why is Exp1 slow?"})
    return write_page(study, outcomes, folder, source=SOURCE)


class Read(HTMLParser):
    """A page's text, its tags, and whether each is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.addresses, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [value for key, value in attributes if key in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_three_files_are_written_and_nothing_else(written):
    assert [path.name for path in written] == ["part3.html", "part3.md", "part3.csv"]
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(path.name for path in written)


def test_the_page_has_the_table_the_plots_the_words_and_how_to_repeat_it(written):
    text = written[0].read_text()
    page = Read(text)
    assert page.open == [] and page.tags.count("svg") == 3 and page.tags.count("h1") == 1
    for words in (
        "Exp1: Why is Exp1 slow?",
        "Folding: lab, layer 2 at PE 1, SIMD 1.",
        "Layer 2 (MVAU_hls_1) has one PE and one SIMD lane",
        "Exp2 failed: the worker was killed twice",
        "Each is compared with baseline. 2 have a result, 1 failed.",
        "9,355 of 10,000 images of mnist's test split, golden model here",
        "Measured: on virtual board 03.",
        "its figures are no proof of the model",
        'name = "part3"  # ``` <script>',
    ):
        assert words in page.text, words
    assert "script" not in page.tags


def test_the_page_loads_and_runs_nothing(written):
    text = written[0].read_text()
    page = Read(text)
    assert "default-src 'none'" in text
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    for words in ("http:", "https:", "@import", "url(http", "url(//"):
        assert words not in text


def test_every_reference_inside_a_picture_finds_its_target(written):
    text = written[0].read_text()
    page = Read(text)
    assert len(set(page.ids)) == len(page.ids)
    referred = set(re.findall(r"url\(#([^)]*)\)", text)) | {each[1:] for each in page.addresses}
    assert referred and referred <= set(page.ids)


def test_a_folding_on_the_page_is_one_that_labd_compile_takes(written, outcomes, tmp_path):
    blocks = re.findall(r"<pre>(.*?)</pre>", written[0].read_text(), re.DOTALL)
    folding = re.sub(r"</?code>", "", blocks[1]).replace("&quot;", '"')
    file = tmp_path / "Exp1.json"
    file.write_text(folding)
    folded = DESIGN.folded(load_folding(str(file), TFC))
    second = next(layer for layer in folded.layers if layer.name == "MVAU_hls_1")
    assert (second.pe, second.simd) == (1, 1)
    settings = json.loads(folding)
    settings.pop("Defaults")
    assert settings == outcomes[1].experiment.settings


def test_markdown_and_csv_say_the_same(written, outcomes):
    markdown = written[1].read_text()
    assert "| Exp1 | lab, layer 2 at PE 1, SIMD 1 | 4,102 | 24,378 |" in markdown
    assert "### Exp1: Why is Exp1 slow?" in markdown and "## How these numbers were made" in markdown
    assert '    name = "part3"  # ``` <script>' in markdown
    rows = list(csv.DictReader(io.StringIO(written[2].read_text())))
    assert [row["experiment"] for row in rows] == ["baseline", "Exp1", "Exp2"]
    assert float(rows[0]["measured_frames_per_s"]) == 745868.4


def test_the_same_results_give_the_same_bytes(written, outcomes, tmp_path):
    study = study_of(outcomes, questions={"Exp1": "Why is Exp1 slow?"})
    again = write_page(study, outcomes, tmp_path, source=SOURCE)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_hostile_names_are_text(outcomes, tmp_path):
    named = [
        replace(each, experiment=replace(each.experiment, name=HOSTILE, folding=HOSTILE)) for each in outcomes
    ]
    study = study_of(named, title=HOSTILE, baseline=HOSTILE, questions={HOSTILE: HOSTILE})
    files = write_page(study, named, tmp_path, source=HOSTILE)
    page = Read(files[0].read_text())
    assert page.open == [] and "script" not in page.tags
    assert page.text.count("<script>alert(1)</script>|$x$") > 5
    for path in files:
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in path.read_text()
    assert "<script>" not in re.sub(r"(?m)^    .*$", "", files[1].read_text()).replace("\\<script\\>", "")


def test_a_study_of_which_nothing_is_known_has_a_page(outcomes, tmp_path):
    waiting = [ExperimentOutcome(each.experiment, None) for each in outcomes]
    files = write_page(study_of(waiting), waiting, tmp_path, source="")
    page = Read(files[0].read_text())
    assert "0 have a result, 0 failed, 3 wait." in page.text and "svg" not in page.tags
    assert "There is no result yet." in page.text


def texts_of(picture):
    return [
        "".join(each.itertext()) for each in ET.fromstring(picture.svg).iter() if each.tag.endswith("}text")
    ]


def test_the_frontier_is_no_worse_than_any_other_folding(limits):
    assert list(limits.lut) == sorted(limits.lut) and list(limits.cycles) == sorted(limits.cycles)[::-1]
    assert limits.cycles[-1] == 98, "the DMA's"
    for pe, simd in ((1, 1), (4, 8), (8, 8), (16, 16), (64, 8)):
        changed = lab_with(TFC, {"MVAU_hls_1": {"PE": pe, "SIMD": simd}})
        nodes = {
            name: {**each, "ram_style": "block"} if "MVAU" in name else each
            for name, each in changed.nodes.items()
        }
        folded = DESIGN.folded(Folding("one", nodes, {}))
        cycles = estimate(folded.layers, folded.inputs, folded.outputs).cycles_per_frame
        lut = calibrated_total(folded, calibration.load())[0].lut
        cheapest = min(cost for cost, each in zip(limits.lut, limits.cycles, strict=True) if each <= cycles)
        assert cheapest <= lut, (pe, simd)


def test_a_part_too_small_for_the_shell_has_no_frontier(outcomes):
    tiny = replace(PART, holds=replace(PART.holds, lut=1000))
    none = bounds(DESIGN, tiny)
    assert (none.cycles, none.lut, none.least_cycles) == ((), (), 0)
    assert "operations" in roofline(TFC, outcomes[:2], none).words
    assert "frontier at" not in speed_over_luts(TFC, outcomes[:2], none).alternative


def test_the_plots_name_every_experiment_and_the_part(plots):
    speed, roof, bars = map(texts_of, plots)
    assert {
        "baseline",
        "Exp1",
        "all LUT of the xc7z020",
        "70 % of them, as AMD recommends",
        "measured",
    } <= set(speed)
    assert {"DMA bound", "tfc-w1a1: 150 operations a byte"} <= set(roof), "118,016 operations, 785 bytes"
    assert {"idma0", "MVAU_hls_1", "LabelSelect_hls_0", "4,102", "98"} <= {
        line for text in bars for line in text.split()
    }


def test_plots_say_in_words_what_they_show(plots):
    speed, roof, bars = plots
    assert "Exp1 2.438e+04 frames/s" in speed.alternative
    # 1,020,408 frames/s of 118,016 operations each
    assert "The DMA allows 120G operations/s" in roof.alternative
    assert "Exp1: MVAU_hls_1, 4,102" in bars.alternative


def test_a_converter_that_is_the_bottleneck_has_a_bar_in_its_place(outcomes):
    folding = {"Thresholding_rtl_0": {"PE": 8}, "MVAU_hls_0": {"PE": 32, "SIMD": 28}}
    narrow = outcome(experiment("Exp2b", TFC, lab_with(TFC, folding)))
    texts = texts_of(layer_cycles(TFC, [outcomes[0], narrow]))
    first = texts.index("Thresholding_rtl_0")
    assert texts[first : first + 3] == ["Thresholding_rtl_0", "width converter 0", "MVAU_hls_0"]
    assert not any("width converter 1" in text for text in texts)


def test_no_text_of_a_plot_is_smaller_than_8_points(plots):
    for picture in plots:
        sizes = [float(each) for each in re.findall(r"font(?:-size)?: ?(?:[a-z]+ )?([\d.]+)px", picture.svg)]
        assert len(sizes) > 5 and min(sizes) >= 8


def test_several_clocks_have_a_frontier_and_a_roofline_each(outcomes, tmp_path):
    slower = outcome(experiment("baseline", TFC, lab_with(TFC, {}), clock_mhz=50.0))
    both = [outcomes[0], slower]
    files = write_page(study_of(both), both, tmp_path, source="")
    page = Read(files[0].read_text())
    assert page.tags.count("svg") == 4
    for words in ("frontier at 50 MHz", "roofline at 100 MHz", "baseline, 50 MHz", "baseline at 50 MHz"):
        assert words in page.text, words
    assert "Compared with" not in page.text, "each is the baseline at its clock"


def test_a_browser_shows_the_page_and_complains_about_nothing(written, tmp_path):
    shown, complaints = opened(find_browser(), written[0], tmp_path / "profile")
    assert complaints == []
    assert "Why is Exp1 slow?" in shown
