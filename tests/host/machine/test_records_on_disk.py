"""TOML and typed records within the bounds of the one reader; each owner of a file treats a hostile one as its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from labd_host.machine.locks import hold
from labd_host.machine.toml_files import parse_toml, read_toml
from labd_host.machine.typed_records import find_record, read_record, write_record
from labd_host.remote.data import is_whole
from labd_host.remote.releases import parse_report
from labd_host.virtual_board import board_state
from labd_host.vivado.job import BuildJob
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.datasets import DATASETS, INDEX_NAME, write_packed
from labd_shared.errors import ArtifactError, BoardError, UsageError
from labd_shared.files import PRIVATE_FILE
from labd_shared.records import Origin

HOSTILE = [
    "",
    "null",
    "[" * 100_000,
    '{"port": 1' + "0" * 400 + "}",
    '{"port": NaN}',
    '{"port": 1, "port": 1}',
    '{"port": "\\ud800"}',
]
FILE = Origin("file.toml", "correct it", UsageError)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x =", "file.toml: not TOML"),
        ("x = 1\nx = 2", "file.toml: not TOML"),
        ("x = " + "[" * 100_000, "nested too deep"),
        ("x = " + "[" * 40 + "]" * 40, "nested more than 32 deep"),
        ("x = inf", "file.toml: x is inf, a finite number"),
        ("x = 1" + "0" * 400, "file.toml: x is a number of 1329 bits, a whole number of 64 bits is wanted"),
        ("x = 1" + "0" * 9000, "file.toml: not TOML"),
        ("a.b = [1979-05-27]", r"file.toml: a.b\[0\] is .*, a finite number, text"),
    ],
)
def test_toml_keeps_to_the_bounds(text, words):
    with pytest.raises(UsageError, match=words):
        parse_toml(text.encode(), FILE)


def test_toml_is_read_within_its_size(tmp_path):
    (tmp_path / "file.toml").write_text('x = "1"')
    assert read_toml(tmp_path / "file.toml", 7, FILE).fields(("x",))["x"].text() == "1"
    with pytest.raises(UsageError, match="has 7 bytes, more than 6"):
        read_toml(tmp_path / "file.toml", 6, FILE)


@dataclass(frozen=True)
class Kept:
    """Every kind of field that a record may have."""

    name: str
    rate: float
    many: tuple[int, ...]
    sure: bool
    place: Path
    note: str | None
    setting: dict[str, int | str]


def test_a_dataclass_is_read_back_as_it_was(tmp_path):
    kept = Kept("a", 100, (1, 2), True, Path("/tmp/x"), None, {"PE": 1, "ram_style": "auto"})
    write_record(tmp_path / "kept.json", kept, PRIVATE_FILE)
    assert (tmp_path / "kept.json").stat().st_mode & 0o777 == PRIVATE_FILE
    assert read_record(Kept, tmp_path / "kept.json", 1000, Origin("kept.json")) == kept
    assert find_record(Kept, tmp_path / "kept.json", 10) is None
    record = json.loads((tmp_path / "kept.json").read_text())
    assert record["rate"] == 100 and type(record["rate"]) is int, "written again it has the same digest"
    (tmp_path / "kept.json").write_text(json.dumps({**record, "setting": {"PE": 1.5}}))
    with pytest.raises(ArtifactError, match=r"kept.json: setting.PE is 1.5, int or str is wanted"):
        read_record(Kept, tmp_path / "kept.json", 1000, Origin("kept.json"))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_virtual_board_whose_state_is_damaged_does_not_run(places, text):
    folder = board_state.folder("07")
    folder.mkdir(parents=True)
    with hold(folder / board_state.LOCK_NAME, 1.0, "running board 07"):
        (folder / board_state.STATE_NAME).write_text(text)
        assert board_state.load("07") is None
        state = board_state.VirtualBoardState(
            "07", "127.0.0.1", 1, 2, "xilinx", Path("/root"), Path("/key"), "now"
        )
        board_state.save(state)
        assert board_state.load("07") == state


@pytest.mark.parametrize("text", [*HOSTILE, '{"count": -1}', '{"count": "20"}', '{"count": true}', "{}"])
def test_an_index_that_a_board_sends_is_not_believed(text, tmp_path):
    assert not is_whole({"index": text, "sizes": {}}, "mnist")
    images, labels = np.zeros((2, 28, 28, 1), np.uint8), np.zeros(2, np.uint8)
    folder = write_packed(tmp_path, DATASETS["mnist"], "test", images, labels)
    index = (folder / INDEX_NAME).read_text()
    assert is_whole({"index": index, "sizes": {"images.u8": 1568, "labels.u8": 2}}, "mnist")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_report_that_is_none_is_the_boards_fault(text):
    class Board:
        number = "03"

    with pytest.raises(BoardError, match="instead of JSON"):
        parse_report(Board(), "info", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hardware_build_refuses_a_damaged_job(tmp_path, text):
    job = BuildJob("model.onnx", str(tmp_path), "key", PYNQ_Z2_PART, "Pynq-Z2", 100, 2, (2, 32))
    job.write(tmp_path / "job.json")
    assert BuildJob.read(tmp_path / "job.json") == job
    replace(job, clock_mhz="fast").write(tmp_path / "job.json")
    with pytest.raises(ArtifactError, match="clock_mhz is 'fast', a whole number is wanted"):
        BuildJob.read(tmp_path / "job.json")
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(ArtifactError, match="job.json"):
        BuildJob.read(tmp_path / "job.json")
