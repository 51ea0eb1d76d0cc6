"""Out-of-fold scores: what a head says of a picture that it was not fitted on, for every picture of the training.

Wrong labels show there: a head that has learned a wrong label by heart agrees with it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .data import Sample
from .export import write_table

Array = np.ndarray[Any, Any]

FOLDS = 5


def assign(samples: Sequence[Sample], seed: int) -> Array:
    """Return the fold of every image, (N,) int64: stratified by class, and a group is never parted.

    Depends on nothing but content, labels, who is in which group, and the seed, as the split does.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        groups[sample.group or sample.sha256].append(row)
    keys = {name: min(samples[row].sha256 for row in rows)[:16] for name, rows in groups.items()}
    counts = {name: Counter(samples[row].label for row in rows) for name, rows in groups.items()}
    holders = Counter(label for labels in counts.values() for label in labels)
    by_class: dict[int, list[str]] = defaultdict(list)
    for name in sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:fold:{keys[name]}".encode()).digest()):
        # a group of several classes counts for the one that the fewest groups have
        by_class[min(counts[name], key=lambda label: (holders[label], label))].append(name)
    folds = np.empty(len(samples), np.int64)
    held = np.zeros(FOLDS, np.int64)  # images that each fold has, of all classes
    own = np.zeros((max(holders, default=0) + 1, FOLDS), np.int64)  # and of each class
    for label in sorted(by_class):
        # the large groups first: the small ones then even out what they leave
        for name in sorted(by_class[label], key=lambda name: -len(groups[name])):
            fold = int(np.lexsort((held, own[label]))[0])
            folds[groups[name]] = fold
            held[fold] += len(groups[name])
            for each, number in counts[name].items():
                own[each, fold] += number
    return folds


def write(path: Path, samples: Sequence[Sample], classes: Sequence[str], folds: Array, logits: Array) -> None:
    """Write ``ImageSource,Label,Fold,Prediction,Score.<class>...`` of calibrated logits (N, classes)."""
    scaled = logits.astype(np.float64)
    scores = np.exp(scaled - scaled.max(1, keepdims=True))
    scores = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    write_table(path, samples, classes, scores, {"Fold": folds.tolist()})
