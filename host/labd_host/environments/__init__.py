"""The virtual environments labd lives in, and how each is made.

Packages of this field conflict (DESIGN.md, Environments), so there are several. Each one has
``NAME.txt`` beside this file (what is asked for) and ``NAME.constraints.txt`` (every version that
was tested together). An environment is named by the digest of both, made under a lock, and used
only once its stamp is written: a killed set-up is made anew, a finished one costs nothing.

One is no virtual environment but a root file system of 32 bits (`userland`): its ``NAME.txt`` lists
packages of a Debian release, which fixes their versions.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from labd_host.environments import userland
from labd_host.machine import places
from labd_host.machine.listener import SILENT, Listener
from labd_host.machine.locks import hold
from labd_shared.errors import SetupError, ToolNotFound, unknown_name

HERE = Path(__file__).parent
STAMP = "labd-environment"
UNFINISHED = "unfinished"
PROBE_TIMEOUT_S = 20
STEP_TIMEOUT_S = 3600
LOCK_TIMEOUT_S = 4 * 3600.0  # the steps of one environment, in another process


@dataclass(frozen=True)
class Environment:
    """One environment: which Pythons it can have, newest tested first, and what needs it."""

    name: str
    pythons: tuple[str, ...]
    purpose: str
    without_dependencies: tuple[str, ...] = ()  # installed in a second step with --no-deps
    pip: str = ""  # a pip that still runs on that Python, where the one in ensurepip is too old


@dataclass(frozen=True)
class Userland(Environment):
    """One that is a root file system of 32 bits, with Debian's Python."""

    release: str = ""  # of Debian


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment(
            "host",
            ("3.11", "3.12", "3.13"),
            "the labd command, FINN, the virtual boards, tests",
            # finn-plus pins brevitas 0.13.0 and mip, its driver numpy below 2 and grpcio 1.64: none fits beside
            # ours. Of the driver only the packer is used, and of the loaders what they read, to compare with.
            without_dependencies=("finn-plus", "finn-plus-driver", "finn-dataset-loading"),
        ),
        Environment("board", ("3.11", "3.12"), "a virtual board's Python: the real pynq library"),
        Environment("board30", ("3.10",), "a virtual board with the pynq library of image 3.0.1"),
        Environment(
            "peer",
            ("3.11", "3.12"),
            "a virtual board with finn-plus-driver, to read what labd exports",
            # The driver pins numpy below 2 and grpcio 1.64 as the board does, and wants data sets' loaders that are
            # not needed here; of qonnx it uses the datatypes.
            without_dependencies=("qonnx", "finn-plus-driver"),
        ),
        Environment("train", ("3.11", "3.12", "3.13"), "training with Brevitas and PyTorch"),
        Environment("types", ("3.11", "3.12", "3.13"), "lint and types"),
        Environment("py36", ("3.6",), "the board's code on PYNQ 2.5 and 2.6's Python", pip="pip==21.3.1"),
        Environment("py38", ("3.8",), "the board's code on PYNQ 2.7's Python"),
        Environment("py310", ("3.10",), "the board's code on PYNQ 3.x's Python"),
        Userland("i386", ("3.11",), "the board's code in a userland of 32 bits", release="bookworm"),
    )
}


def environment(name: str) -> Environment:
    """The environment called *name*.

    Raises:
        UnknownName: there is none.
    """
    if name not in ENVIRONMENTS:
        raise unknown_name("environment", name, ENVIRONMENTS)
    return ENVIRONMENTS[name]


def digest(wanted: Environment) -> str:
    """Twelve hex digits over everything that decides what the environment holds."""
    content = hashlib.sha256(repr(wanted).encode())
    for path in _files(wanted):
        content.update(path.read_bytes())
    return content.hexdigest()[:12]


def _files(wanted: Environment) -> tuple[Path, Path]:
    """What it holds, and what fixes the rest."""
    other = userland.LAUNCHER if isinstance(wanted, Userland) else HERE / f"{wanted.name}.constraints.txt"
    return HERE / f"{wanted.name}.txt", other


def folder(wanted: Environment) -> Path:
    """Where the environment lies or will lie, unless a caller names another place."""
    return places.home() / "environments" / f"{wanted.name}-{digest(wanted)}"


def is_ready(wanted: Environment, where: Path) -> bool:
    """Whether a finished environment of this content is at *where*."""
    stamp = where / STAMP
    return stamp.is_file() and stamp.read_text() == digest(wanted)


def check(wanted: Environment) -> None:
    """Look whether *wanted* can run here at all.

    Raises:
        ToolNotFound: no Python of the right version.
        SetupError: a userland that cannot run here.
    """
    if isinstance(wanted, Userland):
        userland.check()
    else:
        find_python(wanted)


def find_python(wanted: Environment) -> Path:
    """An interpreter of a version *wanted* can have: this one, else one on PATH, or one of pyenv's.

    Raises:
        ToolNotFound: there is none.
    """
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in sorted(wanted.pythons, key=lambda version: version != running):
        candidates = [Path(sys.executable)] if version == running else []
        on_path = shutil.which(f"python{version}")
        candidates += [Path(on_path)] if on_path else []
        candidates += [Path("/usr/bin") / f"python{version}"]
        candidates += sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        if root := os.environ.get("PYENV_ROOT"):
            candidates += sorted((Path(root) / "versions").glob(f"{version}.*/bin/python"))
        for candidate in candidates:
            if _version(candidate) == version:
                return candidate
    names = " or ".join(f"python{version}" for version in wanted.pythons)
    raise ToolNotFound(
        f"no {names} was found, the environment {wanted.name!r} ({wanted.purpose}) needs one",
        fix=f"install one and put it on PATH, for example: apt install python{wanted.pythons[0]} "
        f"python{wanted.pythons[0]}-venv",
    )


def _version(python: Path) -> str:
    """major.minor of *python*, "" where it does not start (a pyenv shim without a version, say)."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def ensure(name: str, *, where: Path | None = None, listener: Listener = SILENT) -> Path:
    """The Python of a finished environment, made first where it is missing.

    Args:
        name: One of `ENVIRONMENTS`.
        where: Its folder; the user's data folder when None.
        listener: Told before anything slow starts.

    Raises:
        ToolNotFound: no Python of the right version, or no debootstrap.
        SetupError: pip or debootstrap failed, the facts hold the end of its log; another process has been making it
            for hours; or as `check`.
    """
    wanted = environment(name)
    target = where or folder(wanted)
    if is_ready(wanted, target):
        return target / "bin" / "python"
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(target.name + ".lock")
    with hold(lock, LOCK_TIMEOUT_S, f"making the environment {name!r}"):
        if not is_ready(wanted, target):  # another process may have made it while we waited
            _make(wanted, target, listener)
    return target / "bin" / "python"


def _make(wanted: Environment, target: Path, listener: Listener) -> None:
    if target.exists() and any(target.iterdir()) and not (target / STAMP).is_file():
        raise SetupError(
            f"{target} is there and was not made by labd, so it is left alone",
            fix="move it away, or choose another folder: make VENV=.venv-labd ...",
        )
    check(wanted)
    base = userland.find_debootstrap() if isinstance(wanted, Userland) else find_python(wanted)
    listener.say(
        f"making the environment {wanted.name!r} ({wanted.purpose}) in {target}; this takes a minute or more"
    )
    if target.exists():
        shutil.rmtree(target)
    target.mkdir()
    (target / STAMP).write_text(UNFINISHED)  # ours from the first moment on, ready only at the end
    log = target.with_name(target.name + ".log")
    if isinstance(wanted, Userland):
        packages, _ = _files(wanted)

        def run(command: list[str]) -> None:
            _run(command, log, wanted, userland.STEP_TIMEOUT_S)

        userland.make(base, target, wanted.release, packages, run)
    else:
        _make_virtual(base, target, log, wanted)
    (target / STAMP).write_text(digest(wanted))
    log.unlink(missing_ok=True)


def _make_virtual(base: Path, target: Path, log: Path, wanted: Environment) -> None:
    _run([str(base), "-m", "venv", str(target)], log, wanted)
    python = str(target / "bin" / "python")
    requirements, constraints = _files(wanted)
    install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if wanted.pip:
        _run([*install, wanted.pip], log, wanted)
    _run([*install, "-c", str(constraints), "-r", str(requirements)], log, wanted)
    for package in wanted.without_dependencies:
        _run([*install, "--no-deps", "-c", str(constraints), package], log, wanted)


def _run(command: list[str], log: Path, wanted: Environment, timeout_s: float = STEP_TIMEOUT_S) -> None:
    with log.open("ab") as handle:
        handle.write((" ".join(command) + "\n").encode())
        handle.flush()
        try:
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
            code = result.returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code:
        tail = log.read_text(errors="replace").splitlines()[-12:]
        proxy = (
            "http_proxy"
            if isinstance(wanted, Userland)
            else "https_proxy, from a wheelhouse set PIP_FIND_LINKS"
        )
        raise SetupError(
            f"making the environment {wanted.name!r} failed (exit {code}): {tail[-1] if tail else 'no output'}",
            fix=f"read {log}; behind a proxy set {proxy}, then again",
            log_tail=tail,
        )
