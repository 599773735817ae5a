"""What is kept is read back as it was, and believed only where it is whole."""

import json

import pytest

from labd_host.experiments.assess import assess
from labd_host.experiments.request import PART3, read_request
from labd_host.experiments.study_model import NetworkAccuracy, Result
from labd_host.experiments.study_plan import plan
from labd_host.machine.typed_records import find_record, from_record, to_record
from labd_shared.errors import ArtifactError
from labd_shared.records import Origin, bounded


@pytest.fixture(scope="module")
def record():
    return json.loads(json.dumps(to_record(assess(plan(read_request(PART3)).experiments[0]))))


def read(kind, record):
    return from_record(kind, bounded(record, Origin("results/KEY.json")))


def test_a_result_is_read_back_as_it_was(record):
    found = read(Result, record)
    assert to_record(found) == record
    assert found.layers[0].name == "idma0"
    assert found.measured is None


def places(record, where=()):
    """Every place in *record*, the innermost too."""
    yield where
    if isinstance(record, dict):
        for key, value in record.items():
            yield from places(value, (*where, key))
    elif isinstance(record, list):
        for index, value in enumerate(record):
            yield from places(value, (*where, index))


def test_a_result_with_any_value_of_another_kind_is_not_believed(record):
    tried = 0
    for where in places(record):
        for strange in (["x"], {"x": 1}, "x", True, None, float("nan")):
            broken = json.loads(json.dumps(record))
            inner, last = {"": broken}, ""
            for step in where:
                inner, last = inner[last], step
            allowed_none = strange is None and last in ("simulated", "measured", "accuracy", "built")
            allowed_text = strange == "x" and isinstance(inner[last], str)
            if allowed_none or allowed_text or (strange == ["x"] and last == "slowest"):
                continue
            inner[last] = strange
            with pytest.raises(ArtifactError, match="results/KEY.json: "):
                read(Result, inner[""] if where == () else broken)
            tried += 1
    assert tried > 1000


@pytest.mark.parametrize(
    "record, words",
    [
        ({"correct": 1}, "images is missing"),
        ({"correct": 1, "images": 2, "dataset": "", "source": "", "x": 1}, "x is unknown; known: correct, "),
        ({"correct": 1, "images": 2, "dataset": "", "source": "x" * 100_000}, "source is 'xxx"),
    ],
)
def test_fields_too_many_or_too_few_or_too_long_are_refused(record, words):
    with pytest.raises(ArtifactError, match=words):
        read(NetworkAccuracy, record)


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, '{"correct": NaN}', '{"correct": 1, "correct": 1}', '{"correct": 1e400}', "x" * 999],
)
def test_a_file_that_holds_no_record_is_as_good_as_none(tmp_path, text):
    path = tmp_path / "KEY.json"
    assert find_record(NetworkAccuracy, path, 500) is None
    path.write_text(text)
    assert find_record(NetworkAccuracy, path, 500) is None
    path.write_text('{"correct": 1, "images": 2, "dataset": "", "source": ""}')
    assert find_record(NetworkAccuracy, path, 500) == NetworkAccuracy(1, 2, "", "")
