"""The contract suite of tests/contract with the real pynq library, on a virtual board over SSH.

With ``--board NN`` it runs on that board of the inventory instead, which must have a release: the
same file, sent there and run by the board's own Python.
"""

from pathlib import Path

import pytest

from labd_host.machine.listener import SILENT
from labd_host.remote import inventory, tasks
from labd_host.remote.transport import Connection
from labd_host.virtual_board import virtual_board

ROOT = Path(__file__).resolve().parents[3]
SUITE = ROOT / "tests" / "contract" / "test_device_contract.py"
DEADLINE_S = 120.0


@pytest.fixture
def deployed_board(request, image_python, labd_home):
    """A board with the shipped bundle deployed, or the one that was asked for."""
    number = request.config.getoption("--board")
    if number:
        yield inventory.endpoint(inventory.load().board(number))
        return
    virtual_board.up("51", python=image_python)
    report = tasks.deploy(["51"], bundle=str(ROOT / "bitfiles" / "tfc-w1a1-emu"), listener=SILENT)
    assert report.exit_code == 0, report
    yield inventory.endpoint(inventory.load().board("51"))
    virtual_board.down("51")  # the next one has another Python


def test_the_contract_holds_with_the_real_pynq_library(deployed_board):
    python = deployed_board.python or "python3"
    with Connection(deployed_board) as connection:
        connection.upload(SUITE, "test_device_contract.py")
        ended = connection.run(
            [python, "-m", "unittest", "-v", "test_device_contract"],
            deadline_s=DEADLINE_S,
            env={"LABD_CONTRACT_DEVICE": "pynq", "LABD_CONTRACT_BUNDLE": "labd/current/bundle"},
            root=True,
        )
    said = ended.stderr
    assert "OK" in said.splitlines()[-1], said
    assert said.count(" ... ok") >= 13, said
