"""Where the parts of a FINN package lie: bitfile, .hwh, and what describes the tensors.

Source: Xilinx/finn 39f0c9a builder/build_dataflow_steps.py (step_deployment_package), its bnn-pynq
notebooks (the flat zip), finn-plus 1.6.1 (deploy/ with settings.json).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from labd_host.interchange.driver_file import DRIVER
from labd_host.interchange.package_files import Files, PackageFolder, Zip
from labd_host.interchange.settings_file import SETTINGS
from labd_shared.errors import ArtifactError, UsageError

MAX_DESCRIPTION_BYTES = 1 << 20
PREFIXES = ("", "deploy/")
# bitfile without its ending -> the folder of its description
LAYOUTS = {"bitfile/finn-accel": "driver/", "resizer": "", "finn-accel": ""}
WEIGHT_FOLDERS = ("runtime_weights", "mlo_weights")


class NoPackage(ArtifactError):
    """Not one file of a FINN package is there."""


@dataclass(frozen=True)
class Package:
    """A package whose parts are all there.

    Attributes:
        origin: What was named.
        files: Its files.
        bit, hwh: Their names in it.
        description: settings.json or driver.py, "" for a bare bitfile.
        ignored: Another description that lies beside it, "" where there is none.
    """

    origin: Path
    files: Files
    bit: str
    hwh: str
    description: str
    ignored: str = ""

    def beside_bit(self, name: str) -> str:
        """The name of a file in the bitfile's folder."""
        return self.bit.rpartition("/")[0] + "/" + name if "/" in self.bit else name

    def weights(self) -> list[str]:
        """Files of weights that have to be loaded before the accelerator runs."""
        folder = self.description.rpartition("/")[0]
        roots = {f"{folder}/{name}" if folder else name for name in WEIGHT_FOLDERS}
        roots.add(self.bit.removesuffix(".bit") + "_runtime_weights")  # as finn-examples has them
        found = [name for root in roots for name in self.files.below(root)]
        return sorted(name for name in found if name.endswith((".dat", ".npy", ".bin")))


def find_package(path: Path, hwh: Path | None = None) -> Package:
    """The package at *path*: a folder, a .zip, a settings.json, a driver.py or a .bit.

    Args:
        path: What the user named.
        hwh: The .hwh of a bare bitfile; the one of the same name beside it when None.

    Raises:
        UsageError: no such path, or of another kind.
        NoPackage: nothing of a package is there.
        ArtifactError: it is not a whole package; says what is there and what is missing.
    """
    if not path.exists():
        raise UsageError(f"there is no {path}", fix="name a deploy folder, a .zip, a settings.json or a .bit")
    if path.suffix == ".bit":
        return _bare(path, hwh)
    if hwh is not None:
        raise UsageError(f"--hwh goes with a bare .bit, {path.name} is none", fix="leave --hwh out")
    if path.is_dir():
        return _search(path, PackageFolder(path))
    if path.suffix == ".zip":
        return _search(path, Zip(path))
    if path.name in (SETTINGS, DRIVER):
        folder = path.absolute().parent
        return _search(path, PackageFolder(folder.parent if folder.name == "driver" else folder))
    raise UsageError(
        f"{path.name} is of no kind that can be imported",
        fix="name a deploy folder, a .zip, a settings.json or a .bit",
    )


def _bare(bit: Path, hwh: Path | None) -> Package:
    beside = hwh or bit.with_suffix(".hwh")
    if not beside.is_file():
        raise ArtifactError(
            f"{bit.name} has no {beside.name} beside it", fix="copy the .hwh of the same build, or --hwh FILE"
        )
    if beside.absolute().parent != bit.absolute().parent:
        raise UsageError(
            f"{beside} lies in another folder than {bit.name}", fix="put the two files of one build together"
        )
    return Package(bit, PackageFolder(bit.absolute().parent), bit.name, beside.name, "")


def _search(origin: Path, files: Files) -> Package:
    whole: list[Package] = []
    partly: list[tuple[list[str], list[str]]] = []
    for prefix, (stem, folder) in product(PREFIXES, LAYOUTS.items()):
        bit, hwh = f"{prefix}{stem}.bit", f"{prefix}{stem}.hwh"
        described = [name for kind in (SETTINGS, DRIVER) if files.has(name := f"{prefix}{folder}{kind}")]
        have = [name for name in (bit, hwh) if files.has(name)] + described
        lack = [name for name in (bit, hwh) if not files.has(name)]
        if not described:
            lack.append(f"{prefix}{folder}{SETTINGS} or {DRIVER}")
        if not lack:
            whole.append(Package(origin, files, bit, hwh, described[0], "".join(described[1:])))
        elif have:
            partly.append((have, lack))
    if len(whole) > 1:
        raise ArtifactError(
            f"{origin} holds {len(whole)} designs: {', '.join(package.bit for package in whole)}",
            fix="keep one of them in a folder of its own",
        )
    if whole:
        return whole[0]
    if partly:
        have, lack = max(partly, key=lambda parts: len(parts[0]))
        raise ArtifactError(
            f"{origin} is nearly a deploy package: it has {', '.join(have)}, it lacks {', '.join(lack)}",
            fix="copy the missing files from the build's deploy/, or import the bare .bit with --input and --output",
        )
    raise NoPackage(
        f"{origin} is no FINN package: neither bitfile/finn-accel.bit nor resizer.bit is in it",
        fix="name the folder that holds bitfile/ and driver/, or import the bare .bit with --input and --output",
    )
