"""A userland of 32 bits, as on a PYNQ-Z2, to run the board's code in.

A processor of x86-64 runs Debian's i386 packages at its own speed. debootstrap puts them into the folder
``root`` of an environment, and ``bin/python`` beside it (``userland-python.sh``) is a command like any other
Python: it runs in that root file system, on the files of the working directory. Both need root.

Standard library only, as everything here.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from labd_shared.errors import SetupError, ToolNotFound

LAUNCHER = Path(__file__).with_name("userland-python.sh")
# Processes and mounts in here, debootstrap's /proc, too, end with whoever started them, however that ends.
NAMESPACE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
PROBE = "import sys, numpy, pytest, PIL; sys.exit(sys.maxsize >> 32 and 'a word has 64 bits there')"
PROBE_TIMEOUT_S = 20
STEP_TIMEOUT_S = 900  # 50 MB; debootstrap itself tries for hours where a network swallows what is sent


def check() -> None:
    """Look whether such a userland can run here.

    Raises:
        SetupError: another processor, not root, or a container that allows no mounts.
    """
    if platform.machine() != "x86_64":
        raise SetupError(
            f"this processor is {platform.machine()}, a userland of i386 runs on x86_64 only",
            fix="nothing helps here; the other environments test the same code",
        )
    if os.geteuid() != 0:
        raise SetupError("a userland of 32 bits needs root, for chroot", fix="sudo make test-images")
    try:
        allowed = subprocess.run(
            [*NAMESPACE, "true"], capture_output=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"setpriv does not run: {error}", fix="apt-get install util-linux") from None
    if allowed.returncode:
        raise SetupError(
            f"a userland of 32 bits needs mounts of its own: {allowed.stderr.decode(errors='replace').strip()}",
            fix="in a container, allow it: docker run --privileged ...",
        )


def find_debootstrap() -> Path:
    """The program that makes root file systems.

    Raises:
        ToolNotFound: there is none.
    """
    found = shutil.which("debootstrap")
    if found is None:
        raise ToolNotFound(
            "no debootstrap was found, which makes a userland of 32 bits",
            fix="apt-get install debootstrap debian-archive-keyring",
        )
    return Path(found)


def make(
    debootstrap: Path, target: Path, release: str, packages: Path, run: Callable[[list[str]], None]
) -> None:
    """Make ``root`` and ``bin/python`` in *target*.

    What was downloaded is kept beside *target* until all is done, so a killed run need not fetch it again.

    Args:
        debootstrap: The program.
        target: A folder of the environment's own.
        release: Debian's name of it, "bookworm".
        packages: A file, a package a line.
        run: Runs a command under a deadline, raises where it fails.
    """
    downloads = target.with_name(target.name + ".debs")
    downloads.mkdir(exist_ok=True)
    root = target / "root"
    included = ",".join(packages.read_text().split())
    options = ["--arch=i386", "--variant=minbase", "--force-check-gpg", f"--cache-dir={downloads}"]
    run([*NAMESPACE, str(debootstrap), *options, f"--include={included}", release, str(root)])
    for spare in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / spare)
    launcher = target / "bin" / "python"
    launcher.parent.mkdir()
    shutil.copyfile(LAUNCHER, launcher)
    launcher.chmod(0o755)
    run([str(launcher), "-c", PROBE])
    shutil.rmtree(downloads)
