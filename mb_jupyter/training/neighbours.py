"""Which test images have a close neighbour among the images the model learns from: siblings that no hash can find.

Six photos of one tile look alike to the pretrained network, but the class and the light look more alike still. So the
features are whitened first: what the images of a class have in common with each other counts no more than what is
rare. Then the nearest image is compared with all others of its class: how many standard deviations is it above them?
How many are usual between images that surely show different things is seen in the test images themselves, from each
towards the classes that are not its own. Nothing is chosen by what is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import disk, features, processes
from .cells import to_csv
from .errors import StoppedError
from .network import Classifier
from .parts import Parts

Array = np.ndarray[Any, Any]

FILE = "neighbours.csv"
COLUMNS = ("ImageSource", "Neighbour", "NeighbourSplit", "Similarity", "Close")
CHANCE = 0.01  # of the test images, as many stand out as far towards a class that is not their own
FEWEST = 30  # such comparisons below which nobody knows what is usual
SMALLEST = 5  # images of a class among which one can stand out
SAMPLE = 1500  # images by which the features are whitened
KEPT = 1024  # directions of them that are compared
LONGEST = 8.0  # standard deviations of a feature that count
ROWS = 512  # images compared with all others at a time


class Nearest(NamedTuple):
    """Of M images: the index of the nearest of N others, its cosine, and how far it is above the others of its class.

    ``above`` (M,) is in standard deviations of the others, NaN where there are too few. ``usual`` has the same of
    every image towards each class that is not its own, (at most M * (classes - 1),).
    """

    place: Array
    similarity: Array
    above: Array
    usual: Array


class Whitened(NamedTuple):
    """What turns features (N, D) into K directions of equal weight: ``mean`` and ``scale`` (D,), ``axes`` (D, K)."""

    mean: Array
    scale: Array
    axes: Array

    def of(self, found: Array) -> Array:
        """Return features (N, D) as (N, K) float32 numbers each, of length 1."""
        parts = []
        for start in range(0, len(found), ROWS):
            part = _standardised(found[start : start + ROWS], self.mean, self.scale) @ self.axes
            parts.append(part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6))
        return np.concatenate(parts)


def find(
    classifier: Classifier,
    parts: Parts,
    found: Array,
    *,
    output: Path,
    cache: Path | None,
    progress: Callable[[int], None],
    stop: Callable[[], bool],
) -> dict[str, Any] | None:
    """Write ``neighbours.csv`` and return what ``report.json`` says of it; None without test images or once stopped.

    ``found`` (N, 2, D) are the features of the training and then the validation images. Every process takes part in
    the features of the test images; the first one compares and writes.
    """
    path, test, learned = output / FILE, parts.test, [*parts.train, *parts.validation]
    if processes.rank() == 0:
        path.unlink(missing_ok=True)  # of an earlier attempt
    if not test or processes.tell(stop()):
        return None

    def heed(done: int) -> None:
        progress(done)
        if processes.world() == 1 and stop():  # of several, none may leave the others waiting
            raise StoppedError

    try:
        seen, _ = features.extract(
            classifier,
            test,
            views=1,
            engine_file=output / "checkpoint" / "engine.json",
            cache=cache,
            progress=heed,
        )
    except StoppedError:
        return None
    if processes.rank():
        return None
    labels = np.array([sample.label for sample in learned])
    space = _whitened(found[:, 0], labels)
    own = np.array([sample.label for sample in test])
    nearest = _nearest(space.of(seen[:, 0]), own, space.of(found[:, 0]), labels)
    limit = float(np.quantile(nearest.usual, 1 - CHANCE)) if len(nearest.usual) >= FEWEST else None
    close = np.zeros(len(test), bool) if limit is None else nearest.above > limit
    _write(path, parts, nearest, close)
    closest = nearest.similarity[close]
    return {
        "threshold": float(closest.min()) if len(closest) else None,  # cosine of the least similar close pair
        "above": limit,
        "measured_on": len(nearest.usual),
        "chance": CHANCE,
        "test": len(test),
        "close": int(close.sum()),
    }


def _standardised(found: Array, mean: Array, scale: Array) -> Array:
    return np.asarray(np.clip((found.astype(np.float32) - mean) * scale, -LONGEST, LONGEST), np.float32)


def _whitened(found: Array, labels: Array) -> Whitened:
    """Return the directions in which images (N, D) of one class differ, each divided by how much they do.

    A direction in which they differ less than on average is not blown up: it is mostly noise.
    """
    rows = np.linspace(0, len(found) - 1, min(SAMPLE, len(found))).astype(int)
    some, labels = found[rows].astype(np.float32), labels[rows]
    mean, spread = some.mean(0), some.std(0)
    scale = 1 / (spread + 1e-3 * spread.mean() + 1e-9)
    some = _standardised(some, mean, scale)
    for label in np.unique(labels):
        some[labels == label] -= some[labels == label].mean(0)
    variance, images = np.linalg.eigh(some @ some.T / len(some))
    kept = np.flatnonzero(variance > 1e-6 * max(variance[-1], 1e-6))[-KEPT:]
    variance, images = variance[kept], images[:, kept]
    axes = some.T @ (images / np.sqrt(len(some) * variance * (variance + variance.mean())))
    return Whitened(mean, scale, np.asarray(axes, np.float32))


def _nearest(images: Array, own: Array, base: Array, labels: Array) -> Nearest:
    """Return the nearest of the base (N, K) for every image (M, K) of the classes ``own``, and how it stands out."""
    order = np.argsort(labels, kind="stable")
    classes, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    base = base[order]
    found = []
    for start in range(0, len(images), ROWS):
        similar = images[start : start + ROWS] @ base.T
        best = similar.argmax(1)
        rows, label = np.arange(len(best)), labels[order[best]]
        above = _above(similar, starts, sizes)
        other = above[classes != own[start : start + ROWS, None]]
        found.append((order[best], similar[rows, best], above[rows, np.searchsorted(classes, label)], other))
    place, similarity, above, usual = (np.concatenate(each) for each in zip(*found, strict=True))
    return Nearest(place, similarity, above, usual[~np.isnan(usual)])


def _above(similar: Array, starts: Array, sizes: Array) -> Array:
    """Return how many standard deviations the most similar image of every class is above its others, (M, classes)."""
    best = np.maximum.reduceat(similar, starts, axis=1)
    others = np.maximum(sizes - 1, 1)
    mean = (np.add.reduceat(similar, starts, axis=1) - best) / others
    variance = (np.add.reduceat(similar * similar, starts, axis=1) - best * best) / others - mean * mean
    return np.where(sizes >= SMALLEST, (best - mean) / np.sqrt(np.maximum(variance, 1e-6)), np.nan)


def _write(path: Path, parts: Parts, nearest: Nearest, close: Array) -> None:
    rows: list[Sequence[object]] = [COLUMNS]
    learned = [("train", sample) for sample in parts.train] + [("validation", sample) for sample in parts.validation]
    for row, sample in enumerate(parts.test):
        part, neighbour = learned[int(nearest.place[row])]
        cosine = f"{nearest.similarity[row]:.4f}"
        rows.append([sample.source, neighbour.source, part, cosine, int(close[row])])
    with disk.writing(path.parent):
        disk.swap(path, to_csv(rows).encode("utf-8", "surrogateescape"))
