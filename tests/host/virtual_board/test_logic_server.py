"""The wire between the programs on a virtual board and its programmable logic."""

import json
import os
import socket
import time

import pytest

from labd_host.virtual_board.board_env.labd_virtual_board.link import Link, VirtualBoardError, connect
from labd_host.virtual_board.contiguous_memory import CMA_BYTES, ContiguousMemory
from labd_host.virtual_board.logic import ProgrammableLogic
from labd_host.virtual_board.logic_server import serving

CLOCK = 0xF8000170


@pytest.fixture
def folder(tmp_path):
    logic = ProgrammableLogic(ContiguousMemory())
    with serving(tmp_path / "logic", logic):
        yield tmp_path / "logic"


@pytest.fixture
def link(folder):
    link = Link(str(folder))
    yield link
    link.close()


@pytest.fixture
def raw(folder):
    """A socket behind the greeting, and the file to read replies from."""
    connection = connect(str(folder))
    _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    for descriptor in descriptors:
        os.close(descriptor)
    with connection, connection.makefile("rb") as replies:
        yield connection, replies


def test_a_register_is_written_and_read(link):
    link.ask("write", address=CLOCK, value=5 << 8 | 2 << 20)
    assert link.ask("read", address=CLOCK) == 5 << 8 | 2 << 20
    assert link.ask("facts")["fclk0_mhz"] == 100.0


def test_time_goes_on(link):
    first_s = link.ask("now")
    assert link.ask("now") > first_s >= 0.0


def test_a_refusal_keeps_the_connection(link):
    with pytest.raises(VirtualBoardError, match="nothing answers at address 0x00001000") as caught:
        link.ask("read", address=0x1000)
    assert caught.value.labd_error["error"] == "BusFault"
    assert link.ask("read", address=CLOCK) > 0


def test_a_program_that_hangs_up_loses_its_memory(link, folder):
    other = Link(str(folder))
    other.ask("allocate", bytes=4096)
    mine = link.ask("allocate", bytes=4096)
    other.ask("free", address=mine)
    assert link.ask("facts")["cma_free_bytes"] == CMA_BYTES - 2 * 4096, "only the owner frees"
    other.close()
    deadline_s = time.monotonic() + 10
    while link.ask("facts")["cma_free_bytes"] != CMA_BYTES - 4096:
        assert time.monotonic() < deadline_s, "the memory was not taken back"


def test_a_reply_that_ctrl_c_left_behind_is_skipped(link):
    link.ask("now")
    link._get_socket().sendall(b'{"do": "now", "id": 1}\n{"do": "nonsense", "id": 0}\n')
    assert link.ask("read", address=CLOCK) > 0


@pytest.mark.parametrize(
    "request_line",
    [b"hello\n", b"[]\n", b"{}\n", b'{"do": "read"}\n', b'{"do": "read", "address": "x"}\n', b"\xff\xfe\n",
     b'{"do": "peek", "address": 0, "words": 1e9}\n', b'{"do": "read", "address": 1e400}\n', b"[" * 60000 + b"\n"],
)  # fmt: skip
def test_nonsense_is_refused_and_the_next_request_answered(raw, request_line):
    connection, replies = raw
    connection.sendall(request_line + b'{"do": "now", "id": 7}\n')
    refused, answered = (json.loads(replies.readline()) for _ in range(2))
    assert refused["labd_error"]["error"] == "UsageError"
    assert answered["id"] == 7 and answered["value"] >= 0


def test_a_line_without_end_is_not_collected(raw):
    connection, replies = raw
    connection.sendall(b"x" * 70000 + b"\n")
    assert json.loads(replies.readline())["labd_error"]["error"] == "UsageError"


def test_without_a_server_the_error_names_the_way_out(tmp_path):
    with pytest.raises(VirtualBoardError, match="does not answer: .*No such file") as caught:
        Link(str(tmp_path)).ask("now")
    assert caught.value.labd_error["error"] == "BoardLost"
    assert "labd board up" in caught.value.labd_error["fix"]
