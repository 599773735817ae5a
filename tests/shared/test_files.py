"""Files are read within bounds and written in one step."""

import os
from pathlib import Path

import pytest

from labd_shared.errors import ArtifactError, UsageError
from labd_shared.files import PRIVATE_FILE, read_bounded, replacing, replacing_folder, write_text


def names(folder):
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def umask_027():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.fixture
def synced(monkeypatch):
    """What was synced to the disk, by kind, in order."""
    kinds, fsync = [], os.fsync

    def noted(handle):
        kinds.append("folder" if Path("/proc/self/fd/{}".format(handle)).is_dir() else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return kinds


def test_a_file_that_is_half_written_takes_no_name(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        with replacing(path) as making:
            making.write_text("half of the n")
            raise RuntimeError("killed")
    assert path.read_text() == "old" and names(tmp_path) == ["file"]
    write_text(path, "ü")
    assert path.read_bytes() == b"\xc3\xbc" and names(tmp_path) == ["file"]


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path, synced):
    write_text(tmp_path / "file", "text")
    assert synced == ["file", "folder"]


def test_a_file_gets_the_permissions_that_open_gives_or_those_asked_for(tmp_path, umask_027):
    write_text(tmp_path / "plain", "")
    write_text(tmp_path / "private", "", PRIVATE_FILE)
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_a_file_in_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "file", "text")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, umask_027, synced):
    folder = tmp_path / "folder"
    with replacing_folder(folder) as making:
        (making / "inner").mkdir()
        (making / "inner" / "one").write_text("1")
    assert folder.stat().st_mode & 0o777 == 0o750
    assert synced == ["folder", "file", "folder", "folder"]
    with pytest.raises(RuntimeError):
        with replacing_folder(folder) as making:
            (making / "two").write_text("2")
            raise RuntimeError("killed")
    assert names(tmp_path) == ["folder"] and names(folder) == ["inner"]
    with (folder / "inner" / "one").open() as reader:
        with replacing_folder(folder) as making:
            (making / "two").write_text("2")
        assert reader.read() == "1"
    assert names(tmp_path) == ["folder"] and names(folder) == ["two"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(NotADirectoryError):
        with replacing_folder(tmp_path / "file"):
            pass
    assert names(tmp_path) == ["file"]


def test_reading_is_bounded_also_where_the_size_is_not_known(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5, "cut it") == b"12345"
    with pytest.raises(ArtifactError, match="has 5 bytes, more than 4"):
        read_bounded(path, 4, "cut it")
    with pytest.raises(UsageError, match="/dev/zero has 101 bytes, more than 100"):
        read_bounded("/dev/zero", 100, "cut it", UsageError)
    with pytest.raises(ArtifactError, match="cannot be read: No such file") as caught:
        read_bounded(tmp_path / "none", 4, "cut it")
    assert caught.value.fix == "cut it"
