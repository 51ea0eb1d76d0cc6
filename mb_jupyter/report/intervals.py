"""How sure a share can be, when images that show one thing speak with one voice.

Every interval of the report comes from here. ``groups`` holds a number for each image; images with the same number
belong together (one object, patient, session, video, or near copies). Where every image is alone in its group, the
interval of a share is the plain one of Wilson.

The method is the design effect: the images count for as many independent ones as would give the variance that is
seen between the groups (Kish 1965; Korn and Graubard 1998; Wilson's interval with that number: Franco et al. 2019,
doi:10.1093/jssam/smy019).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

CONFIDENCE = 0.95
# groups in which the images always agree, added to those that were seen to differ: a variance that rests on one or
# two groups is itself a matter of luck, and would call six photos of one object six witnesses after all
ASSUMED = 2
WIDEST_SEARCH = 10**9


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


def quantile(confidence: float = CONFIDENCE) -> float:
    """Return how many standard deviations of the normal distribution enclose that share of it."""
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def wilson(right: float, number: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953); NaN of nothing.

    ``number`` is how many independent images there are; it need not be whole.
    """
    if not number > 0:
        return Interval(math.nan, math.nan)
    z = quantile(confidence)
    share, z2 = right / number, z * z
    middle, half = share + z2 / (2 * number), z * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    # at the very ends rounding must not leave the share outside of its own interval
    return Interval(
        max(0.0, min(share, (middle - half) / (1 + z2 / number))),
        min(1.0, max(share, (middle + half) / (1 + z2 / number))),
    )


def exact(right: float, number: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact interval of a share (Clopper and Pearson 1934; of a number that is not whole, Korn and
    Graubard 1998), for levels far above 95 %: there Wilson's misses too often when the share is near 0 or 1.
    """
    from scipy.special import betaincinv

    if not number > 0:
        return Interval(math.nan, math.nan)
    wrong, tail = max(0.0, number - right), (1 - confidence) / 2
    low = float(betaincinv(right, wrong + 1, tail)) if right > 0 else 0.0
    return Interval(low, float(betaincinv(right + 1, wrong, 1 - tail)) if wrong > 0 else 1.0)


def effective(values: Array, groups: Array) -> float:
    """Return how many independent images say as much about the mean of ``values`` (N,) as these do.

    N where every image is alone. Else N over the design effect (the variance between groups over that of single
    images), with the quantile of Student's t for the number of groups; never more than N, and never fewer than if
    the images of a group always agreed.
    """
    import numpy as np
    from scipy.special import stdtrit

    number = len(values)
    if not number:
        return 0.0
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    if len(sizes) == number:
        return float(number)
    together = float((sizes**2).sum()) / number  # the design effect, if the images of a group always agreed
    least = number / together
    single = float(values.var()) * number / (number - 1)
    if len(sizes) < 2 or not single:
        return least
    sums = np.bincount(group, weights=values - values.mean())
    between = len(sizes) / (len(sizes) - 1) * float((sums**2).sum()) / number
    levels, counts = np.unique(values, return_counts=True)
    telling = len(np.unique(group[values != levels[counts.argmax()]]))
    effect = (telling * max(1.0, between / single) + ASSUMED * together) / (telling + ASSUMED)
    tails = (1 + CONFIDENCE) / 2
    wider = float(stdtrit(len(sizes) - 1, tails) / stdtrit(number - 1, tails)) ** 2
    return float(np.clip(number / effect / wider, least, number))


def share(right: Array, groups: Array) -> Interval:
    """Return the interval of the share of ``right`` (N,) that is true; NaN of nothing."""
    number = effective(right.astype(float), groups)
    return wilson(float(right.mean()) * number, number) if number else Interval(math.nan, math.nan)


def one_of_many(right: Array, groups: Array, many: int) -> Interval:
    """Return the same for one of ``many`` shares whose intervals are to hold all at once (Bonferroni)."""
    number = effective(right.astype(float), groups)
    level = 1 - (1 - CONFIDENCE) / many
    return exact(float(right.mean()) * number, number, level) if number else Interval(math.nan, math.nan)


def difference(first: Array, second: Array, groups: Array, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of how much more often ``second`` (N,) is right than ``first`` on the same images.

    That of Agresti and Min for paired shares (2005, doi:10.1002/sim.1781), which holds for few images too, with as
    many images as are independent.
    """
    more = second.astype(float) - first.astype(float)
    number = effective(more, groups)
    if not number:
        return Interval(math.nan, math.nan)
    only_second, only_first = (number * float((more == side).mean()) + 0.5 for side in (1, -1))
    number += 2
    middle = (only_second - only_first) / number
    deviation = math.sqrt((only_second + only_first) - (only_second - only_first) ** 2 / number) / number
    half = quantile(confidence) * deviation
    return Interval(max(-1.0, middle - half), min(1.0, middle + half))


def images_for(portion: float, width: float) -> int:
    """Return the smallest number of independent images whose interval about a share is no wider than ``width``."""
    few, enough = 0, 1
    while _width(portion, enough) > width and enough < WIDEST_SEARCH:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if _width(portion, middle) > width else (few, middle)
    return enough


def _width(portion: float, number: int) -> float:
    low, high = wilson(portion * number, number)
    return high - low
