"""Packing and unpacking, B=1000, into a given buffer, beside memcpy and finn-plus-driver 1.6.1 as it is.

Ours checks every value; theirs does so on its slow path only.
"""

import math
import statistics
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from finn_plus_driver.packing import finnpy_to_packed_bytearray, packed_bytearray_to_finnpy
from measure import figure, paired_ratio
from qonnx.core.datatype import DataType

from labd_shared.datatypes import parse_datatype
from labd_shared.packing import PackingPlan, container

BATCH = 1000
RNG = np.random.RandomState(0)


def values_of(name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Random values in the smallest type that holds them, as a network's own arrays have them."""
    datatype = parse_datatype(name)
    values = RNG.randint(datatype.low, datatype.high + 1, size=shape)
    return values.astype(container(datatype))


def packing(name: str, shape: tuple[int, ...], pairs: int) -> float:
    """How many times faster than finn-plus-driver's packer; the bytes are compared first."""
    values = values_of(name, (BATCH, *shape))
    # Theirs has its fast path for int8 containers only, which is what its own driver hands it.
    wide = DataType[name].bitwidth() > 8
    return _packing(name, values, values.astype(np.float32) if wide else values.astype(np.int8), pairs)


def packing_floats(name: str, shape: tuple[int, ...], pairs: int) -> float:
    """The same for float32, of which ours checks that each is a whole number of the type."""
    values = values_of(name, (BATCH, *shape)).astype(np.float32)
    return _packing(name, values, values, pairs)


def _packing(name: str, values: npt.NDArray[Any], given: npt.NDArray[Any], pairs: int) -> float:
    plan = PackingPlan(parse_datatype(name), values.shape[-1])
    out = np.empty((*values.shape[:-1], plan.row_bytes), np.uint8)
    kind = DataType[name]

    def theirs() -> Any:
        return finnpy_to_packed_bytearray(given, kind, reverse_inner=True, reverse_endian=True)

    assert np.array_equal(np.asarray(theirs(), np.uint8).reshape(out.shape), plan.pack(values, out))
    return paired_ratio(theirs, lambda: plan.pack(values, out), pairs=pairs, inner=10)


def unpacking(name: str, shape: tuple[int, ...], pairs: int) -> float:
    """The same for unpacking."""
    values = values_of(name, (BATCH, *shape))
    plan = PackingPlan(parse_datatype(name), shape[-1])
    packed, kind = plan.pack(values), DataType[name]

    def theirs() -> Any:
        return packed_bytearray_to_finnpy(packed, kind, values.shape, reverse_inner=True, reverse_endian=True)

    assert np.array_equal(theirs(), plan.unpack(packed))
    return paired_ratio(theirs, lambda: plan.unpack(packed), pairs=pairs, inner=4)


def copying(name: str, shape: tuple[int, ...], pairs: int) -> float:
    """Packing in multiples of a plain copy of the values, a byte each, to the same place."""
    values = values_of(name, (BATCH, *shape))
    plan = PackingPlan(parse_datatype(name), shape[-1])
    copy = np.empty_like(values)
    shape = (*values.shape[:-1], plan.row_bytes)
    out = copy.view(np.uint8).reshape(-1)[: math.prod(shape)].reshape(shape)
    return 1 / paired_ratio(lambda: np.copyto(copy, values), lambda: plan.pack(values, out), pairs=pairs)


def one_image_us(name: str, shape: tuple[int, ...]) -> float:
    """Packing a single frame, us: the median of many."""
    values = values_of(name, (1, *shape))
    plan = PackingPlan(parse_datatype(name), shape[-1])
    out = np.empty((*values.shape[:-1], plan.row_bytes), np.uint8)
    spent = []
    for _ in range(301):
        began_s = time.thread_time()
        for _ in range(20):
            plan.pack(values, out)
        spent.append((time.thread_time() - began_s) / 20)
    return 1e6 * statistics.median(spent)


FINN_PLUS, MEMCPY = "x finn-plus-driver", "x memcpy"


def main() -> int:
    reached = [
        figure("packing UINT8 (1000,16,49), in copies", copying("UINT8", (16, 49), 301), MEMCPY, "<= 1.2"),
        figure("packing INT8 (1000,16,49), in copies", copying("INT8", (16, 49), 301), MEMCPY, "<= 1.2"),
        figure("packing BINARY SIMD 8, in copies", copying("BINARY", (98, 8), 301), MEMCPY, "<= 3"),
        figure("packing BINARY SIMD 49, in copies", copying("BINARY", (16, 49), 301), MEMCPY, "<= 6"),
        figure("packing BINARY SIMD 8 (1000,98,8)", packing("BINARY", (98, 8), 41), FINN_PLUS, ">= 25"),
        figure("packing BINARY SIMD 49 (1000,16,49)", packing("BINARY", (16, 49), 21), FINN_PLUS, ">= 40"),
        figure("packing UINT2 SIMD 4 (1000,196,4)", packing("UINT2", (196, 4), 21), FINN_PLUS, ">= 50"),
        figure("packing INT4 SIMD 8 (1000,98,8)", packing("INT4", (98, 8), 21), FINN_PLUS, ">= 50"),
        figure("packing INT2 SIMD 3 (1000,1024,3)", packing("INT2", (1024, 3), 5), FINN_PLUS, ">= 25"),
        figure("packing INT21 PE 10 (1000,1,10)", packing("INT21", (1, 10), 101), FINN_PLUS, ">= 5"),
        figure("packing INT24 (1000,10,1)", packing("INT24", (10, 1), 101), FINN_PLUS, ">= 5"),
        figure("unpacking INT21 PE 10 (1000,1,10)", unpacking("INT21", (1, 10), 101), FINN_PLUS, ">= 5"),
        figure("unpacking INT24 (1000,10,1)", unpacking("INT24", (10, 1), 101), FINN_PLUS, ">= 5"),
        figure("packing UINT8 from float32", packing_floats("UINT8", (16, 49), 21), FINN_PLUS, ">= 15"),
        figure("packing one image, UINT8", one_image_us("UINT8", (16, 49)), "us", "<= 10"),
        figure("packing one image, BINARY SIMD 49", one_image_us("BINARY", (16, 49)), "us", "<= 10"),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
