"""finn-plus-driver 1.6.1, unchanged, runs what labd exports on a virtual board and answers as labd does."""

import json

import numpy as np
import pytest

from labd_host.bundles.golden_samples import draw_strokes
from labd_host.golden.golden_model import GoldenModel
from labd_host.interchange.exporting import export_bundle
from labd_shared.bundle import load_golden, open_bundle
from support.board_programs import board_without_ssh
from support.paths import SHIPPED_BUNDLE
from support.peer import PEER, peer_python

THROUGHPUT = """
import sys
from finn_plus_driver.cli import driver_cli
driver_cli(sys.argv[1:], standalone_mode=False)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_bundle(
        open_bundle(SHIPPED_BUNDLE), tmp_path_factory.mktemp("peer") / "out", "finn-plus"
    ).folder


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    python = peer_python()
    with board_without_ssh(tmp_path_factory.mktemp("board"), python) as made:
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
