"""Which test images have a close neighbour among the images the model learns from: siblings that no hash can find.

Six photos of one tile look alike to the pretrained network, much more so than two tiles do. So near each of them there
are a few images and then, after a jump, all others. How large such a jump is between images that surely show different
things is seen in the data: from every image towards each of the other classes. A test image counts as close to its
nearest neighbour where its own jump is larger than nearly all of those. Nothing is chosen by what is found here.
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
SERIES = 8  # images before the jump, at the most
CHANCE = 0.003  # of the images that show different things, as many have a jump as large
FEWEST = 50  # jumps between classes below which nobody knows what is usual
SAMPLE = 1000  # images of which the jumps towards other classes are measured
OTHERS = 10  # classes of them, each
LONGEST = 8.0  # standard deviations of a feature that count
NUMBERS = 2**27  # of all features in memory; more are projected
PROJECTED = 1024
ROWS = 512  # images compared with all others at a time


class Nearest(NamedTuple):
    """Of M images: the index of the nearest of N others, its cosine, and how large the jump behind the nearest is.

    ``place`` is that index. ``jump`` (M,) is the smallest quotient of the distances of two neighbours in a row; NaN
    where there are too few.
    """

    place: Array
    similarity: Array
    jump: Array


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
    scale = _scale(found[:, 0])
    base, other = _unit(found[:, 0], *scale), _unit(seen[:, 0], *scale)
    usual = _between_classes(base, labels)
    limit = float(np.quantile(usual, CHANCE)) if len(usual) >= FEWEST else None
    nearest = _nearest(other, base, labels)
    close = np.zeros(len(test), bool) if limit is None else nearest.jump <= limit
    _write(path, parts, nearest, close)
    closest = nearest.similarity[close]
    return {
        "threshold": float(closest.min()) if len(closest) else None,  # cosine of the least similar close pair
        "jump": limit,
        "measured_on": len(usual),
        "chance": CHANCE,
        "test": len(test),
        "close": int(close.sum()),
    }


def _scale(found: Array) -> tuple[Array, Array]:
    """Return the mean of every feature (N, D) and what it is multiplied by to have the same spread as the others."""
    some = found[:: max(1, len(found) // (4 * SAMPLE))].astype(np.float32)
    spread = some.std(0)
    return some.mean(0), 1 / (spread + 1e-3 * spread.mean() + 1e-9)


def _unit(found: Array, mean: Array, scale: Array) -> Array:
    """Return features (N, D) standardised, of length 1, as (N, D) or fewer numbers each, float32."""
    size = found.shape[1]
    project = len(found) * size > NUMBERS and size > PROJECTED
    axes = np.random.default_rng(0).normal(0, 1, (size, PROJECTED)).astype(np.float32) if project else None
    parts = []
    for start in range(0, len(found), ROWS):
        part = found[start : start + ROWS].astype(np.float32)
        part = np.clip((part - mean) * scale, -LONGEST, LONGEST)
        part = part if axes is None else part @ axes
        parts.append(part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6))
    return np.concatenate(parts).astype(np.float32)


def _jumps(similar: Array) -> Array:
    """Return the largest jump among the nearest of (M, K) similarities: near 1 where there is none, NaN of too few."""
    if similar.shape[1] < 3:
        return np.full(len(similar), np.nan)
    many = min(SERIES + 1, similar.shape[1])
    away = np.sort(np.partition(1 - similar, many - 1, axis=1)[:, :many], axis=1)
    away = np.maximum(away, 1e-3)  # of a copy in half precision
    return np.asarray((away[:, :-1] / away[:, 1:]).min(1))


def _between_classes(base: Array, labels: Array) -> Array:
    """Return the jumps from images towards each class that is not theirs."""
    rows = np.linspace(0, len(base) - 1, min(SAMPLE, len(base))).astype(int)
    classes = np.unique(labels)
    found = []
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        similar = base[some] @ base.T
        for number, label in enumerate(classes):
            away = np.roll(np.arange(len(classes)), -number)[1 : OTHERS + 1]
            own = labels[some] == label
            found += [_jumps(similar[own][:, labels == classes[other]]) for other in away]
    every = np.concatenate(found) if found else np.empty(0)
    return np.asarray(every[~np.isnan(every)])


def _nearest(images: Array, base: Array, labels: Array) -> Nearest:
    """Return the nearest of the base for every image, and the jump among the neighbours of that one's class."""
    index, similarity, jump = [], [], []
    for start in range(0, len(images), ROWS):
        similar = images[start : start + ROWS] @ base.T
        best = similar.argmax(1)
        index.append(best)
        similarity.append(similar[np.arange(len(best)), best])
        own = np.full(len(best), np.nan)
        for label in np.unique(labels[best]):
            rows = labels[best] == label
            own[rows] = _jumps(similar[rows][:, labels == label])
        jump.append(own)
    return Nearest(np.concatenate(index), np.concatenate(similarity), np.concatenate(jump))


def _write(path: Path, parts: Parts, nearest: Nearest, close: Array) -> None:
    rows: list[Sequence[object]] = [COLUMNS]
    learned = [("train", sample) for sample in parts.train] + [("validation", sample) for sample in parts.validation]
    for row, sample in enumerate(parts.test):
        part, neighbour = learned[int(nearest.place[row])]
        cosine = f"{nearest.similarity[row]:.4f}"
        rows.append([sample.source, neighbour.source, part, cosine, int(close[row])])
    with disk.writing(path.parent):
        disk.swap(path, to_csv(rows).encode("utf-8", "surrogateescape"))
