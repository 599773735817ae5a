"""The driver: arrays in, arrays out, through the DMAs of FINN's shell."""

import time
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from labd_board.batches import BatchRunner, Times, expected_s
from labd_board.device import Device
from labd_board.opened_device import OpenedDevice, allocated, program, programmed_again
from labd_board.session import find_bundle
from labd_board.weights import external_weights, runtime_weights
from labd_shared.answers import best_classes, class_name
from labd_shared.bundle import BundleFiles
from labd_shared.errors import ShapeError, UsageError, WrongTarget
from labd_shared.manifest import BIT_NAME, check_gives_classes
from labd_shared.tensors import Tensor, count

__all__ = ["DEFAULT_BATCH", "Accelerator", "Times"]

DEFAULT_BATCH = 1000


class Accelerator(object):
    """One bundle on one device.

    On a board, for the release that is deployed there::

        from labd_board import Accelerator

        with Accelerator() as accelerator:
            print(accelerator.classify(images))

    Constructing it touches no hardware; `open` (or ``with``) programs the bitfile, sets the clock and
    loads what weights are not in the bitfile.

    Args:
        bundle: A checked bundle, any number of inputs and outputs; the current release's when None.
        device: A closed or fresh device; the board's own when None.
        batch_size: Frames the DMA buffers hold; fewer where memory is short. Any number of frames can be
            run with any batch size.
        monotonic_s: The wall clock, for tests.
        say: Told what is done differently than asked, and why.
    """

    def __init__(
        self,
        bundle: Optional[BundleFiles] = None,
        device: Optional[Device] = None,
        batch_size: int = DEFAULT_BATCH,
        monotonic_s: Callable[[], float] = time.perf_counter,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(
                "a batch of {} frames cannot be run".format(batch_size), fix="--batchsize 1 or more"
            )
        bundle = find_bundle(None) if bundle is None else bundle
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.device = own_device() if device is None else device
        self.batch_size = self._wanted_batch = batch_size
        self.clock_mhz = 0.0  # achieved; 0 while closed
        self._say = say
        self._runner = BatchRunner(self.manifest, monotonic_s, say)
        self._runtime_weights = runtime_weights(bundle)
        self._external_weights = external_weights(bundle)

    def __enter__(self) -> "Accelerator":
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open(self) -> None:
        """Program the bitfile, set the built clock, load weights, allocate the DMA buffers.

        Raises:
            WrongTarget: an emu bundle on silicon.
            ClockRefused: the achieved clock is above the one timing was met for, or far below it.
            OutOfMemory: there is no contiguous memory for a single frame.
            WeightsNotWritten: weights are read back as something else.
            BoardError, ArtifactError: as the device raises them.
        """
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def recover(self) -> None:
        """Program the bitfile again after a run that did not end; the buffers stay.

        Raises:
            What `open` raises.
        """
        opened = self._runner.device()
        self._runner.abandon()
        self.clock_mhz = program(self.device, self.bundle, self._runtime_weights)
        self._take_over(programmed_again(opened, self.bundle, self.clock_mhz))

    def close(self) -> None:
        """Free the buffers and the device. Twice is harmless.

        What an interrupt leaves behind must not hurt the next run. No buffer is freed while a DMA may
        still write to it: what runs is waited for, and what does not end is programmed again.
        """
        opened = self._runner.opened
        if opened is not None:
            try:
                if not self._runner.finish():
                    self.device.program(str(self.bundle.path(BIT_NAME)))
            finally:
                self._runner.release()
                opened.free()
        self.device.close()

    def run(self, images: np.ndarray) -> np.ndarray:
        """The accelerator's answers to a batch of any size, of a network with one input and one output.

        Args:
            images: ``(n, ...)`` with as many values a frame as the network takes, channels last, raw
                as the input contract has it.

        Returns:
            Integers (multiples of its step for a FIXED output), ``(n,) + output.normal[1:]``, a copy.

        Raises:
            UsageError: the network has several inputs or outputs.
            ShapeError: frames of another size.
            DatatypeError: a value does not fit the network's input.
            DmaTimeout: a run did not end in time.
        """
        if len(self.manifest.outputs) != 1:
            raise UsageError(
                "{} has {} outputs, run gives one".format(self.manifest.network, len(self.manifest.outputs)),
                fix="call run_all, which takes and gives one array for each",
            )
        return self.run_all([images])[0]

    def classify(self, images: np.ndarray) -> List[str]:
        """The class of each image.

        Args:
            images: As of `run`: uint8 ``(n, height, width, channels)``, raw.

        Returns:
            Names of the bundle's classes, one an image.

        Raises:
            As `run`.
        """
        check_gives_classes(self.manifest)
        names = self.manifest.class_names
        return [class_name(names, int(best[0])) for best in best_classes(self.run(images), len(names), 1)]

    def run_all(self, inputs: Sequence[np.ndarray]) -> Tuple[np.ndarray, ...]:
        """The answers of a network with any number of inputs and outputs.

        Args:
            inputs: One array an input, in the manifest's order, each as in `run` and all of as many frames.

        Returns:
            One array an output, in the manifest's order.

        Raises:
            As `run`; ShapeError also when the inputs are not as many as the network's, or of different
            numbers of frames.
        """
        if len(inputs) != len(self.manifest.inputs) or len({len(images) for images in inputs}) != 1:
            raise ShapeError(
                "{} arrays of {} frames were given, {} takes {} of equally many frames".format(
                    len(inputs),
                    " and ".join(str(len(images)) for images in inputs),
                    self.manifest.network,
                    len(self.manifest.inputs),
                ),
                fix="one array for each of: " + ", ".join(tensor.name for tensor in self.manifest.inputs),
            )
        ready = [_in_normal_layout(images, tensor) for images, tensor in zip(inputs, self.manifest.inputs)]
        parts = [self._runner.nothing()]
        for start in range(0, len(ready[0]), self.batch_size):
            parts.append(self._runner.run([images[start : start + self.batch_size] for images in ready])[0])
        return tuple(np.concatenate(outputs) for outputs in zip(*parts))

    def run_once(self, inputs: Sequence[np.ndarray]) -> Times:
        """Run one batch of at most `batch_size` frames, an array an input in normal layout, and say where the
        time went."""
        return self._runner.run(inputs)[1]

    def stream(self, source: Any, frames: int, first: int = 0) -> Iterator[Tuple[int, np.ndarray, Times]]:
        """Run the frames *first* to *frames* of *source* batch by batch; the last batch may be short.

        Where it pays, a second set of buffers is packed while the first one is being computed.

        Args:
            source: Has ``dtype`` and ``read_into(start, out)`` (`labd_shared.datasets.PackedDataset`). Raw bytes
                go straight into the DMA buffer where the network takes them as they are.
            frames: Where to end.
            first: Where to begin.

        Yields:
            Index of the batch's first frame, answers ``(n,) + output.normal[1:]``, times.

        Raises:
            UsageError: the network has several inputs or outputs.
        """
        return self._runner.stream(source, frames, first)

    @property
    def overlaps(self) -> bool:
        """Whether the next batch is packed while one runs."""
        opened = self._runner.opened
        return opened is not None and len(opened.lanes) > 1

    @property
    def takes_raw_bytes(self) -> bool:
        """Whether a frame's packed bytes are its pixels, so that nothing has to be packed."""
        return self._runner.takes_raw_bytes

    def expected_s(self, frames: int) -> float:
        """What the cycle model expects a run of *frames* to take at the achieved clock, s."""
        return expected_s(self.manifest, self.clock_mhz, frames)

    def _prepare(self) -> None:
        self.device.open()
        if self.manifest.target == "emu" and self.device.target == "hw":
            raise WrongTarget(
                "the bundle of {} was built for emulation (target emu), this is a real board".format(
                    self.manifest.network
                ),
                fix="deploy it to a virtual board: labd board up 03, then fab deploy --board 03",
            )
        self.clock_mhz = program(self.device, self.bundle, self._runtime_weights)
        opened = allocated(
            self.device, self.bundle, self.clock_mhz, self._external_weights, self._wanted_batch, self._say
        )
        self.batch_size = opened.batch_size
        self._take_over(opened)

    def _take_over(self, opened: OpenedDevice) -> None:
        self._runner.take_over(opened)
        if self._runtime_weights:
            self._runner.flush_weights()


def own_device() -> Device:
    """The board's own device; pynq is loaded when it is opened."""
    from labd_board.pynq_device import PynqDevice

    return PynqDevice()


def _in_normal_layout(images: np.ndarray, tensor: Tensor) -> np.ndarray:
    """*images* in the tensor's normal shape where they hold as many values a frame.

    Raises:
        ShapeError: they are images with channels first, where last is wanted.
    """
    shape = tensor.normal[1:]
    if len(shape) == 3 and shape[2] > 1 and images.shape[1:] == (shape[2],) + shape[:2] != shape:
        raise ShapeError(
            "the images are {}, channels first; {!r} takes (n, {}, {}, {})".format(
                images.shape, tensor.name, *shape
            ),
            fix="images = images.transpose(0, 2, 3, 1)",
        )
    if images.ndim > 1 and count(images.shape[1:]) == count(tensor.normal):
        return images.reshape(tensor.batched(tensor.normal, len(images)))
    return images
