"""What a study asks for: a TOML file, read strictly, or the options of `labd experiments`.

Part 3 of the lab ships as such a file (part3.toml), so that a teacher copies and changes it. Every key and
every name is checked before anything runs: a typo is refused with the nearest that is legal.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.folding import KEYS
from labd_host.dataflow.parts import part_of
from labd_shared.errors import ArtifactError, LabdError, UsageError, unknown_name
from labd_shared.files import read_bounded

PART3 = Path(__file__).with_name("part3.toml")
CHEAPEST, FASTEST, LOWEST_LATENCY, SET_FOLDING = "cheapest", "fastest", "lowest-latency", "set-folding"
FOUND = (CHEAPEST, FASTEST, LOWEST_LATENCY, SET_FOLDING)  # foldings that labd finds
FOR_A_RATE = (CHEAPEST, SET_FOLDING)
STUDY_KEYS = (
    "name", "title", "networks", "clocks_mhz", "part", "frames", "board", "baseline", "experiments",
)  # fmt: skip
EXPERIMENT_KEYS = ("name", "network", "folding", "target_fps", "as_fast_as", "change", "question")
MAX_FILE_BYTES = 1 << 18
MAX_NETWORKS, MAX_CLOCKS, MAX_EXPERIMENTS, MAX_CHANGES = 20, 20, 200, 100
CLOCKS_MHZ, FRAMES, RATES = (1.0, 250.0), (2, 1000), (0.001, 1e9)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")  # it becomes the name of files
BOARD = re.compile(r"[0-9]{2}")
FOLDING_FILE = ".json"
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


def read_request(path: Path) -> Request:
    """The study in *path*.

    Raises:
        ArtifactError: it cannot be read, or a value in it cannot be.
        UnknownName: a key that means nothing, a network or part that there is not.
    """
    content = read_bounded(path, MAX_FILE_BYTES, _EXAMPLE)
    try:
        text = content.decode("utf-8")
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path} is no TOML: {error}", fix=_EXAMPLE) from error
    try:
        request = _parse(table, path, text)
        check(request)
        return request
    except (TypeError, ValueError) as error:
        if isinstance(error, LabdError):  # an UnknownName or UsageError says it all
            error.args = (f"{path.name}: {error.what}",)
            error.what = str(error.args[0])
            raise
        raise ArtifactError(f"{path.name}: {error}", fix=f"correct {path}") from error


def check(request: Request) -> None:
    """What single values cannot show: of a file as of options.

    Raises:
        UsageError: two experiments have one name, one refers to another that does not come before it, ...
        UnknownName: no such network, part or experiment.
    """
    from labd_host import networks

    part_of(request.part)
    for name in request.networks:
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


def _parse(table: Mapping[str, Any], path: Path, text: str) -> Request:
    _known(table, STUDY_KEYS, "key of a study")
    asked = _list(table, "experiments", MAX_EXPERIMENTS)
    return Request(
        name=_name(table, "name", path.stem),
        title=_text(table, "title", _name(table, "name", path.stem)),
        networks=tuple(_each(table, "networks", MAX_NETWORKS, _is_text)),
        clocks_mhz=tuple(float(each) for each in _each(table, "clocks_mhz", MAX_CLOCKS, _is_clock, [100.0])),
        part=_text(table, "part", "xc7z020"),
        frames=int(_number(table, "frames", 10, FRAMES, whole=True)),
        board=_board(table),
        baseline=_text(table, "baseline", ""),
        experiments=tuple(_asked(entry) for entry in asked),
        folder=path.parent,
        text=text,
    )


def _asked(entry: Any) -> Asked:
    if not isinstance(entry, Mapping):
        raise TypeError(f"an experiment is {entry!r:.40}, no table")
    _known(entry, EXPERIMENT_KEYS, "key of an experiment")
    folding = _text(entry, "folding", "")
    if not folding:
        raise ValueError(f'experiment {entry.get("name")!r} says no folding: folding = "lab"')
    if folding.endswith(FOLDING_FILE) and (
        PurePosixPath(folding).is_absolute() or ".." in PurePosixPath(folding).parts
    ):
        raise ValueError(f"the folding {folding!r} does not lie beside the study")
    change = entry.get("change", {})
    if not isinstance(change, Mapping) or len(change) > MAX_CHANGES:
        raise TypeError(f'change is {change!r:.40}, not {{ "layer 2" = {{ PE = 1, SIMD = 1 }} }}')
    return Asked(
        name=_name(entry, "name", ""),
        network=_text(entry, "network", ""),
        folding=folding,
        target_fps=_number(entry, "target_fps", 0.0, RATES) if "target_fps" in entry else None,
        as_fast_as=_text(entry, "as_fast_as", ""),
        change={layer: _settings(layer, each) for layer, each in change.items()},
        question=_text(entry, "question", ""),
    )


def _settings(layer: str, entry: Any) -> dict[str, Attribute]:
    if not isinstance(entry, Mapping):
        raise TypeError(f"the change of {layer!r} is {entry!r:.40}, not {{ PE = 1, SIMD = 1 }}")
    _known(entry, KEYS, f"setting of {layer}")
    for key, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise TypeError(f"{key} of {layer!r} is {value!r:.40}, no whole number or text")
    return dict(entry)


def _known(table: Mapping[str, Any], keys: tuple[str, ...], kind: str) -> None:
    for key in table:
        if key not in keys:
            raise unknown_name(kind, key, keys)


def _list(table: Mapping[str, Any], key: str, most: int, default: list[Any] | None = None) -> list[Any]:
    value = table.get(key, default)
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise ValueError(f"{key} is {value!r:.60}, not a list of 1 to {most}")
    return value


def _each(
    table: Mapping[str, Any],
    key: str,
    most: int,
    fine: Callable[[Any], bool],
    default: list[Any] | None = None,
) -> list[Any]:
    values = _list(table, key, most, default)
    for value in values:
        if not fine(value):
            raise ValueError(f"{key} holds {value!r:.60}")
    if len(set(values)) < len(values):
        raise ValueError(f"{key} names something twice: {values}")
    return values


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _is_clock(value: Any) -> bool:
    return _is_number(value) and CLOCKS_MHZ[0] <= value <= CLOCKS_MHZ[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or len(value) > 200 or not (value.isprintable() or not value):
        raise ValueError(f"{key} is {value!r:.60}, no text of a line")
    return value


def _name(table: Mapping[str, Any], key: str, default: str) -> str:
    value = _text(table, key, default)
    if not NAME.fullmatch(value):
        raise ValueError(f"{key} {value!r:.60} must be of letters, digits and . _ + -, 40 at most")
    return value


def _number(
    table: Mapping[str, Any], key: str, default: float, bounds: tuple[float, float], *, whole: bool = False
) -> float:
    value = table.get(key, default)
    low, high = bounds
    if not _is_number(value) or not low <= value <= high or (whole and not isinstance(value, int)):
        raise ValueError(f"{key} is {value!r:.60}, no {'whole ' * whole}number from {low:g} to {high:g}")
    return float(value)


def _board(table: Mapping[str, Any]) -> str:
    value = _text(table, "board", "")
    if value and not BOARD.fullmatch(value):
        raise ValueError(f'board is {value!r:.60}, not a number like "03"')
    return value
