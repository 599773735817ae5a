"""FINN's build configurations: what is taken from YAML, JSON and build.py, and every difference named."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

from labd_host.interchange.build_config import read_build_config
from labd_host.interchange.build_fields import FOLLOWED, INSTEAD
from labd_shared.errors import ArtifactError, UnknownName

YAML = """\
# a lab's configuration
model_path: nets/tfc.onnx
output_dir: out/tfc
synth_clk_period_ns: 8.0
folding_config_file: folding/tfc.json
target_fps: 1000
board: Pynq-Z2
fpga_part: xc7z020clg400-1
shell_flow_type: vivado_zynq
auto_fifo_depths: true
validation_dataset: cifar
save_intermediate_models: true
verbose: false
"""


def written(folder, text, name="cfg.yaml"):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def differences(config):
    return {each.field: each for each in config.differences}


def test_a_configuration_gives_model_folding_rate_clock_folder_and_data_set(tmp_path):
    found = read_build_config(written(tmp_path, YAML))
    assert found.model == tmp_path / "nets" / "tfc.onnx"
    assert found.folding == tmp_path / "folding" / "tfc.json"
    assert found.out == tmp_path / "out" / "tfc"
    assert (found.target_fps, found.clock_mhz, found.dataset) == (1000.0, 125.0, "cifar10")
    assert found.verification is None
    assert [each.field for each in found.differences] == ["target_fps"], "what FINN does as well is not told"


def test_json_says_the_same(tmp_path):
    asked = {"output_dir": "out", "synth_clk_period_ns": 10.0, "target_fps": 500, "board": "Pynq-Z2"}
    found = read_build_config(written(tmp_path, asked, "dataflow_build_config.json"))
    assert (found.target_fps, found.clock_mhz, found.model) == (500.0, 100.0, None)
    (tmp_path / "model.onnx").touch()
    assert read_build_config(found.path).model == tmp_path / "model.onnx", (
        "as FINN's directory builds have it"
    )


def test_every_field_of_the_installed_finn_plus_is_known():
    spec = importlib.util.find_spec("finn")
    source = Path(spec.submodule_search_locations[0], "builder", "build_dataflow_config.py").read_text()
    (config,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "DataflowBuildConfig"
    ]
    fields = [node.target.id for node in config.body if isinstance(node, ast.AnnAssign)]
    assert len(fields) > 60
    assert set(fields) - {*FOLLOWED, *INSTEAD} == set()
    assert not set(FOLLOWED) & set(INSTEAD)


@pytest.mark.parametrize(
    ("field", "value", "asked", "done"),
    [
        ("target_fps", 3000, "3000 frames/s", "the cheapest folding of that rate"),
        ("mvau_wwidth_max", 1024, "1024", "labd's search"),
        ("board", "Pynq-Z1", "Pynq-Z1", "the Pynq-Z2, of the same FPGA"),
        ("board", "ZCU104", "ZCU104", "the Pynq-Z2"),
        ("fpga_part", "xczu7ev-ffvc1156-2-e", "xczu7ev-ffvc1156-2-e", "xc7z020clg400-1"),
        ("shell_flow_type", "vitis_alveo", "vitis_alveo", "Zynq shell"),
        ("synth_clk_period_ns", 7.5, "7.5 ns, 133.333 MHz", "133 MHz"),
        ("auto_fifo_depths", False, "false", "cycle simulator"),
        ("auto_fifo_strategy", "largefifo_rtlsim", "largefifo_rtlsim", "cycle simulator"),
        ("standalone_thresholds", True, "true", "thresholds in the MVAU"),
        ("minimize_bit_width", True, "true", "accumulators"),
        ("steps", ["step_tidy_up", "step_streamline"], "step_tidy_up, step_streamline", "its own stages"),
        ("generate_outputs", ["bitfile", "stitched_ip"], "bitfile, stitched_ip", "stitched_ip not made"),
        ("validation_dataset", "imagenet", "imagenet", "no such data set"),
        ("verify_steps", ["initial_python"], "initial_python", "compares every stage"),
        ("save_intermediate_models", False, "false", "keeps every stage"),
        ("rtlsim_batch_size", 100, "100", "no RTL simulation"),
        ("enable_hw_debug", True, "true", "no ILA"),
    ],
)
def test_what_labd_does_otherwise_is_a_line_of_field_value_and_deed(tmp_path, field, value, asked, done):
    found = differences(read_build_config(written(tmp_path, {field: value}, "cfg.json")))[field]
    assert found.asked == asked
    assert done in found.done
    assert found.line == f"{field} = {asked}: {found.done}"


def test_two_clocks_are_named_and_the_layers_is_taken(tmp_path):
    found = read_build_config(
        written(tmp_path, "synth_clk_period_ns: 10\nhls_clk_period_ns: 5.0\ntarget_fps: 1\n")
    )
    assert found.clock_mhz == 100
    assert differences(found)["hls_clk_period_ns"].asked == "5 ns"
    same = read_build_config(
        written(tmp_path, "synth_clk_period_ns: 10\nhls_clk_period_ns: 10\ntarget_fps: 1\n")
    )
    assert "hls_clk_period_ns" not in differences(same)


def test_verification_files_are_taken_where_they_are_and_named_where_not(tmp_path):
    path = written(tmp_path, "target_fps: 1\nverify_steps: [initial_python]\nverify_input_npy: in.npy\n")
    found = read_build_config(path)
    assert found.verification is None
    assert "not there" in differences(found)["verify_input_npy"].done
    for name in ("in.npy", "expected_output.npy"):
        (tmp_path / name).touch()
    wanted = read_build_config(path).verification
    assert (wanted.inputs, wanted.expected) == (tmp_path / "in.npy", tmp_path / "expected_output.npy")


def test_a_misspelt_field_is_refused_and_a_new_one_named(tmp_path):
    with pytest.raises(UnknownName, match="no field in .*cfg.yaml named 'targt_fps'") as caught:
        read_build_config(written(tmp_path, "targt_fps: 100\nboard: Pynq-Z2\n"))
    assert caught.value.fix == "did you mean 'target_fps'?"
    found = read_build_config(written(tmp_path, "quantum_leaps: 3\ntarget_fps: 100\n"))
    assert "no such field" in differences(found)["quantum_leaps"].done


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target_fps: fast\n", "target_fps is 'fast', a number"),
        ("target_fps: -1\n", "target_fps is -1, a number"),
        ("synth_clk_period_ns: 0\n", "synth_clk_period_ns is 0, a number"),
        ("output_dir: [1]\n", "output_dir is a list of 1 entries"),
        ("generate_outputs: bitfile\n", "generate_outputs is 'bitfile', a list"),
        ("auto_fifo_depths: maybe\n", "auto_fifo_depths is 'maybe', true or false"),
        ("output_dir: ~nobody-here/x\n", "output_dir is '~nobody-here/x', a path is wanted"),
        ("- a\n- b\n", "an object is wanted"),
        ("", "an object is wanted"),
        ("some: thing\n", "no field of FINN's DataflowBuildConfig"),
        ("target_fps: 1\ntarget_fps: 2\n", "the key 'target_fps' stands twice"),
        ("MVAU_hls_0: {PE: 1}\n", "is a folding file, not a build configuration"),
        ("x: " + "y" * 300_000, "more than 262144"),
    ],
)
def test_what_is_not_a_configuration_is_refused_with_file_and_field(tmp_path, text, message):
    with pytest.raises(ArtifactError, match=message):
        read_build_config(written(tmp_path, text))


def test_nothing_that_steers_a_terminal_is_printed(tmp_path):
    found = read_build_config(written(tmp_path, {"board": "a\x1b[2J\nb", "target_fps": 1}, "cfg.json"))
    assert differences(found)["board"].asked == "a?[2J?b"


SCRIPT = """\
import os
from finn.builder.build_dataflow import build_dataflow_cfg
import finn.builder.build_dataflow_config as build_cfg

open("executed", "w").close()
model_name = "tfc-w1a1"
here = os.path.dirname(os.path.abspath(__file__))
zynq_platforms = ["Pynq-Z2"]
other_platforms = []
CLOCK_MHZ = 125
for platform_name in zynq_platforms + other_platforms:
    cfg = build_cfg.DataflowBuildConfig(
        output_dir="output_%s_%s" % (model_name, platform_name),
        folding_config_file=os.path.join(here, "folding_config", f"{model_name}_folding.json"),
        synth_clk_period_ns=1000 / CLOCK_MHZ,
        board=platform_name,
        shell_flow_type=build_cfg.ShellFlowType.VIVADO_ZYNQ,
        mvau_wwidth_max=pick_width(platform_name),
        generate_outputs=[
            build_cfg.DataflowOutputType.BITFILE,
            build_cfg.DataflowOutputType.OOC_SYNTH,
        ],
    )
    cfg.target_fps = 10**5
    build_dataflow_cfg("models/{}.onnx".format(model_name), cfg)
"""


def test_a_build_script_is_read_and_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read_build_config(written(tmp_path, SCRIPT, "build.py"))
    assert not (tmp_path / "executed").exists()
    assert found.model == tmp_path / "models" / "tfc-w1a1.onnx"
    assert found.folding == tmp_path / "folding_config" / "tfc-w1a1_folding.json"
    assert found.out == tmp_path / "output_tfc-w1a1_Pynq-Z2"
    assert (found.target_fps, found.clock_mhz) == (1e5, 125.0)
    told = differences(found)
    assert "board" not in told and "shell_flow_type" not in told
    assert told["generate_outputs"].asked == "bitfile, out_of_context_synth"
    assert told["mvau_wwidth_max"].line == (
        "mvau_wwidth_max = pick_width(platform_name): pick_width(platform_name) is computed; labd goes on as without it"
    )


def script_fields(folder, body, *fields):
    """Values and reasons of *fields* of a configuration behind the lines *body*."""
    from labd_host.interchange.build_script import read_build_script
    from labd_shared.records import Origin

    given = ", ".join(f"{name}={value}" for name, value in fields)
    path = written(folder, f"{body}\ncfg = DataflowBuildConfig({given})\n", "build.py")
    return read_build_script(path, Origin(str(path), "fix"))


@pytest.mark.parametrize(
    ("body", "expression", "value"),
    [
        ("", '"out" + "_" + str(3)', "out_3"),
        ('from pathlib import Path\nroot = Path("a")', 'root / "b" / "c.json"', "a/b/c.json"),
        ("", 'os.path.join("a", "b")', "a/b"),
        ("", '"%d of %s, 5%%" % (3, "x")', "3 of x, 5%"),
        ("", '"{a}-{}".format("n", a=1)', "1-n"),
        ("a = b = 'x'", "a + b", "xx"),
        ("a, b = 'x', 'y'", "f'{a}/{b}'", "x/y"),
        ("names = {'z2': 'Pynq-Z2'}", "names['z2']", "Pynq-Z2"),
        ("a: str = 'x'", "a", "x"),
        ("if flag:\n    a = 'x'\nelse:\n    a = 'x'", "a", "x"),
        ("", "-(2 * 3 - 1) // 2", -3),
    ],
)
def test_texts_paths_and_sums_of_constants_are_resolved(tmp_path, body, expression, value):
    found = script_fields(tmp_path, body, ("board", expression))
    assert found.fields == {"board": value}


@pytest.mark.parametrize(
    ("body", "expression", "reason"),
    [
        ("", "name", "name is not assigned in the script"),
        ("a = 'x'\na = 'y'", "a", r"a has 2 values \(lines 1, 2\)"),
        ("for a in ['x', 'y']:\n    pass", "a", r"a goes through 2 values \(line 1\)"),
        ("import a", "a", r"a is imported \(line 1\)"),
        ("a = 'x'\na += 'y'", "a", "a is changed"),
        ("a = b\nb = a", "a", "is made of itself"),
        ("a = input()", "a", r"input\(\) is computed"),
        ("", "os.environ['BOARD']", "is not a constant"),
        ("", "'a' * 10**9", "is not a number"),
        ("", "10**10**10", "it is too large a power"),
        ("", "f'{1:>999999999}'", "is formatted"),
        ("", "'%*d' % (9**9, 1)", "is formatted"),
        ("", "'x' if flag else 'y'", "is not a constant"),
        ("", "__import__('os').system('touch executed')", "is computed"),
    ],
)
def test_what_the_text_does_not_say_is_named_with_the_reason(tmp_path, body, expression, reason):
    found = script_fields(tmp_path, body, ("board", expression))
    assert found.fields == {}
    assert re.search(reason, found.unresolved["board"][1])


def test_names_of_a_function_are_its_own_and_its_arguments_unknown(tmp_path):
    text = (
        "def config(folder):\n"
        "    period = 5.0\n"
        "    return DataflowBuildConfig(output_dir=folder, synth_clk_period_ns=period, target_fps=10)\n"
        "period = 7.0\n"
    )
    found = read_build_config(written(tmp_path, text, "build.py"))
    assert found.clock_mhz == 200
    assert "folder is an argument of config() (line 1)" in differences(found)["output_dir"].done


def test_the_class_may_have_another_name_and_its_keywords_come_from_a_dictionary(tmp_path):
    text = (
        "from finn.builder.build_dataflow_config import DataflowBuildConfig as Config\n"
        "given = dict(target_fps=10, board='Pynq-Z2')\n"
        "cfg = Config(**given, **more, synth_clk_period_ns=10.0)\n"
    )
    found = read_build_config(written(tmp_path, text, "build.py"))
    assert (found.target_fps, found.clock_mhz) == (10.0, 100.0)
    assert differences(found)["**"].line.startswith("** = more: more is not assigned in the script")


def test_of_a_loop_s_turns_the_network_s_and_a_pynq_board_s_are_taken_and_told(tmp_path):
    text = (
        "for platform in ['Ultra96', 'Pynq-Z1', 'ZCU104']:\n"
        "    for name in ['tfc-w1a1', 'cnv-w1a1']:\n"
        "        cfg = DataflowBuildConfig(board=platform, folding_config_file='folding/%s.json' % name)\n"
        "        build_dataflow_cfg('models/%s.onnx' % name, cfg)\n"
    )
    path = written(tmp_path, text, "build.py")
    found = read_build_config(path, "cnv-w1a1")
    assert found.folding == tmp_path / "folding" / "cnv-w1a1.json"
    assert found.model == tmp_path / "models" / "cnv-w1a1.onnx"
    told = differences(found)
    assert told["platform"].line == "platform = Pynq-Z1: taken of the 3 values of line 1"
    assert told["name"].asked == "cnv-w1a1"
    unknown = read_build_config(path)
    assert (unknown.folding, unknown.model) == (None, None)
    assert "name goes through 2 values (line 2)" in differences(unknown)["folding_config_file"].done


def test_of_several_configurations_the_last_is_taken_and_the_others_are_named(tmp_path):
    text = (
        "estimates = DataflowBuildConfig(target_fps=10)\n"
        "build_dataflow_cfg('a.onnx', estimates)\n"
        "cfg = DataflowBuildConfig(target_fps=20)\n"
        "build_dataflow_cfg('b.onnx', cfg)\n"
    )
    found = read_build_config(written(tmp_path, text, "build.py"))
    assert (found.target_fps, found.model) == (20.0, tmp_path / "b.onnx")
    assert differences(found)["DataflowBuildConfig"].asked == "those of lines 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"there is no DataflowBuildConfig\(\.\.\.\) in it"),
        ("x = (\n", "not Python"),
        ("x = \0\n", "not Python"),
        ("x = " + "(" * 500, "not Python"),
        ("x = " + "1+" * 30000 + "1\nDataflowBuildConfig(output_dir=x)", "nested too deep"),
        ("# coding: nothing-known\nx = 1\n", "not Python"),
        ("#" * (1 << 20) + "\n", "more than 1048576"),
    ],
)
def test_a_script_that_is_none_or_hostile_is_refused(tmp_path, text, message):
    with pytest.raises(ArtifactError, match=message):
        read_build_config(written(tmp_path, text, "build.py"))
