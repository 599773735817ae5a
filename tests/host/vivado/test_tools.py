"""Finding Vivado and Vitis HLS, what a build needs beside them, and `labd doctor`."""

import json
import shutil
from pathlib import Path

import pytest

from labd_host.cli.main import run
from labd_host.vivado import build_needs, finn_dependencies, tools
from labd_host.vivado.build_needs import demand, hardware_needs
from labd_host.vivado.tools import ask_version, environment, find_hls, find_toolchain, find_vivado
from labd_shared.errors import SetupError, ToolNotFound, WrongVersion
from support.hardware import equip, install_tools


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No Vivado, wherever one may be on this machine."""
    monkeypatch.setattr(tools, "INSTALLED_IN", (str(tmp_path / "Xilinx"), str(tmp_path / "AMD")))
    for name in ("XILINX_VIVADO", "XILINX_HLS", "FINN_TOOL_DIR_OVERRIDE", "FINN_DEPS", "LABD_STAND_IN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("LABD_HOME", str(tmp_path / "home"))


@pytest.fixture
def equipped(nowhere, monkeypatch, tmp_path):
    """Everything is there."""
    equip(monkeypatch, tmp_path)
    return tmp_path


def test_without_vivado_the_error_says_how_to_get_it_and_how_to_name_it(nowhere, monkeypatch, tmp_path):
    with pytest.raises(ToolNotFound, match="no Vivado was found") as raised:
        find_vivado()
    assert "Vivado ML Standard 2022.2" in raised.value.fix and "XILINX_VIVADO" in raised.value.fix
    monkeypatch.setenv("XILINX_VIVADO", str(tmp_path))
    with pytest.raises(ToolNotFound, match=r"XILINX_VIVADO is .*, which has no bin/vivado"):
        find_vivado()


def test_vivado_is_found_where_the_installer_puts_it_and_the_tested_version_goes_first(nowhere, tmp_path):
    install_tools(tmp_path, "2023.1")
    assert "2023.1" in find_vivado().path.parts
    install_tools(tmp_path, "2022.2")
    assert "2022.2" in find_vivado().path.parts
    found = find_toolchain()
    assert found.hls.name == "vitis_hls" and found.hls.path.parts[-4:-2] == ("Vitis_HLS", "2022.2")


def test_vivado_is_found_on_path_and_hls_beside_it(nowhere, monkeypatch, tmp_path):
    root = install_tools(tmp_path / "elsewhere")
    monkeypatch.setenv("PATH", f"{root}/bin:/usr/bin:/bin")
    vivado = find_vivado()
    assert vivado.path == root / "bin" / "vivado" and vivado.version == (2022, 2)
    shutil.rmtree(tmp_path / "elsewhere" / "Xilinx" / "Vitis_HLS")
    with pytest.raises(ToolNotFound, match="no vitis_hls was found beside"):
        find_hls(vivado)


def test_a_version_that_finn_does_not_name_is_refused_unless_it_is_accepted(nowhere, monkeypatch, tmp_path):
    install_tools(tmp_path, "2021.1")
    monkeypatch.setenv("LABD_STAND_IN", "old")
    by_name = {need.name: need for need in hardware_needs(tmp_path)}
    assert by_name["vivado"].found == "Vivado 2021.1 was found, finn-plus 1.6.1 names 2022.2 and 2024.2"
    with pytest.raises(WrongVersion, match=r"Vivado 2021\.1 was found") as raised:
        demand([by_name["vivado"]], ())
    assert "--ignore-check vivado" in raised.value.fix
    assert demand([by_name["vivado"]], ("vivado",)) == [by_name["vivado"]]


def test_hls_of_another_version_than_vivado_is_refused(nowhere, monkeypatch, tmp_path):
    root = install_tools(tmp_path)
    old = tmp_path / "Xilinx" / "Vitis_HLS" / "2022.2" / "bin" / "vitis_hls"
    old.write_text(
        "#!/bin/sh\necho 'Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2022.1 (64-bit)'\n"
    )
    monkeypatch.setenv("XILINX_VIVADO", str(root))
    with pytest.raises(WrongVersion, match=r"of version 2022\.1, Vivado is 2022\.2"):
        find_toolchain()


def test_a_tool_that_hangs_or_says_nothing_is_named(nowhere, tmp_path):
    tool = tmp_path / "vivado"
    tool.write_text("#!/bin/sh\nsleep 60\n")
    tool.chmod(0o755)
    with pytest.raises(SetupError, match=r"did not print its version within 0\.2 s"):
        ask_version(tool, timeout_s=0.2)
    tool.write_text("#!/bin/sh\necho 'libtinfo.so.5: cannot open shared object file' >&2\nexit 127\n")
    with pytest.raises(SetupError, match=r"ended with 127 and named no version: 'libtinfo\.so\.5: cannot"):
        ask_version(tool)
    tool.write_text("no program")
    with pytest.raises(SetupError, match="does not start"):
        ask_version(tool)


def test_finn_gets_the_variables_that_its_scripts_want(equipped):
    made = environment(find_toolchain(), {"PATH": "/usr/bin"})
    assert made["XILINX_VIVADO"].endswith("/Xilinx/Vivado/2022.2"), "FINN reads the version from this path"
    first, second, rest = made["PATH"].split(":")
    assert (
        (Path(first) / "vivado").is_file() and (Path(second) / "vitis_hls").is_file() and rest == "/usr/bin"
    )


def test_a_path_without_the_version_is_refused_since_finn_reads_it_there(nowhere, monkeypatch, tmp_path):
    root = install_tools(tmp_path)
    plain = tmp_path / "vivado"
    shutil.copytree(root, plain)
    monkeypatch.setenv("XILINX_VIVADO", str(plain))
    found = {need.name: need for need in hardware_needs(tmp_path)}["vivado"]
    assert "FINN reads the version from that path" in found.found and "ln -s" in found.how


def test_with_everything_there_nothing_is_missing(equipped):
    found = hardware_needs(equipped / "work")
    assert [need.name for need in found if need.state != "ok"] == []
    assert demand(found, ()) == []


def test_of_several_missing_things_all_are_named_at_once(nowhere, tmp_path):
    with pytest.raises(
        SetupError, match=r"lacks vivado: no Vivado was found; hls: .*; finn-hlslib: "
    ) as raised:
        demand(hardware_needs(tmp_path), ())
    assert raised.value.facts["missing"] == ["vivado", "hls", "board-files", "finn-hlslib"]
    assert "labd doctor --for hw" in raised.value.fix


def test_finns_dependencies_are_checked_by_commit_and_by_what_the_board_file_says(equipped):
    deps = equipped / "deps"
    (deps / "finn-hlslib" / ".git" / "HEAD").write_text("0123456789abcdef\n")
    with pytest.raises(
        SetupError, match="is at commit 0123456789ab, finn-plus 1.6.1 wants 8d979e2bdced"
    ) as raised:
        finn_dependencies.check_library(deps)
    assert "checkout 8d979e2bdced486dd25d26607d1ff5ae327ed6a8" in raised.value.fix
    board = deps / "board_files" / "pynq-z2" / "A.0" / "board.xml"
    board.write_text('<board vendor="www.digilentinc.com" name="pynq-z1"/>')
    with pytest.raises(SetupError, match=r"has no board file of tul\.com\.tw:pynq-z2") as raised:
        finn_dependencies.check_board_files(deps)
    assert "pynq-z2.zip" in raised.value.fix
    board.write_text("<board")
    with pytest.raises(SetupError, match="has no board file"):
        finn_dependencies.check_board_files(deps)


@pytest.mark.parametrize(
    "folder, words",
    [
        ("my designs", "letters, digits and ._"),
        ("$(id)", "letters, digits and ._"),
        ("x" * 220, "200 is the most"),
    ],
)
def test_a_folder_that_finns_scripts_cannot_take_is_refused(equipped, folder, words):
    found = {need.name: need for need in hardware_needs(Path("/tmp") / folder)}["path"]
    assert found.state == "missing" and words in found.found and "-o /tmp/NAME" in found.how


def test_too_little_disk_or_memory_is_said_with_both_figures(equipped, monkeypatch):
    monkeypatch.setattr(build_needs, "DISK_GB", 1e9)
    monkeypatch.setattr(build_needs, "MEMORY_GB", 1e9)
    found = {need.name: need for need in hardware_needs(equipped)}
    assert "GB free, a build takes up to 1000000000.0 GB" in found["disk"].found
    assert "GB of memory and swap are free" in found["memory"].found


def test_as_many_runs_go_on_as_processors_and_memory_allow(monkeypatch):
    monkeypatch.setattr(build_needs.os, "cpu_count", lambda: 8)
    for free_gb, jobs in ((2.0, 1), (13.0, 3), (640.0, 8)):
        monkeypatch.setattr(build_needs, "_free_gb", lambda free_gb=free_gb: free_gb)
        assert build_needs.default_jobs() == jobs


def test_doctor_fails_for_hardware_alone_where_vivado_is_missing(nowhere, capsys):
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "missing" in said and "no Vivado was found" in said and "finn-plus 1.6.1" in said
    assert run(["doctor", "--for", "hw"]) == 3
    told = capsys.readouterr()
    assert "missing for target hw: vivado, hls, board-files, finn-hlslib" in told.err
    command = next(line for line in told.out.splitlines() if line.startswith("finn-hlslib: git clone"))
    assert "checkout 8d979e2bdced486dd25d26607d1ff5ae327ed6a8" in command, "in one line, to be copied"


def test_doctor_says_as_json_what_is_there(equipped, capsys):
    assert run(["doctor", "--for", "hw", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    by_name = {need["name"]: need for need in record["hw"]}
    assert by_name["vivado"]["found"].startswith("vivado 2022.2 in ")
    assert {need["state"] for need in record["hw"]} == {"ok"}
    assert {"python", "packages", "mnist", "g++"} <= {need["name"] for need in record["emu"]}
