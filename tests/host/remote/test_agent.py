"""The board's agent: the lock, what it takes back, what it refuses, and the Pythons it runs on."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from labd_host.remote import agent
from labd_host.remote.agent import Session, agent_text, session
from labd_shared.errors import BoardBusy, BoardError, BoardLost, ToolNotFound, UsageError


def converse(python: str, home: Path, *requests: dict) -> list[dict]:
    """The agent's answers, run without SSH."""
    lines = "".join(json.dumps({"do": request.pop("do"), "with": request}) + "\n" for request in requests)
    done = subprocess.run(
        [python, "-c", agent_text()],
        input=lines,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def defined(source: str) -> list[str]:
    """The functions, classes and constants of a module."""
    names = []
    for node in ast.parse(source, feature_version=(3, 6)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def test_the_agent_is_python_3_6_source_of_all_its_modules_and_imports_nothing_of_labd():
    text = agent_text()
    modules = [path for path in agent.AGENT.glob("*.py") if path.name != "__init__.py"]
    names = [name for path in modules for name in defined(path.read_text())]
    assert sorted(defined(text)) == sorted(set(names)), "each name once, or one module hides another's"
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("version", ["3.6", "3.8", "3.10"])
def test_the_agent_runs_on_the_images_pythons(version, tmp_path, old_python):
    python = old_python(version)
    answers = converse(
        python, tmp_path, {"do": "hello"}, {"do": "lock", "who": "me", "since": "now", "what": "test"}
    )
    assert answers[0]["answer"]["python"].startswith(version + ".")
    assert answers[1] == {"answer": {"rolled_back": ""}}
    assert not (tmp_path / "labd" / ".owner").exists()


def test_hello_says_what_the_board_is_and_writes_nothing(lab):
    with lab.connect() as connection, session(connection) as opened:
        hello = opened.hello
    assert hello["root"] == str(lab.servers["03"].labd)
    assert (hello["release"], hello["history"], hello["owner"]) == ("", [], None)
    assert not lab.servers["03"].labd.exists()


def test_the_second_user_is_refused_with_the_owners_name(lab):
    with lab.connect() as one, lab.connect() as two, session(one) as first, session(two) as second:
        first.lock("validate")
        with pytest.raises(BoardBusy, match=r"in use by .+@.+ since \d{4}-.+ UTC \(validate\)") as caught:
            second.lock("deploy")
        assert second.ask("hello")["owner"]["what"] == "validate"
        first.close()
        second.lock("deploy")
    assert caught.value.facts["owner"]["who"] == agent.who()


def test_the_lock_is_free_once_its_holders_link_is_gone(lab, proxy):
    with lab.connect(port=proxy.port) as lost:
        Session(lost).lock("deploy")
        proxy.end()
        with lab.connect() as connection, session(connection) as opened:
            opened.lock("validate")
            assert opened.ask("hello")["owner"]["what"] == "validate"


def test_files_of_a_command_need_the_lock_and_go_with_it(lab):
    scratch = lab.servers["03"].labd / "scratch"
    with lab.connect() as connection, session(connection) as opened:
        with pytest.raises(BoardBusy, match="the board was not locked before files came"):
            opened.ask("scratch")
        opened.lock("test")
        assert opened.ask("scratch")["folder"] == str(scratch)
        connection.upload(b"a picture", f"{scratch}/000000.png")
        assert connection.download(f"{scratch}/000000.png", max_bytes=9) == b"a picture"
    assert not scratch.exists()


def test_files_that_a_killed_agent_left_go_with_the_next_lock(lab):
    scratch = lab.servers["03"].labd / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "000000.png").write_bytes(b"a picture")
    with lab.connect() as connection, session(connection) as opened:
        opened.lock("test")
        assert not scratch.exists()


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "bundle/../../out", "a//b", ".ssh/key", "a\nb"])
def test_no_path_leads_out_of_a_release(lab, path):
    digest = "0" * 64
    with lab.connect() as connection, session(connection) as opened:
        opened.lock("test")
        with pytest.raises(UsageError, match="agent was given"):
            opened.ask("release", release="0" * 16, files={path: [digest, 1]})


@pytest.mark.parametrize(
    "request_", [("switch", {"release": "../../x"}), ("dataset", {"name": "a/b", "split": "test"})]
)
def test_names_are_checked_on_the_board_too(lab, request_):
    with lab.connect() as connection, session(connection) as opened:
        opened.lock("test")
        with pytest.raises(UsageError, match="agent was given"):
            opened.ask(request_[0], **request_[1])


def test_an_unknown_request_is_refused_and_the_session_goes_on(lab):
    with lab.connect() as connection, session(connection) as opened:
        with pytest.raises(UsageError, match="cannot fly"):
            opened.ask("fly")
        assert opened.ask("free")["free_bytes"] > 0


def test_a_board_without_that_python_says_which_setting_to_change(lab):
    lab.write_inventory(python="/opt/none/bin/python3")
    with (
        lab.connect() as connection,
        pytest.raises(ToolNotFound, match="board 03 has no /opt/none/bin/python3"),
    ):
        Session(connection)


def test_a_python_that_prints_at_start_is_named(lab):
    loud = lab.servers["03"].bin / "loud"
    loud.write_text('#!/bin/sh\necho welcome to this board\nexec python3 "$@"\n')
    loud.chmod(0o755)
    lab.write_inventory(python="loud")
    with lab.connect() as connection, pytest.raises(BoardError, match="answered 'welcome to this board'"):
        Session(connection)


def test_an_agent_that_dies_is_a_lost_board(lab):
    dying = lab.servers["03"].bin / "dying"
    dying.write_text("#!/bin/sh\necho out of memory >&2\nexit 9\n")
    dying.chmod(0o755)
    lab.write_inventory(python="dying")
    with (
        lab.connect() as connection,
        pytest.raises(BoardLost, match="agent on board 03 ended: out of memory"),
    ):
        Session(connection)
