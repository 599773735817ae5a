"""The gallery of a compiled network: what changed, what is proven, one page."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import onnx
import pytest
from onnx import TensorProto, helper

from labd_host.dataflow.cycles import CycleEstimate, NodeCycles
from labd_host.drawing.graph_svg import graph_svg
from labd_host.flow.explanations import EXPLANATIONS, OPERATORS, operator
from labd_host.flow.gallery import GALLERY_FILE, write_gallery
from labd_host.flow.gallery_page import CycleRow, Gallery, ProofShown, StageShown, gallery_html
from labd_host.flow.stage_pictures import pictures, read_stage

SVG = "{http://www.w3.org/2000/svg}"
NO_ESTIMATE = CycleEstimate((NodeCycles("idma0", "IODMA", 1),), 1, 1, "idma0")


@pytest.fixture(scope="module")
def shown(compiled, tmp_path_factory):
    """A copy of the compiled network with its gallery."""
    folder = tmp_path_factory.mktemp("gallery") / "out"
    shutil.copytree(compiled.folder, folder)
    copied = dataclasses.replace(compiled, folder=folder)
    write_gallery(copied, 100.0)
    return copied


@pytest.fixture(scope="module")
def drawn(compiled):
    """Stage name -> its picture."""
    partition = compiled.folder / "6-partition-dataflow.onnx"
    graphs = [
        read_stage(stage.name, stage.title, stage.path, partition, stage.proof.compared)
        for stage in compiled.stages[:-1]
    ]
    return {picture.stage: picture for picture in pictures(graphs, compiled.estimate)}


def box(picture, name):
    return next(each for each in picture.boxes if each.name == name)


def ops(picture, state):
    return [each.op for each in picture.boxes if each.state == state]


def test_tidying_replaces_each_quantiser_of_activations_by_thresholds(drawn):
    tidy = drawn["tidy"]
    assert ops(tidy, "added") == ["MultiThreshold", "MatMul"] * 4
    assert "in place of node__symbolic" in box(tidy, "MultiThreshold_0").changes
    assert sorted(gone.op for gone in tidy.gone) == ["BipolarQuant"] * 8 + ["Gemm"] * 4


def test_streamlining_removes_every_scale_and_changes_the_thresholds(drawn):
    picture = drawn["streamlined"]
    assert [gone.op for gone in picture.gone if gone.kind == "scale"] == [
        *("Div", "Mul", "Sub"), *["BatchNormalization"] * 3, *("Sub", "Div", "Mul", "Add")
    ]  # fmt: skip
    assert "scale" not in {each.kind for each in picture.boxes}
    assert "thresholds 64×1 FLOAT32 → 64×1 UINT33" in box(picture, "MultiThreshold_1").changes
    assert "gives FLOAT32 → UINT8" in box(picture, "Reshape_0").changes


def test_the_hardware_layer_names_what_it_was_made_of(drawn):
    picture = drawn["hardware"]
    assert box(picture, "MVAU_0").changes == (
        "in place of XnorPopcountMatMul_0",
        "in place of MultiThreshold_1",
    )
    into = {gone.name: gone.into for gone in picture.gone}
    assert into["MultiThreshold_1"] == into["XnorPopcountMatMul_0"] == "now in MVAU_0"
    assert picture.summary == "since streamlined: 6 added, 9 removed"


def test_the_partition_is_drawn_with_its_inside_and_changes_no_operation(drawn):
    picture = drawn["partition"]
    assert picture.frame and picture.summary == "since hardware: 6 cut out for the FPGA"
    assert [each.op for each in picture.boxes if each.inside] == [
        "Thresholding",
        *["MVAU"] * 4,
        "LabelSelect",
    ]
    assert not any(each.changes for each in picture.boxes) and not picture.gone


def test_folding_shows_pe_simd_cycles_and_the_slowest_node(drawn):
    picture = drawn["folded"]
    first = box(picture, "MVAU_hls_0")
    assert first.changes == ("made in C++ (HLS)", "PE 1 → 16", "SIMD 1 → 49")
    assert "PE 16 · SIMD 49 · 64 cycles" in first.lines
    assert [each.lines for each in picture.boxes if each.slowest] == [("idma0 · 98 cycles, the slowest",)]
    assert [(gone.op, gone.into) for gone in picture.gone] == [("Reshape", "left to the driver")]


def test_proven_tensors_are_marked_and_only_those(drawn):
    assert not any(each.proven for each in drawn["exported"].boxes)
    assert [each.op for each in drawn["streamlined"].boxes if each.proven] == [
        "MultiThreshold", *["XnorPopcountMatMul", "MultiThreshold"] * 3, "XnorPopcountMatMul", "TopK"
    ]  # fmt: skip


def test_every_node_is_drawn_once_in_its_stage_s_file(shown):
    for number, stage in enumerate(shown.stages[:-1], start=1):
        root = ET.parse(shown.folder / f"{number}-{stage.name}.svg").getroot()
        drawn_boxes = [each for each in root.iter(f"{SVG}g") if "node" in each.get("class", "").split()]
        outside = 1 if stage.name == "partition" else 0  # the Reshape in front; `nodes` counts the inside
        assert len(drawn_boxes) == stage.nodes + outside + 2, stage.name


def test_the_page_explains_and_proves_every_stage(shown):
    page = (shown.folder / GALLERY_FILE).read_text()
    assert page.count('<section id="stage-') == len(shown.stages) == 8
    assert page.count("<svg ") == 7
    assert page.count("18,864 values compared with stage") == 7
    assert "132,048 values in all, 0 of them differ" in page
    for stage in shown.stages:
        assert EXPLANATIONS[stage.name].replace(">", "&gt;") in page


def test_the_page_has_the_cycles_the_ceiling_and_the_slowest_node(shown):
    page = (shown.folder / GALLERY_FILE).read_text()
    for words in (
        "idma0 with 98 cycles a frame, 1,020,408 frames/s at 100 MHz",
        "the layers alone would reach 1,428,571 frames/s (MVAU_hls_0, 70 cycles)",
        "not a measurement",
    ):
        assert words in page
    assert page.count('<tr class="slowest">') == 1


def test_every_file_the_page_links_to_is_there(shown):
    page = (shown.folder / GALLERY_FILE).read_text()
    links = set(re.findall(r'href="([^"]*)"', page))
    files = {link for link in links if not link.startswith("#")}
    assert {"7-folded.onnx", "7-folded.svg", "8-golden.json", "network.npz", "folding.json"} <= files
    assert all((shown.folder / name).is_file() for name in files)
    assert all(f'id="{link[1:]}"' in page for link in links - files)


def test_the_page_loads_and_runs_nothing(shown):
    page = (shown.folder / GALLERY_FILE).read_text().replace("http://www.w3.org/2000/svg", "")
    assert "default-src 'none'" in page
    for words in ("<script", "<link", "<img", "<iframe", "http:", "https:", "url(", "@import", " src="):
        assert words not in page


def test_another_process_gives_the_same_bytes(shown, tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from labd_host.dataflow.cycles import CycleEstimate, NodeCycles\n"
        "from labd_host.flow.stage_pictures import pictures, read_stage\n"
        "from labd_host.drawing.graph_svg import graph_svg\n"
        "folder, out = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "stages = [read_stage(n, 't', folder / f, folder / '6-partition-dataflow.onnx', ())\n"
        "          for n, f in (('a', '1-exported.onnx'), ('b', '4-streamlined.onnx'), ('c', '6-partition.onnx'))]\n"
        "for picture in pictures(stages, CycleEstimate((NodeCycles('i', 'IODMA', 1),), 1, 1, 'i')):\n"
        "    (out / picture.stage).write_text(graph_svg(picture), encoding='utf-8')\n"
        "print('finn' in sys.modules)\n"
    )
    made = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        out.mkdir()
        finished = subprocess.run(
            [sys.executable, "-c", script, str(shown.folder), str(out)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (finished.returncode, finished.stdout) == (0, "False\n"), (
            finished.stderr or "FINN was imported"
        )
        made.append([(out / name).read_bytes() for name in "abc"])
    assert made[0] == made[1]


def test_writing_the_gallery_again_changes_no_byte(shown):
    names = sorted(path.name for path in shown.folder.iterdir() if path.suffix in (".svg", ".html"))
    before = [(shown.folder / name).read_bytes() for name in names]
    write_gallery(shown, 100.0)
    assert [(shown.folder / name).read_bytes() for name in names] == before


def opened(page):
    """The tags of a page and where its links lead, as a parser of HTML sees them."""
    tags, links = set(), []
    parser = HTMLParser()

    def note(tag, attributes):
        tags.add(tag)
        links.extend(value for name, value in attributes if name in ("href", "src"))
        assert not any(name.startswith("on") for name, _ in attributes)

    parser.handle_starttag = note
    parser.feed(page)
    parser.close()
    return tags, links


def hostile_model(path, name):
    """Two nodes, a weight that is quantised beside them, names by an enemy."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Quant", [f"w{name}"], [f"q{name}"], name=name, domain="evil", note=name),
            helper.make_node("MatMul", [f"in{name}", f"q{name}"], [f"m{name}"], name=name),
            helper.make_node(name or "Relu", [f"m{name}", "nobody made this"], [f"out{name}"], name=name),
        ],
        name,
        [value(f"in{name}", TensorProto.FLOAT, [1, 4])],
        [value(f"out{name}", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor(f"w{name}", TensorProto.FLOAT, [4, 2], [0.0] * 8)],
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())
    onnx.load(str(path))
    return path


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "javascript:alert(1)",
        "\"'&]]>",
        "\x00\x1b\n",
        "\u202eevil",
        "层" * 99,
        "",
    ],
)
def test_a_model_with_hostile_names_is_drawn_as_text(tmp_path, name):
    path = hostile_model(tmp_path / "evil.onnx", name)
    stages = [read_stage(stage, name, path, path, ()) for stage in ("a", "b")]
    made = pictures(stages, NO_ESTIMATE)
    for picture in made:
        root = ET.fromstring(graph_svg(picture))
        assert len([g for g in root.iter(f"{SVG}g") if "node" in g.get("class", "").split()]) == 5
        assert not any(each.tag.endswith(("script", "iframe", "image")) for each in root.iter())
    assert [each.state for each in made[1].boxes] == ["kept"] * 5
    proof = ProofShown(name, 1, 1, 1, 1, (), (name,), "")
    stage = StageShown(name, name, made[0], 3, proof, (name,), (name,), name)
    cycles = (CycleRow(name, "MVAU", {}, 3, None), CycleRow("idma0", "IODMA", {}, 1, None))
    page = gallery_html(Gallery(name, (stage,), cycles, name, 4, 100.0, 1.0, (name,), {name: name}))
    tags, links = opened(page)
    assert tags.isdisjoint({"script", "iframe", "img", "image", "link", "object", "base"})
    assert not any(":" in link for link in links), "a link has no scheme, javascript: neither"
    assert not set("\x00\x1b\u202e") & set(page)


def test_an_implementation_is_explained_by_its_layer():
    assert operator("MVAU_hls") == OPERATORS["MVAU"] + ", in C++ (HLS)"
    assert operator("Thresholding_rtl").endswith("in Verilog (RTL)")
    assert operator("StrangeOp_hls") == ""
