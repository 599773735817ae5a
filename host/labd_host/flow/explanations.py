"""What each transformation does and why, in two sentences for a student.

Source: finn-plus 1.6.1 and qonnx 1.0.0, the transformations that `labd_host.flow.stages` names:
transformation/qonnx/convert_qonnx_to_finn.py, streamline/, fpgadataflow/convert_to_hw/,
create_dataflow_partition.py, specialize_layers.py; the cycle formula is get_exp_cycles of each layer.
"""

from labd_host.dataflow.layers import KINDS

EXPLANATIONS = {
    "exported": (
        "The trained network as its training program wrote it: ordinary ONNX operators in float32, and quantiser "
        "nodes (Quant, BipolarQuant) that say where training rounded to few bits. "
        "labd changes only what FINN's steps would not take, and lists it: pixels without a quantiser enter as whole "
        "numbers, a max-pool goes behind the quantiser that follows it, one axis becomes two. Every later stage has to "
        "compute what this graph computes."
    ),
    "tidy": (
        "qonnx infers shapes, folds constants and gives readable names; FINN then turns quantised weights into "
        "constants with a small datatype, and each quantiser of activations into a MultiThreshold, which counts "
        "how many thresholds a value reaches; labd does the same with a function in front of it (sigmoid, tanh, leaky "
        "Relu), whose thresholds it searches for among all float32 numbers. "
        "FINN works on thresholds because hardware then compares with constants, where scaling and rounding "
        "would need multipliers."
    ),
    "prepost": (
        "A division by 255 goes in front, so that the graph takes the bytes of an image as they are, and TopK goes "
        "behind, so that it gives the number of the best class in place of scores. "
        "Both are now part of what FINN optimises: the next stages let them vanish into thresholds and hardware, "
        "and the board's processor is left with moving bytes."
    ),
    "streamlined": (
        "FINN moves every scale and bias (batch norm, pixel scaling, quantiser scale) along the graph until a "
        "MultiThreshold takes it into its thresholds or TopK makes it irrelevant, and rounds the thresholds up to "
        "integers, which changes nothing because integers are what they are compared with. "
        "The float arithmetic is gone; products of bipolar values (-1, +1) become XNOR and popcount, which an FPGA "
        "computes in plain logic."
    ),
    "hardware": (
        "Operations are replaced by the layers that FINN has hardware for: a matrix product and the thresholds "
        "behind it become one MVAU (matrix-vector-activation unit), where each channel has weights of its own a VVAU, "
        "thresholds alone become Thresholding, the "
        "windows of a convolution a ConvolutionInputGenerator, TopK becomes LabelSelect. "
        "Such a layer has the parameters of a circuit, above all PE and SIMD: how many rows and columns it computes "
        "in one cycle, both still 1."
    ),
    "partition": (
        "The unbroken run of hardware layers is cut out into a graph of its own, the one that becomes the bitfile; "
        "in the parent graph a single StreamingDataflowPartition stands for it. "
        "What stays outside may only name the same bytes differently (a Reshape, or the Transpose that puts an "
        "image's channels last, where its file has them anyway): that is left to the driver, and "
        "labd checks that what enters the partition is the image, byte by byte."
    ),
    "folded": (
        "SpecializeLayers chooses between an HLS (C++) and an RTL (Verilog) implementation of each layer, and the "
        "folding sets its PE and SIMD: an MVAU needs (rows / PE) x (columns / SIMD) cycles for each input vector. "
        "More PE and SIMD cost more logic and memory ports, and the slowest node alone, DMA included, sets the "
        "frame rate, so a good folding makes all of them about equally slow."
    ),
    "golden": (
        "labd reads weights, thresholds and shapes from the folded graph into network.npz, and its golden model "
        "computes them in exact integers, fast enough for whole test sets. "
        "The virtual board computes with it, and the answers of a board are compared with its answers."
    ),
    "answers": (
        "The exported network itself runs in onnxruntime, in float32 and without FINN, on many more images than "
        "FINN's slow executors could take, and its scores are brought back to the integers behind them. "
        "The golden model must give the same integer for every class of every image, so that the whole road, from "
        "the first file to the last, is compared end to end."
    ),
}


def explanation(stage: str) -> str:
    """Two sentences on *stage*, or none where there are none."""
    return EXPLANATIONS.get(stage, "")


OPERATORS = {
    "Reshape": "the same values in another shape",
    "Flatten": "the same values as one row for each image",
    "Transpose": "axes in another order; FINN wants channels last",
    "Gemm": "matrix product, with a bias",
    "MatMul": "matrix product",
    "Conv": "convolution: a matrix product at every place of the image",
    "Im2Col": "copies the window of every place into a row, so that a convolution is a matrix product",
    "XnorPopcountMatMul": "matrix product of bits: counts in how many places two rows agree",
    "BatchNormalization": "scale and bias of each channel, fixed after training",
    "Mul": "times a constant",
    "Div": "divided by a constant",
    "Add": "plus a constant, or two tensors",
    "Sub": "minus a constant",
    "BipolarQuant": "the sign: -1 or +1, times a scale",
    "Quant": "rounding to few bits, times a scale",
    "Sigmoid": "a curve that rises from 0 to 1",
    "HardSigmoid": "a straight line that rises from 0 to 1",
    "Tanh": "a curve that rises from -1 to 1",
    "Clip": "cut off below and above",
    "LeakyRelu": "negative values times a small constant",
    "PRelu": "negative values times a constant of each channel",
    "MultiThreshold": "counts how many thresholds a value reaches; one threshold gives one bit",
    "MaxPool": "the largest value of each window",
    "MaxPoolNHWC": "the largest value of each window, channels last",
    "GlobalAveragePool": "the mean of each channel over the whole map",
    "AveragePool": "the mean of each window",
    "ReduceMean": "the mean over some axes",
    **dict.fromkeys(
        ("Resize", "Upsample"), "a feature map of another size: each pixel shows the nearest one"
    ),
    "TopK": "the number of the largest score",
    **{name: f"hardware layer: {kind.sentence}" for kind in KINDS for name in kind.finn_names},
    "StreamingDataflowPartition": "all layers that run on the FPGA, seen from outside",
}


def operator(op: str) -> str:
    """One line on an operation ("MVAU_hls" is MVAU in C++), or none where there is none."""
    kind = op.removesuffix("_hls").removesuffix("_rtl")
    said = OPERATORS.get(kind, "")
    made = {"_hls": ", in C++ (HLS)", "_rtl": ", in Verilog (RTL)"}.get(op[len(kind) :], "")
    return said + made if said else ""
