"""What finn-plus wants beside itself for a hardware build, and where: finn-hlslib and the board's files.

pip does not bring them; FINN looks for them in the folder that the variable FINN_DEPS names. labd keeps one
in its own home, since the one in the Python environment is lost with it. ``finn deps update`` would fetch
them, but wants a Vivado first, and builds a simulator that no build here needs: two commands do it as well.
FINN is not imported here: where its package lies is enough.

Source: finn-plus 1.6.1, interface/external_dependencies.yaml (addresses, commits), settings.py (FINN_DEPS),
transformation/fpgadataflow/templates.py (the board_part and its search path).
"""

from __future__ import annotations

import importlib.util
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from labd_host.machine import places
from labd_host.machine.yaml_files import read_yaml
from labd_shared.errors import LabdError, SetupError
from labd_shared.files import read_bounded
from labd_shared.records import Origin

VARIABLE = "FINN_DEPS"
LIBRARY = "finn-hlslib"
BOARD_VENDOR, BOARD_NAME = "tul.com.tw", "pynq-z2"
MAX_FILE_BYTES = 16 << 20


def folder(variables: Mapping[str, str] | None = None) -> Path:
    """Where they lie: what FINN_DEPS says, else labd's home."""
    named = (os.environ if variables is None else variables).get(VARIABLE)
    return Path(named).expanduser().absolute() if named else places.home() / "finn-deps"


def check_library(where: Path) -> str:
    """finn-hlslib's commit, in short.

    Raises:
        SetupError: it is not there, or of another commit than this FINN wants.
    """
    library = where / LIBRARY
    source = _wanted("git_deps", LIBRARY)
    wanted = source["commit"]
    if not (library / "bnn-library.h").is_file():
        raise SetupError(
            f"{library} has no bnn-library.h",
            fix=f"git clone {source['url']} {library} && git -C {library} checkout {wanted}",
        )
    try:
        head = read_bounded(library / ".git" / "HEAD", 4096, "").decode("ascii", "replace").strip()
    except LabdError:
        head = "unknown"  # copied without its history: nothing says which it is
    if head != wanted:
        raise SetupError(
            f"{library} is at commit {head[:12]}, finn-plus 1.6.1 wants {wanted[:12]}",
            fix=f"git -C {library} fetch && git -C {library} checkout {wanted}",
        )
    return head[:12]


def check_board_files(where: Path) -> Path:
    """The board file of the PYNQ-Z2.

    Raises:
        SetupError: it is not below board_files, where FINN has Vivado look, or is another board's.
    """
    boards = where / "board_files"
    for path in sorted(boards.glob("*/board.xml")) + sorted(boards.glob("*/*/board.xml")):
        if _board_of(path) == (BOARD_VENDOR, BOARD_NAME):
            return path
    url = _wanted("direct_download_deps", BOARD_NAME)["url"]
    archive = boards / url.rsplit("/", 1)[-1]
    raise SetupError(
        f"{boards} has no board file of {BOARD_VENDOR}:{BOARD_NAME}",
        fix=f"mkdir -p {boards} && wget -O {archive} {url} && unzip -d {boards} {archive}",
    )


def _board_of(path: Path) -> tuple[str, str]:
    """Vendor and name in a board.xml, empty where it is none."""
    try:
        content = read_bounded(path, MAX_FILE_BYTES, "")
        if b"<!ENTITY" in content:
            return "", ""
        root = ElementTree.fromstring(content)
    except (LabdError, ElementTree.ParseError):
        return "", ""
    return root.get("vendor", ""), root.get("name", "")


def _wanted(section: str, name: str) -> dict[str, str]:
    """What FINN's own list of dependencies says of one: its address, and its commit."""
    spec = importlib.util.find_spec("finn")
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("finn-plus is not installed", fix="make setup")
    path = Path(spec.submodule_search_locations[0]) / "interface" / "external_dependencies.yaml"
    sections = read_yaml(path, MAX_FILE_BYTES, Origin(str(path), "make setup", SetupError)).entries()
    entries = sections[section].entries() if section in sections else {}
    if name not in entries:
        raise SetupError(f"{path} does not say where {name} is to be had", fix="make setup")
    return {key: str(value.raw) for key, value in entries[name].entries().items()}
