"""labd: from a quantized neural network to a proven FINN accelerator on a PYNQ-Z2.

::

    import labd

    net = labd.network("tfc-w1a1")
    design = net.compile(folding="lab")
    bundle = design.build("emu")
    with labd.Board("03") as board:
        board.deploy(bundle)
        print(board.validate(batchsize=1000).accuracy_percent)

Every result has a short repr, shows itself in a notebook, and gives its data as `record`. Figures keep their
origin: ``modelled``, ``golden model``, ``measured on board 03``. What goes wrong is raised as a `LabdError`,
whose message says what happened and whose ``fix`` is the next step.

Importing labd loads no FINN, PyTorch, numba, ONNX or SSH library; each is loaded when it is first needed.
"""

from labd.accuracy_score import Score
from labd.board import Board, BoardReport
from labd.built_bundle import Bundle, load_bundle
from labd.cycle_table import CycleTable
from labd.dataset import Dataset, Split, dataset
from labd.design import Design, Page
from labd.exploration import FoldingAnswer, FoldingSearch, Frontier
from labd.figure import Figure
from labd.finn_build import FinnBuild
from labd.loading import load, network, networks
from labd.network import Network
from labd.simulated_run import SimulatedRun
from labd_host.machine.listener import SILENT, Listener
from labd_shared import __version__
from labd_shared.errors import (
    ArtifactError,
    BoardError,
    BuildError,
    LabdError,
    ResultError,
    SetupError,
    UsageError,
)

__all__ = [
    "SILENT",
    "ArtifactError",
    "Board",
    "BoardError",
    "BoardReport",
    "BuildError",
    "Bundle",
    "CycleTable",
    "Dataset",
    "Design",
    "Figure",
    "FinnBuild",
    "FoldingAnswer",
    "FoldingSearch",
    "Frontier",
    "LabdError",
    "Listener",
    "Network",
    "Page",
    "ResultError",
    "Score",
    "SetupError",
    "SimulatedRun",
    "Split",
    "UsageError",
    "__version__",
    "dataset",
    "load",
    "load_bundle",
    "network",
    "networks",
]
