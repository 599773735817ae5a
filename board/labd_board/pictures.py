"""One picture from a file: PNG, JPEG and the like through Pillow where the image has it, or .npy."""

import io
from pathlib import Path
from typing import Any, Tuple

import numpy as np

from labd_shared.dataset_table import DATASETS
from labd_shared.errors import ArtifactError, ShapeError, ToolNotFound
from labd_shared.files import read_bounded
from labd_shared.manifest import Manifest
from labd_shared.picture_files import ENDINGS, MAX_PICTURE_BYTES
from labd_shared.tensors import count

MAX_PIXELS = 100 << 20

ImageShape = Tuple[int, int, int]


def image_shape(manifest: Manifest) -> ImageShape:
    """Height, width and channels of the images that the bundle's network takes.

    Raises:
        ShapeError: the bundle does not say (a flat input, of an unknown data set).
    """
    normal = manifest.inputs[0].normal
    if len(normal) == 4:
        return normal[1], normal[2], normal[3]
    known = DATASETS.get(manifest.dataset)
    if known is not None and count(known.image_shape) == count(normal):
        return known.image_shape
    raise ShapeError(
        "{} takes {} values, the bundle does not say of which picture (data set {})".format(
            manifest.network, count(normal), manifest.dataset
        ),
        fix="give it arrays of that size: --dataset npz:FILE with images and labels",
    )


def read_picture(path: Path, shape: ImageShape, invert: bool = False) -> np.ndarray:
    """The picture in *path*, resized to *shape*.

    Args:
        path: A file of one of `ENDINGS`; .npy holds uint8, ``(height, width)`` or with channels.
        shape: Height, width, channels (1: grey, 3: colours).
        invert: Dark for light, for digits drawn dark on light (MNIST's are light on dark).

    Returns:
        uint8 of *shape*.

    Raises:
        ArtifactError: no such file, too large, or no picture.
        ToolNotFound: it needs Pillow and there is none.
    """
    content = read_bounded(path, MAX_PICTURE_BYTES, "name a picture: " + ", ".join(ENDINGS))
    if path.suffix.lower() == ".npy":
        pixels = _from_npy(path, content)
        if pixels.shape != shape:
            pixels = _resized(_pillow(path).fromarray(pixels.squeeze()), shape, path)
    else:
        pixels = _resized(_opened(path, content), shape, path)
    return 255 - pixels if invert else pixels


def _from_npy(path: Path, content: bytes) -> np.ndarray:
    try:
        pixels = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(
            "{} cannot be read: {}".format(path, error), fix="save it with numpy.save"
        ) from error
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ArtifactError(
            "{} is no picture: uint8 of (height, width) or (height, width, channels)".format(path),
            fix="save it with numpy.save, pixels 0 to 255",
        )
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def _pillow(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ToolNotFound(
            "{} needs Pillow to be read and resized, this Python has none".format(path.name),
            fix="on the board: sudo apt install python3-pil; or save it as .npy in the network's size",
        ) from error
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    return Image


def _opened(path: Path, content: bytes) -> Any:
    pillow = _pillow(path)
    try:
        picture = pillow.open(io.BytesIO(content))
        if picture.size[0] * picture.size[1] > MAX_PIXELS:
            raise ValueError("{} x {} pixels are too many".format(*picture.size))
        picture.load()
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise whatever the file makes them raise
        raise ArtifactError(
            "{} is no picture that can be read: {}".format(path, error), fix="convert it to PNG"
        ) from error
    return picture


def _resized(picture: Any, shape: ImageShape, path: Path) -> np.ndarray:
    height, width, channels = shape
    if channels not in (1, 3):
        raise ShapeError(
            "{} cannot become {} channels".format(path.name, channels), fix="save it as .npy in that size"
        )
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), _pillow(path).BILINEAR)
    return np.asarray(picture, np.uint8).reshape(shape)
