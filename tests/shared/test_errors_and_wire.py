import json

import pytest

from labd_shared import errors
from labd_shared.errors import DmaTimeout, LabdError, UnknownName, from_wire, unknown_name
from labd_shared.wire import dump_error, dump_line, find_error, load_line


def test_an_error_crosses_the_wire_as_the_same_class():
    error = DmaTimeout("odma0 is not done after 2 s", fix="labd board up 03", waited_s=2.0)
    back = find_error("some warning\n" + dump_error(error) + "\nlast words\n")
    assert type(back) is DmaTimeout and isinstance(back, TimeoutError)
    assert (back.what, back.fix, back.facts) == (error.what, error.fix, {"waited_s": 2.0})


def test_an_error_of_a_newer_labd_becomes_the_root():
    back = from_wire({"error": "FromTheFuture", "what": "it broke", "fix": "", "facts": {}})
    assert type(back) is LabdError and back.what == "it broke"


def test_facts_that_are_no_dictionary_do_no_harm():
    assert from_wire({"error": "BoardError", "what": "x", "facts": [1]}).facts == {}


def test_the_message_is_the_sentence_and_the_fix():
    assert str(LabdError("a is 1, b is 2", fix="labd doctor")) == "a is 1, b is 2\n  fix: labd doctor"
    assert str(LabdError("a is 1")) == "a is 1"


@pytest.mark.parametrize(
    "branch, code",
    [
        ("UsageError", 2),
        ("SetupError", 3),
        ("BuildError", 4),
        ("ArtifactError", 5),
        ("BoardError", 6),
        ("ResultError", 7),
    ],
)
def test_every_class_of_a_branch_has_its_exit_code(branch, code):
    root = getattr(errors, branch)
    family = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, root)]
    assert len(family) > 1
    assert {kind.exit_code for kind in family} == {code}


def test_an_unknown_name_offers_the_nearest():
    error = unknown_name("network", "tfc-w1a", ["tfc-w1a1", "cnv-w1a1"])
    assert isinstance(error, UnknownName)
    assert error.what == "no network named 'tfc-w1a'; known: cnv-w1a1, tfc-w1a1"
    assert error.fix == "did you mean 'tfc-w1a1'?"
    assert unknown_name("board", "zz", [], fix="labd board up 03").fix == "labd board up 03"


def test_a_message_is_one_line_and_the_same_bytes_every_time():
    line = dump_line({"b": [1, 2], "a": "\u00fc\n"})
    assert line == '{"a":"\\u00fc\\n","b":[1,2]}'
    assert load_line(line) == {"a": "\u00fc\n", "b": [1, 2]}


@pytest.mark.parametrize(
    "line", ["", "warning: {", "[1]", "{broken", "12", '{"a":' * 100000, '{"a": NaN}', '{"a": 1, "a": 1}']
)
def test_other_lines_are_no_messages(line):
    assert load_line(line) is None


def test_not_a_number_is_refused_in_messages():
    with pytest.raises(ValueError):
        dump_line({"x": float("nan")})


def test_facts_that_json_does_not_know_are_written_as_text(tmp_path):
    assert json.loads(dump_error(LabdError("x", path=tmp_path)))["labd_error"]["facts"]["path"] == str(
        tmp_path
    )
