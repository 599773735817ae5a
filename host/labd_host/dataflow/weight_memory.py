"""The memory of a layer whose weights are written at run time, as the processor and the layer see it.

FINN keeps such weights in a memory with an AXI-lite port (memstream_axi). A line of it holds what the
layer takes in one cycle: PE * SIMD weights, the first one lowest. A line is as many 32-bit words as it
needs, at addresses padded to a power of two. The layer's stream reads ahead of the layer: what was
written comes too late for the lines that it has fetched already.

Source: finn-plus 1.6.1, custom_op/fpgadataflow/matrixvectoractivation.py (make_weight_file,
decoupled_runtime); finn-rtllib/axi/hdl/axilite.sv (words of a line), memstream/hdl/memstream.sv
(FULL_CREDIT).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.layers import Array, Mvau
from labd_shared.datatypes import parse_datatype

WORD_BITS, WORD_BYTES = 32, 4

Words = npt.NDArray[np.uint32]


def line_words(layer: Mvau) -> int:
    """32-bit words of a line, a power of two."""
    return 1 << (-(-layer.weight_bits // WORD_BITS) - 1).bit_length()


def words_of(layer: Mvau, weights: Array) -> Words:
    """The content of the memory, (lines * words of a line,), for *weights* (mw, mh)."""
    kind = parse_datatype(layer.weight)
    stored = (weights + 1) // 2 if kind.name == "BIPOLAR" else weights
    # row r is computed by PE r % pe; the columns come SIMD at a time
    folded = stored.T.reshape(layer.mh // layer.pe, layer.pe, layer.mw // layer.simd, layer.simd)
    values = folded.transpose(0, 2, 1, 3).reshape(layer.weight_words, -1)
    bits = values[:, :, np.newaxis] >> np.arange(kind.bits) & 1
    held = np.zeros((layer.weight_words, line_words(layer) * WORD_BITS), np.uint8)
    held[:, : layer.weight_bits] = bits.reshape(layer.weight_words, -1)
    return np.packbits(held, axis=1, bitorder="little").reshape(-1).view("<u4").astype(np.uint32)


def weights_of(layer: Mvau, words: Words) -> Array:
    """The weights (mw, mh), int64, that a memory with this content holds: `words_of` backwards."""
    kind = parse_datatype(layer.weight)
    held = np.unpackbits(
        words.astype("<u4").view(np.uint8).reshape(layer.weight_words, -1), axis=1, bitorder="little"
    )
    bits = held[:, : layer.weight_bits].reshape(-1, kind.bits).astype(np.int64)
    values: Array = (bits << np.arange(kind.bits)).sum(axis=1)
    if kind.name == "BIPOLAR":
        values = 2 * values - 1
    elif kind.low < 0:
        values -= (values > kind.high) * (1 << kind.bits)
    folded = values.reshape(layer.mh // layer.pe, layer.mw // layer.simd, layer.pe, layer.simd)
    return folded.transpose(0, 2, 1, 3).reshape(layer.mh, layer.mw).T
