"""Small pictures that differ from each other as photographs do, for the tests of data and pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def photo(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Return a picture with structure at several scales, so that its perceptual hash is its own."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC),
            dtype=np.float32,
        )
        for n in (3, 6, 12, 24)
    ]
    mixed = sum(layer * weight for layer, weight in zip(layers, (0.4, 0.3, 0.2, 0.1), strict=True))
    return Image.fromarray(np.asarray(mixed).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """Return the bytes of a file of this format."""
    file = io.BytesIO()
    image.save(file, format, **({"quality": 92} if format == "JPEG" else {}) | options)
    return file.getvalue()


def put(path: Path, data: bytes | Image.Image) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else encoded(data))
    return path


def folder_of(root: Path, classes: dict[str, int], *, first: int = 0) -> Path:
    """Fill a folder with as many different pictures per class as asked for."""
    seed = first
    for label, number in classes.items():
        for index in range(number):
            put(root / label / f"{index:03d}.jpg", photo(seed))
            seed += 1
    return root
