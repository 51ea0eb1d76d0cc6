"""The learning curve: would more images help? Heads fitted on parts of the images say how right they become with each.

A head is fitted on an eighth, a quarter and a half of the images of four folds, and judged on the fifth; the head of
all four is that of the out-of-fold scores. So every image of training and validation is judged by heads that never saw
it or its group, and the test images take no part. The parts are nested and stratified; a group is never parted. The
network sees no image again: the heads are fitted in the coordinates of the head itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from . import head
from .cells import to_csv
from .data import Sample
from .disk import swap
from .session import Session

Array = np.ndarray[Any, Any]

FILE, STAGE = "learning_curve.csv", "learning curve"
FRACTIONS = (1 / 8, 1 / 4, 1 / 2)  # of the images of the folds that a head learns from
FEWEST = 2  # images for each class, on average, of the smallest part
REPEATS = ((400, 4), (1000, 2))  # images up to which each fold's parts are drawn so many times; above, once
FEWER_ABOVE = 4000  # images from which on the smallest part, and two of the folds, are left out
ROTATED = 4  # coordinates for each row, from which on a part is first turned into as few coordinates as it has rows


@dataclass(frozen=True)
class Point:
    """What one head has right. ``right`` and ``total`` (classes,) count the images of the fold it never saw."""

    fraction: float
    repeat: int
    fold: int
    images: int
    groups: int
    right: Array
    total: Array
    log_loss: float


@dataclass(frozen=True)
class Plan:
    """Which heads to fit; it depends on nothing but the images, so that the same images give the same curve."""

    fractions: tuple[float, ...]
    folds: tuple[int, ...]
    draws: int

    @property
    def heads(self) -> int:
        """How many heads are fitted."""
        return len(self.fractions) * len(self.folds) * self.draws


def plan(count: int, classes: int, folds: Sequence[int]) -> Plan:
    """Return the heads to fit for so many images; none where the smallest part would say nothing."""
    draws = next((draws for most, draws in REPEATS if count <= most), 1)
    learned = count * (len(folds) - 1) / max(1, len(folds))
    fractions = tuple(one for one in FRACTIONS if one * learned >= FEWEST * classes)
    if count > FEWER_ABOVE:
        fractions, folds = fractions[1:], list(folds)[:-2]
    if len(folds) < 2 or len(fractions) < 2:
        return Plan((), (), 0)
    return Plan(fractions, tuple(folds), draws)


def measured(
    session: Session, classes: Sequence[str], samples: Sequence[Sample], folds: Array, fit: head.Fit | None
) -> None:
    """Write ``learning_curve.csv`` where there is time for it; ``fit`` is None in all processes but the first."""
    wanted = session.affords(STAGE)  # asked by every process: the answer is one for all
    if fit is None or fit.points is None or fit.out_of_fold is None:
        return
    path, recorder = session.output / FILE, session.recorder
    path.unlink(missing_ok=True)  # of an earlier attempt
    heads = plan(len(samples), len(classes), np.unique(folds).tolist()).heads
    if not wanted or not heads:
        return
    recorder.stage(STAGE, heads, "Measuring how much more images would help.")
    found = learning_curve(
        fit.points,
        samples,
        folds,
        fit.out_of_fold,
        classes=len(classes),
        penalty=fit.penalty,
        seed=session.settings.seed,
        stop=lambda: recorder.stop_requested() or session.remaining() < recorder.outlook.after("epoch"),
        progress=recorder.progress,
    )
    if found:
        write(path, found, classes)


def learning_curve(
    points: Tensor,
    samples: Sequence[Sample],
    folds: Array,
    out_of_fold: Array,
    *,
    classes: int,
    penalty: float,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Point]:
    """Return the points of the curve; of a stopped one only whole repeats, or none.

    ``points`` (rows, k) are the coordinates of the images, each perhaps followed by its mirror image; ``out_of_fold``
    (images, classes) the logits of the heads of the other folds, which are the curve's last points.
    """
    wanted = plan(len(samples), classes, np.unique(folds).tolist())
    judge = _Judge(points, samples, classes, penalty, stop)
    found: list[Point] = []
    for draw in range(wanted.draws):
        for place, fold in enumerate(wanted.folds):
            held, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            ranks = _ranks([samples[row] for row in others.tolist()], f"{seed}:curve:{draw}:{fold}")
            repeat = draw * len(wanted.folds) + place
            one: list[Point] = []
            for fraction in wanted.fractions:
                rows = others[ranks < fraction]
                one.append(judge.point((fraction, repeat, fold), rows, held, judge.logits(rows, held)))
                if stop():  # also in the middle of the head
                    return found
                progress(repeat * len(wanted.fractions) + len(one), wanted.heads)
            whole = torch.from_numpy(np.ascontiguousarray(out_of_fold[held]))
            found += [*one, judge.point((1.0, repeat, fold), others, held, whole)]
    return found


def _ranks(samples: list[Sample], salt: str) -> Array:
    """Return for each image the share of its class's images that come before its group: those below f are a part f.

    The first group of every class has 0, so that a class is in every part; the same rank holds for a whole group.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        groups[sample.group or sample.sha256].append(row)
    keys = {name: min(samples[row].sha256 for row in rows) for name, rows in groups.items()}
    by_class: dict[int, list[str]] = defaultdict(list)
    for name in sorted(groups, key=lambda name: hashlib.sha256(f"{salt}:{keys[name]}".encode()).digest()):
        labels = Counter(samples[row].label for row in groups[name])
        by_class[min(labels, key=lambda label: (-labels[label], label))].append(name)
    ranks = np.empty(len(samples))
    for names in by_class.values():
        total, before = sum(len(groups[name]) for name in names), 0
        for name in names:
            ranks[groups[name]] = before / total
            before += len(groups[name])
    return ranks


class _Judge:
    """Fits heads on some images, and counts what they have right of others."""

    def __init__(
        self, points: Tensor, samples: Sequence[Sample], classes: int, penalty: float, stop: Callable[[], bool]
    ) -> None:
        self.points, self.samples, self.classes, self.penalty, self.stop = points, samples, classes, penalty, stop
        self.sides = len(points) // max(1, len(samples))
        self.labels = np.array([sample.label for sample in samples], np.int64)

    def logits(self, rows: Array, held: Array) -> Tensor:
        """Return the logits (held, classes) of a head fitted on ``rows`` alone."""
        where = self.points.device
        own = (torch.from_numpy(rows)[:, None] * self.sides + torch.arange(self.sides)).flatten().to(where)
        learned, unseen = self.points[own], self.points[torch.from_numpy(held).to(where) * self.sides]
        if ROTATED * len(learned) <= learned.shape[1]:
            # a penalised head never leaves the span of its rows
            basis, triangle = torch.linalg.qr(learned.T)
            learned, unseen = triangle.T.contiguous(), unseen @ basis
        target = torch.from_numpy(self.labels[rows]).repeat_interleave(self.sides).to(where)
        return head.fitted(learned, target, self.classes, self.penalty, self.stop).logits(unseen).cpu()

    def point(self, place: tuple[float, int, int], rows: Array, held: Array, logits: Tensor) -> Point:
        """Return a point of the curve (fraction, repeat, fold): what these logits of the ``held`` have right."""
        labels = self.labels[held]
        right = logits.argmax(1).numpy() == labels
        return Point(
            *place,
            len(rows),
            len({self.samples[row].group or self.samples[row].sha256 for row in rows.tolist()}),
            np.bincount(labels[right], minlength=self.classes),
            np.bincount(labels, minlength=self.classes),
            float(cross_entropy(logits.double(), torch.from_numpy(labels))) if len(labels) else 0.0,
        )


def write(path: Path, found: Sequence[Point], classes: Sequence[str]) -> None:
    """Write ``Fraction,Repeat,Fold,Images,Groups,Right,Total,LogLoss``, and right and total of every class."""
    names = [column for name in classes for column in (f"Right.{name}", f"Total.{name}")]
    rows: list[list[object]] = [["Fraction", "Repeat", "Fold", "Images", "Groups", "Right", "Total", "LogLoss", *names]]
    for one in found:
        each = [count for pair in zip(one.right.tolist(), one.total.tolist(), strict=True) for count in pair]
        counts = [int(one.right.sum()), int(one.total.sum())]
        rows.append([
            f"{one.fraction:g}", one.repeat, one.fold, one.images, one.groups, *counts, f"{one.log_loss:.6f}", *each,
        ])  # fmt: skip
    swap(path, to_csv(rows).encode("utf-8", "surrogateescape"))
