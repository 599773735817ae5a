"""The DMA buffers of a batch: one for every input and output, and how large a batch fits."""

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from labd_board.device import Buffer, Device
from labd_shared.errors import OutOfMemory
from labd_shared.tensors import Tensor

PAGE_BYTES = 4096  # contiguous memory is given out in whole pages


class Lane(NamedTuple):
    """The buffers that one batch needs; with two lanes one is packed while the other runs."""

    taken: Tuple[Buffer, ...]  # one an input, in the manifest's order
    given: Tuple[Buffer, ...]  # one an output

    def free(self) -> None:
        """Give all of them back. Twice is harmless."""
        for buffer in self.taken + self.given:
            buffer.free()


def lane_bytes(sources: Sequence[Tensor], sinks: Sequence[Tensor], frames: int) -> int:
    """Contiguous memory that a lane of *frames* frames takes."""
    return sum(_pages(tensor.frame_bytes * frames) for tensor in list(sources) + list(sinks))


def allocate_lane(device: Device, sources: Sequence[Tensor], sinks: Sequence[Tensor], frames: int) -> Lane:
    """The buffers for *frames* frames, or none of them.

    Raises:
        OutOfMemory: they do not fit.
    """
    made: List[Buffer] = []
    try:
        for tensor in list(sources) + list(sinks):
            made.append(device.allocate(tensor.batched(tensor.packed, frames)))
    except BaseException:
        for buffer in made:
            buffer.free()
        raise
    return Lane(tuple(made[: len(sources)]), tuple(made[len(sources) :]))


def allocate_fitting_lane(
    device: Device,
    sources: Sequence[Tensor],
    sinks: Sequence[Tensor],
    frames: int,
    say: Callable[[str], None],
) -> Tuple[Lane, int]:
    """The buffers for *frames* frames, or for as many as there is contiguous memory for.

    Args:
        device: Programmed.
        sources, sinks: The accelerator's inputs and outputs.
        frames: Wanted.
        say: Told why, when it became fewer.

    Returns:
        The lane and its frames.

    Raises:
        OutOfMemory: not even one frame fits.
    """
    free_bytes = device.contiguous_free_bytes()
    fitting = frames
    if free_bytes is not None:
        fitting = _largest_fitting(sources, sinks, frames, free_bytes)
    lane = None
    while lane is None:
        try:
            lane = allocate_lane(device, sources, sinks, fitting)
        except OutOfMemory:
            if fitting == 1:
                raise
            fitting = max(fitting // 2, 1)  # what is free lies in pieces
    if fitting != frames:
        say(
            "batches of {} frames instead of {}: buffers for {} take {:.1f} MB, {} contiguous memory is free".format(
                fitting, frames, frames, lane_bytes(sources, sinks, frames) / 1e6, _megabytes(free_bytes)
            )
        )
    return lane, fitting


def _largest_fitting(sources: Sequence[Tensor], sinks: Sequence[Tensor], frames: int, free_bytes: int) -> int:
    """The most frames, at least one and at most *frames*, whose lane is no larger than *free_bytes*."""
    low, high = 1, frames
    while low < high:
        middle = (low + high + 1) // 2
        if lane_bytes(sources, sinks, middle) <= free_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _megabytes(size_bytes: Optional[int]) -> str:
    return "not that much" if size_bytes is None else "{:.1f} MB of".format(size_bytes / 1e6)


def _pages(size_bytes: int) -> int:
    return (size_bytes + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES
