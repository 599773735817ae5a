"""What a hardware build needs, looked at before it starts: `labd doctor` shows the list, a build obeys it.

How much disk and memory a build takes was not measured, there being no Vivado: the thresholds are guesses.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from labd_host.doctor.needs import OK, Need, look
from labd_host.vivado import finn_dependencies
from labd_host.vivado.tools import GET_VIVADO, check_tested, find_toolchain, find_vivado, vivado_root
from labd_shared.errors import SetupError, ToolNotFound

DISK_GB = 12
MEMORY_GB = 6
JOB_GB = 4  # of one run among several
LICENCE_VARIABLES = ("XILINXD_LICENSE_FILE", "LM_LICENSE_FILE")
# FINN writes its paths into Tcl and shell scripts without quotes.
PLAIN_PATH = re.compile(r"^[A-Za-z0-9_./+-]+$")
MAX_PATH = 200  # characters: the projects below it add as many again


def hardware_needs(work: Path) -> list[Need]:
    """What a build in the folder *work* needs, in the order in which it would fail.

    Args:
        work: It, or the nearest folder above it that exists, tells the free disk.
    """
    vivado = look("vivado", _vivado)
    hls = look("hls", _hls)
    deps = finn_dependencies.folder()
    return [
        vivado,
        hls,
        look("board-files", lambda: str(finn_dependencies.check_board_files(deps))),
        look(
            "finn-hlslib",
            lambda: f"{deps / finn_dependencies.LIBRARY} at {finn_dependencies.check_library(deps)}",
        ),
        Need("licence", OK, _licence()),
        look("path", lambda: _path(work, deps)),
        look("disk", lambda: _disk(work)),
        look("memory", _memory),
    ]


def demand(needs: list[Need], ignored: tuple[str, ...]) -> list[Need]:
    """Refuse to start while something is missing; what is missing and was accepted, to be said.

    Raises:
        LabdError: of what is missing; of several one that names all.
    """
    missing = [need for need in needs if need.error is not None]
    refused = [need for need in missing if need.name not in ignored]
    if len(refused) > 1:
        raise SetupError(
            f"a hardware build lacks {'; '.join(f'{need.name}: {need.found}' for need in refused)}",
            fix="labd doctor --for hw has the command that gets each",
            missing=[need.name for need in refused],
        )
    for need in refused:
        if need.error is not None:
            raise need.error
    return missing


def _vivado() -> str:
    vivado = find_vivado()
    vivado_root(vivado)
    check_tested(vivado)
    return f"{vivado.said} in {vivado.path.parent.parent}"


def _hls() -> str:
    try:
        tools = find_toolchain()
    except ToolNotFound as error:
        if error.fix == GET_VIVADO:
            raise ToolNotFound(
                "Vitis HLS is looked for beside Vivado, which was not found", fix=GET_VIVADO
            ) from error
        raise
    return f"{tools.hls.said} in {tools.hls.path.parent.parent}"


def _licence() -> str:
    """A hint: only a run tells. The xc7z020 is one of the devices of the free edition."""
    named = [name for name in LICENCE_VARIABLES if os.environ.get(name)]
    files = sorted((Path.home() / ".Xilinx").glob("*.lic"))
    if named:
        return f"{named[0]} is set"
    if files:
        return str(files[0])
    return "none found, and none needed for the xc7z020 with the Standard (WebPACK) edition"


def _path(work: Path, deps: Path) -> str:
    for path, fix in ((work, "choose another folder: -o /tmp/NAME"), (deps, "move them, and set FINN_DEPS")):
        if not PLAIN_PATH.match(str(path)):
            raise SetupError(
                f"the path is {str(path)!r}, FINN's scripts take letters, digits and ._+-/ only", fix=fix
            )
    if len(str(work)) > MAX_PATH:
        raise SetupError(
            f"the path of the build folder has {len(str(work))} characters, {MAX_PATH} is the most",
            fix="choose a shorter one: -o /tmp/NAME",
        )
    return str(work)


def _disk(work: Path) -> str:
    there = next(folder for folder in (work, *work.parents) if folder.exists())
    free_gb = shutil.disk_usage(there).free / 1e9
    if free_gb < DISK_GB:
        raise SetupError(
            f"{there} has {free_gb:.1f} GB free, a build takes up to {DISK_GB} GB",
            fix="make room, or -o elsewhere",
        )
    return f"{free_gb:.0f} GB free in {there}"


def _memory() -> str:
    free_gb = _free_gb()
    if free_gb < MEMORY_GB:
        raise SetupError(
            f"{free_gb:.1f} GB of memory and swap are free, Vivado and Vitis HLS take up to {MEMORY_GB} GB",
            fix="close other programs, or add swap",
        )
    return f"{free_gb:.0f} GB free, swap counted"


def default_jobs() -> int:
    """How many runs at a time this machine's processors and free memory allow."""
    return max(1, min(os.cpu_count() or 1, int(_free_gb() // JOB_GB)))


def _free_gb() -> float:
    """Memory and swap that are free."""
    said = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return sum(int(said[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024 / 1e9
