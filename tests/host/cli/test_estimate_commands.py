"""`labd estimate` and `labd simulate` as a person types them, and FINN's final_hw_config.json."""

import json

import pytest
from click.testing import CliRunner

from labd_host.bundles.bundle_writer import zip_bundle
from labd_host.cli.main import labd, run
from labd_host.dataflow.folded_chain import design_of
from labd_host.networks import NETWORKS
from labd_host.simulate.hardware_config import read_hardware_config
from labd_host.simulate.simulator import simulate
from labd_shared.bundle import open_bundle
from labd_shared.errors import ArtifactError, IllegalFolding
from support.paths import SHIPPED_BUNDLE

# The layers and FIFOs of a lab build as FINN writes them, written down anew.
CONFIG = {
    "Defaults": {},
    "StreamingFIFO_rtl_0": {"depth": 2, "impl_style": "rtl"},
    "Reshape_rtl_0": {"PE": 112},
    "StreamingFIFO_rtl_1": {"depth": 2},
    "Thresholding_rtl_0": {"PE": 112, "inFIFODepths": [2]},
    "StreamingFIFO_rtl_2": {"depth": 32},
    "MVAU_hls_0": {"PE": 32, "SIMD": 112, "ram_style": "auto"},
    "StreamingFIFO_rtl_3": {"depth": 2},
    "MVAU_hls_1": {"PE": 32, "SIMD": 32},
    "StreamingFIFO_rtl_4": {"depth": 2},
    "MVAU_hls_2": {"PE": 32, "SIMD": 32},
    "StreamingFIFO_rtl_5": {"depth": 2},
    "MVAU_hls_3": {"PE": 10, "SIMD": 32},
    "StreamingFIFO_rtl_6": {"depth": 2},
    "StreamingDataWidthConverter_rtl_0": {},
    "StreamingFIFO_rtl_7": {"depth": 2},
    "LabelSelect_hls_0": {"PE": 1},
    "StreamingFIFO_rtl_8": {"depth": 2},
}


def said(*arguments, code=0):
    result = CliRunner().invoke(labd, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def config_file(folder, **changes):
    nodes = {name: entry for name, entry in {**CONFIG, **changes}.items() if entry is not None}
    path = folder / "final_hw_config.json"
    path.write_text(json.dumps(nodes))
    return path


def test_an_estimate_names_the_bottleneck_and_the_next_two():
    text = said("estimate", "tfc-w1a1", "--folding", "lab")
    assert "98 cycles a frame: 1,020,408 frames/s at 100 MHz" in text
    assert (
        "bottleneck: idma0, 98 cycles; then MVAU_hls_0, 70 cycles (6 of them to restart), MVAU_hls_1" in text
    )
    assert "the layers alone would reach 1,428,571 frames/s" in text
    assert "…" not in text, "nothing is cut off in 80 columns"


def test_an_estimate_of_a_bundle_as_json():
    record = json.loads(said("estimate", str(SHIPPED_BUNDLE), "--clock-mhz", "50", "--json"))
    assert (record["cycles_per_frame"], round(record["frames_per_s"])) == (98, 510_204)
    assert record["slowest"] == ["idma0", "MVAU_hls_0", "MVAU_hls_1"]
    assert record["nodes"][2] == {
        "name": "MVAU_hls_0", "op": "MVAU", "PE": 16, "SIMD": 49,
        "cycles": 64, "restart_cycles": 6, "interval_cycles": 70,
    }  # fmt: skip


def test_a_network_of_one_s_own_is_estimated_from_its_file(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'name = "mine-w1a1"\nkind = "fc"\ndataset = "mnist"\nclasses = 10\ninput_shape = [28, 28, 1]\n'
        "in_bits = 1\nweight_bits = 1\nact_bits = 1\nconvs = []\nhidden = [32]\n"
    )
    (tmp_path / "folding.json").write_text('{"Defaults": {}, "MVAU_hls_0": {"PE": 4, "SIMD": 16}}')
    record = json.loads(
        said("estimate", str(tmp_path / "mine.toml"), "--folding", str(tmp_path / "folding.json"), "--json")
    )
    assert {node["name"]: node["cycles"] for node in record["nodes"] if node["op"] == "MVAU"} == {
        "MVAU_hls_0": 784 // 16 * 32 // 4,
        "MVAU_hls_1": 32 * 10,
    }


@pytest.mark.parametrize("command", ["estimate", "simulate"])
def test_without_a_folding_a_network_takes_the_lab_s_and_one_without_a_preset_the_fastest(command):
    assert said(command, "tfc-w1a1", "--json") == said(command, "tfc-w1a1", "--folding", "lab", "--json")
    assert said(command, "sfc-w1a1", "--json") == said(command, "sfc-w1a1", "--folding", "auto", "--json")


def test_a_zipped_bundle_is_the_same_design(tmp_path):
    zipped = zip_bundle(open_bundle(SHIPPED_BUNDLE), tmp_path / "bundle.zip")
    assert said("estimate", str(zipped), "--json") == said("estimate", str(SHIPPED_BUNDLE), "--json")


def test_a_compiled_folder_and_its_folded_graph_are_the_same_design(compiled):
    folded = next(stage.path for stage in compiled.stages if stage.name == "folded")
    from_graph = json.loads(said("estimate", str(folded), "--json"))
    from_folder = json.loads(said("estimate", str(compiled.folder), "--json"))
    assert from_graph["nodes"] == from_folder["nodes"]


@pytest.mark.parametrize(
    ("arguments", "sentence", "fix"),
    [
        (
            ["estimate", "tfc-w1a1x"],
            "no network, file or folder named 'tfc-w1a1x'",
            "did you mean 'tfc-w1a1'?",
        ),
        (
            ["simulate", "tfc-w1a1", "--folding", "lab", "--fifo-depths", "no.json"],
            "there is no file no.json",
            "finn",
        ),
        (["estimate", "."], "there is no network.npz", "labd compile"),
        (
            ["simulate", "tfc-w1a1", "--folding", "lab", "--picture", "no/x.svg"],
            "no/x.svg cannot be written",
            "name",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence_with_a_fix(
    arguments, sentence, fix, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert fix in error.partition("fix:")[2]


def test_a_simulation_says_latency_rate_and_stalls():
    text = said("simulate", "tfc-w1a1", "--folding", "lab", "--fifo-depths", "minimal")
    assert "first frame after 315 cycles, 3.15 us at 100 MHz" in text
    assert "then one every 98 cycles: 1,020,408 frames/s; busiest: idma0" in text
    assert "…" not in text, "nothing is cut off in 80 columns"
    one = said("simulate", "tfc-w1a1", "--folding", "lab", "--frames", "1")
    assert "one frame shows no rate: --frames 2 or more" in one


def test_small_fifos_are_said_to_be_what_limits(tmp_path):
    folding = tmp_path / "folding.json"
    folding.write_text(json.dumps({
        "Thresholding_rtl_0": {"PE": 49}, "MVAU_hls_0": {"PE": 16, "SIMD": 7}, "MVAU_hls_1": {"PE": 1, "SIMD": 8},
        "MVAU_hls_2": {"PE": 2, "SIMD": 4}, "MVAU_hls_3": {"PE": 1, "SIMD": 1},
    }))  # fmt: skip
    command = ("simulate", "tfc-w1a1", "--folding", str(folding), "--no-dma", "--frames", "5")
    text = said(*command, "--fifo-depths", "minimal")
    assert "the FIFOs are too small for more" in text
    assert "--size-fifos" in text
    depths = tmp_path / "depths.json"
    sized = json.loads(said(*command, "--size-fifos", "-o", str(depths), "--json"))
    assert sized["interval_cycles"] == sized["interval_cycles_without_full_fifos"]
    again = json.loads(said(*command, "--fifo-depths", str(depths), "--json"))
    assert again == sized


def test_a_build_s_configuration_gives_folding_order_and_depths(tmp_path):
    config = read_hardware_config(config_file(tmp_path))
    machine = config.machine(design_of(NETWORKS["tfc-w1a1"]), dma=False)
    assert [unit.name for unit in machine.units][1:-1] == [
        name for name in CONFIG if "FIFO" not in name and name != "Defaults"
    ]
    assert [fifo.depth for fifo in machine.fifos] == [2, 2, 32, 2, 2, 2, 2, 2, 2]
    assert simulate(machine, 20).interval_cycles == 20, "as the RTL simulation of the build without Reshape"
    text = said("simulate", "tfc-w1a1", "--no-dma", "--fifo-depths", str(tmp_path / "final_hw_config.json"))
    assert "then one every 20 cycles" in text


def test_a_build_of_an_older_finn_is_simulated_alike(tmp_path):
    today = config_file(tmp_path)
    (tmp_path / "old").mkdir()
    old = tmp_path / "old" / "final_hw_config.json"
    names = (
        ("MVAU_hls", "MatrixVectorActivation"),
        ("Thresholding_rtl", "Thresholding_Batch"),
        ("_rtl_", "_"),
    )
    text = today.read_text()
    for name, before in names:
        text = text.replace(name, before)
    old.write_text(text)
    first, second = (
        read_hardware_config(path).machine(design_of(NETWORKS["tfc-w1a1"])).fifos for path in (today, old)
    )
    assert [(fifo.depth, fifo.bits) for fifo in first] == [(fifo.depth, fifo.bits) for fifo in second]


def test_a_configuration_of_another_network_is_refused(tmp_path):
    design = design_of(NETWORKS["cnv-w1a1"])
    with pytest.raises(IllegalFolding, match="PE 112 of Thresholding_rtl_0 does not divide"):
        read_hardware_config(config_file(tmp_path)).machine(design)
    fewer = read_hardware_config(config_file(tmp_path, MVAU_hls_2=None))
    with pytest.raises(ArtifactError, match="the network .*MVAU_hls_2"):
        fewer.machine(design_of(NETWORKS["tfc-w1a1"]))


@pytest.mark.parametrize(
    ("name", "entry", "wrong"),
    [
        ("StreamingFIFO_rtl_2", {"depth": 0}, "depth of StreamingFIFO_rtl_2 is 0"),
        ("StreamingFIFO_rtl_2", {"depth": "deep"}, "depth of StreamingFIFO_rtl_2 is 'deep'"),
        ("Reshape_rtl_0", {"PE": 5}, "PE 5 of Reshape_rtl_0 does not divide the 784 values"),
    ],
)
def test_a_damaged_configuration_is_refused(tmp_path, name, entry, wrong):
    config = read_hardware_config(config_file(tmp_path, **{name: entry}))
    with pytest.raises(ArtifactError, match=wrong):
        config.machine(design_of(NETWORKS["tfc-w1a1"]))
