"""The stages from an exported network to a dataflow graph, as data.

A step names a transformation of FINN or qonnx, or a function of ours, by "module:name", with its
arguments; `finn_door` looks it up. So this page imports nothing, can be read from top to bottom,
and is written into every stage's record.

One road for all networks: what a network has not, its steps leave alone. Pools become hardware before
the other windows do: the other way round, the partition would depend on itself.

Source: the order is that of FINN's BNN-PYNQ notebooks (tfc_end2end_example, cnv_end2end_example) with
the tidy-up and conversion that QONNX exports need; walked through with finn-plus 1.6.1.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from labd_host.datasets import PIXELS, Entering
from labd_shared.answers import CLASS, SIGN
from labd_shared.bitfile import PYNQ_Z2_PART

BOARD = "Pynq-Z2"
CLOCK_MHZ = 100.0  # what FINN's shell for it is built for unless told otherwise


@dataclass(frozen=True)
class Step:
    """One change of the graph.

    Attributes:
        name: "module:name" of a transformation class, or of a function (model, **arguments) -> model.
        arguments: For the class or the function.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A stage of the flow.

    Attributes:
        name: As commands and errors call it.
        title: What it does, for people.
        steps: In order.
        moves_scales: The stage may turn the sign of a whole output channel (weights, sums and
            thresholds together), as streamlining does with a negative batch-norm scale, and give
            the scores another positive scale and offset, which no class notices.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    moves_scales: bool = False


# A Transpose behind a product goes past what may stand between it and the next one.
_PAST_QUANTISERS_AND_MOVES = (
    Step("finn.transformation.streamline.absorb:AbsorbTransposeIntoMultiThreshold"),
    Step("finn.transformation.streamline.reorder:MakeMaxPoolNHWC"),
    Step("finn.transformation.streamline.absorb:AbsorbTransposeIntoResize"),
)

_TO_HARDWARE = "finn.transformation.fpgadataflow.convert_to_hw"

_TIDY = (
    Step("qonnx.transformation.infer_shapes:InferShapes"),
    Step("qonnx.transformation.fold_constants:FoldConstants"),
    Step("qonnx.transformation.general:GiveUniqueNodeNames"),
    Step("qonnx.transformation.general:GiveReadableTensorNames"),
    Step("qonnx.transformation.infer_datatypes:InferDataTypes"),
    Step("qonnx.transformation.general:RemoveStaticGraphInputs"),
)

# For a look at an export under its own names: shape arithmetic and other constants go, quantised weights stay.
FOLD_CONSTANTS = Step(
    "qonnx.transformation.fold_constants:FoldConstants", {"exclude_op_types": ["Quant", "BipolarQuant"]}
)

EXPORTED = Stage(
    "exported",
    "the network as it was exported",
    (Step("qonnx.transformation.infer_shapes:InferShapes"),),
)

TIDY = Stage(
    "tidy",
    "names, shapes and constants in order; quantisers become thresholds",
    (
        Step("qonnx.util.cleanup:cleanup_model"),
        Step("labd_host.flow.averages:make_global"),
        Step("labd_host.flow.upsampling:make_repeats"),
        Step("labd_host.rewrites.rising:make_thresholds"),
        Step("labd_host.flow.quantisers:convert_quantisers"),
        *_TIDY,
    ),
)

_DOOR = "labd_host.flow.finn_door"
_BEHIND = {CLASS: "the best class behind", SIGN: "a threshold at 0 behind"}


def prepost(answer: str, entering: Entering = PIXELS) -> Stage:
    """The stage that puts in front what makes the input of a frame's values, and behind what makes the answer.

    Args:
        answer: What is made of the scores.
        entering: How values become the export's input.
    """
    in_front, fed = "pre-processing (pixel / 255)", Step(f"{_DOOR}:divide_pixels", {"by": 255.0})
    if not entering.is_pixels:
        in_front, fed = "the values' scale", Step(f"{_DOOR}:feed_values", asdict(entering))
    return Stage(
        "prepost",
        f"{in_front} in front, {_BEHIND.get(answer, 'the scores as they are behind')}",
        (fed, Step("labd_host.flow.answer_kind:choose", {"answer": answer}), *_TIDY),
    )


STREAMLINED = Stage(
    "streamlined",
    "scales and biases move into the thresholds: integers only",
    (
        Step("labd_host.flow.last_layer:share_one_value"),
        # First of all: a quantiser's offset that was moved past a Reshape would end in the next layer's sums.
        Step("finn.transformation.streamline.absorb:AbsorbScalarBiasIntoMultiThreshold"),
        Step("finn.transformation.streamline.reorder:MoveScalarLinearPastInvariants"),
        Step("finn.transformation.streamline:Streamline"),
        Step("labd_host.flow.weight_signs:widen_weights"),
        Step("finn.transformation.streamline.absorb:Absorb1BitMulIntoMatMul"),
        Step("finn.transformation.streamline.absorb:Absorb1BitMulIntoConv"),
        Step("labd_host.flow.upsampling:move_scales_behind"),
        Step("qonnx.transformation.lower_convs_to_matmul:LowerConvsToMatMul"),
        Step("finn.transformation.streamline.reorder:MakeMaxPoolNHWC"),
        *_PAST_QUANTISERS_AND_MOVES,
        *_PAST_QUANTISERS_AND_MOVES,
        Step("finn.transformation.streamline.absorb:AbsorbConsecutiveTransposes"),
        Step("qonnx.transformation.infer_data_layouts:InferDataLayouts"),
        Step("finn.transformation.streamline.reorder:MakeScaleResizeNHWC"),
        # A mean becomes sums and a division, which Streamline moves on as it does any scale.
        Step(f"{_TO_HARDWARE}.global_acc_pool:InferGlobalAccPoolLayer"),
        Step("finn.transformation.streamline.absorb:AbsorbConsecutiveTransposes"),
        Step("labd_host.flow.averages:drop_transposes_of_sums"),
        Step("labd_host.flow.depthwise:keep_signs_as_numbers"),
        Step("qonnx.transformation.bipolar_to_xnor:ConvertBipolarMatMulToXnorPopcount"),
        Step("finn.transformation.streamline:Streamline"),
        Step("finn.transformation.streamline.absorb:AbsorbScalarMulAddIntoTopK"),
        Step("finn.transformation.streamline.round_thresholds:RoundAndClipThresholds"),
        Step("qonnx.transformation.infer_data_layouts:InferDataLayouts"),
        Step("qonnx.transformation.general:RemoveUnusedTensors"),
        Step("qonnx.transformation.general:GiveUniqueNodeNames"),
        Step("qonnx.transformation.general:GiveReadableTensorNames"),
    ),
    moves_scales=True,
)

HARDWARE = Stage(
    "hardware",
    "every operation becomes a hardware layer",
    (
        Step(f"{_TO_HARDWARE}.binary_matrix_vector_activation:InferBinaryMatrixVectorActivation"),
        Step("labd_host.flow.depthwise:infer_vvau"),
        Step(f"{_TO_HARDWARE}.quantized_matrix_vector_activation:InferQuantizedMatrixVectorActivation"),
        Step(f"{_TO_HARDWARE}.label_select:InferLabelSelectLayer"),
        Step("labd_host.flow.signs:infer_thresholds"),
        Step(f"{_TO_HARDWARE}.upsample:InferUpsample"),
        Step(f"{_TO_HARDWARE}.pool:InferPool"),
        Step(f"{_TO_HARDWARE}.conv_inp_gen:InferConvInpGen"),
        Step("finn.transformation.move_reshape:RemoveCNVtoFCFlatten"),
        Step("finn.transformation.streamline.absorb:AbsorbConsecutiveTransposes"),
        Step("qonnx.transformation.infer_data_layouts:InferDataLayouts"),
        Step("qonnx.transformation.general:GiveUniqueNodeNames"),
        Step("qonnx.transformation.general:GiveReadableTensorNames"),
    ),
)

PARTITION = Stage(
    "partition",
    "the part that runs on the FPGA, cut out",
    (
        Step("finn.transformation.fpgadataflow.create_dataflow_partition:CreateDataflowPartition"),
        Step("qonnx.transformation.general:GiveUniqueNodeNames"),
    ),
)

SPECIALISED = (
    Step("finn.transformation.fpgadataflow.specialize_layers:SpecializeLayers", {"fpgapart": PYNQ_Z2_PART}),
    Step("qonnx.transformation.general:GiveUniqueNodeNames"),
    Step("qonnx.transformation.general:GiveReadableTensorNames"),
)

FOLDED = Stage("folded", "HLS or RTL chosen for each layer, PE and SIMD set", SPECIALISED)

STAGES = (EXPORTED, TIDY, prepost(CLASS), STREAMLINED, HARDWARE, PARTITION, FOLDED)
