"""Pillow as we want it, whatever the notebook has set: its limits, its patience with cut files, its warnings."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import GifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from .errors import PictureError
from .formats import NAMES

MAX_PIXELS = 100_000_000

#: what decides how a file is decoded, and can be set by anybody in the same process: module, name, our value
GLOBALS: tuple[tuple[Any, str, Any], ...] = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
    (Image, "MAX_IMAGE_PIXELS", MAX_PIXELS),
    (PngImagePlugin, "MAX_TEXT_CHUNK", 1024**2),
    (PngImagePlugin, "MAX_TEXT_MEMORY", 64 * 1024**2),
    (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_AFTER_FIRST),
    (TiffImagePlugin, "READ_LIBTIFF", False),
)


class _Inside:
    """Counts the threads that are inside Pillow; the first one in sets the globals, the last one out restores them.

    ``warnings.catch_warnings`` swaps the whole list of filters and is not meant for several threads.
    """

    lock = threading.Lock()
    count = 0
    entry: Any = None
    before: tuple[Any, ...] = ()


@contextmanager
def guarded() -> Iterator[None]:
    """Decode with our own values of Pillow's globals and without its warnings; several threads may be inside."""
    with _Inside.lock:
        if not _Inside.count:
            _Inside.before = tuple(getattr(module, name) for module, name, _ in GLOBALS)
            for module, name, value in GLOBALS:
                setattr(module, name, value)
        if not _Inside.count or _Inside.entry not in warnings.filters:
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _Inside.entry = warnings.filters[0]
        _Inside.count += 1
    try:
        yield
    finally:
        with _Inside.lock:
            _Inside.count -= 1
            if not _Inside.count:
                for (module, name, _), value in zip(GLOBALS, _Inside.before, strict=True):
                    setattr(module, name, value)
                if _Inside.entry in warnings.filters:
                    warnings.filters.remove(_Inside.entry)  # type: ignore[attr-defined]


@contextmanager
def reasons(name: str, is_cut_short: object) -> Iterator[None]:
    """Translate whatever Pillow raises for a bad file into a :class:`PictureError` in plain words."""
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"it has more than {MAX_PIXELS // 10**6} million pixels", "huge") from None
    except UnidentifiedImageError:
        if is_cut_short:
            raise PictureError(CUT_SHORT, "truncated") from None
        raise PictureError(f"it is not a {NAMES} image") from None
    except MemoryError:
        raise PictureError("there is not enough memory to open it", "huge") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        if "MAX_TEXT" in str(error):
            raise PictureError("its text unpacks to far more than an image's text has", "huge") from None
        if "truncated" in str(error).lower() or is_cut_short:
            raise PictureError(CUT_SHORT, "truncated") from None
        raise PictureError(f"its {name or 'image'} data are damaged ({str(error)[:200]})") from None


CUT_SHORT = "it is cut short; the end of the file is missing"
