"""Which kinds of network labd takes: one small network of each, and docs/networks-taken.md, which is made of them.

make kinds    writes the page
"""

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labd_host.explore.for_a_rate import CheapestFolding
from labd_host.flow import compile_network
from labd_shared.errors import ArtifactError
from support.paths import ROOT
from support.small_exports import (
    CLASSES,
    SIDE,
    GraphWriter,
    cnn,
    constants_as_inputs,
    conv,
    mlp,
    qonnx_set_first,
    relu_quant,
    saved,
    with_data_beside,
)

PAGE = ROOT / "docs" / "networks-taken.md"
COLOURS, MAP = 3, 8


@dataclass(frozen=True)
class Kind:
    """One kind of network.

    Attributes:
        group: Heading on the page.
        name: What it is.
        build: () -> a model.
        frame: Height, width, channels of what goes in.
        refused: Whether labd refuses it.
        write: (model, path) -> the path of its file.
    """

    group: str
    name: str
    build: object
    frame: tuple = (SIDE, SIDE, 1)
    refused: bool = False
    write: object = saved


def body(*steps):
    """Convolutions on a colour image: each step is (writer, tensor, map) -> (tensor, map); a map: channels, side."""

    def build(g, x):
        where = (COLOURS, MAP)
        for step in steps:
            x, where = step(g, x, where)
        return x, where[0] * where[1] ** 2

    return lambda: cnn(build, side=MAP)


def layer(channels, size=3, *, bits=2, acts=2, pads=0, stride=1, group=1, bias=False):
    def step(g, x, where):
        inside, side = where
        weight = g.weight((channels, inside // group, size, size), bits)
        given = [x, weight] + ([g.const(g.rng.uniform(-1, 1, channels))] if bias else [])
        x = g.op("Conv", *given, pads=[pads] * 4, strides=[stride] * 2, group=group)
        x = g.norm(x, channels, np.sqrt(inside // group) * size)
        x = g.bipolar(x) if acts == 1 else g.quant(g.op("Relu", x), acts, 2.0 ** (1 - acts), signed=0)
        return x, (channels, (side + 2 * pads - size) // stride + 1)

    return step


def pool(**attributes):
    def step(g, x, where):
        made = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], **attributes)
        return made, (where[0], (where[1] + attributes.get("ceil_mode", 0)) // 2)

    return step


def pool_in_front(g, x, where):
    channels, side = where
    x = g.op("Conv", x, g.weight((4, channels, 3, 3)))
    x = g.op("MaxPool", g.norm(x, 4, 5), kernel_shape=[2, 2], strides=[2, 2])
    return g.quant(g.op("Relu", x), 2, 0.5, signed=0), (4, (side - 2) // 2)


def average(g, x, where):
    return g.quant(g.op("GlobalAveragePool", x), 4, 1 / 8, signed=0), (where[0], 1)


def upsample(g, x, where):
    made = g.op("Resize", x, "", g.const([1, 1, 2, 2]), mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    return made, (where[0], where[1] * 2)


def one_axis():
    g = GraphWriter(seed=11)
    x = g.op("Conv", g.pixels(), g.weight((4, 1, 3)))
    x = g.quant(g.op("Relu", g.norm(x, 4, 3)), 2, 0.5, signed=0)
    x = g.op("Reshape", x, g.const([1, 4 * 14], np.int64))
    return g.model(g.op("MatMul", x, g.weight((56, CLASSES))), (1, 1, 16), (1, CLASSES))


def kernel_of_1x3(g, x, where):
    x = g.op("Conv", x, g.weight((4, where[0], 1, 3)), pads=[0, 1, 0, 1])
    return relu_quant(g, x, 4), (4, where[1])


def pixels_alone(enter):
    """An MLP whose first product takes what *enter* (writer) makes of the pixels, without a quantiser."""

    def build():
        g = GraphWriter(seed=4)
        x = g.op("Reshape", enter(g), g.const([1, SIDE**2], np.int64))
        x = g.op("MatMul", x, g.weight((SIDE**2, 8)))
        x = g.quant(g.op("Relu", g.norm(x, 8, 3)), 2, 0.5, signed=0)
        return g.model(g.op("MatMul", x, g.weight((8, CLASSES))), (1, 1, SIDE, SIDE), (1, CLASSES))

    return build


def normalised(g):
    return g.op("Div", g.op("Sub", "x", g.const(0.3)), g.const(0.25))


def free_batch():
    model = mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def with_bias(g, x):
    return g.op("Add", x, g.const(np.linspace(-1, 1, CLASSES)))


def activation(kind, **attributes):
    return lambda: mlp(quantiser=lambda g, x: g.quant(g.op(kind, x, **attributes), 3, 1 / 4))


def quantiser(**attributes):
    return lambda: mlp(quantiser=lambda g, x: g.quant(g.op("Relu", x), 4, 1 / 4, signed=0, **attributes))


def signs_enter():
    def build(g, x):
        return layer(4)(g, g.bipolar(x), (COLOURS, MAP))[0], 4 * 36

    return cnn(build)


def unquantised():
    return mlp(quantiser=lambda g, x: g.op("Relu", x))


def five_best(g, x):
    return g.op("TopK", x, g.const([5], np.int64), outputs=2)[1]


def branch():
    return mlp(between=lambda g, x: g.op("Add", g.op("Relu", x), x))


FILE, INPUT, LAYERS, SCORES = "The file", "What goes in", "Layers", "What comes out"
COLOUR = (MAP, MAP, COLOURS)
KINDS = (
    Kind(FILE, "operator sets in any order, as torch 2.9 lists them", lambda: qonnx_set_first(mlp())),
    Kind(FILE, "operator set 9, constants listed as inputs", lambda: constants_as_inputs(mlp(opset=9, ir=4))),
    Kind(FILE, "Quant of the old domain onnx.brevitas", lambda: mlp(domain="onnx.brevitas", opset=11, ir=6)),
    Kind(FILE, "weights in a file beside the model", mlp, write=with_data_beside),
    Kind(FILE, "a free batch axis", free_batch),
    Kind(FILE, "Dropout left in", lambda: mlp(between=lambda g, x: g.op("Dropout", x, ratio=0.5), opset=7, ir=4)),
    Kind(FILE, "two outputs", lambda: _two_outputs(), refused=True),
    Kind(FILE, "ONNX's own quantisation (QDQ)", lambda: _qdq(), refused=True),
    Kind(INPUT, "a quantiser of 8 bits", mlp),
    Kind(INPUT, "a sign", signs_enter, COLOUR),
    Kind(INPUT, "pixel / 255 without a quantiser", pixels_alone(lambda g: "x")),
    Kind(INPUT, "(pixel - mean) / deviation", pixels_alone(normalised)),
    Kind(INPUT, "a vector", lambda: mlp(shape=(1, SIDE**2))),
    Kind(INPUT, "a signal over one axis (Conv1d)", one_axis, (1, 16, 1)),
    Kind(INPUT, "a colour image laid flat", lambda: cnn(lambda g, x: (x, COLOURS * MAP**2), side=MAP), COLOUR),
    Kind(INPUT, "a quantiser of more than 8 bits", lambda: _wide_input(), refused=True),
    Kind(INPUT, "a deviation for each channel, no quantiser", lambda: _deviations(), COLOUR, refused=True),
    Kind(LAYERS, "weights and activations of 1 bit", body(layer(4, bits=1, acts=1), layer(4, bits=1, acts=1)), COLOUR),
    Kind(LAYERS, "weights and activations of 8 bits", body(layer(4, bits=8, acts=8)), COLOUR),
    Kind(LAYERS, "activations of 1 bit, weights of more", body(layer(4, acts=1), layer(4, bits=3)), COLOUR),
    Kind(LAYERS, "a bias in front of a quantiser", body(layer(4, bias=True)), COLOUR),
    Kind(LAYERS, "padding, strides", body(layer(4, pads=1, stride=2)), COLOUR),
    Kind(LAYERS, "kernels of 1xK and Kx1", body(kernel_of_1x3), COLOUR),
    Kind(LAYERS, "depthwise convolutions", body(layer(4), layer(4, group=4)), COLOUR),
    Kind(LAYERS, "max-pools behind a quantiser", body(layer(4), pool()), COLOUR),
    Kind(LAYERS, "max-pools in front of Relu and quantiser", body(pool_in_front), COLOUR),
    Kind(LAYERS, "the average of a whole map", body(layer(4, acts=4), average), COLOUR),
    Kind(LAYERS, "nearest upsampling", body(layer(4), upsample, layer(4)), COLOUR),
    Kind(LAYERS, "Sigmoid, Tanh and other rising functions in front of a quantiser", activation("Sigmoid")),
    Kind(LAYERS, "zeros around 1-bit maps", body(layer(4, acts=1), layer(4, pads=1)), COLOUR, refused=True),
    Kind(LAYERS, "max-pools with ceil_mode", body(layer(4, size=2), pool(ceil_mode=1)), COLOUR, refused=True),
    Kind(LAYERS, "groups that are not depthwise", body(layer(4), layer(4, group=2)), COLOUR, refused=True),
    Kind(LAYERS, "quantisers that round down (FLOOR)", quantiser(rounding_mode="FLOOR"), refused=True),
    Kind(LAYERS, "quantisers with a zero point", quantiser(zero=3.0), refused=True),
    Kind(LAYERS, "an activation without a quantiser", unquantised, refused=True),
    Kind(LAYERS, "functions that fall somewhere (HardSwish)", activation("HardSwish"), refused=True),
    Kind(LAYERS, "branches", branch, refused=True),
    Kind(SCORES, "a Softmax behind the scores", lambda: mlp(tail=lambda g, x: g.op("Softmax", x, axis=-1))),
    Kind(SCORES, "the class itself (ArgMax)", lambda: mlp(tail=lambda g, x: g.op("ArgMax", x, axis=1))),
    Kind(SCORES, "one score: yes where it is above 0", lambda: mlp(classes=1)),
    Kind(SCORES, "a bias for each class", lambda: mlp(tail=with_bias), refused=True),
    Kind(SCORES, "the five best (TopK of 5)",
         lambda: mlp(tail=five_best, classes=8), refused=True),
)  # fmt: skip


def _two_outputs():
    model = mlp()
    extra = model.graph.output.add()
    extra.CopyFrom(model.graph.output[0])
    extra.name = model.graph.node[-2].output[0]
    return model


def _qdq():
    g = GraphWriter()
    parts = g.const(0.1), g.const(0, np.uint8)
    x = g.op("DequantizeLinear", g.op("QuantizeLinear", "x", *parts), *parts)
    x = g.op("Reshape", x, g.const([1, SIDE**2], np.int64))
    return g.model(g.op("MatMul", x, g.const(g.rng.uniform(-1, 1, (SIDE**2, 5)))), (1, 1, SIDE, SIDE), (1, 5))


def _wide_input():
    g = GraphWriter()
    x = g.op("Reshape", g.quant("x", 12, 1 / 4096, signed=0), g.const([1, SIDE**2], np.int64))
    return g.model(g.op("MatMul", x, g.weight((SIDE**2, CLASSES))), (1, 1, SIDE, SIDE), (1, CLASSES))


def _deviations():
    g = GraphWriter()
    shape = (1, COLOURS, 1, 1)
    x = g.op(
        "Div",
        g.op("Sub", "x", g.const(np.full(shape, 0.5))),
        g.const(np.array([0.2, 0.3, 0.4]).reshape(shape)),
    )
    x = relu_quant(g, conv(g, x, COLOURS, 4), 4)
    x = g.op("Reshape", x, g.const([1, 4 * 36], np.int64))
    return g.model(g.op("MatMul", x, g.weight((144, CLASSES))), (1, COLOURS, MAP, MAP), (1, CLASSES))


def written(kind, folder):
    """The network of *kind* as a file in *folder*."""
    return kind.write(kind.build(), folder / "network.onnx")


def compiled(kind, folder, many=60):
    """*kind* compiled and proven in *folder*; its answers to *many* images compared with onnxruntime's."""
    images = np.random.default_rng(8).integers(0, 256, (many, *kind.frame), np.uint8)
    return compile_network(
        written(kind, folder),
        folding=CheapestFolding(),
        out=folder / "out",
        images=images[:2],
        many_images=images,
    )


def refusal(kind, folder):
    """What labd says of *kind*: sentence and fix; the file's name is not part of it."""
    try:
        compiled(kind, folder)
    except ArtifactError as error:
        place = re.escape(str(folder)) + "/"
        return re.sub(place, "", error.what), re.sub(place, "", error.fix)
    raise AssertionError(f"{kind.name} is taken")


def page(folder):
    """The text of the page; networks are written into folders of *folder*."""
    lines = [
        "# Which networks labd takes",
        "",
        "Made by `make kinds` from the small networks in `tests/support/network_kinds.py`; `make test-slow` compiles "
        "and proves every kind of the first table, and compares its answers with onnxruntime's. What is refused is "
        "refused before the first stage, with the sentence that stands here. Kinds are combined at will: "
        "`make soak` draws 200 networks of them.",
        "",
        "Scores that are not one for each class of the data set, and maps, go out as they are: labd chooses no class "
        "and judges no accuracy.",
        "",
    ]
    for group in (FILE, INPUT, LAYERS, SCORES):
        rows = [kind for kind in KINDS if kind.group == group]
        lines += [f"## {group}", "", "Taken:", ""]
        lines += [f"- {kind.name}" for kind in rows if not kind.refused]
        lines += ["", "| refused | what labd says | what to do |", "|---|---|---|"]
        for kind in rows:
            if kind.refused:
                place = folder / str(KINDS.index(kind))
                place.mkdir()
                what, fix = (text.replace("|", "\\|").replace("\n", " ") for text in refusal(kind, place))
                lines.append(f"| {kind.name} | {what} | {fix} |")
        lines.append("")
    return "\n".join(lines)


def main():
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(Path(folder)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
