"""`labd import`: every generation of FINN package becomes a bundle, and every doubt is said."""

import json
import zipfile

import numpy as np
import pytest

from labd_host.bundles.bundle_writer import attach_network
from labd_host.cli.main import run
from labd_host.interchange.import_options import ImportOptions
from labd_host.interchange.importing import import_design
from labd_host.interchange.package import find_package
from labd_host.interchange.tensor_option import parse_tensor_option
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import DigestMismatch, UsageError, WrongTarget
from labd_shared.manifest import InputContract
from support.emulated import INPUT, OUTPUT, brightest
from support.facts import lacking
from support.packages import (
    LISTS,
    SCALARS_2021,
    settings,
    write_deploy,
    write_design,
    write_network,
    write_settings_deploy,
)

SHAPES = [(each.datatype, each.normal, each.folded, each.packed, each.dma) for each in (INPUT, OUTPUT)]


def import_(path, folder, **given):
    return import_design(path, folder, ImportOptions(**given))


def shapes(manifest):
    tensors = (*manifest.inputs, *manifest.outputs)
    return [(each.datatype, each.normal, each.folded, each.packed, each.dma) for each in tensors]


def said(imported, kind):
    return {finding.subject: finding.text for finding in imported.findings if finding.kind == kind}


def write_notebook(folder):
    write_design(folder, "resizer")
    (folder / "driver.py").write_text(SCALARS_2021)
    (folder / "input.npy").write_bytes(b"not looked at")
    return folder


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder).as_posix())
    return archive


@pytest.fixture
def packages(tmp_path):
    """Each generation in its layout."""
    write_deploy(tmp_path / "output" / "deploy")
    return {
        "2021": write_deploy(tmp_path / "scalars", SCALARS_2021),
        "lists": write_deploy(tmp_path / "lists"),
        "the build's output folder": tmp_path / "output",
        "notebook folder": write_notebook(tmp_path / "notebook"),
        "notebook zip": zipped(tmp_path / "notebook", tmp_path / "deploy-on-pynq-tfc.zip"),
        "finn-plus": write_settings_deploy(tmp_path / "plus"),
        "settings.json": write_settings_deploy(tmp_path / "plus2") / "driver" / "settings.json",
        "driver.py": write_deploy(tmp_path / "lists2") / "driver" / "driver.py",
    }


def test_every_generation_and_layout_gives_the_same_tensors(packages, tmp_path):
    for name, path in packages.items():
        manifest = import_(path, tmp_path / "out" / name.replace(" ", "-")).bundle.manifest
        assert shapes(manifest) == SHAPES, name
        assert (manifest.target, manifest.part, manifest.clock_mhz) == ("hw", "xc7z020clg400-1", 100.0), name


def test_what_is_not_known_is_said_and_the_whole_list_lies_in_the_bundle(packages, tmp_path):
    imported = import_(packages["2021"], tmp_path / "b")
    manifest = imported.bundle.manifest
    assert (manifest.network, manifest.dataset, manifest.accuracy) == ("scalars", "unknown", None)
    assumed = said(imported, "assumed")
    assert set(assumed) >= {"DMA names", "network", "data set", "board", "input", "accuracy", "cycles"}
    assert "names no output DMA: odma0" in assumed["DMA names"]
    assert "golden samples" in said(imported, "doubt")
    stored = json.loads(imported.bundle.path("import.json").read_text())
    assert stored == imported.findings.as_records()


def test_unknown_cycles_are_what_the_dma_needs_at_least_and_say_so(packages, tmp_path):
    expected = import_(packages["lists"], tmp_path / "b").bundle.manifest.expected
    assert (expected.cycles_per_frame, expected.bottleneck) == (25, "unknown (idma0 at least)")
    known = import_(packages["lists"], tmp_path / "c", cycles=98).bundle.manifest.expected
    assert (known.cycles_per_frame, known.latency_cycles, known.bottleneck) == (98, 124, "said at import")
    with pytest.raises(UsageError, match="--expected-cycles 24 is less than the 25 that idma0 needs"):
        import_(packages["lists"], tmp_path / "d", cycles=24)


def test_an_import_without_its_network_has_no_golden_samples(packages, tmp_path):
    golden = load_golden(import_(packages["lists"], tmp_path / "b").bundle)
    assert golden.images.shape == (0, 200) and golden.outputs.shape == (0, 1) and golden.digests.size == 0


def test_with_its_network_it_has_golden_samples_and_the_cycle_models_cycles(packages, tmp_path):
    network = write_network(tmp_path / "network.npz")
    imported = import_(packages["finn-plus"], tmp_path / "b", network_file=network)
    golden = load_golden(imported.bundle)
    assert len(golden.images) >= 4
    assert np.array_equal(golden.outputs, brightest(golden.images))
    assert imported.bundle.manifest.expected.bottleneck == "LabelSelect_0"
    assert imported.bundle.path("network.npz").read_bytes() == network.read_bytes()


def test_a_network_attached_later_brings_golden_samples_and_cycles_too(packages, tmp_path):
    network = write_network(tmp_path / "network.npz")
    bare = import_(packages["lists"], tmp_path / "b").bundle
    at_once = import_(packages["lists"], tmp_path / "c", network_file=network, network="lists").bundle
    later = attach_network(bare, network, tmp_path / "d")
    assert later.manifest.expected == at_once.manifest.expected
    assert later.path("golden.npz").read_bytes() == at_once.path("golden.npz").read_bytes()


def test_a_network_that_is_folded_in_another_way_is_a_doubt_and_another_network_is_refused(tmp_path):
    network = write_network(tmp_path / "network.npz")
    folded = LISTS.replace("(1, 4, 50)", "(1, 8, 25)")
    imported = import_(write_deploy(tmp_path / "a", folded), tmp_path / "b", network_file=network)
    assert said(imported, "doubt")["network"] == "it was folded (1, 4, 50), the design (1, 8, 25)"
    other = LISTS.replace("(1, 200)", "(1, 100)").replace("(1, 4, 50)", "(1, 2, 50)")
    with pytest.raises(
        WrongTarget, match=r"network.npz computes UINT8 \(1, 200\), the bundle moves UINT8 \(1, 100\)"
    ):
        import_(write_deploy(tmp_path / "c", other), tmp_path / "d", network_file=network)
    assert not (tmp_path / "d").exists()


def test_the_bitfile_of_a_virtual_board_takes_its_own_network_only(tmp_path):
    from labd_shared.digest import file_sha256

    network = write_network(tmp_path / "network.npz")
    design = write_deploy(tmp_path / "a", network_sha256=file_sha256(network))
    alone = import_(design, tmp_path / "b")
    assert alone.bundle.manifest.target == "emu" and "target" in said(alone, "doubt")
    (design / "bitfile" / "network.npz").write_bytes(network.read_bytes())
    assert "network.npz" in import_(design, tmp_path / "c").bundle.manifest.files
    (design / "bitfile" / "network.npz").write_bytes(b"another")
    with pytest.raises(DigestMismatch, match="the network has sha256"):
        import_(design, tmp_path / "d")


def test_a_bare_bitfile_is_described_by_options(tmp_path, capsys):
    bit = write_design(tmp_path, "tfc")
    command = ["import", str(bit), "-o", str(tmp_path / "b")]
    assert run(command) == 2
    assert "nothing describes the tensors of tfc.bit" in capsys.readouterr().err
    command += ["--input", "UINT8 1,200 1,4,50 idma0", "--output", "UINT8 1,1 1,1,1 odma0"]
    assert run([*command, "--network", "tfc", "--dataset", "mnist", "--accuracy", "92.93/10000"]) == 0
    manifest = open_bundle(tmp_path / "b").manifest
    assert shapes(manifest) == SHAPES
    assert (manifest.network, manifest.dataset, len(manifest.class_names)) == ("tfc", "mnist", 10)
    assert (manifest.accuracy.top1_percent, manifest.accuracy.samples) == (92.93, 10000)
    out = capsys.readouterr().out
    assert "mnist has images of (28, 28, 1), not (1, 200)" in out
    assert "25 cycles a frame or more, 100 MHz (network unknown); target hw" in out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UINT8 1,200 idma0",
        "UINT8 1x200 1,4,50 idma0",
        "UINT8 1,200 1,4,50 idma0;rm",
        "UINT8 200 1,4,50 idma0",
    ],
)
def test_a_text_that_describes_no_tensor_is_refused_with_the_form(text):
    with pytest.raises(UsageError, match=r"UINT8 1,784 1,16,49 idma0") as caught:
        parse_tensor_option(text)
    assert caught.value.exit_code == 2


def test_options_that_contradict_the_package_are_refused(packages, tmp_path):
    tensor = parse_tensor_option("UINT8 1,200 1,4,50 idma0")
    with pytest.raises(UsageError, match="describes the tensors, so --input and --output cannot"):
        import_(packages["lists"], tmp_path / "b", inputs=(tensor,))
    with pytest.raises(UsageError, match="--hwh goes with a bare .bit"):
        import_(packages["lists"], tmp_path / "b", hwh=packages["lists"] / "bitfile" / "finn-accel.hwh")
    with pytest.raises(UsageError, match="there is no"):
        import_(tmp_path / "nowhere", tmp_path / "b")


def test_the_clock_is_the_hwhs_and_a_driver_that_says_another_is_a_doubt(tmp_path):
    slow = import_(write_deploy(tmp_path / "a", SCALARS_2021, clock_mhz=200.0), tmp_path / "b")
    assert slow.bundle.manifest.clock_mhz == 200.0
    assert lacking(said(slow, "doubt")["clock"], "FINN's driver", "default of 100 MHz", "slower") == []
    fast = import_(write_settings_deploy(tmp_path / "c", settings(fclk_mhz=200.0)), tmp_path / "d")
    assert fast.bundle.manifest.clock_mhz == 100.0
    assert "the driver says 200 MHz, too fast" in said(fast, "doubt")["clock"]
    with pytest.raises(UsageError, match=r"--clock-mhz 120 is above the 100 MHz of the .hwh"):
        import_(write_deploy(tmp_path / "e"), tmp_path / "f", clock_mhz=120.0)


def test_behind_a_clocking_wizard_cycles_are_counted_in_fclk0s(tmp_path):
    design = write_settings_deploy(tmp_path / "a", settings(fclk_mhz=200.0))
    hwh = design / "bitfile" / "finn-accel.hwh"
    wizard = (
        '<MODULE INSTANCE="clk_wiz_0" MODTYPE="clk_wiz" VLNV="xilinx.com:ip:clk_wiz:6.0"><PARAMETERS>'
        '<PARAMETER NAME="CLKOUT1_OUT_FREQ" VALUE="200.000"/></PARAMETERS></MODULE></MODULES>'
    )
    hwh.write_text(hwh.read_text().replace("</MODULES>", wizard, 1))
    imported = import_(design, tmp_path / "b", cycles=98)
    assert imported.bundle.manifest.clock_mhz == 100.0, "the board must not set 200: the wizard doubles it"
    assert imported.bundle.manifest.expected.cycles_per_frame == 49
    assert "clk_wiz_0 makes 200 MHz of FCLK0's 100" in said(imported, "doubt")["clock"]


def test_other_input_contracts_are_options_and_a_pixel_that_does_not_fit_is_a_doubt(tmp_path):
    small = LISTS.replace("\"idt\" : [DataType['UINT8']]", "\"idt\" : [DataType['INT8']]")
    raw = import_(write_deploy(tmp_path / "a", small), tmp_path / "b")
    assert said(raw, "doubt")["input"] == "a pixel of 255 does not fit INT8"
    scaled = import_(write_deploy(tmp_path / "c", small), tmp_path / "d", offset=-128.0)
    assert scaled.bundle.manifest.input_contract == InputContract("scaled", 1.0, -128.0)


def test_blocks_that_nothing_names_are_doubts(tmp_path):
    design = write_deploy(tmp_path / "a")
    hwh = design / "bitfile" / "finn-accel.hwh"
    line = next(line for line in hwh.read_text().splitlines() if "MEMRANGE" in line and '"odma0"' in line)
    more = line.replace('INSTANCE="odma0"', 'INSTANCE="idma1"')
    more += line.replace('INSTANCE="odma0"', 'INSTANCE="StreamingDataflowPartition_1"')
    hwh.write_text(hwh.read_text().replace(line, line + more))
    doubts = said(import_(design, tmp_path / "b"), "doubt")
    assert "the .hwh also has idma1" in doubts["DMA names"]
    assert "StreamingDataflowPartition_1 may take weights at run time" in doubts["weights"]


def test_the_settings_win_over_a_driver_beside_them_and_that_is_said(tmp_path):
    design = write_settings_deploy(tmp_path / "a")
    (design / "driver" / "driver.py").write_text("raise SystemExit")
    assert "driver.py lies beside it" in said(import_(design, tmp_path / "b"), "doubt")["description"]


def test_the_same_package_gives_the_same_bundle(packages, tmp_path):
    for name in ("one", "two"):
        assert run(["import", str(packages["lists"]), "-o", str(tmp_path / name), "--zip", "--json"]) == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_zip_is_read_in_place(packages, tmp_path):
    package = find_package(packages["notebook zip"])
    assert (package.bit, package.description) == ("resizer.bit", "driver.py")


def test_inspect_shows_packages_settings_and_drivers(packages, capsys):
    for name, path in packages.items():
        assert run(["inspect", "--json", str(path)]) == 0, name
        facts = json.loads(capsys.readouterr().out)
        assert facts["inputs"] == ["global_in UINT8 [1, 200] folded [1, 4, 50] packed [1, 4, 50] by idma0"], (
            name
        )
        assert run(["inspect", str(path)]) == 0
        assert "xc7z020clg400-1" in capsys.readouterr().out
