"""Sets of series: every object photographed several times, as no hash can tell and every user knows.

An object is a random texture; its shots differ in exposure, crop and angle (25 degrees from one to the next), more
than near copies do.
Objects of one class share a tint, so that a network can learn the classes, and learns the objects much better.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from tests.picture_files import encoded, photo, put

SHOTS = 6
EXPOSURES = (0.55, 0.75, 0.9, 1.1, 1.35, 1.6)
SIZE = (96, 72)


class Shot(NamedTuple):
    """One image of a series: its path below the root, its class, its object and the place where it was taken."""

    path: str
    label: str
    object: str
    site: str


def shots(seed: int, tint: int = 0, number: int = SHOTS, size: tuple[int, int] = SIZE) -> Iterator[Image.Image]:
    """Yield one object as often as asked for; ``tint`` is the colour channel (0 to 2) that its class prefers."""
    random = np.random.default_rng(seed)
    width, height = size[0] * 2, size[1] * 2
    pixels = np.asarray(photo(seed, (width, height)), np.float32)
    pixels[..., tint % 3] += 25
    whole = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    for shot in range(number):
        angle = (shot - number / 2) * 25 + random.uniform(-4, 4)
        turned = whole.rotate(angle, Image.Resampling.BICUBIC)
        left, top, right, bottom = random.uniform(0.22, 0.3, 4)  # the turn leaves black corners, which are cut off
        box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
        image = turned.resize(size, Image.Resampling.BICUBIC, box)
        yield ImageEnhance.Brightness(image).enhance(EXPOSURES[shot % len(EXPOSURES)])


def write_series(
    root: Path,
    objects: Mapping[str, int],
    *,
    number: int = SHOTS,
    name: str = "{label}/tile_{object:03d}_{shot}.jpg",
    first: int = 0,
    camera: str = "",
) -> list[Shot]:
    """Write as many objects of every class as asked for, numbered through all classes; return what was written.

    ``name`` may name ``label``, ``object``, ``shot`` (from 1) and ``random``, so that a test can have folders or other
    names. With a ``camera`` the EXIF data have it and the time: shots 3 seconds apart, objects 10 minutes.
    """
    written = []
    count = first
    for tint, (label, many) in enumerate(objects.items()):
        for _ in range(many):
            for shot, image in enumerate(shots(count, tint, number), 1):
                drawn = hashlib.sha256(bytes([count % 256, shot])).hexdigest()[:8]
                path = name.format(label=label, object=count, shot=shot, random=drawn)
                put(root / path, encoded(image, exif=exif(camera, 600 * count + 3 * shot)) if camera else image)
                written.append(Shot(path, label, f"tile_{count:03d}", f"site {count % 3}"))
            count += 1
    return written


def exif(camera: str, seconds: int) -> bytes:
    """Return EXIF data of a camera that took an image so many seconds into a day."""
    data = Image.Exif()
    data[0x010F], data[0x0110] = "Maker", camera
    time = datetime(2026, 11, 29, 8, tzinfo=UTC) + timedelta(seconds=seconds)
    data.get_ifd(0x8769)[0x9003] = time.strftime("%Y:%m:%d %H:%M:%S")
    return data.tobytes()


def write_list(path: Path, written: list[Shot]) -> Path:
    """Write a series as a list: ImageSource, Label, Group, and the further column site."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("ImageSource", "Label", "Group", "site"))
        rows.writerows(written)
    return path
