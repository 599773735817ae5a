"""What a network answers with: a class, a yes or no, or values that mean themselves.

Its function `choose` is a step of `labd_host.flow.stages`: what is put behind the scores on the accelerator.
"""

from typing import Any

import numpy as np

from labd_host.flow.finn_door import plain_graph
from labd_host.proof.roundings import line_to
from labd_shared.answers import CLASS, SIGN, VALUES
from labd_shared.errors import StageFailed
from labd_shared.tensors import count

_ON_IT = 1e-6  # how near 0, of its parts, a score is 0


def answer_of(shape: tuple[int, ...], classes: int | None) -> str:
    """What a network answers with.

    Args:
        shape: Of its output, the batch first.
        classes: Of the data set; None where nobody knows.

    Returns:
        `CLASS`: the place of the highest score. `SIGN`: 1 where its one score is above 0, else 0. `VALUES`: its
        scores, since they form a map or are not one for each class.
    """
    values = count(shape[1:])
    if values == 1:
        return SIGN
    on_a_map = values != max(shape[1:], default=1)
    return VALUES if on_a_map or classes not in (None, values) else CLASS


def choose(model: Any, answer: str) -> Any:
    """Put the choice of *answer* behind the scores of *model*: of the best class, a threshold at 0, or nothing."""
    from qonnx.transformation.insert_topk import InsertTopK

    if answer == CLASS:
        return model.transform(InsertTopK(k=1))
    return _above_zero(model) if answer == SIGN else model


def _above_zero(model: Any) -> Any:
    """A threshold between the last sum whose score is not above 0 and the first whose score is."""
    from onnx import TensorProto, helper
    from qonnx.core.datatype import DataType

    score = model.graph.output[0].name
    line = line_to(plain_graph(model), score)
    if line is None or line[1].size != 1 or not line[1][0]:
        raise StageFailed(
            f"the one score {score} is not a scale and an offset of integer sums",
            fix="let the network end in a quantised layer, a sigmoid behind it at most",
        )
    slope, offset = float(line[1][0]), float(line[2][0])
    zero = -offset / slope
    whole = round(zero)
    on_it = abs(zero - whole) <= _ON_IT * max(abs(zero), 1)  # a score of 0 is not above it
    edge = whole + np.sign(slope) / 2 if on_it else np.floor(zero) + 0.5
    shape = model.get_tensor_shape(score)
    model.set_initializer("above_zero", np.array([[slope * edge + offset]], np.float32))
    model.graph.node.append(
        helper.make_node(
            "MultiThreshold",
            [score, "above_zero"],
            ["is_above_zero"],
            domain="qonnx.custom_op.general",
            out_dtype="BINARY",
        )
    )
    model.graph.value_info.append(model.graph.output[0])
    model.graph.output.remove(model.graph.output[0])
    model.graph.output.append(helper.make_tensor_value_info("is_above_zero", TensorProto.FLOAT, shape))
    model.set_tensor_datatype("is_above_zero", DataType["BINARY"])
    return model
