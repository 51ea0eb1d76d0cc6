"""Plots as PNG bytes, each with a function that says in words what it shows (for the ``alt`` text).

Figure and Agg only: pyplot would keep every figure, and change the user's own plots. The background is
white, so that a plot reads in a dark theme too. Names of classes are drawn as they are: no formulas, no
warnings, whatever characters they hold.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from .display import elide, percent

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALIDATION, BEST, GREY = "#8a8f98", "#1f5fbf", "#c2410c", "#5f6368"
DPI = 110  # 640 pixels of figure are 5.8 inches: sharp in a notebook, small in its file
PALETTE = 128  # colours of a plot's PNG
MOST_NAMES = 40  # classes with their names on a confusion matrix
MOST_FIGURES = 15  # classes with the counts written into its cells
# looked for beside matplotlib's own font, for names in other scripts
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "Noto Sans Arabic",
         "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS", "Microsoft YaHei",
         "Segoe UI Symbol", "Hiragino Sans", "Noto Sans Symbols2", "Noto Emoji")  # fmt: skip

_styling = threading.Lock()
Records: TypeAlias = "pd.DataFrame | Iterable[Mapping[str, Any]]"


@contextmanager
def plain_style() -> Iterator[None]:
    """Draw in matplotlib's own style: the user's may be white on black, or send every name through LaTeX.

    The parameters belong to the whole process, so only those that differ are changed and put back, by one thread
    at a time. What the user draws in that moment in another thread, and in a style of their own, may miss that style.
    """
    from matplotlib import rcParams, rcParamsDefault

    # asking for the backend would choose one, and import pyplot
    names = [name for name in rcParamsDefault if not name.startswith(("backend", "interactive", "webagg", "tk."))]
    with _styling:
        own = {name: rcParams[name] for name in names if rcParams[name] != rcParamsDefault[name]}
        rcParams.update({name: rcParamsDefault[name] for name in own})
        try:
            yield
        finally:  # what the user has set meanwhile stays
            rcParams.update({name: own[name] for name in own if rcParams[name] == rcParamsDefault[name]})


# -- curves ----------------------------------------------------------------------------------------------


@plain_style()
def metric_curves(records: Records) -> bytes:
    """Return loss and accuracy over the epochs, training and validation, the best epoch marked.

    ``records``: the epochs of ``metrics.jsonl``, as dicts or as a DataFrame. Epoch 0 is the frozen features.
    """
    epochs = _epochs(records)
    figure = new_figure(6.6, 2.7)
    loss, accuracy = figure.subplots(1, 2)
    best = _best(epochs)
    for axes, name, title in ((loss, "loss", "Loss"), (accuracy, "accuracy", "Accuracy")):
        _curve(axes, epochs, f"train_{name}", label="training", color=TRAIN, linestyle="--", marker="o")
        # the validation loss is taken at the temperature that fits the validation images best
        which = "validation, calibrated" if name == "loss" else "validation"
        _curve(axes, epochs, f"validation_{name}", label=which, color=VALIDATION, marker="s")
        if best is not None:
            axes.axvline(best["epoch"], color=BEST, linewidth=1, linestyle=":", label=f"best: epoch {best['epoch']:g}")
        _style_curve(axes, title, [record["epoch"] for record in epochs])
    accuracy.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.3g} %")  # 97.5 is no 98
    return to_png(figure)


def metric_curves_alt(records: Records) -> str:
    """Return what :func:`metric_curves` shows, in words with figures."""
    epochs = _epochs(records)
    if not epochs:
        return "Loss and accuracy over the epochs; no epoch has ended yet."
    last = epochs[-1]
    parts = [f"Loss and accuracy over {len(epochs)} epoch{'s' if len(epochs) > 1 else ''}"]
    best = _best(epochs)
    parts.append(f"after epoch {last['epoch']:g}{', the best' if best is last else ''}: {_figures(last)}")
    if best is not None and best is not last:
        parts.append(f"best was epoch {best['epoch']:g}: {_figures(best)}")
    return "; ".join(parts) + "."


def last_figures(records: Records) -> str:
    """Return loss and accuracy of the last epoch, in words."""
    return _figures(_epochs(records)[-1])


def _figures(record: Mapping[str, Any]) -> str:
    names = (("train_loss", "training loss"), ("validation_loss", "calibrated validation loss"))
    said = [f"{name} {record[key]:.3f}" for key, name in names if math.isfinite(record[key])]
    if math.isfinite(record["validation_accuracy"]):
        said.append(f"validation accuracy {percent(record['validation_accuracy'])}")
    return ", ".join(said) or "no figures"


def _epochs(records: Records) -> list[dict[str, Any]]:
    rows: Any = records.to_dict("records") if hasattr(records, "to_dict") else records
    epochs: dict[float, dict[str, Any]] = {}
    for row in rows:
        epoch = _number(row.get("epoch"))
        if row.get("event", "epoch") == "epoch" and math.isfinite(epoch):
            kinds = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
            # a run that was taken up again has told its last epoch twice: the later word counts
            epochs[epoch] = {"epoch": epoch, "best": row.get("best") is True} | {k: _number(row.get(k)) for k in kinds}
    return [epochs[epoch] for epoch in sorted(epochs)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) or hasattr(value, "__float__") else math.nan


def _best(epochs: list[dict[str, Any]]) -> dict[str, Any] | None:
    marked = [record for record in epochs if record["best"]]
    return marked[-1] if marked else None


def _curve(axes: Axes, epochs: list[dict[str, Any]], key: str, **style: Any) -> None:
    points = [(record["epoch"], record[key]) for record in epochs if math.isfinite(record[key])]
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, markersize=3.5, linewidth=1.6, **style)


def _style_curve(axes: Axes, title: str, epochs: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("epoch (0: frozen features)" if 0 in epochs else "epoch", fontsize=8, color=GREY)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlim(min(epochs, default=0) - 0.5, max(epochs, default=1) + 0.5)
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.7)
    bare(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)


# -- bars ------------------------------------------------------------------------------------------------


@plain_style()
def score_bars(labels: Sequence[str], scores: Sequence[float], *, most: int = 10, notes: Sequence[str] = ()) -> bytes:
    """Return horizontal bars, the highest above; of many classes the first ``most`` and the rest together.

    ``notes`` are lines below them, such as which run's model answered.
    """
    bars = _first(labels, scores, most)
    figure = new_figure(5.4, 0.45 + 0.27 * len(bars) + 0.17 * len(notes))
    axes = figure.add_subplot()
    places = range(len(bars))
    colours = [VALIDATION, *[TRAIN] * (len(bars) - 1)]
    axes.barh(places, [score for _, score in bars], color=colours[: len(bars)], height=0.66)
    for place, (_, score) in enumerate(bars):
        axes.text(max(score, 0) + 0.01, place, percent(score), va="center", fontsize=8)
    _names(axes, "y", [name for name, _ in bars], places)
    axes.set_xlim(0, 1.14)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xticks([])
    bare(axes)
    axes.spines["bottom"].set_visible(False)
    below = "\n".join(drawable(elide(note, 100)) for note in notes)
    axes.set_xlabel(below, fontsize=7, color=GREY, loc="left", fontfamily=list(fonts()), parse_math=False)
    return to_png(figure)


def score_bars_alt(labels: Sequence[str], scores: Sequence[float], *, most: int = 10) -> str:
    """Return what :func:`score_bars` shows, in words with figures."""
    said = ", ".join(f"{name} {percent(score)}" for name, score in _first(labels, scores, most))
    return f"Probability of every class: {said}." if said else "No probabilities."


def _first(labels: Sequence[str], scores: Sequence[float], most: int) -> list[tuple[str, float]]:
    bars = sorted(zip(labels, map(float, scores), strict=True), key=lambda bar: -bar[1])
    if len(bars) > most:
        rest = bars[most:]
        others = "1 other class" if len(rest) == 1 else f"{len(rest):,} other classes"
        bars = [*bars[:most], (others, sum(score for _, score in rest))]
    return bars


# -- confusion matrix ------------------------------------------------------------------------------------


@plain_style()
def confusion_matrix(matrix: np.ndarray[Any, Any], classes: Sequence[str]) -> bytes:
    """Return the matrix (true class down, predicted class across) coloured by the share of each true class."""
    import numpy as np

    counts = np.asarray(matrix)
    number = len(classes)
    side = min(3.2 + 0.24 * number, 7.0)
    figure = new_figure(side, side * 0.9)
    axes = figure.add_subplot()
    bare(axes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if number <= MOST_FIGURES:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.55 else "#1f2328"
            if count:
                axes.text(column, row, f"{int(count):,}", ha="center", va="center", fontsize=8, color=colour)
    if number <= MOST_NAMES:
        size = 8 if number <= MOST_FIGURES else 6.5
        _names(axes, "x", classes, range(number), rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        _names(axes, "y", classes, range(number), fontsize=size)
    else:
        places = range(0, number, 10)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(list(places), labels=[f"{place + 1}" for place in places], fontsize=6.5)
    by = "" if number <= MOST_NAMES else ", by number"
    axes.set_xlabel(f"predicted class{by}", fontsize=8, color=GREY)
    axes.set_ylabel(f"true class{by}", fontsize=8, color=GREY)
    scale = figure.colorbar(picture, ax=axes, fraction=0.045, pad=0.03, shrink=0.8)
    scale.ax.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
    scale.ax.tick_params(labelsize=7, length=0)
    scale.set_label("share of the true class", fontsize=7, color=GREY)
    scale.outline.set_visible(False)
    return to_png(figure, bbox_inches="tight", pad_inches=0.12)  # a square leaves room above and below


def confusion_matrix_alt(matrix: np.ndarray[Any, Any], classes: Sequence[str]) -> str:
    """Return what :func:`confusion_matrix` shows, in words with figures."""
    import numpy as np

    counts = np.asarray(matrix)
    right, total = int(counts.trace()), int(counts.sum())
    said = f"Confusion matrix of {len(classes):,} classes: {right:,} of {total:,} pictures on the diagonal"
    wrong = counts - np.diag(counts.diagonal())
    if not wrong.any():
        return f"{said}, none beside it."
    row, column = map(int, np.unravel_index(int(wrong.argmax()), wrong.shape))
    most = f"{int(wrong[row, column]):,} of {classes[row]} taken for {classes[column]}"
    return f"{said}; the most frequent mistake is {most}."


# -- calibration -----------------------------------------------------------------------------------------


@plain_style()
def reliability_diagram(bins: pd.DataFrame, before: pd.DataFrame | None = None) -> bytes:
    """Return how often the model is right at each height of its score, and how many pictures have it.

    ``bins`` has Low, High, Pictures, Score, Accuracy, AccuracyLow and AccuracyHigh; ``before`` is the same
    before calibration.
    """
    figure = new_figure(4.4, 4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3.4, 1)})
    upper.plot([0, 1], [0, 1], color=TRAIN, linewidth=1, linestyle="--", label="right as often as the score says")
    if before is not None:
        filled = before[before["Pictures"] > 0]
        upper.plot(filled["Score"], filled["Accuracy"], "s", color=BEST, markersize=4, fillstyle="none",
                   clip_on=False, label="before calibration")  # fmt: skip
    filled = bins[bins["Pictures"] > 0]
    ends = (filled["Accuracy"] - filled["AccuracyLow"], filled["AccuracyHigh"] - filled["Accuracy"])
    upper.errorbar(filled["Score"], filled["Accuracy"], [end.clip(lower=0) for end in ends], fmt="o", color=VALIDATION,
                   markersize=5, linewidth=1.2, clip_on=False, label="this model, with 95 % interval")  # fmt: skip
    lower.bar(bins["Low"], bins["Pictures"], bins["High"] - bins["Low"], align="edge", color=VALIDATION, alpha=0.75)
    for axes, title in ((upper, "Share that is right"), (lower, "Pictures")):
        axes.set_title(title, fontsize=9, loc="left")
        axes.grid(axis="y", color="#e3e5e8", linewidth=0.7)
        axes.set_axisbelow(True)
        bare(axes)
    upper.set_ylim(-0.02, 1.02)
    upper.legend(fontsize=7, frameon=False, loc="upper left")
    lower.set_xlim(0, 1)
    lower.set_xlabel("score of the answer", fontsize=8, color=GREY)
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
    return to_png(figure)


def reliability_diagram_alt(bins: pd.DataFrame) -> str:
    """Return what :func:`reliability_diagram` shows, in words with figures."""
    filled = bins[bins["Pictures"] > 0]
    figures = filled[["Score", "Accuracy", "Pictures"]].itertuples(index=False)
    said = "; ".join(f"score {percent(s)}: {percent(a)} of {int(n):,}" for s, a, n in figures)
    return f"Reliability diagram, the share that is right at each mean score: {said}."


# -- what they share -------------------------------------------------------------------------------------


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, white and outside pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure, **cut: Any) -> bytes:
    """Return a figure as PNG; ``cut`` is passed to ``savefig``."""
    from PIL import Image

    data, small = io.BytesIO(), io.BytesIO()
    figure.savefig(data, format="png", facecolor="white", **cut)
    # a palette makes it half as large in the notebook; k-means, so that a colour bar has no bands of other colours
    drawn = Image.open(data).convert("RGB")
    few = drawn.quantize(PALETTE, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    few.save(small, "png", optimize=True)
    return small.getvalue()


def bare(axes: Axes) -> None:
    """Leave of the frame only the line below."""
    axes.tick_params(labelsize=8, length=0, colors="#1f2328")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c8ccd1")


def _names(axes: Axes, which: str, names: Sequence[str], places: Iterable[int], **style: Any) -> None:
    drawn = [drawable(elide(name, 24)) for name in names]
    axis = axes.xaxis if which == "x" else axes.yaxis
    # parse_math: a class may be called "$5 note"
    axis.set_ticks(list(places), labels=drawn, parse_math=False, fontfamily=list(fonts()), **style)


def drawable(name: str) -> str:
    """Return the name with a box for every character that no font here can draw."""
    return "".join(c if ord(c) in _characters() or c.isspace() else "\N{WHITE SQUARE}" for c in name)


@cache
def fonts() -> tuple[str, ...]:
    """Return the installed fonts that can draw names in the scripts of the world."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return tuple(name for name in FONTS if name in installed)


@cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(code for name in fonts() for code in FT2Font(findfont(name)).get_charmap())
