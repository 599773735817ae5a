"""A network with one layer whose weights are written at run time, on a virtual board: first its own, then others."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from labd_host.bundles.bundle_writer import golden_model, write_bundle
from labd_host.bundles.golden_samples import golden_arrays
from labd_host.cli.main import run
from labd_host.dataflow.presets import PRESETS
from labd_host.flow.finn_door import Finn
from labd_host.golden.golden_model import GoldenModel
from labd_host.interchange.exporting import export_bundle
from labd_host.interchange.import_options import ImportOptions
from labd_host.interchange.importing import import_design
from labd_host.virtual_board.contiguous_memory import ContiguousMemory
from labd_host.virtual_board.logic import ProgrammableLogic
from labd_shared.arrays import save_npz
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.datasets import read_official
from labd_shared.digest import image_digest
from labd_shared.errors import ArtifactError, DmaBusy
from labd_shared.hwh import read_hwh
from labd_shared.predictions import load_predictions
from labd_shared.registers import Control, Iodma
from support.board_programs import board_without_ssh
from support.peer import PEER, peer_python
from support.shell import BOARD

from .conftest import DRAWN

LAYER = "MVAU_hls_1"
FILE = "runtime_weights/2_0_MVAU_hls_1.dat"


@pytest.fixture(scope="module")
def built(home, drawn_data):
    """tfc-w1a1 with the lab's folding, but for one attribute."""
    folding = {name: dict(values) for name, values in PRESETS["tfc-w1a1"]["lab"].items()}
    folding[LAYER]["runtime_writeable_weights"] = 1
    (home / "folding.json").write_text(json.dumps(folding))
    options = ["--folding", str(home / "folding.json"), "--target", "emu", "-o", str(home / "built")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABD_DATASETS", str(drawn_data))
        assert run(["build", "tfc-w1a1", *options]) == 0
    return open_bundle(home / "built")


@pytest.fixture(scope="module")
def others(built, home, drawn_data):
    """The same bitfile with other weights, in a file by FINN, and what the network then answers."""
    model = GoldenModel.load(built.path("network.npz"))
    weights = np.random.default_rng(4).integers(0, 2, (64, 64))
    arrays = {**model.network.arrays, f"{LAYER}.weights": weights.astype(np.int8)}
    other = GoldenModel(replace(model.network, arrays=arrays))
    images = read_official(drawn_data / "mnist", "mnist", "test")[0].reshape(DRAWN, 784)
    answers = other.run(images).outputs[0]
    assert (answers != model.run(images).outputs[0]).mean() > 0.5, "or the test could not fail"
    digests = np.array([image_digest(image.tobytes()) for image in images], np.uint64)
    order = np.argsort(digests)
    samples = load_golden(built).images
    with Finn() as finn:
        from qonnx.custom_op.registry import getCustomOp

        folded = finn.load(home / "built.stages" / "7-folded.onnx")
        [node] = [node for node in folded.graph.node if node.name == LAYER]
        getCustomOp(node).make_weight_file(
            weights.astype(np.float32), "decoupled_runtime", str(home / "other.dat")
        )

    def fill(making):
        for name in built.manifest.files:
            (making / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(built.path(name), making / name)
        shutil.copyfile(home / "other.dat", making / FILE)
        golden = golden_arrays(
            samples, other.run(samples).outputs[0], digests[order], answers[order, 0].astype(np.uint16)
        )
        save_npz(making / "golden.npz", golden)
        return built.manifest._replace(files={})

    return write_bundle(home / "others", fill)


@pytest.fixture(scope="module")
def board(shell):
    assert shell.labd("board", "up", BOARD).code == 0
    return shell


def validated(board, batch_size):
    options = ("--board", BOARD, "--batchsize", str(batch_size), "--compare", "golden", "--json")
    said = board.fab("validate", *options)
    assert said.code == 0, said.err
    report = json.loads(said.out)["boards"][0]["result"]["report"]
    return report["correct"], report["agreement"]["same"]


def test_a_bundle_brings_the_weights_that_are_written_in_finn_s_format(built, board):
    assert FILE in built.manifest.files
    said = board.fab("deploy", "--board", BOARD, "--bundle", str(built.folder))
    assert said.code == 0, said.err
    assert "golden samples right" in said.out
    assert validated(board, 100) == (DRAWN * 9 // 10, DRAWN)


def test_other_weights_are_written_over_axi_lite_and_the_network_computes_with_them(others, board):
    said = board.fab("deploy", "--board", BOARD, "--bundle", str(others.folder))
    assert said.code == 0, said.err
    for batch_size in (100, 7):
        correct, same = validated(board, batch_size)
        assert same == DRAWN and correct < DRAWN // 2


def test_the_host_says_what_a_board_will_say_with_them(others, shell, home):
    said = shell.labd("validate", str(others.folder), "--predictions", str(home / "host.npz"))
    assert said.code == 0, said.err
    golden, told = load_golden(others), load_predictions(home / "host.npz")
    wanted = dict(zip(golden.digests.tolist(), golden.predictions.tolist(), strict=True))
    assert told.predicted.tolist() == [wanted[digest] for digest in told.digest.tolist()]


@pytest.mark.parametrize("form", ["finn", "finn-plus"])
def test_an_export_carries_the_weights_and_imports_as_the_same_accelerator(others, tmp_path, form):
    exported = export_bundle(others, tmp_path / "out", form)
    assert f"driver/{FILE}" in exported.files
    back = import_design(
        exported.folder, tmp_path / "back", ImportOptions(network="tfc-w1a1", dataset="mnist")
    ).bundle
    assert back.path(FILE).read_bytes() == others.path(FILE).read_bytes()
    ours, theirs = load_golden(others), load_golden(back)
    known = {image.tobytes(): answer for image, answer in zip(ours.images, ours.outputs, strict=True)}
    both = [(known[image.tobytes()], answer) for image, answer in zip(theirs.images, theirs.outputs, strict=True)
            if image.tobytes() in known]  # fmt: skip
    assert len(both) >= 2 and all(np.array_equal(one, other) for one, other in both)


def test_finn_s_own_driver_writes_them_and_computes_the_same_answers(others, tmp_path):
    python = peer_python()
    exported = export_bundle(others, tmp_path / "out", "finn-plus").folder
    golden = load_golden(others)
    np.save(tmp_path / "images.npy", golden.images)
    with board_without_ssh(tmp_path / "board", python) as board:
        process = board.start(
            ["-c", PEER],
            exported / "bitfile" / "finn-accel.bit",
            exported / "driver" / "settings.json",
            tmp_path / "images.npy",
        )
        output, errors = process.communicate(timeout=60)
    assert "Wrote runtime weights of 1 layer" in output, errors
    answers = json.loads(output.splitlines()[-1])["answers"]
    assert np.array_equal(np.array(answers[0]).astype(int), golden.outputs)


@pytest.fixture
def logic():
    made = ProgrammableLogic(ContiguousMemory())
    yield made
    made.close()


def test_weights_are_not_written_under_running_frames(built, logic):
    logic.configure(built.path("accel.bit"))
    block = read_hwh(built.path("accel.hwh")).blocks["StreamingDataflowPartition_2"]
    words = [int(line, 16) for line in built.path(FILE).read_text().split()]
    assert logic.peek(block.base, len(words)) == words, "the bitfile holds them from the beginning"
    odma = read_hwh(built.path("accel.hwh")).blocks["odma0"].base
    logic.write(odma + Iodma.REPETITIONS, 1)
    logic.write(odma + Iodma.CONTROL, Control.START)
    with pytest.raises(
        DmaBusy, match="StreamingDataflowPartition_2 was written while odma0 was running"
    ) as caught:
        logic.write(block.base, 0)
    assert "done bit" in caught.value.fix
    assert logic.peek(block.base, len(words)) == words


def test_weights_of_another_network_are_refused_on_the_host(built, tmp_path):
    folder = shutil.copytree(built.folder, tmp_path / "copy")
    other = "runtime_weights/3_0_MVAU_hls_3.dat"
    shutil.copyfile(built.path(FILE), folder / other)
    with pytest.raises(
        ArtifactError, match="3_0_MVAU_hls_3.dat holds 128 words, MVAU_hls_3 of tfc-w1a1 takes 32"
    ):
        golden_model(folder, [other])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runtime_weights/2_0_MVAU_hls_9.dat", "has no place: the network has no MVAU MVAU_hls_9"),
        (
            "runtime_weights/7_0_MVAU_hls_0.dat",
            "the .hwh has no StreamingDataflowPartition_7 with room for 2048 words",
        ),
        ("runtime_weights/idma1.npy", "is read from memory by a DMA of its own"),
    ],
)
def test_weights_for_a_layer_that_is_not_there_are_refused(built, logic, tmp_path, name, message):
    folder = shutil.copytree(built.folder, tmp_path / "copy")
    manifest = built.manifest
    files = {**manifest.files, name: manifest.files[FILE]}
    (folder / "manifest.json").write_text(manifest._replace(files=files).to_json())
    with pytest.raises(ArtifactError, match=message):
        logic.configure(folder / "accel.bit")
