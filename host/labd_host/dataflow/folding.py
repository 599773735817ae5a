"""Foldings: how many rows (PE) and columns (SIMD) of each layer are computed in one cycle.

Read and written in FINN's own JSON (``{"Defaults": {}, "MVAU_hls_0": {"PE": 16, "SIMD": 49}}``),
checked against the layers before FINN sees it, because FINN itself notices late or not at all.

Each kind of layer knows its axes and what else FINN asks of them (`labd_host.dataflow.layers`).

Source: the JSON is qonnx 1.0.0, transformation/general.py ApplyConfig.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from labd_host.dataflow.axes import Attribute, NodeSettings
from labd_host.dataflow.layers import Layer, MaxPool, SlidingWindow, WidthConverter
from labd_host.dataflow.presets import PRESETS
from labd_shared.errors import ArtifactError, IllegalFolding, UsageError, unknown_name
from labd_shared.records import MAX_NAME, Origin, Value, read_json
from labd_shared.tensors import Tensor

MAX_FILE_BYTES = 4 << 20
DEFAULTS = "Defaults"
FOLDING_FILE = "folding.json"  # beside what was made with it
# Nodes that FINN inserts after folding; a configuration of a finished build names them, too.
LATER_NODES = ("StreamingFIFO", WidthConverter.op, "IODMA", "TLastMarker")
STREAMING_POOL = "StreamingMaxPool"

# What FINN itself writes into a folding and reads from one; everything else would change the network.
# finn-plus 1.6.1, builder/build_dataflow_steps.py hw_attrs.
KEYS = (
    "PE", "SIMD", "parallel_window", "ram_style", "ram_style_thresholds", "resType", "mem_mode", "depth",
    "impl_style", "runtime_writeable_weights", "inFIFODepths", "outFIFODepths", "depth_trigger_uram",
    "depth_trigger_bram", "preferred_impl_style", "EmbFold", "SeqFold", "ram_style_mask", "mac_resource",
)  # fmt: skip

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
            UsageError: no folding reaches what was asked for.
        """


@dataclass(frozen=True)
class Folding:
    """A folding as somebody wrote it: a `FoldingSource` that gives every network the same settings.

    Attributes:
        name: Of the preset or the file, for messages.
        nodes: Node name -> attribute -> value (PE, SIMD, ram_style, ...).
        defaults: Attribute -> (value, kinds of nodes it is for, or ("all",)); a node's own value wins.
    """

    name: str
    nodes: Settings
    defaults: Mapping[str, tuple[Attribute, tuple[str, ...]]]

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides on the settings; the name does not."""
        return {"nodes": self.nodes, "defaults": self.defaults}

    def settings_for(self, network: FoldableNetwork) -> dict[str, dict[str, Attribute]]:
        """The attributes to set: node name -> attribute -> value.

        Raises:
            UnknownName: the folding names a node that the network does not have.
        """
        resolved: dict[str, dict[str, Attribute]] = {layer.name: {} for layer in network.layers}
        for key, (value, kinds) in self.defaults.items():
            for name, settings in resolved.items():
                if "all" in kinds or name.rpartition("_")[0] in kinds:  # MVAU_hls_0 is an MVAU_hls
                    settings[key] = value
        for name, given in self._of_this_finn(network.layers).items():
            if name in resolved:
                resolved[name].update(given)
            elif not name.startswith(LATER_NODES):
                raise unknown_name(f"layer (folding {self.name})", name, resolved)
        return resolved

    def _of_this_finn(self, layers: Sequence[Layer]) -> Settings:
        """The nodes by the names that today's FINN gives them.

        A FINN that built a StreamingMaxPool counted the windows of convolutions only, and folded no
        pool: a folding that names no pool, and exactly as many windows as there are convolutions,
        means those. Its pools stay as FINN makes them, all channels at once, as that one's were.
        """
        pools = [layer for layer in layers if isinstance(layer, MaxPool)]
        windows = [layer for layer in layers if isinstance(layer, SlidingWindow)]
        dense = [layer.name for layer in windows if not layer.depthwise]
        named = {name for name in self.nodes if name.startswith(SlidingWindow.op)}
        counted = [window.name for window in windows[: len(dense)]]
        if not pools or named != set(counted) or any(name.startswith(MaxPool.op) for name in self.nodes):
            return self.nodes
        meant = dict(zip(counted, dense, strict=True))
        return {
            meant.get(name, name): settings
            for name, settings in self.nodes.items()
            if not name.startswith(STREAMING_POOL)
        }


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
        name: {key: _attribute(value) for key, value in entry.fields((), KEYS, f"setting of {name}").items()}
        for name, entry in record.items()
        if name != DEFAULTS
    }
    defaults = {}
    if DEFAULTS in record:
        for key, entry in record[DEFAULTS].fields((), KEYS, f"setting in {DEFAULTS}").items():
            value, kinds = _pair(entry)
            defaults[key] = (_attribute(value), tuple(kind.text(MAX_NAME) for kind in kinds.list()))
    if not nodes and not defaults:
        raise ArtifactError(f"{path} folds no layer: each would compute one value a cycle", fix=_FORM)
    return Folding(path.name, nodes, defaults)


_FORM = 'write FINN\'s form: {"Defaults": {}, "MVAU_hls_0": {"PE": 16, "SIMD": 49}}'


def _attribute(value: Value) -> Attribute:
    if isinstance(value.raw, list):
        return [entry.integer() for entry in value.list()]
    return (
        value.integer()
        if type(value.raw) is int
        else value.text(MAX_NAME, wanted="a whole number, text or a list")
    )


def _pair(value: Value) -> tuple[Value, Value]:
    if not isinstance(value.raw, list) or len(value.raw) != 2 or not isinstance(value.raw[1], list):
        value.refuse("[value, [kinds]]")
    first, second = value.list()
    return first, second


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
