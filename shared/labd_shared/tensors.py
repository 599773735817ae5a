"""A tensor at the accelerator's edge in its three shapes: normal, folded, packed.

*Normal* is what a person has (NHWC, batch first), *folded* splits the innermost axis into folds of
PE or SIMD elements, *packed* is what the DMA moves: one word a folded row, rounded up to bytes.
Shapes are stored for a batch of one; `batched` puts another batch in front.

Source: Xilinx/finn 39f0c9a, driver_base.py (io_shape_dict); reference values of TFC and CNV.
"""

from typing import NamedTuple, Tuple

from labd_shared.datatypes import Datatype, parse_datatype
from labd_shared.errors import ShapeError

Shape = Tuple[int, ...]


def count(shape: Shape) -> int:
    """Number of elements of *shape* (``math.prod`` is not in Python 3.6)."""
    total = 1
    for axis in shape:
        total *= axis
    return total


def packed_shape(folded: Shape, datatype: Datatype) -> Shape:
    """The packed shape of *folded*: the innermost axis becomes bytes.

    >>> packed_shape((1, 1, 16, 49), parse_datatype("BINARY"))
    (1, 1, 16, 7)
    """
    return tuple(folded[:-1]) + ((folded[-1] * datatype.bits + 7) // 8,)


class Tensor(NamedTuple):
    """One input or output of an accelerator.

    Attributes:
        name: The name in the dataflow graph.
        datatype: Of one element.
        normal, folded, packed: Shapes for a batch of one, first axis 1.
        layout: Axes of *normal*, "NC" or "NHWC".
        dma: The IODMA block that moves it, "idma0".
    """

    name: str
    datatype: Datatype
    normal: Shape
    folded: Shape
    packed: Shape
    layout: str
    dma: str

    @property
    def frame_bytes(self) -> int:
        """Bytes one frame takes in the DMA buffer."""
        return count(self.packed)

    def batched(self, shape: Shape, frames: int) -> Shape:
        """*shape* with *frames* in front instead of 1."""
        return (frames,) + tuple(shape[1:])


def make_tensor(name: str, datatype: str, normal: Shape, folded: Shape, layout: str, dma: str) -> Tensor:
    """A checked tensor; the packed shape is computed, never believed.

    Raises:
        DatatypeError: no such datatype.
        ShapeError: a shape has no elements, is not for one frame, or folded and normal hold
            different numbers of elements.
    """
    kind = parse_datatype(datatype)
    for label, shape in (("normal", normal), ("folded", folded)):
        if len(shape) < 2 or shape[0] != 1 or any(axis < 1 for axis in shape):
            raise ShapeError(
                "{} shape of {!r} is {}, not (1, ...) with positive axes".format(label, name, tuple(shape)),
                fix="shapes in a bundle are for a batch of one",
            )
    if count(normal) != count(folded):
        raise ShapeError(
            "{!r} holds {} elements in its normal shape {} and {} in its folded shape {}".format(
                name, count(normal), tuple(normal), count(folded), tuple(folded)
            ),
            fix="rebuild the bundle: its shapes contradict each other",
        )
    return Tensor(name, kind, tuple(normal), tuple(folded), packed_shape(tuple(folded), kind), layout, dma)
