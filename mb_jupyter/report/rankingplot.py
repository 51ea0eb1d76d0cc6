"""ROC and precision-recall curves as PNG, with what they show in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import elide
from mb_jupyter.plots import GREY, TRAIN, VALIDATION, bare, drawable, fonts, new_figure, plain_style, to_png

from .ranking import MACRO

if TYPE_CHECKING:
    import pandas as pd


@plain_style()
def ranking_curves(roc: pd.DataFrame, precision_recall: pd.DataFrame, classes: Sequence[str]) -> bytes:
    """Return the ROC and the precision-recall curves of these classes, each against the rest, and the mean of all.

    ``roc`` and ``precision_recall`` have a column Class, with ``macro`` for the mean, and two of shares.
    """
    figure = new_figure(7.4, 3.5)
    axes = figure.subplots(1, 2)
    drawn: list[Any] = []
    for place, curves, title in ((axes[0], roc, "ROC"), (axes[1], precision_recall, "Precision and recall")):
        x, y = curves.columns[1:]
        drawn = []
        for name, colour in zip(classes, _colours(len(classes)), strict=True):
            of = curves[curves["Class"] == name]
            drawn += place.plot(of[x], of[y], color=colour, linewidth=1)
        mean = curves[curves["Class"] == MACRO]
        drawn += place.plot(mean[x], mean[y], color=VALIDATION, linewidth=2.2)
        place.set_title(title, fontsize=9, loc="left")
        place.set_xlim(-0.02, 1.02)
        place.set_ylim(-0.02, 1.03)
        place.grid(color="#e3e5e8", linewidth=0.7)
        bare(place)
        for axis in (place.xaxis, place.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
    axes[0].set_xlabel("false positive rate", fontsize=8, color=GREY)
    axes[0].set_ylabel("recall (true positive rate)", fontsize=8, color=GREY)
    axes[1].set_xlabel("recall", fontsize=8, color=GREY)
    axes[1].set_ylabel("precision", fontsize=8, color=GREY)
    axes[0].plot([0, 1], [0, 1], color=TRAIN, linewidth=1, linestyle="--")
    names = [*(drawable(elide(name, 24)) for name in classes), "mean of all classes"]
    legend = figure.legend(drawn, names, loc="outside right upper", fontsize=7, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
        text.set_fontfamily(list(fonts()))
    return to_png(figure)


def ranking_curves_alt(areas: pd.DataFrame) -> str:
    """Return what :func:`ranking_curves` shows, in words with figures: ``areas`` has AUC and AP by class."""
    known = areas.dropna(subset=["AUC"])
    if known.empty:
        return "ROC and precision-recall curves; no class has one."
    mean = f"mean area under ROC {known['AUC'].mean():.3f}, mean average precision {known['AP'].mean():.3f}"
    worst = known.sort_values("AUC", kind="stable").iloc[0]
    return f"ROC and precision-recall curves: {mean}; lowest ROC area {worst['AUC']:.3f}, of {worst.name}."


def _colours(number: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab10"](index % 10) for index in range(number)]
