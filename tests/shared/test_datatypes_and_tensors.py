import pytest

from labd_shared.datatypes import parse_datatype
from labd_shared.errors import DatatypeError, ShapeError
from labd_shared.tensors import make_tensor, packed_shape


@pytest.mark.parametrize(
    "name, bits, low, high, signed",
    [
        ("BINARY", 1, 0, 1, False),
        ("BIPOLAR", 1, -1, 1, False),
        ("TERNARY", 2, -1, 1, True),
        ("INT2", 2, -2, 1, True),
        ("UINT8", 8, 0, 255, False),
        ("INT32", 32, -(1 << 31), (1 << 31) - 1, True),
    ],
)
def test_datatypes_know_their_range(name, bits, low, high, signed):
    datatype = parse_datatype(name)
    assert (datatype.bits, datatype.low, datatype.high, datatype.signed) == (bits, low, high, signed)
    assert datatype.allows(low) and datatype.allows(high) and not datatype.allows(high + 1)


@pytest.mark.parametrize(
    "name",
    [
        "INT1",
        "UINT1",
        "INT33",
        "FIXED<8,8>",
        "FIXED<33,4>",
        "FIXED<8,0>",
        "FIXED<8, 4>",
        "UINT0",
        "INT08",
        "FLOAT32",
        "int8",
        "",
        "INT8 ",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(DatatypeError, match="no datatype named"):
        parse_datatype(name)


@pytest.mark.parametrize(
    "folded, name, packed",
    [
        ((1, 16, 49), "UINT8", (1, 16, 49)),
        ((1, 32, 32, 1, 3), "UINT8", (1, 32, 32, 1, 3)),
        ((1, 16, 49), "BINARY", (1, 16, 7)),
        ((1, 40, 15), "INT3", (1, 40, 6)),  # finn PR 301: a padded last byte
        ((1, 10, 1), "INT24", (1, 10, 3)),
    ],
)
def test_packed_shapes_round_up_to_bytes(folded, name, packed):
    assert packed_shape(folded, parse_datatype(name)) == packed


def test_tfc_has_the_shapes_finn_gives_it():
    tensor = make_tensor("global_in", "UINT8", (1, 784), (1, 16, 49), "NC", "idma0")
    assert (tensor.packed, tensor.frame_bytes, tensor.batched(tensor.packed, 7)) == (
        (1, 16, 49),
        784,
        (7, 16, 49),
    )


@pytest.mark.parametrize(
    "normal, folded, words",
    [
        ((1, 784), (1, 16, 48), "holds 784 elements in its normal shape .* and 768 in its folded"),
        ((2, 784), (2, 16, 49), r"normal shape of 'x' is \(2, 784\)"),
        ((1, 784), (1, 0, 49), "folded shape of 'x'"),
        ((1,), (1, 1), "normal shape of 'x'"),
    ],
)
def test_shapes_that_contradict_each_other_are_refused(normal, folded, words):
    with pytest.raises(ShapeError, match=words):
        make_tensor("x", "UINT8", normal, folded, "NC", "idma0")
