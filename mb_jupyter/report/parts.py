"""The parts of the report that look at the classes' scores and at further columns: curves and slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mb_jupyter.display import ROUND, counted, details, elide, image, percent, table, text_table

from .files import rows_of
from .sections import Section, Sheet, decimals, ends, few, of, paragraphs, said

if TYPE_CHECKING:
    from .evaluation import Report

MOST_CURVES = 6  # classes with a curve of their own; of more the weakest
AREAS = {False: 10, True: 200}  # rows, in the notebook and on the page
SLICES = {False: 10, True: 100}
AREA_COLUMNS = ("Class", "Images", "Area under ROC", "Average precision")
SLICE_COLUMNS = ("Column", "Value", "Right", "Interval", "Right of the rest")


def curves(sheet: Sheet) -> Section:
    """Return the ROC and the precision-recall curves with the areas under them."""
    from .rankingplot import ranking_curves, ranking_curves_alt

    title, report = "ROC and precision-recall curves", sheet.report
    areas = report.areas
    known = areas.dropna(subset=["AUC"])
    if known.empty:
        return said(title, "The test images are all of one class, so there is nothing to tell apart.")
    shown = [str(name) for name in known.index[:MOST_CURVES]]
    alt = ranking_curves_alt(areas)
    drawn = report.drawn("ranking", lambda: ranking_curves(report.roc, report.precision_recall, shown))
    rows = [(elide(str(r.Index), 40), f"{r.Support:,}", decimals(r.AUC), decimals(r.AP)) for r in rows_of(areas)]
    number = len(rows)
    most = min(number, AREAS[sheet.whole])
    which = f" Drawn are the {len(shown)} classes with the smallest ROC area." if len(known) > len(shown) else ""
    sentences = [
        f"Macro average: area under ROC {known['AUC'].mean():.3f}, average precision {known['AP'].mean():.3f}. Each "
        f"class is judged against the rest, at every threshold.{which}"
    ]
    if most < number:
        sentences.append(f"Listed are the {most} weakest of {number:,} classes; report.areas has all.")
    figures = details("The areas as a table", table(AREA_COLUMNS, rows[:most], right=(1, 2, 3)), is_open=sheet.whole)
    text = "\n".join([*sentences, text_table(AREA_COLUMNS, rows[: AREAS[False]], right=(1, 2, 3))])
    page = f"{paragraphs(*sentences)}<div>{image(drawn, alt, style=ROUND)}</div>{figures}"
    return Section(title, text, page, gist=f"macro ROC area {known['AUC'].mean():.3f}")


def slices(sheet: Sheet) -> Section | None:
    """Return the accuracy by the further columns of the list; None where it had none."""
    report, frame = sheet.report, sheet.report.slices
    if frame.empty:
        return None
    rows = [
        (elide(r.Column, 24), elide(r.Value, 40), of(r.Right, r.Images) + _groups(report, r.Groups),
         ends(r.Low, r.High), percent(r.Rest))
        for r in rows_of(frame)
    ]  # fmt: skip
    most = min(len(rows), SLICES[sheet.whole])
    below = [f"{r.Column} {r.Value}" for r in rows_of(frame[frame["Worse"]])]
    sentences = [
        f"The worst come first. The intervals are 95 % for all {counted(len(frame), 'slice')} at once (Bonferroni).",
        f"Worse than the rest, by more than chance explains: {few(below)}."
        if below
        else "No slice is worse than the rest by more than chance explains.",
    ]
    if most < len(rows):
        sentences.append(f"Shown are {most} of {len(rows):,} slices; report.slices has all.")
    text = "\n".join([*sentences, text_table(SLICE_COLUMNS, rows[: SLICES[False]])])
    page = paragraphs(*sentences) + table(SLICE_COLUMNS, rows[:most])
    return Section("Slices", text, page, bool(below), gist=few(below) if below else "none stands out")


def _groups(report: Report, number: int) -> str:
    return f", {counted(number, 'group')}" if report.grouped else ""
