"""From a file to pixels: the one truth about decoding, orientation, resizing and cropping.

Training and prediction both come through here, so the same file always gives the same pixels.
Needs numpy and Pillow only, and changes no setting of Pillow's: several threads may read at once.
"""

from __future__ import annotations

import io
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from .errors import PictureError

Source: TypeAlias = "str | Path | bytes | BinaryIO | Image.Image | np.ndarray[Any, Any]"

MAX_PIXELS = 100_000_000
MAX_BYTES = 512 * 1024**2  # of one file; more cannot be an honest picture of MAX_PIXELS
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

# Written into every model, so that any other program can do the same; "size" is added there.
DESCRIPTION: dict[str, Any] = {
    "version": 1,
    "frame": "first",
    "orientation": "EXIF orientation applied",
    "colour": "RGB; transparency over white; CMYK and palettes converted; 16 bits to 8 by the high byte; "
    "colour profiles not applied",
    "decode": "JPEG at 1/2, 1/4 or 1/8 scale (libjpeg) as long as the short side stays at least size",
    "crop": "the largest centred square",
    "resize": "that square to size x size, bilinear with antialiasing (Pillow)",
    "pixels": "uint8, height x width x RGB",
}

CUT_SHORT = "it is cut short; the end of the file is missing"
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


class Opened(NamedTuple):
    """A decoded picture and what its file says: ``format`` as Pillow names it, full size as displayed."""

    image: Image.Image
    format: str
    width: int
    height: int


def load(source: Source, size: int) -> np.ndarray[Any, Any]:
    """Return the picture as uint8 of shape (size, size, 3), RGB; raises :class:`PictureError`."""
    return fit(open_picture(source, at_least=size), size)


def open_picture(source: Source, *, at_least: int | None = None) -> Image.Image:
    """Return the picture as an RGB image, turned as its camera meant, transparency over white.

    ``source`` is a path, the bytes of a file, an open binary file, a Pillow image or an array of uint8 or
    uint16 of shape (height, width[, 1 | 3 | 4]). With ``at_least`` a large JPEG may come back smaller, its
    short side never below that many pixels unless the picture itself is. Raises :class:`PictureError` with
    a plain reason.
    """
    if isinstance(source, np.ndarray):
        return _rgb(_from_array(source))
    if isinstance(source, Image.Image):
        with _reasons("", b""), _quiet():
            _check_pixels(*source.size)
            source.load()
            return _rgb(_turned(source, _orientation(source)))
    return open_bytes(_read(source), at_least=at_least).image


def fit(image: Image.Image, size: int) -> np.ndarray[Any, Any]:
    """Return the centred square of an RGB image, resized with antialiasing: uint8 (size, size, 3)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # one pass over the pixels that remain is cheaper than resizing all and cropping then
    square = image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    return np.asarray(square)


def open_bytes(data: bytes, *, at_least: int | None = None) -> Opened:
    """Decode the bytes of a file; see :func:`open_picture`."""
    if not data:
        raise PictureError("the file is empty")
    with _reasons("", data), _quiet():
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_pixels(*image.size)
    name = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG with more JPEGs behind it
    width, height = image.size
    if at_least is not None and name == "JPEG":
        image.draft(None, (at_least, at_least))
    with _reasons(name, data), _quiet():
        image.load()
        if name == "TIFF":  # which Pillow turns itself, while loading
            width, height = image.size
        # asking for EXIF data takes as long as decoding a small picture, so ask only where there may be some
        orientation = _orientation(image) if image.info.keys() & _MAY_TURN else 1
        if orientation >= 5:
            width, height = height, width
        return Opened(_rgb(_turned(image, orientation)), name, width, height)


def _read(source: str | Path | bytes | BinaryIO) -> bytes:
    """Return a file's bytes, read once."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | Path):
        data = read_bytes(Path(source))
    else:
        data = source.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise PictureError(f"the file is larger than {MAX_BYTES // 1024**2} MB", "huge")
    return data


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file, or say in a :class:`PictureError` why it cannot be read."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe would wait for ever
            raise PictureError("it is not a file")
        if facts.st_size > MAX_BYTES:
            raise PictureError(f"the file is larger than {MAX_BYTES // 1024**2} MB", "huge")
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError("there is no such file") from None
    except PermissionError:
        raise PictureError("the file may not be read (permission denied)") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"the file cannot be read ({error})") from None


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


def _rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, whatever its own."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        image = _sixteen_to_eight(image)
    if image.mode == "F":
        raise PictureError("its pixels are decimal numbers without a fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _sixteen_to_eight(image: Image.Image) -> Image.Image:
    """Return greyscale of 16 bits as greyscale of 8, by the high byte; Pillow's own conversion may clip."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 0xFFFF):
        raise PictureError("its pixels have 32 bits without a fixed range; save it with 8 or 16 bits")
    grey = (values >> 8).astype(np.uint8)
    if isinstance(key, int):
        grey = np.where(values == key, np.uint8(255), grey)
    return Image.fromarray(grey)


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    """Return the image of an array (height, width[, 1 | 3 | 4]) of uint8 or uint16."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise PictureError(
            f"an array of shape {array.shape} is not a picture; (height, width), or (height, width, 3 or 4) is"
        )
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        raise PictureError(f"an array of {array.dtype} has no fixed range; bring it to 0..255 and use .astype('uint8')")
    _check_pixels(array.shape[1], array.shape[0])
    return Image.fromarray(np.ascontiguousarray(array))


@contextmanager
def _reasons(name: str, data: bytes) -> Iterator[None]:
    """Translate whatever Pillow raises for a bad file into a :class:`PictureError` in plain words."""
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"it has more than {MAX_PIXELS // 10**6} million pixels", "huge") from None
    except UnidentifiedImageError:
        if _cut_short(data):
            raise PictureError(CUT_SHORT, "truncated") from None
        raise PictureError("it is not a JPEG, PNG, WebP, BMP, GIF or TIFF picture") from None
    except MemoryError:
        raise PictureError("there is not enough memory to open it", "huge") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        if "MAX_TEXT" in str(error):
            raise PictureError("its text unpacks to far more than a picture's text has", "huge") from None
        if "truncated" in str(error).lower() or _cut_short(data):
            raise PictureError(CUT_SHORT, "truncated") from None
        raise PictureError(f"its {name or 'picture'} data are damaged ({str(error)[:200]})") from None


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
    return length > len(data)


class _Quiet:
    """Counts the threads that are inside Pillow; while there is one, Pillow's warnings are ignored.

    ``warnings.catch_warnings`` swaps the whole list of filters and is not meant for several threads.
    """

    lock = threading.Lock()
    inside = 0
    entry: Any = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow's warnings (damaged metadata, many pixels) from the user: they become reasons or nothing."""
    with _Quiet.lock:
        if not _Quiet.inside or _Quiet.entry not in warnings.filters:
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _Quiet.entry = warnings.filters[0]
        _Quiet.inside += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.inside -= 1
            if not _Quiet.inside and _Quiet.entry in warnings.filters:
                warnings.filters.remove(_Quiet.entry)  # type: ignore[attr-defined]
