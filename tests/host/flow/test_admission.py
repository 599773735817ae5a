"""What cannot be built is refused before anything starts, and the export's own nodes are named."""

import onnx
import pytest
from onnx import TensorProto, helper

from labd_host.dataflow.folding import Folding
from labd_host.exports import load_onnx, read_export
from labd_host.flow import compile_network
from labd_host.flow.admission import check_export, check_network
from labd_host.flow.onnx_graph import graph_of
from labd_host.networks import trained_onnx
from labd_host.rewrites.for_finn import rewrite_for_finn
from labd_shared.errors import ArtifactError, LabdError
from support.convolutional import images, write_network
from support.facts import lacking


def admit(path):
    model = read_export(path).model
    check_export(graph_of(model), path.name)
    rewrite_for_finn(model.graph)
    check_network(graph_of(model))


@pytest.fixture
def changed(tmp_path):
    """The shipped network after a change of its model."""

    def make(change):
        model = onnx.load(str(trained_onnx("tfc-w1a1")))
        change(model)
        path = tmp_path / "changed.onnx"
        onnx.save(model, str(path))
        return path

    return make


def quantisers(model, *, of_weights):
    constants = {entry.name for entry in model.graph.initializer}
    found = [node for node in model.graph.node if node.op_type == "BipolarQuant"]
    return [node for node in found if (node.input[0] in constants) == of_weights]


def bypass(model, node):
    """Whoever reads *node* reads what it reads."""
    for other in model.graph.node:
        for place, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[place] = node.input[0]
    model.graph.node.remove(node)


def insert(model, op, **attributes):
    """A node in front of the second quantiser of activations."""
    quantiser = quantisers(model, of_weights=False)[1]
    node = helper.make_node(op, [quantiser.input[0]], ["inserted"], f"my_{op.lower()}", **attributes)
    quantiser.input[0] = "inserted"
    model.graph.node.insert(list(model.graph.node).index(quantiser), node)


def test_the_networks_that_can_be_built_are_taken(tmp_path):
    admit(trained_onnx("tfc-w1a1"))
    admit(trained_onnx("vgg9-w1a1"))
    admit(write_network(tmp_path / "small.onnx", weight_bits=4, act_bits=2, pads=1))


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    whole = trained_onnx("tfc-w1a1").read_bytes()
    path = tmp_path / "half.onnx"
    for part in range(60):
        path.write_bytes(whole[: len(whole) * part // 60])
        with pytest.raises(ArtifactError, match=r"half\.onnx") as caught:
            admit(path)
        assert caught.value.fix


def test_a_file_cut_inside_the_part_that_names_its_tensors_is_refused_too(tmp_path):
    """Cut where protobuf sees a whole message: weights and outputs are what is missing then."""
    model = onnx.load(str(trained_onnx("tfc-w1a1")))
    del model.graph.initializer[3:]
    path = tmp_path / "few.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ArtifactError, match=r"reads .*, which no node makes; labd takes one input, "):
        admit(path)


def test_a_network_without_quantisers_is_no_qonnx(changed):
    def plain(model):
        for node in [*quantisers(model, of_weights=True), *quantisers(model, of_weights=False)]:
            bypass(model, node)

    with pytest.raises(
        ArtifactError, match=r"changed\.onnx is not a QONNX network: of its 14 nodes .*Quant, "
    ) as caught:
        admit(changed(plain))
    assert "export_qonnx" in caught.value.fix


def test_float_weights_name_the_layer(changed):
    with pytest.raises(ArtifactError, match=r"the weights slice_2 of node_linear_1 \(Gemm\) are float"):
        admit(changed(lambda model: bypass(model, quantisers(model, of_weights=True)[1])))


@pytest.mark.parametrize(
    ("op", "attributes", "reason", "cure"),
    [
        ("HardSwish", {}, "functions that never fall", "QuantReLU or QuantIdentity"),
        ("Softmax", {"axis": -1}, "the choice of the best class", "export the network without it"),
        ("GlobalMaxPool", {}, "the maximum and the average of a whole map", "AdaptiveAvgPool2d(1)"),
        ("GlobalAveragePool", {}, "those of a whole square feature map", "global averages"),
        ("Cos", {}, "labd knows no layer of FINN's for it", "quantisers of 1 to 8 bits"),
        (
            "NoSuchQuant",
            {"domain": "qonnx.custom_op.general"},
            "labd knows no layer of FINN's for it",
            "chain",
        ),
    ],
)
def test_a_layer_without_hardware_is_named_with_reason_and_cure(changed, op, attributes, reason, cure):
    path = changed(lambda model: insert(model, op, **attributes))
    with pytest.raises(ArtifactError, match=rf"no hardware for my_{op.lower()} \({op}\): ") as caught:
        admit(path)
    assert reason in caught.value.what
    assert lacking(caught.value.fix, cure) == []


def test_of_many_layers_without_hardware_three_are_named(changed):
    def four(model):
        for node in quantisers(model, of_weights=False):
            node.op_type, node.domain = "Tanh", ""
            del node.input[1:]

    with pytest.raises(ArtifactError, match=r"no hardware for (.*\(Tanh\).*; ){3}and 1 more"):
        admit(changed(four))


def test_a_network_with_a_branch_is_refused_where_it_forks(changed):
    def residual(model):
        second, third = [node for node in model.graph.node if node.op_type == "Gemm"][1:3]
        added = helper.make_node("Add", [second.output[0], third.output[0]], ["added"], "my_add")
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                if name == third.output[0]:
                    node.input[place] = "added"
        model.graph.node.insert(list(model.graph.node).index(third) + 1, added)

    with pytest.raises(
        ArtifactError, match=r"node_.* and my_add both read linear_1: a network with branches"
    ):
        admit(changed(residual))


def test_a_free_side_and_a_second_input_are_refused(changed):
    def free(model):
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "N"

    with pytest.raises(
        ArtifactError, match=r"the input x has the shape \(1, 1, N, 28\), one image of a fixed"
    ):
        admit(changed(free))

    def second(model):
        model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 784]))
        next(node for node in model.graph.node if node.op_type == "Sub").input[1] = "other"

    with pytest.raises(
        ArtifactError, match=r"2 inputs: x, read by node_view; other, read by node_sub; labd takes one"
    ):
        admit(changed(second))


def test_compiling_refuses_it_first_and_makes_no_stage(tmp_path):
    model = load_onnx(write_network(tmp_path / "small.onnx"))
    constants = {entry.name for entry in model.graph.initializer}
    last = [
        node for node in model.graph.node if node.op_type == "BipolarQuant" and node.input[0] in constants
    ][-1]
    bypass(model, last)
    onnx.save(model, str(tmp_path / "float.onnx"))
    with pytest.raises(
        LabdError, match=r"the weights constant\d+ of node_value\d+ \(Gemm\) are float"
    ) as caught:
        compile_network(
            tmp_path / "float.onnx", folding=Folding("none", {}, {}), out=tmp_path / "out", images=images(1)
        )
    assert caught.value.exit_code == 5
    assert not list((tmp_path / "out").glob("?-*"))
