"""Records from outside are bounded, and their values have the types that the caller wants."""

import re

import pytest

from labd_shared.errors import ArtifactError, UnknownName, UsageError
from labd_shared.records import MAX_DEPTH, Origin, Value, bounded, parse_json, read_json

FILE = Origin("file.json", "write it again")


def parse(text, origin=FILE):
    return parse_json(text, 1 << 20, origin)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "file.json: not JSON"),
        (b"\xff{}", "file.json: not JSON"),
        ("[" * 100000, "nested more than 32 deep"),
        ("[" * 100000 + "]" * 100000, "nested more than 32 deep"),
        ('{"a":' * 100000 + "1" + "}" * 100000, "nested more than 32 deep"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested more than 32 deep"),
        ('{"a": [1, NaN]}', r"a\[1\] is nan, a finite number, .* is wanted"),
        ('{"a": {"b": -Infinity}}', "a.b is -inf, a finite number"),
        ('{"a": 1e400}', "a is inf, a finite number"),
        ('{"a": 1' + "0" * 400 + "}", "the number 10000000000000000000... has more than 64 bits"),
        ('{"a": 18446744073709551616}', "a is a number of 65 bits, a whole number of 64 bits is wanted"),
        ('{"a": -9223372036854775809}', "a is a number of 64 bits, a whole number of 64 bits is wanted"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        ('{"a": "\\ud800"}', r"a is '\\ud800', text of Unicode is wanted"),
        ('{"\\ud800": 1}', "text of Unicode is wanted"),
        (" " * (1 << 20) + "1", "1048577 bytes are more than 1048576"),
    ],
)
def test_what_no_record_needs_is_refused(text, words):
    with pytest.raises(ArtifactError, match=words) as caught:
        parse(text)
    assert caught.value.what.startswith("file.json: ") and caught.value.fix == "write it again"


def test_what_a_record_may_hold_is_read():
    text = '{"a": [18446744073709551615, -9223372036854775808, 1.5e300], "b": null, "ü": "\\ud83d\\ude00"}'
    record = parse(text).fields(("a", "b", "ü"))
    assert [each.raw for each in record["a"].list()] == [(1 << 64) - 1, -(1 << 63), 1.5e300]
    assert record["b"].raw is None and record["ü"].text() == "\U0001f600"
    parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_the_bounds_hold_for_what_another_parser_read():
    with pytest.raises(UsageError, match="boards.toml: port is a number of 1329 bits"):
        bounded({"port": 10**400}, Origin("boards.toml", "", UsageError))
    with pytest.raises(ArtifactError, match=r"a\[0\] is .*, a finite number, text"):
        bounded({"a": [object()]}, FILE)


@pytest.mark.parametrize(
    "text, take, words",
    [
        ("1", Value.text, "file.json: the content is 1, text is wanted"),
        ('"abc"', lambda value: value.text(2), "is 'abc', a text of at most 2 characters is wanted"),
        ('"a b"', lambda value: value.text(9, re.compile("[a-z]+")), r"is 'a b', text of the form \[a-z\]\+"),
        ('"a b"', lambda value: value.text(9, re.compile("[a-z]+"), "a word"), "is 'a b', a word is wanted"),
        ('"1"', Value.integer, "is '1', a whole number is wanted"),
        ("true", Value.integer, "is true, a whole number is wanted"),
        ("1.0", Value.integer, "is 1.0, a whole number is wanted"),
        ("0", lambda value: value.integer(1), "is 0, a whole number from 1 on is wanted"),
        ("9", lambda value: value.integer(1, 8), "is 9, a whole number from 1 to 8 is wanted"),
        ("true", Value.number, "is true, a number is wanted"),
        ("9", lambda value: value.number(high=8.5), "is 9, a number of at most 8.5 is wanted"),
        ("1", Value.truth, "is 1, true or false is wanted"),
        ('"c"', lambda value: value.choice(("a", "b")), "is 'c', one of a, b is wanted"),
        ("[]", lambda value: value.choice(("a", "b")), "is a list of 0 entries, one of a, b is wanted"),
        ("{}", Value.list, "is an object of 0 fields, a list is wanted"),
        (
            "[1, 2]",
            lambda value: value.list(3, 4),
            "is a list of 2 entries, a list of 3 to 4 entries is wanted",
        ),
        ("null", Value.entries, "is null, an object is wanted"),
        ('{"a": 1, "b": 2}', lambda value: value.entries(1), "an object of at most 1 entries is wanted"),
        ("{}", lambda value: value.fields(("b",)), "file.json: b is missing"),
        ('{"a": 1, "c": 1}', lambda value: value.fields(("a",), ("b",)), "c is unknown; known: a, b"),
        (
            '{"a": [{"b": 1}]}',
            lambda value: value.entries()["a"].list()[0].fields(()),
            r"a\[0\].b is unknown",
        ),
        ('{"a": {}}', lambda value: value.entries()["a"].fields(("c",)), "a.c is missing"),
        (
            '{"\\u001b[2J": 1}',
            lambda value: value.fields(("c",)),
            r"file.json: '\\x1b\[2J' is unknown; known: c",
        ),
        (
            '{"format": "labd-x", "version": true}',
            lambda value: value.of_format("labd-x", 1),
            "the version of labd-x is true, this labd reads 1",
        ),
        ("[]", lambda value: value.of_format("labd-x", 1), "is a list of 0 entries, an object is wanted"),
        ("{}", lambda value: value.of_format("labd-x", 1), "the format is null, not 'labd-x'"),
        (
            '{"format": "labd-x", "version": 2}',
            lambda value: value.of_format("labd-x", 1),
            "the version of labd-x is 2, this labd reads 1",
        ),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_place(text, take, words):
    with pytest.raises(ArtifactError, match=words):
        take(parse(text))


def test_values_are_taken_as_what_they_are():
    record = parse('{"text": "a", "whole": 3, "real": 2.5, "flag": false, "list": [1]}').fields(
        ("text", "whole", "real", "flag"), ("list", "absent")
    )
    assert record["text"].text() == record["text"].choice(("a", "b")) == "a"
    assert record["whole"].integer(3, 3) == 3 and record["whole"].number() == 3.0
    assert record["real"].number(2, 3) == 2.5 and record["flag"].truth() is False
    assert [each.path for each in record["list"].list()] == ["list[0]"] and "absent" not in record
    assert sorted(parse('{"a": 1, "new": 2}').fields(("a",), None)) == ["a", "new"]


def test_a_mistyped_name_gets_the_nearest_offered():
    with pytest.raises(UnknownName, match=r"no setting in file.json named 'prot'; known: port") as caught:
        parse('{"prot": 1}').fields((), ("port",), "setting")
    assert caught.value.fix == "did you mean 'port'?"


def test_what_is_shown_of_a_refused_value_is_short():
    with pytest.raises(ArtifactError) as caught:
        parse('"' + "x" * 100000 + '"').integer()
    assert len(caught.value.what) < 150


def test_a_file_is_bounded_before_it_is_read(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as handle:
        handle.truncate(1 << 40)
    with pytest.raises(ArtifactError, match="huge.json has 1099511627776 bytes, more than 1000"):
        read_json(path, 1000)
    with pytest.raises(UsageError, match="none.json cannot be read"):
        read_json(tmp_path / "none.json", 1000, Origin("none.json", "", UsageError))
    path.write_bytes(b'{"a": 1}')
    assert read_json(path, 8).fields(("a",))["a"].integer() == 1
