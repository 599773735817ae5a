"""Foldings: how many rows (PE) and columns (SIMD) of each layer are computed in one cycle.

Read and written in FINN's own JSON (``{"Defaults": {}, "MVAU_hls_0": {"PE": 16, "SIMD": 49}}``),
checked against the layers before FINN sees it, because FINN itself notices late or not at all.

Each kind of layer knows its axes and what else FINN asks of them (`labd_host.dataflow.layers`).

Source: the JSON is qonnx 1.0.0, transformation/general.py ApplyConfig.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from labd_host.dataflow.axes import Attribute, NodeSettings
from labd_host.dataflow.generations import (
    DROPPED_KEYS,
    KEYS,
    RENAMED_KEYS,
    is_of_kind,
    layers_meant,
    renamed_value,
)
from labd_host.dataflow.layers import Layer
from labd_host.dataflow.presets import PRESETS
from labd_shared.errors import ArtifactError, IllegalFolding, UsageError, unknown_name
from labd_shared.records import MAX_NAME, Origin, Value, read_json
from labd_shared.tensors import Tensor

MAX_FILE_BYTES = 4 << 20
DEFAULTS = "Defaults"
EVERY_KIND = "all"
FOLDING_FILE = "folding.json"  # beside what was made with it
Settings = Mapping[str, NodeSettings]  # node name -> attribute -> value


class FoldableNetwork(Protocol):
    """A chain of layers between its DMAs, in whatever folding."""

    @property
    def name(self) -> str:
        """Of the network."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order of the stream."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that its DMAs read."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that its DMAs write."""


class FoldingSource(Protocol):
    """Where the folding of a network comes from: given (`Folding`), or chosen (`labd_host.explore.for_a_rate`)."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def key(self) -> Mapping[str, Any]:
        """All that decides on the settings besides the network, JSON-able: the same key, the same settings."""

    def settings_for(self, network: FoldableNetwork) -> dict[str, dict[str, Attribute]]:
        """The attributes to set in *network*: node name -> attribute -> value, an entry for every layer.

        Raises:
            UnknownName: the folding names a node that the network does not have.
            UsageError: no folding reaches what was asked for, or which layer a node is cannot be told.
        """


@dataclass(frozen=True)
class Folding:
    """A folding as somebody wrote it: a `FoldingSource` that gives every network the same settings.

    Attributes:
        name: Of the preset or the file, for messages.
        nodes: Node name -> attribute -> value (PE, SIMD, ram_style, ...).
        defaults: Attribute -> values, each with the kinds of nodes it is for, or ("all",); a later one wins,
            and a node's own value wins over all.
    """

    name: str
    nodes: Settings
    defaults: Mapping[str, tuple[tuple[Attribute, tuple[str, ...]], ...]]

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides on the settings; the name does not."""
        return {"nodes": self.nodes, "defaults": self.defaults}

    def settings_for(self, network: FoldableNetwork) -> dict[str, dict[str, Attribute]]:
        """The attributes to set: node name -> attribute -> value.

        The nodes of another FINN are found by kind and number (`labd_host.dataflow.generations`); what their
        layers do not have today is left out.

        Raises:
            UnknownName: the folding names a node that the network does not have.
            UsageError: which layer a node is cannot be told.
        """
        resolved: dict[str, dict[str, Attribute]] = {layer.name: {} for layer in network.layers}
        for key, choices in self.defaults.items():
            for value, kinds in choices:
                for layer in network.layers:
                    if any(is_of_kind(layer, kind, network.layers) for kind in kinds) or (
                        kinds == (EVERY_KIND,) and layer.takes(key)
                    ):
                        resolved[layer.name][key] = value
        layers = {layer.name: layer for layer in network.layers}
        for node, name in layers_meant(self.nodes, network.layers, self.name).items():
            kept = self.nodes[node].items()
            resolved[name].update(
                (key, value) for key, value in kept if node == name or layers[name].takes(key)
            )
        return resolved

    def left_out(self, network: FoldableNetwork) -> list[str]:
        """The settings of another FINN's nodes that *network*'s layers do not have, a sentence each."""
        layers = {layer.name: layer for layer in network.layers}
        return [
            f"folding {self.name}: {key} {value} of {node} left out, {name} has no such setting"
            for node, name in layers_meant(self.nodes, network.layers, self.name).items()
            for key, value in self.nodes[node].items()
            if node != name and not layers[name].takes(key)
        ]


@dataclass(frozen=True)
class FoldingOver:
    """A folding whose settings win over those of another, as FINN's ApplyConfig over its SetFolding.

    Attributes:
        base: Folds every layer.
        own: Wins where it says something.
    """

    base: FoldingSource
    own: Folding

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.own.name} over {self.base.name}"

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides on the settings."""
        return {"base": self.base.key, "own": self.own.key}

    def settings_for(self, network: FoldableNetwork) -> dict[str, dict[str, Attribute]]:
        """The attributes to set; the other is not asked where *own* folds every layer. Errors as of both."""
        own = self.own.settings_for(network)
        if all(axis.key in own[layer.name] for layer in network.layers for axis in layer.axes):
            return own
        return {name: {**settings, **own[name]} for name, settings in self.base.settings_for(network).items()}


def left_out(source: FoldingSource, network: FoldableNetwork) -> list[str]:
    """The settings that *source* asks for and *network*'s layers do not have, a sentence each."""
    own = source.own if isinstance(source, FoldingOver) else source
    return own.left_out(network) if isinstance(own, Folding) else []


def to_json(settings: Settings) -> str:
    """*settings* as FINN's folding JSON."""
    return json.dumps({DEFAULTS: {}, **settings}, indent=2) + "\n"


def load_folding(wanted: str, network: str) -> Folding:
    """The preset called *wanted* of *network*, or the folding in the file *wanted*.

    Raises:
        UnknownName: neither a preset of that network nor a file.
        ArtifactError: the file is no folding.
    """
    presets = PRESETS.get(network, {})
    if wanted in presets:
        return Folding(wanted, presets[wanted], {})
    path = Path(wanted)
    if path.is_file():
        return read_folding(path)
    raise unknown_name(f"folding for {network}", wanted, presets, fix="give a preset's name or a JSON file")


def read_folding(path: Path) -> Folding:
    """A folding in FINN's JSON.

    Raises:
        ArtifactError: not JSON, not of that form, or it says nothing.
        UnknownName: it sets what no folding does.
    """
    record = read_json(path, MAX_FILE_BYTES, Origin(str(path), _FORM)).entries()
    nodes = {
        name: dict(_settings(entry, f"setting of {name}"))
        for name, entry in record.items()
        if name != DEFAULTS
    }
    defaults = {}
    if DEFAULTS in record:
        for key, entry in record[DEFAULTS].fields((), _KNOWN_KEYS, f"setting in {DEFAULTS}").items():
            if key not in DROPPED_KEYS:
                today = RENAMED_KEYS.get(key, key)
                defaults[today] = tuple((_attribute(key, value), kinds) for value, kinds in _choices(entry))
    if not nodes and not defaults:
        raise ArtifactError(f"{path} folds no layer: each would compute one value a cycle", fix=_FORM)
    return Folding(path.name, nodes, defaults)


_FORM = 'write FINN\'s form: {"Defaults": {}, "MVAU_hls_0": {"PE": 16, "SIMD": 49}}'
_KNOWN_KEYS = (*KEYS, *RENAMED_KEYS, *DROPPED_KEYS)


def _settings(entry: Value, kind: str) -> Iterator[tuple[str, Attribute]]:
    """The settings of a node, as today's FINN calls them."""
    for key, value in entry.fields((), _KNOWN_KEYS, kind).items():
        if key not in DROPPED_KEYS:
            yield RENAMED_KEYS.get(key, key), _attribute(key, value)


def _attribute(key: str, value: Value) -> Attribute:
    if isinstance(value.raw, list):
        return [entry.integer() for entry in value.list()]
    if type(value.raw) is not int:
        return renamed_value(key, value.text(MAX_NAME, wanted="a whole number, text or a list"))
    return [value.integer()] if key in RENAMED_KEYS else value.integer()


def _choices(entry: Value) -> Iterator[tuple[Value, tuple[str, ...]]]:
    """Values of a default, each with the kinds of nodes it is for."""
    wanted = "[value, [kinds]]"
    if not isinstance(entry.raw, list) or len(entry.raw) % 2 or not entry.raw:
        entry.refuse(wanted)
    parts = entry.list()
    for value, kinds in zip(parts[::2], parts[1::2], strict=True):
        if not isinstance(kinds.raw, list | str):
            entry.refuse(wanted)
        listed = kinds.list() if isinstance(kinds.raw, list) else [kinds]
        yield value, tuple(kind.text(MAX_NAME) for kind in listed)


def check_folding(layers: Sequence[Layer], settings: Settings) -> None:
    """Refuse a folding that the layers cannot have, naming every fault at once.

    Raises:
        IllegalFolding: a PE or SIMD value does not divide what it folds, or makes a stream too
            wide; the message has the nearest legal values.
        UsageError: a layer is given a PE or SIMD it does not have.
    """
    faults: list[str] = []
    folded = []
    for layer in layers:
        chosen = settings.get(layer.name, {})
        keys = [axis.key for axis in layer.axes]
        for key in ("PE", "SIMD"):
            if key in chosen and key not in keys:
                raise UsageError(
                    f"{layer.name} is folded by {' and '.join(keys)}, it has no {key}", fix=f"leave {key} out"
                )
        folded.append(layer.folded(chosen))
        faults += _faults(folded[-1])
    for before, layer in pairwise(folded):
        faults += layer.faults_behind(before)
    if faults:
        raise IllegalFolding("; ".join(faults), fix="correct these values in the folding", faults=faults)


def _faults(layer: Layer) -> list[str]:
    """What is wrong with the folding of *layer* by itself."""
    undivided = [axis.fault(layer.name, layer.lanes(axis)) for axis in layer.axes]
    return [fault for fault in undivided if fault] or layer.folding_faults()


def folding_of(layers: Sequence[Layer]) -> dict[str, dict[str, int]]:
    """The PE and SIMD that *layers* have: node name -> {"PE": ..., "SIMD": ...}."""
    return {layer.name: {axis.key: layer.lanes(axis) for axis in layer.axes} for layer in layers}
