"""Names of layers and settings in the folding files of every FINN, as the layers of a network.

FINN renamed its layers twice (StreamingFCLayer_Batch, MatrixVectorActivation, MVAU) and counts those made
with HLS and with RTL apart since it has both. It built a StreamingMaxPool, which knows no folding, where it
builds a window and a Pool today, and may keep thresholds in layers of their own. A file is translated kind by
kind: by number where it spells the kind in one way, else by the order in which FINN writes, the stream's.

Source: Xilinx/finn 0.5 to 0.10, finn-plus 1.6.1, custom_op/fpgadataflow; qonnx 1.0.0, transformation/general.py
GiveUniqueNodeNames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from labd_host.dataflow.axes import Attribute
from labd_host.dataflow.layers import Layer, MaxPool, SlidingWindow, Thresholding, WidthConverter, kind_of
from labd_shared.errors import UsageError, unknown_name

# Nodes without a folding of labd's: FINN inserts them, or they only change shapes.
UNFOLDED_NODES = (
    "StreamingFIFO", WidthConverter.op, "IODMA", "TLastMarker", "Reshape", "DuplicateStreams", "Squeeze",
    "Unsqueeze", "Shuffle", "InnerShuffle", "OuterShuffle", "Transpose", "Flatten", "CheckSum",
)  # fmt: skip
STREAMING_POOL = "StreamingMaxPool"

# What FINN itself writes into a folding and reads from one; everything else would change the network.
# finn-plus 1.6.1, builder/build_dataflow_steps.py hw_attrs.
KEYS = (
    "PE", "SIMD", "parallel_window", "ram_style", "ram_style_thresholds", "resType", "mem_mode", "depth",
    "impl_style", "runtime_writeable_weights", "inFIFODepths", "outFIFODepths", "depth_trigger_uram",
    "depth_trigger_bram", "preferred_impl_style", "EmbFold", "SeqFold", "ram_style_mask", "mac_resource",
)  # fmt: skip
# Settings of older FINNs under another name; their values become lists of one.
RENAMED_KEYS = {"inFIFODepth": "inFIFODepths", "outFIFODepth": "outFIFODepths"}
# Settings that place a layer on another FPGA, or choose between back ends that FINN no longer has.
DROPPED_KEYS = (
    "slr",
    "partition_id",
    "device_id",
    "mem_port",
    "cpp_interface",
    "hls_style",
    "preferred_backend",
)
_RENAMED_VALUES: Mapping[tuple[str, Attribute], Attribute] = {
    ("mem_mode", "const"): "internal_embedded",
    ("mem_mode", "decoupled"): "internal_decoupled",
    ("resType", "ap_resource_lut()"): "lut",
    ("resType", "ap_resource_dsp()"): "dsp",
}

_NODE = re.compile(r"(?P<spelling>(?P<operation>.+?)(?:_hls|_rtl)?)_(?P<number>[0-9]{1,6})")


@dataclass(frozen=True)
class _Entry:
    """An entry of a folding file that means a layer: its name taken apart."""

    name: str
    kind: type[Layer]
    operation: str
    spelling: str
    number: int


def renamed_value(key: str, value: Attribute) -> Attribute:
    """What today's FINN calls *value* of the setting *key*."""
    return _RENAMED_VALUES.get((key, value), value) if isinstance(value, str) else value


def layers_meant(entries: Iterable[str], layers: Sequence[Layer], file: str) -> dict[str, str]:
    """The layer that each entry of a folding file means: entry -> name; those without a folding are left out.

    Args:
        entries: Names of nodes, in the order of the file.
        layers: Of the network, in the order of the stream.
        file: Name of the folding, for messages.

    Raises:
        UnknownName: the network has no such layer.
        UsageError: which layer an entry means cannot be told, or two entries mean the same.
    """
    folded = [name for name in entries if not name.startswith(UNFOLDED_NODES)]
    own = {layer.name for layer in layers}
    # A network that FINN did not name has names of its own, which mean no other layer.
    meant = {name: name for name in folded if name in own and not _NODE.fullmatch(name)}
    parsed = [_parsed(name, layers, file) for name in folded if name not in meant]
    for kind in dict.fromkeys(entry.kind for entry in parsed):
        alike = [entry for entry in parsed if entry.kind is kind]
        meant.update(_of_one_kind(alike, _counted(kind, parsed, layers), layers, file))
    taken: dict[str, str] = {}
    for entry, layer in meant.items():
        if layer in taken:
            raise UsageError(
                f"folding {file}: {taken[layer]} and {entry} both fold {layer}", fix="leave one of them out"
            )
        taken[layer] = entry
    return meant


def is_of_kind(layer: Layer, kind: str, layers: Sequence[Layer]) -> bool:
    """Whether *kind*, of a folding's Defaults, means *layer*; a style that no layer has means both."""
    if _made_as(layer) == kind:
        return True
    return kind_of(kind) is type(layer) and not any(_made_as(other) == kind for other in layers)


def _made_as(layer: Layer) -> str:
    return layer.name.rpartition("_")[0]  # MVAU_hls_0 is an MVAU_hls


def _parsed(name: str, layers: Sequence[Layer], file: str) -> _Entry:
    match = _NODE.fullmatch(name)
    kind = kind_of(match["operation"]) if match else None
    if match is None or kind is None:
        raise _unknown(name, layers, file)
    return _Entry(name, kind, match["operation"], match["spelling"], int(match["number"]))


def _unknown(name: str, layers: Sequence[Layer], file: str) -> Exception:
    return unknown_name(f"layer (folding {file})", name, (layer.name for layer in layers))


def _counted(kind: type[Layer], parsed: Sequence[_Entry], layers: Sequence[Layer]) -> list[Layer | None]:
    """What the FINN of the file counted as layers of *kind*, in the order of the stream; None: no layer today."""
    own: list[Layer | None] = [layer for layer in layers if type(layer) is kind]
    if kind is SlidingWindow and _built_streaming_pools(parsed, layers):
        return list(_convolutions(layers))
    if kind is Thresholding and sum(entry.kind is kind for entry in parsed) > len(own):
        # Each layer's thresholds were a layer of their own (standalone_thresholds).
        return [
            layer if isinstance(layer, Thresholding) else None
            for layer in layers
            if "thresholds" in layer.array_forms()
        ]
    return own


def _convolutions(layers: Sequence[Layer]) -> Iterator[Layer]:
    """The windows that do not feed a pool."""
    for layer, behind in zip_longest(layers, layers[1:]):
        if isinstance(layer, SlidingWindow) and not isinstance(behind, MaxPool):
            yield layer


def _built_streaming_pools(parsed: Sequence[_Entry], layers: Sequence[Layer]) -> bool:
    """Whether the FINN of the file counted the windows of convolutions only.

    It names a StreamingMaxPool; or no pool at all, and exactly as many windows as there are convolutions.
    """
    pools = [entry for entry in parsed if entry.kind is MaxPool]
    if pools or not any(isinstance(layer, MaxPool) for layer in layers):
        return any(entry.operation.startswith(STREAMING_POOL) for entry in pools)
    windows = {entry.number for entry in parsed if entry.kind is SlidingWindow}
    return windows == set(range(sum(1 for _ in _convolutions(layers))))


def _of_one_kind(
    entries: Sequence[_Entry], counted: Sequence[Layer | None], layers: Sequence[Layer], file: str
) -> Iterator[tuple[str, str]]:
    """Entry and layer, of entries of one kind."""
    own = {layer.name for layer in layers if type(layer) is entries[0].kind}
    names = [None if layer is None else layer.name for layer in counted]
    if set(names) == own and all(entry.name in own for entry in entries):
        yield from ((entry.name, entry.name) for entry in entries)
        return
    entries = [entry for entry in entries if not entry.operation.startswith(STREAMING_POOL)]
    if len({entry.spelling for entry in entries}) > 1:
        entries = _in_order(entries, names, file)
    for entry in entries:
        if entry.number >= len(names):
            raise _unknown(entry.name, layers, file)
        if (name := names[entry.number]) is not None:
            yield entry.name, name


def _in_order(entries: Sequence[_Entry], names: Sequence[str | None], file: str) -> list[_Entry]:
    """*entries* of several spellings, counted together as they stand in the file.

    Raises:
        UsageError: they do not stand in the order of the stream, or not all of them are there.
    """
    operations = {entry.operation for entry in entries}
    counts = [
        [entry.number for entry in entries if entry.spelling == spelling]
        for spelling in dict.fromkeys(entry.spelling for entry in entries)
    ]
    ordered = all(numbers == list(range(len(numbers))) for numbers in counts)
    generations = len(operations) > 1 and entries[0].kind is not SlidingWindow  # of one and two dimensions
    if generations or not ordered or len(entries) != len(names):
        raise UsageError(
            f"folding {file}: which layers {', '.join(entry.name for entry in entries)} are cannot be told: "
            f"the network has {', '.join(name or 'one in its MVAU' for name in names) or 'none of them'}",
            fix="name them as this network does",
        )
    return [replace(entry, number=number) for number, entry in enumerate(entries)]
