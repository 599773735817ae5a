"""What the documents say can be typed, and what they measured is what ships."""

import re
import subprocess
import sys

import pytest

from labd_host.cli.main import COMMANDS
from labd_host.networks import trained_record
from support.paths import ROOT

DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "DESIGN.md",
    "CHANGELOG.md",
    "bitfiles/README.md",
    "docs/real-board.md",
    "docs/timing.md",
    "docs/own-network.md",
    "docs/predictions.md",
    "docs/pains.md",
    "docs/hardware.md",
    "docs/simulation.md",
    "docs/experiments.md",
]


def words_after(command, text):
    """The word after *command* wherever it is typed: in a code span, or on an indented line."""
    typed = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^ {4}(.+)$", text, re.MULTILINE)
    return {found for line in typed for found in re.findall(rf"(?:^|[ ;$/]){command} ([a-z][a-z-]*)", line)}


@pytest.fixture(scope="module")
def fab_tasks():
    listed = subprocess.run(
        [sys.executable, "-m", "fabric", "--search-root", ROOT, "--list", "--list-format", "flat"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return set(re.findall(r"^  ([a-z]+)", listed.stdout, re.MULTILINE)) or pytest.fail(listed.stderr)


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "DESIGN.md"])  # that one looks ahead
def test_every_command_a_document_names_exists(name, fab_tasks):
    text = (ROOT / name).read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert words_after("labd", text) <= set(COMMANDS)
    assert words_after("fab", text) <= fab_tasks
    assert words_after("make", text) <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_a_document_links_exists(name):
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text()):
        assert link.startswith("https://") or ((ROOT / name).parent / link).exists(), link


def test_the_readme_shows_the_accuracy_that_ships():
    text = (ROOT / "README.md").read_text()
    record = trained_record("tfc-w1a1")
    assert f"Final accuracy: {record.accuracy_percent:f}" in text
    assert f"{record.correct} of {record.samples} images" in text


def test_the_first_screen_of_the_readme_is_the_two_commands():
    first = (ROOT / "README.md").read_text().splitlines()[:8]
    assert any(line.strip().startswith("make demo") for line in first)
    assert any(line.strip().startswith("make test") for line in first)


def test_every_test_that_keeps_a_pain_away_is_there():
    named = re.findall(r"`(tests/[^:`]+)::(\w+)`", (ROOT / "docs" / "pains.md").read_text())
    assert len(named) > 40
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def test_no_pain_and_no_bug_of_the_collection_is_left_out():
    pains, bugs = (ROOT / "docs" / "pains.md").read_text().split("## Bugs upstream")
    for part, most in ((pains, 49), (bugs, 29)):
        rows = [line for line in part.splitlines() if re.match(r"\| \d", line)]
        numbers = [int(number) for row in rows for number in row.split("|")[1].split(",")]
        assert sorted(numbers) == list(range(1, most + 1))
        assert all("`tests/" in row for row in rows)
