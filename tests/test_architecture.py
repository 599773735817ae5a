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
}
OURS = {"labd_shared", "labd_board", "labd_host"}
MAY_IMPORT = {
    "shared": {"labd_shared"},
    "board": {"labd_shared", "labd_board"},
    "host": {"labd_shared", "labd_host"},
}
# Foreign giants, each with its one door.
DOORS = {
    "finn": ["host/labd_host/flow"],
    "qonnx": ["host/labd_host/flow", "host/labd_host/networks"],
    "torch": ["host/labd_host/networks"],
    "brevitas": ["host/labd_host/networks"],
    "brevitas_examples": ["host/labd_host/networks"],
    "pynq": ["board/labd_board/pynq_device.py", "host/labd_host/emulation/board_env"],
    "pynqmetadata": ["host/labd_host/emulation/board_env"],
    "fabric": ["host/labd_host/remote", "fabfile.py"],
    "invoke": ["host/labd_host/remote"],
    "paramiko": ["host/labd_host/remote"],
    "numba": ["host/labd_host/emulation", "host/labd_host/explore"],
    "submitit": ["host/labd_host/experiments/slurm.py"],
    "llvmlite": ["host/labd_host/emulation"],
}
STANDARD_ON_THE_BOARD = {
    "abc", "argparse", "contextlib", "csv", "difflib", "enum", "fcntl", "gzip", "hashlib", "importlib", "io", "json",
    "math", "os", "pathlib", "platform", "re", "shlex", "shutil", "struct", "sys", "tarfile", "tempfile", "time",
    "typing", "warnings", "weakref", "xml", "zipfile", "zlib",
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
        assert any(here.startswith(door) for door in DOORS[giant]), "{} enters through {}".format(
            giant, DOORS[giant]
        )


@pytest.mark.parametrize("part, path", [param for param in sources() if param.values[0] != "host"])
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
