"""finn-plus-driver 1.6.1, unchanged, runs what labd exports on a virtual board and answers as labd does."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from labd_host import environments
from labd_host.emulation.golden import GoldenModel
from labd_host.hardware.golden_samples import draw_strokes
from labd_host.hardware.interchange.exporting import export_bundle
from labd_shared.bundle import load_golden, open_bundle
from support.board_programs import board_without_ssh
from support.paths import SHIPPED_BUNDLE

# As its own command line does it: cli.py, driver_cli.
PEER = """
import json, sys
import numpy as np
from finn_plus_driver import get_driver_class
from importlib.metadata import version

bitfile, settings, images = sys.argv[1], sys.argv[2], np.load(sys.argv[3])
told = json.load(open(settings))["driver_information"]
driver = get_driver_class(told["driver_type"])(bitfile, batch_size=len(images), **told)
answers = [driver.execute(images).tolist() for _ in range(2)]
print(json.dumps({"version": version("finn-plus-driver"), "answers": answers, "clock": driver.fclk_mhz_actual}))
"""
THROUGHPUT = """
import sys
from finn_plus_driver.cli import driver_cli
driver_cli(sys.argv[1:], standalone_mode=False)
"""


@pytest.fixture(scope="module")
def peer_python():
    """The Python of the peer environment, or a skip."""
    named = os.environ.get("LABD_PEER_PYTHON")
    if named:
        return Path(named)
    peer = environments.environment("peer")
    if not environments.is_ready(peer, environments.folder(peer)):
        pytest.skip("needs the environment with finn-plus-driver: make peer-env, or set LABD_PEER_PYTHON")
    return environments.folder(peer) / "bin" / "python"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_bundle(
        open_bundle(SHIPPED_BUNDLE), tmp_path_factory.mktemp("peer") / "out", "finn-plus"
    ).folder


@pytest.fixture(scope="module")
def board(peer_python, tmp_path_factory):
    with board_without_ssh(tmp_path_factory.mktemp("board"), peer_python) as made:
        yield made


def test_the_peers_driver_computes_the_same_answers(board, exported, tmp_path):
    golden = load_golden(open_bundle(SHIPPED_BUNDLE))
    rng = np.random.RandomState(3)
    drawn = np.array([draw_strokes(rng, 28, 28, 1).reshape(784) for _ in range(200)])
    images = np.concatenate([golden.images, drawn])
    np.save(tmp_path / "images.npy", images)
    seen = board.run(
        PEER,
        exported / "bitfile" / "finn-accel.bit",
        exported / "driver" / "settings.json",
        tmp_path / "images.npy",
    )
    ours = GoldenModel.load(SHIPPED_BUNDLE / "network.npz").run(images).outputs[0]
    first, again = (np.array(answers).astype(int) for answers in seen["answers"])
    assert seen["version"] == "1.6.1" and seen["clock"] == 100.0
    assert np.array_equal(first[: len(golden.images)], golden.outputs)
    assert np.array_equal(first, ours) and np.array_equal(again, ours)
    assert len(np.unique(ours)) >= 8, "one class only would prove nothing"


def test_the_peers_own_command_line_takes_the_folder(board, exported):
    options = ["-b", exported / "bitfile" / "finn-accel.bit", "-s", exported / "driver" / "settings.json"]
    process = board.start(
        ["-c", THROUGHPUT], *options, "-ck", "batch_size=100", "Int", "-f", "throughput_test"
    )
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    report = json.loads(output.strip().splitlines()[-1].replace("'", '"'))
    assert report["batch_size"] == 100 and report["throughput[images/s]"] > 0
