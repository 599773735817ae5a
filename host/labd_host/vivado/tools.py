"""Find Vivado and Vitis HLS, ask them for their version, and make the environment FINN calls them in.

FINN calls the tools by their bare names and takes Vivado's version from the path in XILINX_VIVADO, so
both are set for it: AMD's settings64.sh need not be sourced.

Source: finn-plus 1.6.1, util/basic.py (resolve_xilinx_tool, get_vivado_version), util/hls.py (vitis_hls
up to 2024.2, vitis-run after it), its METADATA (Vivado and Vitis HLS 2022.2 or 2024.2); the folders are
those of AMD's installers, before and since 2025.1.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from labd_host.machine.child import Child, ChildEnd, ChildLingers
from labd_shared.errors import SetupError, ToolNotFound, WrongVersion

TESTED = ((2022, 2), (2024, 2))
"""The versions that finn-plus 1.6.1 names in its own description."""
LAST_VITIS_HLS = (2024, 2)  # after it the same is called vitis-run
ASK_TIMEOUT_S = 60.0  # Vivado takes seconds to start, from a network drive many more
OVERRIDE = "FINN_TOOL_DIR_OVERRIDE"  # FINN's own: a folder of wrappers with the tools' names
INSTALLED_IN = ("/tools/Xilinx", "/opt/Xilinx", "/opt/xilinx", "~/Xilinx", "/opt/AMD", "/tools/AMD")

GET_VIVADO = (
    "install Vivado ML Standard 2022.2 (free, with Vitis HLS and the Zynq-7000 devices) from AMD's download page; "
    "if it is installed, name it: export XILINX_VIVADO=/tools/Xilinx/Vivado/2022.2"
)

Version = tuple[int, int]


@dataclass(frozen=True)
class Tool:
    """A program that was found and told its version.

    Attributes:
        name: "vivado", "vitis_hls" or "vitis-run".
        path: Of the program.
        version: (2022, 2).
    """

    name: str
    path: Path
    version: Version

    @property
    def said(self) -> str:
        """ "vivado 2022.2"."""
        return f"{self.name} {said(self.version)}"


@dataclass(frozen=True)
class Toolchain:
    """The two programs a build needs."""

    vivado: Tool
    hls: Tool


def said(version: Version) -> str:
    """ "2022.2"."""
    return f"{version[0]}.{version[1]}"


def find_vivado(variables: Mapping[str, str] | None = None) -> Tool:
    """Vivado: from FINN's override, XILINX_VIVADO, PATH or where AMD's installer puts it, newest tested first.

    Args:
        variables: The environment, `os.environ` when None.

    Raises:
        ToolNotFound: it is nowhere, or XILINX_VIVADO names a folder without it.
        SetupError: it does not start or does not tell its version in time.
    """
    variables = os.environ if variables is None else variables
    root = variables.get("XILINX_VIVADO")
    if root and not variables.get(OVERRIDE) and not _is_program(Path(root) / "bin" / "vivado"):
        raise ToolNotFound(f"XILINX_VIVADO is {root}, which has no bin/vivado", fix=GET_VIVADO)
    for path in _vivado_places(variables):
        if _is_program(path):
            return Tool("vivado", path, ask_version(path))
    raise ToolNotFound("no Vivado was found", fix=GET_VIVADO)


def find_hls(vivado: Tool, variables: Mapping[str, str] | None = None) -> Tool:
    """The Vitis HLS that belongs to *vivado*.

    Raises:
        ToolNotFound: it is not installed beside it, nor on PATH.
        WrongVersion: the one that was found is of another version.
        SetupError: it does not start or does not tell its version in time.
    """
    variables = os.environ if variables is None else variables
    name = "vitis_hls" if vivado.version <= LAST_VITIS_HLS else "vitis-run"
    for path in _hls_places(name, vivado, variables):
        if _is_program(path):
            tool = Tool(name, path, ask_version(path))
            if tool.version != vivado.version:
                raise WrongVersion(
                    f"{path} is of version {said(tool.version)}, Vivado is {said(vivado.version)}",
                    fix=f"install Vitis HLS {said(vivado.version)} with the same installer as Vivado",
                )
            return tool
    raise ToolNotFound(
        f"no {name} was found beside {vivado.path} nor on PATH",
        fix=f"add Vitis HLS {said(vivado.version)} with AMD's installer (Add Design Tools or Devices)",
    )


def check_tested(vivado: Tool) -> None:
    """Refuse a version that FINN does not name.

    Raises:
        WrongVersion: it is another one.
    """
    if vivado.version not in TESTED:
        raise WrongVersion(
            f"Vivado {said(vivado.version)} was found, finn-plus 1.6.1 names {' and '.join(map(said, TESTED))}",
            fix="install one of these, or try it: labd build ... --ignore-check vivado",
        )


def ask_version(path: Path, timeout_s: float = ASK_TIMEOUT_S) -> Version:
    """What ``path -version`` says.

    Raises:
        SetupError: it does not start, does not end in time, or says no version.
    """
    try:
        with Child([str(path), "-version"], end=ChildEnd(grace_s=0.0)) as child:
            code = child.finish(timeout_s)
    except ChildLingers as error:
        raise SetupError(
            f"{path} did not print its version within {timeout_s:g} s",
            fix=f"see what it does: {path} -version",
        ) from error
    except OSError as error:
        raise SetupError(f"{path} does not start: {error.strerror}", fix=GET_VIVADO) from error
    text = "\n".join(child.tail)
    # "Vivado v2022.2 (64-bit)", "Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2022.2 (64-bit)"
    found = re.search(r"\bv(20\d\d)\.(\d)\b", text)
    if found is None:
        raise SetupError(
            f"{path} -version ended with {code} and named no version: {' '.join(text.split())[:120]!r}",
            fix=f"see what is wrong with it: {path} -version",
        )
    return int(found.group(1)), int(found.group(2))


def environment(tools: Toolchain, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables to run FINN's hardware transformations with."""
    made = dict(os.environ if variables is None else variables)
    made["XILINX_VIVADO"] = str(vivado_root(tools.vivado))
    made["XILINX_HLS"] = str(tools.hls.path.parent.parent)
    made.setdefault("XILINX_LOCAL_USER_DATA", "no")  # as FINN does: parallel runs share the user's Tcl store
    folders = [str(tools.vivado.path.parent), str(tools.hls.path.parent), made.get("PATH", os.defpath)]
    made["PATH"] = os.pathsep.join(folders)
    return made


def vivado_root(vivado: Tool) -> Path:
    """A path to Vivado's folder that names the version, as FINN wants to read it there.

    Raises:
        SetupError: no such path; FINN would not know the version.
    """
    root = vivado.path.parent.parent
    for candidate in (root, root.resolve()):
        if re.search(rf"\b{vivado.version[0]}\.{vivado.version[1]}\b", str(candidate)):
            return candidate
    raise SetupError(
        f"Vivado {said(vivado.version)} lies in {root}, and FINN reads the version from that path",
        fix=f"make a link that names it and use that: ln -s {root} ~/Vivado-{said(vivado.version)}; "
        f"export XILINX_VIVADO=~/Vivado-{said(vivado.version)}",
    )


def find_toolchain(variables: Mapping[str, str] | None = None) -> Toolchain:
    """Both tools; the errors are those of `find_vivado` and `find_hls`."""
    vivado = find_vivado(variables)
    return Toolchain(vivado, find_hls(vivado, variables))


def _vivado_places(variables: Mapping[str, str]) -> Iterator[Path]:
    if override := variables.get(OVERRIDE):
        yield Path(override) / "vivado"
        return
    if root := variables.get("XILINX_VIVADO"):
        yield Path(root) / "bin" / "vivado"
        return
    if on_path := shutil.which("vivado", path=variables.get("PATH")):
        yield Path(on_path)
    found: list[Path] = []
    for base in INSTALLED_IN:
        folder = Path(base).expanduser()
        for pattern in ("Vivado/20*.*/bin/vivado", "20*.*/Vivado/bin/vivado"):
            found += folder.glob(pattern)
    tested = tuple(map(said, TESTED))
    yield from sorted(
        found, key=lambda path: (any(part in tested for part in path.parts), str(path)), reverse=True
    )


def _hls_places(name: str, vivado: Tool, variables: Mapping[str, str]) -> Iterator[Path]:
    if override := variables.get(OVERRIDE):
        yield Path(override) / name
        return
    if root := variables.get("XILINX_HLS"):
        yield Path(root) / "bin" / name
    install = vivado.path.parent.parent  # .../Vivado/2022.2 or .../2025.1/Vivado
    version = said(vivado.version)
    for product in ("Vitis_HLS", "Vitis"):
        yield install.parent.parent / product / version / "bin" / name
        yield install.parent / product / "bin" / name
    yield install / "bin" / name
    if on_path := shutil.which(name, path=variables.get("PATH")):
        yield Path(on_path)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
