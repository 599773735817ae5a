"""Runs a FINN accelerator on a PYNQ board. numpy and the image's own pynq, nothing else."""

from labd_board.accelerator import Accelerator
from labd_shared import __version__

__all__ = ["Accelerator", "__version__"]
