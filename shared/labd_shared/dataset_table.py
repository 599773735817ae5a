"""The data sets labd knows: their shapes, their class names and their official files."""

from typing import Dict, NamedTuple, Tuple

import numpy as np

from labd_shared.cifar_classes import CIFAR10, CIFAR100, CIFAR100_COARSE, CIFAR100_COARSE_OF
from labd_shared.errors import DataDamaged, unknown_name
from labd_shared.tensors import Shape

SPLITS = ("train", "test")
UNKNOWN_LABEL = -1  # of an image whose class nobody knows
PIXEL_SCALE = 1 / 255  # networks are trained on pixels from 0 to 1


class OfficialForm(NamedTuple):
    """One way in which a data set is handed out.

    Attributes:
        kind: "idx", "binary" or "python".
        files: By split: the files with its images and labels.
        names: The files with the class names.
        archive: The .tar.gz that holds all of them; "" where each is handed out by itself.
        folder: Theirs inside the archive.
    """

    kind: str
    files: Dict[str, Tuple[str, ...]]
    names: Tuple[str, ...] = ()
    archive: str = ""
    folder: str = ""

    def handed_out(self, split: str) -> Tuple[str, ...]:
        """The names of what one downloads to have *split*."""
        return (self.archive,) if self.archive else self.files[split]


class DatasetSpec(NamedTuple):
    """What a data set is.

    Attributes:
        name: "mnist".
        image_shape: Height, width, channels; ``(values,)`` of vectors.
        class_names: By label.
        forms: The official forms, the preferred one first; none of a user's own data set.
        coarse_names: By coarse label; empty where there are none.
        coarse_of: By label: the coarse label of the class.
        datatype: Of the values of a frame, "UINT8" for pixels.
        scale, offset: What a network's first operation is given: ``value * scale + offset``.
    """

    name: str
    image_shape: Shape
    class_names: Tuple[str, ...]
    forms: Tuple[OfficialForm, ...]
    coarse_names: Tuple[str, ...] = ()
    coarse_of: Tuple[int, ...] = ()
    datatype: str = "UINT8"
    scale: float = PIXEL_SCALE
    offset: float = 0.0

    def coarse_labels(self, labels: np.ndarray) -> np.ndarray:
        """The coarse labels, uint8 as *labels* in shape; those must be labels of the data set."""
        return np.asarray(np.array(self.coarse_of, np.uint8)[labels])  # np.take refuses int64 on 32 bits


_IDX = OfficialForm(
    "idx",
    {
        "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    },
)
_CIFAR10_BINARY = OfficialForm(
    "binary",
    {
        "train": tuple("data_batch_{}.bin".format(batch) for batch in range(1, 6)),
        "test": ("test_batch.bin",),
    },
    ("batches.meta.txt",),
    "cifar-10-binary.tar.gz",
    "cifar-10-batches-bin",
)
_CIFAR10_PYTHON = OfficialForm(
    "python",
    {"train": tuple("data_batch_{}".format(batch) for batch in range(1, 6)), "test": ("test_batch",)},
    ("batches.meta",),
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
)
_CIFAR100_BINARY = OfficialForm(
    "binary",
    {"train": ("train.bin",), "test": ("test.bin",)},
    ("fine_label_names.txt", "coarse_label_names.txt"),
    "cifar-100-binary.tar.gz",
    "cifar-100-binary",
)
_CIFAR100_PYTHON = OfficialForm(
    "python",
    {"train": ("train",), "test": ("test",)},
    ("meta",),
    "cifar-100-python.tar.gz",
    "cifar-100-python",
)

DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec("mnist", (28, 28, 1), tuple(str(digit) for digit in range(10)), (_IDX,)),
        # The binary form first: the other one is made of pickles.
        DatasetSpec("cifar10", (32, 32, 3), CIFAR10, (_CIFAR10_BINARY, _CIFAR10_PYTHON)),
        DatasetSpec(
            "cifar100",
            (32, 32, 3),
            CIFAR100,
            (_CIFAR100_BINARY, _CIFAR100_PYTHON),
            CIFAR100_COARSE,
            CIFAR100_COARSE_OF,
        ),
    )
}


def dataset_spec(name: str) -> DatasetSpec:
    """The data set called *name*.

    Raises:
        UnknownName: there is none.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    return DATASETS[name]


def check_labels(spec: DatasetSpec, labels: np.ndarray, source: str) -> None:
    """See to it that *labels*, read from *source*, are classes of the data set.

    Raises:
        DataDamaged: one is not.
    """
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < (UNKNOWN_LABEL if not spec.forms else 0) or high >= max(len(spec.class_names), 1):
        raise DataDamaged(
            "{} holds label {}, {} has {} classes".format(
                source, low if low < UNKNOWN_LABEL else high, spec.name, len(spec.class_names)
            ),
            fix="fetch the file again",
        )
