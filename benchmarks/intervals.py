"""How often the intervals of the report hold what they promise, when images come in series.

    python benchmarks/intervals.py [--draws 1000]

Series of images (1 to twice the mean number) that are right with a probability of the series, drawn around .85 or .97.
``alike`` is how much the images of a series agree: 0 not at all, 1 always. The peers are Wilson's interval of
single images, as most tools print it, and the bootstrap over series (percentiles of 500 resamples). 95 % should
hold.
"""

from __future__ import annotations

import argparse

import numpy as np

from mb_jupyter.report.intervals import share, wilson

RESAMPLES = 500
SETS = (
    (0.85, 12, 6, 0.5), (0.85, 40, 6, 0.5), (0.85, 90, 1.3, 0.5), (0.85, 200, 3, 0.5), (0.85, 90, 1.3, 0.0),
    (0.97, 12, 6, 0.5), (0.97, 40, 6, 0.5), (0.97, 200, 3, 0.5), (0.85, 40, 6, 0.95), (0.85, 100, 1.0, 0.0),
)  # fmt: skip


def drawn(random: np.random.Generator, mean: float, number: int, size: float, alike: float) -> tuple[np.ndarray, ...]:
    """Return what is right (N,) and the series of every image (N,)."""
    sizes = 1 + random.binomial(2 * round(10 * (size - 1)), 0.05, number) if size > 1 else np.ones(number, int)
    own = np.full(number, mean)
    if alike:
        own = random.beta(mean * (1 / alike - 1), (1 - mean) * (1 / alike - 1), number)
    groups = np.repeat(np.arange(number), sizes)
    return random.random(len(groups)) < own[groups], groups


def bootstrap(random: np.random.Generator, right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return the percentiles of the share over resampled series."""
    hits, sizes = np.bincount(groups, weights=right), np.bincount(groups)
    rows = random.integers(0, len(sizes), (RESAMPLES, len(sizes)))
    low, high = np.quantile(hits[rows].sum(axis=1) / sizes[rows].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print("| right | series | images of each | alike | report: holds, width | Wilson of images | bootstrap of series |")
    print("|---|---|---|---|---|---|---|")
    for mean, number, size, alike in SETS:
        random = np.random.default_rng(0)
        found = []
        for _ in range(draws):
            right, groups = drawn(random, mean, number, size, alike)
            ends = share(right, groups), wilson(int(right.sum()), len(right)), bootstrap(random, right, groups)
            found.append([(low <= mean <= high, high - low) for low, high in ends])
        holds, widths = np.array(found, float).mean(axis=0).T
        cells = " | ".join(f"{100 * hold:.1f} %, {100 * width:.0f}" for hold, width in zip(holds, widths, strict=True))
        print(f"| {mean} | {number} | {size:g} | {alike:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
