"""What a study asks for: a TOML file, read strictly, or the options of `labd experiments`.

Part 3 of the lab ships as such a file (part3.toml), so that a teacher copies and changes it. Every key and
every name is checked before anything runs: a typo is refused with the nearest that is legal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.generations import KEYS
from labd_host.dataflow.parts import part_of
from labd_host.machine.toml_files import parse_toml
from labd_shared.bitfile import PYNQ_Z2_DEVICE
from labd_shared.errors import UsageError, unknown_name
from labd_shared.files import read_bounded
from labd_shared.records import Origin, Value

T = TypeVar("T")

PART3 = Path(__file__).with_name("part3.toml")
CHEAPEST, FASTEST, LOWEST_LATENCY, SET_FOLDING = "cheapest", "fastest", "lowest-latency", "set-folding"
FOUND = (CHEAPEST, FASTEST, LOWEST_LATENCY, SET_FOLDING)  # foldings that labd finds
FOR_A_RATE = (CHEAPEST, SET_FOLDING)
STUDY_KEYS = (
    "name", "title", "networks", "dataset", "clocks_mhz", "part", "frames", "board", "baseline", "experiments",
)  # fmt: skip
EXPERIMENT_KEYS = ("name", "network", "folding", "target_fps", "as_fast_as", "change", "question")
MAX_FILE_BYTES = 1 << 18
DEFAULT_FRAMES, MAX_LINE = 10, 200
MAX_NETWORKS, MAX_CLOCKS, MAX_EXPERIMENTS, MAX_CHANGES = 20, 20, 200, 100
CLOCKS_MHZ, FRAMES, RATES = (1.0, 250.0), (2, 1000), (0.001, 1e9)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")  # it becomes the name of files
BOARD = re.compile(r"([0-9]{2})?")
FOLDING_ENDING = ".json"
_LINE = "a single line of text"
_EXAMPLE = "copy labd's own study and change it: labd experiments --example"


@dataclass(frozen=True)
class Asked:
    """One experiment as it was asked for.

    Attributes:
        name: "Exp1".
        network: The only one it is for, "" for every network of the study.
        folding: A preset, a file, or one of `FOUND`.
        target_fps: The rate that is wanted, frames a second; None where none is.
        as_fast_as: The experiment whose rate is wanted, "" for none.
        change: Layer ("layer 2", "MVAU_hls_1") -> what to set on top.
        question: What the page answers about it, "" for nothing.
    """

    name: str
    network: str = ""
    folding: str = "lab"
    target_fps: float | None = None
    as_fast_as: str = ""
    change: Mapping[str, Mapping[str, Attribute]] = field(default_factory=dict)
    question: str = ""


@dataclass(frozen=True)
class Request:
    """A study as it was asked for; see `labd_host.experiments.study_model.Study` for what becomes of it.

    Attributes:
        folder: Where its files of foldings lie.
        dataset: What the networks were trained for that labd does not know.
        text: The TOML it was read from.
    """

    name: str
    title: str
    networks: tuple[str, ...]
    clocks_mhz: tuple[float, ...]
    part: str
    frames: int
    board: str
    baseline: str
    experiments: tuple[Asked, ...]
    folder: Path
    text: str = ""
    dataset: str = ""


def read_request(path: Path) -> Request:
    """The study in *path*.

    Raises:
        ArtifactError: it cannot be read, or a value in it cannot be.
        UnknownName: a key that means nothing, a network or part that there is not.
    """
    content = read_bounded(path, MAX_FILE_BYTES, _EXAMPLE)
    request = _parse(parse_toml(content, Origin(path.name, f"correct {path}")), path, content.decode("utf-8"))
    try:
        check(request)
    except UsageError as error:
        error.args = (f"{path.name}: {error.what}",)
        error.what = str(error.args[0])
        raise
    return request


def check(request: Request) -> None:
    """What single values cannot show: of a file as of options.

    Raises:
        UsageError: two experiments have one name, one refers to another that does not come before it, ...
        UnknownName: no such network, part or experiment.
    """
    from labd_host import networks

    part_of(request.part)
    for name in request.networks:
        if networks.is_table_name(name) or not Path(name).exists():
            networks.network(name)
    names = [asked.name for asked in request.experiments]
    if request.baseline and request.baseline not in names:
        raise unknown_name("experiment to compare with (baseline)", request.baseline, names)
    seen: dict[str, set[str]] = {name: set() for name in request.networks}
    for asked in request.experiments:
        if asked.network and asked.network not in seen:
            continue  # of a network that this run leaves out
        for network in [asked.network] if asked.network else request.networks:
            if asked.name in seen[network]:
                raise UsageError(
                    f"two experiments of {network} are called {asked.name}", fix="give each a name of its own"
                )
            if asked.as_fast_as and asked.as_fast_as not in seen[network]:
                raise unknown_name(
                    f"experiment before {asked.name} (as_fast_as)", asked.as_fast_as, seen[network]
                )
            seen[network].add(asked.name)
        _check_rate(asked)


def _check_rate(asked: Asked) -> None:
    given = (asked.target_fps is not None) + bool(asked.as_fast_as)
    if asked.folding in FOR_A_RATE and given != 1:
        raise UsageError(
            f"experiment {asked.name} asks for the folding {asked.folding!r} and gives {given} rates",
            fix="give one: target_fps = 1000, or as_fast_as = an experiment before it",
        )
    if asked.folding not in FOR_A_RATE and given:
        raise UsageError(
            f"experiment {asked.name} asks for the folding {asked.folding!r}, which takes no rate",
            fix=f"leave target_fps and as_fast_as out, or ask for folding = {CHEAPEST!r}",
        )


def _parse(record: Value, path: Path, text: str) -> Request:
    table = record.fields(("networks", "experiments"), STUDY_KEYS, "key of a study")
    name = _name(table.get("name", Value(path.stem, record.origin, "name")))
    clocks = table["clocks_mhz"].list(1, MAX_CLOCKS) if "clocks_mhz" in table else []
    return Request(
        name=name,
        title=_line(table, "title", name),
        networks=_distinct(
            table["networks"], [_line_of(each) for each in table["networks"].list(1, MAX_NETWORKS)]
        ),
        clocks_mhz=_distinct(table["clocks_mhz"], [each.number(*CLOCKS_MHZ) for each in clocks])
        if clocks
        else (100.0,),
        part=_line(table, "part", PYNQ_Z2_DEVICE),
        frames=table["frames"].integer(*FRAMES) if "frames" in table else DEFAULT_FRAMES,
        board=table["board"].text(2, BOARD, 'a number like "03"') if "board" in table else "",
        baseline=_line(table, "baseline"),
        experiments=tuple(_asked(entry) for entry in table["experiments"].list(1, MAX_EXPERIMENTS)),
        folder=path.parent,
        text=text,
        dataset=_line(table, "dataset"),
    )


def _asked(entry: Value) -> Asked:
    table = entry.fields(("name", "folding"), EXPERIMENT_KEYS, "key of an experiment")
    folding = _line_of(table["folding"])
    if folding.endswith(FOLDING_ENDING) and (
        PurePosixPath(folding).is_absolute() or ".." in PurePosixPath(folding).parts
    ):
        table["folding"].refuse("a file beside the study")
    changes = table["change"].entries(MAX_CHANGES) if "change" in table else {}
    return Asked(
        name=_name(table["name"]),
        network=_line(table, "network"),
        folding=folding,
        target_fps=table["target_fps"].number(*RATES) if "target_fps" in table else None,
        as_fast_as=_line(table, "as_fast_as"),
        change={layer: _settings(layer, each) for layer, each in changes.items()},
        question=_line(table, "question"),
    )


def _settings(layer: str, entry: Value) -> dict[str, Attribute]:
    settings = entry.fields((), KEYS, f"setting of {layer}")
    return {
        key: value.integer() if type(value.raw) is int else _line_of(value) for key, value in settings.items()
    }


def _distinct(where: Value, values: list[T]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        where.refuse("a list that names nothing twice")
    return tuple(values)


def _line(table: Mapping[str, Value], key: str, default: str = "") -> str:
    value = table.get(key)
    return default if value is None or value.raw == "" else _line_of(value)


def _line_of(value: Value) -> str:
    text = value.text(MAX_LINE, wanted=_LINE)
    if not text.isprintable() or not text:
        value.refuse(_LINE)
    return text


def _name(value: Value) -> str:
    return value.text(MAX_LINE, NAME, "a name of letters, digits and . _ + -, 40 at most,")
