"""One picture from a file: PNG, JPEG and the like through Pillow where there is one, or .npy."""

import io
import re
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from labd_shared.errors import ArtifactError, DataDamaged, ShapeError, ToolNotFound
from labd_shared.files import read_bounded
from labd_shared.frame_form import PIXEL, FrameForm, frames_of
from labd_shared.picture_files import ENDINGS, MAX_PICTURE_BYTES
from labd_shared.tensors import Shape

MAX_PIXELS = 100 << 20
SIXTEEN_BITS = 257  # 65535 of 16 bits is 255 of 8
ORIENTATION = 0x0112  # the EXIF tag that says which way is up
LIGHT = 127  # mean of pictures that are rather dark on light
GREY_MODES = ("1", "L")
STRETCHED = 1.02  # a picture whose proportions change by more was squeezed
ADDRESS = re.compile(r"\s*<[^<>]* at 0x[0-9A-Fa-f]+>")


class PictureNotes(object):
    """What reading has done to pictures, counted."""

    def __init__(self) -> None:
        self.read = 0
        self._total = 0.0
        self._done: Dict[str, int] = {}

    def count(self, what: str) -> None:
        """Note that *what* was done to a picture."""
        self._done[what] = self._done.get(what, 0) + 1

    def take(self, pixels: np.ndarray) -> None:
        """Count a picture that was read."""
        self.read += 1
        self._total += float(pixels.mean())

    def lines(self, form: FrameForm) -> List[str]:
        """What to tell the user of all of them."""
        told = ["{} of {} pictures: {}".format(n, self.read, what) for what, n in sorted(self._done.items())]
        mean = self._total / self.read if self.read else 0.0
        if form.datatype == PIXEL and form.shape[-1] == 1 and len(form.shape) == 3 and mean > LIGHT:
            told.append(
                "the pictures are light, {:.0f} of 255 on the mean; a network that learnt light on dark, as "
                "MNIST's digits are, wants them inverted (255 - pixel; classify has --invert)".format(mean)
            )
        return told


def picture_form(form: FrameForm) -> FrameForm:
    """*form*, where a picture can be brought to it.

    Raises:
        ShapeError: the network takes vectors and nobody knows of which picture, or values that are not pixels.
    """
    if len(form.shape) == 3 and form.datatype in (PIXEL, None):
        return form._replace(datatype=PIXEL)
    what = "{} values".format(form.shape[0])
    if len(form.shape) == 3 and form.datatype is not None:
        what = "values of {} ({})".format(form.datatype.name, form.datatype.describe_range())
    raise ShapeError(
        "{} takes {}, not pixels of a picture".format(form.who, what),
        fix="give it arrays: .npy files to classify, --dataset npz:FILE with images and labels to validate",
    )


def read_picture(path: Path, form: FrameForm, notes: PictureNotes, invert: bool = False) -> np.ndarray:
    """The picture in *path*, resized to what the network takes.

    Args:
        path: A file of one of `ENDINGS`; .npy holds integers, ``(height, width)``, with channels, or the values
            of a vector.
        form: Of the network.
        notes: Given what was done.
        invert: Dark for light, for digits drawn dark on light (MNIST's are light on dark).

    Returns:
        Integers of the form's shape, uint8 of pixels.

    Raises:
        ArtifactError, DataDamaged: no such file, too large, or no picture that fits.
        ShapeError: the network takes no pictures.
        ToolNotFound: it needs Pillow and there is none.
    """
    content = read_bounded(path, MAX_PICTURE_BYTES, "name a picture: " + ", ".join(ENDINGS))
    if path.suffix.lower() == ".npy":
        pixels = _from_npy(path, content, form, notes)
    else:
        pixels = _resized(_opened(path, content, notes), picture_form(form), path, notes)
    notes.take(pixels)
    if invert:
        picture_form(form)
        pixels = 255 - pixels
    return pixels


def _from_npy(path: Path, content: bytes, form: FrameForm, notes: PictureNotes) -> np.ndarray:
    pixels = _loaded(path, content)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype == np.uint8 and pixels.ndim > 1 and channels in (1, 3) and len(form.shape) == 3:
        other = pixels.shape[:2] != form.shape[:2] or channels != form.shape[2]
        first = pixels.shape == (form.shape[2],) + form.shape[:2]
        if other and not first:
            picture = _pillow(path).fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)
            return _resized(picture, picture_form(form), path, notes)
    frames, _ = frames_of(pixels[np.newaxis], form, str(path))
    return np.asarray(frames[0])


def _loaded(path: Path, content: bytes) -> np.ndarray:
    try:
        pixels = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(
            "{} cannot be read: {}".format(path, error), fix="save it with numpy.save"
        ) from error
    if not isinstance(pixels, np.ndarray) or pixels.ndim not in (1, 2, 3):
        raise ArtifactError(
            "{} is not a picture: (height, width) or (height, width, channels) is wanted".format(path),
            fix="save it with numpy.save, pixels 0 to 255 as uint8",
        )
    return pixels


def _pillow(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ToolNotFound(
            "{} needs Pillow to be read and resized, this Python has none".format(path.name),
            fix="on a board: sudo apt install python3-pil, elsewhere: pip install pillow; or save it as .npy in the "
            "network's size",
        ) from error
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    return Image


def _opened(path: Path, content: bytes, notes: PictureNotes) -> Any:
    """The picture upright, opaque, and of 8 bits."""
    pillow = _pillow(path)
    try:
        picture = pillow.open(io.BytesIO(content))
        if picture.size[0] * picture.size[1] > MAX_PIXELS:
            raise ValueError("{} x {} pixels are too many".format(*picture.size))
        picture.load()
        picture = _upright(pillow, picture, notes)
        picture = _of_8_bits(pillow, picture, path, notes)
        return _opaque(pillow, picture, notes)
    except ArtifactError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise whatever the file makes them raise
        reason = "it is empty" if not content else ADDRESS.sub("", str(error)) or type(error).__name__
        raise ArtifactError(
            "{} cannot be read as a picture: {}".format(path, reason),
            fix="copy the file again; where it is whole, convert it to PNG",
        ) from error


def _upright(pillow: Any, picture: Any, notes: PictureNotes) -> Any:
    """Turned as its EXIF says, as of the EXIF standard's table; Pillow 5 has no function for it."""
    read = getattr(picture, "getexif", None) or getattr(picture, "_getexif", None)
    try:
        found = (read() or {}) if read is not None else {}
    except Exception:  # noqa: BLE001 - damaged EXIF raises anything, and says nothing of which way is up
        found = {}
    turns = {
        2: pillow.FLIP_LEFT_RIGHT,
        3: pillow.ROTATE_180,
        4: pillow.FLIP_TOP_BOTTOM,
        5: pillow.TRANSPOSE,
        6: pillow.ROTATE_270,
        7: pillow.TRANSVERSE,
        8: pillow.ROTATE_90,
    }
    orientation = found.get(ORIENTATION)
    if orientation not in turns:
        return picture
    notes.count("turned as their EXIF says")
    return picture.transpose(turns[orientation])


def _of_8_bits(pillow: Any, picture: Any, path: Path, notes: PictureNotes) -> Any:
    if picture.mode == "F":
        raise ArtifactError(
            "{} holds floats, pixels of 0 to 255 are wanted".format(path),
            fix="save it as PNG of 8 bits, or as .npy",
        )
    if not picture.mode.startswith("I"):
        return picture
    pixels = np.asarray(picture).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ArtifactError(
            "{} has grey values of {} to {}, 16 bits are read at most".format(
                path, pixels.min(), pixels.max()
            ),
            fix="save it as PNG of 8 bits, or as .npy",
        )
    notes.count("grey of 16 bits, divided by {}".format(SIXTEEN_BITS))
    return pillow.fromarray(((pixels + SIXTEEN_BITS // 2) // SIXTEEN_BITS).astype(np.uint8))


def _opaque(pillow: Any, picture: Any, notes: PictureNotes) -> Any:
    """Composed on white where it is transparent anywhere."""
    if picture.mode not in ("LA", "PA", "RGBA", "La", "RGBa") and "transparency" not in picture.info:
        return picture
    rgba = picture.convert("RGBA")
    if rgba.getextrema()[3][0] == 255:
        return rgba.convert("RGB")
    notes.count("transparent, composed on white")
    white = pillow.new("RGBA", rgba.size, (255, 255, 255, 255))
    return pillow.alpha_composite(white, rgba).convert("RGB")


def _resized(picture: Any, form: FrameForm, path: Path, notes: PictureNotes) -> np.ndarray:
    height, width, channels = form.shape
    if channels not in (1, 3):
        raise ShapeError(
            "{} cannot become {} channels".format(path.name, channels), fix="save it as .npy in that size"
        )
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        stretch = picture.size[0] * height / float(picture.size[1] * width)
        if not 1 / STRETCHED < stretch < STRETCHED:
            notes.count("squeezed, their proportions are not {} x {}".format(width, height))
        picture = picture.resize((width, height), _pillow(path).BILINEAR)
    return np.asarray(picture, np.uint8).reshape(form.shape)


def picture_size(path: Path) -> Shape:
    """Height, width and channels of the picture in *path*, upright; errors as of `read_picture`."""
    content = read_bounded(path, MAX_PICTURE_BYTES, "name a picture: " + ", ".join(ENDINGS))
    if path.suffix.lower() == ".npy":
        return frames_of(_loaded(path, content)[np.newaxis], None, str(path))[0].shape[1:]
    picture = _opened(path, content, PictureNotes())
    return picture.size[1], picture.size[0], 1 if picture.mode in GREY_MODES else 3


def read_pictures(
    files: List[Path], form: FrameForm, notes: PictureNotes, max_bytes: int
) -> Tuple[np.ndarray, List[str]]:
    """All of *files*, ``(n,) + form.shape``, and what is wrong with those that cannot be read.

    Raises:
        DataDamaged: they take more than *max_bytes*.
        ShapeError, ToolNotFound: as of `read_picture`.
    """
    pixels = np.zeros((0,) + form.shape, np.uint8)
    broken: List[str] = []
    for place, path in enumerate(files):
        try:
            one = read_picture(path, form, notes)
        except DataDamaged:  # whole, but nothing for this network
            raise
        except ArtifactError as error:
            broken.append(error.what)
            continue
        if not place or pixels.dtype != one.dtype or not len(pixels):
            size = len(files) * one.nbytes
            if size > max_bytes:
                raise DataDamaged(
                    "{} pictures take {} bytes, more than {}".format(len(files), size, max_bytes),
                    fix="take fewer, or send them from the host: labd data --board NN --dataset dir:FOLDER",
                )
            pixels = np.zeros((len(files),) + form.shape, one.dtype)
        pixels[place] = one
    return pixels, broken
