"""FINN's and finn-plus' build configurations (YAML, JSON, or a build.py): what a build of labd takes from them.

Whatever labd does otherwise, or not at all, is a `FieldDifference`: a line each. Paths are relative to the file's
folder.

Source: finn-plus 1.6.1, builder/build_dataflow_config.py, interface/run_finn.py; Xilinx/finn,
builder/build_dataflow.py (build_dataflow_directory: model.onnx beside the configuration).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labd_host.interchange.build_fields import FOLLOWED, INSTEAD
from labd_host.interchange.build_script import read_build_script
from labd_host.machine.yaml_files import read_yaml
from labd_shared.bitfile import PYNQ_Z2_PART
from labd_shared.errors import ArtifactError, unknown_name
from labd_shared.records import MAX_NAME, Origin, Value, bounded, read_json

MODEL_BESIDE = "model.onnx"
MAX_CONFIG_BYTES = 1 << 18
BOARDS = ("Pynq-Z2", "Pynq-Z1")  # of one FPGA; labd builds for the first
DATASETS = {"mnist": "mnist", "cifar": "cifar10", "cifar10": "cifar10", "cifar100": "cifar100"}
_FIX = "name FINN's build configuration: cfg.yaml, or its build.py"
_MADE = {
    "estimate_reports": "the stages' estimate.json",
    "bitfile": "the bundle",
    "pynq_driver": "the bundle, which labd's own driver runs",
    "deployment_package": "the bundle",
}


@dataclass(frozen=True)
class FieldDifference:
    """A field that labd follows otherwise than FINN, or not at all.

    Attributes:
        field: Of the configuration.
        asked: Its value, in a few words.
        done: What labd does.
    """

    field: str
    asked: str
    done: str

    @property
    def line(self) -> str:
        """All of it as a line."""
        return f"{self.field} = {self.asked}: {self.done}"


@dataclass(frozen=True)
class Verification:
    """Inputs with their expected answers.

    Attributes:
        inputs, expected: Files of numpy.
    """

    inputs: Path
    expected: Path


@dataclass(frozen=True)
class BuildConfig:
    """What a build takes from a configuration; None where it says nothing.

    Attributes:
        path: Of the configuration.
        model: The exported network.
        folding: A folding file.
        target_fps: Least frames a second.
        clock_mhz: Of the accelerator, whole MHz as FINN's shell has it.
        out: Where the bundle goes.
        dataset: That validates it.
        verification: What it is to answer.
        differences: What labd does otherwise.
    """

    path: Path
    model: Path | None
    folding: Path | None
    target_fps: float | None
    clock_mhz: float | None
    out: Path | None
    dataset: str | None
    verification: Verification | None
    differences: tuple[FieldDifference, ...]


def read_build_config(path: Path, network: str = "") -> BuildConfig:
    """The configuration in *path*.

    Args:
        path: The file.
        network: Name of the network that is built, where it is known: of a script's loop over several, its turn
            is taken, and a Pynq board's of several boards.

    Raises:
        ArtifactError: it cannot be read, is not a configuration, or a value is of another kind.
        UnknownName: a field is misspelt.
    """
    return _Reading(path, network).config()


class _Reading:
    """Takes field by field from a configuration, and notes the differences."""

    def __init__(self, path: Path, network: str) -> None:
        self._path = path
        self._origin = Origin(str(path), _FIX)
        self._differences: list[FieldDifference] = []
        self._values: dict[str, Value] = {}
        self._model: str | None = None
        unresolved: Mapping[str, tuple[str, str]] = {}
        if path.suffix.lower() == ".py":
            script = read_build_script(path, self._origin, (network, *BOARDS))
            self._values = bounded(script.fields, self._origin).entries()
            self._model, unresolved = script.model, script.unresolved
            for name, (value, why) in script.chosen.items():
                self._note(name, value, why)
            if script.others:
                lines = ", ".join(str(line) for line in script.others)
                done = f"labd takes the one of line {script.line}"
                self._note("DataflowBuildConfig", f"those of lines {lines}", done)
        else:
            self._values = _fields(path, self._origin)
        self._values = {name: value for name, value in self._values.items() if value.raw is not None}
        self._check_names([*self._values, *(name for name in unresolved if name.isidentifier())])
        self._unresolved = set(unresolved)
        for name, (source, why) in unresolved.items():
            self._note(name, source, f"{_printable(why)}; labd goes on as without it")

    def config(self) -> BuildConfig:
        """What a build takes; `differences` in the order of the file."""
        self._target()
        clock = self._clock()
        folding, rate = self._path_of("folding_config_file"), self._rate()
        if folding is None and rate is None and not self._unresolved & {"folding_config_file", "target_fps"}:
            self._note(
                "folding_config_file", "not given", "labd takes the lab's folding, or the fastest that fits"
            )
        verification = self._verification()
        self._outputs()
        for name, (done, alike) in INSTEAD.items():
            if name in self._values and not _is_one_of(self._values[name].raw, alike):
                self._note(name, _shown(self._values[name].raw), done)
        order = [*self._values]
        self._differences.sort(key=lambda one: order.index(one.field) if one.field in order else len(order))
        return BuildConfig(
            path=self._path,
            model=self._model_path(),
            folding=folding,
            target_fps=rate,
            clock_mhz=clock,
            out=self._path_of("output_dir"),
            dataset=self._dataset(),
            verification=verification,
            differences=tuple(self._differences),
        )

    def _note(self, name: str, asked: str, done: str) -> None:
        """Note a difference."""
        self._differences.append(FieldDifference(_printable(name), _printable(asked), done))

    def _check_names(self, names: Sequence[str]) -> None:
        known = (*FOLLOWED, *INSTEAD)
        for name in names:
            if name in known:
                continue
            if difflib.get_close_matches(name, known, 1, 0.8):
                raise unknown_name(f"field in {self._path}", name[:60], known)
            self._note(name[:60], "given", "labd knows no such field of FINN's and ignores it")

    def _target(self) -> None:
        board = self._text("board")
        ours, same_fpga = (each.lower() for each in BOARDS)
        if board is not None and board.lower() != ours:
            same = board.lower() == same_fpga
            self._note("board", board, "labd builds for the Pynq-Z2" + (", of the same FPGA" if same else ""))
        part = self._text("fpga_part")
        if part is not None and part.lower() != PYNQ_Z2_PART:
            self._note("fpga_part", part, f"labd builds for {PYNQ_Z2_PART}, the Pynq-Z2's")
        shell = self._text("shell_flow_type")
        if shell is not None and shell.lower() != "vivado_zynq":
            self._note("shell_flow_type", shell, "labd builds FINN's Zynq shell (vivado_zynq)")

    def _clock(self) -> float | None:
        """The clock of the accelerator; FINN's shell is given whole MHz, rounded down."""
        periods = {
            name: self._values[name].number(0.001, 1e6)
            for name in ("synth_clk_period_ns", "hls_clk_period_ns")
            if name in self._values
        }
        clocks = {name: 1000 / period for name, period in periods.items()}
        exact = clocks.get("synth_clk_period_ns")
        if len(set(clocks.values())) == 2:
            self._note(
                "hls_clk_period_ns",
                f"{periods['hls_clk_period_ns']:g} ns",
                "labd has one clock for all layers",
            )
        if exact is None:
            return None
        whole = math.floor(exact + 1e-6)
        if abs(exact - whole) > 1e-6 and whole:
            asked = f"{periods['synth_clk_period_ns']:g} ns, {exact:.3f} MHz"
            self._note(
                "synth_clk_period_ns", asked, f"{whole} MHz, the whole MHz that FINN's shell has as well"
            )
        return float(whole) if whole else exact

    def _rate(self) -> float | None:
        if "target_fps" not in self._values:
            return None
        rate = self._values["target_fps"].number(0.001, 1e9)
        done = "the cheapest folding of that rate, by an exact search, where FINN has SetFolding"
        if "folding_config_file" in self._values:
            done += "; the folding file wins where it says something"
        self._note("target_fps", f"{rate:g} frames/s", done)
        return rate

    def _verification(self) -> Verification | None:
        """The inputs and answers to compare with: where steps are to be verified, or the files are named."""
        names = ("verify_input_npy", "verify_expected_output_npy")
        steps = "verify_steps" in self._values and self._values["verify_steps"].raw not in ([], "")
        if steps:
            self._note("verify_steps", _shown(self._values["verify_steps"].raw), "labd compares every stage")
        if not steps and not any(name in self._values for name in names):
            return None
        inputs = self._path_of(names[0]) or self._path.parent / "input.npy"
        expected = self._path_of(names[1]) or self._path.parent / "expected_output.npy"
        for name, path in zip(names, (inputs, expected), strict=True):
            if not path.is_file():
                self._note(name, str(path), "it is not there, so its answers are not compared")
                return None
        return Verification(inputs, expected)

    def _outputs(self) -> None:
        depths = self._values.get("auto_fifo_depths")
        if depths is not None and not depths.truth():
            self._note("auto_fifo_depths", "false", INSTEAD["auto_fifo_strategy"].done)
        wanted = self._values.get("generate_outputs")
        if wanted is None:
            return
        names = [entry.text(MAX_NAME).lower() for entry in wanted.list()]
        made = [f"{name} is {_MADE[name]}" for name in names if name in _MADE]
        missing = [name for name in names if name not in _MADE]
        if missing:
            made.append(f"{', '.join(missing)} not made")
        self._note(
            "generate_outputs", ", ".join(names) or "nothing", "; ".join(made) or "labd writes a bundle"
        )

    def _dataset(self) -> str | None:
        name = self._text("validation_dataset")
        if name is not None and name.lower() not in DATASETS:
            self._note("validation_dataset", name, "labd has no such data set; --dataset names one")
        return None if name is None else DATASETS.get(name.lower())

    def _model_path(self) -> Path | None:
        """The model: of the configuration, of the script's build, or beside it as FINN's directory builds have it."""
        named = self._path_of("model_path")
        if named is None and self._model is not None:
            named = self._path.parent / Path(self._model).expanduser()
        beside = self._path.parent / MODEL_BESIDE
        return named or (beside if beside.is_file() else None)

    def _text(self, name: str) -> str | None:
        return self._values[name].text(MAX_NAME) if name in self._values else None

    def _path_of(self, name: str) -> Path | None:
        """A path of the configuration, relative to its folder."""
        text = self._text(name)
        if text is None or not text:
            return None
        try:
            return self._path.parent / Path(text).expanduser()
        except RuntimeError:  # nobody's home
            self._values[name].refuse("a path")


def _fields(path: Path, origin: Origin) -> dict[str, Value]:
    """The fields of a YAML or JSON file.

    Raises:
        ArtifactError: it is something else; a folding file is told apart.
    """
    read: Callable[[Path, int, Origin], Value] = read_json if path.suffix.lower() == ".json" else read_yaml
    found = read(path, MAX_CONFIG_BYTES, origin)
    fields = found.entries()
    known = {*FOLLOWED, *INSTEAD}
    if not fields or not known & fields.keys():
        if "Defaults" in fields or any(isinstance(value.raw, dict) for value in fields.values()):
            raise ArtifactError(
                f"{path} is a folding file, not a build configuration",
                fix="labd build NETWORK --folding FILE",
            )
        raise origin.fault("it has no field of FINN's DataflowBuildConfig")
    return fields


def _printable(text: str) -> str:
    """*text* from outside, without what would steer a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _is_one_of(raw: Any, alike: tuple[Any, ...]) -> bool:
    return any(type(raw) is type(each) and raw == each for each in alike)


def _shown(raw: Any) -> str:
    """A value in a few words."""
    if isinstance(raw, list):
        text = ", ".join(str(entry) for entry in raw[:50])
    elif isinstance(raw, dict):
        text = ", ".join(str(key) for key in list(raw)[:50])
    elif isinstance(raw, bool):
        text = "true" if raw else "false"
    else:
        text = str(raw)
    return (text if len(text) <= 60 else f"{text[:57]}...") or "nothing"
