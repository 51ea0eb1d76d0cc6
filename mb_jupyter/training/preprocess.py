"""From a file to pixels: the one truth about decoding, orientation, colours, cropping and resizing.

Training and prediction both come through here, so the same file always gives the same pixels. Needs numpy and Pillow
only, and what a notebook has set of Pillow changes nothing (``guard.py``): several threads may read at once.

=============  ==============================================================
formats.py     which files are images
inputs.py      what may be given as one
guard.py       Pillow's globals, warnings and errors
described.py   this preprocessing in words, as every model carries it
=============  ==============================================================
"""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import formats
from .described import CURRENT, GREY, Preparation
from .errors import PictureError
from .guard import CUT_SHORT, MAX_PIXELS, guarded, reasons
from .inputs import content_of, read_bytes

__all__ = ["CUT_SHORT", "MAX_PIXELS", "Opened", "Preparation", "Source", "check_header", "load", "open_bytes",
           "open_picture", "pixels_of", "read_bytes", "squared"]  # fmt: skip

Source: TypeAlias = "str | Path | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray[Any, Any] | Any"

DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras and scanners

_EXIF_ORIENTATION = 0x0112
_MAY_TURN = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_images = threading.Lock()  # a Pillow image that is handed in twice must not be decoded twice at once


class Opened(NamedTuple):
    """A decoded image and what its file says: ``format`` as the table names it, full size as displayed.

    ``bits`` is how many bits its values need where the file stores more than 8 for each, else 0.
    """

    image: Image.Image
    format: str
    width: int
    height: int
    bits: int = 0

    @property
    def spread(self) -> int:
        """By how much the pixels of one channel differ at the most: 0 where all are equal."""
        pairs: Any = self.image.getextrema()
        return int(max(high - low for low, high in pairs))


def load(source: Source, size: int, how: Preparation = CURRENT) -> np.ndarray[Any, Any]:
    """Return the image as uint8 of shape (size, size, 3), RGB; raises :class:`PictureError`."""
    return squared(open_picture(source, at_least=size, how=how), size, how)


def open_picture(source: Source, *, at_least: int | None = None, how: Preparation = CURRENT) -> Image.Image:
    """Return the image in RGB, turned as its camera meant, transparency over white.

    ``source`` is what ``inputs.py`` takes. With ``at_least`` a large JPEG may come back smaller, its short side
    never below that many pixels unless the image itself is. Raises :class:`PictureError` with a plain reason.
    """
    content = content_of(source)
    if isinstance(content, bytes):
        return open_bytes(content, at_least=at_least, how=how).image
    if isinstance(content, np.ndarray):
        return _from_array(content, how)
    with _images, reasons("", is_cut_short=False), guarded():
        _check_pixels(*content.size)
        content.load()
        return _rgb(_turned(content, _orientation(content)), how)[0]


def squared(image: Image.Image, size: int, how: Preparation = CURRENT) -> np.ndarray[Any, Any]:
    """Return an RGB image as the square that the network sees, uint8 (size, size, 3); ``described.py`` says how."""
    with guarded():  # even cropping asks how many pixels are allowed
        return _squared(image, size, how)


def _squared(image: Image.Image, size: int, how: Preparation) -> np.ndarray[Any, Any]:
    width, height = image.size
    if how.fit == "stretch":
        return np.asarray(_resized(image, size, size))
    if how.fit == "pad":
        long = max(width, height)
        inner = [max(1, (2 * side * size + long) // (2 * long)) for side in (width, height)]
        whole = Image.new("RGB", (size, size), GREY)
        whole.paste(_resized(image, *inner), ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.asarray(whole)
    side = min(width, height)
    if how.version == 1:  # half pixels at the edge, and a coarse average of large images first
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0))
    x, y = (width - side) // 2, (height - side) // 2
    square = image if width == height else image.crop((x, y, x + side, y + side))
    return np.asarray(_resized(square, size, size))


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return an image resized, rows first: left to itself, Pillow begins with either, by its version."""
    rows = image.resize((width, image.height), Image.Resampling.BILINEAR)
    return rows.resize((width, height), Image.Resampling.BILINEAR)


def open_bytes(data: bytes, *, at_least: int | None = None, how: Preparation = CURRENT) -> Opened:
    """Decode the bytes of a file; see :func:`open_picture`."""
    cut_short = _CutShort(data)
    with guarded():
        with reasons("", cut_short):
            image, name = _opened(data)
        _check_pixels(*image.size)
        width, height = image.size
        if at_least is not None and name == "JPEG":
            image.draft(None, (at_least, at_least))
        with reasons(name, cut_short):
            image.load()
            if name == "TIFF":  # which Pillow turns itself, while loading
                width, height = image.size
            # asking for EXIF data takes as long as decoding a small image, so ask only where there may be some
            orientation = _orientation(image) if image.info.keys() & _MAY_TURN else 1
            if orientation >= 5:
                width, height = height, width
            upright, bits = _rgb(_turned(image, orientation), how)
            return Opened(upright, name, width, height, bits)


def check_header(data: bytes) -> None:
    """Raise a :class:`PictureError` for a file that cannot be read here, by its header; decodes nothing."""
    with guarded(), reasons("", _CutShort(data)):
        _check_pixels(*_opened(data)[0].size)


def pixels_of(data: bytes) -> int | None:
    """Return how many pixels the header of a file tells of, before any is decoded; None where it cannot be read."""
    try:
        with guarded(), reasons("", is_cut_short=False):
            image, _ = _opened(data)
            return image.width * image.height
    except PictureError as error:
        return MAX_PIXELS + 1 if error.kind == "huge" else None


def _opened(data: bytes) -> tuple[Image.Image, str]:
    """Return the image of a file's bytes, of which only the header has been read, and its format."""
    if not data:
        raise PictureError("the file is empty")
    name = formats.format_of(data[: formats.FIRST_BYTES])
    if name not in formats.readable() and name:
        raise PictureError(f"it is a {name} image, and the reader is missing: {formats.MISSING[name]}", "unsupported")
    decoder = formats.heif() if name == "HEIC" else None
    if decoder is not None:
        return decoder(io.BytesIO(data)), name
    if not name:
        raise UnidentifiedImageError
    # a DIB is a BMP without the first of its two headers
    decoders = ("BMP", "DIB") if name == "BMP" else (formats.DECODERS[name],)
    return Image.open(io.BytesIO(data), formats=decoders), name


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"it has {width:,} x {height:,} pixels, more than the {MAX_PIXELS // 10**6} million allowed", "huge"
        )
    if not width or not height:
        raise PictureError("it has no pixels")


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image turned as its EXIF orientation says."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data says nothing about the pixels; Pillow fails on it in many ways
        return 1
    return value if value in _TURNS else 1


def _rgb(image: Image.Image, how: Preparation) -> tuple[Image.Image, int]:
    """Return the image in mode RGB, whatever its own, and how many bits its values need."""
    bits = 0
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, bits
    if image.mode.startswith("I"):
        image, bits = _grey_of_many_bits(image, how)
    if image.mode == "F":
        raise PictureError("its pixels are decimal numbers without a fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white, bits
    return image.convert("RGB"), bits


def _grey_of_many_bits(image: Image.Image, how: Preparation) -> tuple[Image.Image, int]:
    """Return greyscale of more than 8 bits as greyscale of 8; Pillow's own conversion may clip."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 0xFFFF):
        raise PictureError("its pixels have 32 bits without a fixed range; save it with 8 or 16 bits")
    grey, bits = _to_eight(values, how)
    if isinstance(key, int):
        grey = np.where(values == key, np.uint8(255), grey)
    return Image.fromarray(grey), bits


def _to_eight(values: np.ndarray[Any, Any], how: Preparation) -> tuple[np.ndarray[Any, Any], int]:
    """Return values of up to 16 bits as uint8, scaled by what they hold, and how many bits that is."""
    most = 0xFFFF if how.version == 1 else int(values.max(initial=0))
    bits = next(depth for depth in DEPTHS if most < 2**depth)
    return (values >> (bits - 8)).astype(np.uint8), bits


def _from_array(array: np.ndarray[Any, Any], how: Preparation) -> Image.Image:
    """Return the image of an array (height, width[, 3 | 4]) of uint8, uint16 or bool."""
    if not array.size:
        raise PictureError("it has no pixels")
    _check_pixels(array.shape[1], array.shape[0])
    if array.dtype == np.uint16:
        array = _to_eight(array, how)[0]
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    return _rgb(Image.fromarray(np.ascontiguousarray(array)), how)[0]


class _CutShort:
    """Whether the end of a file is missing, found out only when somebody asks."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return _cut_short(self._data)


def _cut_short(data: bytes) -> bool:
    """Tell whether the end of the file is missing, by what its own format says."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-4096:]
    if data.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in data[-4096:]
    if data.startswith(b"GIF8"):
        return not data.rstrip(b"\0").endswith(b";")
    # the others say how long they are, or where something lies
    length = 0
    if data.startswith(b"RIFF"):
        length = int.from_bytes(data[4:8], "little") + 8
    elif data.startswith(b"BM"):
        length = int.from_bytes(data[2:6], "little")
    elif data.startswith((b"II*\0", b"MM\0*")):
        order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
        directory = int.from_bytes(data[4:8], order)
        length = directory + 6 + 12 * int.from_bytes(data[directory : directory + 2], order)
    elif data[4:8] == b"ftyp":
        length = _boxes(data)
    return length > len(data)


def _boxes(data: bytes) -> int:
    """Return where the last box of an ISO base media file ends, by the lengths that the boxes tell; 0 for nonsense."""
    at = 0
    while at + 8 <= len(data):
        if not data[at + 4 : at + 8].isalnum():
            return 0
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0: up to the end of the file
            return at
        at += length
    return at
