"""Calibration by one temperature, kept only where it helps images that did not set it.

After Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv:1706.04599).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import TrainingError

NOTICEABLE = 1e-3  # of the log loss: less than that is not worth scores that are no softmax of the network's outputs
# beyond these scores are all certain or all alike
_COLDEST, _HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """A temperature, 1 where it is not kept, and what it does to the log loss of images that did not set it."""

    kept: bool
    temperature: float
    images: int
    log_loss_before: float | None
    log_loss_after: float | None

    def facts(self, source: str) -> dict[str, Any]:
        """Return what ``report.json`` says of it; ``source`` is the file of the scores."""
        return {**asdict(self), "source": source}

    def sentence(self) -> str:
        """Return one sentence for the log."""
        if self.log_loss_before is None:
            return "Calibration is left out: there are no images to set a temperature with."
        change = f"{self.log_loss_before:.4f} to {self.log_loss_after:.4f} on {self.images:,} images, each held out"
        if self.kept:
            return f"Calibration is kept (temperature {self.temperature:.3f}): the log loss goes from {change}."
        return f"Calibration is not kept: it would take the log loss from {change}."


def cross_fitted(logits: NDArray[np.floating], labels: NDArray[np.integer], folds: NDArray[np.integer]) -> Calibration:
    """Return the calibration of ``logits`` (N, classes), kept only where it lowers the log loss out of fold noticeably.

    For each of the ``folds`` (N,) a temperature is fitted on the other folds and judged on this one.
    """
    z = np.asarray(logits, np.float64)
    if not len(z):
        return Calibration(False, 1.0, 0, None, None)
    heat = temperature(z, labels)  # refuses what is not finite
    after = np.empty(len(z))
    for fold in np.unique(folds):
        held = folds == fold
        after[held] = _losses(z[held] / temperature(z[~held], labels[~held]), labels[held])
    before, out_of_fold = float(_losses(z, labels).mean()), float(after.mean())
    kept = out_of_fold < before - NOTICEABLE
    return Calibration(kept, heat if kept else 1.0, len(z), before, out_of_fold)


def _losses(z: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return each image's cross entropy."""
    shifted = z - z.max(1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(z)), labels], np.float64)


def temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the number that, dividing ``logits`` (N, classes), makes ``labels`` (N,) most likely.

    It lies in 0.05 to 20 and changes no prediction. That it is near 1 counts as much as one picture, so that a
    handful of pictures, all right, do not make every score 1; without pictures it is 1. TrainingError for logits
    that are not finite: the training has diverged.
    """
    from scipy.optimize import minimize_scalar

    z = np.asarray(logits, np.float64)
    if len(z) == 0:
        return 1.0
    if not np.isfinite(z).all():
        raise TrainingError(
            "The network's outputs are not finite numbers: the training diverged.",
            "Train with a smaller learning_rate, or with recipe: features.",
        )
    z = z - z.max(1, keepdims=True)
    right = z[np.arange(len(z)), labels]

    def loss(log_temperature: float) -> float:
        beta = math.exp(-log_temperature)
        likelihood = (np.log(np.exp(z * beta).sum(1)) - right * beta).sum()
        return float(likelihood + log_temperature**2 / 2) / len(z)

    bounds = (math.log(_COLDEST), math.log(_HOTTEST))
    best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return math.exp(float(best.x))


def expected_calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
) -> float:
    """Return the mean gap between the highest score and being right, over equal bins of that score (0..1)."""
    p = np.asarray(probabilities, np.float64)
    if len(p) == 0:
        return 0.0
    confidence, right = p.max(1), p.argmax(1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    # |right - confident| summed in each bin is count x gap, which is the weight that the mean asks for
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))
