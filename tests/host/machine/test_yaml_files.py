"""YAML from outside: plain values within the bounds of every record, and nothing else."""

import pytest

from labd_host.machine.yaml_files import parse_yaml, read_yaml
from labd_shared.errors import ArtifactError
from labd_shared.records import Origin

ORIGIN = Origin("cfg.yaml", "write it again")


def test_plain_values_are_read(tmp_path):
    path = tmp_path / "cfg.yaml"
    path.write_text("\ufeffa: 1\nb: [x, 2.5, true, null]\nc: {d: 'text'}\n", encoding="utf-8")
    assert read_yaml(path, 1000, ORIGIN).raw == {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": "text"}}
    with pytest.raises(ArtifactError, match="more than 10"):
        read_yaml(path, 10, ORIGIN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\na: 2", "line 2: the key 'a' stands twice"),
        (b"{a: {b: 1, b: 2}}", "line 1: the key 'b' stands twice"),
        (b"a: &x [1]\nb: *x", r"line 2: an alias, \*x: write its value out"),
        (b"&a [*a]", "an alias"),
        (b"[" * 100000, "nested more than 32 deep"),
        (b"- " * 1000 + b"1", "nested more than 32 deep"),
        (b"a: !!python/object/apply:os.system ['touch x']", "could not determine a constructor for the tag"),
        (b"a: " + b"9" * 6000, "not YAML"),
        (b"a: " + b"9" * 100, "a is a number of 333 bits"),
        (b"a: 2026-99-99", "not YAML: month must be in"),
        (b"a: 2026-01-01", "a finite number, text, true or false is wanted"),
        (b"a: .nan", "a is nan"),
        (b"1: x", "the key 1 is not a text"),
        (b"? [1]\n: 2", "the key .* is not a text"),
        (b"a: 1\n---\nb: 2", "another document"),
        (b"a: \xff", "can't decode byte 0xff"),
        (b"a: \x00", "not YAML"),
        (b"a: !!set {x, y}", "is wanted"),
        (b"a: [1", "not YAML: line 1"),
    ],
)
def test_what_is_not_plain_or_out_of_bounds_is_refused_with_the_file(content, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        parse_yaml(content, ORIGIN)
    assert caught.value.what.startswith("cfg.yaml: ")
    assert caught.value.fix == "write it again"
