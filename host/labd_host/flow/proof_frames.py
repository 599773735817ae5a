"""The images that stages are compared on, in the forms that graphs take."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.datasets import PIXELS, Entering
from labd_host.flow.stage_records import images_sha256
from labd_host.proof.plain_graph import Graph, Values
from labd_shared.digest import json_sha256
from labd_shared.errors import ShapeError

_IMAGE_AXES, _FLAT_AXES = 4, 2
FLOAT = "FLOAT32"  # of an input whose values nobody has declared


@dataclass(frozen=True, eq=False)
class ProofFrames:
    """Real images, to compare stages on.

    Attributes:
        images: (N, height, width, channels), uint8 of pixels, or what else the network takes for one.
        fed: How their values become what the export is given.
    """

    images: npt.NDArray[Any]
    fed: Entering = PIXELS

    @cached_property
    def sha256(self) -> str:
        """Digest of the images, their shape and type included, and of how they enter, where that is not the usual."""
        found = images_sha256(self.images)
        return found if self.fed.is_pixels else json_sha256([found, asdict(self.fed)])

    @property
    def pixels(self) -> npt.NDArray[Any]:
        """The stored values of each image in their order, (N, values); of pixels their bytes."""
        return self.images.reshape(len(self.images), -1)

    def entering(self, dataflow: Graph) -> Values:
        """The images as they enter the dataflow part: the bytes in their order."""
        shape = dataflow.shapes[dataflow.input]
        return self.images.reshape(-1, *shape[1:]).astype(np.float32)

    def of(self, graph: Graph) -> Values:
        """The images in the form *graph* takes: their values where its input is declared so, else floats.

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
        if (
            not len(self.images)
            or self.images.dtype != self.fed.stored
            or channels_first.shape[1:] != shape[1:]
        ):
            raise ShapeError(
                f"the images are {self.images.dtype} {self.images.shape}, the network takes one of {shape}",
                fix="choose the data set the network was trained on; images are uint8 (N, height, width, channels)",
            )
        if graph.datatypes[graph.input] == FLOAT:
            return self.fed.floats(channels_first)
        return channels_first.astype(np.float32)
