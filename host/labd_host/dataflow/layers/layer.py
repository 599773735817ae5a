"""The contract of a kind of layer: what labd wants to know of each, in one place.

A kind is one file beside this one: a frozen dataclass with the fields of its geometry and of its
folding, and the methods below. What reads FINN's graphs (`labd_host.flow.describe`) and the golden
model (`labd_host.golden`) each have a table from a kind to what they do with it; everything else
asks the layer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import product
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from labd_host.dataflow.axes import Attribute, Axis, NodeSettings, divisors
from labd_host.dataflow.programs import (
    HLS,
    HLS_RESTART_CYCLES,
    RTL_REGISTER_CYCLES,
    Pipelines,
    Program,
    is_hls,
)
from labd_host.dataflow.resources import CostUnit, Resources
from labd_shared.datatypes import Datatype, parse_datatype

Array = npt.NDArray[np.integer]
ProofPoint = tuple[str, npt.NDArray[Any]]
StoredForm = tuple[np.dtype[Any], tuple[int, ...]]
AnyLayer = TypeVar("AnyLayer", bound="Layer")

COMMON_SETTINGS = ("inFIFODepths", "outFIFODepths", "preferred_impl_style")
"""What every node of FINN can be set to; finn-plus 1.6.1, custom_op/fpgadataflow/hwcustomop.py."""


class Layer(ABC):
    """One layer of a dataflow network, folded.

    Every kind has the fields name (FINN's node name, "MVAU_hls_0": it says whether the layer is
    made with Vitis HLS), input and output (the datatypes of one value). Equal layers compare equal.

    Attributes:
        op: FINN's name of the operation today, without "_hls" or "_rtl"; network.npz has it.
        finn_names: All names FINN has given it, in every generation, without "_hls" or "_rtl".
        role: One of `labd_host.drawing.graph_colours.KINDS`: its colour.
        sentence: What it does, for the gallery.
        phrase: What a study calls it: "the sliding window".
        least: Field -> its least legal value where that is not 1.
        cycles_count_filling: `cycles` adds the time before the first result to that of all results,
            although the layer does both at once.
    """

    op: ClassVar[str]
    finn_names: ClassVar[tuple[str, ...]]
    role: ClassVar[str]
    sentence: ClassVar[str]
    phrase: ClassVar[str]
    least: ClassVar[Mapping[str, int]] = {}
    cycles_count_filling: ClassVar[bool] = False

    name: str
    input: str
    output: str

    # -- geometry

    @property
    @abstractmethod
    def in_values(self) -> int:
        """Values of one frame going in."""

    @property
    @abstractmethod
    def out_values(self) -> int:
        """Values of one frame coming out."""

    @property
    @abstractmethod
    def words(self) -> tuple[int, int]:
        """Values in one word of the stream that it reads, and of the one that it writes."""

    @property
    def entry_bits(self) -> int:
        """Width of the stream that it reads."""
        return self.words[0] * parse_datatype(self.input).bits

    @property
    def exit_bits(self) -> int:
        """Width of the stream that it writes."""
        return self.words[1] * parse_datatype(self.output).bits

    # -- folding

    @property
    @abstractmethod
    def axes(self) -> tuple[Axis, ...]:
        """What PE and SIMD must divide; the fields pe and simd hold their values."""

    def lanes(self, axis: Axis) -> int:
        """How it is folded along *axis*."""
        found: int = getattr(self, axis.key.lower())
        return found

    def folded(self, settings: NodeSettings) -> Self:
        """The same layer with the PE and SIMD of *settings*, as far as it has them; nothing is checked."""
        changes = {axis.key.lower(): settings[axis.key] for axis in self.axes if axis.key in settings}
        return replace(self, **changes)  # type: ignore[type-var]  # every kind is a dataclass

    @property
    def own_settings(self) -> tuple[str, ...]:
        """What FINN's node of this kind can be set to beside its axes and `COMMON_SETTINGS`."""
        return ()

    def takes(self, key: str) -> bool:
        """Whether a folding can set *key* of it."""
        return (
            key in COMMON_SETTINGS or key in self.own_settings or any(axis.key == key for axis in self.axes)
        )

    def settings(self) -> dict[str, Attribute]:
        """What a folding says of it as it is folded."""
        return {axis.key: self.lanes(axis) for axis in self.axes}

    def folding_faults(self) -> list[str]:
        """Why FINN could not build it, although its PE and SIMD divide their axes; a sentence each."""
        return []

    def led_by(self, before: Layer) -> Self | None:
        """The same layer with the lanes that *before*, in front of it, forces on it; None: it is free."""
        return None

    def foldings_behind(self, before: Layer) -> Iterator[Self]:
        """Every legal folding behind *before*, which leads it."""
        led = self.led_by(before)
        if led is not None and led.words[0] == before.words[1]:  # no other layer takes whole windows
            yield led

    def faults_behind(self, before: Layer) -> list[str]:
        """What is wrong with its folding behind *before*, a sentence each."""
        return []

    def foldings(self) -> Iterator[Self]:
        """Every legal folding, the narrowest first: what the optimiser chooses from."""
        for lanes in product(*(divisors(axis.extent) for axis in reversed(self.axes))):
            keys = (axis.key for axis in reversed(self.axes))
            layer = self.folded(dict(zip(keys, lanes, strict=True)))
            if not layer.folding_faults():
                yield layer

    def setting_choices(self) -> Iterator[dict[str, Attribute]]:
        """What the optimiser may set of it as it is folded: PE and SIMD, and kinds of memory and multipliers."""
        yield self.settings()

    def set_folding(self, cycles: int) -> Self:
        """What FINN's SetFolding makes of it: the narrowest folding of at most *cycles*, else the widest.

        Source: finn-plus 1.6.1, transformation/fpgadataflow/set_folding.py, optimize_attribute_val.
        """
        axis = self.axes[0]
        return first_within([self.folded({axis.key: lanes}) for lanes in divisors(axis.extent)], cycles)

    def caution(self) -> str:
        """What to know of it as it is folded before it is built; "" where there is nothing."""
        return ""

    # -- time

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Clock cycles it is busy with one frame: FINN's formula (get_exp_cycles)."""

    @property
    def restart_cycles(self) -> int:
        """Cycles between two frames in which it empties its pipeline, if it is an HLS unit; else 0."""
        return self.hls_latency(HLS) + HLS_RESTART_CYCLES - 1 if is_hls(self.name) else 0

    def hls_latency(self, pipelines: Pipelines) -> int:
        """Cycles from a step to the word that it writes, made with HLS."""
        return pipelines.mvau

    def rtl_latency(self) -> int:
        """The same of finn-rtllib's unit."""
        return RTL_REGISTER_CYCLES

    def latency(self, pipelines: Pipelines) -> int:
        """The same as its name says it is made."""
        return self.hls_latency(pipelines) if is_hls(self.name) else self.rtl_latency()

    @abstractmethod
    def make_program(self, pipelines: Pipelines) -> Program:
        """What it does from cycle to cycle in one frame."""

    def program(self, pipelines: Pipelines = HLS) -> Program:
        """Its step program, as `make_program` makes it; computed once for equal layers."""
        return _program(self, pipelines)

    @property
    def products(self) -> int:
        """Multiplications in a frame, each with an addition."""
        return 0

    @property
    def products_a_cycle(self) -> int:
        """The same in a cycle, as it is folded."""
        return 0

    # -- cost

    def finn_estimate(self, settings: NodeSettings) -> Resources:
        """FINN's own figures; flip-flops are not among them, and of many kinds nothing.

        Args:
            settings: What the folding sets beside PE and SIMD (ram_style, resType, mem_mode, ...).
        """
        return Resources()

    @abstractmethod
    def cost_unit(self, settings: NodeSettings) -> CostUnit:
        """What its LUTs and flip-flops grow with, and what is known exactly; *settings* as above."""

    # -- what network.npz holds

    def record(self) -> dict[str, Any]:
        """Its fields by name."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # every kind is a dataclass

    @property
    def datatypes(self) -> tuple[str, ...]:
        """The names of its datatypes."""
        return (self.input, self.output)

    def faults(self) -> Iterator[str]:
        """Where its fields contradict each other, a sentence each."""
        yield from ()

    def array_forms(self) -> dict[str, StoredForm]:
        """The arrays it keeps: key ("weights", "thresholds") -> stored type, stored shape."""
        return {}

    def store(self, key: str, array: Array) -> Array:
        """*array* in its stored form."""
        raise KeyError(key)

    def restore(self, key: str, stored: Array) -> Array:
        """The array of a stored form.

        Raises:
            ValueError: a value that the layer's datatype does not have.
        """
        return stored

    # -- proof

    def points(self, values: Array, sums: Array) -> Iterator[ProofPoint]:
        """What a frame's values mean in every stage of the flow: ("sums" or "levels" or "label", values).

        Args:
            values: What it gives, (N, values), int64.
            sums: The sums that its thresholds count; *values* where nothing follows them.
        """
        yield from ()

    def score_scale(self) -> tuple[float, float] | None:
        """Scale and offset from its "sums" to what it gives, where it adds up; None where it does not."""
        return None

    # -- words

    def work(self, cycles: int) -> str:
        """What it does in a cycle as it is folded, as the predicate of a sentence.

        Args:
            cycles: That it works on a frame.
        """
        lanes = self.lanes(self.axes[0])
        return f"passes {'one value' if lanes == 1 else f'{lanes} values'} a cycle"


class ChannelwiseLayer(Layer):
    """A layer that takes and gives PE channels in a cycle, each on its own."""

    channels: int
    pe: int

    @property
    def words(self) -> tuple[int, int]:
        """Values in a word in, in a word out."""
        return self.pe, self.pe

    @property
    def axes(self) -> tuple[Axis, ...]:
        """PE divides the channels."""
        return (Axis("PE", self.channels, "channels"),)

    def folding_faults(self) -> list[str]:
        """A stream that is too wide."""
        return stream_faults(self, self.axes[0], self.pe)


def first_within(layers: Sequence[AnyLayer], cycles: int) -> AnyLayer:
    """The first of *layers* that takes at most *cycles* cycles a frame, or the last."""
    return next((layer for layer in layers if layer.cycles <= cycles), layers[-1])


def stream_faults(layer: Layer, axis: Axis, lanes: int) -> list[str]:
    """The faults of an HLS unit's streams, where *lanes* values of *axis* go in and out at once."""
    faults = axis.too_wide(layer.name, "input", lanes, parse_datatype(layer.input).bits)
    return faults + axis.too_wide(layer.name, "output", lanes, parse_datatype(layer.output).bits)


@lru_cache(maxsize=256)
def _program(layer: Layer, pipelines: Pipelines) -> Program:
    return layer.make_program(pipelines)


def levels_of(values: npt.NDArray[Any], datatype: str, offset: float) -> npt.NDArray[Any]:
    """Values of a quantiser, counted from its lowest level."""
    return (values + 1) / 2 if datatype == "BIPOLAR" else values - offset


def weights_type(datatype: str) -> np.dtype[np.signedinteger]:
    """The smallest signed type that holds the weights of *datatype*."""
    high = parse_datatype(datatype).high
    return np.dtype(f"<i{next(size for size in (1, 2, 4, 8) if high < 1 << (8 * size - 1))}")


def check_weights(layer: str, stored: Array, kind: Datatype) -> None:
    """Refuse weights of *layer* that *kind* does not have.

    Raises:
        ValueError: naming both ranges.
    """
    if stored.min() < kind.low or stored.max() > kind.high or (kind.name == "BIPOLAR" and not stored.all()):
        raise ValueError(
            f"weights of {layer} reach from {stored.min()} to {stored.max()}, "
            f"{kind.name} holds {kind.describe_range()}"
        )


def accumulator_bits(terms: int, values: str, weights: str) -> int:
    """Bits that hold any sum of *terms* products of *values* and *weights* (datatypes), of FINN's 32 at most."""
    operands = parse_datatype(weights).bits + parse_datatype(values).bits
    most = math.log2(terms) + operands - 1 - (parse_datatype(values).low < 0)
    return min(32, math.ceil(most + math.log2(1 + 2.0**-most) + 1))


def store_thresholds(array: Array, rows: int, steps: int) -> Array:
    """Thresholds (1 or rows, steps), as network.npz has them: int64, a row each."""
    return np.ascontiguousarray(np.broadcast_to(array, (rows, steps)).astype("<i8"))


def thresholds_form(rows: int, steps: int) -> StoredForm:
    """Stored type and shape of thresholds."""
    return np.dtype("<i8"), (rows, steps)
