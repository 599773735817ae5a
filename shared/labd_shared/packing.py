"""Integers to the bytes FINN's DMA moves, and back.

Element 0 of the innermost axis lands in the lowest bits of byte 0, the row is padded with zeros to
whole bytes, signed values are two's complement, BIPOLAR -1 is bit 0, FIXED values are counted in
steps. This is FINN's layout with ``reverse_inner=True, reverse_endian=True``, which its driver always
uses. Values are checked on every path: what does not fit is refused, never truncated.

Source: Xilinx/finn 39f0c9a, src/finn/util/data_packing.py:334-397; golden vectors in tests/shared.
"""

from typing import Any, Callable, Optional, Tuple

import numpy as np

from labd_shared.datatypes import Datatype
from labd_shared.errors import DatatypeError, ShapeError
from labd_shared.tensors import Tensor

# packbits(bitorder=) came with numpy 1.17; PYNQ 2.5 and 2.6 have 1.16. A table reverses each byte there.
_HAS_BITORDER = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (1, 17)
_BYTES = np.dtype(np.uint8)
EXACT_BITS = 24  # integers of so many bits are exact in float32
FEW_ELEMENTS = 16  # rows so short are packed by machine words, longer ones by bytes
_REVERSED = np.array([int("{:08b}".format(byte)[::-1], 2) for byte in range(256)], np.uint8)


def _pack_bits(bits: np.ndarray) -> np.ndarray:
    """``(8 * n,)`` booleans or bytes, non-zero counting as 1, to ``(n,)`` bytes, lowest bit first."""
    if _HAS_BITORDER:
        return np.packbits(bits, bitorder="little")
    return _REVERSED[np.packbits(bits)]


def _unpack_bits(packed: np.ndarray) -> np.ndarray:
    """``(rows, n)`` bytes to ``(rows, 8 * n)`` of 0 and 1, lowest bit first."""
    if _HAS_BITORDER:
        return np.unpackbits(packed, axis=-1, bitorder="little")
    return np.unpackbits(_REVERSED[packed], axis=-1)


def container(datatype: Datatype) -> np.dtype:
    """The smallest numpy integer that holds every value of *datatype*, little endian."""
    width = 1 if datatype.bits <= 8 else 2 if datatype.bits <= 16 else 4
    return np.dtype("<{}{}".format("u" if datatype.low >= 0 else "i", width))


def check_values(values: np.ndarray, datatype: Datatype) -> np.ndarray:
    """*values* as the integers on the wire, each one checked against *datatype*; a copy only where the input
    is float or the type FIXED.

    Raises:
        DatatypeError: a value does not fit, is not whole, or the array does not hold numbers.
    """
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    if datatype.fraction_bits and values.dtype.kind in "iuf":
        values = values.astype(np.float64) * (1 << datatype.fraction_bits)  # exact: a power of two
    if values.dtype.kind == "f":
        values = _whole(values, datatype)
        if datatype.bits <= EXACT_BITS and datatype.name != "BIPOLAR":
            return values  # checked already
    if values.dtype.kind not in "iu":
        raise DatatypeError(
            "values are of type {}, {} takes integers".format(values.dtype, datatype.name),
            fix="convert them to integers first, so that nothing is rounded unseen",
        )
    if values.size == 0:
        return values
    bounds = np.iinfo(values.dtype)
    # Unsigned bytes need no minimum, and bytes for UINT8 no look at the values at all.
    low = int(values.min()) if bounds.min < datatype.low else datatype.low
    high = int(values.max()) if bounds.max > datatype.high else datatype.high
    if low < datatype.low or high > datatype.high:
        _refuse(low if low < datatype.low else high, datatype)
    if datatype.name == "BIPOLAR" and not values.all():
        _refuse(0, datatype)
    return values


def _whole(values: np.ndarray, datatype: Datatype) -> np.ndarray:
    """Floats as integers, refused where that would change a value."""
    kind: Any = np.int64
    low, high = -(2.0**33), 2.0**33
    if datatype.bits <= EXACT_BITS:  # every bound is a float32: compared as they are, and cast at once
        kind, low, high = container(datatype), float(datatype.low), float(datatype.high)
        values = values.astype(np.float32) if values.dtype == np.float16 else values
    with np.errstate(invalid="ignore"):  # numpy 1.16 warns when it compares NaN
        if values.size and not (values.min() >= low and values.max() <= high):  # also NaN
            _refuse(values[~((values >= low) & (values <= high))].flat[0], datatype)
    whole = values.astype(kind)
    changed = whole != values
    if changed.any():
        _refuse(values[changed].flat[0], datatype)
    return whole


def _refuse(wire: Any, datatype: Datatype) -> None:
    value = wire * datatype.step
    raise DatatypeError(
        "value {} does not fit {} ({})".format(value, datatype.name, datatype.describe_range()),
        fix="check the input contract of the bundle: labd inspect BUNDLE",
        value=float(value),
        datatype=datatype.name,
    )


class PackingPlan(object):
    """How rows of *inner* elements of one datatype become bytes; made once, used for every batch.

    A plan keeps scratch memory between calls, so one plan must not be used by two threads at once.

    Args:
        datatype: Of the elements.
        inner: Elements in a row: the innermost folded axis (PE or SIMD).
    """

    def __init__(self, datatype: Datatype, inner: int) -> None:
        if inner < 1:
            raise ShapeError(
                "a row of {} elements cannot be packed".format(inner), fix="fold the tensor first"
            )
        self.datatype = datatype
        self.inner = inner
        self.row_bytes = (inner * datatype.bits + 7) // 8
        self._scratch = np.zeros((0, 0), np.uint8)
        self._container = container(datatype)
        self._is_native = self._container.itemsize * 8 == datatype.bits
        bits = datatype.bits
        if self._is_native:
            self._pack: Callable[[np.ndarray, np.ndarray], None] = self._pack_native
            self._unpack: Callable[[np.ndarray], np.ndarray] = self._unpack_native
        elif bits == 1:
            self._pack, self._unpack = self._pack_single_bits, self._unpack_single_bits
        elif inner <= FEW_ELEMENTS and inner * bits % 8:
            self._pack, self._unpack = self._pack_words, self._unpack_words
        elif bits in (2, 4):
            self._pack, self._unpack = self._pack_nibbles, self._unpack_irregular
        else:
            self._pack, self._unpack = self._pack_irregular, self._unpack_irregular

    def pack(self, values: np.ndarray, out: Optional[np.ndarray] = None) -> np.ndarray:
        """Pack *values* into *out*.

        Args:
            values: Integers (or whole floats), shape ``(..., inner)``.
            out: uint8, shape ``(..., row_bytes)``, C-contiguous; a new array when None.

        Returns:
            *out*.

        Raises:
            ShapeError: *values* or *out* has another shape.
            DatatypeError: a value does not fit.
        """
        if values.ndim < 1 or values.shape[-1] != self.inner:
            raise ShapeError(
                "values are {}, rows of {} are to be packed".format(values.shape, self.inner),
                fix="fold the batch first: labd_shared.packing.pack_tensor does both",
            )
        shape = values.shape[:-1] + (self.row_bytes,)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != _BYTES or not out.flags.c_contiguous:
            raise ShapeError(
                "the buffer is {} {}, packing needs contiguous uint8 {}".format(out.dtype, out.shape, shape),
                fix="allocate it with the tensor's packed shape",
            )
        # Bytes for UINT8 cannot be wrong: then not even a look at the type's bounds is paid for.
        if not self._is_native or values.dtype != self._container or self.datatype.fraction_bits:
            values = check_values(values, self.datatype)
        self._pack(values, out)
        return out

    def unpack(self, packed: np.ndarray) -> np.ndarray:
        """The integers in *packed*, uint8 of shape ``(..., row_bytes)``: shape ``(..., inner)`` in
        `container` of the datatype (float64 of a FIXED one), always a copy: a DMA buffer must not leak into
        results.

        Raises:
            ShapeError: *packed* has another shape or type.
        """
        if packed.ndim < 1 or packed.shape[-1] != self.row_bytes or packed.dtype != np.uint8:
            raise ShapeError(
                "packed data is {} {}, rows of {} bytes are to be unpacked".format(
                    packed.dtype, packed.shape, self.row_bytes
                ),
                fix="check that the bundle's output tensor is the accelerator's",
            )
        rows = np.ascontiguousarray(packed).reshape(-1, self.row_bytes)
        values = self._unpack(rows).reshape(packed.shape[:-1] + (self.inner,))
        return values * self.datatype.step if self.datatype.fraction_bits else values

    # Whole containers: the bytes are the values.

    def _pack_native(self, values: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out.view(self._container), values, casting="unsafe")

    def _unpack_native(self, rows: np.ndarray) -> np.ndarray:
        return rows.view(self._container).copy()

    # One bit. packbits costs per row and per call, so rows are laid flat, padded to whole bytes first.

    def _pack_single_bits(self, values: np.ndarray, out: np.ndarray) -> None:
        if self.datatype.low < 0:
            values = values > 0  # BIPOLAR: -1 is bit 0
        if self.inner % 8:
            values = self._padded(values, self.row_bytes * 8)
        out.reshape(-1)[...] = _pack_bits(values.reshape(-1))

    def _unpack_single_bits(self, rows: np.ndarray) -> np.ndarray:
        bits = _unpack_bits(rows)[:, : self.inner]
        if self.datatype.low < 0:
            return bits.astype(np.int8) * 2 - 1
        return np.ascontiguousarray(bits)

    # Two and four bits: several elements share a byte, shifted together inside one machine word.

    def _pack_nibbles(self, values: np.ndarray, out: np.ndarray) -> None:
        bits = self.datatype.bits
        padded = self._padded(values, self.row_bytes * (8 // bits))
        np.bitwise_and(padded, (1 << bits) - 1, out=padded)
        if bits == 4:
            words = padded.reshape(-1).view("<u2")
            np.bitwise_or(words, words >> np.uint16(4), out=words)
            out.reshape(-1)[...] = words.view(np.uint8)[::2]
            return
        quads = padded.reshape(-1).view("<u4")
        np.bitwise_or(quads, quads >> np.uint32(6), out=quads)  # pairs meet in bytes 0 and 2
        np.bitwise_or(quads, quads >> np.uint32(12), out=quads)  # both pairs meet in byte 0
        out.reshape(-1)[...] = quads.view(np.uint8)[::4]

    # Short rows of any width: whole columns at once, shifted together in machine words of the row's size.

    def _words(self) -> Tuple[np.dtype, int]:
        """The smallest word that holds a row, or the largest there is, and how many of them a row takes."""
        bits = self.inner * self.datatype.bits
        size = next((size for size in (1, 2, 4) if bits <= 8 * size), 8)
        return np.dtype("<u{}".format(size)), -(-bits // (8 * size))

    def _pack_words(self, values: np.ndarray, out: np.ndarray) -> None:
        kind, number = self._words()
        bits, word_bits = self.datatype.bits, 8 * kind.itemsize
        columns = np.empty((self.inner, values.size // self.inner), kind)
        np.copyto(columns, values.reshape(-1, self.inner).T, casting="unsafe")
        np.bitwise_and(columns, kind.type((1 << bits) - 1), out=columns)
        words = np.zeros((number, columns.shape[1]), kind)
        moved = np.empty(columns.shape[1], kind)
        for element, column in enumerate(columns):
            word, offset = divmod(element * bits, word_bits)
            if offset + bits > word_bits:  # the rest of it is in the next word
                np.right_shift(column, kind.type(word_bits - offset), out=moved)
                np.bitwise_or(words[word + 1], moved, out=words[word + 1])
            np.left_shift(column, kind.type(offset), out=moved)
            np.bitwise_or(words[word], moved, out=words[word])
        rows = np.ascontiguousarray(words.T).view(np.uint8).reshape(-1, number * kind.itemsize)
        out.reshape(-1, self.row_bytes)[...] = rows[:, : self.row_bytes]

    def _unpack_words(self, rows: np.ndarray) -> np.ndarray:
        kind, number = self._words()
        bits, word_bits = self.datatype.bits, 8 * kind.itemsize
        padded = np.zeros((len(rows), number * kind.itemsize), np.uint8)
        padded[:, : self.row_bytes] = rows
        words = np.ascontiguousarray(padded.view(kind).reshape(len(rows), number).T)
        values = np.empty((len(rows), self.inner), self._container)
        for element in range(self.inner):
            word, offset = divmod(element * bits, word_bits)
            column = words[word] >> kind.type(offset)
            if offset + bits > word_bits:
                column |= words[word + 1] << kind.type(word_bits - offset)
            column &= kind.type((1 << bits) - 1)
            if self.datatype.signed:  # the sign bit up to the word's own, and back with the sign
                up = word_bits - bits
                column = (column << kind.type(up)).view(kind.str.replace("u", "i")) >> up
            values[:, element] = column
        return values

    # Any width: elements repeat their place in a byte every `period` elements, so a few columns do.

    def _pack_irregular(self, values: np.ndarray, out: np.ndarray) -> None:
        bits = self.datatype.bits
        mask = np.uint64((1 << bits) - 1)
        wide = values.reshape(-1, self.inner).astype(np.int64).view(np.uint64) & mask
        out = out.reshape(-1, self.row_bytes)
        out[...] = 0
        period = _period(bits)
        for place in range(min(period, self.inner)):
            first_byte, offset = divmod(place * bits, 8)
            column = wide[:, place::period] << np.uint64(offset)
            for step in range((offset + bits + 7) // 8):
                target = out[:, first_byte + step :: period * bits // 8][:, : column.shape[1]]
                part = (column >> np.uint64(8 * step)).astype(np.uint8)
                np.bitwise_or(target, part[:, : target.shape[1]], out=target)

    def _unpack_irregular(self, rows: np.ndarray) -> np.ndarray:
        bits = self.datatype.bits
        values = np.empty((len(rows), self.inner), np.int64)
        period = _period(bits)
        for place in range(min(period, self.inner)):
            first_byte, offset = divmod(place * bits, 8)
            target = values[:, place::period]
            word = np.zeros(target.shape, np.int64)
            for step in range((offset + bits + 7) // 8):
                word |= rows[:, first_byte + step :: period * bits // 8][:, : target.shape[1]].astype(
                    np.int64
                ) << (8 * step)
            target[...] = (word >> offset) & ((1 << bits) - 1)
        if self.datatype.signed:
            sign = 1 << (bits - 1)
            values = (values ^ sign) - sign
        return values.astype(self._container)

    def _padded(self, values: np.ndarray, columns: int) -> np.ndarray:
        """*values* as rows of *columns* bytes, in scratch memory; the padding behind them is zero.

        It is written once, when the scratch is made: the shifts above move bits downwards only, so it stays.
        """
        rows = values.size // self.inner
        if self._scratch.size != rows * columns or len(self._scratch) != rows:
            self._scratch = np.zeros((rows, columns), np.uint8)
        np.copyto(self._scratch[:, : self.inner], values.reshape(rows, self.inner), casting="unsafe")
        return self._scratch


def _period(bits: int) -> int:
    """Elements until one starts on a byte again: 8 / gcd(bits, 8)."""
    period = 8
    while bits % 2 == 0 and period > 1:
        bits //= 2
        period //= 2
    return period


def pack(values: np.ndarray, datatype: Datatype, out: Optional[np.ndarray] = None) -> np.ndarray:
    """Pack the innermost axis of *values*; see `PackingPlan.pack`.

    >>> from labd_shared.datatypes import parse_datatype
    >>> pack(np.array([1, -2, 3]), parse_datatype("INT4")).tolist()
    [225, 3]
    """
    values = np.asarray(values)
    return PackingPlan(datatype, values.shape[-1] if values.ndim else 0).pack(values, out)


def unpack(packed: np.ndarray, datatype: Datatype, inner: int) -> np.ndarray:
    """The *inner* integers in each row of *packed*; see `PackingPlan.unpack`."""
    return PackingPlan(datatype, inner).unpack(np.asarray(packed))


def pack_tensor(
    values: np.ndarray, tensor: Tensor, out: Optional[np.ndarray] = None, plan: Optional[PackingPlan] = None
) -> np.ndarray:
    """Fold and pack a batch.

    Args:
        values: Normal layout, shape ``(n,) + tensor.normal[1:]``.
        tensor: What the accelerator takes.
        out: uint8, ``(n,) + tensor.packed[1:]``, the DMA buffer; a new array when None.
        plan: From an earlier batch of the same tensor, to save its scratch memory.

    Raises:
        ShapeError: *values* has another shape.
        DatatypeError: a value does not fit.
    """
    if values.shape[1:] != tensor.normal[1:]:
        raise ShapeError(
            "the batch is {}, {!r} takes (n, {})".format(
                values.shape, tensor.name, ", ".join(str(axis) for axis in tensor.normal[1:])
            ),
            fix="reshape the images to the network's input, channels last",
        )
    folded = values.reshape(tensor.batched(tensor.folded, len(values)))
    return (plan or PackingPlan(tensor.datatype, tensor.folded[-1])).pack(folded, out)


def unpack_tensor(packed: np.ndarray, tensor: Tensor, plan: Optional[PackingPlan] = None) -> np.ndarray:
    """Unpack and unfold a batch: uint8 ``(n,) + tensor.packed[1:]`` to ``(n,) + tensor.normal[1:]``.

    Raises:
        ShapeError: *packed* has another shape.
    """
    if packed.shape[1:] != tensor.packed[1:]:
        raise ShapeError(
            "packed data is {}, {!r} gives (n, {})".format(
                packed.shape, tensor.name, ", ".join(str(axis) for axis in tensor.packed[1:])
            ),
            fix="check that the bundle's tensor is the accelerator's",
        )
    values = (plan or PackingPlan(tensor.datatype, tensor.folded[-1])).unpack(packed)
    return values.reshape(tensor.batched(tensor.normal, len(packed)))
