"""Golden samples: images drawn by labd, with the golden model's exact answers to them.

They are drawn, not photographed, so that a bundle holds no picture of any data set: pen strokes on
black, on a ground of running colours for a network that sees colours, waves in noise for one that sees no
pictures; spread over the values of the input's datatype. Of the many drawn, some are
kept for each class that the network named: a board that always answers the same is found out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from labd_host.golden.golden_model import GoldenModel
from labd_shared.answers import predicted_classes
from labd_shared.datasets import DATASETS
from labd_shared.datatypes import Datatype
from labd_shared.fields import container
from labd_shared.frame_form import PIXEL
from labd_shared.manifest import InputContract
from labd_shared.tensors import Shape, Tensor, count

PER_CLASS = 2
CANDIDATES = 4000
COLOUR_CANDIDATES = 1500  # they take longer to draw and to classify
SEED = 20  # of the strokes: the same network gives the same samples
STROKE_POINTS = 24
MOST_STROKES = 5  # on colours
HALF = 128  # of a pixel: above it a bit is set
LARGE_PIXELS = 64 * 64  # of pictures larger than that, fewer are drawn
PIXELS = npt.NDArray[np.uint8]
Frames = npt.NDArray[np.integer[Any]]


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


def draw_vector(rng: np.random.RandomState, values: int) -> npt.NDArray[np.float64]:
    """One frame of a network that sees no picture: noise around a wave, of a range of its own; from 0 to 1."""
    wave = np.sin(rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(0, 8 * np.pi), values))
    mixed = rng.uniform(0, 1) * wave + rng.uniform(0, 1) * rng.uniform(-1, 1, values)
    return np.clip(rng.uniform(0, 1) + mixed * rng.uniform(0, 1), 0, 1)


def golden_samples(model: GoldenModel, image_shape: Shape) -> tuple[Frames, Frames]:
    """Samples and the model's answers to them.

    Args:
        model: With one input, of any datatype.
        image_shape: Height, width, channels of what the network looks at, or its values.

    Returns:
        Frames ``(n,) + input.normal[1:]``, uint8 of pixels, and answers ``(n,) + output.normal[1:]``: an empty
        and a full frame, noise, and `PER_CLASS` drawn ones of each class that was reached.
    """
    rng = np.random.RandomState(SEED)
    source = model.inputs[0]
    normal, kind = source.normal[1:], source.datatype
    edge = [np.zeros(image_shape, np.uint8), np.full(image_shape, 255, np.uint8)]
    edge += [rng.randint(0, 256, image_shape).astype(np.uint8) for _ in range(2)]
    frames = _of_type(np.concatenate([np.array(edge), _candidates(rng, image_shape)]), kind)
    frames = frames.reshape((-1, *normal))
    classes = predicted_classes(model.run(frames[len(edge) :]).outputs[0])
    chosen = [index for each in np.unique(classes) for index in np.flatnonzero(classes == each)[:PER_CLASS]]
    images = frames[[*range(len(edge)), *(len(edge) + index for index in chosen)]]
    return images, model.run(images).outputs[0]


def _candidates(rng: np.random.RandomState, shape: Shape) -> PIXELS:
    """Many frames of *shape*: strokes, strokes on colours, or vectors; fewer of large ones."""
    if len(shape) == 1:
        return np.array([draw_vector(rng, shape[0]) * 255 for _ in range(CANDIDATES)]).astype(np.uint8)
    height, width, channels = shape
    share = min(1.0, LARGE_PIXELS / (height * width))
    if channels == 1:
        return np.array(
            [draw_strokes(rng, height, width, channels) for _ in range(int(CANDIDATES * share) or 1)]
        )
    drawn = range(int(COLOUR_CANDIDATES * share) or 1)
    return np.array([draw_colours(rng, height, width, channels) for _ in drawn])


def _of_type(pixels: PIXELS, kind: Datatype) -> Frames:
    """*pixels* of 0 to 255 spread over the values of *kind*."""
    if kind == PIXEL:
        return pixels
    if kind.name == "BIPOLAR":
        return np.where(pixels < HALF, -1, 1).astype(container(kind))
    spread = np.rint(pixels / 255 * (kind.high - kind.low))
    return (kind.low + spread).astype(container(kind))


def golden_arrays(
    samples: Frames,
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


def picture_shape(source: Tensor) -> Shape:
    """What to draw for an input whose data set is unknown: its own shape, of flat pixels a square where it fits."""
    if len(source.normal) == 4:
        return source.normal[1:]
    values = count(source.normal)
    side = round(values**0.5)
    return (side, side, 1) if side * side == values and source.datatype == PIXEL else (values,)


def draw_golden(model: GoldenModel, dataset: str, contract: InputContract) -> dict[str, npt.NDArray[Any]]:
    """The golden.npz of an imported design from its network; empty where values do not go in as they are.

    Args:
        model: The network.
        dataset: Gives the pictures their shape, where labd knows it and it fits.
        contract: Of the bundle.
    """
    source = model.inputs[0]
    pixels = source.datatype == PIXEL and contract.kind == "raw-uint8"
    if source.datatype.fraction_bits or not (pixels or contract.kind == "integers"):
        return no_golden_samples(source, model.outputs[0])
    shape = DATASETS[dataset].image_shape if dataset in DATASETS else contract.frame or picture_shape(source)
    if count(shape) != count(source.normal):
        shape = picture_shape(source)
    return golden_arrays(*golden_samples(model, shape))
