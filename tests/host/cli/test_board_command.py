"""labd board up, down, list: what a person sees."""

import pytest
from click.testing import CliRunner

from labd_host import environments
from labd_host.cli.board import board
from labd_host.virtual_board import board_state
from labd_shared.errors import UnknownName, UsageError


def labd_board(*arguments):
    return CliRunner().invoke(board, arguments, catch_exceptions=False)


@pytest.fixture
def with_environment(board_python, labd_home):
    """A LABD_HOME that has the board environment, so that nothing is installed here."""
    wanted, made = environments.environment("board"), board_python.parent.parent
    if not environments.is_ready(wanted, made):
        pytest.skip(f"{made} is not the board environment of this version: make setup")
    link = environments.folder(wanted)
    link.parent.mkdir(exist_ok=True)
    if not link.exists():
        link.symlink_to(made)


def test_a_board_comes_up_is_listed_and_goes_down(with_environment):
    said = labd_board("up", "71", "--fault", "stuck-odma")
    running = board_state.load("71")
    assert said.stdout == f"virtual board 71 is up at 127.0.0.1:{running.port}\n"
    assert "faults: stuck-odma" in said.stderr
    assert labd_board("up", "71", "--fault", "none").stdout.startswith("virtual board 71 is up already at")
    listed = labd_board("list").stdout
    assert "71" in listed and str(running.pid) in listed
    assert labd_board("down", "71").stdout == "virtual board 71 is down\n"
    assert labd_board("down", "71").stdout == "virtual board 71 is down; it was not up\n"


def test_without_boards_the_list_says_how_to_start_one(labd_home):
    said = labd_board("list")
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr == "no virtual board is up; start one: labd board up 03\n"


def test_a_wrong_number_and_contradicting_faults_are_refused(labd_home):
    with pytest.raises(UnknownName, match="a board is two digits"):
        labd_board("up", "3")
    with pytest.raises(UsageError, match="'none' was given beside other faults"):
        labd_board("up", "72", "--fault", "none", "--fault", "stuck-idma")


def test_an_unknown_fault_is_a_usage_error_that_lists_the_known_ones(labd_home):
    said = labd_board("up", "72", "--fault", "broken")
    assert said.exit_code == 2
    assert "'stuck-idma', 'stuck-odma', 'wrong-class', 'wrong-results', 'none'" in said.stderr
