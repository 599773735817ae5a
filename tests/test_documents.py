"""What the documents and the messages name exists, and what they measured is what ships."""

import pkgutil
import re

import pytest

from labd_host.networks import trained_record
from support.fixes import Product
from support.paths import ROOT
from support.typed import Commands

DOCUMENTS = [
    "README.md", "CONTRIBUTING.md", "DESIGN.md", "CHANGELOG.md", "bitfiles/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))),
]  # fmt: skip
CURRENT = [name for name in DOCUMENTS if name != "CHANGELOG.md"]  # that one tells what was
HOST = ROOT / "host" / "labd_host"
CODE = re.compile(r"`([^`\n]+)`")


def typed(text):
    """What a text shows as typed: its code spans and its indented lines."""
    return CODE.findall(text) + re.findall(r"^ {4}(.+)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def commands():
    return Commands()


@pytest.fixture(scope="module")
def product():
    return Product()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_and_option_a_document_names_exists(name, commands):
    lines = typed((ROOT / name).read_text())
    assert [fault for line in lines for fault in commands.faults(line)] == []
    assert [option for line in lines for option in commands.unknown_options(line)] == []


def test_what_an_error_says_to_type_exists_and_has_all_that_its_command_asks_for(commands, product):
    fixes = sorted(set(product.fixes()))
    assert len(fixes) > 400 and sum("labd " in text for text in fixes) > 60
    found = {
        text: [*commands.faults(text), *commands.unknown_options(text), *commands.lacks(text)]
        for text in fixes
    }
    assert {text: faults for text, faults in found.items() if faults} == {}


def test_every_option_that_a_message_or_a_docstring_gives_a_command_exists(commands, product):
    strings = set(product.strings())
    assert [fault for text in sorted(strings) for fault in commands.faults(text, prose=True)] == []


@pytest.mark.parametrize(
    "text, fault",
    [
        ("labd folding NAME", "labd has no command folding"),
        ("try: labd board start 03", "labd board has no command start"),
        ("labd build X --target hw --dry-run -o DIR", "labd build has no option --dry-run"),
        ("then fab deploi --board 03", "fab has no command deploi"),
        ("fab deploy --force", "fab deploy has no option --force"),
        ("make tests", "make has no command tests"),
        ("python3 -m labd_board.valid", "there is no labd_board.valid"),
        ("python3 -m labd_board.info --long", "labd_board.info has no option --long"),
        (
            "python bench/bench_cycle_model.py --write-it",
            "bench/bench_cycle_model.py has no option --write-it",
        ),
    ],
)
def test_a_command_that_does_not_exist_is_found(commands, text, fault):
    assert list(commands.faults(text)) == [fault]
    assert list(commands.lacks("labd export build/x --format finn")) == ["labd export needs --out"]
    assert commands.unknown_options("add --foldings lab") == ["--foldings"]


TOPS = {  # the first part of a path that documents name -> where it is; a build's folder is the user's
    **{one.name: ROOT for one in ROOT.iterdir() if one.is_dir() and one.name != "build"},
    **{one.stem: HOST for one in HOST.iterdir()},
    "labd_host": ROOT / "host",
    "labd_board": ROOT / "board",
    "labd_shared": ROOT / "shared",
}


def places(span):
    """The files and folders of a path or pattern of ours, none where they do not exist; None for other spans."""
    path = span.partition("::")[0]
    root = TOPS.get(path.split("/")[0])
    return None if root is None or "/" not in path or " " in path else list(root.glob(path))


@pytest.mark.parametrize("name", CURRENT)
def test_every_path_of_the_checkout_that_a_document_names_exists(name):
    spans = CODE.findall((ROOT / name).read_text())
    assert [span for span in spans if places(span) == []] == []


def test_every_file_and_function_of_the_table_where_to_change_what_exists():
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Where to change what")[1]
    missing = []
    for row in re.findall(r"^\|[^|]+\|(.+)\|$", table, re.MULTILINE):
        folders, last = [], ROOT
        for before, span in re.findall(r"(.{0,2})`([^`]+)`", row):
            if places(span):
                last = places(span)[0]
                folders.append(last if last.is_dir() else last.parent)
            elif re.fullmatch(r"\w+\.(py|toml)", span):
                found = [folder / span for folder in reversed(folders) if (folder / span).is_file()]
                last = found[0] if found else last
                missing += [] if found else [(row, span)]
            elif before == " (" and re.fullmatch(r"_?[a-z]\w+", span) and last.is_file():
                missing += [] if f"def {span}(" in last.read_text() else [(row, span)]
    assert missing == []


@pytest.mark.parametrize("name", CURRENT)
def test_every_module_class_and_variable_of_ours_that_a_document_names_exists(name, product):
    text = (ROOT / name).read_text()
    source = "\n".join(path.read_text() for path in [*product.trees, ROOT / "Makefile", ROOT / ".ci" / "run"])
    for variable in re.findall(r"\bLABD_[A-Z_]+\b", text):
        assert variable in source, variable
    for span in CODE.findall(text):
        if re.fullmatch(r"labd_(host|board|shared)(\.\w+)+", span):
            pkgutil.resolve_name(span)
        attribute = re.fullmatch(r"([A-Z][a-z]\w+)\.(\w+)", span)
        if attribute:
            owners = [path for path in product.trees if f"class {attribute[1]}(" in path.read_text()]
            assert any(f"def {attribute[2]}(" in path.read_text() for path in owners), span


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
