"""Connections and commands: what comes back, what is left behind, how each fault ends."""

import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from labd_host.machine import hostkeys
from labd_host.remote import transport
from labd_shared.errors import (
    ArtifactError,
    BoardError,
    BoardLost,
    BoardUnreachable,
    CommandFailed,
    CommandTimeout,
    GoldenMismatch,
    HostKeyChanged,
    HostKeyUnknown,
    LoginRefused,
)


def test_output_arrives_line_by_line_while_the_command_runs(lab):
    came = []
    with lab.connect() as connection:
        ended = connection.run(
            ["bash", "-c", "echo one; sleep 0.6; echo two; echo aside >&2"],
            deadline_s=10,
            on_stdout_line=lambda line: came.append((line, time.monotonic())),
        )
    assert [line for line, _ in came] == ["one", "two"]
    assert came[1][1] - came[0][1] > 0.4
    assert (ended.stdout, ended.stderr, ended.exit_code) == ("one\ntwo\n", "aside\n", 0)


def test_arguments_arrive_as_they_are_however_odd(lab):
    odd = ["a b", "$(touch gone)", "'; rm -rf /", 'quote"', "new\nline", "*", "-n"]
    with lab.connect() as connection:
        ended = connection.run(["printf", "%s|", *odd], deadline_s=10, env={"ODD": "x y$z"})
    assert ended.stdout == "".join(f"{word}|" for word in odd) + "\n"
    assert not (lab.servers["03"].home / "gone").exists()


def test_large_output_is_whole(lab):
    with lab.connect() as connection:
        ended = connection.run(["seq", "1", "200000"], deadline_s=20)
    assert ended.stdout.splitlines() == [str(number) for number in range(1, 200001)]


def test_a_failing_command_keeps_its_exit_code_and_last_words(lab):
    with (
        lab.connect() as connection,
        pytest.raises(CommandFailed, match="exit code 42: no such tensor") as caught,
    ):
        connection.run(["bash", "-c", "echo no such tensor >&2; exit 42"], deadline_s=10, what="the test")
    assert caught.value.exit_code == 42


def test_an_error_of_the_board_is_raised_as_the_same_class_and_its_json_is_not_shown(lab):
    shown = []
    line = '{"labd_error": {"error": "GoldenMismatch", "what": "7 is not 2", "fix": "again", "facts": {"sample": 3}}}'
    script = f"echo warning >&2; test $LABD_ERRORS = wire && echo '{line}' >&2; exit 7"
    with lab.connect() as connection, pytest.raises(GoldenMismatch, match="7 is not 2") as caught:
        connection.run(["bash", "-c", script], deadline_s=10, on_stderr_line=shown.append)
    assert caught.value.facts == {"sample": 3}
    assert shown == ["warning"]


def test_a_command_past_its_deadline_is_stopped_and_leaves_nothing(lab, running, wait_until):
    with lab.connect() as connection, pytest.raises(CommandTimeout, match="did not end within 1 s"):
        connection.run(["bash", "-c", "sleep 98761 & sleep 98761; true"], deadline_s=1)
    assert wait_until(lambda: not running("98761"))


def test_what_a_command_leaves_in_the_background_dies_with_it(lab, running, wait_until):
    with lab.connect() as connection:
        connection.run(["bash", "-c", "sleep 98762 & exit 0"], deadline_s=10)
    assert wait_until(lambda: not running("98762"))


def test_a_command_dies_with_a_client_that_is_killed(lab, running, wait_until, tmp_path):
    script = tmp_path / "client.py"
    script.write_text(
        "from labd_host.remote import inventory\n"
        "from labd_host.remote.transport import Connection\n"
        "with Connection(inventory.load().board('03')) as connection:\n"
        "    connection.run(['sleep', '98763'], deadline_s=60)\n"
    )
    client = subprocess.Popen([sys.executable, str(script)])
    try:
        assert wait_until(lambda: len(running("sleep 98763")) > 0, 15)
        client.send_signal(signal.SIGKILL)
    finally:
        client.kill()
        client.wait()
    assert wait_until(lambda: not running("98763"))


def test_a_closed_link_is_a_lost_board_not_an_exit_code(lab, proxy, running, wait_until):
    with lab.connect(port=proxy.port) as connection:
        threading.Timer(0.5, lambda: setattr(proxy, "cut_after", 0)).start()
        with pytest.raises(BoardLost, match="the link to board 03 broke during sleep"):
            connection.run(["sleep", "98764"], deadline_s=30)
    assert wait_until(lambda: not running("98764"))


def test_a_stalled_link_is_noticed_within_the_stated_silence(lab, proxy):
    with lab.connect(port=proxy.port, silence_s=1.2) as connection:
        threading.Timer(0.3, lambda: setattr(proxy, "stall_after", 0)).start()
        started_s = time.monotonic()
        with pytest.raises(BoardLost, match="no answer for 1.2 s"):
            connection.run(["sleep", "30"], deadline_s=30)
    assert time.monotonic() - started_s < 6


def test_a_silent_command_on_a_healthy_link_is_left_alone(lab):
    with lab.connect(silence_s=1) as connection:
        assert connection.run(["sleep", "2"], deadline_s=10).exit_code == 0


def test_an_unknown_host_key_is_refused_with_its_fingerprint(lab):
    hostkeys.path().unlink()
    shown = hostkeys.fingerprint(lab.servers["03"].public_key)
    with pytest.raises(HostKeyUnknown, match=re.escape(shown)) as caught:
        lab.connect().open()
    assert "fab enroll --board 03" in caught.value.fix


def test_a_changed_host_key_is_refused_with_both_fingerprints_and_the_way_out(lab):
    before = hostkeys.fingerprint(lab.servers["03"].public_key)
    lab.servers["03"].restart_with_another_key()
    after = hostkeys.fingerprint(lab.servers["03"].public_key)
    with pytest.raises(HostKeyChanged, match=re.escape(after)) as caught:
        lab.connect().open()
    assert before in caught.value.what
    assert caught.value.fix.endswith(f"fab enroll --board 03 --fingerprint {after}")


def test_a_pinned_key_of_another_kind_counts_as_changed(lab):
    import asyncssh

    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    hostkeys.pin("127.0.0.1", lab.servers["03"].port, other)
    with pytest.raises(HostKeyChanged, match="enrolled is SHA256:"):
        lab.connect().open()


def test_the_users_own_known_hosts_are_not_believed(lab, monkeypatch, tmp_path):
    (tmp_path / ".ssh").mkdir()
    port = lab.servers["03"].port
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {lab.servers['03'].public_key}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    hostkeys.path().unlink()
    with pytest.raises(HostKeyUnknown):
        lab.connect().open()


def test_a_board_that_is_down_is_unreachable(lab):
    lab.servers["03"].stop()
    try:
        with pytest.raises(BoardUnreachable, match="board 03 at 127.0.0.1:.* does not answer"):
            lab.connect().open()
    finally:
        lab.servers["03"].start()


def test_nothing_is_dialled_before_a_connection_is_opened(lab):
    lab.servers["03"].stop()
    try:
        connection = lab.connect()
    finally:
        lab.servers["03"].start()
    with connection:
        assert connection.run(["true"], deadline_s=10).exit_code == 0


def test_a_server_that_says_nothing_is_given_up_within_the_banner_deadline(lab):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute:
        board = transport.BoardEntry("03", "real", "127.0.0.1", mute.getsockname()[1], "xilinx")
        started_s = time.monotonic()
        with pytest.raises(BoardUnreachable, match="does not answer"):
            transport.Connection(board, transport.Deadlines(banner_s=1)).open()
    assert time.monotonic() - started_s < 4


def test_a_key_that_is_not_let_in_is_a_refused_login(lab):
    import asyncssh

    stranger = asyncssh.generate_private_key("ssh-ed25519")
    lab.key.write_bytes(stranger.export_private_key())
    with pytest.raises(LoginRefused, match="does not let xilinx in"):
        lab.connect().open()


def test_an_upload_arrives_whole_and_resumes_at_an_offset(lab):
    target = lab.servers["03"].home / "file"
    content = bytes(range(256)) * 12000
    with lab.connect() as connection:
        assert connection.upload(content[:100_000], str(target)) == 100_000
        assert connection.upload(content, str(target), offset=100_000) == len(content) - 100_000
    assert target.read_bytes() == content


def test_a_stalled_upload_ends_within_its_deadline(lab, proxy):
    with lab.connect(port=proxy.port, silence_s=1.2) as connection:
        proxy.stall_after = proxy.passed + 300_000
        started_s = time.monotonic()
        with pytest.raises(BoardLost, match="broke during the transfer of file"):
            connection.upload(bytes(4_000_000), str(lab.servers["03"].home / "file"))
    assert time.monotonic() - started_s < 8


def test_a_file_comes_whole_however_large_its_pieces(lab):
    content = bytes(range(256)) * 12_345
    home = lab.servers["03"].home
    (home / "large").write_bytes(content)
    (home / "none").write_bytes(b"")
    with lab.connect() as connection:
        assert connection.download(f"{home}/large", max_bytes=len(content)) == content
        assert connection.download(f"{home}/none", max_bytes=0) == b""


def test_a_file_that_is_not_there_or_too_large_is_not_taken(lab):
    home = lab.servers["03"].home
    (home / "large").write_bytes(bytes(1000))
    with lab.connect() as connection:
        with pytest.raises(ArtifactError, match="large has 1000 bytes, more than 999"):
            connection.download(f"{home}/large", max_bytes=999)
        with pytest.raises(BoardError, match="board 03 could not read .*/nowhere: "):
            connection.download(f"{home}/nowhere", max_bytes=999)


def test_a_stalled_download_ends_within_its_deadline(lab, proxy):
    home = lab.servers["03"].home
    (home / "large").write_bytes(bytes(5_000_000))
    with lab.connect(port=proxy.port, silence_s=1.5) as connection:
        proxy.stall_after = proxy.passed
        started_s = time.monotonic()
        with pytest.raises(BoardLost):
            connection.download(f"{home}/large", max_bytes=5_000_000)
    assert time.monotonic() - started_s < 5
