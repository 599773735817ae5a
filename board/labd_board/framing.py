"""Images into the DMA buffers of a lane as the network takes them, and its answers out of them."""

from typing import Any, Tuple

import numpy as np

from labd_board.lanes import Lane
from labd_shared.manifest import Manifest
from labd_shared.packing import PackingPlan, pack_tensor, unpack_tensor
from labd_shared.tensors import count


class Framing(object):
    """Packs and unpacks the tensors of one network; its plans are made once.

    Args:
        manifest: Of the network's bundle.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._contract = manifest.input_contract
        self._sources, self._sinks = manifest.inputs, manifest.outputs
        self._pack_plans = [PackingPlan(each.datatype, each.folded[-1]) for each in self._sources]
        self._unpack_plans = [PackingPlan(each.datatype, each.folded[-1]) for each in self._sinks]
        self._staging = np.empty((0,) + self._sources[0].normal[1:], np.uint8)  # of a data set's own type

    @property
    def takes_raw_bytes(self) -> bool:
        """Whether a frame's packed bytes are its pixels, so that nothing has to be packed."""
        source = self._sources[0]
        return (
            self._contract.kind == "raw-uint8"
            and source.datatype.name == "UINT8"
            and source.frame_bytes == count(source.normal)
        )

    def fill(self, lane: Lane, source: Any, start: int, frames: int) -> None:
        """Read frames of *source* (it has ``dtype`` and ``read_into(start, out)``) into the input buffer, packed."""
        if self.takes_raw_bytes:
            source.read_into(start, lane.taken[0].array[:frames])
            return
        if len(self._staging) < frames or self._staging.dtype != source.dtype:
            self._staging = np.empty(self._sources[0].batched(self._sources[0].normal, frames), source.dtype)
        source.read_into(start, self._staging[:frames])
        self.pack(lane, 0, self._staging[:frames])

    def pack(self, lane: Lane, place: int, images: np.ndarray, raw: bool = False) -> None:
        """Images by the input contract (or as they are), straight into the DMA buffer of input *place*."""
        values = images
        if self._contract.kind == "scaled" and not raw:
            values = images * np.float32(self._contract.scale) + np.float32(self._contract.offset)
        pack_tensor(
            values, self._sources[place], lane.taken[place].array[: len(values)], self._pack_plans[place]
        )

    def unpack(self, lane: Lane, frames: int) -> Tuple[np.ndarray, ...]:
        """The answers to *frames* frames, an array an output."""
        return tuple(
            unpack_tensor(buffer.array[:frames], tensor, plan)
            for buffer, tensor, plan in zip(lane.given, self._sinks, self._unpack_plans)
        )

    def nothing(self) -> Tuple[np.ndarray, ...]:
        """The answers to no frames: for each output an empty array of its type."""
        return tuple(
            unpack_tensor(np.empty(tensor.batched(tensor.packed, 0), np.uint8), tensor)
            for tensor in self._sinks
        )
