"""Data sets as a notebook takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AXES = 3  # of a picture
PICTURES = 10  # of a data set in a notebook
PICTURE_PIXELS = 56  # side of each, on the page


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one split.

    Attributes:
        name: "train" or "test".
        images: (n, height, width, channels), uint8; of data of one's own integers (n, ...).
        labels: (n,), places in the data set's `class_names`; -1 where nobody knows.
    """

    name: str
    images: npt.NDArray[np.integer[Any]] = field(repr=False)
    labels: npt.NDArray[np.integer[Any]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split {self.name}: {len(self):,} images, {' x '.join(map(str, self.images.shape[1:]))}>"


class Dataset:
    """A data set; a split is read (and downloaded, where it is not on this machine) when it is first asked for.

    Attributes:
        name: "mnist"; of data of one's own the name that bundles and boards give it.
        typed: What stands for it on a command line, and wherever a data set is named.
        class_names: By label.
        image_shape: Height, width, channels; of vectors their values.
    """

    def __init__(self, typed: str) -> None:
        from labd_host import datasets

        spec = datasets.describe(typed)
        self.name, self.typed = spec.name, typed
        self.class_names, self.image_shape = spec.class_names, spec.image_shape

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

        return Split(name, *datasets.load(self.typed, name))

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.image_shape))
        return f"<Dataset {self.name}: {len(self.class_names)} classes, images of {shape}>"

    def _repr_html_(self) -> str:
        from labd_host.drawing.markup import element, fragment
        from labd_host.drawing.png import data_uri

        split = self.test
        pictures = len(self.image_shape) == AXES and split.images.dtype.name == "uint8"
        root = element(None, "div")
        element(root, "div", repr(self).strip("<>"))
        shown = PICTURES if pictures else 0
        for image, label in zip(split.images[:shown], split.labels[:shown], strict=True):
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
    """The data set that *name* names.

    Args:
        name: "mnist", "cifar10" or "cifar100"; or data of one's own: "npz:FILE" (arrays images and labels),
            "dir:FOLDER" (a sub-folder of pictures for each class) or "NAME.toml" (docs/own-data.md).

    Raises:
        UnknownName: there is none; the fix offers the nearest name.
        DataMissing, ArtifactError: as of `labd_host.datasets.read`.
    """
    return Dataset(name)
