"""Virtual boards over SSH: logins, commands, files, and their end. No pynq is needed here."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncssh
import pytest

from labd_host.machine import hostkeys, processes
from labd_host.virtual_board import board_state, login_keys, virtual_board
from labd_host.virtual_board.board_env.labd_virtual_board.link import VARIABLE, Link, VirtualBoardError
from labd_shared.errors import BoardError, UnknownName
from support.patience import PATIENCE_S, eventually

HERE = Path(sys.executable)  # any virtual environment's Python will do for a board without pynq


def up(board, **options):
    return virtual_board.up(board, python=HERE, **options)


@pytest.fixture(scope="module")
def board(labd_home):
    """Board 41, which the tests of this module share."""
    return up("41")


def connect(board, **options):
    options = {
        "username": board.user,
        "client_keys": [str(board.client_key)],
        "known_hosts": str(hostkeys.path()),
        "config": None,
        "agent_path": None,
        **options,
    }
    return asyncssh.connect(board.host, board.port, **options)


def run(board, command, **options):
    """Run a command as a client does; asyncssh's result."""

    async def session():
        async with connect(board) as connection:
            return await connection.run(command, timeout=PATIENCE_S, **options)

    return asyncio.run(session())


# -- commands --------------------------------------------------------------------------------------


def test_a_command_sees_a_boards_environment_and_nothing_of_the_callers(board, monkeypatch):
    seen = dict(line.split("=", 1) for line in run(board, "env -0").stdout.strip("\0").split("\0"))
    root = board.root
    assert seen["HOME"] == seen["PWD"] == str(root / "home" / "xilinx")
    assert seen["USER"] == "xilinx"
    assert seen["BOARD"] == "Pynq-Z2"
    assert seen["PATH"] == f"{root}/usr/local/share/pynq-venv/bin:/usr/bin:/bin"
    assert seen[VARIABLE] == str(board.logic)
    ours = {"HOME", "USER", "LOGNAME", "SHELL", "BOARD", "PATH", "LANG", "TERM", VARIABLE}
    ours |= {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    assert set(seen) - {"PWD", "SHLVL", "_"} == ours


def test_output_error_output_and_exit_code_reach_the_client(board):
    result = run(board, "echo out; echo err >&2; exit 7")
    assert (result.stdout, result.stderr, result.exit_status) == ("out\n", "err\n", 7)


def test_a_command_killed_by_a_signal_says_which(board):
    assert run(board, "kill -KILL $$").exit_signal[0] == "KILL"


def test_input_and_its_end_reach_the_command(board):
    result = run(board, "cat; echo end", input="a line\n")
    assert result.stdout == "a line\nend\n"


def test_a_command_that_does_not_read_its_input_ends_all_the_same(board):
    assert run(board, "exit 3", input="x" * 1_000_000).exit_status == 3


def test_megabytes_pass_through_in_both_directions(board):
    data = os.urandom(5_000_000)
    assert run(board, "cat", input=data, encoding=None).stdout == data


def test_files_are_made_with_the_boards_umask(board):
    old = os.umask(0o077)
    try:
        assert run(board, "umask; touch made; stat -c %a made").stdout == "0022\n644\n"
    finally:
        os.umask(old)


def test_a_signal_of_the_client_reaches_the_command_and_its_children(board):
    async def session():
        async with connect(board) as connection:
            process = await connection.create_process(
                "trap 'echo caught; exit 5' INT; echo ready; sleep 60 & wait"
            )
            assert await process.stdout.readline() == "ready\n"
            process.send_signal("INT")
            return await process.wait(timeout=PATIENCE_S)

    result = asyncio.run(session())
    assert (result.stdout, result.exit_status) == ("caught\n", 5)


def test_a_shell_without_a_terminal_runs_what_it_is_sent(board):
    assert run(board, None, input="echo from a shell\nexit 4\n").exit_status == 4


# -- nothing is left behind --------------------------------------------------------------------------

STUBBORN = "set -m; (trap '' TERM HUP INT; sleep 613.41) & sleep 613.41; wait"


def stubborn_ones():
    """The processes of `STUBBORN` in this test's boards."""
    found = []
    for entry in processes.with_variables({VARIABLE: str(board_state.logic_folder("41"))}):
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if b"613.41" in command and processes.is_alive(entry):
            found.append(entry)
    return found


@pytest.mark.parametrize("how", ["the channel closes", "the connection closes", "the client is killed"])
def test_everything_a_command_started_dies_when(board, how):
    async def session():
        connection = await connect(board)
        process = await connection.create_process(STUBBORN)
        eventually_running = asyncio.get_running_loop().time() + PATIENCE_S
        while len(stubborn_ones()) < 2:
            assert asyncio.get_running_loop().time() < eventually_running, "the command never started"
            await asyncio.sleep(0.01)
        if how == "the channel closes":
            process.close()
            while stubborn_ones():
                assert asyncio.get_running_loop().time() < eventually_running, "it is still running"
                await asyncio.sleep(0.01)
        elif how == "the client is killed":
            connection.abort()
        connection.close()
        await connection.wait_closed()

    asyncio.run(session())
    eventually("all of it ended", lambda: not stubborn_ones())


def test_what_a_finished_command_left_in_the_background_dies_with_it(board):
    start_s = time.monotonic()
    result = run(board, "sleep 613.41 & echo started")
    assert (result.stdout, result.exit_status) == ("started\n", 0)
    assert time.monotonic() - start_s < 5.0, "an open output of a left child must not keep the client waiting"
    eventually("the left child ended", lambda: not stubborn_ones())


# -- logins ------------------------------------------------------------------------------------------


async def refused(board, **options):
    with pytest.raises(asyncssh.PermissionDenied):
        async with connect(board, **options):
            pass


def test_only_the_right_key_and_the_right_user_get_in(board, tmp_path):
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    asyncio.run(refused(board, client_keys=[stranger]))
    asyncio.run(refused(board, username="root"))
    asyncio.run(refused(board, client_keys=None, password="xilinx", preferred_auth="password"))


def test_the_client_key_is_private_and_stays_the_same(board):
    assert board.client_key.stat().st_mode & 0o777 == 0o600
    assert login_keys.client_key() == board.client_key


def test_the_boards_host_key_is_pinned(board):
    pinned = hostkeys.lookup(board.host, board.port)
    assert pinned == (" ".join(login_keys.public_half(board_state.folder("41") / "host_key").split()[:2]),)


def test_nobody_else_can_reach_the_boards_folder(board):
    assert board.logic.stat().st_mode & 0o777 == 0o700
    assert board_state.folder("41").stat().st_mode & 0o077 == 0


# -- files -------------------------------------------------------------------------------------------


def test_sftp_sees_what_a_command_sees(board, tmp_path):
    (tmp_path / "file").write_text("over sftp")

    async def session():
        async with connect(board) as connection, connection.start_sftp_client() as sftp:
            home = (await connection.run("pwd")).stdout.strip()
            assert await sftp.realpath(".") == home
            await sftp.put(str(tmp_path / "file"), "put.new")
            await sftp.posix_rename("put.new", "put")
            await sftp.symlink("put", "link")
            assert (await connection.run(f"cat {home}/link")).stdout == "over sftp"
            await connection.run("mkdir -p deep; echo by hand > deep/file")
            assert await sftp.listdir(f"{home}/deep") in (
                ["file", ".", ".."],
                [".", "..", "file"],
                ["..", ".", "file"],
            )
            async with sftp.open(f"{home}/deep/file") as handle:
                return await handle.read()

    assert asyncio.run(session()) == "by hand\n"


# -- up and down -------------------------------------------------------------------------------------


def test_up_twice_finds_the_board_that_is_up(board):
    assert up("41") == board
    assert board in virtual_board.running()


def test_two_boards_run_at_once_with_keys_of_their_own(board):
    other = up("42")
    try:
        assert (other.port, other.pid, other.root) != (board.port, board.pid, board.root)
        assert run(other, "pwd").stdout.strip().endswith("boards/42/root/home/xilinx")
        assert hostkeys.lookup(other.host, other.port) != hostkeys.lookup(board.host, board.port)
        assert [each.board for each in virtual_board.running()] == ["41", "42"]
    finally:
        assert virtual_board.down("42")
    assert board_state.load("42") is None
    assert run(board, "echo still up").stdout == "still up\n"


def test_down_ends_daemons_that_left_their_session(labd_home):
    board = up("43")
    run(board, "setsid sleep 613.43 </dev/null >/dev/null 2>&1 & sleep 0.2")
    here = {VARIABLE: str(board_state.logic_folder("43"))}
    assert processes.with_variables(here), "the daemon did not start"
    start_s = time.monotonic()
    assert virtual_board.down("43")
    assert time.monotonic() - start_s < 5.0
    assert not [each for each in processes.with_variables(here) if processes.is_alive(each)]
    eventually("its process ended", lambda: not processes.is_alive(board.pid))
    assert not virtual_board.down("43"), "it is down already"


def test_a_killed_board_leaves_nothing_and_comes_up_again(labd_home):
    board = up("44")
    os.kill(board.pid, signal.SIGKILL)
    eventually("the state is believed no more", lambda: board_state.load("44") is None)
    eventually("its logic ended with it", lambda: not _answers(board.logic))
    again = up("44")
    assert again.pid != board.pid
    assert run(again, "echo back").stdout == "back\n"
    assert hostkeys.lookup(again.host, again.port) == (
        " ".join(login_keys.public_half(board_state.folder("44") / "host_key").split()[:2]),
    )
    virtual_board.down("44")


def _answers(folder):
    link = Link(str(folder))
    try:
        link.ask("now")
        return True
    except VirtualBoardError:
        return False
    finally:
        link.close()


def test_a_board_whose_logic_dies_ends_itself(labd_home):
    board = up("45")
    (logic,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_logic_of(entry, board)
    ]
    os.kill(logic, signal.SIGKILL)
    eventually("the board is down", lambda: board_state.load("45") is None)
    said = "the programmable logic of board 45 ended (exit -9)"
    eventually(
        "it says why", lambda: (board_state.folder("45") / "board.log").read_text().strip().endswith(said)
    )


def _is_logic_of(entry, board):
    try:
        return str(board.logic).encode() in (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def test_a_board_whose_port_is_taken_gets_a_free_one(labd_home):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", board_state.rule_port("46")))
            taken.listen()
        except OSError:
            pass  # somebody else has taken it: as good
        board = up("46")
        assert board.port != board_state.rule_port("46") == 24600
        assert run(board, "echo there").stdout == "there\n"
    virtual_board.down("46")


def test_an_idle_board_ends_itself_but_not_while_somebody_is_logged_in(labd_home):
    board = up("47", idle_s=1.5)
    assert run(board, "sleep 2; echo still here").stdout == "still here\n"
    eventually("it ended", lambda: board_state.load("47") is None)
    assert "nobody was logged in for 1.5 s" in (board_state.folder("47") / "board.log").read_text()


def test_a_long_path_to_the_home_does_not_matter(tmp_path, monkeypatch):
    home = tmp_path / ("long" * 40)
    monkeypatch.setenv("LABD_HOME", str(home))
    board = up("48")
    try:
        assert len(str(board.logic)) > 107
        assert _answers(board.logic)
    finally:
        virtual_board.down("48")


@pytest.mark.parametrize(
    "number, hint", [("3", "did you mean '03'"), ("three", "labd board list"), ("../1", "list")]
)
def test_a_board_is_two_digits(labd_home, number, hint):
    for ask in (up, virtual_board.down, board_state.load):
        with pytest.raises(UnknownName, match="a board is two digits") as caught:
            ask(number)
        assert hint in caught.value.fix


def test_an_unknown_fault_is_refused_before_anything_starts(labd_home):
    with pytest.raises(UnknownName, match="no fault named 'broken'"):
        up("49", faults=["broken"])
    assert board_state.load("49") is None


def test_faults_are_switched_on_at_the_start_and_while_it_runs(labd_home):
    board = up("49", faults=["stuck-odma"])
    link = Link(str(board.logic))
    assert link.ask("facts")["faults"] == ["stuck-odma"]
    up("49", faults=["wrong-results"])
    assert link.ask("facts")["faults"] == ["wrong-results"]
    up("49")
    assert link.ask("facts")["faults"] == ["wrong-results"], "up without faults leaves them as they are"
    virtual_board.set_faults("49", [])
    assert link.ask("facts")["faults"] == []
    link.close()
    virtual_board.down("49")


def test_two_ups_at_once_start_one_board(labd_home):
    code = (
        "import sys; from pathlib import Path; from labd_host.virtual_board import virtual_board;"
        "print(virtual_board.up('50', python=Path(sys.executable)).pid)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    pids = {process.communicate(timeout=60)[0] for process in both}
    assert len(pids) == 1
    assert pids == {f"{board_state.load('50').pid}\n"}
    virtual_board.down("50")


def test_the_boards_python_is_its_own(board):
    code = "import sys, numpy; print(sys.prefix); print(numpy.__file__)"
    prefix, numpy = run(board, f'python3 -c "{code}"').stdout.split()
    assert prefix == str(board.root / "usr/local/share/pynq-venv")
    assert not numpy.startswith(prefix), "numpy comes from the shared environment"
    listing = run(
        board, "python3 -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'"
    ).stdout.strip()
    Path(listing, "labd.pth").write_text(f"{board.root}/home/xilinx/labd/current/site\n")
    assert (
        "labd/current/site"
        in run(board, "mkdir -p labd/current/site; python3 -c 'import sys; print(sys.path)'").stdout
    )


def test_a_board_that_cannot_start_says_why(labd_home):
    where = board_state.folder("52")
    (where / "logic").mkdir(parents=True)
    (where / "logic" / "logic.sock").mkdir()  # its logic cannot listen there
    with pytest.raises(
        BoardError, match="did not start .*: the programmable logic of board 52 ended"
    ) as caught:
        up("52")
    assert str(where / "board.log") in caught.value.fix
    assert board_state.load("52") is None
