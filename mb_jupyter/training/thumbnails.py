"""The small copy of an image that near copies are looked for with: 32 x 32 grey levels and a little colour.

A border of one colour is cut off first, so that an image and its framed copy have the same thumbnail.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

SIDE = 32  # pixels of the grey levels
CELLS = 8  # cells per side that have a mean colour
PLAIN = 2.0  # standard deviation of the grey levels below which an image has nothing to compare
WIDEST_BORDER = 8  # lines of 64 that a border may have
SAME = 7  # levels that a pixel of a border may differ from the mean of its outermost line
CORNER = 8  # pixels at both ends of a line that belong to the borders beside it
NEUTRAL = 128  # Cb and Cr of grey
GREY = 4  # levels from NEUTRAL up to which a colour is none: JPEG does not keep them exactly

Array: TypeAlias = "np.ndarray[Any, Any]"


class Thumbnails(NamedTuple):
    """Thumbnails of N images: ``grey`` (N, 32, 32) uint8 and ``colour`` (N, 8, 8, 2) int16, Cb and Cr around 0."""

    grey: Array
    colour: Array


def thumbnail(small: Image.Image) -> str:
    """Return the thumbnail of an RGB image that was resized to 64 x 64; empty where nothing can be compared."""
    box = _without_border(np.asarray(small).astype(np.int16))
    grey = np.asarray(small.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX, box=box))
    if grey.std() < PLAIN:
        return ""
    colour = np.asarray(small.convert("YCbCr").resize((CELLS, CELLS), Image.Resampling.BOX, box=box))[:, :, 1:]
    return base64.b64encode(grey.tobytes() + colour.tobytes()).decode("ascii")


def unpacked(texts: Sequence[str]) -> Thumbnails:
    """Return what :func:`thumbnail` packed; none of the texts may be empty."""
    size = SIDE * SIDE + CELLS * CELLS * 2
    table = np.frombuffer(b"".join(map(base64.b64decode, texts)), np.uint8).reshape(len(texts), size)
    colour = table[:, SIDE * SIDE :].reshape(-1, CELLS, CELLS, 2).astype(np.int16) - NEUTRAL
    return Thumbnails(table[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE), colour)


def is_grey(colour: Array) -> Array:
    """Return for each image (N, 8, 8, 2) whether it has no colour: (N,) bool."""
    return np.asarray(np.abs(colour).max((1, 2, 3)) <= GREY)


def _without_border(pixels: Array) -> tuple[int, int, int, int]:
    """Return left, upper, right and lower end of what lies within the borders of (64, 64, 3) pixels."""
    left, right = _border(pixels.swapaxes(0, 1)), _border(pixels[:, ::-1].swapaxes(0, 1))
    upper, lower = _border(pixels), _border(pixels[::-1])
    return left, upper, pixels.shape[1] - right, pixels.shape[0] - lower


def _border(lines: Array) -> int:
    """Return how many of the first lines are of one colour, and the one that resizing has mixed with the image."""
    first = lines[: WIDEST_BORDER + 1, CORNER:-CORNER]
    other = np.abs(first - np.round(first[0].mean(0))).max((1, 2)) > SAME
    same = int(other.argmax()) if other.any() else WIDEST_BORDER
    return min(same + 1, WIDEST_BORDER + 1) if same else 0
