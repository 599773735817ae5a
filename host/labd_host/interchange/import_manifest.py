"""The manifest of a bundle that is made of somebody else's design."""

from __future__ import annotations

import re
from pathlib import Path

from labd_host.dataflow.cycles import dma_cycles
from labd_host.interchange.design_files import DesignFiles
from labd_host.interchange.findings import Findings
from labd_host.interchange.import_options import ImportOptions
from labd_host.interchange.package_clock import Clock
from labd_host.interchange.settings_file import SETTINGS
from labd_shared.datasets import DATASETS
from labd_shared.errors import UsageError
from labd_shared.manifest import UNKNOWN, Expected, InputContract, Manifest
from labd_shared.rates import frames_per_s
from labd_shared.tensors import Tensor, count

BOARD = "Pynq-Z2"
NO_DATASET = "unknown"
PATIENCE_S = 6.0  # for the first frame of unknown cycles: the driver waits ten times this, then gives up
DATASET_NAMES = {"mnist": "mnist", "cifar": "cifar10", "cifar10": "cifar10", "cifar100": "cifar100"}


def manifest_of(design: DesignFiles, options: ImportOptions, path: Path) -> Manifest:
    """The manifest of the bundle; its list of files is empty, what it assumes goes into the findings.

    Args:
        design: What the files at *path* say.
        options: What no file says.
        path: Names the network where the user does not.

    Raises:
        UsageError: a name that cannot be one, or cycles that the DMAs alone exceed.
    """
    findings, shapes = design.findings, design.shapes
    network, dataset, board = _names(design, options, path)
    spec = DATASETS.get(dataset)
    if spec is not None and count(spec.image_shape) != count(shapes.inputs[0].normal):
        findings.doubt(
            "data set", f"{dataset} has images of {spec.image_shape}, not {shapes.inputs[0].normal}"
        )
    contract = _input_contract(shapes.inputs[0], options, findings)
    if options.accuracy is None:
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
        expected=_expected(design.clock, (*shapes.inputs, *shapes.outputs), options.cycles),
        accuracy=options.accuracy,
        tools={
            "imported from": f"io_shape_dict: {shapes.generation}",
            "vivado": design.bit.version or UNKNOWN,
        },
        files={},
    )


def _names(design: DesignFiles, options: ImportOptions, path: Path) -> tuple[str, str, str]:
    """Of network, data set and board."""
    findings = design.findings
    for option, name in (("--network", options.network), ("--dataset", options.dataset)):
        if name and not re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", name):
            raise UsageError(
                f"{option} {name!r} is not a valid name", fix="use letters, digits, dots and dashes"
            )
    network = options.network
    if not network:
        network = re.sub(r"[^A-Za-z0-9._-]", "-", path.absolute().stem).strip("-._") or "imported"
        findings.assumed("network", f"called {network}, after {path.name}; say --network NAME")
    dataset = options.dataset
    if not dataset:
        dataset = DATASET_NAMES.get(design.dataset, NO_DATASET)
        known = f"{dataset}, as {SETTINGS} has it" if dataset != NO_DATASET else "unknown; say --dataset NAME"
        findings.assumed("data set", known)
    if not options.board:
        findings.assumed("board", f"{BOARD}; others with the same part, such as the PYNQ-Z1, would do")
    return network, dataset, options.board or BOARD


def _input_contract(tensor: Tensor, options: ImportOptions, findings: Findings) -> InputContract:
    """What becomes of pixels before they enter *tensor*."""
    if options.scale is not None or options.offset is not None:
        scale = 1.0 if options.scale is None else options.scale
        return InputContract("scaled", scale, options.offset or 0.0)
    findings.assumed("input", "raw pixels, 0 to 255; say --scale and --offset where the network wants others")
    if not tensor.datatype.allows(255):
        findings.doubt("input", f"a pixel of 255 does not fit {tensor.datatype.name}")
    return InputContract("raw-uint8", 1.0, 0.0)


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
