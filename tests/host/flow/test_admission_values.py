"""Values that no hardware layer takes are refused by the export's own node names, with the reason and the cure."""

import numpy as np
import pytest

from labd_host.cli.main import run
from labd_host.exports import read_export
from labd_host.flow.admission import check_export, check_network
from labd_host.flow.onnx_graph import graph_of
from labd_host.flow.proof_frames import ProofFrames
from labd_host.rewrites.for_finn import rewrite_for_finn
from labd_shared.errors import ArtifactError, ShapeError
from support.small_exports import CLASSES, GraphWriter, cnn, conv, images, mlp, relu_quant, saved


def admit(model, tmp_path):
    path = saved(model, tmp_path / "small.onnx")
    model = read_export(path).model
    check_export(graph_of(model), path.name)
    rewrite_for_finn(model.graph)
    check_network(graph_of(model))


def pool(g, x, **attributes):
    return g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], **attributes)


def pooled_first(*between):
    """Conv, MaxPool, then *between* (operation and constant), then a quantiser."""

    def body(g, x):
        x = pool(g, conv(g, x, 3, 4))
        for step in between:
            x = step(g, x)
        return g.quant(x, 2, 0.5, signed=0), 4 * 9

    return cnn(body)


def bipolar_map(padding, *, pooled=False, explicit=False):
    """A convolution with *padding* around activations of -1 and +1."""

    def body(g, x):
        x = g.bipolar(g.norm(conv(g, x, 3, 4, bits=1), 4, 3))
        side = 3 if pooled else 6
        x = pool(g, x) if pooled else x
        if explicit:
            x = g.op("Pad", x, g.const([0, 0, *padding[:2], 0, 0, *padding[2:]], np.int64))
        x = conv(g, x, 4, 4, bits=1, pads=[0] * 4 if explicit else padding)
        height, width = side + padding[0] + padding[2] - 2, side + padding[1] + padding[3] - 2
        return g.bipolar(g.norm(x, 4, 3)), 4 * height * width

    return cnn(body)


def odd_pool(g, x):
    return pool(g, relu_quant(g, conv(g, x, 3, 4), 4), ceil_mode=1), 4 * 16


def padded_pool(quantise):
    def body(g, x):
        return pool(g, quantise(g, g.norm(conv(g, x, 3, 4), 4, 3)), pads=[1] * 4), 4 * 16

    return cnn(body)


def unquantised(g, x):
    """A Relu without a quantiser in front of the last product."""
    return g.op("Relu", x)


def norm_behind_quantiser(g, x):
    return g.norm(g.quant(g.op("Relu", x), 2, 0.5, signed=0), 8, 1)


def two_maps():
    g = GraphWriter()
    x = g.op("Reshape", g.pixels(), g.const([1, 36], np.int64))
    x = g.op("MatMul", g.op("Transpose", x, perm=[1, 0]), x)
    return g.model(x, (1, 1, 6, 6), (36, 36))


def weights_on_the_left():
    g = GraphWriter()
    x = g.op("Reshape", g.pixels(), g.const([36, 1], np.int64))
    return g.model(g.op("MatMul", g.weight((CLASSES, 36)), x), (1, 1, 6, 6), (CLASSES, 1))


def training_norm():
    model = mlp()
    node = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    node.output.extend(["mean", "var"])
    node.attribute.add(name="training_mode", type=2, i=1)
    return model


def computed_scale(g, x):
    return g.op(
        "Quant",
        x,
        g.op("Mul", g.const(0.5), g.const(1)),
        g.const(0),
        g.const(2),
        domain=g.domain,
        signed=0,
        narrow=0,
    )


def quantiser(bits=2, scale=0.5, **quirk):
    return lambda g, x: g.quant(g.op("Relu", x), bits, scale, signed=0, **quirk)


def input_of_12_bits():
    g = GraphWriter()
    x = g.op("Reshape", g.pixels(bits=12), g.const([1, 36], np.int64))
    return g.model(g.op("MatMul", x, g.weight((36, CLASSES))), (1, 1, 6, 6), (1, CLASSES))


REFUSED = {
    "rounds down": (
        lambda: mlp(quantiser=quantiser(rounding_mode="FLOOR")),
        r"Quant_8 \(Quant\) rounds FLOOR, labd builds ROUND",
        "FloatToIntImplType.ROUND",
    ),
    "zero point": (
        lambda: mlp(quantiser=quantiser(zero=3.0)),
        r"Quant_8 \(Quant\) has the zero point 3, FINN builds quantisers without one",
        "symmetric",
    ),
    "scale of 0": (
        lambda: mlp(quantiser=quantiser(scale=0.0)),
        r"Quant_8 \(Quant\) has a scale of 0",
        "train it again",
    ),
    "a scale left to compute": (
        lambda: mlp(quantiser=computed_scale),
        r"computes its scale",
        "constant scales",
    ),
    "12 bits of a pixel": (
        input_of_12_bits,
        r"Quant_2 \(Quant\) makes 12 bits of the input",
        "8 bits or fewer",
    ),
    "12 bits inside": (
        lambda: mlp(quantiser=quantiser(bits=12)),
        r"Quant_8 \(Quant\) has 12 bits, FINN makes thresholds of up to 8",
        "8 bits or fewer",
    ),
    "no quantiser": (
        lambda: mlp(quantiser=unquantised),
        r"MatMul_9 \(MatMul\) reads what Relu_7 \(Relu\) gives, no quantiser stands between",
        "QuantIdentity",
    ),
    "batch-norm behind the quantiser": (
        lambda: mlp(quantiser=norm_behind_quantiser),
        r"MatMul_11 \(MatMul\) reads what BatchNormalization_9",
        "QuantIdentity",
    ),
    "no quantiser, no Relu": (
        lambda: mlp(quantiser=lambda g, x: x),
        r"MatMul_8 \(MatMul\) reads what BatchNormalization_6",
        "QuantIdentity",
    ),
    "two maps": (two_maps, r"both read v3: a network with branches", "chain"),
    "weights on the left": (
        weights_on_the_left,
        r"MatMul_5 \(MatMul\) multiplies weights from the left",
        "QuantLinear",
    ),
    "training": (
        training_norm,
        r"BatchNormalization_6 \(BatchNormalization\) is exported as for training",
        "eval()",
    ),
    "zeros around bits": (
        lambda: bipolar_map([1, 1, 1, 1]),
        r"Conv_\d+ \(Conv\) puts zeros around the values -1 and \+1 of BipolarQuant_\d+ .*not a value of one bit",
        "2 bits",
    ),
    "zeros at one side of bits": (
        lambda: bipolar_map([0, 1, 0, 0]),
        "puts zeros around",
        "leave out the padding",
    ),
    "zeros around pooled bits": (
        lambda: bipolar_map([1, 1, 1, 1], pooled=True),
        "puts zeros around",
        "2 bits",
    ),
    "zeros of a Pad": (
        lambda: bipolar_map([1, 1, 1, 1], explicit=True),
        r"Conv_\d+ \(Conv\) puts zeros",
        "2 bits",
    ),
    "ceil_mode": (lambda: cnn(odd_pool, side=9), r"MaxPool_\d+ \(MaxPool\) has ceil_mode", "ceil_mode=False"),
    "a padded pool of signed values": (
        lambda: padded_pool(lambda g, x: g.quant(x, 3)),
        r"MaxPool_\d+ \(MaxPool\) is padded, and Quant_\d+ \(Quant\) gives values below 0",
        "QuantReLU",
    ),
    "a padded pool of bits": (
        lambda: padded_pool(lambda g, x: g.bipolar(x)),
        "is padded",
        "leave out the padding",
    ),
    "a pool, then a falling scale": (
        lambda: pooled_first(lambda g, x: g.op("Mul", x, g.const(-1))),
        r"MaxPool_5 \(MaxPool\) takes the maximum of values that are not quantised.*: Mul_6 \(Mul\) stands in the way",
        "in front of MaxPool_5",
    ),
    "a pool, then no quantiser": (
        lambda: cnn(lambda g, x: (pool(g, conv(g, x, 3, 4)), 4 * 9)),
        r"not quantised, and no quantiser follows",
        "in front of MaxPool_5",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_name_with_reason_and_cure(case, tmp_path):
    make, message, cure = REFUSED[case]
    with pytest.raises(ArtifactError, match=message) as caught:
        admit(make(), tmp_path)
    assert cure in caught.value.fix
    assert caught.value.exit_code == 5


TAKEN = {
    "weights rounded down": lambda: weights_rounded("FLOOR"),
    "half even": lambda: mlp(quantiser=quantiser(rounding_mode="HALF_EVEN")),
    "8 bits": lambda: mlp(quantiser=quantiser(bits=8, scale=0.01)),
    "zeros around 2 bits": lambda: cnn(
        lambda g, x: (
            relu_quant(g, conv(g, relu_quant(g, conv(g, x, 3, 4), 4), 4, 4, pads=[1] * 4), 4),
            4 * 36,
        )
    ),
    "a padded pool behind Relu": lambda: padded_pool(lambda g, x: g.quant(g.op("Relu", x), 2, signed=0)),
    "a pool, then rising": lambda: pooled_first(
        lambda g, x: g.op("Mul", x, g.const(np.full((1, 4, 1, 1), 0.3))),
        lambda g, x: g.norm(x, 4, 3),
        lambda g, x: g.op("Relu", x),
    ),
    "mean and deviation of the input": lambda: normalised_input(),
}


def weights_rounded(mode):
    model = mlp()
    weights = [node for node in model.graph.node if node.op_type == "Quant"][1]
    next(each for each in weights.attribute if each.name == "rounding_mode").s = mode.encode()
    return model


def normalised_input():
    """Without a quantiser of its own: the first layer's kind, not an unquantised operand inside."""
    g = GraphWriter()
    x = g.op("Div", g.op("Sub", "x", g.const(0.5)), g.const(0.25))
    x = g.op("MatMul", g.op("Flatten", x), g.weight((36, 8)))
    x = g.quant(g.op("Relu", g.norm(x, 8, 3)), 2, signed=0)
    return g.model(g.op("MatMul", x, g.weight((8, CLASSES))), (1, 1, 6, 6), (1, CLASSES))


@pytest.mark.parametrize("case", TAKEN)
def test_what_can_be_built_is_taken(case, tmp_path):
    admit(TAKEN[case](), tmp_path)


@pytest.mark.usefixtures("mnist_folder")
def test_the_command_names_the_node_and_ends_with_5(tmp_path, capsys):
    path = saved(mlp(quantiser=quantiser(rounding_mode="FLOOR"), shape=(1, 1, 6, 6)), tmp_path / "floor.onnx")
    assert (
        run(["compile", str(path), "--folding", "auto", "--dataset", "mnist", "-o", str(tmp_path / "out")])
        == 5
    )
    assert "Quant_8 (Quant) rounds FLOOR, labd builds ROUND" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("?-*"))


def test_pictures_of_several_channels_do_not_go_into_a_flat_input():
    graph = graph_of(mlp(shape=(1, 36), flatten=lambda g, x: x))
    ProofFrames(images(2)).of(graph)
    with pytest.raises(
        ShapeError, match="36 values takes all of a channel before the next.* 9 channels"
    ) as caught:
        ProofFrames(images(2, side=2, channels=9)).of(graph)
    assert "(1, channels, height, width)" in caught.value.fix
