"""The cycle model beside every published board figure that it can be compared with.

Prints a row for each and, for the three that are a goal, a figure; nothing is measured here, so the
result is the same on every machine. ``--write`` puts the table into docs/timing.md.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import figure

from labd_shared.manifest import Expected
from labd_shared.tensors import Tensor, make_tensor
from labd_shared.timing import batch_cycles, dma_cycles

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "timing.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


@dataclass(frozen=True)
class Design:
    """An accelerator as far as its time goes.

    Attributes:
        name: Of the network.
        source: What the input DMA moves.
        layers: Cycles a frame of each layer, in the order of the stream.
    """

    name: str
    source: Tensor
    layers: tuple[int, ...]

    @property
    def expected(self) -> Expected:
        busy = (dma_cycles(self.source), *self.layers, 1)  # the output DMA: a label
        return Expected(max(busy), sum(busy), 0.0, "")


@dataclass(frozen=True)
class Published:
    """A measured rate, all at 100 MHz.

    Attributes:
        frames: In one call of the driver.
        source: Where it was published.
        within_percent: How near the model has to come; None where a miss is known and stated.
    """

    design: Design
    board: str
    frames: int
    frames_per_s: float
    source: str
    within_percent: float | None = None


def mvau(rows: int, columns: int, pe: int, simd: int) -> int:
    """Cycles of a matrix-vector unit for one vector."""
    return (rows // pe) * (columns // simd)


def tensor(datatype: str, folded: tuple[int, ...]) -> Tensor:
    values = 1
    for extent in folded:
        values *= extent
    return make_tensor("in0", datatype, (1, values), folded, "NC", "idma0")


TFC = Design(
    "TFC-w1a1",
    tensor("UINT8", (1, 16, 49)),
    (784 // 49, mvau(64, 784, 16, 49), mvau(64, 64, 8, 8), mvau(64, 64, 8, 8), mvau(10, 64, 10, 8), 10),
)
CNV = Design(  # thresholds, then each convolution's window and matrix, the pools, the classifier, the label
    "CNV-w1a1",
    tensor("UINT8", (1, 32 * 32, 3)),
    (3072, 8167, 32400, 14238, 28224, 980, 2654, 20736, 3708, 28800, 125, 376, 20736, 144, 18432)
    + (32768, 32768, 1024, 10),
)
CNV_W2A2 = Design("CNV-w2a2", tensor("UINT8", (1, 32 * 32, 3)), (115200,))  # its slowest layer
LFC = Design(
    "LFC-w1a1",
    tensor("BINARY", (1, 13, 64)),
    (mvau(1024, 832, 32, 64), mvau(1024, 1024, 64, 32), mvau(1024, 1024, 32, 64), mvau(64, 1024, 16, 8)),
)
KWS = Design(
    "KWS-MLP-w3a3",
    tensor("INT8", (1, 49, 10)),
    (mvau(256, 490, 32, 10), mvau(256, 256, 32, 8), mvau(256, 256, 32, 8), mvau(12, 256, 1, 8), 12),
)
UNSW = Design("UNSW-MLP-w2a2", tensor("BINARY", (1, 15, 40)), (60, 64, 64, 64))

BNN_PYNQ = "BNN-PYNQ notebook, C++"
ROWS = (
    Published(TFC, "Pynq-Z1", 10000, 958_413, "FINN tfc_end2end notebook", 3.0),
    Published(TFC, "Pynq-Z1", 1000, 837_019, "finn-examples"),
    Published(CNV, "Pynq-Z1", 1000, 3_020.5, "finn-examples", 1.5),
    Published(CNV, "PYNQ", 10000, 3_050.0, BNN_PYNQ),
    Published(CNV_W2A2, "PYNQ", 10000, 860.1, BNN_PYNQ),
    Published(LFC, "PYNQ", 10000, 118_883, BNN_PYNQ),
    Published(KWS, "Pynq-Z1", 10102, 247_502, "finn-examples", 4.0),
    Published(UNSW, "Pynq-Z1", 1000, 943_176, "FINN cybersecurity notebook"),
    Published(UNSW, "PYNQ-Z2", 1000, 927_122, "public write-up"),
)


def model_s(row: Published) -> float:
    """What the model says of the call, s."""
    return batch_cycles(row.design.expected, [row.design.source], row.frames) / 100e6


def miss_percent(row: Published) -> float:
    """How much faster the model is than the board."""
    return 100.0 * (row.frames / model_s(row) / row.frames_per_s - 1.0)


def table() -> Iterator[str]:
    """The comparison as lines of Markdown."""
    yield "| design | board | frames | published, frames/s | model, frames/s | model is | left over a call | source |"
    yield "|---|---|---:|---:|---:|---:|---:|---|"
    for row in ROWS:
        left_ms = 1e3 * (row.frames / row.frames_per_s - model_s(row))
        goal = "" if row.within_percent is None else f" (goal {row.within_percent:g})"
        yield (
            f"| {row.design.name} | {row.board} | {row.frames} | {row.frames_per_s:,.10g} "
            f"| {row.frames / model_s(row):,.{1 if row.frames_per_s < 10000 else 0}f} "
            f"| {miss_percent(row):+.1f} %{goal} | {left_ms:.2f} ms | {row.source} |"
        )


def with_table(text: str) -> str:
    """*text* of the document with the table of today."""
    before, _, rest = text.partition(BEGIN)
    return before + "\n".join([BEGIN, *table(), END]) + rest.partition(END)[2]


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
        return 0
    sys.stderr.write("\n".join(table()) + "\n")
    reached = [
        figure(
            f"cycle model, {row.design.name}, {row.frames} frames on {row.board}: miss",
            abs(miss_percent(row)),
            "%",
            f"<= {row.within_percent}",
        )
        for row in ROWS
        if row.within_percent is not None
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
