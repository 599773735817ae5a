"""Child processes: what they send, how long they may take, and that nothing of them is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from labd_host.machine import child as children
from labd_host.machine.child import (
    MARK,
    Child,
    ChildDeadlines,
    ChildEnd,
    ChildLineTooLong,
    ChildLingers,
    ChildOverdue,
    ChildSilent,
    end_all,
    unmarked,
)
from labd_host.machine.processes import is_alive, with_variables
from labd_shared.errors import DataMissing
from support.paths import ROOT
from support.patience import eventually

PATIENCE_S = 30.0
OF_THIS_TEST = "LABD_TEST_OF_CHILDREN"
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
# A grandchild in a session of its own, which ignores what a polite end sends, and holds our standard output.
STRAY = """
grandchild = subprocess.Popen(
    [sys.executable, "-S", "-c", "import signal, time\\n"
     "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\\n"
     "print('{\\"ready\\": true}', flush=True)\\ntime.sleep(600)"],
    start_new_session=True,
)
"""


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts a child that runs Python code; whatever it leaves behind fails the test."""
    monkeypatch.setenv(OF_THIS_TEST, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / part) for part in ("host", "shared")))

    def run(body, **options):
        code = "import os, signal, subprocess, sys, time\n" + textwrap.dedent(body)
        return Child([sys.executable, "-S", "-c", code], **{"messages": True, **options})

    yield run
    left = with_variables({OF_THIS_TEST: str(tmp_path)})
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []


def received(child, **deadlines):
    return list(child.messages(ChildDeadlines(**{"whole_s": PATIENCE_S, **deadlines})))


# -- messages ------------------------------------------------------------------------------------


def test_messages_come_one_by_one_and_the_exit_code_at_the_end(start):
    body = """
        print('{"first": 1}', flush=True)
        os.read(0, 1)
        print('{"second": {"a": [2]}}')
        sys.exit(7)
    """
    with start(body, lifeline=True) as child:
        messages = child.messages(ChildDeadlines(whole_s=PATIENCE_S))
        assert next(messages) == {"first": 1}
        assert child.code is None
        child._process.stdin.close()
        assert list(messages) == [{"second": {"a": [2]}}]
        assert child.finish(PATIENCE_S) == 7
    assert child.code == 7 and child.error is None


@pytest.mark.parametrize(
    "line",
    ["a stray print", "[1]", '"text"', "null", "{", '{"a": 1', '{"a": 1} {"b": 2}', '{"a": ' + "[" * 100_000, ""],
)  # fmt: skip
def test_what_is_not_one_json_object_on_a_line_is_not_a_message(start, line):
    with start(f"print({line!r}); print('{{\"whole\": true}}')") as child:
        assert received(child) == [{"whole": True}]


def test_bytes_that_are_not_text_are_not_a_message(start):
    with start(r"""os.write(1, b'\xff\xfe\0\n{"whole": true}\n')""") as child:
        assert received(child) == [{"whole": True}]


def test_a_line_that_was_not_finished_is_not_a_message(start):
    with start("""os.write(1, b'{"whole": true}\\n{"half": true}')""") as child:
        assert received(child) == [{"whole": True}]


def test_a_long_message_arrives_in_one_piece(start):
    with start("""print('{"long": "' + 'x' * 3_000_000 + '"}')""") as child:
        assert len(received(child)[0]["long"]) == 3_000_000


def test_a_line_without_an_end_is_given_up(start):
    with start("while True: os.write(1, b'x' * 65536)") as child, pytest.raises(ChildLineTooLong):
        received(child)
    assert child.code == -signal.SIGTERM


def test_an_error_comes_back_as_its_class(start):
    body = """
        from labd_host.machine.parent import MessageWriter, take_stdout
        from labd_shared.errors import DataMissing
        writer = MessageWriter(take_stdout())
        writer.send({"note": "looking"})
        print("what a library prints goes elsewhere")
        writer.send_error(DataMissing("no data", fix="bring some"))
    """
    with start(body) as child:
        assert received(child)[0] == {"note": "looking"}
    assert type(child.error) is DataMissing
    assert str(child.error) == "no data\n  fix: bring some"
    assert child.tail == ["what a library prints goes elsewhere"]


# -- deadlines -----------------------------------------------------------------------------------


def test_silence_has_a_deadline_that_a_message_puts_off(start):
    body = """
        for number in range(4):
            print('{"number": %d}' % number, flush=True)
            time.sleep(0.3)
        time.sleep(600)
    """
    came = []
    with start(body) as child, pytest.raises(ChildSilent):
        for message in child.messages(ChildDeadlines(silence_s=3.0, whole_s=PATIENCE_S)):
            came.append(message["number"])
    assert came == [0, 1, 2, 3]
    assert 3.9 < child.age_s < PATIENCE_S


def test_life_shown_elsewhere_breaks_the_silence(start):
    shown = iter([True, True, False, False, False, False])
    with start("time.sleep(600)") as child, pytest.raises(ChildSilent):
        for _ in child.messages(ChildDeadlines(silence_s=0.3), lambda: next(shown)):
            pass
    assert next(shown) is False


def test_a_child_that_floods_us_is_ended_after_the_whole_deadline(start):
    with start("while True: print('{\"again\": true}')") as child, pytest.raises(ChildOverdue):
        received(child, whole_s=1.0)
    assert child.age_s < PATIENCE_S


def test_a_reader_that_takes_long_is_not_the_childs_silence(start):
    with start("print('{\"a\": 1}', flush=True); print('{\"b\": 1}', flush=True); time.sleep(0.2)") as child:
        for _ in child.messages(ChildDeadlines(silence_s=1.5)):
            time.sleep(1.6)


def test_a_child_that_closes_its_output_and_goes_on_lingers(start):
    with start("os.close(1); time.sleep(600)") as child:
        assert received(child) == []
        with pytest.raises(ChildLingers):
            child.finish(0.1)
    assert child.code == -signal.SIGTERM


def test_all_its_output_is_waited_for(start):
    with start("print('a'); print('b', file=sys.stderr); sys.exit(3)") as child:
        assert child.output(PATIENCE_S) == "a\n"
    assert (child.code, child.tail) == (3, ["b"])
    with start("print('a', flush=True); time.sleep(600)") as child, pytest.raises(ChildOverdue):
        child.output(0.3)


# -- the end -------------------------------------------------------------------------------------


def test_a_child_that_died_is_seen_at_once(start):
    with start("os.kill(os.getpid(), signal.SIGKILL)") as child:
        assert received(child) == []
        assert child.finish(PATIENCE_S) == -signal.SIGKILL


def test_a_grandchild_that_keeps_the_output_open_does_not_keep_us_waiting(start):
    with start(STRAY + "time.sleep(0.5)") as child:
        assert received(child) == [{"ready": True}]
        assert child.finish(PATIENCE_S) == 0
    assert child.age_s < PATIENCE_S / 2


@pytest.mark.parametrize("ending", ["end", "kill"])
def test_a_grandchild_in_another_session_is_not_left_behind(start, ending):
    with start(STRAY + "time.sleep(600)", end=ChildEnd(grace_s=0.1)) as child:
        assert next(child.messages(ChildDeadlines(whole_s=PATIENCE_S))) == {"ready": True}
        assert len(child._tree()) == 2
        getattr(child, ending)()
        assert child._tree() == []


def test_a_childs_children_carry_the_marks_of_all_above_them(start):
    code = (
        "from labd_host.machine.child import Child; import sys, time\n"
        "Child([sys.executable, '-S', '-c', 'import time; time.sleep(600)']); time.sleep(600)"
    )
    with start(code) as child:
        eventually("its child runs", lambda: len(child._tree()) == 2)
    assert child.code == -signal.SIGTERM  # and the fixture finds nothing left


def test_a_process_that_is_to_outlive_it_carries_no_mark(start):
    marked = {MARK + "0" * 32: "1", "HOME": "home"}
    assert unmarked(marked) == {"HOME": "home"}
    body = f"""
        job = subprocess.Popen({SLEEP!r}, start_new_session=True, stdout=subprocess.DEVNULL)
        print('{{"job": %d}}' % job.pid, flush=True)
    """
    with start(body, end=ChildEnd(whole_tree=False), environment={**os.environ, **marked}) as child:
        process = received(child)[0]["job"]
        child.finish(PATIENCE_S)
    assert is_alive(process)
    assert not any(each.startswith(MARK) for each in Path(f"/proc/{process}/environ").read_text().split("\0"))
    os.kill(process, signal.SIGKILL)
    eventually("it ended", lambda: not is_alive(process))


def test_it_is_asked_first_and_may_end_in_order(start, tmp_path):
    body = f"""
        def save(number, frame):
            open({str(tmp_path / "saved")!r}, "w").close()
            sys.exit(5)
        signal.signal(signal.SIGINT, save)
        print('{{"ready": true}}', flush=True)
        time.sleep(600)
    """
    with start(body, end=ChildEnd(signal.SIGINT, PATIENCE_S)) as child:
        next(child.messages(ChildDeadlines(whole_s=PATIENCE_S)))
    assert (child.code, (tmp_path / "saved").exists()) == (5, True)


def test_one_that_does_not_listen_is_killed_after_its_grace(start):
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); time.sleep(600)"
    with start(body, end=ChildEnd(grace_s=0.3)) as child:
        next(child.messages(ChildDeadlines(whole_s=PATIENCE_S)))
        began_s = time.monotonic()
    assert child.code == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - began_s < PATIENCE_S


def test_several_are_ended_together(start):
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); time.sleep(600)"
    several = [start(body, end=ChildEnd(grace_s=2.0)) for _ in range(3)]
    for child in several:
        next(child.messages(ChildDeadlines(whole_s=PATIENCE_S)))
    began_s = time.monotonic()
    end_all(several)
    assert [child.code for child in several] == [-signal.SIGKILL] * 3
    assert time.monotonic() - began_s < 5.9  # three graces would take longer


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_reaches_us_alone_and_ends_the_child(start):
    with start(STRAY + "time.sleep(600)", end=ChildEnd(grace_s=5.0)) as child:
        assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
        with pytest.raises(KeyboardInterrupt):
            for _ in child.messages(ChildDeadlines(whole_s=PATIENCE_S)):
                os.kill(os.getpid(), signal.SIGINT)
        assert child.code is None
    assert child.code == -signal.SIGTERM


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_cuts_the_grace_short(start):
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); time.sleep(600)"
    child = start(body, end=ChildEnd(grace_s=600.0))
    next(child.messages(ChildDeadlines(whole_s=PATIENCE_S)))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        child.end()
    timer.join()
    assert child.code == -signal.SIGKILL


@pytest.mark.parametrize("body", ["end_with_parent(); time.sleep(600)", "wait_for_parent()"])
def test_a_child_ends_when_its_standard_input_closes(start, body):
    head = "from labd_host.machine.parent import end_with_parent, wait_for_parent\nprint('{}', flush=True)\n"
    with start(head + body, lifeline=True, end=ChildEnd(grace_s=PATIENCE_S)) as child:
        next(child.messages(ChildDeadlines(whole_s=PATIENCE_S)))
    assert child.code == (-signal.SIGKILL if "end_with" in body else 0)


def test_a_child_and_what_it_started_end_with_a_parent_that_is_killed(start, tmp_path):
    child = (
        "from labd_host.machine.parent import end_with_parent; import subprocess, sys, time\n"
        f"end_with_parent(); subprocess.Popen({SLEEP!r}); time.sleep(600)"
    )
    parent = (
        "from labd_host.machine.child import Child; import sys, time\n"
        f"Child([sys.executable, '-c', {child!r}], lifeline=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        eventually("all three run", lambda: len(with_variables({OF_THIS_TEST: str(tmp_path)})) == 3)
        process.kill()
    eventually("all of them ended", lambda: not with_variables({OF_THIS_TEST: str(tmp_path)}))


def test_a_writer_notices_that_nobody_reads(start, tmp_path):
    body = f"""
        from labd_host.machine.parent import MessageWriter, take_stdout
        writer = MessageWriter(take_stdout())
        while writer.is_read:
            writer.send({{"again": True}})
        open({str(tmp_path / "noticed")!r}, "w").close()
    """
    with start(body, end=ChildEnd(None, PATIENCE_S)) as child:
        next(child.messages(ChildDeadlines(whole_s=PATIENCE_S)))
    assert (child.code, (tmp_path / "noticed").exists()) == (0, True)


def test_threads_do_not_mix_their_messages(start):
    body = """
        import threading
        from labd_host.machine.parent import MessageWriter, take_stdout
        writer = MessageWriter(take_stdout())
        def talk(name):
            for _ in range(20):
                writer.send({"name": name * 50_000})
        threads = [threading.Thread(target=talk, args=(name,)) for name in "abc"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    with start(body) as child:
        names = [message["name"] for message in received(child)]
    assert sorted(names) == sorted([letter * 50_000 for letter in "abc"] * 20)


# -- streams -------------------------------------------------------------------------------------


def test_a_log_takes_both_streams_and_its_end_can_be_read(start, tmp_path):
    log = tmp_path / "log"
    body = "print('x' * 100_000); print('out', flush=True); print('err', file=sys.stderr)"
    with start(body, messages=False, log=log) as child:
        child.finish(PATIENCE_S)
        assert child.tail[-2:] == ["out", "err"]
    assert child.tail[-2:] == ["out", "err"]
    assert len("".join(child.tail)) <= children.MAX_TAIL_BYTES
    assert log.stat().st_size > 100_000


def test_its_folder_environment_and_descriptors_are_given(start, tmp_path):
    reading, writing = os.pipe()
    with start(
        f"os.write({writing}, f'{{os.getcwd()}} {{os.environ[\"ONLY\"]}} {{sorted(os.environ)[0]}}'.encode())",
        environment={"ONLY": "this", "ZZ": ""},
        folder=tmp_path,
        pass_fds=[writing],
    ) as child:
        child.finish(PATIENCE_S)
    assert os.read(reading, 1000).decode().startswith(f"{tmp_path} this LABD_CHILD_")
    os.close(reading)
    os.close(writing)


def test_a_program_that_is_not_there_is_an_os_error_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Child([str(tmp_path / "missing")])
