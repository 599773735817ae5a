"""Every fault that a virtual board can have, found by the board's own commands with the real pynq library:
each has an error class and a sentence of its own."""

import os
import subprocess

import numpy as np
import pytest

from labd_host.virtual_board.logic_faults import FAULTS
from labd_shared.errors import (
    ClassWrong,
    ClockRefused,
    InputStuck,
    OtherNetwork,
    OutOfMemory,
    OutputStuck,
    StaleAnswers,
)
from labd_shared.wire import find_error
from support.board_programs import board_without_ssh
from support.emulated import PIXELS, brightest, golden_arrays, random_images, write_emulated_bundle
from support.facts import lacking
from support.paths import ROOT

COMMAND_S = 60
SAMPLES, FEW = 24, 10  # classes that the test images have


@pytest.fixture(scope="module")
def images():
    """Images of ten classes, with their labels; thirty of each."""
    images = random_images(300) // 2
    images[np.arange(300), np.arange(300) % FEW] = 255
    return images, brightest(images)[:, 0]


@pytest.fixture(scope="module")
def files(tmp_path_factory, images):
    """The folder of a bundle with golden samples, and of the images as npz:PATH takes them."""
    folder = tmp_path_factory.mktemp("files")
    golden = golden_arrays(random_images(SAMPLES, seed=2), images[0])
    write_emulated_bundle(folder / "bundle", golden=golden)
    np.savez(folder / "mine.npz", images=images[0], labels=images[1])
    return folder


@pytest.fixture(scope="module")
def board(board_python, tmp_path_factory):
    with board_without_ssh(tmp_path_factory.mktemp("board"), board_python) as board:
        yield board


def command(board, files, name, *options):
    """How ``labd_board.NAME`` ended: exit code, what it printed, and its error."""
    environment = dict(
        board.environment(),
        PYTHONPATH=os.pathsep.join(str(ROOT / part) for part in ("board", "shared")),
        LABD_ERRORS="wire",
        TMPDIR=str(files),
    )
    ended = subprocess.run(
        [str(board.python), "-W", "ignore", "-m", f"labd_board.{name}", "--bundle", str(files / "bundle"), *options],
        capture_output=True, text=True, timeout=COMMAND_S, env=environment, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout, find_error(ended.stderr), ended.stderr


def found(board, files, fault, name, *options):
    """The error of a command on a board with *fault*."""
    board.logic.set_faults([fault])
    code, _, error, said = command(board, files, name, *options)
    board.logic.set_faults([])
    assert error is not None and code == error.exit_code, said
    return error


SELFTEST = ("selftest", "--passes", "1")
VALIDATE = ("validate", "--batchsize", "70", "--compare", "golden")


@pytest.mark.parametrize(
    "fault, kind, sentence",
    [
        ("stuck-idma", InputStuck, "it is the input DMA"),
        (
            "stuck-odma",
            OutputStuck,
            "the output side is stuck",
        ),
        ("dead-fifo", OutputStuck, "the output side is stuck"),
        ("wrong-results", OtherNetwork, "24 of 24 samples are wrong, the same way each time"),
        ("stale-buffer", StaleAnswers, "the one of the batch before"),
        ("no-memory", OutOfMemory, "0 of 134217728 are free"),
        ("clock-refused", ClockRefused, "the clock stays at 50.00 MHz, 100.00 MHz was asked for"),
    ],
)
def test_the_self_test_names_the_fault(board, files, fault, kind, sentence):
    error = found(board, files, fault, *SELFTEST)
    assert type(error) is kind and sentence in error.what, error
    assert error.fix


def test_validate_names_the_class_that_is_never_found(board, files):
    error = found(board, files, "wrong-class", *VALIDATE, "--dataset", f"npz:{files / 'mine.npz'}")
    assert type(error) is ClassWrong
    assert lacking(error.what, "30 of 300 answers differ", "all of them should be class 3 (3)") == []


def test_a_deadline_shows_the_registers_of_both_dmas_and_leaves_a_usable_board(board, files):
    options = [*VALIDATE[3:], "--dataset", f"npz:{files / 'mine.npz'}", "--batchsize", "2", "--limit", "2"]
    error = found(board, files, "stuck-odma", "validate", *options)
    assert type(error) is OutputStuck and error.facts["late"] == ["odma0"]
    assert lacking(error.what, "idma0 delivered all its frames", "the output side is stuck") == []
    assert sorted(error.facts["registers"]) == ["idma0", "odma0"] and "REPETITIONS 0x00000002" in error.what
    assert command(board, files, "validate", *options)[0] == 0


def test_every_fault_there_is_has_its_test():
    marks = test_the_self_test_names_the_fault.pytestmark
    names = {each[0] for mark in marks for each in mark.args[1]}
    assert names | {"wrong-class"} == set(FAULTS)


def test_a_killed_run_leaves_a_board_that_the_next_one_uses(board, files):
    """SIGKILL in the middle of a run: nothing of ours can tidy up, and nothing has to."""
    environment = dict(
        board.environment(),
        PYTHONPATH=os.pathsep.join(str(ROOT / part) for part in ("board", "shared")),
        TMPDIR=str(files),
        PYTHONUNBUFFERED="1",
    )
    options = [
        "--bundle",
        str(files / "bundle"),
        "--dataset",
        f"npz:{files / 'mine.npz'}",
        "--batchsize",
        "1",
    ]
    process = board.start(["-m", "labd_board.validate"], *options, "--passes", "200", environment=environment)
    assert process.stdout.readline().startswith("pass 1 / 200")
    assert process.stdout.readline().startswith("batch 1 / 300")
    process.kill()
    process.communicate(timeout=COMMAND_S)
    code, out, _, said = command(board, files, "validate", *options[2:])
    assert code == 0 and "Final accuracy: 100.000000" in out, said


def test_a_shorter_memory_splits_the_batch_and_says_so(board, files, images):
    owner = object()
    board.logic.configure(files / "bundle" / "accel.bit")
    board.logic.allocate(board.logic.facts()["cma_free_bytes"] - 5 * 4096, owner)
    try:
        options = ["--dataset", f"npz:{files / 'mine.npz'}", "--batchsize", "300"]
        code, out, _, said = command(board, files, "validate", *options)
    finally:
        board.logic.free_all(owner)
    assert code == 0 and "Final accuracy: 100.000000" in out
    fitting = 4 * 4096 // PIXELS
    assert f"batches of {fitting} frames instead of 300: buffers for 300" in said
    assert f"batch 1 / {-(-300 // fitting)} : total OK {fitting} NOK 0" in out
