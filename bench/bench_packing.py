"""Packing and unpacking, B=1000, into a given buffer, beside memcpy and finn-plus-driver 1.6.1 as it is.

Ours checks every value; theirs does so on its slow path only.
"""

import sys

import numpy as np
from finn_plus_driver.packing import finnpy_to_packed_bytearray, packed_bytearray_to_finnpy
from measure import figure, paired_ratio
from qonnx.core.datatype import DataType

from labd_shared.datatypes import parse_datatype
from labd_shared.packing import PackingPlan

BATCH = 1000
RNG = np.random.RandomState(0)


def values_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    datatype = parse_datatype(name)
    values = RNG.randint(datatype.low, datatype.high + 1, size=shape)
    return values.astype(np.uint8) if datatype.low >= 0 and datatype.bits <= 8 else values


def packing(name: str, shape: tuple[int, ...], pairs: int) -> float:
    """How many times faster than finn-plus-driver's packer; the bytes are compared first."""
    values = values_of(name, (BATCH, *shape))
    plan = PackingPlan(parse_datatype(name), shape[-1])
    out = np.empty((*values.shape[:-1], plan.row_bytes), np.uint8)
    # Theirs has its fast path for int8 containers only, which is what its own driver hands it.
    given, kind = values.astype(np.int8), DataType[name]

    def theirs() -> np.ndarray:
        return finnpy_to_packed_bytearray(given, kind, reverse_inner=True, reverse_endian=True)

    assert np.array_equal(np.asarray(theirs(), np.uint8).reshape(out.shape), plan.pack(values, out))
    return paired_ratio(theirs, lambda: plan.pack(values, out), pairs=pairs, inner=10)


def unpacking(name: str, shape: tuple[int, ...], pairs: int) -> float:
    """The same for unpacking."""
    values = values_of(name, (BATCH, *shape))
    plan = PackingPlan(parse_datatype(name), shape[-1])
    packed, kind = plan.pack(values), DataType[name]

    def theirs() -> np.ndarray:
        return packed_bytearray_to_finnpy(packed, kind, values.shape, reverse_inner=True, reverse_endian=True)

    assert np.array_equal(theirs(), plan.unpack(packed))
    return paired_ratio(theirs, lambda: plan.unpack(packed), pairs=pairs, inner=4)


def copying(shape: tuple[int, ...], pairs: int) -> float:
    """Packing UINT8 in multiples of a plain copy into the same buffer."""
    values = values_of("UINT8", (BATCH, *shape))
    plan = PackingPlan(parse_datatype("UINT8"), shape[-1])
    out = np.empty(values.shape, np.uint8)
    return 1 / paired_ratio(lambda: np.copyto(out, values), lambda: plan.pack(values, out), pairs=pairs)


def main() -> int:
    reached = [
        figure("packing UINT8 (1000,16,49), in copies", copying((16, 49), 301), "x memcpy", "<= 1.2"),
        figure(
            "packing BINARY SIMD 8 (1000,98,8)", packing("BINARY", (98, 8), 41), "x finn-plus-driver", ">= 25"
        ),
        figure(
            "packing BINARY SIMD 49 (1000,16,49)",
            packing("BINARY", (16, 49), 21),
            "x finn-plus-driver",
            ">= 40",
        ),
        figure("unpacking INT24 (1000,10,1)", unpacking("INT24", (10, 1), 101), "x finn-plus-driver", ">= 5"),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
