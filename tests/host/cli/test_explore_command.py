"""labd explore: what it prints, writes and refuses."""

import json

import pytest

from labd_host.cli.main import run
from labd_host.dataflow.folded_chain import design_of
from labd_host.dataflow.folding import Folding, read_folding
from labd_host.explore import calibration
from labd_host.explore.optimiser import Explorer
from labd_host.explore.rivals import calibrated_total
from labd_host.networks import NETWORKS
from labd_host.simulate.fifos import depths_of_finn
from labd_host.simulate.pipeline import assemble
from labd_host.simulate.simulator import simulate


def test_the_cheapest_for_a_rate_is_printed_and_written(tmp_path, capsys):
    file = tmp_path / "folding.json"
    assert run(["explore", "tfc-w1a1", "--target-fps", "500000", "-o", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "bound by" in out
    assert "FINN's SetFolding" in out
    assert "lab's, by hand" in out
    assert "labd compile tfc-w1a1 --folding" in err
    design = design_of(NETWORKS["tfc-w1a1"]).folded(read_folding(file))
    assert design.settings["MVAU_hls_0"]["ram_style"] in ("block", "distributed")


def test_json_holds_the_folding_and_every_layer(capsys):
    assert run(["explore", "tfc-w1a1", "--fastest", "--costs", "calibrated", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["interval_cycles"], record["bottleneck"]) == (98, "idma0")
    assert record["frames_per_s"] == pytest.approx(1_020_408, abs=1)
    assert [layer["name"] for layer in record["layers"]] == list(record["folding"])
    assert record["calibrated"]["lut"] <= 37_240


def test_the_frontier_rises(capsys):
    assert run(["explore", "tfc-w1a1", "--frontier", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["frontier"]
    rates = [each["frames_per_s"] for each in found]
    luts = [each["finn"]["lut"] for each in found]
    assert len(found) > 5
    assert rates == sorted(rates)
    assert luts == sorted(luts)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fastest", "--frontier"], "only one of"),
        (["--fastest", "--folding", "lab"], "only one of"),
        (["--folding", "lab", "-o", "x.json"], "lab is given"),
        (["--folding", "hand"], "folding for tfc-w1a1"),
        (["--frontier", "-o", "x.json"], "a frontier is many foldings"),
        (["--part", "xczu3eg"], "xczu3eg"),
        (["--target-fps", "2000000"], "the DMA takes 98 cycles"),
        (["--costs", "calibrated", "--lut-budget", "100"], "below what the shell alone takes"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options, says, capsys):
    assert run(["explore", "tfc-w1a1", *options]) == 2
    assert says in capsys.readouterr().err


def test_a_rate_that_only_finn_s_cycles_reach_is_said(capsys):
    assert run(["explore", "tfc-w1a1", "--target-fps", "1000000"]) == 0
    out, err = capsys.readouterr()
    assert "104 with restarts of HLS units" in out
    assert "--costs calibrated counts them" in err
    assert run(["explore", "tfc-w1a1", "--target-fps", "1000000", "--costs", "calibrated"]) == 0
    assert "--costs calibrated" not in capsys.readouterr().err


def test_a_restart_of_hls_units_is_counted_in_what_is_expected():
    from labd_host.explore.choices import finn_costs

    costs = finn_costs(calibration.read(calibration.SHIPPED))
    explorer = Explorer(design_of(NETWORKS["tfc-w1a1"]), costs, {}, dma=False)
    found = explorer.cheapest(14)
    assert found.cycles == 14
    assert explorer.expected(found).cycles_per_frame == 20, "as in the lab's custom_4"


def test_every_answer_is_simulated_and_the_fifos_are_counted(capsys):
    assert run(["explore", "cnv-w1a1", "--target-fps", "3000", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    design = design_of(NETWORKS["cnv-w1a1"]).folded(Folding("found", record["folding"], {}))
    depths = depths_of_finn(design)
    assert record["fifo_depths"] == list(depths.values())
    assert max(depths.values()) > 32, "some FIFO is one of block RAMs or a long shift register"
    found = simulate(assemble(design).with_named_depths(depths))
    assert record["simulated_latency_cycles"] == found.latency_cycles
    assert record["calibrated_of_deep_fifos"]["lut"] > 0
    free = record["simulated_interval_cycles_without_full_fifos"]
    assert free == record["interval_cycles"], "what the cycle model says, where no FIFO fills"
    assert free <= record["simulated_interval_cycles"]
    known = calibration.read(calibration.SHIPPED)
    shallow, _ = calibrated_total(design, known)
    deeper = record["calibrated"]["lut"] - shallow.lut
    assert deeper == record["calibrated_of_deep_fifos"]["lut"]
    unsure = record["calibrated_least_sure"]["thresholds of several levels"]
    assert unsure["calibrated"]["lut"] == known.cost(design.layers[0].cost_unit({})).lut
    assert 0 < unsure["plus_minus"]["lut"] < record["calibrated_plus_minus"]["lut"]


def test_the_lowest_latency_is_said_to_be_simulated_not_proven(capsys):
    assert run(["explore", "tfc-w1a1", "--lowest-latency"]) == 0
    out = capsys.readouterr().out
    assert "foldings that were simulated" in out
    assert "not proven" in out
    assert "the first frame waits" in out


def test_a_folding_is_judged_with_what_to_change(capsys):
    assert run(["explore", "cnv-w1a1", "--folding", "lab", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "9.8% less LUT" in record["proof"]
    assert "18.5% more frames/s" in record["proof"]
    ours, better = record["compared"]["this folding"], record["compared"]["cheapest as fast"]
    assert better["cycles"] <= ours["cycles"]
    why = {layer["name"]: layer["why"] for layer in record["layers"]}
    assert why["MVAU_hls_6"] == "sets the rate"
    assert why["MVAU_hls_2"] == "PE 2, SIMD 192 block instead: -999 LUT, -4 BRAM18"
    assert run(["explore", "cnv-w1a1", "--folding", "lab"]) == 0
    out = capsys.readouterr().out
    assert "what to change" in out and "of it, thresholds of several levels" in out


def test_what_is_printed_beside_a_rival_is_never_worse(capsys):
    assert run(["explore", "cnv-w1a1", "--target-fps", "5000", "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)["compared"]
    for name, beside in (("FINN's SetFolding", "it"), ("lab's, by hand", "lab's")):
        theirs, ours = compared[name], compared[f"best as fast as {beside}"]
        assert ours["cycles"] <= theirs["cycles"]
        assert ours["finn"]["lut"] <= theirs["finn"]["lut"]
