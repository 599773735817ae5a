"""finn-plus-driver, unchanged, in an environment of its own."""

import os
from pathlib import Path

import pytest

from labd_host import environments

# As its own command line does it: cli.py, driver_cli.
PEER = """
import json, os, sys
import numpy as np
from finn_plus_driver import get_driver_class
from importlib.metadata import version

bitfile, settings, images = sys.argv[1], sys.argv[2], np.load(sys.argv[3])
told = json.load(open(settings))["driver_information"]
told.setdefault("runtime_weight_dir", os.path.join(os.path.dirname(settings), "runtime_weights"))
driver = get_driver_class(told["driver_type"])(bitfile, batch_size=len(images), **told)
answers = [driver.execute(images).tolist() for _ in range(2)]
print(json.dumps({"version": version("finn-plus-driver"), "answers": answers, "clock": driver.fclk_mhz_actual}))
"""


def peer_python():
    """The Python of the peer environment, or a skip."""
    named = os.environ.get("LABD_PEER_PYTHON")
    if named:
        return Path(named)
    peer = environments.environment("peer")
    if not environments.is_ready(peer, environments.folder(peer)):
        pytest.skip("needs the environment with finn-plus-driver: make peer-env, or set LABD_PEER_PYTHON")
    return environments.folder(peer) / "bin" / "python"
