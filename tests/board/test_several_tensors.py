"""Several inputs, outputs and weight DMAs; weights written at run time."""

import re

import numpy as np
import pytest

from labd_board.accelerator import Accelerator
from labd_board.fake import FakeDevice
from labd_shared.bundle import open_bundle
from labd_shared.errors import (
    ArtifactError,
    InputStuck,
    ManifestInvalid,
    ShapeError,
    UsageError,
    WeightsNotWritten,
)
from labd_shared.manifest import parse_manifest
from labd_shared.tensors import make_tensor
from support.bundles import fake_board, write_bundle

INPUTS = (
    make_tensor("left", "UINT8", (1, 12), (1, 3, 4), "NC", "idma0"),
    make_tensor("right", "INT4", (1, 12), (1, 4, 3), "NC", "idma1"),
)
OUTPUTS = (
    make_tensor("sum", "INT16", (1, 12), (1, 12, 1), "NC", "odma0"),
    make_tensor("equal", "BINARY", (1, 1), (1, 1, 1), "NC", "odma1"),
)


def add(left, right):
    total = left.astype(np.int64) + right
    return total, (left == right).all(axis=1)[:, np.newaxis]


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_bundle(tmp_path / "adder", inputs=INPUTS, outputs=OUTPUTS))


@pytest.fixture
def values(rng):
    left, right = rng.randint(0, 8, (25, 12)), rng.randint(-8, 8, (25, 12))
    left[3] = right[3] = 5
    return left, right


def test_every_input_reaches_the_model_and_every_output_comes_back(bundle, values):
    for batch_size in (1, 10, 25, 40):
        with Accelerator(bundle, FakeDevice(INPUTS, OUTPUTS, add), batch_size) as accelerator:
            total, equal = accelerator.run_all(values)
        assert np.array_equal(total, values[0] + values[1]) and total.dtype == np.int16
        assert equal.reshape(-1).tolist() == [int(row == 3) for row in range(25)]


def test_all_sinks_are_started_before_all_sources(bundle, values):
    board = FakeDevice(INPUTS, OUTPUTS, add)
    with Accelerator(bundle, board) as accelerator:
        accelerator.run_all(values)
    starts = [name for name, register, _ in board.history if register == "CONTROL"]
    assert starts == ["odma0", "odma1", "idma0", "idma1"]


def test_inputs_that_do_not_belong_together_are_refused(bundle, values):
    with Accelerator(bundle, FakeDevice(INPUTS, OUTPUTS, add)) as accelerator:
        with pytest.raises(
            ShapeError, match="2 arrays of 25 and 24 frames were given, tiny takes 2"
        ) as caught:
            accelerator.run_all([values[0], values[1][:24]])
        assert caught.value.fix == "one array for each of: left, right"
        with pytest.raises(ShapeError, match="1 arrays of 25 frames were given"):
            accelerator.run_all(values[:1])
        with pytest.raises(UsageError, match="tiny has 2 outputs, run gives one"):
            accelerator.run(values[0])
        with pytest.raises(UsageError, match="tiny has 2 inputs and 2 outputs, a data set feeds one"):
            next(accelerator.stream(None, 5))


def test_a_deadline_shows_the_registers_of_every_dma(bundle, values):
    with Accelerator(bundle, FakeDevice(INPUTS, OUTPUTS, add, stuck=("idma1",))) as accelerator:
        with pytest.raises(
            InputStuck, match="odma0 and odma1 is not done .*idma0 and idma1 is not done"
        ) as caught:
            accelerator.run_all(values)
    assert sorted(caught.value.facts["registers"]) == ["idma0", "idma1", "odma0", "odma1"]


# Weights in FINN's file formats.

WORDS = [0x00000001, 0xFFFFFFFF, 0x89ABCDEF]
DAT = "".join("{:08x}\n".format(word) for word in WORDS).encode()


def npy(tmp_path, array):
    np.save(str(tmp_path / "w.npy"), array)
    return (tmp_path / "w.npy").read_bytes()


def with_weights(tmp_path, files, **changes):
    return open_bundle(write_bundle(tmp_path / "weights", extra=files, **changes))


def test_runtime_weights_are_written_read_back_and_flushed_through(tmp_path):
    bundle = with_weights(tmp_path, {"runtime_weights/1_0_MVAU_hls_0.dat": DAT})
    board = fake_board(memories={"StreamingDataflowPartition_1": 4})
    with Accelerator(bundle, board) as accelerator:
        assert board.memories["StreamingDataflowPartition_1"].words.tolist() == WORDS + [0xDEADBEEF]
        repetitions = [value for _, register, value in board.history if register == "REPETITIONS"]
        assert repetitions == [16, 16], "frames take the old weights out of the streamers"
        board.memories["StreamingDataflowPartition_1"].words[:] = 0
        accelerator.recover()
        assert board.memories["StreamingDataflowPartition_1"].words.tolist()[:3] == WORDS


def test_the_old_weights_leave_in_batches_as_they_fit(tmp_path):
    bundle = with_weights(tmp_path, {"runtime_weights/1_0_MVAU_hls_0.dat": DAT})
    board = fake_board(memories={"StreamingDataflowPartition_1": 4})
    with Accelerator(bundle, board, 6):
        repetitions = [value for _, register, value in board.history if register == "REPETITIONS"]
    assert repetitions == [6, 6, 6, 6, 4, 4]


def test_weights_that_are_read_back_as_something_else_are_an_error(tmp_path):
    bundle = with_weights(tmp_path, {"runtime_weights/1_0_MVAU_hls_0.dat": DAT})
    board = fake_board(memories={"StreamingDataflowPartition_1": 4})
    program = board.program

    def deaf(bitfile):
        program(bitfile)
        board.memories["StreamingDataflowPartition_1"].write = lambda offset, value: None

    board.program = deaf
    message = (
        "3 of 3 words of MVAU_hls_0 are not what was written to StreamingDataflowPartition_1, "
        "first word 0: 0xdeadbeef, not 0x00000001"
    )
    with pytest.raises(WeightsNotWritten, match=message):
        Accelerator(bundle, board).open()


@pytest.mark.parametrize(
    "files, message",
    [
        (
            {"1_0_A.dat": DAT, "1_1_B.dat": DAT},
            "A and B would both be written to StreamingDataflowPartition_1",
        ),
        ({"notes.dat": DAT}, "runtime_weights/notes.dat is not named PARTITION_LAYER_NODE.dat"),
        ({"1_0_A.dat": b"0x000001\n"}, "line 1 of runtime_weights/1_0_A.dat is '0x000001', not eight"),
        ({"1_0_A.dat": b"00000001\n\n00000002\n"}, "line 2 of runtime_weights/1_0_A.dat is ''"),
        ({"1_0_A.dat": b"\n"}, "runtime_weights/1_0_A.dat is empty"),
        ({"idma-1.npy": b""}, "runtime_weights/idma-1.npy is not named DMA.npy"),
        ({"idma1.npy": b"hello"}, "runtime_weights/idma1.npy cannot be read"),
    ],
)
def test_files_of_another_format_are_refused_before_the_board_is_touched(tmp_path, files, message):
    bundle = with_weights(tmp_path, {"runtime_weights/" + name: files[name] for name in files})
    board = fake_board()
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Accelerator(bundle, board)
    assert board.programmed is None


def test_external_weights_lie_in_memory_and_are_read_for_every_frame(tmp_path, rng):
    data = rng.randint(0, 256, 300).astype(np.uint8)
    bundle = with_weights(
        tmp_path, {"runtime_weights/idma1.npy": npy(tmp_path, data)}, external_weights={"idma1": 7}
    )
    board = fake_board(weight_dmas=("idma1",))
    with Accelerator(bundle, board, 10) as accelerator:
        accelerator.run(np.zeros((13, 784), np.uint8))
    assert board.weights_read["idma1"] == data.tobytes()
    history = [(name, value) for name, register, value in board.history if register == "REPETITIONS"]
    assert history == [
        ("idma1", 70), ("odma0", 10), ("idma0", 10), ("idma1", 21), ("odma0", 3), ("idma0", 3),
    ]  # fmt: skip
    assert board.contiguous_free_bytes() == 128 << 20


def test_external_weights_are_bytes_and_are_there(tmp_path):
    bundle = with_weights(tmp_path, {"runtime_weights/idma1.npy": npy(tmp_path, np.zeros(3))})
    with pytest.raises(ArtifactError, match=r"idma1.npy does not hold bytes \(uint8\)"):
        Accelerator(bundle, fake_board())
    bundle = open_bundle(write_bundle(tmp_path / "none", external_weights={"idma1": 7}))
    with pytest.raises(
        ArtifactError, match="external weights for idma1, there is no runtime_weights/idma1.npy"
    ):
        Accelerator(bundle, fake_board())


def test_the_manifest_carries_external_weights_and_refuses_nonsense(tmp_path):
    manifest = open_bundle(write_bundle(tmp_path / "w", external_weights={"idma1": 7})).manifest
    assert manifest.external_weights == {"idma1": 7}
    assert "external_weights" not in open_bundle(write_bundle(tmp_path / "p")).manifest.to_json()
    for wrong in ('{"idma1": 0}', '{"a b": 1}', '{"idma1": true}', "[7]"):
        text = manifest.to_json().replace('{\n    "idma1": 7\n  }', wrong)
        assert text != manifest.to_json()
        with pytest.raises(ManifestInvalid, match="external_weights|idma1"):
            parse_manifest(text)


def test_fixed_point_tensors_are_counted_in_their_steps(tmp_path):
    inputs = (make_tensor("in0", "FIXED<8,4>", (1, 6), (1, 2, 3), "NC", "idma0"),)
    outputs = (make_tensor("out0", "FIXED<12,6>", (1, 6), (1, 6, 1), "NC", "odma0"),)
    bundle = open_bundle(write_bundle(tmp_path / "fixed", inputs=inputs, outputs=outputs))
    values = np.array([[-8, 7.9375, 0.0625, 0, 1, -0.5]])
    with Accelerator(bundle, FakeDevice(inputs, outputs, lambda images: images * 0.25)) as accelerator:
        assert np.array_equal(accelerator.run(values), values * 0.25)
