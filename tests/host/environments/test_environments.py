"""The environments: found by content, named by purpose, never half-made."""

import subprocess
import sys
from pathlib import Path

import pytest

from labd_host import environments
from labd_host.environments import ENVIRONMENTS, Environment, Userland
from labd_shared.errors import SetupError, ToolNotFound, UnknownName


def test_every_environment_has_its_two_files_and_every_requirement_a_pinned_version():
    for name, environment in ENVIRONMENTS.items():
        if isinstance(environment, Userland):
            continue  # Debian's release pins its packages
        asked = (environments.HERE / f"{name}.txt").read_text().splitlines()
        pinned = {
            line.split("==")[0].lower().replace("_", "-")
            for line in (environments.HERE / f"{name}.constraints.txt").read_text().splitlines()
        }
        wanted = {
            line.split("[")[0].split("==")[0].lower().replace("_", "-")
            for line in asked
            if line and line[0] != "#"
        }
        assert wanted <= pinned, name
        assert set(ENVIRONMENTS[name].without_dependencies) <= pinned


def test_an_unknown_environment_offers_the_nearest():
    with pytest.raises(UnknownName, match="no environment named 'tran'") as caught:
        environments.environment("tran")
    assert caught.value.fix == "did you mean 'train'?"


def test_the_running_python_is_taken_where_it_may_be():
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = environments.find_python(Environment("x", ("3.1", here), "a test"))
    assert found == Path(sys.executable)


def test_a_python_nobody_has_says_what_to_install():
    with pytest.raises(ToolNotFound, match=r"no python3\.1 was found, .*'x' \(a test\)") as caught:
        environments.find_python(Environment("x", ("3.1",), "a test"))
    assert "apt install python3.1" in caught.value.fix


def test_an_environment_without_its_stamp_is_not_ready(tmp_path):
    wanted = environments.environment("py36")
    assert not environments.is_ready(wanted, tmp_path)
    (tmp_path / environments.STAMP).write_text("of another content")
    assert not environments.is_ready(wanted, tmp_path)
    (tmp_path / environments.STAMP).write_text(environments.digest(wanted))
    assert environments.is_ready(wanted, tmp_path)


def test_a_folder_that_somebody_else_made_is_left_alone(tmp_path):
    (tmp_path / "bin").mkdir()
    with pytest.raises(SetupError, match="was not made by labd"):
        environments.ensure("py36", where=tmp_path)
    assert (tmp_path / "bin").is_dir()


def test_the_folder_changes_with_what_is_in_it():
    assert environments.digest(environments.environment("py36")) != environments.digest(
        environments.environment("py38")
    )
    assert (
        environments.digest(environments.environment("py36"))
        in environments.folder(environments.environment("py36")).name
    )


def test_the_command_lists_them_and_prints_no_python_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("LABD_HOME", str(tmp_path))
    command = [sys.executable, "-m", "labd_host.environments"]
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == list(ENVIRONMENTS)
    assert listed.count("not made") == len(ENVIRONMENTS)
    asked = subprocess.run(
        [*command, "python", "board"], capture_output=True, text=True, timeout=60, check=True
    )
    assert asked.stdout == ""
