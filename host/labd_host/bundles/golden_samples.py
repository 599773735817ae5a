"""Golden samples: images drawn by labd, with the golden model's exact answers to them.

They are drawn, not photographed, so that a bundle holds no picture of any data set: pen strokes on
black, or on a ground of running colours for a network that sees colours. Of the many drawn, some are
kept for each class that the network named: a board that always answers the same is found out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.golden.golden_model import GoldenModel
from labd_shared.answers import predicted_classes
from labd_shared.datasets import DATASETS
from labd_shared.manifest import InputContract
from labd_shared.tensors import Tensor, count

PER_CLASS = 2
CANDIDATES = 4000
COLOUR_CANDIDATES = 1500  # they take longer to draw and to classify
SEED = 20  # of the strokes: the same network gives the same samples
STROKE_POINTS = 24
MOST_STROKES = 5  # on colours
PIXELS = npt.NDArray[np.uint8]


def draw_strokes(rng: np.random.RandomState, height: int, width: int, channels: int) -> PIXELS:
    """One image of one to three curved pen strokes: uint8 (height, width, channels)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    canvas = np.zeros((height, width, channels), np.float32)
    for _ in range(rng.randint(1, 4)):
        # A quadratic Bezier curve through three random points, in pixels, a little off the edge.
        start, middle, end = rng.uniform(0.15, 0.85, (3, 2)) * (height, width)
        t = np.linspace(0, 1, STROKE_POINTS)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        distance = np.hypot(rows[..., None] - curve[:, 0], columns[..., None] - curve[:, 1]).min(axis=-1)
        ink = np.clip(rng.uniform(1.2, 2.4) - distance, 0, 1)[..., None] * rng.uniform(0.5, 1.0, channels)
        canvas = np.maximum(canvas, ink)
    return (canvas * 255).astype(np.uint8)


def draw_colours(rng: np.random.RandomState, height: int, width: int, channels: int) -> PIXELS:
    """One image of up to `MOST_STROKES` thick strokes on colours that run from corner to corner: uint8."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    down, across = rows[..., None] / height, columns[..., None] / width
    (a, b), (c, d) = rng.uniform(0, 1, (2, 2, channels))
    canvas = (a * (1 - across) + b * across) * (1 - down) + (c * (1 - across) + d * across) * down
    for _ in range(rng.randint(1, MOST_STROKES + 1)):
        start, middle, end = rng.uniform(0, 1, (3, 2)) * (height, width)
        t = np.linspace(0, 1, STROKE_POINTS)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        distance = np.hypot(rows[..., None] - curve[:, 0], columns[..., None] - curve[:, 1]).min(axis=-1)
        ink = np.clip(rng.uniform(1.2, 6) - distance, 0, 1)[..., None]
        canvas = canvas * (1 - ink) + ink * rng.uniform(0, 1, channels)
    image: PIXELS = (canvas * 255).astype(np.uint8)
    return image


def golden_samples(
    model: GoldenModel, image_shape: tuple[int, int, int]
) -> tuple[PIXELS, npt.NDArray[np.integer[Any]]]:
    """Samples and the model's answers to them.

    Args:
        model: With one uint8 input.
        image_shape: Height, width, channels of what the network looks at.

    Returns:
        Images uint8 ``(n,) + input.normal[1:]`` and answers ``(n,) + output.normal[1:]``: an empty
        and a full image, noise, and `PER_CLASS` strokes of each class that was reached.
    """
    rng = np.random.RandomState(SEED)
    normal = model.inputs[0].normal[1:]
    edge = [np.zeros(image_shape, np.uint8), np.full(image_shape, 255, np.uint8)]
    edge += [rng.randint(0, 256, image_shape).astype(np.uint8) for _ in range(2)]
    if image_shape[2] == 1:
        strokes = np.array([draw_strokes(rng, *image_shape) for _ in range(CANDIDATES)])
    else:
        strokes = np.array([draw_colours(rng, *image_shape) for _ in range(COLOUR_CANDIDATES)])
    classes = predicted_classes(model.run(strokes.reshape((-1, *normal))).outputs[0])
    chosen = [index for each in np.unique(classes) for index in np.flatnonzero(classes == each)[:PER_CLASS]]
    images = np.concatenate([np.array(edge), strokes[chosen]]).reshape((-1, *normal))
    return images, model.run(images).outputs[0]


def golden_arrays(
    samples: PIXELS,
    answers: npt.NDArray[np.integer[Any]],
    digests: npt.NDArray[np.uint64] | None = None,
    predictions: npt.NDArray[np.integer[Any]] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The content of golden.npz; without *digests* and *predictions* no test split is in it."""
    none = np.zeros(0, np.uint64)
    return {
        "images": samples,
        "outputs": answers,
        "digests": none if digests is None else digests,
        "predictions": (none if predictions is None else predictions).astype(np.uint16),
    }


def no_golden_samples(source: Tensor, sink: Tensor) -> dict[str, npt.NDArray[Any]]:
    """The golden.npz of a design whose network is unknown: nothing proves what it computes."""
    return golden_arrays(
        np.zeros((0, *source.normal[1:]), np.uint8), np.zeros((0, *sink.normal[1:]), np.uint8)
    )


def picture_shape(source: Tensor) -> tuple[int, int, int]:
    """Height, width and channels to draw for an input whose data set is unknown: a square where it fits."""
    if len(source.normal) == 4:
        return source.normal[1], source.normal[2], source.normal[3]
    values = count(source.normal)
    side = round(values**0.5)
    return (side, side, 1) if side * side == values else (1, values, 1)


def draw_golden(model: GoldenModel, dataset: str, contract: InputContract) -> dict[str, npt.NDArray[Any]]:
    """The golden.npz of an imported design from its network; empty where pixels do not go in as they are.

    Args:
        model: The network.
        dataset: Gives the pictures their shape, where labd knows it and it fits.
        contract: Of the bundle.
    """
    source = model.inputs[0]
    if source.datatype.name != "UINT8" or contract.kind != "raw-uint8":
        return no_golden_samples(source, model.outputs[0])
    shape = DATASETS[dataset].image_shape if dataset in DATASETS else picture_shape(source)
    if count(shape) != count(source.normal):
        shape = picture_shape(source)
    return golden_arrays(*golden_samples(model, shape))
