"""throughput: its parts, its sweep, FINN's keys, and the word on the gap."""

import json
import tempfile

import numpy as np
import pytest

from labd_board import throughput
from labd_board.accelerator import Accelerator
from labd_board.throughput import sizes, some_frames
from labd_shared.bundle import open_bundle
from labd_shared.manifest import Expected
from labd_shared.tensors import make_tensor
from support.bundles import fake_board, write_bundle
from support.facts import lacking

# What Xilinx/finn 39f0c9a's driver_base.py prints for a design with all weights in the bitfile.
FINN_KEYS = [
    "runtime[ms]", "throughput[images/s]", "DRAM_in_bandwidth[MB/s]", "DRAM_out_bandwidth[MB/s]", "fclk[mhz]",
    "batch_size", "fold_input[ms]", "pack_input[ms]", "copy_input_data_to_device[ms]",
    "copy_output_data_from_device[ms]", "unpack_output[ms]", "unfold_output[ms]",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "tiny")


def measured(bundle, board=None, *options):
    """The report of a batch of 1000 on the fake."""
    with Accelerator(open_bundle(bundle), board or fake_board(), *options) as accelerator:
        return throughput.throughput(accelerator, repeats=3, warmup=1)


def test_finn_s_keys_are_all_there_and_agree_with_ours(bundle):
    report = measured(bundle)
    finn = report["finn"]
    assert sorted(finn) == sorted(FINN_KEYS)
    seconds = finn["runtime[ms]"] / 1e3
    assert finn["throughput[images/s]"] == pytest.approx(1000 / seconds)
    assert finn["DRAM_in_bandwidth[MB/s]"] == pytest.approx(784e-6 * 1000 / seconds)
    assert finn["DRAM_out_bandwidth[MB/s]"] == pytest.approx(1e-6 * 1000 / seconds)
    assert (finn["fclk[mhz]"], finn["batch_size"]) == (100.0, 1000)


def test_end_to_end_is_no_faster_than_its_parts(bundle):
    report = measured(bundle)
    wall = sum(report[key]["p5"] for key in ("packing_s", "copying_in_s", "copying_out_s", "unpacking_s"))
    assert 0 < wall <= report["end_to_end_s"]["p95"]
    # 98 beats and 78 cycles of a request in the DMA, 202 behind it (docs/timing.md).
    assert report["latency"]["expected_s"] == pytest.approx(378 / 1e8)
    assert report["latency"]["accelerator_s"]["median"] < report["accelerator_s"]["median"]


def test_a_sweep_measures_each_size_once_and_the_headline_stays(bundle, capsys):
    options = ["--batchsize", "50", "--repeats", "2", "--bundle", str(bundle)]
    assert throughput.main(options + ["--sweep", "7,200,1,7", "--json"], fake_board()) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["batchsize"] == 50 and [row["batchsize"] for row in report["sweep"]] == [1, 7, 200]
    rates = [row["accelerator_frames_per_s"] for row in report["sweep"]]
    assert rates == sorted(rates), "larger batches hide the pipeline's fill"


def test_a_sweep_without_a_list_goes_to_ten_thousand(bundle, capsys):
    assert throughput.main(["--repeats", "1", "--bundle", str(bundle), "--sweep"], fake_board()) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[-5:]] == ["1", "10", "100", "1000", "10000"]


def test_sizes_that_do_not_fit_the_memory_are_left_out(bundle, capsys):
    options = ["--repeats", "1", "--bundle", str(bundle), "--sweep", "10,100000", "--batchsize", "10"]
    assert throughput.main(options + ["--json"], fake_board(cma_bytes=1 << 20)) == 0
    captured = capsys.readouterr()
    assert [row["batchsize"] for row in json.loads(captured.out)["sweep"]] == [10]
    assert "frames instead of 100000" in captured.err


@pytest.mark.parametrize("text", ["0", "1,,2", "x", "5,-1"])
def test_sizes_that_are_none_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        throughput.main(["--sweep", text], fake_board())
    assert sizes("3,1") == (3, 1)


# The word on the gap.


def test_a_design_at_its_limit_is_bound_by_its_dma_or_its_slowest_layer(tmp_path, bundle):
    assert measured(bundle)["gap"] == "DMA"
    compute = write_bundle(tmp_path / "compute", expected=Expected(98, 300, 1e8 / 98, "MVAU_hls_0"))
    report = measured(compute)
    assert report["gap"] == "compute"
    assert lacking(report["gap_reason"], "MVAU_hls_0", "slowest layer", "fold") == []


def test_small_batches_are_bound_by_the_driver(bundle, tmp_path):
    report = measured(bundle, None, 5)
    assert report["gap"] == "driver" and "as fast as this machine made them" in report["gap_reason"]
    report = measured(write_bundle(tmp_path / "hw", target="hw"), None, 5)
    assert report["gap"] == "driver" and "larger batches hide them" in report["gap_reason"]


def test_a_slow_clock_is_named(bundle):
    board = fake_board(cycles_per_frame=300)
    board.set_clock_mhz = lambda mhz: 80.0
    report = measured(bundle, board)
    assert report["gap"] == "clock"
    assert report["gap_reason"] == "the clock is 80.00 MHz, the bundle was built for 100.00"


def test_a_pipeline_slower_than_the_model_stalls(tmp_path):
    bundle = write_bundle(tmp_path / "hw", target="hw")
    report = measured(bundle, fake_board(cycles_per_frame=200))
    missing_ms = float(report["gap_reason"].split()[0])
    assert report["gap"] == "stalls" and 0.9 < missing_ms < 999 * 102 / 1e5


def test_of_an_import_with_unknown_cycles_nothing_is_claimed(tmp_path):
    report = measured(write_bundle(tmp_path / "u", expected=Expected(98, 300, 1e8 / 98, "unknown (idma0)")))
    assert (report["gap"], report["expected_s"], report["latency"]["expected_s"]) == ("unknown", None, None)


@pytest.mark.parametrize("name", ["UINT8", "BIPOLAR", "TERNARY", "INT3", "INT32", "UINT32", "FIXED<8,4>"])
def test_the_frames_are_legal_and_as_small_as_the_type(name):
    tensor = make_tensor("in", name, (1, 12), (1, 3, 4), "NC", "idma0")
    frames = some_frames(tensor, 50)
    low, high = tensor.datatype.low * tensor.datatype.step, tensor.datatype.high * tensor.datatype.step
    assert frames.shape == (50, 12) and frames.min() >= low and frames.max() <= high
    assert (frames != 0).all() or name != "BIPOLAR"
    assert frames.dtype.itemsize <= 4 or name.startswith("FIXED")
    assert np.array_equal(frames, some_frames(tensor, 50))
