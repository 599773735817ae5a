"""FINN's own TFC-w1a1 on the 10,000 MNIST images: 92.96 %, also from copies that are written as other tools do."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from labd_host.cli.inspect import facts_of
from labd_host.dataflow.folding import Folding
from labd_host.exports import QONNX_DOMAIN, read_export
from labd_host.flow import compile_network
from labd_host.networks.exported import ExportedModel
from support.listeners import Kept
from support.small_exports import constants_as_inputs, saved, with_data_beside

RIGHT = 9296  # of 10,000: what FINN's own execution of the file gives


@pytest.fixture(scope="module")
def finn_tfc():
    folder = Path(os.environ.get("LABD_FINN_NETS") or "-")
    if not (folder / "tfc-w1a1.onnx").is_file():
        pytest.skip("needs FINN's TFC: set LABD_FINN_NETS to the folder with tfc-w1a1.onnx")
    return folder / "tfc-w1a1.onnx"


def opset_9(model):
    """TopK has its number as an attribute there; the other nodes are written alike."""
    model.opset_import[0].version = 9
    node = next(node for node in model.graph.node if node.op_type == "TopK")
    constant = next(each for each in model.graph.initializer if each.name == node.input[1])
    best = int(numpy_helper.to_array(constant).reshape(-1)[0])
    model.graph.initializer.remove(constant)
    del node.input[1:], node.attribute[:]
    node.attribute.extend([helper.make_attribute("k", best), helper.make_attribute("axis", -1)])
    return model


def domain_of_brevitas(model):
    for node in model.graph.node:
        if node.domain:
            node.domain = "onnx.brevitas"
    return model


def free_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def qonnx_first(model):
    model.opset_import.insert(0, helper.make_opsetid(QONNX_DOMAIN, 1))
    return model


COPIES = {
    "as it is": (),
    "opset 9": (opset_9,),
    "old domain": (domain_of_brevitas,),
    "constants as inputs": (constants_as_inputs,),
    "free batch": (free_batch,),
    "qonnx first": (qonnx_first,),
    "external data": (),
    "all of it": (opset_9, domain_of_brevitas, free_batch, qonnx_first, constants_as_inputs),
}


def copied(source, copy, folder):
    model = onnx.load(str(source))
    for change in COPIES[copy]:
        model = change(model)
    path = folder / "tfc.onnx"
    return with_data_beside(model, path) if copy in ("external data", "all of it") else saved(model, path)


@pytest.mark.parametrize("copy", COPIES)
def test_its_own_arithmetic_gives_finns_accuracy_however_it_is_written(copy, finn_tfc, mnist_test, tmp_path):
    images, labels = mnist_test
    network = ExportedModel(copied(finn_tfc, copy, tmp_path))
    assert [note for note in network.notes if note.startswith("TopK_0 (TopK)")]
    assert (len(images), int((network.run(images).argmax(axis=1) == labels).sum())) == (10_000, RIGHT)


def test_its_accelerator_gives_finns_accuracy_and_the_changes_are_told_and_recorded(
    finn_tfc, mnist_test, tmp_path
):
    images, labels = mnist_test
    path = copied(finn_tfc, "all of it", tmp_path)
    told = Kept()
    compiled = compile_network(
        path, folding=Folding("none", {}, {}), out=tmp_path / "out", images=images[:2], many_images=images[:200],
        listener=told,
    )  # fmt: skip
    answers = compiled.golden.run(images).outputs[0].reshape(-1)
    assert int((answers == labels).sum()) == RIGHT
    assert compiled.stages[-1].name == "answers"
    notes = read_export(path).notes
    assert [f"read: {note}" for note in notes] == [line for line in told.said if line.startswith("read: ")]
    for words in (
        "read from tfc.onnx.data",
        "onnx.brevitas",
        "raised to 12",
        "taken out of the inputs",
        "axis N",
    ):
        assert any(words in note for note in notes), words
    assert facts_of(compiled.stages[0].path)["read_as"] == list(notes), "labd inspect shows them"
    exported = onnx.load(str(compiled.stages[0].path))
    assert np.all([not each.external_data for each in exported.graph.initializer])
