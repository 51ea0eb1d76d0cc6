"""The preprocessing in words, exact enough for another program to give the same bits, and its versions.

Every model carries the text. A model keeps the way that it was trained with: ``Preparation`` is read from it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

FITS = ("crop", "pad", "stretch")
VERSION = 2
GREY = (127, 127, 127)  # around an image that is padded


class Preparation(NamedTuple):
    """How an image becomes the square that the network sees: ``fit`` and the version of the rules."""

    fit: str = "crop"
    version: int = VERSION


CURRENT = Preparation()

_FIT = {
    "crop": "the centred square: with w x h the size and s = min(w, h), the s columns from column (w - s) // 2 on and "
    "the s rows from row (h - s) // 2 on (// divides and rounds down); then it is resized to size x size",
    "pad": "the whole image on grey: with w x h the size and m = max(w, h), it is resized to W x H, where "
    "W = max(1, (2 * w * size + m) // (2 * m)) and H = max(1, (2 * h * size + m) // (2 * m)) (// divides and rounds "
    "down), and laid on a square of size x size pixels of the colour (127, 127, 127), its left column at "
    "(size - W) // 2 and its top row at (size - H) // 2",
    "stretch": "the whole image is resized to size x size, whatever its shape",
}
_TEXT = {
    "frame": "the first frame of an animation, the first page of a TIFF",
    "decode": "a JPEG whose short side is at least 2, 4 or 8 times size is decoded at 1/2, 1/4 or 1/8 scale, the "
    "smallest of these, by libjpeg (Pillow: image.draft(None, (size, size))); everything else at full size",
    "orientation": "turned and mirrored as the EXIF orientation says",
    "colour": "RGB as Pillow's convert('RGB') gives it: grey three times, palettes looked up, CMYK converted; colour "
    "profiles are not applied",
    "transparency": "over white: a channel c with the opacity a becomes (c * a + 255 * (255 - a)) / 255, rounded to "
    "the nearest whole number",
    "bits": "grey of more than 8 bits: with m the largest value of the image and b the first of 8, 10, 12, 14, 16 for "
    "which m < 2**b, every value v becomes v // 2**(b - 8); colour, or grey with opacity, of 16 bits: the high byte",
    "resize": "bilinear with antialiasing (Pillow's resize with BILINEAR), first every row to the new width, then "
    "every column to the new height, each pass rounded to 8 bits, and left out where nothing changes. From n to k "
    "pixels: "
    "s = n / k, r = max(s, 1); pixel j is at c = (j + 0.5) * s and takes the pixels i from max(0, floor(c - r + 0.5)) "
    "up to, not including, min(n, floor(c + r + 0.5)) with the weights max(0, 1 - abs(i - c + 0.5) / r), divided by "
    "their sum, times 2**22, rounded to the nearest whole number; it is (the sum of weight * value + 2**21) // 2**22, "
    "at most 255",
    "pixels": "uint8, height x width x RGB",
}
_FIRST: dict[str, Any] = {
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


def described(size: int, how: Preparation = CURRENT) -> dict[str, Any]:
    """Return the description that a model carries; ``size`` is the side of the square in pixels."""
    if how.version == 1:
        return {**_FIRST, "size": size}
    text = dict(_TEXT)
    resize, pixels = text.pop("resize"), text.pop("pixels")
    told = {**text, "square": _FIT[how.fit], "resize": resize, "pixels": pixels}
    return {"version": how.version, "size": size, "fit": how.fit, **told}


def preparation(described: Any) -> Preparation | None:
    """Return how a model wants its images prepared, by the description it carries; None for a way unknown here."""
    if not isinstance(described, dict):
        return None
    version, fit = described.get("version"), described.get("fit", "crop")
    if version not in (1, VERSION) or fit not in FITS or (version == 1 and fit != "crop"):
        return None
    return Preparation(fit, version)
