"""A device that is ready for batches: programmed, at its clock, with its weights and DMA buffers."""

from typing import Callable, List, NamedTuple, Sequence, Tuple

from labd_board.device import Buffer, Device
from labd_board.dma import DmaEngine
from labd_board.lanes import Lane, allocate_fitting_lane
from labd_board.weights import ExternalWeights, RuntimeWeights, load_external_weights, write_runtime_weights
from labd_shared.bundle import BundleFiles
from labd_shared.errors import ClockRefused
from labd_shared.manifest import BIT_NAME
from labd_shared.tensors import Tensor

CLOCK_TOLERANCE = 0.01  # over the built clock: dividers round, timing was met for the built clock only
CLOCK_AT_LEAST = 0.75  # of the built clock: the dividers reach more of any clock up to 250 MHz


class OpenedDevice(NamedTuple):
    """A programmed device, its DMAs and their buffers."""

    device: Device
    clock_mhz: float  # achieved
    batch_size: int  # frames that a lane holds
    sources: Tuple[DmaEngine, ...]  # one an input, in the manifest's order
    sinks: Tuple[DmaEngine, ...]  # one an output
    weights: Tuple[Tuple[DmaEngine, Buffer, int], ...]  # external ones, with their repeats a frame
    lanes: List[Lane]

    def free(self) -> None:
        """Give all buffers back."""
        for lane in self.lanes:
            lane.free()
        for _, buffer, _ in self.weights:
            buffer.free()


def program(device: Device, bundle: BundleFiles, weights: Sequence[RuntimeWeights]) -> float:
    """Program the bitfile, set the built clock, and write the weights that go over AXI-lite.

    Returns:
        The achieved clock, MHz.

    Raises:
        ClockRefused: it is above the one timing was met for, or far below it.
        WeightsNotWritten: weights are read back as something else.
    """
    built_mhz = bundle.manifest.clock_mhz
    device.program(str(bundle.path(BIT_NAME)))
    clock_mhz = device.set_clock_mhz(built_mhz)
    if clock_mhz > built_mhz * (1 + CLOCK_TOLERANCE):
        raise ClockRefused(
            "the clock became {:.2f} MHz, the bundle was built for {:.2f} MHz".format(clock_mhz, built_mhz),
            fix="build the bundle for a clock the dividers reach (1000 MHz over two factors up to 63)",
        )
    if clock_mhz < built_mhz * CLOCK_AT_LEAST:
        raise ClockRefused(
            "the clock stays at {:.2f} MHz, {:.2f} MHz was asked for".format(clock_mhz, built_mhz),
            fix="restart the board: something else holds its clock registers",
        )
    for layer in weights:
        write_runtime_weights(device, layer)
    return clock_mhz


def allocated(
    device: Device,
    bundle: BundleFiles,
    clock_mhz: float,
    weights: Sequence[ExternalWeights],
    frames: int,
    say: Callable[[str], None],
) -> OpenedDevice:
    """A programmed device with the buffers of its external weights and of one batch.

    Args:
        frames: Wanted for a batch; fewer where memory is short.
        say: Told why, when it became fewer.

    Raises:
        OutOfMemory: not even one frame fits.
    """
    inputs, outputs = bundle.manifest.inputs, bundle.manifest.outputs
    sources, sinks = _engines(device, inputs), _engines(device, outputs)
    held = tuple(
        (_engine(device, each.dma), load_external_weights(device, each), each.repeats) for each in weights
    )
    lane, batch_size = allocate_fitting_lane(device, inputs, outputs, frames, say)
    return OpenedDevice(device, clock_mhz, batch_size, sources, sinks, held, [lane])


def programmed_again(opened: OpenedDevice, bundle: BundleFiles, clock_mhz: float) -> OpenedDevice:
    """*opened* after its bitfile was programmed again, which stopped its DMAs; the buffers stay."""
    device = opened.device
    return opened._replace(
        clock_mhz=clock_mhz,
        sources=_engines(device, bundle.manifest.inputs),
        sinks=_engines(device, bundle.manifest.outputs),
        weights=tuple((_engine(device, dma.name), buffer, n) for dma, buffer, n in opened.weights),
    )


def _engines(device: Device, tensors: Sequence[Tensor]) -> Tuple[DmaEngine, ...]:
    return tuple(_engine(device, tensor.dma) for tensor in tensors)


def _engine(device: Device, name: str) -> DmaEngine:
    return DmaEngine(name, device.registers(name))
