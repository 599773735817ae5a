"""Locks: one holder among processes and threads, gone with it, and asked about without harm."""

import os
import subprocess
import sys
import threading
import time

import pytest

from labd_host.machine.locks import hold, holder, is_locked, take
from labd_shared.errors import SetupError
from support.paths import ROOT

PATIENCE_S = 30.0


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Starts another process that holds a lock until its input closes, or it is killed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / part) for part in ("host", "shared")))
    started = []

    def start(path):
        code = (
            "import sys; from pathlib import Path; from labd_host.machine.locks import take\n"
            "lock = take(Path(sys.argv[1])); print(lock is not None, flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline() == "True\n"

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_one_process_at_a_time(tmp_path, other):
    path = tmp_path / "folder" / "lock"
    process, has_it = other(path)
    assert has_it
    assert take(path) is None
    assert other(path)[1] is False
    assert (is_locked(path), holder(path)) == (True, process.pid)
    process.communicate("", timeout=PATIENCE_S)
    assert (is_locked(path), holder(path)) == (False, None)
    with take(path):
        assert holder(path) == os.getpid()
        assert other(path)[1] is False
    assert other(path)[1] is True


def test_a_holder_that_is_killed_holds_nothing(tmp_path, other):
    process, _ = other(tmp_path / "lock")
    process.kill()
    process.wait(PATIENCE_S)
    assert not is_locked(tmp_path / "lock")
    with take(tmp_path / "lock") as lock:
        assert lock is not None


def test_waiting_has_a_deadline(tmp_path, other):
    process, _ = other(tmp_path / "lock")
    began_s = time.monotonic()
    assert take(tmp_path / "lock", 0.3) is None
    assert 0.3 <= time.monotonic() - began_s < PATIENCE_S
    threading.Timer(0.3, process.kill).start()
    with take(tmp_path / "lock", PATIENCE_S) as lock:
        assert lock is not None


def test_a_lock_that_is_not_given_up_is_an_error_with_its_holder(tmp_path, other):
    process, _ = other(tmp_path / "lock")
    with pytest.raises(SetupError) as raised, hold(tmp_path / "lock", 0.1, "making the environment 'host'"):
        pass
    assert "making the environment 'host'" in raised.value.what and "0.1 s" in raised.value.what
    assert raised.value.fix == f"wait for process {process.pid}, or end it"


def test_a_holder_that_did_not_sign_can_be_looked_for(tmp_path):
    path = tmp_path / "lock"
    with take(path, sign=False), pytest.raises(SetupError) as raised, hold(path, 0.0, "waiting"):
        pass
    assert raised.value.fix == f"fuser {path} names the process that holds it"


def test_a_lock_is_given_up_when_its_block_raises(tmp_path):
    with pytest.raises(ZeroDivisionError), hold(tmp_path / "lock", 0.0, "dividing"):
        raise ZeroDivisionError
    assert not is_locked(tmp_path / "lock")


def test_threads_of_one_process_wait_for_each_other(tmp_path):
    inside, most = [], []

    def work():
        with hold(tmp_path / "lock", PATIENCE_S, "working"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert most == [1] * 8


def test_a_process_that_was_started_with_it_keeps_it(tmp_path):
    path = tmp_path / "lock"
    with take(path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=[lock.fileno()],
        )
    assert take(path) is None
    child.communicate(timeout=PATIENCE_S)
    with take(path) as again:
        assert again is not None


def test_those_who_ask_do_not_turn_others_away(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    done = threading.Event()

    def ask():
        while not done.is_set():
            is_locked(path)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            with take(path) as lock:
                assert lock is not None
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("text", ["", "nobody", "1", str(2**40), "-1", "\0" * 10, "9" * 5000])
def test_what_an_earlier_holder_wrote_is_not_believed(tmp_path, text):
    path = tmp_path / "lock"
    path.write_text(text)
    assert (is_locked(path), holder(path)) == (False, None)
    with take(path, sign=False):
        assert path.read_text() == text
        assert (is_locked(path), holder(path)) == (True, None)


def test_a_lock_says_what_its_holder_writes(tmp_path):
    with take(tmp_path / "lock", sign=False) as lock:
        lock.write("a long text")
        lock.write("short")
        assert (tmp_path / "lock").read_text() == "short"


def test_a_file_that_is_not_there_is_not_locked(tmp_path):
    assert (is_locked(tmp_path / "lock"), holder(tmp_path / "lock")) == (False, None)


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory|File exists"):
        take(tmp_path / "file" / "lock")
