"""Pickles of the python distribution are read without being run."""

import os
import pickle
import struct

import numpy as np
import pytest

from labd_shared.errors import DataDamaged
from labd_shared.unpickle import unpickle
from support.cifar_files import pickled, planes, python2, split_of

RECORD = {
    b"batch_label": b"testing batch 1 of 1",
    b"data": planes(split_of("cifar10", "test", 3)[0]),
    b"labels": [3, 0, 9],
    b"filenames": [b"a.png", b"b.png", b"c" * 300],
    b"num_cases_per_batch": 10000,
}


def same(found):
    return (
        sorted(found) == sorted(key.decode() for key in RECORD)
        and np.array_equal(found["data"], RECORD[b"data"])
        and found["data"].dtype == np.uint8
        and all(found[key.decode()] == value for key, value in RECORD.items() if key != b"data")
    )


def test_a_pickle_of_python_2_is_read():
    assert same(unpickle(pickled(RECORD), "x"))


def test_the_pickles_of_these_tests_are_pickles():
    found = pickle.loads(pickled(RECORD), encoding="bytes")  # noqa: S301 - our own, made above
    assert np.array_equal(found.pop(b"data"), RECORD[b"data"])
    assert found == {key: value for key, value in RECORD.items() if key != b"data"}


def test_what_python_3_makes_of_it_is_read_too():
    """With protocol 2 it spells bytes as text, by _codecs.encode, and names numpy as it is called today."""
    assert same(unpickle(pickle.dumps(RECORD, protocol=2), "x"))


def test_an_array_in_fortran_order_is_read():
    record = {b"data": np.asfortranarray(RECORD[b"data"])}
    found = unpickle(pickle.dumps(record, protocol=2), "x")
    assert np.array_equal(found["data"], RECORD[b"data"])


class Runs(object):
    """A pickle of this calls something."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_a_pickle_that_calls_os_system_runs_nothing(tmp_path, protocol):
    mark = tmp_path / "it ran"
    data = pickle.dumps({b"data": Runs(os.system, "touch '{}'".format(mark))}, protocol=protocol)
    with pytest.raises(DataDamaged, match="batch is no pickle of this data set") as caught:
        unpickle(data, "batch")
    if protocol == 2:
        assert "it asks for posix.system" in caught.value.what
    assert not mark.exists()


def called(module, name, *arguments):
    """A call as a pickle spells it; the arguments are pickled already."""
    return b"c" + module + b"\n" + name + b"\n(" + b"".join(arguments) + b"tR"


ARRAY = called(b"numpy.core.multiarray", b"_reconstruct", b"cnumpy\nndarray\n", b"K\x00\x85", b"U\x01b")
BYTE = called(b"numpy", b"dtype", b"U\x02u1", b"K\x00", b"K\x01")


def array_of(shape, kind=BYTE, content=b"abcd"):
    axes = b"".join(b"J" + struct.pack("<i", axis) for axis in shape)
    return ARRAY + b"(K\x01(" + axes + b"t" + kind + b"\x89" + python2(content) + b"tb"


@pytest.mark.parametrize(
    "value, words",
    [
        (called(b"builtins", b"eval", b"U\x011"), "it asks for builtins.eval"),
        (called(b"builtins", b"getattr", b"U\x01aU\x01b"), "it asks for builtins.getattr"),
        (called(b"numpy", b"load", b"U\x01x"), "it asks for numpy.load"),
        (called(b"numpy", b"core.multiarray.fromfile", b"U\x01x"), "it asks for numpy.core.multiarray.from"),
        (called(b"numpy", b"ndarray", b"J\xff\xff\xff\x7f"), "a call of numpy.ndarray that no such file"),
        (called(b"numpy", b"dtype", b"U\x02O8", b"K\x00", b"K\x01"), "a call of numpy.dtype that no such"),
        (called(b"_codecs", b"encode", b"X\x01\x00\x00\x00aU\x05rot13"), "not spelled in latin1"),
        (array_of((1 << 20, 1 << 19)), r"an array of shape \(1048576, 524288\) in 4 bytes"),
        (array_of((2, 3)), r"an array of shape \(2, 3\) in 4 bytes"),
        (array_of((-2, -2)), "an array without a shape"),
        (array_of((4,), kind=b"N"), "an array that is not of bytes"),
        (b"U\x01aK\x01b", "content for something that takes none"),
        (b"K\x01K\x02R", "a call of something that is no function"),
        (b"K\x01(K\x02e", "values for something that is no list"),
        (b"T\xff\xff\xff\x7fab", "it ends early"),
        (b"T\xff\xff\xff\xffab", "it ends early"),
        (b"j\xff\xff\xff\xff", "4294967295"),
        (b"(ios\nsystem\n", "opcode b'i'"),
        (b"cos" + b"y" * 300 + b"\n", "a name without an end"),
    ],
)
def test_whatever_such_a_file_does_not_need_is_refused(value, words):
    with pytest.raises(DataDamaged, match=words):
        unpickle(b"\x80\x02}(U\x01x" + value + b"u.", "batch")


def test_a_place_in_the_memo_far_away_costs_nothing():
    """Python's own reader makes room for every place up to it."""
    assert unpickle(b"\x80\x02}r\xff\xff\xff\xffU\x01aK\x07s.", "x") == {"a": 7}


def test_keys_that_take_for_ever_to_hash_are_refused():
    nested = b")" + b"".join(b"q" + bytes((level,)) + b"h" + bytes((level,)) + b"\x86" for level in range(60))
    with pytest.raises(DataDamaged, match="keys that are no strings"):
        unpickle(b"\x80\x02}" + nested + b"K\x01s.", "batch")
    with pytest.raises(DataDamaged, match="an array without a shape"):
        unpickle(b"\x80\x02" + ARRAY + b"(K\x01" + nested + BYTE + b"\x89U\x00tb.", "batch")


def test_a_later_protocol_and_something_else_than_a_dictionary_are_refused():
    with pytest.raises(DataDamaged, match="protocol 4, these files have 2"):
        unpickle(pickle.dumps({}, protocol=4), "batch")
    with pytest.raises(DataDamaged, match="it holds no dictionary"):
        unpickle(pickle.dumps([1], protocol=2), "batch")


def test_a_pickle_cut_anywhere_is_refused():
    whole = pickled({b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 300], b"n": [b"a"]})
    for end in range(len(whole)):
        with pytest.raises(DataDamaged, match="no pickle of this data set"):
            unpickle(whole[:end], "batch")


def test_any_damage_is_refused_or_harmless(rng):
    whole = pickled({b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 300], b"n": [b"a"]})
    for _ in range(3000):
        damaged = bytearray(whole)
        for place in rng.randint(0, len(whole), rng.randint(1, 4)):
            damaged[place] = rng.randint(0, 256)
        try:
            assert isinstance(unpickle(bytes(damaged), "batch"), dict)
        except DataDamaged as error:
            assert error.what.startswith("batch is no pickle of this data set: ")
