"""Our packer beside two that others wrote: finn-plus-driver's, as it is, and one on bitstring."""

import bitstring
import numpy as np
import pytest
from finn_plus_driver.packing import finnpy_to_packed_bytearray, packed_bytearray_to_finnpy
from qonnx.core.datatype import DataType

from labd_shared.datatypes import parse_datatype
from labd_shared.packing import pack, unpack

EVERY_DATATYPE = ["BINARY", "BIPOLAR", "TERNARY"] + [
    f"{sign}{bits}" for bits in range(2, 33) for sign in ("INT", "UINT")
]
INNER = (1, 3, 4, 8, 10, 49)
FLOAT32_BITS = 24  # theirs goes through float32 on some paths: whole numbers up to 2**24 survive that


def some_values(name, shape, rng):
    datatype = parse_datatype(name)
    low, high = max(datatype.low, -(1 << FLOAT32_BITS)), min(datatype.high, 1 << FLOAT32_BITS)
    values = rng.randint(low, high + 1, size=shape)
    values.flat[0], values.flat[-1] = low, high
    return np.where(values == 0, 1, values) if name == "BIPOLAR" else values


def packed_with_bitstring(values, datatype):
    """One row: fields from the last element to the first, padded in front, bytes reversed."""
    stream = bitstring.BitArray()
    for value in values[::-1].tolist():
        kind = "int" if datatype.signed else "uint"
        number = (value + 1) // 2 if datatype.name == "BIPOLAR" else value
        stream += bitstring.Bits(f"{kind}:{datatype.bits}={number}")
    stream.prepend(bitstring.Bits(length=-len(stream) % 8))
    return stream.bytes[::-1]


@pytest.mark.parametrize("name", EVERY_DATATYPE)
def test_our_bytes_are_the_ones_finn_s_own_driver_packs(name, rng):
    for inner in INNER:
        values = some_values(name, (2, 3, inner), rng)
        theirs = finnpy_to_packed_bytearray(
            values.astype(np.float32), DataType[name], reverse_inner=True, reverse_endian=True
        )
        ours = pack(values, parse_datatype(name))
        assert np.array_equal(ours, np.asarray(theirs, np.uint8)), inner


@pytest.mark.parametrize("name", EVERY_DATATYPE)
def test_our_values_are_the_ones_finn_s_own_driver_unpacks(name, rng):
    for inner in INNER:
        values = some_values(name, (2, 3, inner), rng)
        packed = pack(values, parse_datatype(name))
        theirs = packed_bytearray_to_finnpy(
            packed, DataType[name], values.shape, reverse_inner=True, reverse_endian=True
        )
        assert np.array_equal(unpack(packed, parse_datatype(name), inner), theirs), inner


@pytest.mark.parametrize("name", EVERY_DATATYPE)
def test_our_bytes_are_the_ones_bitstring_writes(name, rng):
    datatype = parse_datatype(name)
    for inner in INNER:
        values = some_values(name, (3, inner), rng)
        wanted = [packed_with_bitstring(row, datatype) for row in values]
        assert [row.tobytes() for row in pack(values, datatype)] == wanted, inner


@pytest.mark.parametrize("bits, whole", [(2, 1), (8, 4), (8, 7), (12, 3), (16, 1), (24, 8)])
def test_fixed_point_bytes_are_the_ones_finn_s_own_driver_packs(bits, whole, rng):
    name = f"FIXED<{bits},{whole}>"
    ours, theirs = parse_datatype(name), DataType[name]
    assert (ours.low * ours.step, ours.high * ours.step) == (theirs.min(), theirs.max())
    for inner in INNER:
        values = rng.randint(ours.low, ours.high + 1, size=(2, 3, inner)) * theirs.scale_factor()
        packed = pack(values, ours)
        wanted = finnpy_to_packed_bytearray(
            values.astype(np.float32), theirs, reverse_inner=True, reverse_endian=True
        )
        assert np.array_equal(packed, np.asarray(wanted, np.uint8)), inner
        assert np.array_equal(unpack(packed, ours, inner), values), inner
