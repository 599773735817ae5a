"""Which bundle a deploy takes, and which boards it starts."""

import os

import pytest

from labd import board_commands
from labd_shared.errors import UsageError
from labd_shared.manifest import MANIFEST_NAME


def built(folder, name, at_s):
    bundle = folder / "build" / name
    bundle.mkdir(parents=True)
    (bundle / MANIFEST_NAME).write_text("{}")
    os.utime(bundle / MANIFEST_NAME, (at_s, at_s))
    return bundle


@pytest.fixture
def here(places, monkeypatch):
    monkeypatch.chdir(places)
    return places


def test_the_bundle_that_is_named_wins_over_the_variable_and_over_what_was_built(here, monkeypatch):
    built(here, "tfc-w1a1-emu", 1000)
    monkeypatch.setenv("LABD_BUNDLE", "elsewhere")
    assert str(board_commands.chosen_bundle("mine")) == "mine"
    assert str(board_commands.chosen_bundle("")) == "elsewhere"


def test_without_a_name_the_last_build_of_this_folder_is_taken(here):
    built(here, "first-emu", 2000)
    later = built(here, "second-emu", 3000)
    built(here, "third-emu", 1000)
    assert board_commands.chosen_bundle("").absolute() == later


def test_where_nothing_was_built_the_error_says_how_to_build_and_nothing_ships_silently(here):
    with pytest.raises(UsageError, match="no bundle was named, LABD_BUNDLE is not set") as caught:
        board_commands.chosen_bundle("")
    assert caught.value.fix == "build one: labd build tfc-w1a1"
