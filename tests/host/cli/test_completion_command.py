"""labd completion: what is written into the home, and what the Tab key then offers."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from labd_host.cli.completion import completion
from labd_host.cli.main import COMMANDS
from labd_shared.errors import UsageError
from support.paths import ROOT

DEADLINE_S = 60


@pytest.fixture
def user_home(tmp_path, monkeypatch):
    for name in ("LABD_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    return tmp_path


@pytest.fixture
def environment(user_home):
    """A new user's, with this checkout's labd on the path."""
    labd = user_home / "bin" / "labd"
    labd.parent.mkdir()
    labd.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m labd_host.cli.main "$@"\n')
    labd.chmod(0o755)
    folders = os.pathsep.join(str(ROOT / part) for part in ("host", "board", "shared"))
    return {"HOME": str(user_home), "PATH": f"{labd.parent}:/usr/bin:/bin", "PYTHONPATH": folders}


def labd_completion(*arguments):
    return CliRunner().invoke(completion, arguments, catch_exceptions=False)


@pytest.mark.parametrize(("shell", "start"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_one_line_is_added_and_only_once(user_home, shell, start):
    (user_home / start).write_text("alias ll='ls -l'\n")
    (user_home / start).chmod(0o600)
    assert labd_completion(shell).exit_code == 0
    lines = (user_home / start).read_text().splitlines()
    assert lines[0] == "alias ll='ls -l'" and len(lines) == 2 and f"completion.{shell}" in lines[1]
    assert (user_home / start).stat().st_mode & 0o777 == 0o600
    labd_completion(shell)
    assert (user_home / start).read_text().splitlines() == lines


def test_a_line_of_an_older_place_is_replaced(user_home, monkeypatch):
    labd_completion()
    monkeypatch.setenv("LABD_HOME", str(user_home / "elsewhere"))
    labd_completion()
    (line,) = (user_home / ".bashrc").read_text().splitlines()
    assert str(user_home / "elsewhere") in line


def test_fish_reads_its_folder_by_itself(user_home):
    assert labd_completion("fish").exit_code == 0
    assert (user_home / ".config/fish/completions/labd.fish").is_file()
    assert [path.name for path in user_home.iterdir() if path.is_file()] == []


def test_an_unknown_shell_is_told_which_there_are(user_home, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    with pytest.raises(UsageError, match="tcsh.*bash, zsh, fish"):
        labd_completion()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["co"], {"compare", "compile", "completion"}),
        (["build", "tfc-"], {"tfc-w1a1", "tfc-w1a2", "tfc-w2a2"}),
        (["deploy", "--board", "0"], {f"0{digit}" for digit in range(10)}),
        (["boards", "--js"], {"--json"}),
        (["nonsense", ""], set(COMMANDS)),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_tab_key_in_a_new_bash(environment, typed, offered):
    """As bash does it: the start file is read, the function is called, COMPREPLY holds what is offered."""
    labd_completion()
    script = """. ~/.bashrc; COMP_WORDS=(labd "$@"); COMP_CWORD=$#
    _labd_completion labd; printf '%s\\n' "${COMPREPLY[@]}" """
    ended = subprocess.run(
        ["bash", "-c", script, "bash", *typed],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert ended.returncode == 0 and ended.stderr == ""
    assert set(ended.stdout.split()) == offered


def test_nothing_is_imported_to_complete_a_command(environment):
    """A Tab key that takes a second is none: the names come from the table."""
    asked = {"COMP_WORDS": "labd ", "COMP_CWORD": "1", "_LABD_COMPLETE": "bash_complete"}
    ended = subprocess.run(
        ["labd"], env={**environment, **asked, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert {line.partition(",")[2] for line in ended.stdout.splitlines()} == set(COMMANDS)
    assert "click.shell_completion" in ended.stderr
    assert "labd_host.cli.build" not in ended.stderr and "numpy" not in ended.stderr
