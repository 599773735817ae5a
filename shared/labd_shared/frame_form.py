"""What a network takes as one frame, and arrays brought to it or refused with both shapes."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from labd_shared.dataset_table import DATASETS
from labd_shared.datatypes import Datatype, parse_datatype
from labd_shared.errors import DataDamaged
from labd_shared.fields import container
from labd_shared.manifest import Manifest
from labd_shared.tensors import Shape, Tensor, count

TRANSPOSE = "images = images.transpose(0, 2, 3, 1)"
GUESSED = ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32")  # for values that nobody declared
CHANNELS = (1, 3, 4)  # of arrays whose network is unknown


class FrameForm(NamedTuple):
    """One frame of a data set, as a network wants it.

    Attributes:
        who: The network's name, for messages.
        shape: Height, width, channels of a picture; ``(values,)`` of a vector.
        datatype: Of its values, "UINT8" for pixels; None where values of any integer datatype may come.
        class_names: By label; () where nobody has named them.
        classes: So many the network tells apart; 0 where nobody knows.
    """

    who: str
    shape: Shape
    datatype: Optional[Datatype]
    class_names: Tuple[str, ...] = ()
    classes: int = 0


PIXEL = parse_datatype("UINT8")


def frame_form(manifest: Manifest) -> FrameForm:
    """What the network of a bundle takes: pixels, or with an input contract of integers its input's own type."""
    source, contract = manifest.inputs[0], manifest.input_contract
    datatype = source.datatype if contract.kind == "integers" else PIXEL
    known = DATASETS.get(manifest.dataset)
    shape = tuple(source.normal[1:])
    if contract.frame:
        shape = contract.frame
    elif len(shape) == 1 and known is not None and count(known.image_shape) == count(shape):
        shape = known.image_shape
    return FrameForm(manifest.network, shape, datatype, manifest.class_names)


def tensor_form(who: str, source: Tensor, classes: int, frame: Shape = ()) -> FrameForm:
    """What an accelerator takes whose data set nobody knows: *frame*, or else its input's own shape."""
    shape = frame if frame and count(frame) == count(source.normal) else tuple(source.normal[1:])
    return FrameForm(who, shape, source.datatype, classes=classes)


def frames_of(images: np.ndarray, form: Optional[FrameForm], source: str) -> Tuple[np.ndarray, Datatype]:
    """*images* as the frames of a network, and the datatype of their values.

    Args:
        images: ``(n, height, width, channels)``, ``(n, height, width)`` for one channel, or ``(n, values)``.
        form: Wanted; None where no network is known: then they keep their shape, one channel gets its axis.
        source: Where they come from, for messages.

    Returns:
        ``(n,) + shape`` in the smallest integer type that holds the datatype.

    Raises:
        DataDamaged: another layout, values that do not fit, or no frames; the fix is the line that converts.
    """
    if images.dtype.kind not in "biuf" or images.ndim < 2 or not images.size:
        raise DataDamaged(
            "{}: images are {} {}, {} takes {}".format(
                source, images.dtype, images.shape, _who(form), _wanted(form)
            ),
            fix="save numbers: numpy.savez(FILE, images=..., labels=...), one image a row",
        )
    shaped = _shaped(images, form, source)
    return _as_integers(shaped, form, source)


def _shaped(images: np.ndarray, form: Optional[FrameForm], source: str) -> np.ndarray:
    frames, given = len(images), images.shape[1:]
    if form is None:
        return images.reshape((frames,) + _own_shape(images, source))
    shape = form.shape
    if len(shape) == 3:
        one = shape[2] == 1 and given in (shape[:2], (1,) + shape[:2])
        if given == shape or one or given == (count(shape),):
            return images.reshape((frames,) + shape)
        if given == (shape[2],) + shape[:2]:
            raise _layout(images, form, source, "channels first, where last is wanted", TRANSPOSE)
    elif given == shape:
        return images
    elif count(given) == count(shape) and _is_grey(given):
        return images.reshape((frames,) + _grey(given))
    flat = len(shape) == 1 and count(given) == count(shape)
    fix = "save images of (n, {})".format(", ".join(map(str, shape)))
    if flat:
        fix = "flatten them in the order of the training: images = images.reshape(len(images), -1)"
    raise _layout(images, form, source, "", fix)


def _layout(images: np.ndarray, form: FrameForm, source: str, how: str, fix: str) -> DataDamaged:
    return DataDamaged(
        "{}: images are {} {}{}, {} takes {}".format(
            source, images.dtype, images.shape, how and ", " + how, form.who, _wanted(form)
        ),
        fix=fix,
    )


def _own_shape(images: np.ndarray, source: str) -> Shape:
    """The shape of a frame whose network nobody knows: pictures with channels last, or values."""
    given = images.shape[1:]
    if len(given) == 1:
        return given
    if _is_grey(given):
        return _grey(given)
    if len(given) == 3 and given[2] in CHANNELS:
        return given
    channels_first = len(given) == 3 and given[0] in CHANNELS
    raise DataDamaged(
        "{}: images are {} {}{}, (n, height, width, channels), (n, height, width) or (n, values) is wanted".format(
            source, images.dtype, images.shape, ", channels first" if channels_first else ""
        ),
        fix=TRANSPOSE if channels_first else "save images with at most 4 channels, the channels last",
    )


def _is_grey(given: Shape) -> bool:
    return len(given) == 2 or (len(given) == 3 and 1 in (given[0], given[2]))


def _grey(given: Shape) -> Shape:
    return (given[1:] if len(given) == 3 and given[2] != 1 else given[:2]) + (1,)


def _as_integers(images: np.ndarray, form: Optional[FrameForm], source: str) -> Tuple[np.ndarray, Datatype]:
    low, high = images.min(), images.max()
    wanted = form.datatype if form is not None else None
    if images.dtype.kind == "f":
        _refuse_fractions(images, low, high, wanted, _who(form), source)
    low, high = int(low), int(high)
    datatype = wanted or _guessed(images.dtype, low, high)
    if low < datatype.low or high > datatype.high or (datatype.name == "BIPOLAR" and not images.all()):
        fix = "save values of {}".format(datatype.describe_range())
        if datatype == PIXEL and low >= 0 and 255 < high < 1 << 16:
            fix = "images = (images // 257).astype(numpy.uint8), where they are of 16 bits"
        elif datatype.name == "BIPOLAR" and low >= 0 and high == 1:
            fix = "images = 2 * images.astype(numpy.int8) - 1"
        raise DataDamaged(
            "{}: images go from {} to {}, {} takes {} ({})".format(
                source, low, high, _who(form), datatype.name, datatype.describe_range()
            ),
            fix=fix,
        )
    return images.astype(container(datatype), copy=False), datatype


def _refuse_fractions(
    images: np.ndarray, low: float, high: float, wanted: Optional[Datatype], who: str, source: str
) -> None:
    """Refuse floats that are not whole, and those from 0 to 1: pixel / 255, even where all are black or white."""
    pixels = wanted is None or wanted == PIXEL
    if pixels and low >= 0 and 0 < high <= 1:
        raise DataDamaged(
            "{}: images are {} from {:g} to {:g}, {} takes pixels of 0 to 255".format(
                source, images.dtype, low, high, who
            ),
            fix="images = (images * 255).round().astype(numpy.uint8)",
        )
    whole = np.isfinite(low) and np.isfinite(high) and abs(low) < 1 << 31 and abs(high) < 1 << 31
    if not whole or (images != np.floor(images)).any():
        raise DataDamaged(
            "{}: images are {} from {:g} to {:g} and not whole numbers, {} takes {}".format(
                source, images.dtype, low, high, who, wanted.name if wanted else "integers"
            ),
            fix="give the integers of the input's quantiser: (images / scale).round() within {}".format(
                wanted.describe_range() if wanted else "its range"
            ),
        )


def _guessed(kind: np.dtype, low: int, high: int) -> Datatype:
    """The datatype of integers that no network has declared: their own type's, or the smallest that holds them."""
    own = "{}{}".format("UINT" if kind.kind in "bu" else "INT", 8 * kind.itemsize)
    if own in GUESSED[:4]:
        return parse_datatype(own)
    fitting = [each for each in map(parse_datatype, GUESSED) if each.low <= low and high <= each.high]
    return fitting[0] if fitting else parse_datatype(GUESSED[-1])


def _who(form: Optional[FrameForm]) -> str:
    return form.who if form is not None else "labd"


def _wanted(form: Optional[FrameForm]) -> str:
    """The wanted frames, for messages: "uint8 (n, 28, 28, 1)"."""
    if form is None:
        return "(n, height, width, channels) or (n, values)"
    name = "integers" if form.datatype is None else "uint8" if form.datatype == PIXEL else form.datatype.name
    return "{} (n, {})".format(name, ", ".join(map(str, form.shape)))
