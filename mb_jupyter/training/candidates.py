"""Which pairs of many images may be near copies: a cheap look at all pairs, whatever way up and cut they are.

The description of an image is made from the amplitudes of the Fourier transform of its windowed thumbnail, which hardly
change when the image is shifted, and from sums and differences of those that mirror images and quarter turns
exchange. It is taken of the whole image and of its middle, so that a cut copy is compared with what is left in it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .parallel import in_order
from .thumbnails import SIDE

ZOOMS = (1.0, 0.9, 0.8)  # the middle parts of an image that a whole one is compared with
WAVES = 7  # of the longest side: finer ones change with a small turn
AXES = 40  # along which the descriptions of a set differ most
PAIRS = 40_000  # that get the exact look, in any case
PER_IMAGE = 4  # and so many more for each image
MOST = 64  # of one image
SAMPLE = 256  # images from whose similarities it is told how similar the most similar pairs are
LOWEST = 0.5  # similarity that a near copy has at the least
ROWS = 128  # images that one thread compares with all others at a time

Array: TypeAlias = "np.ndarray[Any, Any]"


def candidates(grey: Array) -> Array:
    """Return the pairs (P, 2) of indices, the smaller first, that are worth an exact look; ``grey`` (N, 32, 32)."""
    number = len(grey)
    if number * (number - 1) // 2 <= PAIRS:
        return np.stack(np.triu_indices(number, 1), 1)
    described = _described(grey)
    lowest = _lowest(described)

    def block(start: int) -> Array:
        return _similar(described, start, min(start + ROWS, number), lowest)

    found = np.concatenate(list(in_order(block, range(0, number, ROWS))))
    return np.unique(found, axis=0)


def _described(grey: Array) -> list[Array]:
    """Return for every zoom the descriptions (N, D) float32, each of length 1."""
    raw = [
        np.concatenate([_amplitudes(grey[at : at + 4096], zoom) for at in range(0, len(grey), 4096)]) for zoom in ZOOMS
    ]
    mean, spread = raw[0].mean(0), raw[0].std(0) + 1e-6  # what all images of a set have in common tells nothing
    some = (raw[0][:: max(1, len(grey) // 4096)] - mean) / spread
    axes = np.linalg.eigh(some.T @ some)[1][:, -AXES:]
    found = []
    while raw:
        described = ((raw.pop(0) - mean) / spread) @ axes
        found.append(described / (np.linalg.norm(described, axis=1, keepdims=True) + 1e-6))
    return found


def _amplitudes(grey: Array, zoom: float) -> Array:
    """Return the amplitudes of the middle part of images, the same for mirror images and quarter turns."""
    middle = line(SIDE, SIDE, zoom)
    window = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE)
    weights = np.outer(window, window).astype(np.float32) / np.float32(window.sum() ** 2)
    part = middle @ grey.astype(np.float32) @ middle.T
    part = (part - (part * weights).sum((1, 2), keepdims=True)) * weights
    both = range(-WAVES, WAVES + 1)
    waves = np.exp(-2j * np.pi * np.outer(both, np.arange(SIDE)) / SIDE).astype(np.complex64)
    found = np.sqrt(np.abs(waves @ part @ waves.T))
    right, left = found[:, WAVES:, WAVES:], found[:, WAVES:, WAVES::-1]
    described = np.concatenate([_turned(right + left, same=True), _turned(np.abs(right - left), same=False)], axis=1)
    return np.asarray(described / (np.linalg.norm(described, axis=1, keepdims=True) + 1e-6), np.float32)


def _turned(amplitudes: Array, *, same: bool) -> Array:
    """Return sums and differences with the transposed amplitudes; without ``same`` those on the axis are nothing."""
    i, j = np.triu_indices(WAVES + 1)
    length = np.hypot(i, j)
    keep = (length > 0) & (length <= WAVES) & (same | (i > 0))
    i, j = i[keep], j[keep]
    one, other = amplitudes[:, i, j], amplitudes[:, j, i]
    return np.concatenate([one + other, np.abs(one - other)[:, i != j]], axis=1)


def line(to: int, from_: int, zoom: float) -> Array:
    """Return the matrix (to, from_) that resamples the middle part of a line of pixels, linearly."""
    places = (np.arange(to) + 0.5) / to * zoom * from_ + (1 - zoom) * from_ / 2 - 0.5
    low = np.clip(np.floor(places).astype(int), 0, from_ - 2)
    matrix = np.zeros((to, from_), np.float32)
    matrix[np.arange(to), low] = 1 - (places - low)
    matrix[np.arange(to), low + 1] = places - low
    return matrix


def _lowest(described: list[Array]) -> float:
    """Return the similarity above which there are about as many pairs as may get the exact look."""
    whole = described[0]
    rows = np.linspace(0, len(whole) - 1, min(SAMPLE, len(whole))).astype(int)
    wanted = (PER_IMAGE + PAIRS // len(whole)) * len(rows)
    best = np.empty(0, np.float32)
    for number, zoomed in enumerate(described):
        found = zoomed[rows] @ whole.T
        found[np.arange(len(rows)), rows] = -1
        if not number:  # each pair of whole images is there twice
            found = np.where(np.arange(len(whole)) > rows[:, None], found, -1)
        best = np.concatenate([best, found[found > LOWEST]])
    return float(np.partition(best, -wanted)[-wanted]) if len(best) > wanted else LOWEST


def _similar(described: list[Array], start: int, end: int, lowest: float) -> Array:
    """Return the pairs of the images ``start`` to ``end`` with all others; of the whole images with the later ones."""
    found = []
    for number, zoomed in enumerate(described):
        first = 0 if number else start + 1
        similar = zoomed[start:end] @ described[0][first:].T
        for row in np.flatnonzero(similar.max(axis=1, initial=-1) >= lowest):
            near = np.flatnonzero(similar[row] >= lowest)
            most = MOST + PAIRS // len(zoomed)
            if len(near) > most:  # a crowd of alike images: the most similar ones are enough to join it
                near = near[np.argpartition(similar[row][near], -most)[-most:]]
            near = near + first
            near = near[(near > start + row) if not number else (near != start + row)]
            pairs = np.stack([np.full(len(near), start + row), near], 1)
            found.append(np.sort(pairs, axis=1))
    return np.concatenate(found) if found else np.empty((0, 2), np.intp)
