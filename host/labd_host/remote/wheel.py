"""The wheel that is deployed: labd_board and labd_shared, read as files, never imported.

An installed labd carries it as package data. A checkout builds it from ./board and ./shared, once per
content, into the user's cache.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from labd_host.machine import places
from labd_shared.errors import ArtifactError, SetupError
from labd_shared.files import replacing

CARRIED = Path(__file__).with_name("wheel")
CHECKOUT = Path(__file__).resolve().parents[3]
BUILD_TIMEOUT_S = 120
MAX_FILE_BYTES = 4 << 20
_MODULE = re.compile(r"(?:labd_board|labd_shared)(?:/[A-Za-z_][A-Za-z0-9_]*)*/[A-Za-z_][A-Za-z0-9_]*\.py")


def board_wheel(checkout: Path | None = None) -> Path:
    """The labd-board wheel to deploy.

    Args:
        checkout: A source tree with board/setup.py; labd's own when None.

    Raises:
        SetupError: it is not carried and cannot be built.
    """
    tree = checkout or CHECKOUT
    if (tree / "board" / "setup.py").is_file():
        return _built(tree)
    carried = sorted(CARRIED.glob("labd_board-*.whl"))
    if not carried:
        raise SetupError(
            f"this labd carries no labd-board wheel in {CARRIED}",
            fix="reinstall from the wheel of labd",
        )
    return carried[-1]


def wheel_files(wheel: Path) -> dict[str, bytes]:
    """The modules in a wheel, by path, "labd_board/driver.py"; nothing else in it is taken.

    Raises:
        ArtifactError: it is no wheel of labd-board, or a file in it is too large.
    """
    fix = "build it again: remove it and deploy once more"
    files = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                if entry.filename.partition("/")[0].endswith(".dist-info"):
                    continue
                if not _MODULE.fullmatch(entry.filename):
                    raise ArtifactError(
                        f"{wheel.name} holds {entry.filename!r}, which is no module of labd", fix=fix
                    )
                if entry.file_size > MAX_FILE_BYTES:
                    raise ArtifactError(
                        f"{entry.filename} in {wheel.name} has {entry.file_size} bytes", fix=fix
                    )
                files[entry.filename] = archive.read(entry)
    except (zipfile.BadZipFile, OSError) as error:
        raise ArtifactError(f"{wheel} cannot be read: {error}", fix=fix) from error
    if "labd_board/__init__.py" not in files or "labd_shared/__init__.py" not in files:
        raise ArtifactError(f"{wheel.name} lacks labd_board or labd_shared", fix=fix)
    return files


def _sources(tree: Path) -> list[Path]:
    folders = (tree / "board" / "labd_board", tree / "shared" / "labd_shared")
    return [tree / "board" / "setup.py", *sorted(path for folder in folders for path in folder.rglob("*.py"))]


def _built(tree: Path) -> Path:
    """The wheel of exactly these sources; built beside its place and moved there, so two builders do no harm."""
    content = hashlib.sha256()
    for path in _sources(tree):
        content.update(
            f"{path.relative_to(tree)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    folder = places.cache() / "board-wheel" / content.hexdigest()[:16]
    for ready in sorted(folder.glob("labd_board-*.whl")):
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="labd-wheel-") as scratch:
        copy = Path(scratch)
        for path in _sources(tree):
            target = copy / "tree" / path.relative_to(tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _build(copy / "tree" / "board", copy)
        made = next(copy.glob("labd_board-*.whl"))
        with replacing(folder / made.name) as making:
            shutil.copyfile(made, making)
        return folder / made.name


def _build(project: Path, out: Path) -> None:
    """Run the wheel builder that pip would run, in a process of its own: it works on its own folder."""
    command = [sys.executable, "-c", _BUILDER, str(out)]
    try:
        done = subprocess.run(
            command,
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            f"building the labd-board wheel took over {BUILD_TIMEOUT_S} s", fix="try again"
        ) from error
    if done.returncode:
        tail = done.stdout.strip().splitlines()[-12:]
        raise SetupError(
            f"building the labd-board wheel failed: {tail[-1] if tail else 'no output'}",
            fix=f"see why: {sys.executable} -m pip wheel --no-deps --no-build-isolation ./board",
            log_tail=tail,
        )


_BUILDER = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
