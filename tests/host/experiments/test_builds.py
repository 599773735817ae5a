"""Finished builds and bundles find their experiments, and no others."""

import json
from dataclasses import replace

import pytest

from labd_host.dataflow.parts import part_of
from labd_host.dataflow.resources import Resources
from labd_host.experiments.builds import Builds, read_builds
from labd_host.experiments.measure import board_at_hand, measure
from labd_host.experiments.outcomes import outcomes
from labd_host.experiments.request import PART3, Asked, read_request
from labd_host.experiments.store import Store
from labd_host.experiments.study_plan import plan
from labd_host.experiments.worker import run_one
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import ArtifactError, SetupError, UsageError, WrongPart
from support.paths import ROOT

PART = part_of(PYNQ_Z2_DEVICE)
BUNDLE = ROOT / "bitfiles" / "tfc-w1a1-emu"
CELLS = {"LUT": 9000, "FF": 12000, "BRAM_36K": 3, "BRAM_18K": 2, "DSP": 0}


@pytest.fixture(scope="module")
def study():
    exp1 = Asked("Exp1", change={"layer 2": {"PE": 1, "SIMD": 1}})
    return plan(replace(read_request(PART3), networks=("tfc-w1a1",), experiments=(Asked("baseline"), exp1)))


def build_of(experiment, folder, cells=CELLS):
    """The output folder of a build as FINN leaves it: FIFOs between the layers, memories as Vivado chose."""
    folder.mkdir(parents=True)
    nodes = {"Defaults": {}}
    for number, (name, settings) in enumerate(experiment.settings.items()):
        nodes[f"StreamingFIFO_rtl_{number}"] = {"depth": 2}
        nodes[name] = {**settings, "ram_style": "auto"}
    (folder / "final_hw_config.json").write_text(json.dumps(nodes))
    (folder / "post_synth_resources.json").write_text(json.dumps({"(top)": cells}))
    return folder


def test_a_build_gives_its_cells_to_its_own_folding(tmp_path, study):
    baseline, exp1 = study.experiments
    build_of(exp1, tmp_path / "builds" / "one")
    builds = read_builds([tmp_path / "builds"], PART)
    assert builds.cells(exp1) == Resources(9000, 12000, 8, 0, 0)
    assert builds.cells(baseline) is None
    cnv = plan(replace(read_request(PART3), networks=("cnv-w1a1",), experiments=(Asked("baseline"),)))
    assert builds.cells(cnv.experiments[0]) is None

    store = Store(tmp_path / "study")
    store.add(study.experiments)
    for experiment in study.experiments:
        run_one(store.folder, experiment.key)
    first, second = outcomes(study, store, {}, builds, {})
    assert (first.result.built, second.result.built) == (None, Resources(9000, 12000, 8, 0, 0))


def test_a_folder_with_nothing_built_is_refused(tmp_path):
    with pytest.raises(UsageError, match="neither FINN's reports of a build nor a bundle"):
        read_builds([tmp_path], PART)


def test_a_build_for_another_part_is_refused(tmp_path, study):
    large = {**CELLS, "LUT": 100_000}
    with pytest.raises(WrongPart, match="uses 100,000 LUT"):
        read_builds([build_of(study.experiments[0], tmp_path / "one", large)], PART)


def test_a_damaged_build_is_refused(tmp_path, study):
    folder = build_of(study.experiments[0], tmp_path / "one")
    (folder / "post_synth_resources.json").write_text("[1]")
    with pytest.raises(ArtifactError, match="a list of 1 entries, an object is wanted"):
        read_builds([folder], PART)


def test_a_bundle_is_found_by_network_folding_clock_and_target(study):
    baseline, exp1 = study.experiments
    builds = read_builds([BUNDLE], PART)
    assert builds.bundle(baseline, "emu").folder == BUNDLE
    assert builds.bundle(baseline, "hw") is None
    assert builds.bundle(exp1, "emu") is None
    assert builds.bundle(replace(baseline, clock_mhz=50.0), "emu") is None


def test_a_real_board_wants_a_bundle_and_is_told_how_to_make_it(tmp_path, study, monkeypatch):
    (tmp_path / "boards.toml").write_text(
        '[rule]\nkind = "real"\nboards = "00-99"\nhost = "gateway.invalid"\n'
        'first_port = 20000\nport_step = 100\nuser = "xilinx"\n'
    )
    monkeypatch.setenv("LABD_BOARDS", str(tmp_path / "boards.toml"))
    asked = replace(study.experiments[1], board="05")
    with board_at_hand("05"), pytest.raises(SetupError, match="board 05 is real") as caught:
        measure(asked, tmp_path, Builds())
    assert "labd build tfc-w1a1 --target hw --folding" in caught.value.fix
    written = json.loads((tmp_path / "bundles" / "tfc-w1a1-Exp1.json").read_text())
    assert (written["MVAU_hls_1"]["PE"], written["MVAU_hls_1"]["SIMD"]) == (1, 1)


def test_a_virtual_board_measures_and_is_not_asked_twice(
    tmp_path, study, labd_home, board_python, mnist_folder, monkeypatch
):
    from labd_host.virtual_board import board_state, virtual_board

    monkeypatch.setenv("LABD_BOARDS", str(ROOT / "host" / "labd_host" / "remote" / "boards.toml"))
    asked = replace(study.experiments[0], board="61")
    virtual_board.up("61", python=board_python)
    with board_at_hand("61"):
        found = measure(asked, tmp_path, read_builds([BUNDLE], PART))
    assert board_state.load("61") is not None  # it was up before
    assert (found.where, found.clock_mhz, found.batchsize) == ("virtual board 61", 100.0, 1000)
    assert 100_000 < found.frames_per_s < 1_020_408
    store = Store(tmp_path / "study")
    assert store.measured(asked) is None
    store.keep_measured(asked, found)
    assert store.measured(asked) == found
    assert store.measured(replace(asked, board="62")) is None
