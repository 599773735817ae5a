"""What a proof could not compare, or found and was told to ignore, is said wherever the proof is shown."""

import onnx
import pytest
from rich.console import Console

from labd.compile_tables import stage_table
from labd_host.dataflow.folding import Folding
from labd_host.flow import compile_network
from labd_host.flow.compiled_folder import check_proven, load_compiled
from labd_host.flow.gallery import write_gallery
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError, StageMismatch, UnknownName
from support.small_networks import Net, hidden, images


def small(folder):
    net = hidden(Net())
    net.matmul(8, 4)
    return net.save(folder / "small.onnx")


def compiled_in(folder, **more):
    unfolded = Folding("none", {}, {})
    frames = images(50)
    return compile_network(
        folder / "small.onnx",
        folding=unfolded,
        out=folder / "out",
        images=frames[:4],
        many_images=frames,
        **more,
    )


def text_of(table):
    console = Console(width=200)
    with console.capture() as caught:
        console.print(table)
    return caught.get()


def test_a_comparison_that_was_not_made_is_not_shown_as_passed(tmp_path, monkeypatch):
    def refuse(self, export):
        raise ArtifactError(f"{export.path.name} cannot be run: no such operator", fix="export it again")

    small(tmp_path)
    monkeypatch.setattr(ExportedModel, "__init__", refuse)
    compiled = compiled_in(tmp_path)
    said = "answers: not compared: small.onnx cannot be run: no such operator"
    assert compiled.notes == (said,)
    assert load_compiled(tmp_path / "out").notes == (said,)
    assert "not made (exported)" in text_of(stage_table(compiled))
    write_gallery(compiled, 100)
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert "not compared" in page and "cannot be run: no such operator" in page
    monkeypatch.undo()
    assert "not compared" not in " ".join(compiled_in(tmp_path).notes), "it is made as soon as it can be"


def turned_round(self, images, *entering, run=ExportedModel.run):
    return -run(self, images, *entering) - 0.1


def test_answers_that_differ_end_a_compilation_unless_that_is_ignored_knowingly(tmp_path, monkeypatch):
    small(tmp_path)
    monkeypatch.setattr(ExportedModel, "run", turned_round)
    with pytest.raises(StageMismatch, match="stage answers .* sums of .* differ") as raised:
        compiled_in(tmp_path)
    assert "--ignore-check answers" in raised.value.fix
    assert not (tmp_path / "out" / "network.npz").exists()
    compiled = compiled_in(tmp_path, ignored=["answers"])
    assert compiled.stages[-1].proof.mismatches > 50
    assert [sentence.partition(":")[0] for sentence in compiled.ignored] == ["answers"]
    assert load_compiled(tmp_path / "out").ignored == compiled.ignored
    monkeypatch.undo()
    assert compiled_in(tmp_path).ignored == (), "without the option it is compared again"


def test_an_unknown_check_is_refused(tmp_path):
    small(tmp_path)
    with pytest.raises(UnknownName, match="halfs"):
        compiled_in(tmp_path, ignored=["halfs"])


def test_a_refused_compile_leaves_nothing_to_be_judged(tmp_path):
    path = small(tmp_path)
    compiled_in(tmp_path)
    check_proven(tmp_path / "out")
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Sin", [model.graph.output[0].name], ["odd"], "odd"))
    model.graph.output[0].name = "odd"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="no hardware for odd"):
        compiled_in(tmp_path)
    assert not (tmp_path / "out" / "network.npz").exists()


def test_a_golden_model_whose_proof_did_not_finish_is_not_judged(tmp_path):
    small(tmp_path)
    compiled_in(tmp_path)
    (tmp_path / "out" / "8-golden.json").unlink()
    with pytest.raises(ArtifactError, match="is not proven"):
        check_proven(tmp_path / "out")
