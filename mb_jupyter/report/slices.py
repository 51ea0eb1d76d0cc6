"""How often the model is right in each part of the data that a further column of the list names: site, device, day."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from . import intervals

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]

SLICE = "Slice."  # begins the name of such a column in split.csv
MOST_VALUES = 20  # of a column; figures with more are cut into quarters, of other values the rarer are taken together
QUARTERS = 4
EMPTY, OTHERS = "(empty)", "(other values)"
COLUMNS = ["Column", "Value", "Images", "Groups", "Right", "Accuracy", "Low", "High", "Rest", "Worse"]


def of(right: Array, groups: Array, columns: dict[str, pd.Series[str]]) -> pd.DataFrame:
    """Return the accuracy of every slice with its interval and the accuracy of the rest (``Rest``), the worst first.

    ``right`` and ``groups`` (N,) are of the test images, ``columns`` the text that each has in a column. The
    intervals hold all at once: each is as wide as so many need (Bonferroni), for the worst of many slices is bad by
    chance alone. ``Worse``: than the rest, by more than chance explains, as many slices as there are.
    """
    import pandas as pd

    masks = [
        (name, value, mask)
        for name, values in columns.items()
        for value, mask in _masks(values)
        if 0 < mask.sum() < len(mask)
    ]
    rows = [(name, value, *_figures(right, groups, mask, len(masks))) for name, value, mask in masks]
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"Worse": bool})
    return frame.sort_values(["High", "Accuracy"], kind="stable", ignore_index=True)


def _figures(right: Array, groups: Array, mask: Array, many: int) -> tuple[Any, ...]:
    """Return the figures of one slice; it is worse when Newcombe's interval of the difference says so."""
    import numpy as np

    low, high = intervals.one_of_many(right[mask], groups[mask], many)
    lowest_rest, _ = intervals.one_of_many(right[~mask], groups[~mask], many)
    here, rest = float(right[mask].mean()), float(right[~mask].mean())
    # of two independent shares, from their own intervals (1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873)
    worse = here - rest + math.hypot(high - here, rest - lowest_rest) < 0
    return int(mask.sum()), len(np.unique(groups[mask])), int(right[mask].sum()), here, low, high, rest, worse


def _masks(values: pd.Series[str]) -> Iterator[tuple[str, Array]]:
    """Yield each value of a column with the images that have it."""
    import pandas as pd

    counts = values.value_counts()
    if len(counts) > MOST_VALUES:
        figures = pd.to_numeric(values, errors="coerce")
        if figures.notna().mean() > 0.9:
            yield from _quarters(figures)
            return
    kept = list(counts.index[:MOST_VALUES])
    for value in kept:
        yield str(value) or EMPTY, (values == value).to_numpy()
    yield OTHERS, (~values.isin(kept)).to_numpy()


def _quarters(figures: pd.Series[float]) -> Iterator[tuple[str, Array]]:
    import pandas as pd

    quarter = pd.qcut(figures, QUARTERS, labels=False, duplicates="drop")
    for number in sorted(quarter.dropna().unique()):
        inside = (quarter == number).to_numpy()
        yield f"{figures[inside].min():g} to {figures[inside].max():g}", inside
    yield EMPTY, figures.isna().to_numpy()
