"""Somebody else's deploy folder, imported and run on a virtual board; proven where its network is known."""

import shutil

import pytest

from labd_host.bundles.bitfile_writer import write_bit
from labd_host.bundles.bundle_writer import write_bundle
from labd_host.bundles.golden_samples import no_golden_samples
from labd_host.interchange.exporting import export_bundle
from labd_shared.arrays import save_npz
from labd_shared.bundle import open_bundle
from support.paths import SHIPPED_BUNDLE
from support.shell import BOARD


@pytest.fixture
def theirs(tmp_path):
    """The shipped accelerator as a FINN user has it: a bitfile for hardware, a .hwh and a driver.py."""
    folder = export_bundle(open_bundle(SHIPPED_BUNDLE), tmp_path / "theirs", "finn").folder
    for name in ("network.npz", "manifest.json"):
        (folder / "bitfile" / name).unlink()
    write_bit(folder / "bitfile" / "finn-accel.bit", network_sha256=None)
    return folder


def test_an_imported_folder_with_its_network_runs_and_is_proven(deployed, theirs, tmp_path):
    imported = tmp_path / "bundle"
    said = deployed.labd(
        "import", str(theirs), "-o", str(imported), "--network", "theirs", "--dataset", "mnist",
        "--network-file", str(SHIPPED_BUNDLE / "network.npz"),
    )  # fmt: skip
    assert said.code == 0, said.err
    done = deployed.fab("deploy", "--board", BOARD, "--bundle", str(imported))
    assert done.code == 0, done.err
    assert "golden samples right" in done.out
    validated = deployed.fab("validate", "--board", BOARD, "--dataset", "mnist", "--batchsize", "100")
    assert validated.code == 0 and "Final accuracy: 90.000000" in validated.out, validated.err


def test_without_its_network_a_virtual_board_refuses_it_and_says_how_to_add_it(deployed, theirs, tmp_path):
    assert deployed.labd("import", str(theirs), "-o", str(tmp_path / "bundle")).code == 0
    refused = deployed.fab("deploy", "--board", BOARD, "--bundle", str(tmp_path / "bundle"))
    assert refused.code == 5 and "labd attach-network BUNDLE network.npz" in refused.err


def test_an_import_without_golden_samples_is_deployed_as_not_proven(deployed, theirs, tmp_path):
    assert deployed.labd("import", str(theirs), "-o", str(tmp_path / "bundle")).code == 0
    imported = open_bundle(tmp_path / "bundle")

    def fill(making):  # a board that can compute it, and nobody who knows the right answers
        for name in ("accel.bit", "accel.hwh"):
            shutil.copyfile(imported.path(name), making / name)
        shutil.copyfile(SHIPPED_BUNDLE / "network.npz", making / "network.npz")
        manifest = imported.manifest._replace(files={})
        save_npz(making / "golden.npz", no_golden_samples(manifest.inputs[0], manifest.outputs[0]))
        return manifest

    write_bundle(tmp_path / "unproven", fill)
    done = deployed.fab("deploy", "--board", BOARD, "--bundle", str(tmp_path / "unproven"))
    assert done.code == 0, done.err
    assert "not proven (no golden samples)" in done.out
    assert "no dataset named 'unknown'" in done.err
    selftest = deployed.fab("selftest", "--board", BOARD)
    assert selftest.code == 3 and "nothing proves what this board computes" in selftest.err
    validated = deployed.fab("validate", "--board", BOARD, "--dataset", "mnist", "--batchsize", "100")
    assert validated.code == 0 and "Final accuracy: 90.000000" in validated.out, validated.err
