"""Layers whose weights are written at run time: FINN's runtime_writeable_weights in a folding.

FINN gives each of them a part of the design, and that part an AXI-lite port by which the processor
writes the weights. The parts are counted along the stream: the input DMA is 0, the first layer begins 1,
each writable layer begins another.

Source: finn-plus 1.6.1, transformation/fpgadataflow/floorplan.py (parts), make_driver.py (file names),
templates.py (assign_axi_addr_proc: address ranges).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labd_host.dataflow.layers import Array, Layer, Mvau
from labd_host.dataflow.weight_memory import WORD_BYTES, line_words, words_of
from labd_shared.errors import UsageError
from labd_shared.weight_files import LayerFile

ATTRIBUTE = "runtime_writeable_weights"
DECOUPLED = "internal_decoupled"  # the mem_mode that has a memory to write, and FINN's default
LEAST_RANGE_BYTES = 4096


@dataclass(frozen=True)
class WritableLayer:
    """One such layer.

    Attributes:
        file: Its weights in a bundle, and by their name the block that takes them.
        layer: The layer.
    """

    file: LayerFile
    layer: Mvau

    @property
    def range_bytes(self) -> int:
        """Addresses of its port: a power of two."""
        words = self.layer.weight_words * line_words(self.layer)
        return max(LEAST_RANGE_BYTES, WORD_BYTES << (words - 1).bit_length())

    def content(self, weights: Array) -> bytes:
        """The file for *weights* (mw, mh), as FINN writes it."""
        return "".join(f"{word:08x}\n" for word in words_of(self.layer, weights).tolist()).encode("ascii")


def writable_layers(
    layers: Sequence[Layer], folding: Mapping[str, Mapping[str, object]]
) -> list[WritableLayer]:
    """The writable layers of a chain, in the order of the stream; none for most designs.

    Raises:
        UsageError: the folding makes a layer writable that labd cannot write to.
    """
    found = []
    part = 0
    for place, layer in enumerate(layers):
        settings = folding.get(layer.name, {})
        writable = bool(settings.get(ATTRIBUTE))
        part += place == 0 or writable
        if not writable:
            continue
        mode = settings.get("mem_mode", DECOUPLED)
        if not isinstance(layer, Mvau) or mode != DECOUPLED:
            raise UsageError(
                f"the folding sets {ATTRIBUTE} of {layer.name}, "
                + (f"whose mem_mode is {mode}" if isinstance(layer, Mvau) else f"a {layer.op}"),
                fix=f"set it for an MVAU with mem_mode {DECOUPLED}, or leave it out",
            )
        found.append(WritableLayer(LayerFile(part, 0, layer.name), layer))
    return found
