"""The two distributions as users get them."""

import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from labd_host import environments
from labd_host.remote.wheel import board_wheel
from support.paths import ROOT

IMPORT_EVERYTHING = (
    "import labd_board.validate, labd_board.throughput, labd_board.selftest, labd_board.info, labd_board.fake, "
    "labd_board.classify, labd_board.pynq_device, labd_shared.packing, labd_shared.bundle; print(labd_shared.__file__)"
)


@pytest.mark.parametrize("name", ["py36", "py38", "py310", "host"])
def test_the_board_wheel_installs_offline_and_imports(name, tmp_path):
    wanted = environments.environment(name)
    python = environments.folder(wanted) / "bin" / "python"
    if name == "host":
        python = sys.executable
    elif not environments.is_ready(wanted, environments.folder(wanted)):
        pytest.skip(f"the environment {name} is not here: make test-images makes it where Python is")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--disable-pip-version-check",
    ]
    subprocess.run([*install, "--target", tmp_path, board_wheel()], check=True, timeout=60)
    ended = subprocess.run(
        [python, "-c", IMPORT_EVERYTHING],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().startswith(str(tmp_path))


def test_the_board_wheel_is_pure_small_and_needs_nothing():
    with zipfile.ZipFile(board_wheel()) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert board_wheel().name == "labd_board-0.1.0-py3-none-any.whl"
    assert board_wheel().stat().st_size < 200_000
    assert "Requires-Python: >=3.6" in metadata and "Requires-Dist" not in metadata
    assert {name.split("/")[0] for name in names} == {
        "labd_board",
        "labd_shared",
        "labd_board-0.1.0.dist-info",
    }


def test_the_host_wheel_carries_the_board_wheel_and_what_it_reads(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    copy = tmp_path / "checkout"  # building leaves folders behind, so not in the checkout itself
    copy.mkdir()
    for part in ("host", "board", "shared"):
        shutil.copytree(
            ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        )
    for part in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / part, copy)
    subprocess.run([*command, "--wheel-dir", tmp_path, copy], check=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("labd-*.whl"))) as archive:
        names = set(archive.namelist())
    assert "labd_host/remote/wheel/labd_board-0.1.0-py3-none-any.whl" in names
    for data in (
        "networks/table.toml",
        "networks/trained/tfc-w1a1.onnx",
        "remote/boards.toml",
        "environments/host.txt",
    ):
        assert f"labd_host/{data}" in names, data
    assert not [name for name in names if re.match(r"(tests|bench|labd_board|labd_shared)/", name)]
