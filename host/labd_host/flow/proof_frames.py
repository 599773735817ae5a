"""The images that stages are compared on, in the forms that graphs take."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from labd_host.flow.stage_records import images_sha256
from labd_host.proof.plain_graph import Graph, Values
from labd_shared.errors import ShapeError

_IMAGE_AXES, _FLAT_AXES = 4, 2


@dataclass(frozen=True, eq=False)
class ProofFrames:
    """Real images, to compare stages on.

    Attributes:
        images: uint8 (N, height, width, channels), or what else the network takes for one.
    """

    images: npt.NDArray[np.uint8]

    @cached_property
    def sha256(self) -> str:
        """Digest of the images, their shape and type included."""
        return images_sha256(self.images)

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The bytes of each image in their order, uint8 (N, pixels)."""
        return self.images.reshape(len(self.images), -1)

    def entering(self, dataflow: Graph) -> Values:
        """The images as they enter the dataflow part: the bytes in their order."""
        shape = dataflow.shapes[dataflow.input]
        return self.images.reshape(-1, *shape[1:]).astype(np.float32)

    def of(self, graph: Graph) -> Values:
        """The images in the form *graph* takes: pixels where its input is declared UINT8, else pixels / 255.

        Raises:
            ShapeError: the images do not fit the network, or there are none.
        """
        shape = graph.shapes[graph.input]
        channels_first = self.images.transpose(0, 3, 1, 2) if self.images.ndim == 4 else self.images
        if len(shape) == _FLAT_AXES and self.images.ndim == _IMAGE_AXES:
            channels_first = self.pixels  # an image of one channel, laid out flat
            if self.images.shape[3] != 1 and self.pixels.shape[1:] == shape[1:]:
                raise ShapeError(
                    f"a flat input of {shape[1]} values takes all of a channel before the next, a board sends the "
                    f"{self.images.shape[3]} channels of a pixel together",
                    fix="export the network with an input of (1, channels, height, width)",
                )
        if not len(self.images) or self.images.dtype != np.uint8 or channels_first.shape[1:] != shape[1:]:
            raise ShapeError(
                f"the images are {self.images.dtype} {self.images.shape}, the network takes one of {shape}",
                fix="choose the data set the network was trained on; images are uint8 (N, height, width, channels)",
            )
        pixels = channels_first.astype(np.float32)
        return pixels if graph.datatypes[graph.input] == "UINT8" else pixels / np.float32(255)
