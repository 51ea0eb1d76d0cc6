"""Would more images help? What the learning curve says of twice as many, and how far that can be told.

The error of a head falls with its images n roughly as ``a + b n^-c``. How fast (c) and down to what (a) cannot be told
from a few points, so several exponents are fitted and averaged, each by how well it describes the points. The interval
is that of a jackknife over the folds (Student), widened by what the exponents disagree about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .files import read_text_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

EXPONENTS = (0.1, 0.25, 0.5, 0.75, 1.0)
FEWEST_IMAGES = 40  # judged: of fewer nothing is said
FEWEST_OF_A_CLASS = 20
_Z = 1.959963984540054  # of the normal distribution, for 95 %
LITTLE = 0.01  # of the accuracy: a gain that is below it even at the upper end


FILE = "learning_curve.csv"
COLUMNS = ("Fraction", "Repeat", "Fold", "Images", "Groups", "Right", "Total", "LogLoss")


class Gain(NamedTuple):
    """What twice as many images would bring, as shares of the images: ``code`` is helps, little or unknown."""

    code: str
    images: int  # there are now
    error: float  # expected with so many
    gain: float
    low: float
    high: float


def read(folder: Path | None) -> pd.DataFrame:
    """Return the rows of the run's ``learning_curve.csv``; none where there is no such file, or another one."""
    import pandas as pd

    frame = read_text_table(folder / FILE) if folder else None
    empty = pd.DataFrame(columns=list(COLUMNS))
    if frame is None or not {*COLUMNS} <= {*frame.columns} or frame.empty:
        return empty
    counts = [name for name in frame.columns if str(name).startswith(("Right.", "Total."))]
    numbers = frame[[*COLUMNS, *counts]].apply(pd.to_numeric, errors="coerce")
    sound = (
        numbers.notna().all().all() and (numbers["Total"] > 0).all() and (numbers["Right"] <= numbers["Total"]).all()
    )
    return numbers if sound and numbers["Fraction"].between(0, 1).all() else empty


def curve(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each part: images and groups on average, the accuracy with its 95 % interval, the log loss."""
    import pandas as pd
    from scipy.stats import t

    rows = []
    for _, part in frame.groupby("Fraction", sort=True):
        folds = part.groupby("Fold")[["Right", "Total"]].sum()
        share = float(folds["Right"].sum() / folds["Total"].sum())
        each = (folds["Right"] - share * folds["Total"]) / folds["Total"].mean()
        reach = math.nan
        if len(folds) > 1:
            reach = float(t.ppf(0.975, len(folds) - 1)) * float(each.std(ddof=1)) / math.sqrt(len(folds))
        loss = float((part["LogLoss"] * part["Total"]).sum() / part["Total"].sum())
        rows.append(
            (
                part["Images"].mean(),
                part["Groups"].mean(),
                share,
                max(0.0, share - reach),
                min(1.0, share + reach),
                loss,
            )
        )
    return pd.DataFrame(rows, columns=["Images", "Groups", "Accuracy", "AccuracyLow", "AccuracyHigh", "LogLoss"])


def gain(frame: pd.DataFrame, label: str | None = None) -> Gain | None:
    """Return what twice as many images of every class would bring, for all or for one class; None where untold."""
    right, total = ("Right", "Total") if label is None else (f"Right.{label}", f"Total.{label}")
    if frame.empty or total not in frame.columns:
        return None
    whole = frame[frame["Fraction"] == frame["Fraction"].max()]
    draws = max(1, len(whole) // whole["Fold"].nunique())
    judged = whole[total].sum() / draws
    folds = sorted(whole["Fold"].unique().tolist())
    if judged < (FEWEST_IMAGES if label is None else FEWEST_OF_A_CLASS) or len(folds) < 2:
        return None
    if frame["Fraction"].nunique() < 3 or whole[right].sum() < whole[total].sum() / 2:
        return None  # a curve that is still near its beginning bends elsewhere than the fitted ones
    # the model has learned from all the images, the largest part is without a fold
    now = float(whole["Images"].mean()) * len(folds) / (len(folds) - 1) if len(folds) > 2 else whole["Images"].mean()
    errors = {fold: _errors(frame[frame["Fold"] != fold], right, total) for fold in folds}
    images, error, count = _errors(frame, right, total)
    mean, spread, most = _doubled(images, error, count / draws, now)
    parts = [_doubled(*errors[fold][:2], errors[fold][2] / draws, now)[0] for fold in folds]
    reach = _reach(parts, spread)
    mean, low, high = min(mean, most), mean - reach, min(mean + reach, most)
    code = "helps" if low > 0 else "little" if high < LITTLE else "unknown"
    return Gain(code, round(now), most, mean, low, high)


def gains(frame: pd.DataFrame, classes: Sequence[str]) -> dict[str, Gain]:
    """Return what twice as many images of every class would bring to the recall of those that are known to gain."""
    found = {name: gain(frame, name) for name in classes}
    helped = {name: one for name, one in found.items() if one is not None and one.code == "helps"}
    return dict(sorted(helped.items(), key=lambda item: -item[1].gain))


def _errors(frame: pd.DataFrame, right: str, total: str) -> tuple[Array, Array, Array]:
    """Return the images, the share of wrong answers and the number of answers of each part."""
    sums = frame.groupby("Fraction", sort=True)[[right, total]].sum()
    images = frame.groupby("Fraction", sort=True)["Images"].mean()
    counts = sums[total].to_numpy(float)
    return images.to_numpy(float), 1 - sums[right].to_numpy(float) / counts.clip(min=1), counts


def _doubled(images: Array, error: Array, count: Array, now: float) -> tuple[float, float, float]:
    """Return the fall of the error from ``now`` to twice as many, how far the exponents disagree, and the error now."""
    import numpy as np

    smoothed = (error * count + 1) / (count + 2)
    deviation = np.sqrt(smoothed * (1 - smoothed) / count.clip(min=1))
    falls, misfits, errors = [], [], []
    for exponent in EXPONENTS:
        # falls by 1 from now to twice as many
        shape = (images / now) ** -exponent / (1 - 2**-exponent)
        design = np.stack((np.ones_like(images), shape), 1) / deviation[:, None]
        (level, slope), *_ = np.linalg.lstsq(design, error / deviation, rcond=None)
        slope = max(0.0, float(slope))
        if not slope:
            level = float(np.average(error, weights=deviation**-2))
        falls.append(slope)
        errors.append(level + slope / (1 - 2**-exponent))
        misfits.append(float(((error / deviation - design @ [level, slope]) ** 2).sum()))
    weights = np.exp(-(np.array(misfits) - min(misfits)) / 2)
    weights /= weights.sum()
    mean = float(weights @ falls)
    here = min(max(float(weights @ errors), 0.0), float(error[-1]))
    return mean, math.sqrt(float(weights @ (np.array(falls) - mean) ** 2)), here


def _reach(parts: list[float], spread: float) -> float:
    """Return the half width of the 95 % interval, from the estimates without each of the folds."""
    import numpy as np
    from scipy.stats import t

    count, found = len(parts), np.array(parts)
    variance = (count - 1) / count * float(((found - found.mean()) ** 2).sum())
    return math.hypot(float(t.ppf(0.975, count - 1)) * math.sqrt(variance), _Z * spread)
