"""Data sets as a notebook takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from labd_shared.datasets import SPLITS, dataset_spec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PICTURES = 10  # of a data set in a notebook
PICTURE_PIXELS = 56  # side of each, on the page


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one split.

    Attributes:
        name: "train" or "test".
        images: uint8 (n, height, width, channels).
        labels: uint8 (n,), places in the data set's `class_names`.
    """

    name: str
    images: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.uint8] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width, channels = self.images.shape[1:]
        return f"<Split {self.name}: {len(self):,} images, {height} x {width} x {channels}>"


class Dataset:
    """A data set; a split is read (and downloaded, where it is not on this machine) when it is first asked for.

    Attributes:
        name: "mnist".
        class_names: By label.
        image_shape: Height, width, channels.
    """

    def __init__(self, name: str) -> None:
        spec = dataset_spec(name)
        self.name, self.class_names, self.image_shape = spec.name, spec.class_names, spec.image_shape

    @cached_property
    def train(self) -> Split:
        """The training split."""
        return self._split("train")

    @cached_property
    def test(self) -> Split:
        """The test split."""
        return self._split("test")

    def _split(self, name: str) -> Split:
        from labd_host import datasets

        return Split(name, *datasets.load(self.name, name))

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.image_shape))
        return f"<Dataset {self.name}: {len(self.class_names)} classes, images of {shape}, {' and '.join(SPLITS)}>"

    def _repr_html_(self) -> str:
        from labd_host.drawing.markup import element, fragment
        from labd_host.drawing.png import data_uri

        split = self.test
        root = element(None, "div")
        element(root, "div", repr(self).strip("<>"))
        for image, label in zip(split.images[:PICTURES], split.labels[:PICTURES], strict=True):
            figure = element(root, "figure", style="display:inline-block;margin:4px;text-align:center")
            element(
                figure,
                "img",
                src=data_uri(image),
                alt="",
                width=PICTURE_PIXELS,
                style="image-rendering:pixelated",
            )
            element(figure, "figcaption", self.class_names[label])
        return fragment(root)


def dataset(name: str) -> Dataset:
    """The data set called *name*: "mnist", "cifar10" or "cifar100".

    Raises:
        UnknownName: there is none; the fix offers the nearest name.
    """
    return Dataset(name)
