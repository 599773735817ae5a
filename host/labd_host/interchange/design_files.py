"""What the files of somebody else's design say, read and checked against each other; nothing is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from labd_host.interchange.driver_file import parse_driver
from labd_host.interchange.findings import Findings
from labd_host.interchange.import_options import ImportOptions
from labd_host.interchange.io_shapes import IoShapes, checked_tensor, read_io_shapes
from labd_host.interchange.package import MAX_DESCRIPTION_BYTES, Package, find_package
from labd_host.interchange.package_clock import Clock, accelerator_clock, wizard_mhz
from labd_host.interchange.settings_file import SETTINGS, parse_settings
from labd_host.interchange.tensor_option import FORM
from labd_shared.arrays import MAX_NPZ_BYTES
from labd_shared.bitfile import MAX_BIT_BYTES, PYNQ_Z2_PART, Bit, check_part, parse_bit
from labd_shared.digest import bytes_sha256
from labd_shared.errors import ArtifactError, DigestMismatch, UsageError, WrongPart
from labd_shared.files import read_bounded
from labd_shared.hwh import MAX_HWH_BYTES, Hwh, parse_hwh
from labd_shared.manifest import NETWORK_NAME
from labd_shared.weight_files import FOLDER, parse_layer_file
from labd_shared.weight_files import MAX_BYTES as MAX_WEIGHTS_BYTES

PLATFORM = "zynq-iodma"


@dataclass
class DesignFiles:
    """What the files say, before a manifest is made of it.

    Attributes:
        package: Where they lie.
        bit, bit_bytes, hwh, hwh_bytes: The bitfile and its description, read and as they are.
        shapes: The tensors.
        clock: Of the accelerator.
        dataset: The data set's name as the files have it, "" where they do not.
        network: The golden model's file; None where there is none.
        weights: Files of weights that the driver writes, by their names in a bundle.
        findings: What was checked, assumed and is in doubt.
    """

    package: Package
    bit: Bit
    bit_bytes: bytes
    hwh: Hwh
    hwh_bytes: bytes
    shapes: IoShapes
    clock: Clock
    dataset: str
    network: bytes | None
    weights: dict[str, bytes]
    findings: Findings = field(default_factory=Findings)


def read_design(path: Path, options: ImportOptions) -> DesignFiles:
    """Read and check everything at *path*; nothing is written. Arguments and errors are `import_design`'s."""
    package = find_package(path, options.hwh)
    findings = Findings()
    bit_bytes = package.files.read(package.bit, MAX_BIT_BYTES)
    hwh_bytes = package.files.read(package.hwh, MAX_HWH_BYTES)
    bit, hwh = parse_bit(bit_bytes, package.bit), parse_hwh(hwh_bytes, package.hwh)
    _check_parts(package, bit, hwh, findings)
    shapes, driver_mhz, dataset = _described(package, options, findings)
    _check_dmas(shapes, hwh, package, findings)
    clock = accelerator_clock(hwh, wizard_mhz(hwh_bytes), driver_mhz, options.clock_mhz, findings)
    network = _network(package, bit, options, findings)
    weights = _weights(package, hwh, findings)
    return DesignFiles(
        package, bit, bit_bytes, hwh, hwh_bytes, shapes, clock, dataset, network, weights, findings
    )


def _weights(package: Package, hwh: Hwh, findings: Findings) -> dict[str, bytes]:
    """The files of weights that the driver writes over AXI-lite, by their names in a bundle."""
    found = {}
    for name in package.weights():
        file = parse_layer_file(FOLDER + name.rpartition("/")[2])
        if file is None:
            raise ArtifactError(
                f"{name} holds weights for a DMA of their own: how often a frame it reads them is not in it",
                fix="build again with the weights in the bitfile, or with runtime_writeable_weights",
            )
        if file.block not in hwh.blocks:
            raise ArtifactError(
                f"{name} belongs to {file.block}, {package.hwh} has {', '.join(sorted(hwh.blocks))}",
                fix="copy the .hwh and the weights that were made together with the bitfile",
            )
        found[file.name] = package.files.read(name, MAX_WEIGHTS_BYTES)
    if found:
        findings.checked("weights", f"{', '.join(sorted(found))}: written before the first run")
    return found


def _check_parts(package: Package, bit: Bit, hwh: Hwh, findings: Findings) -> None:
    try:
        check_part(bit, hwh.part)
    except WrongPart as error:
        raise WrongPart(
            f"{package.bit} is for xc{bit.part} (IDCODE {bit.idcode:08X}), {package.hwh} for {hwh.part}",
            fix="copy the .hwh that was built together with the bitfile",
            part=hwh.part,
        ) from error
    findings.checked("part", f"{hwh.part} in .bit and .hwh")
    if hwh.part != PYNQ_Z2_PART:
        findings.doubt("part", f"{hwh.part} is not the PYNQ-Z2's {PYNQ_Z2_PART}")
    if bit.version and bit.date:
        findings.checked("build", f"Vivado {bit.version}, {bit.date} {bit.time}")


def _described(
    package: Package, options: ImportOptions, findings: Findings
) -> tuple[IoShapes, float | None, str]:
    """The tensors, the driver's clock and the data set's name, from the package or the options."""
    name = package.description
    if not name:
        if not options.inputs or not options.outputs:
            raise UsageError(
                f"nothing describes the tensors of {package.bit}", fix=f'--input "..." --output "...": {FORM}'
            )
        return _shapes_of_options(options, findings), None, ""
    if options.inputs or options.outputs:
        raise UsageError(
            f"{name} describes the tensors, so --input and --output cannot",
            fix=f"leave them out, or correct {name}",
        )
    content = package.files.read(name, MAX_DESCRIPTION_BYTES)
    if package.ignored:
        findings.doubt(
            "description", f"{name} is taken, {package.ignored} lies beside it and is not looked at"
        )
    if name.endswith(SETTINGS):
        settings = parse_settings(content, name)
        platform, fclk_mhz, dataset, record = (
            settings.platform, settings.fclk_mhz, settings.dataset, settings.io_shapes,
        )  # fmt: skip
        if settings.runtime_weights and not package.weights():
            raise ArtifactError(
                f"{name} says runtime_weights, and there is no {FOLDER} beside it",
                fix="copy the whole folder that finn-plus made",
            )
    else:
        driver = parse_driver(content, name)
        platform, fclk_mhz, dataset, record = driver.platform, driver.fclk_mhz, "", driver.io_shapes
    if platform not in ("", PLATFORM):
        raise ArtifactError(
            f"{name} is for platform {platform!r}, a PYNQ-Z2 wants {PLATFORM!r}", fix="build it for the board"
        )
    shapes = read_io_shapes(record, name, findings)
    findings.checked("description", f"{name}: io_shape_dict with {shapes.generation}")
    return shapes, fclk_mhz, dataset


def _shapes_of_options(options: ImportOptions, findings: Findings) -> IoShapes:
    sides = []
    for noun, tensors in (("in", options.inputs), ("out", options.outputs)):
        sides.append(
            tuple(
                checked_tensor(
                    f"global_{noun}" + (f"_{index}" if len(tensors) > 1 else ""),
                    option.datatype, option.normal, option.folded, option.dma, f"--{noun}put",
                )
                for index, option in enumerate(tensors)
            )
        )  # fmt: skip
    for tensor in (*sides[0], *sides[1]):
        findings.assumed(
            tensor.dma, f"{tensor.datatype.name} {tensor.normal}, folded {tensor.folded}, as given"
        )
    names = [tensor.dma for tensor in (*sides[0], *sides[1])]
    if len(set(names)) != len(names):
        raise UsageError(f"two tensors name one DMA: {', '.join(names)}", fix="give each tensor its own DMA")
    return IoShapes("options", sides[0], sides[1])


def _check_dmas(shapes: IoShapes, hwh: Hwh, package: Package, findings: Findings) -> None:
    names = [tensor.dma for tensor in (*shapes.inputs, *shapes.outputs)]
    missing = [name for name in names if name not in hwh.blocks]
    if missing:
        raise ArtifactError(
            f"{package.hwh} has no {', '.join(missing)}; its blocks are {', '.join(sorted(hwh.blocks)) or 'none'}",
            fix="copy the .hwh and the description of one build",
        )
    findings.checked("DMA names", f"{', '.join(names)} are in the .hwh")
    unused = sorted(name for name in hwh.blocks if re.match(r"^[io]dma", name) and name not in names)
    if unused:
        findings.doubt("DMA names", f"the .hwh also has {', '.join(unused)}, which nothing would start")
    writable = sorted(name for name in hwh.blocks if name.startswith("StreamingDataflowPartition_"))
    if writable:
        findings.doubt("weights", f"{', '.join(writable)} may take weights at run time; labd loads none")
    if len(shapes.inputs) != 1 or len(shapes.outputs) != 1:
        findings.doubt(
            "tensors",
            f"{len(shapes.inputs)} inputs, {len(shapes.outputs)} outputs; labd's driver runs one of each",
        )


def _network(package: Package, bit: Bit, options: ImportOptions, findings: Findings) -> bytes | None:
    """The golden model's file: options, or beside the bitfile of a virtual board's design."""
    wanted = bit.network_sha256()
    beside = package.beside_bit(NETWORK_NAME)
    content = None
    if options.network_file is not None:
        content = read_bounded(options.network_file, MAX_NPZ_BYTES, "labd compile NETWORK -o DIR writes one")
    elif wanted is not None and package.files.has(beside):
        content = package.files.read(beside, MAX_NPZ_BYTES)
    if wanted is None:
        return content
    if content is None:
        findings.doubt(
            "target", f"the bitfile is for virtual boards, and there is no {NETWORK_NAME} to compute with"
        )
    elif bytes_sha256(content) != wanted:
        raise DigestMismatch(
            f"the network has sha256 {bytes_sha256(content)[:12]}, {package.bit} names {wanted[:12]}",
            fix="give the network this bitfile was made with",
        )
    return content
