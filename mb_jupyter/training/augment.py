"""One random variant of a picture; which one follows from seed, epoch and index alone.

Crop and flip as in the references of torchvision, then at most one light operation, after "TrivialAugment"
(Müller and Hutter 2021, arXiv:2103.10158). Because no generator lives from one picture to the next, a resumed
run, another number of workers or of processes sees the same pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Pixels = np.ndarray[Any, Any]

ROOM = 8 / 7  # pictures are kept this much larger than the network's input: 256 for 224


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far variants may go from the picture.

    ``smallest`` is the least part of the area a crop keeps. ``any_way_up`` adds quarter turns and upside
    down, for pictures that have no top (from above, through a microscope).
    """

    size: int
    seed: int
    smallest: float = 0.5
    any_way_up: bool = False

    def __call__(self, pixels: Pixels, epoch: int, index: int) -> Pixels:
        """Return a variant, uint8 (size, size, 3), of a square picture, uint8 (side, side, 3)."""
        random = np.random.default_rng([self.seed, epoch, index])
        box = _crop(random, pixels.shape[0], self.smallest)
        image = Image.fromarray(pixels).resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        image = _operate(random, image)
        variant = np.asarray(image)
        if random.random() < 0.5:
            variant = variant[:, ::-1]
        if self.any_way_up:
            variant = np.rot90(variant, int(random.integers(4)))
        return np.ascontiguousarray(variant)


def _crop(random: np.random.Generator, side: int, smallest: float) -> tuple[float, float, float, float]:
    """Return a random part: its area evenly between ``smallest`` and all, its aspect from 3/4 to 4/3."""
    area = random.uniform(smallest, 1.0)
    aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = (min(1.0, (area * aspect) ** 0.5), min(1.0, (area / aspect) ** 0.5))
    left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return left * side, top * side, (left + width) * side, (top + height) * side


def _operate(random: np.random.Generator, image: Image.Image) -> Image.Image:
    """Apply one operation at random, at a random and light strength; often none."""
    name = _OPERATIONS[random.integers(len(_OPERATIONS))]
    strength = random.uniform(-1.0, 1.0)
    if name in _ENHANCERS:
        return _ENHANCERS[name](image).enhance(1 + 0.3 * strength)
    if name == "turn":
        return image.rotate(15 * strength, Image.Resampling.BILINEAR, fillcolor=_GREY)
    if name == "shear":
        shear = 0.15 * strength
        matrix = (1, shear, -shear * image.width / 2, 0, 1, 0)
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=_GREY)
    if name == "contrast by itself":
        return ImageOps.autocontrast(image)
    return image


_GREY = (127, 127, 127)
_ENHANCERS: dict[str, Any] = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "colour": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}
_OPERATIONS = ("none", *_ENHANCERS, "turn", "shear", "contrast by itself")
