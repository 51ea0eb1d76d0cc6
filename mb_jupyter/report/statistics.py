"""The report's arithmetic, by libraries that have settled it; nothing here knows of runs or pages.

``true`` and ``given`` (N,) are classes by number, ``scores`` (N, classes) one row an image, ``groups`` (N,) numbers
images that belong together, as ``intervals`` wants them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mb_jupyter.display import counted

from .intervals import CONFIDENCE, Interval, effective, quantile, share

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]

NEGLIGIBLE = 0.01  # between scores and the share that is right: what nobody would act on
BINS = 15  # of the calibration error, as the training program counts them
DRAWS = 300  # of a model without fault, to know what error chance alone makes
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Confusion:
    """How many images of the class ``true`` were taken for ``predicted``."""

    true: str
    predicted: str
    count: int
    support: int

    def __str__(self) -> str:
        were = "was" if self.count == 1 else "were"
        return f"{self.count:,} of {counted(self.support, 'image')} of {self.true} {were} taken for {self.predicted}"


def of_masks(right: Array, masks: Sequence[Array], groups: Array) -> tuple[list[float], list[float]]:
    """Return the lower and the upper ends of the share that is right among each of several choices of images."""
    found: list[Interval] = [share(right[mask], groups[mask]) for mask in masks]
    return [one.low for one in found], [one.high for one in found]


def per_class(true: Array, given: Array, scores: Array, classes: Sequence[str], groups: Array) -> pd.DataFrame:
    """Return the figures of every class.

    NaN where one does not exist: recall, F1 and average precision of a class without images, precision of
    a class that was never answered.
    """
    import numpy as np
    import pandas as pd
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    number = len(classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        true, given, labels=np.arange(number), zero_division=math.nan
    )
    right = np.bincount(true[true == given], minlength=number)
    low, high = of_masks(true == given, [true == i for i in range(number)], groups)
    frame = pd.DataFrame(
        {
            "Support": support,
            "Precision": precision,
            "Recall": recall,
            "F1": f1,
            # one class against the rest, in the order of its scores
            "AP": [average_precision_score(true == i, scores[:, i]) if support[i] else math.nan for i in range(number)],
            "RecallLow": low,
            "RecallHigh": high,
            "Right": right,
            "Answered": np.bincount(given, minlength=number),
            "Groups": [len(np.unique(groups[true == i])) for i in range(number)],
        },
        index=pd.Index(classes, name="Label"),
    )
    frame.loc[frame["Support"] == 0, "F1"] = math.nan
    return frame


def reliability(confidence: Array, right: Array, groups: Array, bins: int = BINS) -> pd.DataFrame:
    """Return how often the model is right at each height of its score: equal bins, empty ones too."""
    import numpy as np
    import pandas as pd

    index = np.minimum((confidence * bins).astype(int), bins - 1)
    pictures = np.bincount(index, minlength=bins)
    hits = np.bincount(index, weights=right, minlength=bins).astype(int)
    low, high = of_masks(right, [index == place for place in range(bins)], groups)
    with np.errstate(invalid="ignore"):  # 0 / 0 of an empty bin is NaN, which is what it is
        mean, accuracy = np.bincount(index, weights=confidence, minlength=bins) / pictures, hits / pictures
    edges = np.arange(bins + 1) / bins
    return pd.DataFrame(
        {
            "Low": edges[:-1],
            "High": edges[1:],
            "Pictures": pictures,
            "Score": mean,
            "Right": hits,
            "Accuracy": accuracy,
            "AccuracyLow": low,
            "AccuracyHigh": high,
        }
    )


def calibration_error(bins: pd.DataFrame) -> float:
    """Return the mean gap between score and being right, weighed by images (ECE, arXiv:1706.04599)."""
    filled = bins[bins["Pictures"] > 0]
    gaps = (filled["Accuracy"] - filled["Score"]).abs() * filled["Pictures"]
    return float(gaps.sum() / filled["Pictures"].sum())


def log_loss(scores: Array, true: Array) -> float:
    """Return the mean of -ln of the true class's score; a score of 0 counts as the smallest float32."""
    import numpy as np

    own = scores[np.arange(len(true)), true]
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def tendency(confidence: Array, right: Array, groups: Array) -> int:
    """Return 1 when the answers are surer than they are right, -1 when less sure, 0 when chance may explain it.

    Were every score true, mean score less share that is right would have the mean 0 and the variance
    sum(score (1 - score)) / n^2, with as many images as are independent; beyond 1.96 deviations chance is an unlikely
    explanation. A difference below ``NEGLIGIBLE`` is 0 too, even where a handful of scores near 1 makes it significant.
    """
    gap = float((confidence - right).mean())
    variance = float((confidence * (1 - confidence)).clip(min=0).mean())
    deviation = math.sqrt(variance / effective((confidence - right).round(12), groups))
    return 0 if abs(gap) <= max(quantile() * deviation, NEGLIGIBLE) else 1 if gap > 0 else -1


def calibration_error_by_chance(confidence: Array, groups: Array, bins: int = BINS) -> tuple[float, float]:
    """Return the mean, and the end of 95 %, of the ECE of a faultless model on as many images.

    So few images are never right exactly as often as their scores say: each is drawn to be right with its
    own score (consistency resampling, Bröcker and Smith 2007, doi:10.1175/WAF993.1). Images of a group have the same
    luck.
    """
    import numpy as np

    index = np.minimum((confidence * bins).astype(int), bins - 1)
    random = np.random.default_rng(0)
    _, group = np.unique(groups, return_inverse=True)
    errors = []
    for _ in range(DRAWS):
        right = random.random(int(group.max()) + 1)[group] < confidence
        errors.append(np.abs(np.bincount(index, weights=right - confidence)).sum() / len(index))
    return float(np.mean(errors)), float(np.quantile(errors, CONFIDENCE))


def heated(scores: Array, temperature: float) -> Array:
    """Return the probabilities before they were divided by a temperature; the class stays the same."""
    import numpy as np

    logits = np.log(np.maximum(scores, np.finfo(np.float32).tiny)) * temperature
    logits -= logits.max(axis=1, keepdims=True)
    raised = np.exp(logits)
    found: Array = raised / raised.sum(axis=1, keepdims=True)
    return found


def at_thresholds(confidence: Array, right: Array, groups: Array, thresholds: Sequence[float]) -> pd.DataFrame:
    """Return, for each threshold, how many images are answered and how many of the answers are right."""
    import pandas as pd

    answered = [int((confidence >= threshold).sum()) for threshold in thresholds]
    hits = [int(right[confidence >= threshold].sum()) for threshold in thresholds]
    low, high = of_masks(right, [confidence >= threshold for threshold in thresholds], groups)
    return pd.DataFrame(
        {
            "Threshold": list(thresholds),
            "Coverage": [number / len(confidence) for number in answered],
            "Answered": answered,
            "Precision": [hit / number if number else math.nan for hit, number in zip(hits, answered, strict=True)],
            "Right": hits,
            "PrecisionLow": low,
            "PrecisionHigh": high,
        }
    )


def lowest_threshold(confidence: Array, right: Array, precision: float) -> float | None:
    """Return the lowest threshold whose answers are right at least that often; None where there is none.

    It has as few digits as keep the answered images apart from the others; 0 when none need be left out.
    """
    import numpy as np

    order = np.argsort(-confidence, kind="stable")
    score, hits = confidence[order], np.cumsum(right[order])
    number = np.arange(1, len(score) + 1)
    # equal scores are answered together or not at all
    last = np.append(score[1:] < score[:-1], True)
    enough = np.flatnonzero(last & (hits >= precision * number - 1e-9))
    if not len(enough):
        return None
    here = int(enough[-1])
    if here == len(score) - 1:
        return 0.0
    return _between(float(score[here + 1]), float(score[here]))


def _between(below: float, above: float) -> float | None:
    """Return the number with the fewest digits that is more than ``below``, not more than ``above``, and not 1.

    None where the two are so near that none of 15 digits is there.
    """
    above = min(above, math.nextafter(1, 0))  # an answer of score 1 is sure below any threshold that a model takes
    for digits in range(2, 16):
        found = round(math.floor(above * 10**digits) / 10**digits, digits)
        if below < found <= above:
            return found
    return None
