"""Two models on the same images: which is better, or whether that may be chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

SIGNIFICANT = 0.05
FEWEST = 6  # groups that can show anything at that level: one way all of them, p = 2 / 2**6


class Paired(NamedTuple):
    """Two models on the same images: how many each alone has right, and whether that may be chance.

    ``groups`` is how many groups the images are in, ``differing`` in how many of them one model has more right.
    """

    pictures: int
    both: int
    first_only: int
    second_only: int
    p_value: float
    groups: int
    differing: int

    @property
    def grouped(self) -> bool:
        """Tell whether some images belong together."""
        return self.groups < self.pictures

    @property
    def method(self) -> str:
        """The name of the test."""
        if not self.grouped:
            return "McNemar's exact test"
        return f"exact sign-flip test over {self.groups:,} groups"

    @property
    def chance(self) -> str:
        """The test and its outcome, for a sentence."""
        figure = "< 0.0001" if self.p_value < 0.0001 else f"= {self.p_value:.2g}"
        return f"{self.method}, p {figure}"

    @property
    def too_few(self) -> bool:
        """Tell whether the models differ in so few groups that no test could tell the two apart."""
        return self.differing < FEWEST

    @property
    def differ(self) -> bool:
        """Tell whether chance is an unlikely explanation of the difference."""
        return self.p_value < SIGNIFICANT


def paired(first: Array, second: Array, groups: Array) -> Paired:
    """Compare two models by what they have right, (N,) each; ``groups`` (N,) numbers images that belong together.

    Were the models alike, each group would favour the one as easily as the other, by as many images: p is the share
    of all such sign flips whose sum is at least as far from 0 (Fisher 1935). Where every image is alone in its group,
    that is McNemar's exact test.
    """
    import numpy as np

    both, first_only = int((first & second).sum()), int((first & ~second).sum())
    second_only = int((~first & second).sum())
    _, group = np.unique(groups, return_inverse=True)
    more = second.astype(int) - first.astype(int)
    sums = np.rint(np.bincount(group, weights=more)).astype(int) if len(first) else np.zeros(0, int)
    number = int(group.max()) + 1 if len(first) else 0
    return Paired(len(first), both, first_only, second_only, sign_flip(sums), number, int((sums != 0).sum()))


def sign_flip(sums: Array) -> float:
    """Return the two-sided p of the sum of whole numbers (G,), were each sign as likely as the other: exact."""
    import numpy as np
    from scipy.stats import binom

    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    chances = np.ones(1)  # of the total of those that keep their sign, 0 upward
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, spread)
    total = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(total) >= abs(int(sums.sum()))].sum()))


def joined(first: Array, second: Array) -> Array:
    """Return the groups (N,) of images that belong together by one grouping or by the other."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, one = np.unique(first, return_inverse=True)
    _, other = np.unique(second, return_inverse=True)
    if not len(one):
        return one
    start = int(one.max()) + 1
    nodes = start + int(other.max()) + 1
    links = coo_array((np.ones(len(one)), (one, other + start)), shape=(nodes, nodes))
    _, component = connected_components(links, directed=False)
    found: Array = component[one]
    return found
