"""What a hardware build is told and tells: shared by the process that builds and the one that follows it.

The builder is a process of its own (`labd_host.vivado.finn_worker`). It reads a `BuildJob` from a JSON
file and writes one JSON line a message to its standard output: `BuildUnit` begun, the same ended, at last
`Products` or a `BuildFailure`. Nothing here imports FINN.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labd_host.machine.typed_records import read_record, write_record
from labd_shared.records import Origin

MODULE = "labd_host.vivado.finn_worker"
LOG_NAME = "worker.log"  # in the job's folder: what FINN itself prints
STATE_NAME = "finished.json"  # in the job's folder: which units need not be built again

MAX_JOB_BYTES = 1 << 20

STEPS = {
    "partition": "DMAs and width converters inserted, the graph cut into kernels",
    "code": "C++ and Verilog written for every node",
    "hls": "Vitis HLS makes an IP block of every C++ node",
    "stitch": "Vivado connects the blocks of a kernel",
    "synthesis": "Vivado synthesises, places and routes the whole design and writes the bitfile",
}
"""Step -> what it does, in order."""


@dataclass(frozen=True)
class BuildJob:
    """One hardware build.

    Attributes:
        model: The folded dataflow graph, an ONNX file.
        folder: Everything that the build writes lies in it.
        key: Names what is built, with what; a folder of another key is emptied first.
        part, board: "xc7z020clg400-1" and FINN's name of the board, "Pynq-Z2".
        clock_mhz: Whole MHz of the accelerator's clock.
        jobs: How many HLS or Vivado runs go on at a time.
        fifo_depths: Words of the FIFOs, in the order of the stream: in front of the first layer, behind each
            layer and width converter. A node that asks for a deeper one has it; none at all leaves FINN's 2.
    """

    model: str
    folder: str
    key: str
    part: str
    board: str
    clock_mhz: int
    jobs: int
    fifo_depths: tuple[int, ...] = ()

    @property
    def period_ns(self) -> float:
        """The clock's period, as FINN takes it."""
        return 1000.0 / self.clock_mhz

    def write(self, path: Path) -> None:
        """Write the job for the worker to read."""
        write_record(path, self)

    @classmethod
    def read(cls, path: Path) -> "BuildJob":
        """The job in *path*, which `write` wrote."""
        return read_record(cls, path, MAX_JOB_BYTES, Origin(str(path), "start the build again"))


@dataclass(frozen=True)
class BuildUnit:
    """A piece of the build that is finished or not, and is not begun again once it is.

    Attributes:
        step: One of `STEPS`.
        name: Of the kernel or node; "" for a step that is one piece.
        number, of: Which one of how many in its step.
        folder: Where its tool runs and writes its logs.
    """

    step: str
    name: str
    number: int
    of: int
    folder: str

    @property
    def label(self) -> str:
        """ "hls MVAU_hls_1": the step, and the node as the folding calls it."""
        node = re.sub(r"^StreamingDataflowPartition_\d+_", "", self.name)
        return f"{self.step} {node}".strip()


@dataclass(frozen=True)
class Products:
    """A finished build: where Vivado's project lies."""

    project: str


@dataclass(frozen=True)
class BuildFailure:
    """What FINN said as it gave up; the cause stands in the logs of the unit's folder."""

    unit: BuildUnit
    message: str


def begun(unit: BuildUnit) -> dict[str, Any]:
    """The message that *unit* was begun."""
    return {"begun": asdict(unit)}


def ended(unit: BuildUnit, seconds: float) -> dict[str, Any]:
    """The message that *unit* was finished after *seconds*, 0 where an earlier run had finished it."""
    return {"ended": asdict(unit), "seconds": seconds}


def produced(products: Products) -> dict[str, Any]:
    """The last message of a build that succeeded."""
    return {"products": asdict(products)}


def failed(failure: BuildFailure) -> dict[str, Any]:
    """The last message of a build that did not."""
    return {"failed": asdict(failure)}


def unit_in(message: Mapping[str, Any], key: str) -> BuildUnit | None:
    """The unit under *key* ("begun", "ended") of a message, None where there is none."""
    record = message.get(key)
    return BuildUnit(**record) if isinstance(record, dict) else None


def failure_in(message: Mapping[str, Any]) -> BuildFailure | None:
    """The failure in a message, None where there is none."""
    record = message.get("failed")
    return (
        BuildFailure(BuildUnit(**record["unit"]), str(record["message"]))
        if isinstance(record, dict)
        else None
    )


def products_in(message: Mapping[str, Any]) -> Products | None:
    """The products in a message, None where there are none."""
    record = message.get("products")
    return Products(**record) if isinstance(record, dict) else None
