"""However an export is written, it is read as the same network, and what was changed is told."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labd_host.exports import read_export
from labd_host.networks.exported import ExportedModel
from labd_shared.errors import ArtifactError
from support.small_exports import (
    CLASSES,
    HIDDEN,
    QONNX_DOMAIN,
    SIDE,
    cnn,
    constants_as_inputs,
    conv,
    images,
    mlp,
    qonnx_set_first,
    relu_quant,
    saved,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Scores of the network without a quirk."""
    return ExportedModel(saved(mlp(), tmp_path_factory.mktemp("plain") / "plain.onnx")).run(images())


def read(model, tmp_path):
    """*model* from a file; the network that labd sees, ready to run, and what was told."""
    path = saved(model, tmp_path / "quirk.onnx")
    return read_export(path).model, ExportedModel(path), "\n".join(read_export(path).notes)


def view_of_batch(g, x):
    """x.view(x.size(0), -1), as torch's older exporter writes it."""
    size = g.op("Gather", g.op("Shape", x), g.const(0, np.int64), axis=0)
    size = g.op("Unsqueeze", size, g.const([0], np.int64))
    return g.op("Reshape", x, g.op("Concat", size, g.const([-1], np.int64), axis=0))


def sizes_by_way_of_floats(g, x):
    """What is left of the map when its channels are one, computed as some exporters do: in floats."""
    shape = g.op("Cast", g.op("Shape", x), to=TensorProto.FLOAT)
    ends = [g.const(each, np.int64) for each in ([2], [4])]
    side = g.op("Slice", shape, *ends)
    values = g.op("Cast", g.op("Floor", g.op("ReduceProd", side, keepdims=1)), to=TensorProto.INT64)
    return g.op("Reshape", x, g.op("Concat", g.const([-1], np.int64), values, axis=0))


def no_domain(model):
    del model.opset_import[1:]
    return model


def standard_set_by_its_long_name(model):
    model.opset_import[0].domain = "ai.onnx"
    for node in model.graph.node[:3]:
        node.domain = node.domain or "ai.onnx"
    return model


def without_standard_set(model):
    del model.opset_import[0]
    return model


def nodes_backwards(model):
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def nameless(model):
    for node in model.graph.node:
        node.ClearField("name")
    return model


def constants_as_nodes(model):
    for each in list(model.graph.initializer):
        model.graph.node.insert(0, helper.make_node("Constant", [], [each.name], value=each))
        model.graph.initializer.remove(each)
    return model


def body_in_the_file(model):
    """QONNX's own operator as a function of the file, as an exporter may write it."""
    body = [helper.make_node("Identity", ["x"], ["y"])]
    names = ["x", "scale", "zero", "bits"]
    sets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function(QONNX_DOMAIN, "Quant", names, ["y"], body, sets))
    return model


def relu_as_a_function(model):
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = "my_relu", "pkg.torch"
    body = [helper.make_node("Relu", ["x"], ["y"])]
    sets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("pkg.torch", "my_relu", ["x"], ["y"], body, sets))
    model.opset_import.append(helper.make_opsetid("pkg.torch", 1))
    return model


def free_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def with_values(model):
    """The best score, which TopK gives as well, is an output."""
    model.graph.output.append(helper.make_tensor_value_info("v11", TensorProto.FLOAT, [1, 1]))
    return model


SPELLINGS = {
    "qonnx first": (lambda: qonnx_set_first(mlp()), "operator set qonnx.custom_op.general listed first"),
    "domain not listed": (lambda: no_domain(mlp()), "operator set qonnx.custom_op.general not listed: added"),
    "brevitas' old domain": (
        lambda: no_domain(mlp(domain="onnx.brevitas", opset=11, ir=6)),
        "of the domain onnx.brevitas: qonnx.custom_op.general (4 nodes)\noperator set 11: raised to 12",
    ),
    "finn's old domain": (
        lambda: mlp(domain="finn.custom_op.general"),
        "of the domain finn.custom_op.general",
    ),
    "no domain at all": (lambda: no_domain(mlp(domain="")), "operators without a domain"),
    "ai.onnx": (lambda: standard_set_by_its_long_name(mlp()), ""),
    "only qonnx listed": (
        lambda: without_standard_set(mlp(ir=7)),
        "no standard operator set listed: 12 is taken, which came with format 7",
    ),
    **{
        f"opset {old}": (lambda old=old: mlp(opset=old, ir=4), f"operator set {old}: raised to 12")
        for old in (7, 8, 9, 10, 11)
    },
    "opset 9, constants as inputs": (
        lambda: constants_as_inputs(mlp(opset=9, ir=4)),
        "raised to 12\nconstants listed as inputs: taken out of the inputs (21)",
    ),
    "free batch": (lambda: free_batch(mlp()), "the free batch axis N of the input x: set to 1"),
    "batch of -1": (lambda: mlp(shape=(-1, 1, SIDE, SIDE)), "the free batch axis of the input x: set to 1"),
    "view of the batch": (
        lambda: mlp(flatten=view_of_batch),
        "arithmetic of shapes: folded (Shape_3, Gather_4,",
    ),
    "free batch, view of it": (
        lambda: free_batch(mlp(flatten=view_of_batch)),
        "arithmetic of shapes: folded",
    ),
    "sizes in floats": (lambda: mlp(flatten=sizes_by_way_of_floats), "arithmetic of shapes: folded"),
    "flatten": (lambda: mlp(flatten=lambda g, x: g.op("Flatten", x)), ""),
    "nodes backwards": (lambda: nodes_backwards(mlp()), "nodes that stood before what they read: sorted"),
    "no names": (lambda: nameless(mlp()), ""),
    "constants as nodes": (lambda: constants_as_nodes(mlp()), ""),
    "a body of Quant in the file": (lambda: body_in_the_file(mlp()), ""),
    "a function of the file": (lambda: relu_as_a_function(mlp()), "functions of the file (my_relu)"),
    "flat input": (lambda: mlp(shape=(1, SIDE * SIDE)), ""),
    "Dropout": (
        lambda: mlp(between=lambda g, x: g.op("Dropout", x, g.const(0.2), g.const(False, bool))),
        "Dropout: without an effect, left out (Dropout_9)",
    ),
    "Dropout left in training": (
        lambda: mlp(between=lambda g, x: g.op("Dropout", x, g.const(0.5), g.const(True, bool))),
        "Dropout: without an effect, left out (Dropout_9)",
    ),
    "Dropout of opset 7": (
        lambda: mlp(between=lambda g, x: g.op("Dropout", x, ratio=0.5), opset=7, ir=4),
        "Dropout: without an effect, left out (Dropout_9)",
    ),
    "Identity": (
        lambda: mlp(tail=lambda g, x: g.op("Identity", g.op("Identity", x))),
        "Identity: without an effect, left out (Identity_11, Identity_12)",
    ),
    "Cast to what it is": (
        lambda: mlp(between=lambda g, x: g.op("Cast", x, to=TensorProto.FLOAT)),
        "Cast: without an effect",
    ),
    "a dead end": (
        lambda: mlp(between=lambda g, x: (g.op("Tanh", x), x)[1]),
        "nodes whose result nobody reads: left out (Tanh_9)",
    ),
    "Softmax": (
        lambda: mlp(tail=lambda g, x: g.op("Softmax", x, axis=-1)),
        "Softmax_11 (Softmax) behind the scores",
    ),
    "Softmax of opset 9": (
        lambda: mlp(tail=lambda g, x: g.op("Softmax", x), opset=9, ir=4),
        "Softmax_11 (Softmax)",
    ),
    "LogSoftmax": (
        lambda: mlp(tail=lambda g, x: g.op("LogSoftmax", x, axis=1)),
        "LogSoftmax_11 (LogSoftmax)",
    ),
    "Sigmoid": (lambda: mlp(tail=lambda g, x: g.op("Sigmoid", x)), "above 0.5 is now above 0"),
    "ArgMax": (
        lambda: mlp(
            tail=lambda g, x: g.op("ArgMax", x, axis=-1, keepdims=0), shape_out=(1,), kind=TensorProto.INT64
        ),
        "ArgMax_11 (ArgMax) behind the scores: taken away, labd itself chooses the best class",
    ),
    "ArgMax of Softmax, as int32": (
        lambda: mlp(
            tail=lambda g, x: g.op("Cast", g.op("ArgMax", g.op("Softmax", x), axis=1), to=TensorProto.INT32),
            shape_out=(1, 1),
            kind=TensorProto.INT32,
        ),
        "ArgMax_12 (ArgMax) behind the scores: taken away, labd itself chooses the best class\nSoftmax_11",
    ),
    "TopK": (
        lambda: mlp(
            tail=lambda g, x: g.op("TopK", x, g.const([1], np.int64), outputs=2, axis=-1)[1],
            shape_out=(1, 1),
            kind=TensorProto.INT64,
        ),
        "TopK_11 (TopK) behind the scores",
    ),
    "TopK, both outputs": (
        lambda: with_values(
            mlp(
                tail=lambda g, x: g.op("TopK", x, g.const([1], np.int64), outputs=2)[1],
                shape_out=(1, 1),
                kind=TensorProto.INT64,
            )
        ),
        "TopK_11 (TopK) behind the scores",
    ),
    "TopK of opset 9": (
        lambda: mlp(
            tail=lambda g, x: g.op("TopK", x, outputs=2, axis=-1, k=1)[1],
            shape_out=(1, 1),
            kind=TensorProto.INT64,
            opset=9,
            ir=4,
        ),
        "TopK_11 (TopK) behind the scores",
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_however_it_is_written_it_gives_the_same_scores(spelling, plain, tmp_path):
    make, note = SPELLINGS[spelling]
    model, network, told = read(make(), tmp_path)
    assert note in told
    np.testing.assert_array_equal(network.run(images()), plain)
    assert [entry.domain for entry in model.opset_import] == ["", QONNX_DOMAIN]
    assert model.opset_import[0].version >= 12
    assert [entry.name for entry in model.graph.input] == ["x"]
    assert [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim] == [1, CLASSES]
    names = [node.name for node in model.graph.node]
    assert all(names) and len(set(names)) == len(names)
    assert {node.op_type for node in model.graph.node} <= {
        "Mul", "Sub", "Quant", "Reshape", "Flatten", "MatMul", "Gemm", "BatchNormalization", "Relu",
    }  # fmt: skip


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11])
def test_a_raised_operator_set_computes_what_the_old_one_did(opset, tmp_path):
    """The same nodes without QONNX's, in onnxruntime, old and raised."""
    import onnxruntime

    def floats(g, x):
        x = g.op("MaxPool", g.op("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
        x = g.op("Pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.5) if opset < 11 else x
        x = g.op("Clip", x, min=0.1, max=0.7) if opset < 11 else x
        x = g.op("Upsample", x, g.const([1, 1, 2, 2]), mode="nearest") if opset == 9 else x
        x = g.op("Squeeze", g.op("Unsqueeze", x, axes=[0]), axes=[0])
        return g.op("ReduceMean", x, axes=[2, 3], keepdims=1), 3

    model = cnn(floats, opset=opset, ir=4)
    for node in model.graph.node:
        if node.op_type == "Quant":
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    x = np.random.default_rng(1).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    raised = read_export(saved(model, tmp_path / "old.onnx")).model

    def ran(which):
        which.ir_version = 8
        return onnxruntime.InferenceSession(which.SerializeToString()).run(None, {"x": x})[0]

    np.testing.assert_array_equal(ran(raised), ran(model))


def test_sign_is_the_bipolar_quantiser_and_zeros_among_weights_are_counted(tmp_path):
    def signs(g, x):
        return g.op("Sign", x)

    model = mlp(quantiser=signs)
    weights = next(node for node in model.graph.node if node.op_type == "MatMul").input[1]
    quantiser = next(node for node in model.graph.node if weights in node.output)
    quantiser.op_type, quantiser.domain = "Sign", ""
    del quantiser.input[1:], quantiser.attribute[:]
    constant = next(each for each in model.graph.initializer if each.name == quantiser.input[0])
    values = numpy_helper.to_array(constant).copy()
    values[:2, 1] = 0
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    read_model, network, told = read(model, tmp_path)
    assert "a value of exactly 0 becomes +1 (Quant_4, Sign_7); 2 weights are exactly 0" in told
    assert [node.op_type for node in read_model.graph.node].count("BipolarQuant") == 2
    assert network.run(images()).shape == (20, CLASSES)


def test_a_resize_to_sizes_is_written_with_scales_so_that_a_batch_goes_through_at_once(tmp_path):
    def to_sizes(g, x):
        x = g.op("Resize", x, "", "", g.const([1, 3, 16, 24], np.int64), mode="nearest")
        return x, 3 * 16 * 24

    model, network, told = read(cnn(to_sizes), tmp_path)
    node = next(node for node in model.graph.node if node.op_type == "Resize")
    scales = next(each for each in model.graph.initializer if each.name == node.input[2])
    assert numpy_helper.to_array(scales).tolist() == [1, 1, 2, 3] and len(node.input) == 3
    assert "Resize to sizes: written as scales (Resize_3)" in told
    assert network.run(images(3, 8, 3)).shape == (3, CLASSES)


def test_an_input_that_onnx_lets_one_leave_out_may_be_left_out(tmp_path):
    def widened(g, x):
        x = g.op("Clip", x, "", g.const(0.5))
        return g.op("Resize", x, "", g.const([1, 1, 2, 2]), mode="nearest"), 3 * 256

    assert read(cnn(widened), tmp_path)[1].run(images(3, 8, 3)).shape == (3, CLASSES)


def test_zeros_that_a_sign_meets_are_counted(tmp_path):
    from support.listeners import Kept

    halves = cnn(lambda g, x: (g.op("Sign", g.op("Relu", g.op("Sub", x, g.const(0.5)))), 3 * 64))
    _, network, _ = read(halves, tmp_path)
    pictures = images(5, 8, 3)
    network.run(pictures)
    levels = np.clip(np.rint((pictures.astype(np.float32) / np.float32(255) * 2 - 1) * 128), -128, 127)
    assert network.zeros == (levels <= 64).sum() > 100
    told = Kept()
    network.tell_zeros(told)
    assert f"{network.zeros} values of exactly 0" in told.said[0]


def test_a_signed_quantiser_of_one_bit_is_bipolar_as_qonnx_computes_it(tmp_path):
    one_bit = mlp(quantiser=lambda g, x: g.quant(x, 1, 0.7, narrow=1))
    bipolar = mlp(quantiser=lambda g, x: g.bipolar(x, 0.7))
    _, network, told = read(one_bit, tmp_path)
    assert "Quant of 1 bit with a sign: read as the bipolar quantiser (Quant_7)" in told
    np.testing.assert_array_equal(network.run(images()), read(bipolar, tmp_path)[1].run(images()))


@pytest.mark.parametrize("layout", ["", "NHWC"])
def test_thresholds_are_counted_as_qonnx_counts_them(layout, tmp_path):
    from qonnx.custom_op.general.multithreshold import multithreshold

    rng = np.random.default_rng(2)
    channels = SIDE if layout else 1
    thresholds = np.sort(rng.integers(0, 256, (channels, 15)), axis=1).astype(np.float32) / np.float32(255)
    shape = (1, SIDE, SIDE, SIDE) if layout else (1, 1, SIDE, SIDE)
    node = helper.make_node(
        "MultiThreshold", ["x", "t"], ["y"], "mt", domain="finn.custom_op.general",
        out_dtype="INT4", out_scale=0.5, out_bias=-4.0, data_layout=layout,
    )  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [numpy_helper.from_array(thresholds, "t")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    pictures = images(3, channels=shape[1])
    x = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    wanted = multithreshold(x, thresholds, 0.5, -4.0, channels_last=bool(layout))
    np.testing.assert_array_equal(read(model, tmp_path)[1].run(pictures), wanted)


def test_counts_of_agreeing_bits_are_qonnxs(tmp_path):
    from qonnx.custom_op.general.xnorpopcount import xnorpopcountmatmul

    rng = np.random.default_rng(4)
    weights = rng.integers(0, 2, (SIDE * SIDE, HIDDEN)).astype(np.float32)
    node = helper.make_node("XnorPopcountMatMul", ["x", "w"], ["y"], "xnor", domain=QONNX_DOMAIN)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIDE * SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, HIDDEN])],
        [numpy_helper.from_array(weights, "w")],
    )
    pictures = images() // 128 * 255
    bits = pictures.reshape(len(pictures), -1) // 255
    network = read(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), tmp_path)[1]
    np.testing.assert_array_equal(network.run(pictures), xnorpopcountmatmul(bits.astype(np.float32), weights))


@pytest.mark.parametrize(
    "mode", ["ROUND", "HALF_EVEN", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "floor"]
)
def test_every_rounding_of_qonnx_is_computed_as_qonnx_does(mode, tmp_path):
    from qonnx.custom_op.general.quant import quant

    model = mlp()
    first = next(node for node in model.graph.node if node.op_type == "Quant")
    next(each for each in first.attribute if each.name == "rounding_mode").s = mode.encode()
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(first.output[0], TensorProto.FLOAT, [1, 1, SIDE, SIDE])
    )
    pictures = images()
    x = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255) * 2 - 1
    wanted = quant(x, np.float32(1 / 128), np.float32(0), np.float32(8), 1, 0, mode)
    np.testing.assert_array_equal(read(model, tmp_path)[1].run(pictures), wanted)


def windows(model, op):
    node = next(node for node in model.graph.node if node.op_type == op)
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def test_what_onnx_lets_a_window_leave_out_is_written_in(tmp_path):
    def bare(g, x):
        x = relu_quant(g, conv(g, x, 3, 4), 4)
        return g.op("MaxPool", x, kernel_shape=[2, 2]), 4 * 25

    model, _, told = read(cnn(bare), tmp_path)
    whole = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4}
    assert windows(model, "Conv") == {**whole, "group": 1}
    assert windows(model, "MaxPool") == {**whole, "kernel_shape": [2, 2]}
    assert "strides, dilations, pads: ONNX's defaults written in (MaxPool_" in told


@pytest.mark.parametrize(
    ("padding", "pads"), [("SAME_UPPER", [0, 0, 1, 1]), ("SAME_LOWER", [1, 1, 0, 0]), ("VALID", [0] * 4)]
)
def test_automatic_padding_becomes_numbers(padding, pads, tmp_path):
    side = 3 if padding == "VALID" else 4

    def automatic(g, x):
        x = conv(g, x, 3, 4, auto_pad=padding, strides=[2, 2])
        return relu_quant(g, x, 4), 4 * side * side

    model = cnn(automatic)
    read_model, network, told = read(model, tmp_path)
    assert windows(read_model, "Conv")["pads"] == pads
    assert f"auto_pad {padding} written as pads {pads}" in told
    assert network.run(images(3, 8, 3)).shape == (3, CLASSES)


def test_ceil_mode_goes_where_it_changes_nothing_and_stays_where_it_does(tmp_path):
    def pooled(g, x):
        x = relu_quant(g, conv(g, x, 3, 4), 4)
        return g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), 4 * values

    values = 16
    kept, _, told = read(cnn(pooled, side=9), tmp_path)
    assert windows(kept, "MaxPool")["ceil_mode"] == 1 and "ceil_mode" not in told
    values = 9
    gone, _, told = read(cnn(pooled), tmp_path)
    assert windows(gone, "MaxPool")["ceil_mode"] == 0
    assert "ceil_mode has no effect on this size" in told


def test_a_pad_of_zeros_moves_into_the_convolution_behind_it(tmp_path):
    def around(g, x):
        x = g.op("Pad", x, g.const([0, 0, 1, 2, 0, 0, 1, 0], np.int64), g.const(0))
        return relu_quant(g, conv(g, x, 3, 4, pads=[0, 0, 0, 1]), 4), 4 * 8 * 9

    model, network, told = read(cnn(around), tmp_path)
    assert windows(model, "Conv")["pads"] == [1, 2, 1, 1]
    assert "moved into the pads [1, 2, 1, 1] of Conv_" in told
    assert network.run(images(3, 8, 3)).shape == (3, CLASSES)


def test_pixels_of_the_type_uint8_come_as_they_are(tmp_path):
    floats, whole = mlp(), mlp()
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    mul = next(node for node in whole.graph.node if node.op_type == "Mul")
    constant = next(each for each in whole.graph.initializer if each.name == mul.input[1])
    constant.CopyFrom(numpy_helper.from_array(np.float32(2 / 255), constant.name))
    whole.graph.node.insert(0, helper.make_node("Cast", ["x"], ["pixels"], "cast", to=TensorProto.FLOAT))
    mul.input[0] = "pixels"
    _, network, told = read(whole, tmp_path)
    assert "the input x of type uint8: pixels from 0 to 255, as they are\nCast: without an effect" in told
    np.testing.assert_allclose(network.run(images()), read(floats, tmp_path)[1].run(images()), atol=2)


def test_a_flat_network_takes_a_colour_picture_channel_by_channel(tmp_path):
    model = mlp(shape=(1, 36), flatten=lambda g, x: x)
    network = read(model, tmp_path)[1]
    colour = images(4, side=2, channels=9)
    flat = colour.transpose(0, 3, 1, 2).reshape(4, 36)
    np.testing.assert_array_equal(network.run(colour), network.run(flat))


def test_a_network_whose_batch_cannot_be_freed_runs_image_by_image(tmp_path):
    def mixed(g, x):
        return g.op("Reshape", g.op("Reshape", x, g.const([2, 18], np.int64)), g.const([1, 36], np.int64))

    network = read(mlp(flatten=mixed), tmp_path)[1]
    together = network.run(images())
    np.testing.assert_array_equal(together[3:4], network.run(images()[3:4]))


# --- what is refused ---------------------------------------------------------------------------------------


def two_outputs(model):
    model.graph.output.append(helper.make_tensor_value_info("v8", TensorProto.FLOAT, [1, HIDDEN]))
    return model


def second_input(model):
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    next(node for node in model.graph.node if node.op_type == "Sub").input[1] = "other"
    return model


def top5(g, x):
    return g.op("TopK", x, g.const([5], np.int64), outputs=2, axis=-1)[1]


def circle(model):
    model.graph.node[0].input[0] = model.graph.node[1].output[0]
    return model


def made_twice(model):
    model.graph.node[1].output[0] = model.graph.node[0].output[0]
    return model


def escape_in_a_name(model):
    model.graph.node[0].name = "\x1b[2Jmul"
    return model


def branch_inside(model):
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["i"])], "then", [], [])
    model.graph.node.append(
        helper.make_node("If", ["x"], ["branched"], "my_if", then_branch=inner, else_branch=inner)
    )
    return model


def functions_that_grow(model):
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("bomb", 1)]
    for level in range(40):
        inner = f"f{level - 1}" if level else "Relu"
        body = [
            helper.make_node(inner, [f"t{step}"], [f"t{step + 1}"], domain="bomb" if level else "")
            for step in range(10)
        ]
        model.functions.append(helper.make_function("bomb", f"f{level}", ["t0"], ["t10"], body, sets))
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = "f39", "bomb"
    model.opset_import.append(helper.make_opsetid("bomb", 1))
    return model


def damaged_constant(model):
    model.graph.initializer[0].dims.append(7)
    return model


REFUSED = {
    "five best": (
        lambda: mlp(tail=top5, shape_out=(1, 5), kind=TensorProto.INT64),
        r"TopK_11 \(TopK\) gives the best 5",
    ),
    "the worst": (
        lambda: mlp(
            tail=lambda g, x: g.op("TopK", x, g.const([1], np.int64), outputs=2, largest=0)[1],
            shape_out=(1, 1),
            kind=TensorProto.INT64,
        ),
        r"TopK_11 \(TopK\) gives the worst 1 classes",
    ),
    "a choice among images": (
        lambda: mlp(tail=lambda g, x: g.op("ArgMax", x), kind=TensorProto.INT64),
        r"ArgMax_11 \(ArgMax\) chooses along the axis 0",
    ),
    "the class and the sums": (
        lambda: two_outputs(mlp(tail=lambda g, x: g.op("ArgMax", x, axis=1), kind=TensorProto.INT64)),
        r"2 outputs \(v11 of ArgMax_11; v8 of Quant_8\)",
    ),
    "two outputs": (lambda: two_outputs(mlp()), r"2 outputs \(v10 of MatMul_10; v8 of Quant_8\).*branches"),
    "two inputs": (lambda: second_input(mlp()), r"2 inputs: x, read by Mul_0; other, read by Sub_1"),
    "opset 6": (lambda: mlp(opset=6, ir=3), "operator set 6, labd reads sets from 7 to"),
    "opset 999": (lambda: mlp(opset=999), "operator set 999, labd reads sets from 7 to"),
    "a circle": (lambda: circle(mlp()), r"Mul_0 \(Mul\) waits for its own result"),
    "made twice": (lambda: made_twice(mlp()), "the tensor v0 of the network is made twice"),
    "escapes": (lambda: escape_in_a_name(mlp()), r"the name '\\x1b\[2Jmul' in the network is not text"),
    "control flow": (lambda: branch_inside(mlp()), r"my_if \(If\) holds a graph of its own"),
    "functions that grow": (lambda: functions_that_grow(mlp()), "functions hold 20001 nodes or more"),
    "a damaged constant": (lambda: damaged_constant(mlp()), "the constant c0 is damaged"),
    "another set": (lambda: other_set(mlp()), r"Relu_7 \(Relu\) is an operator of the set com.example"),
    "a hardware layer": (
        lambda: other_set(mlp(), "finn.custom_op.fpgadataflow.hls"),
        r"Relu_7 \(Relu\) is a hardware layer of FINN's",
    ),
    "a Quant of three inputs": (lambda: short_quant(mlp()), r"Quant_2 \(Quant\) has 3 inputs, 4 are wanted"),
    "a Quant without a sign": (lambda: signless_quant(mlp()), r"Quant_2 \(Quant\) has no attribute signed"),
    "sizes that do not fit": (
        lambda: mlp(between=lambda g, x: g.op("Reshape", x, g.const([1, 9], np.int64))),
        "does not allow this network: .*MatMul_11.* Incompatible dimensions|makes .1, 9. of .1, 8.",
    ),
    "a kernel wider than the map": (
        lambda: cnn(lambda g, x: (relu_quant(g, conv(g, x, 3, 4, 11), 4), 16)),
        r"Conv_\d+ \(Conv\) makes a tensor of the sizes .1, 4, -?\d, -?\d.|does not allow this network: .*Conv_",
    ),
    "NaN": (lambda: with_nan(mlp()), "the constant c2 has 1 values that are not numbers"),
    "no size": (lambda: sizeless(mlp()), r"the input x has the shape \(1, 1, any, 6\)"),
    "a huge size": (lambda: mlp(shape=(1, 1, 1 << 40, 6)), "one image of a fixed size is wanted"),
    "an output of constants": (
        lambda: constant_output(mlp()),
        "the output v4 of the network does not depend on",
    ),
    "a float64 input": (lambda: float64_input(mlp()), "the input x is of type DOUBLE"),
}


def other_set(model, name="com.example"):
    next(node for node in model.graph.node if node.op_type == "Relu").domain = name
    model.opset_import.append(helper.make_opsetid(name, 1))
    return model


def first_quant(model):
    return next(node for node in model.graph.node if node.op_type == "Quant")


def short_quant(model):
    del first_quant(model).input[3]
    return model


def signless_quant(model):
    quant = first_quant(model)
    quant.attribute.remove(next(each for each in quant.attribute if each.name == "signed"))
    return model


def with_nan(model):
    constant = model.graph.initializer[2]
    constant.CopyFrom(numpy_helper.from_array(np.float32(np.nan), constant.name))
    return model


def sizeless(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    return model


def constant_output(model):
    model.graph.output[0].name = "v4"
    return model


def float64_input(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_one_network_is_refused_with_what_to_do(case, tmp_path):
    make, message = REFUSED[case]
    with pytest.raises(ArtifactError, match=message) as caught:
        read_export(saved(make(), tmp_path / "refused.onnx"))
    assert caught.value.fix
