"""The outcome of a run in one sentence or two, as it stands above everything else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mb_jupyter.display import counted, elide, percent

from .files import rows_of

if TYPE_CHECKING:
    from .evaluation import Report

MOST_NAMES = 5


def headline(report: Report) -> str:
    """Return accuracy, interval and balanced accuracy, and of which classes nothing can be said."""
    low, high = (f"{end * 100:.1f}" for end in report.interval)
    right = f"{report.right:,} of {report.pictures:,}{_groups(report)} {_are(report)} right"
    sentence = (
        f"Accuracy {percent(report.accuracy)} on test images: {right} "
        f"({_interval(report)} {low} to {high} %){_balanced(report)}."
    )
    return " ".join(filter(None, [sentence, too_few(report)]))


def summary(report: Report) -> str:
    """Return the same with the classes, and the weakest of them."""
    low, high = (f"{end * 100:.1f}" for end in report.interval)
    sentence = (
        f"Accuracy {percent(report.accuracy)} ({_interval(report)} {low} to {high} %){_balanced(report)}: "
        f"{report.right:,} of {counted(report.pictures, 'test image')}{_groups(report)} of "
        f"{counted(len(report.classes), 'class', 'classes')} {_are(report)} right{_weakest(report)}."
    )
    return " ".join(filter(None, [sentence, too_few(report)]))


def too_few(report: Report) -> str:
    """Return which classes have too few test images for any statement, or nothing."""
    few = report.too_few
    if few.empty:
        return ""
    if len(few) == len(report.classes) > 2:
        return f"Every class has too few {'groups of ' if report.grouped else ''}test images to be judged alone."
    named = [f"{elide(str(row.Index), 40)} ({_has(row.Support, row.Groups)})" for row in rows_of(few[:MOST_NAMES])]
    more = f" and {len(few) - MOST_NAMES:,} more" if len(few) > MOST_NAMES else ""
    return f"Too few test images to judge {', '.join(named)}{more}."


def _has(images: int, groups: int) -> str:
    return f"{images:,}" if images == groups else f"{images:,} in {counted(groups, 'group')}"


def _are(report: Report) -> str:
    return "is" if report.right == 1 else "are"


def _interval(report: Report) -> str:
    return "95 % interval by group" if report.grouped else "95 % interval"


def _groups(report: Report) -> str:
    return f" in {counted(report.group_count, 'group')}" if report.grouped else ""


def _balanced(report: Report) -> str:
    if not report.balance_matters:
        return ""
    found = report.recalls_apart
    apart = f" (recalls {100 * found[0]:.1f} to {percent(found[1])})" if found else ""
    return f", balanced accuracy {percent(report.balanced_accuracy)}{apart}"


def _weakest(report: Report) -> str:
    worst = report.per_class.sort_values(["F1", "Recall"], kind="stable").iloc[0]
    if report.right == report.pictures or math.isnan(worst["F1"]):
        return ""
    which = "one of the weakest classes" if (report.per_class["F1"] == worst["F1"]).sum() > 1 else "the weakest class"
    right, support, answered = (int(worst[name]) for name in ("Right", "Support", "Answered"))
    precision = f"{right:,} of {counted(answered, 'answer')} right" if answered else "never answered"
    found = f"{right:,} of {support:,} found, {precision}"
    return f"; {which} is {elide(str(worst.name), 40)} ({found}, F1 {worst['F1']:.2f})"
