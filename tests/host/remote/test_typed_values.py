"""Text of `fab` options becomes numbers, or a sentence with the option, the text and an example."""

import pytest

from labd_host.remote import typed_values
from labd_shared.errors import UsageError


@pytest.mark.parametrize("text", ["soon", "-1", "0", "inf", "nan", ""])
def test_a_deadline_is_a_number_of_seconds(text):
    with pytest.raises(UsageError, match=f"--deadline is {text!r}, not a number of seconds") as caught:
        typed_values.seconds("deadline", text)
    assert caught.value.fix == "for example: --deadline 900"


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (typed_values.count, "0", "--x is '0', not a whole number of 1 or more"),
        (typed_values.count, "1.5", "--x is '1.5', not a whole number"),
        (typed_values.counts, "1,,2", "--x is '1,,2', not whole numbers of 1 or more with commas"),
        (typed_values.counts, "1,-2", "--x is '1,-2', not whole numbers"),
        (typed_values.percentage, "most", "--x is 'most', not a number from 0 to 100"),
        (typed_values.percentage, "101", "--x is '101', not a number from 0 to 100"),
    ],
)
def test_what_is_not_a_number_is_refused_before_a_board_is_asked(parse, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse("x", text)
    assert caught.value.fix.startswith("for example: --x ")


def test_numbers_are_what_was_typed_and_nothing_typed_is_none():
    assert typed_values.seconds("deadline", "0.5") == 0.5
    assert (typed_values.count("limit", "300"), typed_values.count("limit", "")) == (300, None)
    assert (typed_values.counts("sweep", "1,100"), typed_values.counts("sweep", "")) == ((1, 100), ())
    assert (typed_values.percentage("x", "90.5"), typed_values.percentage("x", "")) == (90.5, None)
