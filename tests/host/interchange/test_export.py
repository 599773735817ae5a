"""`labd export`: what FINN's own drivers are given, and what comes back of it."""

import ast
import json

import pytest

from labd_host.bundles.bundle_writer import write_bundle
from labd_host.cli.main import run
from labd_host.interchange.driver_file import parse_driver
from labd_host.interchange.exporting import export_bundle
from labd_host.interchange.import_options import ImportOptions
from labd_host.interchange.importing import import_design
from labd_shared.bundle import load_golden, open_bundle
from labd_shared.errors import UnknownName, UsageError
from labd_shared.manifest import InputContract
from support.paths import SHIPPED_BUNDLE


@pytest.fixture
def shipped():
    return open_bundle(SHIPPED_BUNDLE)


@pytest.fixture
def altered(shipped, tmp_path):
    """The shipped bundle as another would be: no network, other entries of the manifest."""

    def make(**changes):
        def fill(making):
            for name in ("accel.bit", "accel.hwh", "golden.npz"):
                (making / name).write_bytes(shipped.path(name).read_bytes())
            return shipped.manifest._replace(files={}, target="hw", **changes)

        return write_bundle(tmp_path / "altered", fill)

    return make


def parts(manifest):
    """What survives FINN's formats: they have no names for tensors, and say nothing of the folding."""
    tensors = [tensor._replace(name="") for tensor in (*manifest.inputs, *manifest.outputs)]
    return (
        tensors,
        manifest.target,
        manifest.part,
        manifest.clock_mhz,
        manifest.input_contract,
        manifest.expected,
    )


@pytest.mark.parametrize("form", ["finn", "finn-plus"])
def test_an_export_imports_as_the_same_accelerator(shipped, tmp_path, form):
    exported = export_bundle(shipped, tmp_path / "out", form)
    back = import_design(
        exported.folder, tmp_path / "back", ImportOptions(network="tfc-w1a1", dataset="mnist")
    ).bundle
    assert parts(back.manifest) == parts(shipped.manifest)
    assert back.manifest.class_names == shipped.manifest.class_names
    for name in ("accel.bit", "accel.hwh", "network.npz"):
        assert back.path(name).read_bytes() == shipped.path(name).read_bytes(), name
    ours, theirs = load_golden(shipped), load_golden(back)
    assert (ours.images == theirs.images).all() and (ours.outputs == theirs.outputs).all()


def test_the_driver_is_python_that_finns_validate_can_import_from(shipped, tmp_path):
    export_bundle(shipped, tmp_path / "out", "finn")
    text = (tmp_path / "out" / "driver" / "driver.py").read_text()
    compile(text, "driver.py", "exec")
    imported = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert imported == {"driver_base", "qonnx.core.datatype"}
    said = parse_driver(text.encode())
    assert (said.fclk_mhz, said.platform) == (100.0, "zynq-iodma")
    assert said.io_shapes["input_dma_name"] == ["idma0"]
    assert said.io_shapes["ishape_packed"] == [(1, 16, 49)]


def test_the_settings_have_what_finn_plus_driver_reads(shipped, tmp_path):
    export_bundle(shipped, tmp_path / "out", "finn-plus")
    told = json.loads((tmp_path / "out" / "driver" / "settings.json").read_text())["driver_information"]
    assert told["driver_type"] == "FINNDMAOverlay" and told["validation_dataset"] == "mnist"
    assert told["io_shape_dict"]["idt"] == ["DataType['UINT8']"]
    assert told["io_shape_dict"]["idma_names"] == ["idma0"]


def test_a_bundle_for_hardware_exports_without_what_virtual_boards_need(altered, tmp_path):
    exported = export_bundle(altered(), tmp_path / "out", "finn")
    assert exported.files == ("bitfile/finn-accel.bit", "bitfile/finn-accel.hwh", "driver/driver.py")
    assert exported.findings == []


def test_a_clock_that_finn_plus_driver_would_exceed_is_refused(altered, tmp_path):
    slow = altered(clock_mhz=50.0)
    with pytest.raises(
        UsageError, match="always sets 100 MHz, tfc-w1a1 was built for 50 MHz and would run too fast"
    ):
        export_bundle(slow, tmp_path / "out", "finn-plus")
    export_bundle(slow, tmp_path / "out", "finn")
    assert "fclk_mhz=50.0" in (tmp_path / "out" / "driver" / "driver.py").read_text()


def test_what_finns_formats_cannot_say_is_said(altered, tmp_path):
    bundle = altered(clock_mhz=200.0, input_contract=InputContract("scaled", 2.0, -255.0))
    findings = {
        each.subject: each.text for each in export_bundle(bundle, tmp_path / "out", "finn-plus").findings
    }
    assert findings["clock"] == "built for 200 MHz; finn-plus-driver 1.6.1 runs it at 100 MHz"
    assert "pixel * 2 + -255" in findings["input"]


def test_an_export_never_writes_into_a_folder_with_something_in_it(shipped, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("three years")
    assert run(["export", str(SHIPPED_BUNDLE), "--format", "finn", "-o", str(tmp_path)]) == 2
    assert "holds something already" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(["export", str(SHIPPED_BUNDLE), "--format", "finn-plus", "-o", str(tmp_path / "empty")]) == 0
    out = capsys.readouterr().out
    assert "driver/settings.json" in out and "no real board would load it" in out
    with pytest.raises(UnknownName, match="no format named 'fin'"):
        export_bundle(shipped, tmp_path / "x", "fin")
