"""How the learning curve is shown: a section with its plot and table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mb_jupyter.display import ROUND, details, elide, image, percent, table, text_table
from mb_jupyter.plots import TRAIN, VALIDATION, bare, new_figure, to_png

from .files import rows_of
from .learning import Gain
from .sections import Section, Sheet, ends, paragraphs

if TYPE_CHECKING:
    import pandas as pd

    from .evaluation import Report

TITLE = "Learning curve"
MOST_CLASSES = 3


def learning(sheet: Sheet) -> Section | None:
    """Return how right heads fitted on parts of the images are, and what twice as many would bring."""
    report = sheet.report
    curve, gain = report.learning_curve, report.more_images
    if curve.empty:
        return None
    sentences = [sentence(gain), *filter(None, [of_classes(report)]), how(report)]
    rows = [
        (f"{r.Images:,.0f}", f"{r.Groups:,.0f}", percent(r.Accuracy), ends(r.AccuracyLow, r.AccuracyHigh),
         f"{r.LogLoss:.3f}")
        for r in rows_of(curve)
    ]  # fmt: skip
    columns = ("Images", "Groups", "Right", "95 % interval", "Log loss")
    drawn = report.drawn("learning", lambda: plot(curve, gain))
    shown = f"<div>{image(drawn, alt(curve, gain), style=ROUND)}</div>"
    page = shown + paragraphs(*sentences) + details("The curve as a table", table(columns, rows, right=(0, 1, 4)))
    text = "\n".join([*sentences, text_table(columns, rows, right=(0, 1, 4))])
    return Section(TITLE, text, page, gist=gist(gain))


def sentence(gain: Gain | None) -> str:
    """Answer whether more images would help."""
    if gain is None:
        return "Whether more images would help cannot be told from so few images."
    low, high = (f"{100 * end:.1f}" for end in (gain.low, gain.high))
    if gain.code == "helps":
        return (
            f"Twice as many images would bring about +{100 * gain.gain:.1f} points of accuracy (95 % interval {low} to "
            f"{high})."
        )
    if gain.code == "little":
        return f"More images of the same kind would change little: twice as many would bring at most +{high} points."
    return (
        f"Whether more images would help cannot be told: twice as many may bring nothing, or up to +{high} points of "
        "accuracy (95 % interval)."
    )


def gist(gain: Gain | None) -> str:
    """Return the answer in a few words."""
    if gain is None or gain.code == "unknown":
        return "cannot tell whether more images would help"
    if gain.code == "little":
        return "more images would change little"
    return f"twice as many images: about +{100 * gain.gain:.1f} points"


def of_classes(report: Report) -> str:
    """Say which classes would gain most, where that can be told."""
    told = report.more_images_of_a_class
    if not told:
        return ""
    named = [
        f"{elide(name, 40)} +{100 * one.gain:.1f} points of its recall ({100 * one.low:.1f} to {100 * one.high:.1f})"
        for name, one in list(told.items())[:MOST_CLASSES]
    ]
    return f"With twice as many images of every class, the most would be gained by: {', '.join(named)}."


def how(report: Report) -> str:
    """Say how it was measured, and for which model."""
    tuned = report.record.get("best_phase") == "finetune"
    other = " The fine-tuned model may gain more or less." if tuned else ""
    return (
        "Measured with heads on frozen features, fitted on parts of the training and validation images and judged on "
        f"others of them; the test images were not used.{other}"
    )


def plot(curve: pd.DataFrame, gain: Gain | None) -> bytes:
    """Return the accuracy over the number of images, and where twice as many would be."""
    figure = new_figure(4.6, 2.8)
    axes = figure.subplots()
    spans = (curve["Accuracy"] - curve["AccuracyLow"], curve["AccuracyHigh"] - curve["Accuracy"])
    axes.errorbar(curve["Images"], curve["Accuracy"], [end.clip(lower=0) for end in spans], fmt="o-", markersize=5,
                  color=VALIDATION, linewidth=1.2, label="measured, with 95 % interval")  # fmt: skip
    if gain is not None:
        now = 1 - gain.error
        reach = [[gain.gain - gain.low], [gain.high - gain.gain]]
        label = "expected with twice as many"
        axes.errorbar([2 * gain.images], [now + gain.gain], reach, fmt="s", color=TRAIN, markersize=5, linewidth=1.2,
                      fillstyle="none", label=label)  # fmt: skip
    axes.set_xscale("log")
    ticks = [*curve["Images"], *([2 * gain.images] if gain is not None else [])]
    axes.set_xticks(ticks, [f"{number:,.0f}" for number in ticks])
    axes.minorticks_off()
    axes.set_title("Right, by the number of images to learn from", fontsize=9, loc="left")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    bare(axes)
    return to_png(figure)


def alt(curve: pd.DataFrame, gain: Gain | None) -> str:
    """Return what the plot shows, in words with figures."""
    said = "; ".join(f"{r.Images:,.0f} images: {percent(r.Accuracy)}" for r in rows_of(curve))
    return f"Learning curve, the share that is right with so many images to learn from: {said}. {sentence(gain)}"
