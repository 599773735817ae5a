"""The userland of 32 bits: made whole or not at all, refused with a reason, nothing left mounted."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labd_host import environments
from labd_host.environments import userland
from labd_shared.errors import LabdError, SetupError, ToolNotFound
from support.paths import ROOT


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """A function that puts a program of the given lines onto PATH; we are root, on x86-64, and there are no
    namespaces: what setpriv, unshare and chroot would start, starts here."""
    programs = tmp_path / "programs"
    programs.mkdir()

    def put(name, *lines):
        (programs / name).write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        (programs / name).chmod(0o755)

    put("setpriv", "shift 2", 'exec "$@"')
    put("unshare", 'while [ "${1#--}" != "$1" ]; do shift; done', 'exec "$@"')
    put("mount")
    put("chroot", "shift", 'exec "$@"')
    put("env", 'while [ "${1#*=}" != "$1" ]; do shift; done', 'exec "$@"')
    put("python3", f'exec {sys.executable} "$@"')
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("LABD_DATASETS", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return put


@pytest.fixture(scope="session")
def python():
    """The userland's Python, or a skip that says why there is none."""
    wanted = environments.environment("i386")
    where = environments.folder(wanted)
    try:
        environments.check(wanted)
    except LabdError as error:
        pytest.skip(error.what)
    if not environments.is_ready(wanted, where):
        pytest.skip("needs the userland of 32 bits: python3 -m labd_host.environments ensure i386")
    return where / "bin" / "python"


def run(python, code):
    return subprocess.run(
        [python, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_root_the_reason_is_said(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="needs root, for chroot"):
        environments.check(environments.environment("i386"))


def test_another_processor_is_named(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(SetupError, match="this processor is aarch64, a userland of i386 runs on x86_64 only"):
        userland.check()


def test_a_container_that_allows_no_mounts_is_told_from_a_missing_tool(stand_ins):
    stand_ins("unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2", "exit 1")
    with pytest.raises(SetupError, match="needs mounts of its own: unshare: .*Operation not permitted"):
        userland.check()


def test_without_debootstrap_the_command_that_installs_it_is_said(stand_ins, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolNotFound, match="no debootstrap was found") as caught:
        environments.ensure("i386", where=tmp_path / "i386")
    assert caught.value.fix == "apt-get install debootstrap debian-archive-keyring"
    assert not (tmp_path / "i386").exists()


def test_make_test_names_it_and_goes_on_where_it_cannot_be_made(stand_ins, tmp_path):
    stand_ins("debootstrap", "echo 'E: Failed getting release file'", "exit 1")
    code = "import os, platform, sys; os.geteuid = lambda: 0; platform.machine = lambda: 'x86_64'; "
    code += "sys.argv[1:] = ['ensure', 'i386', '--optional']; "
    code += "from labd_host.environments.__main__ import main; sys.exit(main())"
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LABD_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (asked.returncode, asked.stdout) == (0, "")
    assert re.search(r"^skipped: .*'i386' failed \(exit 1\): E: Failed getting release", asked.stderr, re.M)


def test_a_userland_that_was_not_finished_is_made_anew_from_what_was_fetched(stand_ins, tmp_path):
    where = tmp_path / "i386"
    made = ['for last in "$@"; do :; done', 'mkdir -p "$last/var/cache/apt" "$last/var/lib/apt/lists"']
    stand_ins("debootstrap", *made, f"touch {where}.debs/numpy.deb", "exit 1")
    with pytest.raises(SetupError, match=r"making the environment 'i386' failed \(exit 1\)"):
        environments.ensure("i386", where=where)
    assert not environments.is_ready(environments.environment("i386"), where)
    stand_ins("debootstrap", f"test -f {where}.debs/numpy.deb || exit 1", *made)
    stand_ins("chroot", "exit 0")
    python = environments.ensure("i386", where=where)
    assert os.access(python, os.X_OK)
    assert environments.is_ready(environments.environment("i386"), where)
    assert sorted(path.name for path in tmp_path.glob("i386*")) == ["i386", "i386.lock"]


def test_a_debootstrap_that_hangs_is_ended(stand_ins, tmp_path, monkeypatch):
    monkeypatch.setattr(userland, "STEP_TIMEOUT_S", 0.3)
    stand_ins("debootstrap", "echo I: Retrieving Release", "exec sleep 60")
    with pytest.raises(SetupError, match="making the environment 'i386' failed .*: I: Retrieving Release"):
        environments.ensure("i386", where=tmp_path / "i386")


@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="this Python has 32 bits itself")
def test_a_userland_of_64_bits_is_not_taken_for_one_of_32(stand_ins, tmp_path):
    stand_ins(
        "debootstrap",
        'for last in "$@"; do :; done',
        'mkdir -p "$last/var/cache/apt" "$last/var/lib/apt/lists"',
    )
    with pytest.raises(SetupError, match="a word has 64 bits there"):
        environments.ensure("i386", where=tmp_path / "i386")


def test_its_words_have_32_bits_and_numpy_s_too(python):
    ended = run(python, "import struct, numpy; print(struct.calcsize('P'), numpy.dtype(numpy.intp).itemsize)")
    assert (ended.returncode, ended.stdout) == (0, "4 4\n"), ended.stderr


def test_it_sees_the_checkout_and_cannot_write_into_it(python):
    ended = run(python, "print(open('setup.py').readline()); open('setup.py', 'a')")
    assert (ROOT / "setup.py").read_text().splitlines()[0] in ended.stdout
    assert "Read-only file system: 'setup.py'" in ended.stderr and ended.returncode == 1


def test_nothing_of_it_is_left_when_it_is_killed(python):
    code = "import time; print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen([python, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.kill()
    assert process.communicate(timeout=10) == ("", None)  # the pipe ends with the last that could write to it
    assert str(python.parent.parent) not in Path("/proc/self/mountinfo").read_text()
