"""The rules of the house that a program can check (DESIGN.md)."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "shared": ROOT / "shared" / "labd_shared",
    "board": ROOT / "board" / "labd_board",
    "host": ROOT / "host" / "labd_host",
    "labd": ROOT / "host" / "labd",
}
OURS = {"labd_shared", "labd_board", "labd_host", "labd"}
MAY_IMPORT = {
    "shared": {"labd_shared"},
    "board": {"labd_shared", "labd_board"},
    "host": {"labd_shared", "labd_host", "labd"},
    "labd": {"labd_shared", "labd_host", "labd"},
}
DESIGN = (ROOT / "DESIGN.md").read_text()
TO_COME = re.compile(r" \(to come, issue \d+\)$")
MAX_PACKAGE_LINES = 5000
MAX_FUNCTION_LINES, MAX_PARAMETERS = 80, 10


def table(heading):
    """The rows of the table below *heading* in DESIGN.md, cell by cell."""
    part = DESIGN.split("\n" + heading + "\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def code(cell):
    """The code spans of a cell, folders without their slash."""
    return [name.rstrip("/") for name in re.findall(r"`([^`]+)`", cell)]


# package -> floor; those to come have none yet
FLOORS = {
    code(cell)[0]: int(floor) for floor, cell, _ in table("### The host's floors") if not TO_COME.search(cell)
}


def doors():
    """Foreign giant -> where it may be imported, paths from the root."""
    found = {}
    for giants, places in table("### Doors"):
        paths = []
        for place in code(places):
            paths.append(place if (ROOT / place).exists() else "host/labd_host/" + place)
        found.update(dict.fromkeys(code(giants), paths))
    return found


DOORS = doors()
STANDARD_ON_THE_BOARD = {
    "abc", "argparse", "contextlib", "csv", "difflib", "enum", "errno", "fcntl", "gzip", "hashlib", "importlib", "io",
    "json", "math", "os", "pathlib", "platform", "re", "shlex", "shutil", "struct", "sys", "tarfile", "tempfile",
    "time", "typing", "warnings", "weakref", "xml", "zipfile", "zlib",
}  # fmt: skip


def imports(path):
    """Top-level names imported anywhere in *path*, and whether at module level."""
    tree = ast.parse(path.read_text())
    top_level = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name.split(".")[0], node in top_level
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0], node in top_level


def sources():
    found = []
    for part, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            found.append(pytest.param(part, path, id=str(path.relative_to(ROOT))))
    return found


@pytest.mark.parametrize("part, path", sources())
def test_imports_follow_the_directions(part, path):
    foreign = {name for name, _ in imports(path)}
    assert not (foreign & OURS) - MAY_IMPORT[part], "host -> shared <- board, and nothing else"
    here = path.relative_to(ROOT).as_posix()
    for giant in foreign & set(DOORS):
        assert any(here == door or here.startswith(door + "/") for door in DOORS[giant]), (
            "{} enters through {}".format(giant, DOORS[giant])
        )


def packages_imported(path):
    """Packages of the host that *path* imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module + "." + name.name for name in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "labd_host" and len(parts) > 1:
                yield parts[1]
            elif parts[0] == "labd":
                yield "labd"


@pytest.mark.parametrize("part, path", [param for param in sources() if param.values[0] in ("host", "labd")])
def test_a_package_imports_only_from_the_floors_below_its_own(part, path):
    package = "labd" if part == "labd" else path.relative_to(PACKAGES[part]).parts[0].replace(".py", "")
    if package == "__init__":
        assert set(packages_imported(path)) == set()
        return
    for other in set(packages_imported(path)) - {package}:
        assert FLOORS[other] < FLOORS[package], "{} (floor {}) imports {} (floor {})".format(
            package, FLOORS[package], other, FLOORS[other]
        )


def test_every_package_of_the_host_has_its_floor_and_every_floor_its_package():
    inside = {path.stem for path in PACKAGES["host"].iterdir() if path.suffix == ".py" or path.is_dir()}
    assert inside - {"__init__", "__pycache__", "py"} == set(FLOORS) - {"labd_shared", "labd"}


@pytest.mark.parametrize("package", sorted(set(FLOORS) - {"labd_shared"}))
def test_a_package_can_be_read_whole(package):
    folder = PACKAGES.get(package, PACKAGES["host"] / package)
    files = [folder.with_suffix(".py"), *folder.rglob("*.py")]
    lines = sum(len(path.read_text().splitlines()) for path in files if path.is_file())
    assert lines <= MAX_PACKAGE_LINES


def test_a_class_name_stands_for_one_thing():
    homes = {}
    for part in PACKAGES.values():
        for path in sorted(part.rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


# What a user types is called so on both sides, and data sets are read, found and sent by modules of that name.
TYPED = {"datasets", "device", "__init__", "validate"}


def test_a_file_is_told_from_the_others_by_its_name():
    homes = {}
    for part in PACKAGES.values():
        for path in sorted(part.rglob("*.py")):
            if path.stem not in TYPED and path.parent.name != "cli":  # there a file is a command
                homes.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def imported_first(path, modules):
    """Modules of ours that *path* imports when it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                whole = node.module + "." + name.name
                yield whole if whole in modules else node.module


def test_no_import_runs_in_a_circle():
    modules = {}
    for part in PACKAGES.values():
        for path in part.rglob("*.py"):
            name = ".".join(path.relative_to(part.parent).with_suffix("").parts)
            modules[name.replace(".__init__", "")] = path
    imports_of = {name: set(imported_first(path, modules)) & set(modules) for name, path in modules.items()}
    while True:
        leaves = {name for name, others in imports_of.items() if not others - {name}}
        if not leaves:
            break
        imports_of = {name: others - leaves for name, others in imports_of.items() if name not in leaves}
    assert imports_of == {}, "each of these imports, in the end, itself"


ONE_HOME = {
    "Popen": {"machine/child.py"},
    "flock": {"machine/locks.py", "remote/board_agent/board_lock.py"},  # the agent is sent to a board as text
    "lockf": {"machine/locks.py"},
    "F_OFD_SETLK": {"machine/locks.py"},
}


def test_the_host_starts_children_and_locks_files_in_one_place_each():
    for path in sorted(PACKAGES["host"].rglob("*.py")):
        here = path.relative_to(PACKAGES["host"]).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ONE_HOME:
                assert here in ONE_HOME[node.attr], "{} uses {}".format(here, node.attr)


def functions(path):
    """Each function of *path*, and whether its parameters are the options of a command."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            yield node, any(re.match(r"\w+\.command\b", each) for each in decorators)


def parameters(function):
    """How many a caller can give: *self* and *cls* are not given."""
    every = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    every += [rest for rest in (function.args.vararg, function.args.kwarg) if rest]
    return len([each for each in every if each.arg not in ("self", "cls")])


def has_reason(function, lines):
    """Whether a comment for a reader stands on the line of its ``def``, or above it and its decorators."""
    first = min([function.lineno] + [decorator.lineno for decorator in function.decorator_list])
    above = lines[first - 2] if first > 1 else ""
    reason = r"# (?!type:|fmt:|noqa)"
    return bool(re.search("  " + reason, lines[function.lineno - 1]) or re.match(reason, above.lstrip()))


@pytest.mark.parametrize("part, path", sources())
def test_a_function_is_short_and_takes_few_parameters_or_a_comment_says_why(part, path):
    lines = path.read_text().splitlines()
    wrong = []
    for function, is_command in functions(path):
        length, count = function.end_lineno - function.lineno + 1, parameters(function)
        too_long = length > MAX_FUNCTION_LINES
        too_many = count > MAX_PARAMETERS and not is_command
        if (too_long or too_many) and not has_reason(function, lines):
            wrong.append("{}: {} lines, {} parameters".format(function.name, length, count))
    assert wrong == []


def folders_named():
    """Folders that the house in DESIGN.md names."""
    house = DESIGN.split("```")[1]
    for line in house.splitlines():
        yield from re.findall(r"^([\w/]+/)(?=\s|$)", line)


def test_every_folder_that_the_design_names_exists():
    named = set(folders_named())
    assert {"host/labd_host/", "shared/labd_shared/", "docs/"} <= named
    assert [name for name in named if not (ROOT / name).is_dir()] == []
    for giant, paths in DOORS.items():
        assert all((ROOT / path).exists() for path in paths), giant


@pytest.mark.parametrize(
    "part, path", [param for param in sources() if param.values[0] in ("shared", "board")]
)
def test_the_board_needs_numpy_and_the_standard_library_only(part, path):
    names = {name for name, _ in imports(path)}
    pictures = {"PIL"} if path.name == "pictures.py" else set()  # lazily, where the image has it
    assert names - OURS - STANDARD_ON_THE_BOARD <= {"numpy", "pynq"} | pictures
    assert ("PIL", True) not in set(imports(path)), "Pillow is imported inside the function that needs it"
    assert ("pynq", True) not in set(imports(path)), (
        "pynq is imported inside the function that opens the board"
    )


@pytest.mark.parametrize("part, path", sources())
def test_no_check_is_an_assert_that_python_o_leaves_out(part, path):
    found = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
    assert found == [], "raise a LabdError with both values"


def tracked(*patterns):
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().splitlines() if (ROOT / name).is_file()]


def test_no_text_names_a_path_of_somebodys_machine():
    machine = re.compile(r"(^|[^A-Za-z0-9_.~$])/(work|farm|root|home/(?!xilinx))[A-Za-z0-9_-]*/")
    wrong = []
    for path in tracked():
        try:
            text = path.read_text()
        except (UnicodeDecodeError, OSError):
            continue
        wrong += [
            "{}: {}".format(path.relative_to(ROOT), line.strip()[:80])
            for line in text.splitlines()
            if machine.search(line)
        ]
    assert wrong == []


def test_the_product_never_refers_to_the_folder_beside_the_project():
    for path in tracked("host", "board/labd_board", "shared", "fabfile.py", "README.md"):
        if path.suffix in (".py", ".md", ".toml", ".txt"):
            assert "../shared/" not in path.read_text(), path


def test_constraints_name_no_package_index():
    for path in sorted((PACKAGES["host"] / "environments").glob("*.txt")):
        for line in path.read_text().splitlines():
            assert re.match(r"^(#.*|[A-Za-z0-9._-]+(\[[a-z]+\])?(==[A-Za-z0-9.+!-]+)?)?$", line), (
                "{}: {}".format(path.name, line)
            )


TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_PROSE = 60  # characters of plain words in a row that a test may pin: facts are checked, not sentences
PLAIN_WORD = re.compile(r"\(?[A-Za-z]?[a-z']+(-[a-z]+)*[.,;:!?)]*")


def pinned(path):
    """The texts that a test compares with: those in its asserts, and what errors have to match."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            compared = node.test
        elif isinstance(node, ast.keyword) and node.arg == "match":
            compared = node.value
        else:
            continue
        for part in ast.walk(compared):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def longest_prose(text):
    """The longest row of plain words in *text*: values, names, options and wildcards part rows."""
    rows = [""]
    for word in text.replace("\\", "").split():
        rows.append(" ".join((rows[-1], word)).strip() if PLAIN_WORD.fullmatch(word) else "")
    return max(rows, key=len)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_pins_facts_and_not_sentences(path):
    assert [text for text in pinned(path) if len(longest_prose(text)) > MAX_PROSE] == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_reads_neither_source_nor_closures(path):
    reached = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not reached & {"getsource", "getsourcelines", "__closure__", "cell_contents", "__code__"}
