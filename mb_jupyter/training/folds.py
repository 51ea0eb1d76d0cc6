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
    """Return the fold of every picture: stratified by class, copies and near copies (a group) never parted.

    Depends on nothing but content, labels and the seed, as the split does.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        groups[sample.group or sample.sha256].append(row)
    by_class: dict[int, list[str]] = defaultdict(list)
    for name in sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:fold:{name}".encode()).digest()):
        # a group with two labels (near copies) counts for the more frequent one
        labels = Counter(samples[row].label for row in groups[name])
        by_class[min(labels, key=lambda label: (-labels[label], label))].append(name)
    folds = np.empty(len(samples), np.int64)
    held = np.zeros(FOLDS, np.int64)  # pictures that each fold has, of all classes
    for label in sorted(by_class):
        own = np.zeros(FOLDS, np.int64)
        for name in by_class[label]:
            fold = int(np.lexsort((held, own))[0])
            folds[groups[name]] = fold
            own[fold] += len(groups[name])
            held[fold] += len(groups[name])
    return folds


def write(path: Path, samples: Sequence[Sample], classes: Sequence[str], folds: Array, logits: Array) -> None:
    """Write ``ImageSource,Label,Fold,Prediction,Score.<class>...`` of calibrated logits (N, classes)."""
    scaled = logits.astype(np.float64)
    scores = np.exp(scaled - scaled.max(1, keepdims=True))
    scores = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    write_table(path, samples, classes, scores, {"Fold": folds.tolist()})
