"""What may be given as an image: one function for the package and for exported projects.

A path, the bytes of a file, an open binary file, a Pillow image, an array, a tensor; anything else is refused with
what was given and what is taken. Nothing is fetched from the internet here. Needs numpy for arrays only, and never
imports torch: a tensor is known by what it can do.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from pathlib import Path
from typing import Any

from .errors import PictureError

MAX_BYTES = 512 * 1024**2  # of one file; more cannot be an honest image of 100 million pixels
CHANNELS = (1, 3, 4)
TAKEN = "a path, the bytes of a file, an open binary file, a Pillow image, an array or a tensor"

_reading = threading.Lock()  # an open file that is handed in twice must not be read twice at once


def kind_of(source: Any) -> str:
    """Return what one image was given as: path, bytes, file, image, array, tensor; empty for anything else."""
    if isinstance(source, str | os.PathLike):
        return "path"
    if isinstance(source, bytes | bytearray | memoryview):
        return "bytes"
    if hasattr(source, "getbands"):  # a Pillow image, without importing Pillow
        return "image"
    if is_array(source):
        return "tensor" if hasattr(source, "detach") else "array"
    return "file" if callable(getattr(source, "read", None)) and not hasattr(source, "columns") else ""


def is_array(source: Any) -> bool:
    """Tell whether something is an array or a tensor, of any shape; a table is none."""
    return hasattr(source, "ndim") and hasattr(source, "dtype") and not hasattr(source, "columns")


def is_image_shape(source: Any) -> bool:
    """Tell whether an array or a tensor has the shape of one image."""
    shape = tuple(source.shape)
    if len(shape) == 3:
        return shape[2] in CHANNELS or (hasattr(source, "detach") and shape[0] in CHANNELS)
    return len(shape) == 2


def refusal(source: Any) -> str:
    """Return why something cannot be one image, judged by its kind alone; empty when it may be one."""
    kind = kind_of(source)
    if kind == "path":
        if not os.fspath(source).strip():
            return "an empty text was given, which names no file"
        if "://" in str(os.fspath(source)):
            return "it is an address, and nothing is fetched from the internet; download it and pass its path"
    elif kind == "file":
        if isinstance(source, io.TextIOBase):
            return "the file is opened as text; open it with open(path, 'rb')"
    elif kind in ("array", "tensor"):
        if not is_image_shape(source):
            return _wrong_shape(source, kind)
    elif not kind:
        what = "None" if source is None else f"a value of type {type(source).__name__}"
        return f"{what} was given, which is no image; pass {TAKEN}"
    return ""


def content_of(source: Any) -> Any:
    """Return what one image is in: bytes, a Pillow image, or an array (height, width[, channels]).

    The array is uint8, uint16 or bool. A file is read from its beginning where it can go back. Raises
    :class:`PictureError`.
    """
    reason = refusal(source)
    if reason:
        raise PictureError(reason)
    kind = kind_of(source)
    if kind == "path":
        return read_bytes(Path(source))
    if kind == "bytes":
        return _limited(bytes(source))
    if kind == "file":
        return _limited(_read(source))
    if kind == "image":
        return source
    return _from_tensor(source) if kind == "tensor" else _plain(source)


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


def _limited(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise PictureError(f"the file is larger than {MAX_BYTES // 1024**2} MB", "huge")
    return data


def _read(file: Any) -> bytes:
    """Return the bytes of an open file, from its beginning; of a stream that cannot go back, the rest."""
    try:
        with _reading:
            if callable(getattr(file, "seekable", None)) and file.seekable():
                file.seek(0)
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # closed, or opened for writing only
        raise PictureError(f"the open file cannot be read ({error})") from None
    if isinstance(data, str):
        raise PictureError("the file is opened as text; open it with open(path, 'rb')")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise PictureError(f"its read() gives a value of type {type(data).__name__}, not bytes")
    return bytes(data)


# -- arrays ----------------------------------------------------------------------------------------------


def _wrong_shape(source: Any, kind: str) -> str:
    shape = tuple(source.shape)
    if kind == "tensor":
        return f"a tensor of shape {shape} is not an image; (1 | 3 | 4, height, width) or (height, width) is"
    hint = ""
    if len(shape) == 3 and shape[0] in CHANNELS:
        hint = "; use .transpose(1, 2, 0)"
    return f"an array of shape {shape} is not an image; (height, width), or (height, width, 3 or 4) is{hint}"


def _from_tensor(tensor: Any) -> Any:
    """Return a tensor (channels, height, width), as torch has it, or (height, width[, channels]) as an array.

    Decimal numbers are those of torchvision's ``ToTensor``, from 0 to 1.
    """
    import numpy as np

    try:
        plain = tensor.detach().cpu()
        decimal = bool(plain.is_floating_point())
        array = np.asarray((plain.double() if decimal else plain).numpy())
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:  # sparse, quantised, or another library's
        raise PictureError(f"the tensor cannot be read as an array ({error})") from None
    if array.ndim == 3 and array.shape[0] in CHANNELS:
        array = array.transpose(1, 2, 0)
    if decimal:
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if not (low >= 0 and high <= 1):  # a NaN is neither
            raise PictureError(
                f"a tensor of {tensor.dtype} goes from {low:.3g} to {high:.3g}, not from 0 to 1; "
                "pass the image as it was before it was normalised, or uint8"
            )
        array = np.rint(array * 255).astype(np.uint8)
    return _checked(array, f"a tensor of {tensor.dtype}", ".to(torch.uint8)")


def _plain(source: Any) -> Any:
    import numpy as np

    array = np.asarray(source)
    if not is_image_shape(array):
        raise PictureError(_wrong_shape(array, "array"))
    return _checked(array, f"an array of {array.dtype}", ".astype('uint8')")


def _checked(array: Any, what: str, how: str) -> Any:
    import numpy as np

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return array.astype(np.uint16)  # in this machine's order of bytes
    if array.dtype not in (np.uint8, np.bool_):
        raise PictureError(f"{what} has no fixed range; bring it to 0..255 and use {how}")
    return array
