"""How well the scores of a class tell its images from the others: ROC and precision-recall curves, one against all.

``scores`` (N, classes) and ``true`` (N,) are those of the test images; a class without images, or with nothing but
them, has no curve.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]

MACRO = "macro"  # the mean of the curves of all classes
GRID = 101  # points of a curve
ROC = ["Class", "FalsePositiveRate", "TruePositiveRate"]
PRECISION_RECALL = ["Class", "Recall", "Precision"]


def auc(scores: Array, true: Array) -> list[float]:
    """Return, for every class, how often one of its images has a higher score than another one (area under ROC)."""
    from scipy.stats import rankdata

    found = []
    for number in range(scores.shape[1]):
        own = true == number
        count, others = int(own.sum()), int((~own).sum())
        if not count or not others:
            found.append(math.nan)
            continue
        ranks = float(rankdata(scores[:, number])[own].sum())
        found.append((ranks - count * (count + 1) / 2) / (count * others))
    return found


def roc(scores: Array, true: Array, classes: Sequence[str]) -> pd.DataFrame:
    """Return the ROC curves: of every class and their mean, at 101 false positive rates."""
    import numpy as np

    grid = np.linspace(0, 1, GRID)
    curves = {}
    for number, right, wrong in _counts(scores, true):
        rates = wrong / wrong[-1], right / right[-1]
        # at each false positive rate the highest point, as a curve of steps has it
        curves[number] = rates[1][np.searchsorted(rates[0], grid, side="right") - 1]
    return _frame(curves, classes, grid, ROC)


def precision_recall(scores: Array, true: Array, classes: Sequence[str]) -> pd.DataFrame:
    """Return the precision-recall curves: of every class and their mean, at 101 recalls.

    The precision at a recall is the highest that is reached with that recall or a higher one.
    """
    import numpy as np

    grid = np.linspace(0, 1, GRID)
    curves = {}
    for number, right, wrong in _counts(scores, true):
        recall, precision = right[1:] / right[-1], right[1:] / (right[1:] + wrong[1:])
        best = np.maximum.accumulate(precision[::-1])[::-1]
        curves[number] = best[np.searchsorted(recall, grid - 1e-12, side="left")]
    return _frame(curves, classes, grid, PRECISION_RECALL)


def _counts(scores: Array, true: Array) -> Iterator[tuple[int, Array, Array]]:
    """Yield, for each class, how many images of it and of others have at least each score, from none to all."""
    import numpy as np

    for number in range(scores.shape[1]):
        own = true == number
        if not own.any() or own.all():
            continue
        order = np.argsort(-scores[:, number], kind="stable")
        sorted_scores, hits = scores[order, number], own[order]
        last = np.append(sorted_scores[1:] < sorted_scores[:-1], True)  # equal scores are passed together
        right, all_ = np.cumsum(hits)[last], np.flatnonzero(last) + 1
        yield number, np.append(0, right), np.append(0, all_ - right)


def _frame(curves: dict[int, Array], classes: Sequence[str], grid: Array, columns: list[str]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    if not curves:
        return pd.DataFrame(columns=columns)
    names = [*(classes[number] for number in curves), MACRO]
    found = [*curves.values(), np.mean(list(curves.values()), axis=0)]
    flat = (np.repeat(np.array(names, dtype=object), len(grid)), np.tile(grid, len(names)), np.concatenate(found))
    return pd.DataFrame(dict(zip(columns, flat, strict=True)))
