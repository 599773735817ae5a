"""Pictures in a page, read by somebody else's decoder."""

import base64
import io

import numpy as np
import pytest

from labd_host.drawing.png import data_uri, png
from labd_shared.errors import ShapeError


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (1, 1, 3), (3, 7, 1)])
def test_pillow_reads_what_was_written(shape, rng):
    image_module = pytest.importorskip("PIL.Image")
    image = rng.randint(0, 256, shape).astype(np.uint8)
    seen = np.asarray(image_module.open(io.BytesIO(png(image))))
    assert np.array_equal(seen.reshape(shape), image)


def test_the_address_holds_the_file(rng):
    image = rng.randint(0, 256, (4, 4, 3)).astype(np.uint8)
    head, _, data = data_uri(image).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == png(image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(ShapeError, match="cannot be shown"):
        png(image)
