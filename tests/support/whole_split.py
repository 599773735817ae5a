"""A whole test split through a virtual board over SSH, with any batch size."""

import json
import os
from pathlib import Path

from labd_host import networks
from labd_host.bundles.emulation_build import write_emulation
from labd_host.bundles.preparation import measure
from labd_host.datasets import SplitFrames
from labd_host.virtual_board import virtual_board
from labd_shared.datasets import DATASETS
from support.shell import BOARD, Shell


class DeployedNetwork:
    """A network of the table on a virtual board of its own, which whoever made *home* ends.

    Args:
        name: The network's.
        compiled: The same network.
        split: Images and labels of its test split.
        home: A LABD_HOME of the test's own.
        board_python: The Python of a board environment.
    """

    def __init__(self, name, compiled, split, home, board_python):
        prepared = measure(name, SplitFrames(DATASETS[networks.network(name).dataset], *split), compiled)
        bundle = write_emulation(prepared, home / "bundle", 100.0)
        virtual_board.up(BOARD, python=board_python)
        self._shell = Shell(home, Path(os.environ["LABD_DATASETS"]))
        said = self._shell.fab("deploy", "--board", BOARD, "--bundle", str(bundle.folder))
        assert said.code == 0, said.err

    def counted(self, batch_size):
        """What ``fab validate`` counted: images, right ones, answers that are the golden model's."""
        options = ("--board", BOARD, "--batchsize", str(batch_size), "--compare", "golden", "--json")
        said = self._shell.fab("validate", *options)
        assert said.code == 0, said.err
        report = json.loads(said.out)["boards"][0]["result"]["report"]
        assert report["batchsize"] == batch_size
        return report["samples"], report["correct"], report["agreement"]["same"]
