"""Integers to the bytes FINN's DMA moves, and back.

Element 0 of the innermost axis lands in the lowest bits of byte 0, the row is padded with zeros to
whole bytes, signed values are two's complement, BIPOLAR -1 is bit 0, FIXED values are counted in
steps. This is FINN's layout with ``reverse_inner=True, reverse_endian=True``, which its driver always
uses. Values are checked on every path: what does not fit is refused, never truncated.

Source: Xilinx/finn 39f0c9a, src/finn/util/data_packing.py:334-397; golden vectors in tests/shared.
"""

from typing import Any, Optional

import numpy as np

from labd_shared.datatypes import Datatype
from labd_shared.errors import DatatypeError, ShapeError
from labd_shared.fields import container as container
from labd_shared.fields import fields
from labd_shared.tensors import Tensor

_BYTES = np.dtype(np.uint8)
EXACT_BITS = 24  # integers of so many bits are exact in float32
BLOCK_BYTES = 1 << 20  # of values that are packed before the next are looked at: scratch memory is for those


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
    """Floats as integers, refused where that changes a value: it was not whole, or the integer too small.

    What becomes of a float that fits no integer differs between processors, but it is never the float again.
    """
    kind: Any = container(datatype) if datatype.bits <= EXACT_BITS else np.int64
    if values.dtype == np.float16:  # in which the largest integers become infinite
        values = values.astype(np.float32)
    with np.errstate(invalid="ignore"):  # numpy warns of NaN
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
        self._fields = fields(datatype, inner)
        self.row_bytes = self._fields.row_bytes
        self._container = container(datatype)
        # Bytes for UINT8 cannot be wrong: then not even a look at the type's bounds is paid for.
        self._takes_any = self._container.itemsize * 8 == datatype.bits and not datatype.fraction_bits

    def pack(self, values: np.ndarray, out: Optional[np.ndarray] = None) -> np.ndarray:
        """Pack *values* into *out*.

        Args:
            values: Integers (or whole floats), shape ``(..., inner)``.
            out: uint8, shape ``(..., row_bytes)``, C-contiguous; a new array when None.

        Returns:
            *out*.

        Raises:
            ShapeError: *values* or *out* has another shape.
            DatatypeError: a value does not fit; rows before it may be in *out* already.
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
        if self._takes_any and values.dtype == self._container:
            np.copyto(out.view(self._container), values)
            return out
        rows, packed = values.reshape(-1, self.inner), out.reshape(-1, self.row_bytes)
        step = self._block_rows(values.itemsize)
        for start in range(0, len(rows), step):
            block = check_values(rows[start : start + step], self.datatype)
            lanes = np.ascontiguousarray(block, self._fields.lane)
            self._fields.pack(lanes, packed[start : start + step])
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
        values = np.empty((len(rows), self.inner), self._container)
        step = self._block_rows(values.itemsize)
        for start in range(0, len(rows), step):
            self._fields.unpack(rows[start : start + step], values[start : start + step])
        values = values.reshape(packed.shape[:-1] + (self.inner,))
        return values * self.datatype.step if self.datatype.fraction_bits else values

    def _block_rows(self, element_bytes: int) -> int:
        return max(1, BLOCK_BYTES // (self.inner * element_bytes))


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
