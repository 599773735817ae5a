"""`labd build --target hw` as a user types it, and the bundle that comes of it; Vivado and FINN's part stand in."""

import errno
import json
from dataclasses import replace

import numpy as np
import pytest

from labd_host.bundles.bundle_writer import attach_network
from labd_host.bundles.golden_samples import golden_arrays
from labd_host.bundles.preparation import Prepared
from labd_host.cli.main import run
from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.vivado import build_estimate
from labd_host.vivado import hardware_build as module
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.datasets import dataset_spec
from labd_shared.manifest import Accuracy, InputContract
from support.hardware import WORKER, equip, left_behind


@pytest.fixture(scope="module")
def prepared(compiled, proof_images):
    """tfc-w1a1, compiled; its golden samples are a few images."""
    images = proof_images.reshape(len(proof_images), -1)
    golden = golden_arrays(images, compiled.golden.run(images).outputs[0])
    names = dataset_spec("mnist").class_names
    return Prepared(
        "tfc-w1a1",
        "mnist",
        names,
        InputContract("raw-uint8"),
        compiled,
        golden,
        Accuracy(93.55, 10000, "test", "golden model"),
    )


@pytest.fixture
def typed(prepared, monkeypatch, tmp_path, capsys):
    """A function: build with these options and tools that fail so; exit code, output, messages."""
    equip(monkeypatch, tmp_path)
    monkeypatch.setattr(module, "prepare", lambda *positional, **named: prepared)
    ours = module.run
    monkeypatch.setattr(module, "run", lambda *some, **named: ours(*some, **{**named, "module": WORKER}))

    def typing(*options, fault="", what=("tfc-w1a1",)):
        monkeypatch.setenv("LABD_STAND_IN", fault)
        code = run(["build", *what, "--target", "hw", "-o", str(tmp_path / "out"), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return typing


def test_a_configuration_of_finn_s_is_built_for_a_real_board_where_that_is_asked(typed, tmp_path):
    config = tmp_path / "cfg.yaml"
    config.write_text("board: ZCU104\nsynth_clk_period_ns: 10.0\noutput_dir: elsewhere\n")
    code, out, err = typed(what=(str(config), "tfc-w1a1"))
    assert code == 0, err
    assert "board = ZCU104: labd builds for the Pynq-Z2" in out
    assert open_bundle(tmp_path / "out").manifest.target == "hw"
    assert not (tmp_path / "elsewhere").exists(), "options win over the file"


def test_a_build_ends_in_a_bundle_with_slack_resources_and_golden_samples(typed, tmp_path):
    code, out, err = typed("--zip")
    assert code == 0, err
    row = next(line.split() for line in out.splitlines() if line.startswith("LUT "))
    assert row[:5] == ["LUT", "8,220", "15.5", "%", "53,200"], "beside the part"
    assert row[6] == "8,564", "FINN's own sum (test_explore_resources compares layer by layer)"
    assert 8_564 < int(row[5].replace(",", "")) < 20_000, "the shell, DMAs and FIFOs on top"
    assert "timing at 99.999 MHz: met, worst slack 1.204 ns" in out
    assert "target hw, slack 1.204 ns" in out and "1,020,408 frames/s" in out
    assert "hls MVAU_hls_1, 2 of 2 begun" in err and "tools: vivado 2022.2, vitis_hls 2022.2" in err
    bundle = open_bundle(tmp_path / "out")
    manifest = bundle.manifest
    assert manifest.target == "hw" and manifest.slack_ns == 1.204 and manifest.clock_mhz == 100
    assert manifest.tools["vivado"] == "2022.2" and manifest.tools["vitis_hls"] == "2022.2"
    assert "network.npz" not in manifest.files
    report = json.loads(bundle.path("hardware.json").read_text())
    assert (
        report["timing"]["met"] and report["resources"]["built"]["LUT"] == 8220 and report["accepted"] == []
    )
    assert len(load_golden(bundle).images) == 16
    assert open_bundle(tmp_path / "out.zip").manifest == manifest


def test_a_virtual_board_can_run_it_once_the_network_is_attached(typed, prepared, tmp_path):
    assert typed()[0] == 0
    made = attach_network(open_bundle(tmp_path / "out"), prepared.compiled.network_file, tmp_path / "both")
    assert "network.npz" in made.manifest.files
    assert np.array_equal(load_golden(made).outputs, prepared.golden["outputs"])


def test_negative_slack_is_refused_and_when_accepted_said_everywhere(typed, tmp_path, capsys):
    code, out, err = typed(fault="slack")
    assert (
        code == 4 and "timing is not met at 100 MHz: worst slack -0.412 ns" in err and "--clock-mhz 96" in err
    )
    assert not (tmp_path / "out").exists()
    code, out, err = typed("--accept-timing")
    assert code == 0 and "NOT MET" in out and "accepted: timing is not met" in out and "TIMING NOT MET" in out
    assert "synthesis was done before" in err, "accepting costs nothing"
    bundle = open_bundle(tmp_path / "out")
    assert bundle.manifest.slack_ns == -0.412
    assert "timing is not met" in json.loads(bundle.path("hardware.json").read_text())["accepted"][0]
    assert run(["inspect", str(tmp_path / "out")]) == 0
    assert "-0.412" in capsys.readouterr().out


def test_behind_the_wizard_the_boards_clock_stays_and_the_cycles_are_counted_in_it(typed, tmp_path):
    assert typed("--clock-mhz", "125")[0] == 0
    manifest = open_bundle(tmp_path / "out").manifest
    assert manifest.clock_mhz == 100, "FCLK0, which the driver sets"
    assert manifest.expected.cycles_per_frame == 79, "98 of the accelerator's 125 MHz"


@pytest.mark.parametrize(
    "options, code, words",
    [
        (["--clock-mhz", "33.3"], 2, "FINN builds for whole MHz"),
        (["--ignore-check", "diks"], 2, "did you mean 'disk'?"),
        (["--target", "emu", "--jobs", "2"], 2, "are for --target hw"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(typed, options, code, words, tmp_path):
    said = typed(*options)
    assert said[0] == code and words in said[2]
    assert not (tmp_path / "out.hardware").exists()


def test_without_vivado_nothing_is_compiled_first(typed, monkeypatch, tmp_path):
    monkeypatch.setenv("XILINX_VIVADO", str(tmp_path))
    monkeypatch.setattr(module, "prepare", lambda *positional, **named: pytest.fail("checked too late"))
    code, _, err = typed()
    assert code == 3 and "which has no bin/vivado" in err and "labd doctor --for hw" in err


def test_a_folder_with_something_else_is_refused_before_hours_are_spent(typed, monkeypatch, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    monkeypatch.setattr(module, "prepare", lambda *positional, **named: pytest.fail("checked too late"))
    code, _, err = typed()
    assert code == 2 and "holds something else than a bundle" in err


def test_ctrl_c_says_that_the_same_command_goes_on(typed, monkeypatch, tmp_path):
    def interrupted(*some, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", interrupted)
    code, _, err = typed()
    assert code == 130 and "Run the same command again to resume" in err


def test_what_is_expected_not_to_fit_is_refused_unless_accepted(typed, monkeypatch):
    small = replace(part_of(PYNQ_Z2_DEVICE), holds=Resources(lut=5000, ff=106_400, bram18=280, dsp=220))
    monkeypatch.setattr(build_estimate, "part_of", lambda name: small)
    code, _, err = typed()
    assert code == 4 and "the design is expected to take" in err and "LUT of 5,000" in err
    assert "--ignore-check fits" in err
    code, out, _ = typed("--ignore-check", "fits")
    assert code == 0 and "accepted: the design is expected to take" in out


def test_a_failing_tool_ends_the_command_and_leaves_the_bundle_that_was_there(typed, tmp_path):
    assert typed()[0] == 0
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    code, _, err = typed("--clock-mhz", "50", fault="overflow")
    assert code == 4 and "synthesis: the design needs 62315 Slice LUTs, the part has 53200" in err
    assert "runme.log" in err
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert left_behind(tmp_path) == []


def test_a_disk_that_is_full_at_the_end_costs_the_bundle_only(typed, monkeypatch):
    def full(*some):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_bundle", full)
    code, _, err = typed()
    assert (
        code == 3 and "cannot be written: No space left on device" in err and "nothing is built twice" in err
    )


def test_other_tools_or_another_clock_are_another_build(typed):
    assert typed()[0] == 0
    assert "synthesis was done before" in typed()[2]
    assert "synthesis was done before" not in typed("--clock-mhz", "50")[2]
