"""`fab` as a person and a program use it: exit codes, streams, JSON, no terminal, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labd_host.machine import hostkeys
from labd_host.remote import tasks
from support.facts import lacking

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def deployed(lab, make_bundle, make_wheel):
    """A lab whose board 03 has a release."""
    assert (
        tasks.deploy(
            ["03"], bundle=str(make_bundle("a")), wheel=make_wheel(), listener=lab.listener
        ).exit_code
        == 0
    )
    return lab


def test_validate_shows_the_boards_lines_on_stdout_and_the_talk_on_stderr(deployed, fab):
    done = fab("validate", "--board", "03", "--batchsize", "300")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"batch 1 / 1 : total OK 3 NOK 1\nboard 03: validate ended well after \d+\.\d s\n", done.stdout
    )
    assert done.stderr.startswith("inventory: ")


def test_json_is_the_only_thing_on_stdout_also_when_it_fails_and_the_exit_code_stays(deployed, fab):
    done = fab("validate", "--board", "03", "--json", "--batchsize", "666")
    whole = json.loads(done.stdout)
    record = whole["boards"][0]
    assert (whole["labd"], whole["task"], record["board"]) == (1, "validate", "03")
    assert (record["ok"], record["error"]["error"], record["error"]["exit_code"]) == (
        False,
        "CommandFailed",
        1,
    )
    assert done.returncode == 1
    assert "the accelerator fell over" in done.stderr


def test_an_unknown_board_ends_with_two_and_a_hint(lab, fab):
    done = fab("validate", "--board", "3", "--json")
    assert done.returncode == 2
    assert "did you mean '03'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"]["error"] == "UnknownName"


def test_a_real_selftest_that_cannot_run_there_is_taken_back_with_its_own_exit_code(
    deployed, fab, make_bundle, verified
):
    """The real wheel on a board without pynq: what the board raises is what the user reads."""
    good = verified(deployed.servers["03"])
    done = fab("deploy", "--board", "03", "--bundle", str(make_bundle("next")))
    assert done.returncode not in (0, 2)
    assert "golden samples ..." in done.stderr
    assert verified(deployed.servers["03"]) == good


def test_a_changed_host_key_ends_with_six_and_the_command_to_type(lab, fab):
    lab.servers["03"].restart_with_another_key()
    done = fab("selftest", "--board", "03")
    after = hostkeys.fingerprint(lab.servers["03"].public_key)
    assert done.returncode == 6
    assert re.search(
        f"^ *fix: .*fab enroll --board 03 --fingerprint {re.escape(after)}$", done.stderr, re.MULTILINE
    )
    assert fab("enroll", "--board", "03", "--fingerprint", after).returncode == 0
    assert hostkeys.lookup("127.0.0.1", lab.servers["03"].port) == (lab.servers["03"].public_key,)


def test_boards_prints_a_table_and_exits_well_although_one_is_down(deployed, fab):
    with (deployed.folder / "boards.toml").open("a") as text:
        text.write('[boards.09]\nkind = "real"\nhost = "127.0.0.1"\nport = 1\nuser = "xilinx"\n')
    table = fab("boards")
    assert table.returncode == 0
    row = next(line.split() for line in table.stdout.splitlines() if line.strip().startswith("03"))
    assert row[1:3] == ["up", "tfc-w1a1"]
    assert "board 09 at 127.0.0.1:1 does not answer" in table.stderr


def test_sixteen_boards_that_are_down_are_a_row_each_and_one_line(lab, fab):
    (lab.folder / "boards.toml").write_text(
        '[rule]\nkind = "real"\nhost = "127.0.0.1"\nfirst_port = 1\nport_step = 1\nuser = "xilinx"\nboards = "01-16"\n'
    )
    table = fab("boards")
    rows = [line for line in table.stdout.splitlines() if " down " in line]
    assert table.returncode == 0 and len(rows) == 16 and max(map(len, rows)) <= 80
    assert len(table.stderr.splitlines()) == 2, "the inventory, and what is the same of all"


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_within_two_seconds_and_leaves_nothing_on_the_board(
    lab, make_bundle, make_wheel, running, wait_until, verified
):
    tasks.deploy(["03"], bundle=str(make_bundle("a")), wheel=make_wheel(), listener=lab.listener)
    board = lab.servers["03"]
    site = board.labd / "current" / "site" / "labd_board" / "throughput.py"
    site.write_text("import time\nprint('running', flush=True)\ntime.sleep(600)\n")
    client = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "fabric",
            "--search-root",
            str(ROOT),
            "throughput",
            "--board",
            "03",
            "--repeats=98771",
        ],
        cwd=lab.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert client.stdout.readline() == "running\n"
        started_s = time.monotonic()
        os.killpg(client.pid, signal.SIGINT)
        stdout, stderr = client.communicate(timeout=10)
    finally:
        client.kill()
    assert time.monotonic() - started_s < 2.5
    assert client.returncode == 130
    assert lacking(stderr, "interrupted", "nothing is left running") == []
    assert wait_until(lambda: not running("98771"))
    assert wait_until(lambda: not (board.labd / ".owner").exists())


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_during_a_deploy_to_two_boards_takes_both_back(
    lab, make_board, make_bundle, make_wheel, tmp_path, wait_until
):
    lab.servers["04"] = make_board("board-04")
    hostkeys.pin("127.0.0.1", lab.servers["04"].port, lab.servers["04"].public_key)
    lab.write_inventory()
    script = tmp_path / "client.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from labd.board_console import show\n"
        "from labd_host.remote import tasks\n"
        "show(lambda listener: tasks.deploy(['03', '04'], bundle=sys.argv[1], wheel=Path(sys.argv[2]),"
        " listener=listener))\n"
    )
    bundle = make_bundle("hangs", verdict="hang")
    client = subprocess.Popen(
        [sys.executable, str(script), str(bundle), str(make_wheel())],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    homes = [server.home for server in lab.servers.values()]
    try:
        assert wait_until(lambda: all((home / "hanging").exists() for home in homes), 15)
        started_s = time.monotonic()
        os.killpg(client.pid, signal.SIGINT)
        client.communicate(timeout=10)
    finally:
        client.kill()
    assert time.monotonic() - started_s < 3
    for home in homes:
        current = home / "labd" / "current"
        assert wait_until(lambda current=current: not current.exists())
        process = Path("/proc") / (home / "hanging").read_text()
        assert wait_until(lambda process=process: not process.exists())


def test_each_task_of_the_fabfile_is_listed_with_its_help(fab):
    done = fab("--list")
    names = (
        "boards",
        "classify",
        "data",
        "deploy",
        "enroll",
        "info",
        "rollback",
        "selftest",
        "setup",
        "throughput",
        "validate",
    )
    assert [line.split()[0] for line in done.stdout.splitlines() if re.match(r"  [a-z]", line)] == list(names)


def as_the_labd_command(places, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "labd_host.cli.main", *arguments],
        cwd=places, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def timeless(text):
    """A JSON document without what differs from run to run."""
    record = json.loads(text)
    for board in record.get("boards", []):
        for level in (board.get("result", {}), board.get("result", {}).get("deploy", {})):
            for of_this_moment in ("seconds", "free_mb"):
                level.pop(of_this_moment, None)
    return record


@pytest.mark.parametrize(
    "command",
    [
        ["validate", "--board", "03", "--batchsize", "300"],
        ["validate", "--board", "03", "--batchsize", "666"],
        ["selftest", "--board", "03", "--passes", "2"],
        ["throughput", "--board", "03", "--sweep", "1,10"],
        ["info", "--board", "03"],
        ["boards"],
        ["setup", "--board", "03"],
        ["deploy", "--board", "3", "--bundle", "nowhere"],
    ],
)
def test_the_labd_command_gives_the_json_and_the_exit_code_of_the_fab_task(deployed, fab, places, command):
    theirs, ours = fab(*command, "--json"), as_the_labd_command(places, *command, "--json")
    assert ours.returncode == theirs.returncode
    assert timeless(ours.stdout) == timeless(theirs.stdout)


@pytest.mark.parametrize(
    "command",
    [
        ["validate", "--board", "03", "--batchsize", "0"],
        ["throughput", "--board", "03", "--sweep", "1,none"],
        ["selftest", "--board", "03", "--passes", "-1"],
    ],
)
def test_a_number_that_cannot_be_is_refused_here_and_no_board_is_asked(places, command):
    ended = as_the_labd_command(places, *command)
    assert ended.returncode == 2 and "labd_board" not in ended.stderr and "Traceback" not in ended.stderr


def test_two_boards_each_say_their_own_error(lab, make_board, places):
    lab.servers["04"] = make_board("board-04")
    hostkeys.pin("127.0.0.1", lab.servers["04"].port, lab.servers["04"].public_key)
    lab.write_inventory()
    ended = as_the_labd_command(places, "validate", "--board", "03", "--board", "04")
    errors = [line for line in ended.stderr.splitlines() if "nothing is deployed" in line]
    assert [line.split(":")[0] for line in errors] == ["board 03", "board 04"]
