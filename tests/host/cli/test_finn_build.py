"""`labd build cfg.yaml [MODEL.onnx]` and `labd build build.py`: FINN's own entry points, as a user types them."""

import json
import shutil

import numpy as np
import pytest

import labd
from labd_host.cli.main import run
from labd_host.networks import trained_onnx
from labd_shared.bundle import open_bundle
from labd_shared.errors import UsageError

FOLDING = {
    "Defaults": {},
    "IODMA_0": {},
    "Thresholding_Batch_0": {"PE": 49, "mem_mode": "const"},
    "MatrixVectorActivation_0": {"PE": 16, "SIMD": 49, "mem_mode": "decoupled"},
    "MatrixVectorActivation_1": {"PE": 8, "SIMD": 8},
    "MatrixVectorActivation_2": {"PE": 8, "SIMD": 8},
    "MatrixVectorActivation_3": {"PE": 10, "SIMD": 8},
    "LabelSelect_Batch_0": {"PE": 1},
}
YAML = """\
model_path: model.onnx
output_dir: out
synth_clk_period_ns: 8.0
folding_config_file: folding.json
board: Pynq-Z1
auto_fifo_strategy: largefifo_rtlsim
validation_dataset: mnist
verify_steps: [initial_python]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, mnist_test):
    """A user's folder: configuration, folding, model, verification inputs."""
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "lab"
    there.mkdir()
    shutil.copyfile(trained_onnx("tfc-w1a1"), there / "model.onnx")
    (there / "folding.json").write_text(json.dumps(FOLDING))
    (there / "cfg.yaml").write_text(YAML)
    np.save(there / "input.npy", mnist_test[0][:4].transpose(0, 3, 1, 2).astype(np.float32))
    np.save(there / "expected_output.npy", np.array([7, 2, 1, 0]))
    return there


def test_a_configuration_of_finn_plus_is_built_and_every_difference_is_a_line(folder, capsys):
    assert run(["build", "lab/cfg.yaml"]) == 0
    said = capsys.readouterr()
    lines = [line.split(" = ")[0].strip() for line in said.out.splitlines() if " = " in line]
    assert lines == ["board", "auto_fifo_strategy", "verify_steps"]
    assert "verification: 4 of 4 answers as expected_output.npy has them" in said.err
    assert "mem_mode internal_embedded of Thresholding_Batch_0 left out" in said.err
    manifest = open_bundle(folder / "out").manifest
    assert (manifest.clock_mhz, manifest.target, manifest.part) == (125.0, "emu", "xc7z020clg400-1")
    assert manifest.folding["MVAU_hls_0"] == {"PE": 16, "SIMD": 49}
    assert (folder / "out.stages" / "gallery.html").is_file()

    np.save(folder / "expected_output.npy", np.array([7, 2, 1, 5]))
    assert run(["build", "lab/cfg.yaml"]) == 7
    assert "frame 3: 0 where 5 was expected" in capsys.readouterr().err


def test_a_build_script_is_followed_and_options_win(folder, capsys, tmp_path):
    script = (
        "import finn.builder.build_dataflow_config as build_cfg\n"
        "for platform in ['Ultra96', 'ZCU104']:\n"
        "    cfg = build_cfg.DataflowBuildConfig(output_dir='out_py', target_fps=100000, board=platform,\n"
        "        synth_clk_period_ns=10.0, folding_config_file='folding.json', validation_dataset='mnist')\n"
        "    build.build_dataflow_cfg('model.onnx', cfg)\n"
        "raise SystemExit(3)\n"
    )
    (folder / "build.py").write_text(script)
    command = ["build", "lab/build.py", "--folding", "lab/folding.json", "--clock-mhz", "50", "-o", "mine"]
    assert run(command) == 0
    said = capsys.readouterr().out
    assert "board = platform: platform goes through 2 values (line 2); labd goes on as without it" in said
    manifest = open_bundle(tmp_path / "mine").manifest
    assert (manifest.clock_mhz, manifest.folding["MVAU_hls_1"]) == (50.0, {"PE": 8, "SIMD": 8})
    assert not (folder / "out_py").exists()


def test_the_python_door_loads_a_configuration(folder):
    asked = labd.load("lab/cfg.yaml")
    assert isinstance(asked, labd.FinnBuild)
    assert repr(asked) == "<FinnBuild: cfg.yaml: model at 125 MHz, 3 fields followed otherwise>"
    assert [each["field"] for each in asked.record["differences"]] == [
        "board",
        "auto_fifo_strategy",
        "verify_steps",
    ]
    assert json.dumps(asked.record) and asked.network.dataset == "mnist"
    assert labd.load("lab/cfg.yaml", model="tfc-w1a1").network.name == "tfc-w1a1"
    (folder / "dataflow_build_config.json").write_text('{"target_fps": 1000}')
    assert labd.load("lab").network.typed == "lab/model.onnx", "as FINN's directory builds have it"
    with pytest.raises(UsageError, match="is a build configuration, not a network"):
        labd.loading.load_network("lab/cfg.yaml")


def test_a_rate_with_a_folding_file_gives_the_file_over_the_rate(folder):
    (folder / "folding.json").write_text(json.dumps({"MVAU_hls_1": {"PE": 32, "SIMD": 2}}))
    text = "target_fps: 20000\nfolding_config_file: folding.json\nsynth_clk_period_ns: 10\n"
    (folder / "both.yaml").write_text(text)
    asked = labd.load("lab/both.yaml", model="tfc-w1a1")
    found = asked.network.chain().folded(asked.folding())
    assert found.settings["MVAU_hls_1"]["PE"] == 32
    assert found.settings["MVAU_hls_0"]["SIMD"] > 1, "folded for the rate"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lab/empty/cfg.yaml"], 2, "lab/empty/cfg.yaml does not name the network to build"),
        (["lab/folding.json"], 5, "is a folding file, not a build configuration"),
        (["tfc-w1a1", "lab/model.onnx"], 2, "tfc-w1a1 is not a build configuration"),
        (["lab/fast.yaml", "tfc-w1a1"], 2, "asks for 500 MHz, labd builds for 1 to 250 MHz"),
        (["lab/cfg.yaml"], 2, "out holds something else than a bundle"),
        (["lab/missing.yaml", "tfc-w1a1"], 5, "gone.json cannot be read"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_anything_runs(folder, capsys, arguments, code, message):
    (folder / "fast.yaml").write_text("target_fps: 100\nsynth_clk_period_ns: 2.0\n")
    (folder / "missing.yaml").write_text("folding_config_file: gone.json\n")
    (folder / "empty").mkdir()
    (folder / "empty" / "cfg.yaml").write_text("target_fps: 100\n")
    (folder / "out" / "report").mkdir(parents=True)
    assert run(["build", *arguments]) == code
    assert message in capsys.readouterr().err
