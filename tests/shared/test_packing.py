import numpy as np
import pytest

from labd_shared import packing
from labd_shared.datatypes import parse_datatype
from labd_shared.errors import DatatypeError, ShapeError
from labd_shared.packing import PackingPlan, container, pack, pack_tensor, unpack, unpack_tensor
from labd_shared.tensors import make_tensor

# Both upstream packers agree on these: reference/finn-runtime.md, section 1d.
GOLDEN = [
    ("BIPOLAR", [1, -1, 1, 1, -1, -1, -1, 1], "8d"),
    ("BIPOLAR", [1, -1, 1, 1, -1], "0d"),
    ("BIPOLAR", [1], "01"),
    ("BINARY", [1, 1, 1, 0], "07"),
    ("UINT2", [3, 0, 1, 2], "93"),
    ("UINT2", [3, 0, 1], "13"),
    ("INT2", [-1, 1, -2, 0], "27"),
    ("TERNARY", [-1, 0, 1, 1], "53"),
    ("INT4", [1, -2, 3], "e103"),
    ("UINT4", [1, 2, 3, 4], "2143"),
    ("UINT8", [1, 2, 3], "010203"),
    ("INT8", [-1, 2, -3], "ff02fd"),
    ("INT16", [1, -2, 300], "0100feff2c01"),
    ("UINT10", [5, 1000], "05a00f"),
    ("INT21", [-1, 70000], "ffff1f2e2200"),
]
EVERY_DATATYPE = ["BINARY", "BIPOLAR", "TERNARY"] + [
    sign + str(bits) for bits in range(2, 33) for sign in ("INT", "UINT")
]


def some_values(datatype, shape, rng):
    """Random legal values with both ends of the range among them."""
    values = rng.randint(datatype.low, datatype.high + 1, size=shape, dtype=np.int64)
    values.flat[0], values.flat[-1] = datatype.low, datatype.high
    if datatype.name == "BIPOLAR":
        values[values == 0] = 1
    return values


def one_word_a_row(values, datatype):
    """The layout, said as plainly as can be: field i at bit i * width of one little-endian word a row."""
    mask = (1 << datatype.bits) - 1
    row_bytes = (values.shape[-1] * datatype.bits + 7) // 8
    packed = b""
    for row in values.reshape(-1, values.shape[-1]):
        if datatype.name == "BIPOLAR":
            row = (row + 1) // 2
        word = sum((int(value) & mask) << (index * datatype.bits) for index, value in enumerate(row))
        packed += word.to_bytes(row_bytes, "little")
    return packed


@pytest.mark.parametrize("name, values, wanted", GOLDEN)
def test_the_golden_vectors_pack_and_unpack(name, values, wanted):
    datatype = parse_datatype(name)
    packed = pack(np.array(values), datatype)
    assert packed.tobytes().hex() == wanted
    assert unpack(packed, datatype, len(values)).tolist() == values


@pytest.mark.parametrize("name", EVERY_DATATYPE)
def test_every_width_and_row_length_is_one_little_endian_word_a_row(name, rng):
    datatype = parse_datatype(name)
    for inner in list(range(1, 20)) + [49, 64]:
        values = some_values(datatype, (2, 3, inner), rng)
        packed = pack(values, datatype)
        assert packed.tobytes() == one_word_a_row(values, datatype), inner
        back = unpack(packed, datatype, inner)
        assert back.dtype == container(datatype)
        assert np.array_equal(back, values), inner


@pytest.mark.parametrize("name", EVERY_DATATYPE)
def test_many_rows_pack_block_by_block_like_one(name, rng, monkeypatch):
    monkeypatch.setattr(packing, "BLOCK_BYTES", 600)
    datatype = parse_datatype(name)
    for inner in (3, 8, 10, 33):
        values = some_values(datatype, (83, inner), rng).astype(container(datatype))
        packed = pack(values, datatype)
        assert packed.tobytes() == one_word_a_row(values, datatype), inner
        assert np.array_equal(unpack(packed, datatype, inner), values), inner


def test_a_value_of_a_later_block_is_refused_with_both_values(monkeypatch):
    monkeypatch.setattr(packing, "BLOCK_BYTES", 64)
    for kind, wrong in ((np.int8, 9), (np.float32, 6.5)):
        values = np.zeros((100, 4), kind)
        values[77, 2] = wrong
        with pytest.raises(DatatypeError, match=r"value {} does not fit INT4 \(-8 to 7\)".format(wrong)):
            pack(values, parse_datatype("INT4"))


@pytest.mark.parametrize("name", EVERY_DATATYPE)
@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_values_just_outside_are_refused_on_every_path(name, kind, rng):
    datatype = parse_datatype(name)
    for inner in (8, 5):
        for wrong in (datatype.low - 1, datatype.high + 1):
            values = some_values(datatype, (4, inner), rng).astype(kind)
            values[2, 1] = wrong
            with pytest.raises(DatatypeError, match="value {}.* does not fit {} ".format(wrong, name)):
                pack(values, datatype)


def test_zero_is_refused_for_bipolar():
    with pytest.raises(DatatypeError, match=r"value 0 does not fit BIPOLAR \(-1 or \+1\)"):
        pack(np.array([1, 0, -1]), parse_datatype("BIPOLAR"))


@pytest.mark.parametrize("wrong", [0.5, float("nan"), float("inf"), -1e300])
def test_floats_that_are_not_whole_are_refused(wrong):
    with pytest.raises(DatatypeError, match="does not fit UINT8"):
        pack(np.array([1.0, wrong], np.float64), parse_datatype("UINT8"))


@pytest.mark.parametrize(
    "name", ["UINT16", "INT16", "INT24", "UINT24", "INT32", "UINT32", "BIPOLAR", "FIXED<8,4>"]
)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_that_no_integer_holds_are_refused(name, kind):
    # What they become when they are cast depends on the processor: some saturate, some wrap.
    for wrong in (float("inf"), -float("inf"), float("nan"), 2.0**31, 2.0**32, -(2.0**33), 2.0**63, 2.0**64):
        with np.errstate(over="ignore"):
            value = kind(wrong)
        if name == "UINT32" and wrong == 2.0**31 and np.isfinite(value):
            continue  # it fits
        with pytest.raises(DatatypeError, match="does not fit {} ".format(name)):
            pack(np.array([1, value], kind), parse_datatype(name))


def test_values_that_lie_at_odd_addresses_pack_like_others(rng):
    datatype = parse_datatype("INT3")
    memory = np.zeros(16 * 8 + 1, np.int8)
    values = memory[1:].reshape(16, 8)
    values[...] = some_values(datatype, values.shape, rng)
    assert pack(values, datatype).tobytes() == one_word_a_row(values, datatype)


def test_whole_floats_and_booleans_pack_like_integers():
    assert pack(np.array([3.0, 255.0], np.float32), parse_datatype("UINT8")).tolist() == [3, 255]
    assert pack(np.array([True, False, True]), parse_datatype("BINARY")).tolist() == [5]


def test_integers_stay_integers_beyond_what_float32_holds():
    datatype = parse_datatype("INT32")
    packed = pack(np.array([16777217, -2147483648]), datatype)
    assert unpack(packed, datatype, 2).tolist() == [16777217, -2147483648]


def test_complex_numbers_are_refused():
    with pytest.raises(DatatypeError, match="values are of type complex128, UINT8 takes integers"):
        pack(np.array([1j]), parse_datatype("UINT8"))


@pytest.mark.parametrize("name", ["UINT8", "BINARY", "BIPOLAR", "INT4", "INT2", "INT21", "INT16"])
def test_a_plan_packs_into_a_given_buffer_again_and_again(name, rng):
    datatype = parse_datatype(name)
    plan = PackingPlan(datatype, 5)
    for rows in (4, 4, 7):  # scratch memory is kept, and must not remember
        values = some_values(datatype, (rows, 5), rng)
        out = np.full((rows, plan.row_bytes), 0xFF, np.uint8)
        assert plan.pack(values, out) is out
        assert out.tobytes() == one_word_a_row(values, datatype)


def test_unpacked_values_do_not_share_memory_with_the_buffer():
    buffer = np.array([[7]], np.uint8)
    values = unpack(buffer, parse_datatype("UINT8"), 1)
    buffer[...] = 9
    assert values.tolist() == [[7]]


def test_values_need_not_be_contiguous(rng):
    datatype = parse_datatype("INT5")
    values = some_values(datatype, (12, 10), rng)[::2, ::-1]
    assert pack(values, datatype).tobytes() == one_word_a_row(values, datatype)


def test_a_buffer_of_another_shape_is_refused():
    plan = PackingPlan(parse_datatype("UINT8"), 4)
    with pytest.raises(
        ShapeError, match=r"the buffer is uint8 \(2, 5\), packing needs contiguous uint8 \(2, 4\)"
    ):
        plan.pack(np.zeros((2, 4), np.uint8), np.zeros((2, 5), np.uint8))
    with pytest.raises(ShapeError, match=r"values are \(2, 3\), rows of 4 are to be packed"):
        plan.pack(np.zeros((2, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"rows of 4 bytes are to be unpacked"):
        plan.unpack(np.zeros((2, 3), np.uint8))


def test_a_tensor_folds_packs_and_comes_back(rng):
    tensor = make_tensor("global_in", "BINARY", (1, 784), (1, 16, 49), "NC", "idma0")
    values = some_values(tensor.datatype, (3, 784), rng)
    packed = pack_tensor(values, tensor)
    assert packed.shape == (3, 16, 7)
    assert packed.tobytes() == one_word_a_row(values.reshape(3, 16, 49), tensor.datatype)
    assert np.array_equal(unpack_tensor(packed, tensor), values)
    with pytest.raises(ShapeError, match=r"the batch is \(3, 783\), 'global_in' takes \(n, 784\)"):
        pack_tensor(values[:, :-1], tensor)
    with pytest.raises(ShapeError, match=r"'global_in' gives \(n, 16, 7\)"):
        unpack_tensor(packed[:, :-1], tensor)


def test_a_batch_of_none_packs_to_nothing():
    assert pack(np.zeros((0, 8), np.int64), parse_datatype("BINARY")).shape == (0, 1)
