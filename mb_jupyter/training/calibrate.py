"""Calibration by one temperature.

After Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv:1706.04599).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .errors import TrainingError

# beyond these scores are all certain or all alike
_COLDEST, _HOTTEST = 0.05, 20.0


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
