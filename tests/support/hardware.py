"""A machine with everything a hardware build needs: stand-ins for Vivado and Vitis HLS, FINN's dependencies."""

import sys
from pathlib import Path

from labd_host.machine.processes import with_variables
from labd_host.vivado import finn_dependencies
from support.paths import ROOT

STAND_IN = Path(__file__).with_name("vivado_stand_in.py")
OF_THIS_TEST = "LABD_STAND_IN_OF"  # its processes are found by this variable
WORKER = "support.stand_in_worker"
BOARD_XML = '<?xml version="1.0"?>\n<board schema_version="2.0" vendor="tul.com.tw" name="pynq-z2"></board>\n'


def install_tools(folder: Path, version: str = "2022.2") -> Path:
    """Vivado and Vitis HLS as AMD's installer lays them out; XILINX_VIVADO's value."""
    for product, name in (("Vivado", "vivado"), ("Vitis_HLS", "vitis_hls")):
        tool = folder / "Xilinx" / product / version / "bin" / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} -S {STAND_IN} {name} "$@"\n')  # -S: starts sooner
        tool.chmod(0o755)
    return folder / "Xilinx" / "Vivado" / version


def install_dependencies(folder: Path) -> Path:
    """finn-hlslib at the wanted commit and the board's files; FINN_DEPS' value."""
    library = folder / "deps" / "finn-hlslib"
    (library / ".git").mkdir(parents=True)
    (library / "bnn-library.h").write_text("// finn-hlslib\n")
    wanted = finn_dependencies._wanted("git_deps", "finn-hlslib")["commit"]
    (library / ".git" / "HEAD").write_text(wanted + "\n")
    board = folder / "deps" / "board_files" / "pynq-z2" / "A.0" / "board.xml"
    board.parent.mkdir(parents=True)
    board.write_text(BOARD_XML)
    return folder / "deps"


def python_path() -> str:
    """Where the build's process finds labd and the stand-ins."""
    return ":".join(str(ROOT / part) for part in ("host", "shared", "board", "tests"))


def equip(monkeypatch, folder: Path, fault: str = "") -> None:
    """Give this process's environment all of it, and the way in which the tools are to fail."""
    monkeypatch.setenv("XILINX_VIVADO", str(install_tools(folder)))
    monkeypatch.setenv("FINN_DEPS", str(install_dependencies(folder)))
    monkeypatch.setenv("PYTHONPATH", python_path())
    monkeypatch.setenv("LABD_CACHE", str(folder / "cache"))
    monkeypatch.setenv("LABD_STAND_IN", fault)
    monkeypatch.setenv(OF_THIS_TEST, str(folder))
    for name in ("XILINX_HLS", "FINN_TOOL_DIR_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)


def left_behind(folder: Path) -> list[int]:
    """The processes of the test whose folder this is that still run."""
    return with_variables({OF_THIS_TEST: str(folder)})
