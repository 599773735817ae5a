"""What labd needs on this machine, looked at without making or loading anything: `labd doctor` shows it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from labd_host import datasets, environments
from labd_shared.datasets import DATASETS
from labd_shared.errors import LabdError

OK, MISSING, OPTIONAL = "ok", "missing", "optional"
PACKAGES = ("finn-plus", "qonnx", "onnx", "onnxruntime", "numba", "numpy", "fabric", "asyncssh")
PYTHONS = ((3, 11), (3, 13))  # oldest, newest


@dataclass(frozen=True)
class Need:
    """One thing, and whether it is there.

    Attributes:
        name: Short.
        state: `OK`, `MISSING`, or `OPTIONAL` for what is not there and only some work wants.
        found: What was found, or what is wrong.
        how: How to get it; "" where it is there.
        error: What work that needs it would raise, None where it is there.
    """

    name: str
    state: str
    found: str
    how: str = ""
    error: LabdError | None = None


def look(name: str, check: Callable[[], str]) -> Need:
    """The need called *name*: what *check* returns was found, what it raises is missing."""
    try:
        return Need(name, OK, check())
    except LabdError as error:
        return Need(name, MISSING, error.what, error.fix, error)


def labd_needs() -> list[Need]:
    """What labd itself needs, for everything that is done without Vivado."""
    return [
        _python(),
        _packages(),
        _board(),
        *map(_dataset, DATASETS),
        *map(_extra, ("train", "peer")),
        _compiler(),
    ]


def _python() -> Need:
    running = sys.version_info[:2]
    said = f"{sys.version.split()[0]} in {sys.prefix}"
    if PYTHONS[0] <= running <= PYTHONS[1]:
        return Need("python", OK, said)
    return Need("python", MISSING, f"{said}, 3.11 to 3.13 is wanted", "make setup PYTHON=python3.11")


def _packages() -> Need:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Need("packages", MISSING, f"{', '.join(missing)} not installed", "make setup")
    return Need("packages", OK, ", ".join(found))


def _board() -> Need:
    """Made by the first virtual board; all it needs is a Python it can have."""
    wanted = environments.environment("board")
    folder = environments.folder(wanted)
    if environments.is_ready(wanted, folder):
        return Need("board environment", OK, str(folder))
    try:
        python = environments.find_python(wanted)
    except LabdError as error:
        return Need("board environment", MISSING, error.what, error.fix, error)
    return Need(
        "board environment",
        OPTIONAL,
        f"not made yet, {python} is there for it",
        "made by the first labd board up",
    )


def _extra(name: str) -> Need:
    wanted = environments.environment(name)
    folder = environments.folder(wanted)
    if environments.is_ready(wanted, folder):
        return Need(f"{name} environment", OK, str(folder))
    return Need(f"{name} environment", OPTIONAL, f"not made: {wanted.purpose}", f"make {name}-env")


def _dataset(name: str) -> Need:
    folder = datasets.present(name)
    if folder is not None:
        return Need(name, OK, str(folder))
    return Need(
        name,
        OPTIONAL,
        "not on this machine",
        f"downloaded when first used, or put its files into {datasets.cache_folder(name)}",
    )


def _compiler() -> Need:
    path = shutil.which("g++")
    if path:
        return Need("g++", OK, path)
    return Need(
        "g++", OPTIONAL, "not on PATH: FINN's C++ simulation wants it, labd does not", "apt install g++"
    )
