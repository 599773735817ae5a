"""What comes from outside may be damaged or hostile: one sentence, a fix, and nothing of it is run or written."""

import json
import stat
import zipfile

import pytest

from labd_host.bundles.hwh_writer import write_hwh
from labd_host.cli.main import run
from labd_host.interchange.driver_file import parse_driver
from labd_host.interchange.import_options import ImportOptions
from labd_host.interchange.importing import import_design
from labd_host.interchange.settings_file import parse_settings
from labd_shared.errors import ArtifactError, UsageError, WrongPart
from support.emulated import INPUT, OUTPUT
from support.packages import LISTS, SCALARS_2021, settings, write_deploy, write_design, write_settings_deploy


@pytest.fixture
def refused(tmp_path):
    """Imports a package that must be refused, and looks that nothing was left behind."""

    def check(path, pattern, error=ArtifactError, **given):
        with pytest.raises(error, match=pattern) as caught:
            import_design(path, tmp_path / "out" / "bundle", ImportOptions(**given))
        assert caught.value.fix
        assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []

    return check


@pytest.mark.parametrize(
    "code, line, construct",
    [
        ("""[__import__("os").system("touch HERE")]""", 7, "Call"),
        ("[(1, 4, 50) for _ in range(1)]", 7, "ListComp"),
        ("SHAPE", 7, "Name"),
        ("[(1, 4, 10 * 5)]", 7, "BinOp"),
        ("[DataType[name]]", 7, "Subscript"),
        ("[os.environ]", 7, "Attribute"),
        ("(lambda: 1)", 7, "Lambda"),
        ("{1: 2}", 7, "Constant"),
        ("{**extra}", 7, "Name"),
        ("[b'1']", 7, "Constant"),
        ("f'{1}'", 7, "JoinedStr"),
    ],
)
def test_code_in_the_dictionary_is_refused_by_line_and_construct_and_never_run(
    tmp_path, refused, monkeypatch, code, line, construct
):
    monkeypatch.chdir(tmp_path)
    driver = "\n".join(
        ["import os", "", "", "io_shape_dict = {", '    "idt": [DataType["UINT8"]],', '    "odt": 1,',
         f'    "ishape_folded": {code},', "}"]
    )  # fmt: skip
    refused(
        write_deploy(tmp_path / "a", driver),
        rf"driver/driver.py, line {line}: {construct} .*only literals are read",
    )
    assert not (tmp_path / "HERE").exists()


@pytest.mark.parametrize(
    "more, pattern",
    [
        ("io_shape_dict['idt'] = [DataType['INT8']]", "that changes io_shape_dict"),
        ("io_shape_dict['ishape_folded'][0] = (1, 1, 200)", "that changes io_shape_dict"),
        ("io_shape_dict.update(idt=1)", "that changes io_shape_dict"),
        ("def f():\n    global io_shape_dict\n    io_shape_dict = {}", "that assigns io_shape_dict again"),
        ("io_shape_dict = {}", r"assigns io_shape_dict 2 times \(lines"),
        ("del io_shape_dict['idt']", "that changes io_shape_dict"),
    ],
)
def test_code_that_changes_the_dictionary_afterwards_is_refused(more, pattern):
    with pytest.raises(ArtifactError, match=pattern):
        parse_driver((LISTS + more + "\n").encode())


@pytest.mark.parametrize(
    "content, pattern",
    [
        (b"", "assigns io_shape_dict 0 times"),
        (b"io_shape_dict = dict(idt=1)", "line 1: Call 'dict.idt=1.' instead of a dictionary"),
        (b"io_shape_dict: dict", "gives io_shape_dict no value|instead of a dictionary"),
        (b"print 'python 2'", "line 1 is no Python"),
        (b"\0\0", "is no Python"),
        (b"\xff\xfe\x00", "is no Python"),
        (b"io_shape_dict = {'a': 1, 'a': 2}", "the key 'a' stands twice"),
        (b"io_shape_dict = {'a': " + b"[" * 30 + b"]" * 30 + b"}", "more than 8 deep"),
        (b"x = " + b"-" * 100_000 + b"1", "nested too deeply|is no Python"),
    ],
)
def test_a_file_that_is_no_driver_is_refused(content, pattern):
    with pytest.raises(ArtifactError, match=pattern):
        parse_driver(content)


@pytest.mark.parametrize(
    "old, new, pattern",
    [
        ("(1, 4, 50)", "(1, 4, 51)", r"holds 200 elements in its normal shape \(1, 200\) and 204 in its folded"),
        ('"ishape_packed" : [(1, 4, 50)]', '"ishape_packed" : [(1, 4, 49)]', r"\(1, 4, 49\), .* packs to \(1, 4, 50\)"),
        ("['UINT8']", "['UINT8X']", "no datatype named 'UINT8X'"),
        ("['UINT8']", "['FLOAT32']", "no datatype named 'FLOAT32'"),
        ("'idma0'", "'idma7'", "has no idma7; its blocks are idma0, odma0"),
        ("'odma0'", "'idma0'", "moves two tensors with one DMA: idma0, idma0"),
        ("['idma0']", "['idma0', 'idma1']", "1 datatypes, 1 shapes and 2 DMAs for 1 inputs"),
        ('"num_outputs" : 1', '"num_outputs" : 2', "for 2 outputs"),
        ("(1, 200)", "(8, 200)", r"normal shape of 'global_in' is \(8, 200\), not \(1, ...\)"),
        ("[(1, 200)]", "[(1, 200.0)]", "no shape of 2 to 8 integers"),
        ("[(1, 200)]", "[(1, 1, 1, 1, 200)]", "a normal shape of 5 axes"),
        ('"ishape_normal" : [(1, 200)],', "", "io_shape_dict has no 'ishape_normal'"),
        ('"number_of_external_weights": 0', '"number_of_external_weights": 2', "2 external weights: labd's driver"),
        ('"number_of_external_weights": 0', '"number_of_external_weights": "two"', "external_weights is 'two'"),
        ('"num_inputs" : 1', '"num_inputs" : 1, "mlo_weight_config": {"weights": []}', "weights in DDR"),
        ('platform = "zynq-iodma"', 'platform = "alveo"', "is for platform 'alveo'"),
        ("(1, 200)", "(1, 99999999999)", "holds 99999999999 elements"),
    ],
)  # fmt: skip
def test_a_dictionary_that_contradicts_itself_or_the_hwh_is_refused(tmp_path, refused, old, new, pattern):
    assert old in LISTS
    refused(write_deploy(tmp_path / "a", LISTS.replace(old, new)), pattern)


def test_a_frame_of_absurd_size_is_refused(tmp_path, refused):
    huge = LISTS.replace("(1, 200)", "(1, 2000000000)").replace("(1, 4, 50)", "(1, 40000000, 50)")
    refused(write_deploy(tmp_path / "a", huge), "takes 2000000000 bytes, more than")


@pytest.mark.parametrize(
    "text, pattern",
    [
        ("", "settings.json: not JSON"),
        ("[" * 100_000, "nested more than 32 deep"),
        ('{"driver_information": NaN}', "driver_information is nan"),
        ("[]", "a list of 0 entries, an object is wanted"),
        ('{"driver_information": {}}', "driver_information.io_shape_dict is missing"),
        (settings(driver_type="FINNInstrumentationOverlay"), "is for a 'FINNInstrumentationOverlay'"),
        (settings(external_weights=True), "says external_weights"),
        (settings(fclk_mhz="fast"), "driver_information.fclk_mhz is 'fast', a number is wanted"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(text, pattern):
    with pytest.raises(ArtifactError, match=pattern):
        parse_settings(text.encode())


def test_a_datatype_that_is_no_text_and_dmas_that_are_no_names_are_refused(tmp_path, refused):
    record = json.loads(settings())
    for key, value, pattern in (
        ("idt", [8], "idt holds 8, no datatype"),
        ("idma_names", ["../idma0"], "no names of blocks"),
        ("idt", [], "no list of 1 to 16"),
    ):
        changed = json.loads(json.dumps(record))
        changed["driver_information"]["io_shape_dict"][key] = value
        refused(write_settings_deploy(tmp_path / key / pattern[:5].strip(), json.dumps(changed)), pattern)


def test_a_folder_that_is_nearly_a_deploy_package_is_told_what_it_lacks(tmp_path, refused):
    near = write_deploy(tmp_path / "a")
    (near / "bitfile" / "finn-accel.hwh").unlink()
    refused(
        near,
        "nearly a deploy package: it has bitfile/finn-accel.bit, driver/driver.py, it lacks bitfile/finn-accel.hwh",
    )
    bits = write_design(tmp_path / "b" / "bitfile").parent.parent
    refused(bits, r"it lacks driver/settings.json or driver.py")
    (tmp_path / "c").mkdir()
    refused(tmp_path / "c", "is no FINN package: neither bitfile/finn-accel.bit nor resizer.bit")
    (tmp_path / "c" / "notes.txt").write_text("hello")
    refused(tmp_path / "c" / "notes.txt", "of no kind that can be imported", UsageError)
    alone = write_design(tmp_path / "d", "tfc")
    alone.with_suffix(".hwh").unlink()
    refused(alone, "tfc.bit has no tfc.hwh beside it")


def test_two_designs_in_one_folder_are_refused(tmp_path, refused):
    write_deploy(tmp_path / "a")
    write_design(tmp_path / "a", "resizer")
    (tmp_path / "a" / "driver.py").write_text(SCALARS_2021)
    refused(tmp_path / "a", "holds 2 designs: bitfile/finn-accel.bit, resizer.bit")


def test_a_hwh_of_another_board_is_refused(tmp_path, refused):
    design = write_deploy(tmp_path / "a", part="xc7z045ffg900-2")
    refused(design, "finn-accel.bit is for xc7z045ffg900 .*finn-accel.hwh for xc7z020clg400-1", WrongPart)
    ultrascale = write_deploy(tmp_path / "b")
    hwh = ultrascale / "bitfile" / "finn-accel.hwh"
    hwh.write_text(hwh.read_text().replace("processing_system7", "zynq_ultra_ps_e"))
    refused(ultrascale, "holds no Zynq-7000 processing system")


def test_damaged_bitfiles_and_hwhs_are_refused(tmp_path, refused):
    design = write_deploy(tmp_path / "a")
    bit, hwh = design / "bitfile" / "finn-accel.bit", design / "bitfile" / "finn-accel.hwh"
    whole = bit.read_bytes()
    bit.write_bytes(whole[:-9])
    refused(design, "finn-accel.bit holds .* bytes of configuration, its header says")
    bit.write_bytes(whole)
    hwh.write_text("<!DOCTYPE x><EDKSYSTEM/>")
    refused(design, "declares a document type")


@pytest.mark.parametrize(
    "folder, name, pattern",
    [
        ("driver/mlo_weights", "loop_memblock.dat", "holds weights for a DMA of their own"),
        ("driver/runtime_weights", "idma1.npy", "holds weights for a DMA of their own"),
        (
            "driver/runtime_weights",
            "1_0_MVAU_hls_0.dat",
            "belongs to StreamingDataflowPartition_1, .* has idma0",
        ),
        ("bitfile/finn-accel_runtime_weights", "0_0_MVAU.dat", "belongs to StreamingDataflowPartition_0"),
    ],
)
def test_weights_that_cannot_be_written_are_named(tmp_path, refused, folder, name, pattern):
    design = write_deploy(tmp_path / "a")
    (design / folder).mkdir(parents=True, exist_ok=True)
    (design / folder / name).write_text("00000000\n")
    refused(design, rf"{folder}/{name} {pattern}")


def test_weights_that_are_not_there_or_damaged_are_named(tmp_path, refused):
    design = write_settings_deploy(tmp_path / "a", settings(runtime_weights=True))
    refused(design, "settings.json says runtime_weights, and there is no runtime_weights/ beside it")
    memories = {"StreamingDataflowPartition_1": 4096}
    write_hwh(
        design / "bitfile" / "finn-accel.hwh", clock_mhz=100.0, inputs=(INPUT,), outputs=(OUTPUT,),
        memories=memories,
    )  # fmt: skip
    (design / "driver" / "runtime_weights").mkdir()
    (design / "driver" / "runtime_weights" / "1_0_MVAU_hls_0.dat").write_text("0x000001\n")
    refused(design, "line 1 of runtime_weights/1_0_MVAU_hls_0.dat is '0x000001', not eight hexadecimal")


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "driver/../../evil", "..\\evil", "C:evil"])
def test_a_zip_with_a_name_that_leads_out_of_it_is_refused(tmp_path, refused, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    refused(tmp_path / "a.zip", "which leads out of the archive")


def test_damaged_and_bloated_zips_are_refused(tmp_path, refused):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 nothing")
    refused(tmp_path / "a.zip", "a.zip is no .zip that can be read")
    write_design(tmp_path, "resizer")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "resizer.bit", "resizer.bit")
        archive.write(tmp_path / "resizer.hwh", "resizer.hwh")
        archive.writestr("driver.py", b"#" * (2 << 20))
    refused(tmp_path / "b.zip", "driver.py in b.zip unpacks to more than 1048576 bytes")


def test_a_zip_of_a_future_version_or_locked_with_a_password_is_refused(tmp_path, refused, capsys):
    write_design(tmp_path, "resizer")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("resizer.bit", "resizer.hwh"):
            archive.write(tmp_path / name, name)
        archive.writestr("driver.py", SCALARS_2021)
    whole = (tmp_path / "a.zip").read_bytes()
    entry = whole.index(b"PK\x01\x02")
    future = whole[: entry + 6] + b"\xfb" + whole[entry + 7 :]
    (tmp_path / "future.zip").write_bytes(future)
    refused(tmp_path / "future.zip", "future.zip is no .zip that can be read: zip file version 25.1")
    assert run(["inspect", str(tmp_path / "future.zip")]) == 5
    assert "zip file version 25.1" in capsys.readouterr().err
    (tmp_path / "locked.zip").write_bytes(whole[: entry + 8] + b"\x01" + whole[entry + 9 :])
    refused(
        tmp_path / "locked.zip", r"resizer.bit in locked.zip cannot be read: .*(encrypted|password|differs?)"
    )


def test_a_link_out_of_the_folder_is_no_file_of_it(tmp_path, refused):
    design = write_deploy(tmp_path / "a")
    driver = design / "driver" / "driver.py"
    driver.rename(tmp_path / "elsewhere.py")
    driver.symlink_to(tmp_path / "elsewhere.py")
    refused(design, "it lacks driver/settings.json or driver.py")


def test_an_import_never_replaces_what_is_no_bundle(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years")
    assert run(["import", str(write_deploy(tmp_path / "a")), "-o", str(tmp_path / "mine")]) == 2
    assert "holds something else than a bundle" in capsys.readouterr().err
    assert stat.S_ISREG((tmp_path / "mine" / "thesis.txt").stat().st_mode)


def test_a_text_that_would_steer_a_terminal_is_not_printed(tmp_path, capsys):
    strange = LISTS.replace('"num_inputs"', '"a\\x1b[2Jb": 1, "num_inputs"')
    assert run(["import", str(write_deploy(tmp_path / "a", strange)), "-o", str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "a?[2Jb, which labd does not know" in out and "\x1b" not in out


@pytest.mark.parametrize("option", ["--network", "--dataset"])
def test_a_name_that_is_none_is_a_usage_error(tmp_path, capsys, option):
    command = ["import", str(write_deploy(tmp_path / "a")), "-o", str(tmp_path / "b")]
    assert run([*command, option, "../mine"]) == 2
    assert f"{option} '../mine' is not a valid name" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["93", "101/100", "93/0", "x/y", "-1/10"])
def test_an_accuracy_needs_its_samples(tmp_path, capsys, text):
    command = ["import", str(write_deploy(tmp_path / "a")), "-o", str(tmp_path / "b")]
    assert run([*command, f"--accuracy={text}"]) == 2
    assert "is no PERCENT/SAMPLES" in capsys.readouterr().err
