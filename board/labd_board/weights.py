"""Weights that are not in the bitfile: written over AXI-lite, or read from memory by a DMA of their own.

FINN's file formats, in the bundle's runtime_weights/. ``P_L_NODE.dat``, e.g. 1_0_MVAU_hls_0.dat: the
memory of layer L in StreamingDataflowPartition_P, a 32-bit word a line, eight hexadecimal digits.
``DMA.npy``, e.g. idma1.npy: flat uint8, what the DMA of that name reads once a frame, or as often as
the manifest's external_weights says (convolutions read theirs once a pixel).

Source: Xilinx/finn 39f0c9a, driver_base.py (load_runtime_weights, load_external_weights). There, a second
layer of a partition overwrites the first unseen; here it is refused.
"""

import io
import re
from typing import Dict, List, NamedTuple

import numpy as np

from labd_board.device import Buffer, Device
from labd_shared.bundle import BundleFiles
from labd_shared.errors import ArtifactError, WeightsNotWritten
from labd_shared.files import read_bounded
from labd_shared.weight_files import COPY_AGAIN, FOLDER, MAX_BYTES, parse_layer_file, read_words

_NPY = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)\.npy$")


class RuntimeWeights(NamedTuple):
    """One layer's weights for one partition of the design.

    Attributes:
        block: The block with the AXI-lite port.
        node: The layer.
        words: uint32, in the order of their addresses.
    """

    block: str
    node: str
    words: np.ndarray


class ExternalWeights(NamedTuple):
    """Weights in memory.

    Attributes:
        dma: The DMA that reads them.
        repeats: How often a frame.
        data: uint8, flat.
    """

    dma: str
    repeats: int
    data: np.ndarray


def runtime_weights(bundle: BundleFiles) -> List[RuntimeWeights]:
    """The weights to write before the first run; none where all are in the bitfile.

    Raises:
        ArtifactError: a file is not of FINN's format, or two layers share a partition.
    """
    found: Dict[str, RuntimeWeights] = {}
    for name in sorted(_files(bundle, ".dat")):
        layer = parse_layer_file(FOLDER + name)
        if layer is None:
            raise ArtifactError(
                "{}{} is not named PARTITION_LAYER_NODE.dat".format(FOLDER, name), fix=COPY_AGAIN
            )
        block = layer.block
        if block in found:
            raise ArtifactError(
                "{} and {} would both be written to {}".format(found[block].node, layer.node, block),
                fix="FINN puts one layer with writable weights into a partition: build the design again",
            )
        found[block] = RuntimeWeights(
            block, layer.node, read_words(bundle.path(FOLDER + name), FOLDER + name)
        )
    return [found[block] for block in sorted(found)]


def external_weights(bundle: BundleFiles) -> List[ExternalWeights]:
    """The weights that DMAs of their own read.

    Raises:
        ArtifactError: a file is not of FINN's format, or the manifest speaks of one that is not there.
    """
    repeats = dict(bundle.manifest.external_weights)
    found = []
    for name in sorted(_files(bundle, ".npy")):
        match = _NPY.match(name)
        if match is None:
            raise ArtifactError("{}{} is not named DMA.npy".format(FOLDER, name), fix=COPY_AGAIN)
        content = read_bounded(bundle.path(FOLDER + name), MAX_BYTES, COPY_AGAIN)
        try:
            data = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ArtifactError(
                "{}{} cannot be read: {}".format(FOLDER, name, error), fix=COPY_AGAIN
            ) from error
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or not data.size:
            raise ArtifactError("{}{} does not hold bytes (uint8)".format(FOLDER, name), fix=COPY_AGAIN)
        found.append(ExternalWeights(match.group(1), repeats.pop(match.group(1), 1), data.reshape(-1)))
    if repeats:
        raise ArtifactError(
            "the manifest speaks of external weights for {}, there is no {}{}.npy".format(
                ", ".join(sorted(repeats)), FOLDER, sorted(repeats)[0]
            ),
            fix=COPY_AGAIN,
        )
    return found


def write_runtime_weights(device: Device, weights: RuntimeWeights) -> None:
    """Write *weights* and read them back.

    Raises:
        WeightsNotWritten: what is read differs from what was written.
        UnknownName: the design has no such block.
        BoardError: as of the device.
    """
    registers = device.registers(weights.block)
    registers.write_words(0, weights.words)
    found = registers.read_words(0, len(weights.words))
    wrong = np.flatnonzero(found != weights.words)
    if len(wrong):
        first = int(wrong[0])
        raise WeightsNotWritten(
            "{} of {} words of {} are not what was written to {}, first word {}: {:#010x}, not {:#010x}".format(
                len(wrong),
                len(weights.words),
                weights.node,
                weights.block,
                first,
                int(found[first]),
                int(weights.words[first]),
            ),
            fix="the weights are those of another design: build or import the bundle again",
            block=weights.block,
            word=first,
        )


def load_external_weights(device: Device, weights: ExternalWeights) -> Buffer:
    """A buffer with *weights*, brought to the memory that the DMA reads.

    Raises:
        OutOfMemory: no contiguous memory of that size is free.
    """
    buffer = device.allocate((len(weights.data),))
    np.copyto(buffer.array, weights.data)
    buffer.flush()
    return buffer


def _files(bundle: BundleFiles, suffix: str) -> List[str]:
    return [
        name[len(FOLDER) :]
        for name in bundle.manifest.files
        if name.startswith(FOLDER) and name.endswith(suffix)
    ]
