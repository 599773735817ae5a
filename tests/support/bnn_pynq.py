"""Xilinx' BNN-PYNQ parameters of cnvW1A1 as a dataflow network.

Files `{layer}-{pe}-weights.bin` hold uint64 words, SIMD bits each, the lowest first, word nf * (MW / SIMD)
+ sg of neuron nf * PE + pe; `-thres.bin` int64: a neuron is active if its count is above. The first layer
takes a pixel v as ap_fixed<8,1> of 2 * v / 255 - 1 (truncated) and compares its sum with threshold / 256.
A max-pool follows layers 1 and 3.
"""

import json
import tarfile

import numpy as np

from labd_host.dataflow.layers import DataflowGraph, MaxPool, Mvau, SlidingWindow, Thresholding
from labd_shared.tensors import make_tensor

POOLED = (1, 3)
STEPS = 128  # of an 8-bit fixed-point number with one bit before the point, from 0 to 1


def cnv_w1a1(folder):
    """The network whose parameters lie in *folder*: UINT8 (1, 32, 32, 3) in, 64 scores out, ten of them used."""
    shapes = json.loads((folder / "layers.json").read_text())["cnvW1A1"]
    with tarfile.open(folder / "params_cnvW1A1_cifar10.tar.xz") as archive:
        files = {
            entry.name.rpartition("/")[2]: archive.extractfile(entry).read()
            for entry in archive.getmembers()
            if entry.isfile()
        }
    layers = [Thresholding("pixels", 3, 32 * 32, 1, 255, "UINT8", "INT8", -STEPS)]
    arrays = {"pixels.thresholds": pixel_thresholds()}
    for index in range(len(shapes)):
        add_layer(layers, arrays, files, index, shapes[str(index)], last=index == len(shapes) - 1)
    return DataflowGraph(
        "cnvW1A1",
        tuple(layers),
        (make_tensor("in", "UINT8", (1, 32, 32, 3), (1, 32, 32, 1, 3), "NHWC", "idma0"),),
        (make_tensor("out", "UINT32", (1, 64), (1, 64, 1), "NC", "odma0"),),
        arrays,
    )


def pixel_thresholds():
    """The pixels at which each level from -127 to 127 is reached."""
    levels = np.clip(np.floor((2 * np.arange(256) / 255 - 1) * STEPS), -STEPS, STEPS - 1)
    return np.array([[np.searchsorted(levels, level) for level in range(1 - STEPS, STEPS)]])


def add_layer(layers, arrays, files, index, shape, *, last):
    """Append one layer, with its window before and its pool behind."""
    convolves = "K" in shape
    kind = layers[-1].output
    vectors = 1
    if convolves:
        channels, side, kernel = shape["IFM_CH"], shape["IFM_DIM"], shape["K"]
        layers.append(window(f"window{index}", channels, side, kernel, 1, kind))
        vectors = shape["OFM_DIM"] ** 2
    mw = layers[-1].out_values // vectors
    mh = shape["OFM_CH"] if convolves else shape["MH"]
    weights, thresholds = parameters(files, index, shape, mw, mh, last=last)
    counts = index > 0
    arrays[f"layer{index}.weights"] = weights if counts else 2 * weights - 1
    if not last:
        limit = thresholds if counts else np.floor(thresholds * STEPS / 256).astype(np.int64)
        arrays[f"layer{index}.thresholds"] = limit + 1
    layers.append(
        Mvau(
            name=f"layer{index}",
            mw=mw,
            mh=mh,
            vectors=vectors,
            pe=shape["PE"],
            simd=shape["SIMD"],
            steps=0 if last else 1,
            xnor=counts,
            input=kind,
            weight="BINARY" if counts else "BIPOLAR",
            output="UINT32" if last else "BINARY",
            offset=0,
        )
    )
    if index in POOLED:
        layers.append(window(f"poolwindow{index}", mh, shape["OFM_DIM"], 2, 2, "BINARY"))
        layers.append(MaxPool(f"pool{index}", mh, (shape["OFM_DIM"] // 2) ** 2, 4, 1, "BINARY", "BINARY"))


def window(name, channels, side, kernel, stride, kind):
    sizes = (channels, side, side, kernel, kernel, stride, stride, 1, 1)
    return SlidingWindow(name, *sizes, stride > 1, False, 1, kind, kind)


def parameters(files, index, shape, mw, mh, *, last):
    """Weights (mw, mh) of 0 and 1, thresholds (mh, 1)."""
    pe, simd = shape["PE"], shape["SIMD"]
    groups = mw // simd
    weights, thresholds = np.zeros((mw, mh), np.int64), np.zeros((mh, 1), np.int64)
    for lane in range(pe):
        words = np.frombuffer(files[f"{index}-{lane}-weights.bin"], "<u8").reshape(mh // pe, groups, 1)
        bits = (words >> np.arange(simd, dtype=np.uint64)) & np.uint64(1)
        weights[:, lane::pe] = bits.reshape(mh // pe, mw).T
        if not last:
            thresholds[lane::pe, 0] = np.frombuffer(files[f"{index}-{lane}-thres.bin"], "<i8")
    return weights, thresholds
