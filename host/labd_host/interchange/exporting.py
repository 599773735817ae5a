"""`labd export`: a bundle as the folder that FINN's own driver, or finn-plus-driver, expects.

Source: Xilinx/finn 39f0c9a driver_base.py and validate.py (what they take of a driver.py);
finn-plus-driver 1.6.1 cli.py and overlays/dma.py (settings.json).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host.interchange.driver_file import DRIVER
from labd_host.interchange.findings import Findings
from labd_host.interchange.settings_file import DRIVER_TYPE, SETTINGS
from labd_shared.bundle import BundleFiles
from labd_shared.errors import UsageError, unknown_name
from labd_shared.files import replacing_folder
from labd_shared.manifest import BIT_NAME, HWH_NAME, MANIFEST_NAME, NETWORK_NAME, Manifest
from labd_shared.tensors import Shape, Tensor
from labd_shared.weight_files import FOLDER, parse_layer_file

FORMATS = ("finn", "finn-plus")
PLATFORM = "zynq-iodma"
PEER_MHZ = 100.0  # finn-plus-driver 1.6.1 sets FCLK0 to this, whatever it is told
CLOCK_TOLERANCE = 0.01
PEER_DATASETS = {"mnist": "mnist", "cifar10": "cifar", "cifar100": "cifar100"}

_DRIVER = '''\
"""The tensors of {network}, for FINN's driver; written by labd.

Put FINN's driver_base.py and validate.py, and the packages finn and qonnx they import, beside this file
(a deploy folder of the same FINN version has them). validate.py imports io_shape_dict from here.
"""

from driver_base import FINNExampleOverlay
from qonnx.core.datatype import DataType

io_shape_dict = {{
{entries}
}}
platform = "{platform}"


def open_accelerator(bitfile="../bitfile/finn-accel.bit", batch_size=1):
    """The accelerator at the clock it was built for."""
    return FINNExampleOverlay(
        bitfile_name=bitfile,
        platform=platform,
        io_shape_dict=io_shape_dict,
        batch_size=batch_size,
        fclk_mhz={clock_mhz!r},
    )
'''


@dataclass(frozen=True)
class ExportedPackage:
    """A folder that was written, and what its reader should know."""

    folder: Path
    files: tuple[str, ...]
    findings: Findings


def export_bundle(bundle: BundleFiles, folder: Path, form: str) -> ExportedPackage:
    """Write *bundle* as ``bitfile/finn-accel.{bit,hwh}`` and ``driver/driver.py`` or ``driver/settings.json``.

    Args:
        bundle: Any; of one for virtual boards the network and the manifest are put beside the bitfile,
            where a virtual board looks for them.
        folder: New or empty.
        form: One of `FORMATS`.

    Raises:
        UnknownName: another format.
        UsageError: the folder holds something, the format's driver would run the design too fast, or a DMA
            reads weights.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something already", fix="choose another folder with -o DIR")
    manifest, findings = bundle.manifest, Findings()
    _look_at(manifest, form, findings)
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as making:
        (making / "bitfile").mkdir()
        (making / "driver").mkdir()
        for name, ending in ((BIT_NAME, ".bit"), (HWH_NAME, ".hwh")):
            shutil.copyfile(bundle.path(name), making / "bitfile" / ("finn-accel" + ending))
        if NETWORK_NAME in manifest.files:
            for name in (NETWORK_NAME, MANIFEST_NAME):
                shutil.copyfile(bundle.path(name), making / "bitfile" / name)
        for name in _weights(manifest):
            path = making / "driver" / name
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(bundle.path(name), path)
        if form == "finn":
            (making / "driver" / DRIVER).write_text(driver_text(manifest))
        else:
            (making / "driver" / SETTINGS).write_text(settings_text(manifest))
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return ExportedPackage(folder, tuple(files), findings)


def _weights(manifest: Manifest) -> list[str]:
    """The files with weights that the driver writes at run time."""
    return [name for name in manifest.files if name.startswith(FOLDER)]


def _look_at(manifest: Manifest, form: str, findings: Findings) -> None:
    for name in _weights(manifest):
        if parse_layer_file(name) is None:
            raise UsageError(
                f"{name} is read by a DMA of its own, which labd cannot describe to FINN's drivers",
                fix="use the folder that FINN made with the design",
            )
    if form == "finn-plus":
        if manifest.clock_mhz < PEER_MHZ * (1 - CLOCK_TOLERANCE):
            raise UsageError(
                f"finn-plus-driver 1.6.1 always sets {PEER_MHZ:g} MHz, {manifest.network} was built for "
                f"{manifest.clock_mhz:g} MHz and would run too fast",
                fix="labd export BUNDLE --format finn -o DIR, or build it for 100 MHz or more",
            )
        if manifest.clock_mhz > PEER_MHZ * (1 + CLOCK_TOLERANCE):
            findings.doubt(
                "clock",
                f"built for {manifest.clock_mhz:g} MHz; finn-plus-driver 1.6.1 runs it at {PEER_MHZ:g} MHz",
            )
    if manifest.input_contract.kind == "scaled":
        contract = manifest.input_contract
        findings.doubt(
            "input",
            f"the network wants pixel * {contract.scale:g} + {contract.offset:g}; FINN's formats cannot say so",
        )
    if manifest.target == "emu":
        findings.doubt("target", "the bitfile is for virtual boards; no real board would load it")


def driver_text(manifest: Manifest) -> str:
    """A driver.py with io_shape_dict as FINN's driver_base.py takes it."""
    entries = []
    for key, value in io_shape_dict(manifest, ("input_dma_name", "output_dma_name"), tuple).items():
        shown = f"[{', '.join(value)}]" if key in ("idt", "odt") else repr(value)
        entries.append(f"    {key!r}: {shown},".replace("'", '"'))
    return _DRIVER.format(
        network=manifest.network, entries="\n".join(entries), platform=PLATFORM, clock_mhz=manifest.clock_mhz
    )


def settings_text(manifest: Manifest) -> str:
    """A settings.json as finn-plus-driver takes it."""
    told: dict[str, Any] = {
        "driver_type": DRIVER_TYPE,
        "platform": PLATFORM,
        "fclk_mhz": manifest.clock_mhz,
        "io_shape_dict": io_shape_dict(manifest, ("idma_names", "odma_names"), list),
        "external_weights": False,
        "runtime_weights": bool(_weights(manifest)),
    }
    if manifest.dataset in PEER_DATASETS:
        told["validation_dataset"] = PEER_DATASETS[manifest.dataset]
    return json.dumps({"driver_information": told, "experiment_information": {}}, indent=2) + "\n"


def io_shape_dict(
    manifest: Manifest, dma_keys: tuple[str, str], shape_as: type[tuple[int, ...]] | type[list[int]]
) -> dict[str, Any]:
    """The list generation of FINN's io_shape_dict; datatypes as ``DataType['UINT8']`` texts."""

    def shapes(tensors: Sequence[Tensor], kind: str) -> list[Any]:
        values: list[Shape] = [getattr(tensor, kind) for tensor in tensors]
        return [shape_as(value) for value in values]

    record: dict[str, Any] = {}
    for side, tensors in (("i", manifest.inputs), ("o", manifest.outputs)):
        record[f"{side}dt"] = [f"DataType['{tensor.datatype.name}']" for tensor in tensors]
        for kind in ("normal", "folded", "packed"):
            record[f"{side}shape_{kind}"] = shapes(tensors, kind)
    record[dma_keys[0]] = [tensor.dma for tensor in manifest.inputs]
    record[dma_keys[1]] = [tensor.dma for tensor in manifest.outputs]
    record["number_of_external_weights"] = 0
    record["num_inputs"], record["num_outputs"] = len(manifest.inputs), len(manifest.outputs)
    return record
