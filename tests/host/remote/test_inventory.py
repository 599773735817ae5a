"""Which inventory is taken, what it may say, and where each board is."""

import re
from pathlib import Path

import pytest

from labd_host.remote import inventory
from labd_shared.errors import BoardUnreachable, UnknownName, UsageError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def take(places):
    """Reads an inventory of this text."""

    def read(text: str) -> inventory.Inventory:
        (places / "lab.toml").write_text(text)
        return inventory.load({"LABD_BOARDS": str(places / "lab.toml")})

    return read


RULE = (
    '[rule]\nkind = "real"\nboards = "01-16"\nhost = "gw.example.org"\nfirst_port = 20000\nuser = "xilinx"\n'
)


def test_the_search_order_and_that_the_one_taken_says_why(places):
    here, own = places / "here", places / "labd-config"
    here.mkdir()
    own.mkdir()
    assert inventory.find({}, here) == (inventory.SHIPPED, "shipped with labd: virtual boards only")
    (own / "boards.toml").write_text(RULE)
    assert inventory.find({}, here) == (own / "boards.toml", "the user's own")
    (here / "boards.toml").write_text(RULE)
    assert inventory.find({}, here) == (here / "boards.toml", "the working directory's")
    (places / "named.toml").write_text(RULE)
    found = inventory.find({"LABD_BOARDS": str(places / "named.toml")}, here)
    assert found == (places / "named.toml", "LABD_BOARDS")
    assert str(inventory.load({}, here)) == f"{here / 'boards.toml'} (the working directory's)"


def test_a_named_inventory_that_is_missing_is_no_reason_to_take_another(places):
    with pytest.raises(UsageError, match="LABD_BOARDS names .*/gone.toml, which is no file"):
        inventory.find({"LABD_BOARDS": str(places / "gone.toml")})


def test_the_shipped_inventory_knows_virtual_boards_only(places):
    taken = inventory.load({}, places)
    assert taken.path == inventory.SHIPPED
    assert taken.numbers() == tuple(f"{number:02d}" for number in range(100))
    assert {taken.board(number).kind for number in taken.numbers()} == {"virtual"}
    assert (taken.board("03").host, taken.board("03").port, taken.board("03").user) == (
        "127.0.0.1",
        20300,
        "xilinx",
    )


def test_the_checkout_and_the_package_ship_the_same_inventory():
    assert (ROOT / "boards.toml").read_text() == inventory.SHIPPED.read_text()


def test_the_example_inventory_reads_and_names_no_real_host(places):
    taken = inventory.load({"LABD_BOARDS": str(ROOT / "boards.ntu.example.toml")})
    board = taken.board("03")
    assert (board.kind, board.port, board.sudo, board.look_for_keys) == ("real", 20300, True, True)
    assert (taken.board("07").host, taken.board("07").port) == ("pynq-07.lab.example.org", 22)
    assert all(taken.board(number).host.endswith(".example.org") for number in taken.numbers())


def test_the_rule_gives_ports_and_a_board_may_differ(take):
    taken = take(RULE + '[boards.05]\nhost = "10.0.0.5"\nport = 22\n[boards.40]\nhost = "far.example.org"\n')
    assert (taken.board("16").host, taken.board("16").port) == ("gw.example.org", 21600)
    assert (taken.board("05").host, taken.board("05").port) == ("10.0.0.5", 22)
    assert taken.board("40").port == 24000
    assert taken.numbers()[-2:] == ("16", "40")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("3", "did you mean '03'?"),
        ("003", "did you mean '03'?"),
        ("03; rm -rf /", "fab boards"),
        ("$(id)", "fab boards"),
        ("-oProxyCommand=x", "fab boards"),
        ("03\n", "fab boards"),
        ("٠٣", "fab boards"),
        ("", "fab boards"),
    ],
)
def test_a_board_is_two_digits_and_nothing_else(take, name, hint):
    with pytest.raises(UnknownName, match="a board is two digits, 00 to 99") as caught:
        take(RULE).board(name)
    assert hint in caught.value.fix


def test_a_board_the_inventory_lacks_is_named_with_those_it_has(take):
    with pytest.raises(UnknownName, match=r"no board 17 in .*lab.toml, it has 01 to 16"):
        take(RULE).board("17")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rule", "lab.toml: not TOML"),
        ("[roule]\n", "no section in lab.toml named 'roule'"),
        (RULE + "sudoo = true\n", r"no setting of \[rule\] in lab.toml named 'sudoo'"),
        (RULE + "[boards.5]\nport = 22\n", r"\[boards.5\] is not two digits"),
        (RULE + '[boards.05]\nport = "22"\n', "lab.toml: boards.05.port is '22', a whole number is wanted"),
        (RULE + "[boards.05]\nport = true\n", "boards.05.port is true, a whole number is wanted"),
        (RULE + "[boards.05]\nkeys = [1]\n", r"boards.05.keys\[0\] is 1, a text"),
        (RULE + "[boards.05]\nport = 1" + "0" * 400 + "\n", "boards.05.port is a number of 1329 bits"),
        (RULE + "[boards.05]\nport = nan\n", "boards.05.port is nan"),
        (RULE + "x = " + "[" * 100000, "nested too deep"),
        (RULE + "[boards.05]\n[boards.05]\n", "not TOML: Cannot declare"),
        ("#" * (1 << 21), "has 2097152 bytes, more than 1048576"),
        ("boards = 5", "boards is 5, an object is wanted"),
        (RULE.replace("01-16", "16-01"), "boards = '16-01' is no range"),
    ],
)
def test_an_inventory_with_a_mistake_says_where(take, text, message):
    with pytest.raises((UsageError, UnknownName), match=message):
        take(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('host = "-oProxyCommand=x"', "host '-oProxyCommand=x' is no host name"),
        ('user = "root;id"', "user 'root;id' is no user name"),
        ("port = 70000", "port 70000 is not in 1 to 65535"),
        ('kind = "reel"', "no kind of board 05 .* named 'reel'"),
        ('python = "-c"', "python '-c' is no program"),
        ('model = "a\\nb"', "is not printable"),
    ],
)
def test_what_no_board_can_be_is_refused(take, settings, message):
    with pytest.raises((UsageError, UnknownName), match=message):
        take(RULE + f"[boards.05]\n{settings}\n").board("05")


def test_a_board_without_an_address_says_what_is_missing(take):
    with pytest.raises(UsageError, match="board 05 in .* has no kind, host, port, user"):
        take('[boards.05]\nmodel = "Pynq-Z2"\n').board("05")


class Running:
    host, port, user, client_key = "127.0.0.1", 45678, "xilinx", Path("/keys/id_ed25519")


def test_a_virtual_board_is_where_its_state_says(places):
    board = inventory.load({}, places).board("03")
    found = inventory.endpoint(board, lambda number: Running())
    assert (found.port, found.keys, found.number) == (45678, (Path("/keys/id_ed25519"),), "03")


def test_a_virtual_board_that_is_down_says_how_to_start_it(places):
    board = inventory.load({}, places).board("03")
    with pytest.raises(BoardUnreachable, match="virtual board 03 is down") as caught:
        inventory.endpoint(board)
    assert re.search("labd board up 03", caught.value.fix)
