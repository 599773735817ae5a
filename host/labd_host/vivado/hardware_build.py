"""`labd build --target hw`: from a trained network to a bundle for a real board, with Vivado."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labd_host import flow
from labd_host.bundles.bundle_writer import check_replaceable, write_bundle
from labd_host.bundles.preparation import BOARD, Prepared, prepare
from labd_host.dataflow.folded_chain import FoldedChain
from labd_host.dataflow.folding import FOLDING_FILE, FoldingSource
from labd_host.dataflow.layers import DataflowGraph
from labd_host.flow import CompiledNetwork
from labd_host.machine.child import ChildDeadlines
from labd_host.machine.listener import Listener
from labd_host.networks import TrainedExport
from labd_host.simulate.fifos import depths_of_finn
from labd_host.simulate.pipeline import assemble
from labd_host.vivado import finn_dependencies
from labd_host.vivado.build_estimate import CellEstimate, check_fits, estimate_of
from labd_host.vivado.build_needs import demand, hardware_needs
from labd_host.vivado.followed_build import DEADLINES, run
from labd_host.vivado.job import MODULE, BuildJob
from labd_host.vivado.products import RoutedDesign, check_timing, read_routed
from labd_host.vivado.tools import Toolchain, environment, find_toolchain, said
from labd_shared.arrays import save_npz
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.bundle import BundleFiles
from labd_shared.digest import file_sha256
from labd_shared.errors import SetupError, StageFailed, TimingNotMet
from labd_shared.manifest import BIT_NAME, GOLDEN_NAME, HWH_NAME, Manifest

REPORT_NAME = "hardware.json"
FITS = "fits"
CHECKS = ("vivado", "hls", "board-files", "finn-hlslib", "path", "disk", "memory", FITS)
"""What ``--ignore-check`` can be given, besides the checks of the proof."""


@dataclass(frozen=True)
class Options:
    """How to build.

    Attributes:
        clock_mhz: Of the accelerator, whole MHz.
        jobs: Vivado and HLS runs at a time.
        accept_timing: Take a design that does not keep its timing.
        ignored: Names of `CHECKS`, and of the proof's, that may fail.
        deadlines: Of the run.
        worker: The Python module that builds.
    """

    clock_mhz: int = 100
    jobs: int = 1
    accept_timing: bool = False
    ignored: tuple[str, ...] = ()
    deadlines: ChildDeadlines = DEADLINES
    worker: str = MODULE

    @property
    def of_the_proof(self) -> tuple[str, ...]:
        """The ignored checks that are the proof's."""
        return tuple(name for name in self.ignored if name in flow.CHECKS)


@dataclass(frozen=True, eq=False)
class BuiltHardware:
    """A bundle for a real board, and how it came about.

    Attributes:
        bundle: For target hw.
        compiled: The stages.
        design: What Vivado made.
        estimate: What was expected before.
        accepted: What was wrong and taken nevertheless, in sentences.
    """

    bundle: BundleFiles
    compiled: CompiledNetwork
    design: RoutedDesign
    estimate: CellEstimate
    accepted: tuple[str, ...]


def build_hardware(
    export: TrainedExport,
    folder: Path,
    *,
    folding: FoldingSource,
    options: Options,
    listener: Listener,
) -> BuiltHardware:
    """Check what a build needs, compile and prove the network, run Vivado, check its products, write a bundle.

    What was finished before is not built again, unless what is built, or with what, has changed.

    Args:
        export: The network; its data set must be known.
        folder: The bundle's folder; stages and their proofs go into FOLDER.stages, Vivado's projects and
            logs into FOLDER.hardware.
        folding: Where PE and SIMD of the layers come from.
        options: How to build.
        listener: Told what happens.

    Raises:
        SetupError: something a build needs is missing.
        UsageError: the data set is not known.
        DataMissing: it is not available.
        BuildError: a stage failed, the design does not fit, a tool gave up, or timing is not met.
        ArtifactError: what Vivado left is damaged or something else than was asked for.
    """
    folder = folder.absolute()
    check_replaceable(folder)  # now, not hours later
    work = folder.with_name(folder.name + ".hardware")
    accepted = [f"{need.name}: {need.found}" for need in demand(hardware_needs(work), options.ignored)]
    tools = find_toolchain()
    listener.say(f"tools: {tools.vivado.said}, {tools.hls.said}")
    stages = folder.with_name(folder.name + ".stages")  # beside the bundle: they are its proof
    prepared = prepare(
        export,
        stages,
        folding=folding,
        clock_mhz=options.clock_mhz,
        ignored=options.of_the_proof,
        listener=listener,
    )
    folded = _folded(prepared.compiled)
    estimate = estimate_of(prepared.compiled.folder, prepared.compiled.folder / FOLDING_FILE)
    if over := check_fits(estimate, PYNQ_Z2_PART, FITS in options.ignored):
        accepted.append(over)
    depths = fifo_depths(prepared.compiled.golden.network)
    job = BuildJob(
        model=str(folded),
        folder=str(work),
        key=_key(folded, work, options.clock_mhz, depths, tools, prepared.compiled.tools),
        part=PYNQ_Z2_PART,
        board=BOARD,
        clock_mhz=options.clock_mhz,
        jobs=options.jobs,
        fifo_depths=depths,
    )
    variables = environment(tools) | {finn_dependencies.VARIABLE: str(finn_dependencies.folder())}
    listener.say(f"hardware: FINN's steps with Vivado, logs in {work}")
    products = run(job, variables, deadlines=options.deadlines, listener=listener, module=options.worker)
    design = read_routed(
        Path(products.project),
        part=job.part,
        clock_mhz=job.clock_mhz,
        tensors=(*prepared.compiled.inputs, *prepared.compiled.outputs),
    )
    try:
        check_timing(design.timing, options.clock_mhz)
    except TimingNotMet as error:
        if not options.accept_timing:
            raise
        accepted.append(error.what)
    try:
        bundle = _bundle(folder, prepared, design, estimate, tools, accepted)
    except OSError as error:
        raise SetupError(
            f"the bundle {folder} cannot be written: {error.strerror}",
            fix="make room there, then the same command again: nothing is built twice",
        ) from error
    return BuiltHardware(bundle, prepared.compiled, design, estimate, tuple(accepted))


def _folded(compiled: CompiledNetwork) -> Path:
    """The file of the folded graph."""
    for stage in compiled.stages:
        if stage.name == "folded":
            return stage.path
    raise StageFailed("the network was not folded", fix="compile it with a folding", stage="folded")


def fifo_depths(network: DataflowGraph) -> tuple[int, ...]:
    """The FIFOs of *network*, in the order of the stream, as FINN's sizing makes them: by labd's simulator.

    FINN sizes them by an RTL simulation in Vivado; the depths are the same (`labd_host.simulate.fifos`).
    """
    design = FoldedChain(network.name, network.layers, network.inputs, network.outputs)
    machine = assemble(design, dma=False).with_named_depths(depths_of_finn(design))
    return tuple(fifo.depth for fifo in machine.fifos)


def _key(
    folded: Path,
    work: Path,
    clock_mhz: int,
    depths: Sequence[int],
    tools: Toolchain,
    packages: Mapping[str, str],
) -> str:
    """What decides a build; the folder too, since FINN writes absolute paths."""
    facts = [
        file_sha256(folded),
        str(work),
        clock_mhz,
        list(depths),
        tools.vivado.said,
        tools.hls.said,
        sorted(packages.items()),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _bundle(
    folder: Path,
    prepared: Prepared,
    design: RoutedDesign,
    estimate: CellEstimate,
    tools: Toolchain,
    accepted: list[str],
) -> BundleFiles:
    versions = dict(prepared.compiled.tools) | {
        "vivado": design.vivado or said(tools.vivado.version),
        tools.hls.name: said(tools.hls.version),
    }

    def fill(making: Path) -> Manifest:
        shutil.copyfile(design.bit, making / BIT_NAME)
        shutil.copyfile(design.hwh, making / HWH_NAME)
        save_npz(making / GOLDEN_NAME, prepared.golden)
        report = _report(design, estimate, accepted)
        (making / REPORT_NAME).write_text(
            json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        return prepared.manifest(
            "hw",
            clock_mhz=design.clock.fclk0_mhz,
            slack_ns=design.timing.slack_ns,
            expected=design.clock.in_fclk0(prepared.expected(design.clock.accelerator_mhz)),
            tools=versions,
            accepted=accepted,
        )

    return write_bundle(folder, fill)


def _report(design: RoutedDesign, estimate: CellEstimate, accepted: list[str]) -> dict[str, Any]:
    """What a bundle keeps of its build."""
    return {
        "clock": asdict(design.clock),
        "timing": asdict(design.timing) | {"met": design.timing.met},
        "resources": {
            "built": design.resources,
            "expected": asdict(estimate.calibrated),
            "FINN's estimate of the layers": asdict(estimate.finn),
            "nodes": design.nodes,
        },
        "accepted": accepted,
    }
