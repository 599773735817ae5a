"""`labd build`, `inspect` and `attach-network` as a user types them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from labd_host.bundles.bundle_writer import attach_network, write_bundle, zip_bundle
from labd_host.bundles.golden_samples import draw_strokes, golden_samples
from labd_host.cli.main import COMMANDS, labd, run
from labd_host.golden.golden_model import GoldenModel
from labd_host.networks import trained_onnx
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import DigestMismatch, UsageError, WrongTarget
from support.paths import SHIPPED_BUNDLE


@pytest.fixture
def shipped():
    return open_bundle(SHIPPED_BUNDLE)


@pytest.fixture
def without_network(shipped, tmp_path):
    """The shipped bundle as hardware would have it: no network.npz."""

    def fill(making):
        for name in ("accel.bit", "accel.hwh", "golden.npz"):
            shutil.copyfile(shipped.path(name), making / name)
        return shipped.manifest._replace(files={}, target="hw")

    return write_bundle(tmp_path / "hw", fill)


def test_build_writes_a_bundle_that_boards_read_and_the_same_one_again(mnist_test, tmp_path, capsys):
    first = ["build", "tfc-w1a1", "--target", "emu", "--zip", "-o", str(tmp_path / "one")]
    assert run(first) == 0
    said = capsys.readouterr().out
    assert "1,020,408 frames/s at 100 MHz (cycle model, bound by idma0); target emu" in said
    again = ["--model", str(trained_onnx("tfc-w1a1")), "-o", str(tmp_path / "two")]
    assert run([*first[:-2], *again]) == 0
    one, two = open_bundle(tmp_path / "one"), open_bundle(tmp_path / "two")
    assert one.manifest == two.manifest
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    accuracy = one.manifest.accuracy
    assert accuracy.top1_percent >= 92.0 and accuracy.samples == 10000
    golden = load_golden(one)
    right = golden.predictions.size
    assert right == 10000 and len(np.unique(golden.outputs)) >= 8, "the samples must reach most classes"


def test_the_shipped_bundle_is_the_one_that_is_built_now(mnist_test, tmp_path):
    assert run(["build", "tfc-w1a1", "--target", "emu", "-o", str(tmp_path / "now")]) == 0
    built = (tmp_path / "now" / "manifest.json").read_text()
    assert built == (SHIPPED_BUNDLE / "manifest.json").read_text(), "rebuild it: bitfiles/README.md"


def test_a_bundle_is_built_for_a_rate(mnist_test, tmp_path, capsys):
    folder = tmp_path / "fast"
    assert run(["build", "tfc-w1a1", "--target", "emu", "--target-fps", "300000", "-o", str(folder)]) == 0
    expected = open_bundle(folder).manifest.expected
    assert 300_000 <= expected.frames_per_s < 500_000, "not the lab's folding, which reaches 1,020,408"


@pytest.mark.parametrize(
    "command, code, words",
    [
        (["build", "tfc-w1a1x", "--target", "emu", "-o", "x"], 2, "did you mean 'tfc-w1a1'?"),
        (["build", "tfc-w1a1", "--target", "asic", "-o", "x"], 2, "'asic' is not one of 'emu', 'hw'"),
        (["build", "tfc-w1a1", "--target", "emu", "--folding", "fast", "-o", "x"], 2, "fast"),
        (
            ["build", "tfc-w1a1", "--target", "emu", "--folding", "lab", "--target-fps", "9", "-o", "x"],
            2,
            "one decides the other",
        ),
        (["build", "tfc-w1a1", "--target", "emu", "--target-fps", "2e6", "-o", "x"], 2, "idma0 needs 98"),
        (["inspect", "nothing.bit"], 2, "there is no nothing.bit"),
        (["bild"], 2, "did you mean 'build'?"),
        (["build", "--nonsense"], 2, "No such option"),
    ],
)
def test_wrong_words_end_with_two_and_the_way_on(command, code, words, capsys):
    assert run(command) == code
    assert words in capsys.readouterr().err


def test_every_command_is_there_and_help_names_it(capsys):
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    context = labd.make_context("labd", ["--help"], resilient_parsing=True)
    for name in COMMANDS:
        assert name in said
        assert labd.get_command(context, name) is not None


def test_a_folder_with_something_else_is_left_alone(tmp_path, shipped):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="holds something else than a bundle"):
        write_bundle(tmp_path, lambda making: shipped.manifest)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    def fill(making):
        (making / "accel.bit").write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_bundle(tmp_path / "bundle", fill)
    assert list(tmp_path.iterdir()) == []


def test_inspect_shows_each_kind_of_file(shipped, tmp_path, capsys):
    for name, wanted in (
        ("", {"network": "tfc-w1a1", "target": "emu", "predictions": 10000}),
        ("accel.bit", {"part": "7z020clg400", "idcode": "0x03727093"}),
        ("accel.hwh", {"part": PYNQ_Z2_PART}),
        ("network.npz", {"bottleneck": "idma0", "cycles_per_frame": 98}),
    ):
        assert run(["inspect", "--json", str(SHIPPED_BUNDLE / name)]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert wanted.items() <= facts.items(), name
        assert run(["inspect", str(SHIPPED_BUNDLE / name)]) == 0
        capsys.readouterr()
    archive = zip_bundle(shipped, tmp_path / "b.zip")
    assert run(["inspect", str(archive)]) == 0
    assert "cycles_per_frame" in capsys.readouterr().out


def test_inspect_counts_the_nodes_of_an_onnx_file(capsys):
    path = trained_onnx("tfc-w1a1")
    assert run(["inspect", "--json", str(path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["nodes"] == sum(facts["operators"].values()) > 10
    assert facts["operators"]["Gemm"] == 4
    assert len(facts["inputs"]) == len(facts["outputs"]) == 1 and facts["outputs"][0].endswith(
        "FLOAT [1, 10]"
    )


@pytest.mark.parametrize(
    "content", [b"", b"no protobuf at all", b"\x08\x07", None], ids=["empty", "text", "no graph", "cut short"]
)
def test_a_file_that_is_no_onnx_or_cut_short_is_refused(tmp_path, capsys, content):
    whole = trained_onnx("tfc-w1a1").read_bytes()
    (tmp_path / "x.onnx").write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert run(["inspect", str(tmp_path / "x.onnx")]) == 5
    assert "x.onnx is not an ONNX" in capsys.readouterr().err


def test_inspect_shows_names_that_are_no_text_or_would_steer_a_terminal(tmp_path, capsys):
    whole = trained_onnx("tfc-w1a1").read_bytes()
    for wrong, shown in ((b"BipolarQuan\xff", r"b'BipolarQuan\xff'"), (b"BipolarQuan\x1b", "BipolarQuan?")):
        (tmp_path / "x.onnx").write_bytes(whole.replace(b"BipolarQuant", wrong))
        assert run(["inspect", str(tmp_path / "x.onnx")]) == 0
        out = capsys.readouterr().out
        assert shown in out and "\x1b" not in out


def test_inspect_says_of_a_folder_with_nothing_in_it_that_it_is_no_bundle(tmp_path, capsys):
    assert run(["inspect", str(tmp_path)]) == 5
    assert "is no bundle: it has no manifest.json" in capsys.readouterr().err
    (tmp_path / "bitfile").mkdir()
    shutil.copyfile(SHIPPED_BUNDLE / "accel.bit", tmp_path / "bitfile" / "finn-accel.bit")
    assert run(["inspect", str(tmp_path)]) == 5
    assert "is nearly a deploy package" in capsys.readouterr().err


def test_a_zip_of_the_bundle_opens_as_the_same_bundle(shipped, tmp_path):
    assert open_bundle(zip_bundle(shipped, tmp_path / "b.zip")).manifest == shipped.manifest


def test_a_network_is_attached_to_a_bundle_that_has_none(without_network, shipped, tmp_path, capsys):
    command = ["attach-network", str(without_network.folder), str(shipped.path("network.npz"))]
    assert run([*command, "-o", str(tmp_path / "both")]) == 0
    made = open_bundle(tmp_path / "both")
    assert "network.npz" in made.manifest.files and made.manifest.target == "hw"
    assert made.path("accel.bit").read_bytes() == shipped.path("accel.bit").read_bytes()


def test_another_network_is_not_attached(without_network, shipped, tmp_path):
    model = GoldenModel.load(shipped.path("network.npz"))
    arrays = model.network.arrays
    name = next(key for key in arrays if key.endswith(".weights"))
    changed = {**arrays, name: arrays[name][::-1].copy()}
    GoldenModel(dataclasses.replace(model.network, arrays=changed)).save(tmp_path / "n.npz")
    with pytest.raises(WrongTarget, match="golden samples differently"):
        attach_network(without_network, tmp_path / "n.npz", tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_mixed_bundle_is_refused(shipped, tmp_path):
    shutil.copytree(SHIPPED_BUNDLE, tmp_path / "mixed")
    (tmp_path / "mixed" / "network.npz").write_bytes(shipped.path("golden.npz").read_bytes())
    with pytest.raises(DigestMismatch, match=r"network\.npz has \d+ bytes, the manifest says"):
        open_bundle(tmp_path / "mixed")


def test_strokes_are_drawn_the_same_every_time_and_look_like_ink():
    one = draw_strokes(np.random.RandomState(1), 28, 28, 1)
    assert np.array_equal(one, draw_strokes(np.random.RandomState(1), 28, 28, 1))
    assert one.shape == (28, 28, 1) and one.dtype == np.uint8
    assert 0.02 < (one > 64).mean() < 0.5


def test_golden_samples_reach_every_class_the_strokes_can(shipped):
    model = GoldenModel.load(shipped.path("network.npz"))
    images, answers = golden_samples(model, (28, 28, 1))
    golden = load_golden(shipped)
    assert np.array_equal(images, golden.images) and np.array_equal(answers, golden.outputs)
