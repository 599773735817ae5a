"""The compiled golden model's loops, in numba: each does one layer of a few frames.

Feature maps are flat: pixel by pixel, its channels in *width* entries. A map of bits has 32 channels in
a uint32, the lowest bit first, and zeros behind the last. Maps end in some entries that are read, never
used. No kernel allocates, none holds the interpreter's lock.

Compiled code is kept in the user's cache, by the digest of the source and by the processor.
"""

from pathlib import Path
from typing import Any

from numba import njit

from labd_host.golden import vectors
from labd_host.golden.vectors import (
    LANES,
    ROWS,
    agreeing_bits,
    agreeing_bits_reach,
    products,
    products_reach,
    reached,
)
from labd_host.machine.kernel_cache import keep_compiled

_compiled = njit(nogil=True, boundscheck=False)


@_compiled
def product_reaches(bits, x, starts, rows, offsets, weights, thresholds, width, out):  # type: ignore[no-untyped-def]
    """Products of windows, and the bits that say which sums reach their thresholds.

    Args:
        bits: Whether agreeing bits are counted; else 16-bit values are multiplied.
        x: The map.
        starts: Of each window, in bytes from the map's first; int32, a multiple of ROWS.
        rows: Windows to compute.
        offsets: Of each word of a window, in bytes from its start, int32.
        weights: (blocks, words, LANES), int32.
        thresholds: (blocks, LANES), int32.
        width: Words of bits of a window.
        out: These.
    """
    words = len(offsets)
    for block in range(len(weights)):
        for row in range(0, rows, ROWS):
            first = row * width + block
            if bits:
                agreeing_bits_reach(
                    x, starts, offsets, weights, words, block, row, thresholds, out, first, width
                )
            else:
                products_reach(x, starts, offsets, weights, words, block, row, thresholds, out, first, width)


@_compiled
def product_sums(bits, x, starts, rows, offsets, weights, width, out):  # type: ignore[no-untyped-def]
    """The sums themselves: as `product_reaches`; *out* is int32, *width* is LANES times the blocks."""
    words = len(offsets)
    for block in range(len(weights)):
        for row in range(0, rows, ROWS):
            first = row * width + block * LANES
            if bits:
                agreeing_bits(x, starts, offsets, weights, words, block, row, out, out, first, width)
            else:
                products(x, starts, offsets, weights, words, block, row, out, out, first, width)


@_compiled
def wide_product_sums(x, starts, rows, offsets, weights, out, width):  # type: ignore[no-untyped-def]
    """Sums that may need 64 bits: *starts* and *offsets* in entries, *weights* (values, mh) int64."""
    for row in range(rows):
        out[row * width : (row + 1) * width] = 0
        for value in range(len(offsets)):
            factor = x[starts[row] + offsets[value]]
            for channel in range(width):
                out[row * width + channel] += factor * weights[value, channel]


@_compiled
def depthwise_sums(x, starts, rows, offsets, weights, out):  # type: ignore[no-untyped-def]
    """Windows times weights of each channel's own: *starts* and *offsets* in entries, *weights* (values, channels)."""
    values, channels = weights.shape
    for row in range(rows):
        sums = out[row * channels : (row + 1) * channels]
        sums[:] = 0
        for value in range(values):
            first = starts[row] + offsets[value]
            taken, factors = x[first : first + channels], weights[value]
            for channel in range(channels):
                sums[channel] += taken[channel] * factors[channel]


@_compiled
def reaches(x, pixels, width, thresholds, out, out_words):  # type: ignore[no-untyped-def]
    """The bits that say which values reach their thresholds: *thresholds* LANES a word of a pixel."""
    for pixel in range(pixels):
        for word in range(out_words):
            out[pixel * out_words + word] = reached(x, pixel * width + word * LANES, thresholds, word)


@_compiled
def count_reached(x, pixels, width, thresholds, offset, rise, out):  # type: ignore[no-untyped-def]
    """The levels of *x*, whose pixels have *width* entries; *thresholds* (steps, channels)."""
    steps, channels = thresholds.shape
    for pixel in range(pixels):
        first, target = pixel * width, pixel * channels
        for channel in range(channels):
            out[target + channel] = offset
        for step in range(steps):
            for channel in range(channels):
                out[target + channel] += rise * (x[first + channel] >= thresholds[step, channel])


@_compiled
def look_up(x, values, low, table, out):  # type: ignore[no-untyped-def]
    """Entry by entry, *out* is what *table* holds for the value, the first for *low*."""
    for index in range(values):
        out[index] = table[x[index] - low]


@_compiled
def unpack(x, pixels, channels, words, out):  # type: ignore[no-untyped-def]
    """Bits as values."""
    for pixel in range(pixels):
        for channel in range(channels):
            word = x[pixel * words + channel // LANES]
            out[pixel * channels + channel] = (word >> (channel % LANES)) & 1


@_compiled
def pool_bits(x, starts, rows, offsets, width, out):  # type: ignore[no-untyped-def]
    """The largest bit of each channel of each window; *starts* and *offsets* in entries."""
    for row in range(rows):
        for word in range(width):
            found = x[starts[row] + word]
            for offset in offsets:
                found |= x[starts[row] + offset + word]
            out[row * width + word] = found


@_compiled
def pool_values(x, starts, rows, offsets, width, out):  # type: ignore[no-untyped-def]
    """The largest value of each channel of each window; *starts* and *offsets* in entries."""
    for row in range(rows):
        first, target = starts[row], row * width
        for channel in range(width):
            out[target + channel] = x[first + channel]
        for offset in offsets:
            for channel in range(width):
                out[target + channel] = max(out[target + channel], x[first + offset + channel])


@_compiled
def add_pixels(x, frames, pixels, width, out):  # type: ignore[no-untyped-def]
    """The sum of each channel over the *pixels* of each frame; *width* channels, without gaps."""
    for frame in range(frames):
        target = frame * width
        out[target : target + width] = 0
        for pixel in range(frame * pixels, (frame + 1) * pixels):
            for channel in range(width):
                out[target + channel] += x[pixel * width + channel]


@_compiled
def slide(x, starts, rows, offsets, width, out):  # type: ignore[no-untyped-def]
    """Windows, pixel by pixel; *starts* and *offsets* in entries."""
    target = 0
    for row in range(rows):
        for offset in offsets:
            for entry in range(width):
                out[target] = x[starts[row] + offset + entry]
                target += 1


_KERNELS: tuple[Any, ...] = (
    product_reaches,
    product_sums,
    wide_product_sums,
    depthwise_sums,
    reaches,
    count_reached,
    look_up,
    unpack,
    pool_bits,
    pool_values,
    add_pixels,
    slide,
)


keep_compiled(_KERNELS, Path(vectors.__file__))
