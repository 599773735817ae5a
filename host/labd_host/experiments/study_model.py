"""What an experiment is, and what is known of it afterwards: plain data, kept as JSON.

Cycles are clock cycles of the accelerator, rates frames a second, times in the unit that the name ends in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.resources import Resources
from labd_shared.digest import json_sha256


@dataclass(frozen=True)
class Experiment:
    """One folding of one network at one clock.

    Attributes:
        name: In the study: "Exp1", "Exp2a".
        network: A name of the table, the file of a user's own network, an export, or what a compile or build left.
        network_sha256: Digest of the network's layers, unfolded.
        folding: How the study asks for it, in words: "lab, layer 2 at PE 1, SIMD 1".
        settings: What that is: FINN's node name -> attribute -> value.
        clock_mhz: Of the accelerator.
        part: The FPGA.
        frames: How many the simulator runs.
        board: Number of the board that measures, "" for none. What it measures is kept apart from the result,
            so it is no part of the key.
        basis: Digest of labd's code and the calibration: another labd does not show the numbers of this one.
        dataset: What a network that labd does not know was trained for.
        fault: Why there is no such folding (no budget holds it, nothing is as fast); then it has no settings.
    """

    name: str
    network: str
    network_sha256: str
    folding: str
    settings: Mapping[str, Mapping[str, Attribute]]
    clock_mhz: float
    part: str
    frames: int
    board: str = ""
    basis: str = ""
    fault: str = ""
    dataset: str = ""

    @cached_property
    def key(self) -> str:
        """Digest of all that decides the result, and of nothing else: two names for the same thing have one."""
        return json_sha256(
            [
                self.network_sha256,
                {node: dict(values) for node, values in self.settings.items()},
                self.clock_mhz,
                self.part,
                self.frames,
                self.basis,
            ]
        )


@dataclass(frozen=True)
class LayerResult:
    """One node of the folded design.

    Attributes:
        name, op: As in `labd_host.dataflow.cycles.NodeCycles`; a DMA or a width converter is one, too.
        pe, simd: 0 where it has none.
        interval_cycles: From frame to frame.
        finn, expected: Its cells by FINN and as synthesis is expected to report them; all 0 for DMAs and
            width converters, which stand in the totals only.
        working, starved, blocked: Shares of the simulated time, 0 to 1.
    """

    name: str
    op: str
    pe: int
    simd: int
    interval_cycles: int
    finn: Resources
    expected: Resources
    working: float
    starved: float
    blocked: float


@dataclass(frozen=True)
class Predicted:
    """What the models say before anything runs.

    Attributes:
        interval_cycles: From frame to frame, DMAs counted.
        dma_interval_cycles: What the DMAs alone allow.
        frames_per_s: At the experiment's clock.
        slowest: Names of the slowest nodes, the bottleneck first.
        finn: FINN's cells of the layers.
        expected: Of everything, as synthesis is expected to report it.
        plus_minus: How far *expected* may be off.
        operations: Of the network for one frame, multiplications and additions counted apart (2 a MAC).
        peak_operations: That all PEs and SIMD lanes together could do in one cycle.
        input_bytes, output_bytes: Of one frame over the DMAs.
    """

    interval_cycles: int
    dma_interval_cycles: int
    frames_per_s: float
    slowest: tuple[str, ...]
    finn: Resources
    expected: Resources
    plus_minus: Resources
    operations: int
    peak_operations: int
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class Simulated:
    """What the cycle-accurate simulation showed.

    Attributes:
        latency_cycles: From the first word in to the last word of the first frame out.
        interval_cycles: From frame to frame once the pipeline is full.
        frames_per_s: At the experiment's clock.
        bottleneck: The node that is busy most of the time.
        fault: Why it shows nothing (a deadlock, too long); "" where it does.
        free_interval_cycles: The interval if no FIFO were ever full: where it is less, the FIFOs as FINN sizes
            them are too small.
    """

    latency_cycles: int
    interval_cycles: float
    frames_per_s: float
    bottleneck: str
    fault: str = ""
    free_interval_cycles: float = 0.0


@dataclass(frozen=True)
class BoardMeasurement:
    """What a board showed.

    Attributes:
        where: "virtual board 03", "board 05".
        frames_per_s: Of the accelerator alone.
        end_to_end_frames_per_s: With packing and unpacking.
        latency_us: Of one frame.
        clock_mhz: That the accelerator really had.
        batchsize: Frames a run.
    """

    where: str
    frames_per_s: float
    end_to_end_frames_per_s: float
    latency_us: float
    clock_mhz: float
    batchsize: int


@dataclass(frozen=True)
class NetworkAccuracy:
    """Top-1 of the network; a folding does not change it.

    Attributes:
        correct, images: Of the data set's test split.
        dataset: Its name.
        source: Who computed it: "golden model here", "record of the training".
    """

    correct: int
    images: int
    dataset: str
    source: str

    @property
    def percent(self) -> float:
        """Top-1 in percent."""
        return 100.0 * self.correct / self.images


@dataclass(frozen=True)
class Result:
    """All that is known of an experiment.

    Attributes:
        key: The experiment's.
        predicted: Never missing.
        layers: In the order of the stream.
        simulated, measured, accuracy: None where there is nothing.
        built: Cells that a build of this folding reported after synthesis, None without.
        seconds: What it took to find out.
        origin: Version of labd and of the code that made it.
    """

    key: str
    predicted: Predicted
    layers: tuple[LayerResult, ...]
    simulated: Simulated | None
    measured: BoardMeasurement | None
    accuracy: NetworkAccuracy | None
    built: Resources | None
    seconds: float
    origin: str


@dataclass(frozen=True)
class ExperimentOutcome:
    """An experiment of a study, with its result or why there is none.

    Attributes:
        experiment: What was asked.
        result: None while it waits, runs, or failed.
        fault: Why it failed, in a sentence; "" otherwise.
    """

    experiment: Experiment
    result: Result | None
    fault: str = ""


@dataclass(frozen=True)
class Study:
    """What to find out.

    Attributes:
        name: Of the study and its files: "part3".
        title: Above the page.
        experiments: In the order of the table, network by network.
        baseline: Name of the experiment that the others of a network are compared with, "" for none.
        questions: What the page answers in words besides the table: experiment name -> heading.
    """

    name: str
    title: str
    experiments: tuple[Experiment, ...]
    baseline: str = ""
    questions: Mapping[str, str] = field(default_factory=dict)
