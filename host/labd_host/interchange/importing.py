"""`labd import`: a bundle from what others built. Nothing of it is executed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from labd_host.bundles.bundle_writer import (
    NETWORK_NAME,
    check_same_tensors,
    expected_of,
    golden_model,
    write_bundle,
)
from labd_host.bundles.golden_samples import draw_golden, no_golden_samples
from labd_host.dataflow.cycles import dma_cycles
from labd_host.interchange.driver_file import parse_driver
from labd_host.interchange.findings import Findings
from labd_host.interchange.io_shapes import IoShapes, checked_tensor, read_io_shapes
from labd_host.interchange.package import MAX_DESCRIPTION_BYTES, SETTINGS, Package, find_package
from labd_host.interchange.package_clock import Clock, accelerator_clock, wizard_mhz
from labd_host.interchange.settings_file import parse_settings
from labd_host.interchange.tensor_option import FORM, TensorOption
from labd_shared.arrays import MAX_NPZ_BYTES, save_npz
from labd_shared.bitfile import MAX_BIT_BYTES, PYNQ_Z2_PART, Bit, check_part, parse_bit
from labd_shared.bundle import Bundle
from labd_shared.datasets import DATASETS
from labd_shared.digest import bytes_sha256
from labd_shared.errors import ArtifactError, DigestMismatch, UsageError, WrongPart
from labd_shared.files import read_bounded
from labd_shared.hwh import MAX_HWH_BYTES, Hwh, parse_hwh
from labd_shared.manifest import UNKNOWN, Accuracy, Expected, InputContract, Manifest
from labd_shared.rates import frames_per_s
from labd_shared.tensors import Tensor, count
from labd_shared.weight_files import FOLDER, parse_layer_file, read_words
from labd_shared.weight_files import MAX_BYTES as MAX_WEIGHTS_BYTES

REPORT_NAME = "import.json"
BOARD = "Pynq-Z2"
NO_DATASET = "unknown"
PATIENCE_S = (
    6.0  # taken for the first frame of unknown cycles: the driver waits ten times this, then gives up
)
PLATFORM = "zynq-iodma"
DATASET_NAMES = {"mnist": "mnist", "cifar": "cifar10", "cifar10": "cifar10", "cifar100": "cifar100"}


@dataclass(frozen=True)
class Given:
    """What the user says because no file does; None or "" where nothing was said.

    ``cycles`` are the accelerator's cycles a frame; ``scale`` and ``offset`` make an input contract
    other than raw pixels; ``inputs`` and ``outputs`` describe a bare bitfile.
    """

    network: str = ""
    dataset: str = ""
    board: str = ""
    inputs: tuple[TensorOption, ...] = ()
    outputs: tuple[TensorOption, ...] = ()
    hwh: Path | None = None
    cycles: int | None = None
    clock_mhz: float | None = None
    scale: float | None = None
    offset: float | None = None
    accuracy: Accuracy | None = None
    network_file: Path | None = None


@dataclass(frozen=True)
class Imported:
    """A bundle, and all that was found on the way (`REPORT_NAME` in the bundle holds it, too)."""

    bundle: Bundle
    findings: Findings


@dataclass
class Design:
    """What the files say, before a manifest is made of it."""

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


def import_design(path: Path, folder: Path, given: Given) -> Imported:
    """Make a bundle of somebody else's design.

    Args:
        path: A deploy folder, the notebook's .zip or folder, a settings.json, or a bare .bit.
        folder: The bundle's folder.
        given: What no file says.

    Raises:
        UsageError: options that do not go together, or no such path.
        ArtifactError: a part is missing, damaged, for something else, or contradicts another; weights
            are read by a DMA.
        WrongPart: .bit and .hwh are for two devices.
        WrongTarget: the network file computes something else.
    """
    design = read_design(path, given)
    findings = design.findings
    manifest = _manifest(design, given, path)

    def fill(making: Path) -> Manifest:
        (making / "accel.bit").write_bytes(design.bit_bytes)
        (making / "accel.hwh").write_bytes(design.hwh_bytes)
        for name, content in design.weights.items():
            (making / name).parent.mkdir(exist_ok=True)
            (making / name).write_bytes(content)
            read_words(making / name, name)
        made = manifest
        if design.network is None:
            findings.doubt(
                "golden samples", "none: nothing will prove what a board computes with this bundle"
            )
            golden = no_golden_samples(manifest.inputs[0], manifest.outputs[0])
        else:
            (making / NETWORK_NAME).write_bytes(design.network)
            model = golden_model(making, design.weights)
            check_same_tensors(NETWORK_NAME, model, manifest.inputs, manifest.outputs)
            golden = draw_golden(model, manifest.dataset, manifest.input_contract)
            findings.checked("network", "its tensors are the design's")
            if [each.folded for each in model.inputs] != [each.folded for each in manifest.inputs]:
                findings.doubt(
                    "network",
                    f"it was folded {model.inputs[0].folded}, the design {manifest.inputs[0].folded}",
                )
            if not len(golden["images"]):
                findings.doubt("golden samples", "none: raw pixels do not go into this network as they are")
            if given.cycles is None:
                made = manifest._replace(expected=design.clock.in_fclk0(expected_of(model, 1.0)))
                findings.checked(
                    "cycles", f"{made.expected.cycles_per_frame} a frame by the network's cycle model"
                )
        if given.cycles is None and design.network is None:
            findings.assumed(
                "cycles",
                f"at least {manifest.expected.cycles_per_frame} a frame, what {manifest.expected.bottleneck} needs; "
                f"a run is given up after about {10 * PATIENCE_S:.0f} s",
            )
        save_npz(making / "golden.npz", golden)
        (making / REPORT_NAME).write_text(json.dumps(findings.as_records(), indent=2) + "\n")
        return made

    return Imported(write_bundle(folder, fill), findings)


def read_design(path: Path, given: Given) -> Design:
    """Read and check everything at *path*; nothing is written. Arguments and errors are `import_design`'s."""
    package = find_package(path, given.hwh)
    findings = Findings()
    bit_bytes = package.files.read(package.bit, MAX_BIT_BYTES)
    hwh_bytes = package.files.read(package.hwh, MAX_HWH_BYTES)
    bit, hwh = parse_bit(bit_bytes, package.bit), parse_hwh(hwh_bytes, package.hwh)
    _check_parts(package, bit, hwh, findings)
    shapes, driver_mhz, dataset = _described(package, given, findings)
    _check_dmas(shapes, hwh, package, findings)
    clock = accelerator_clock(hwh, wizard_mhz(hwh_bytes), driver_mhz, given.clock_mhz, findings)
    network = _network(package, bit, given, findings)
    weights = _weights(package, hwh, findings)
    return Design(package, bit, bit_bytes, hwh, hwh_bytes, shapes, clock, dataset, network, weights, findings)


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


def _described(package: Package, given: Given, findings: Findings) -> tuple[IoShapes, float | None, str]:
    """The tensors, the driver's clock and the data set's name, from the package or the options."""
    name = package.description
    if not name:
        if not given.inputs or not given.outputs:
            raise UsageError(
                f"nothing describes the tensors of {package.bit}", fix=f'--input "..." --output "...": {FORM}'
            )
        return _as_given(given, findings), None, ""
    if given.inputs or given.outputs:
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


def _as_given(given: Given, findings: Findings) -> IoShapes:
    sides = []
    for noun, options in (("in", given.inputs), ("out", given.outputs)):
        sides.append(
            tuple(
                checked_tensor(
                    f"global_{noun}" + (f"_{index}" if len(options) > 1 else ""),
                    option.datatype, option.normal, option.folded, option.dma, f"--{noun}put",
                )
                for index, option in enumerate(options)
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
        findings.doubt("DMA names", f"the .hwh has {', '.join(unused)}, too, which nothing would start")
    writable = sorted(name for name in hwh.blocks if name.startswith("StreamingDataflowPartition_"))
    if writable:
        findings.doubt("weights", f"{', '.join(writable)} may take weights at run time; labd loads none")
    if len(shapes.inputs) != 1 or len(shapes.outputs) != 1:
        findings.doubt(
            "tensors",
            f"{len(shapes.inputs)} inputs, {len(shapes.outputs)} outputs; labd's driver runs one of each",
        )


def _network(package: Package, bit: Bit, given: Given, findings: Findings) -> bytes | None:
    """The golden model's file: given, or beside the bitfile of a virtual board's design."""
    wanted = bit.network_sha256()
    beside = package.beside_bit(NETWORK_NAME)
    content = None
    if given.network_file is not None:
        content = read_bounded(given.network_file, MAX_NPZ_BYTES, "labd compile NETWORK -o DIR writes one")
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


def _manifest(design: Design, given: Given, path: Path) -> Manifest:
    findings, shapes = design.findings, design.shapes
    for option, name in (("--network", given.network), ("--dataset", given.dataset)):
        if name and not re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", name):
            raise UsageError(f"{option} {name!r} is no name", fix="use letters, digits, dots and dashes")
    network = (
        given.network or re.sub(r"[^A-Za-z0-9._-]", "-", path.absolute().stem).strip("-._") or "imported"
    )
    if not given.network:
        findings.assumed("network", f"called {network}, after {path.name}; say --network NAME")
    dataset = given.dataset or DATASET_NAMES.get(design.dataset, NO_DATASET)
    if not given.dataset:
        known = f"{dataset}, as {SETTINGS} has it" if dataset != NO_DATASET else "unknown; say --dataset NAME"
        findings.assumed("data set", known)
    spec = DATASETS.get(dataset)
    if spec is not None and count(spec.image_shape) != count(shapes.inputs[0].normal):
        findings.doubt(
            "data set", f"{dataset} has images of {spec.image_shape}, not {shapes.inputs[0].normal}"
        )
    board = given.board or BOARD
    if not given.board:
        findings.assumed("board", f"{BOARD}; others with the same part, such as the PYNQ-Z1, would do")
    scaled = given.scale is not None or given.offset is not None
    contract = InputContract(
        "scaled" if scaled else "raw-uint8",
        1.0 if given.scale is None else given.scale,
        0.0 if given.offset is None else given.offset,
    )
    if not scaled:
        findings.assumed(
            "input", "raw pixels, 0 to 255; say --scale and --offset where the network wants others"
        )
        if not shapes.inputs[0].datatype.allows(255):
            findings.doubt("input", f"a pixel of 255 does not fit {shapes.inputs[0].datatype.name}")
    if given.accuracy is None:
        findings.assumed("accuracy", "unknown; say --accuracy PERCENT/SAMPLES")
    return Manifest(
        network=network,
        dataset=dataset,
        class_names=spec.class_names if spec else (),
        target="hw" if design.bit.network_sha256() is None else "emu",
        part=design.hwh.part,
        board=board,
        clock_mhz=design.clock.fclk0_mhz,
        slack_ns=None,
        input_contract=contract,
        inputs=shapes.inputs,
        outputs=shapes.outputs,
        folding={},
        expected=_expected(design.clock, (*shapes.inputs, *shapes.outputs), given.cycles),
        accuracy=given.accuracy,
        tools={
            "imported from": f"io_shape_dict: {shapes.generation}",
            "vivado": design.bit.version or UNKNOWN,
        },
        files={},
    )


def _expected(clock: Clock, tensors: tuple[Tensor, ...], cycles: int | None) -> Expected:
    """What to expect: *cycles*, or the least that the DMAs need, with patience instead of a latency."""
    slowest = max(tensors, key=dma_cycles)
    if cycles is not None and cycles >= dma_cycles(slowest):
        rate = frames_per_s(clock.fclk0_mhz, cycles)
        said = Expected(cycles, cycles + sum(map(dma_cycles, tensors)), rate, "said at import")
        return clock.in_fclk0(said)
    if cycles is not None:
        raise UsageError(
            f"--expected-cycles {cycles} is less than the {dma_cycles(slowest)} that {slowest.dma} needs for a frame",
            fix="give the cycles of the slowest layer",
        )
    least = clock.fclk0_cycles(dma_cycles(slowest))
    return Expected(
        least,
        round(PATIENCE_S * clock.fclk0_mhz * 1e6),
        frames_per_s(clock.fclk0_mhz, least),
        f"{UNKNOWN} ({slowest.dma} at least)",
    )
