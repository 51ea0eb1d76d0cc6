"""How a report looks in the notebook and as a page of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import (
    ROUND,
    Shown,
    bar,
    card,
    details,
    elide,
    escape,
    image,
    largest_difference,
    percent,
    table,
    text_table,
)

from .files import is_figure

if TYPE_CHECKING:
    from .evaluation import Report

MOST_CONFUSIONS = 5
MOST_ROWS = 50  # classes in the shown table
MOST_COLUMNS = 20  # classes up to which the confusion matrix is a table too


def shown(report: Report) -> Shown:
    """Return what stays in the notebook."""
    return Shown(_text(report), _html(report))


def document(report: Report) -> str:
    """Return the page."""
    return f"<!doctype html><meta charset='utf-8'>{_html(report)}"


def _text(report: Report) -> str:
    rows = [row for row, _ in _rows(report)]
    parts = [
        report.summary,
        text_table(("Class", "Pictures", "Precision", "Recall", "F1"), rows, right=range(1, 5)),
        *_notes(report),
    ]
    if report.confusions:
        listed = "\n".join(f"  {pair}" for pair in report.confusions[:MOST_CONFUSIONS])
        parts.insert(2, f"Most frequent mistakes:\n{listed}")
    return "\n\n".join(parts)


def _html(report: Report) -> str:
    rows = [(*row, bar(0.0 if math.isnan(f1) else f1, width=80)) for row, f1 in _rows(report)]
    columns = ("Class", "Pictures", "Precision", "Recall", "F1", "")
    mistakes = "".join(f"<li>{escape(pair)}</li>" for pair in report.confusions[:MOST_CONFUSIONS])
    parts = [
        table(columns, rows, right=range(1, 5)),
        f'<div>Most frequent mistakes:<ul style="margin:2px 0">{mistakes}</ul></div>' if mistakes else "",
        _confusion_html(report),
        *(f'<div style="margin-top:4px">{escape(note)}</div>' for note in _notes(report)),
    ]
    return card(report.summary, "".join(parts))


def _confusion_html(report: Report) -> str:
    from mb_jupyter.plots import confusion_matrix, confusion_matrix_alt

    counts = report.confusion.to_numpy()
    picture = image(confusion_matrix(counts, report.classes), confusion_matrix_alt(counts, report.classes), style=ROUND)
    if len(report.classes) <= MOST_COLUMNS:
        names = [elide(name, 24) for name in report.classes]
        rows = [(name, *counts[i].tolist()) for i, name in enumerate(names)]
        figures = table(("True class, predicted:", *names), rows, right=range(1, len(names) + 1))
    else:
        mixed = [(p.true, p.predicted, f"{p.count:,}", f"{p.support:,}") for p in report.confusions[:MOST_ROWS]]
        figures = table(("True class", "Taken for", "Pictures", "of"), mixed, right=(2, 3))
    return f"<div>{picture}</div>" + details("The confusion matrix as a table", figures)


def _rows(report: Report) -> list[tuple[tuple[str, ...], float]]:
    """Return the cells and the F1 of every class, or of very many classes those of the weakest."""
    frame = report.per_class
    if len(frame) > MOST_ROWS:
        frame = frame.sort_values("F1", kind="stable").head(MOST_ROWS)
    figures = zip(frame["Support"], frame["Precision"], frame["Recall"], frame["F1"], strict=True)
    return [
        ((elide(name, 40), f"{support:,}", _share(precision), _share(recall), _f1(f1)), f1)
        for name, (support, precision, recall, f1) in zip(frame.index, figures, strict=True)
    ]


def _notes(report: Report) -> list[str]:
    frame, notes = report.per_class, []
    if len(report.classes) > MOST_ROWS:
        notes.append(
            f"Shown are the {MOST_ROWS} weakest of {len(report.classes):,} classes; .per_class has all of them."
        )
    if absent := list(frame.index[frame["Support"] == 0]):
        notes.append(f"Without held-out pictures, so that nothing is known of it: {_few(absent)}.")
    if unanswered := list(frame.index[frame["Precision"].isna() & (frame["Support"] > 0)]):
        notes.append(f"Never answered, so that its precision does not exist (–): {_few(unanswered)}.")
    return notes + [note for note in (_calibration(report), _proof(report)) if note]


def _calibration(report: Report) -> str:
    before, after = report.record.get("ece_before"), report.record.get("ece_after")
    if not is_figure(after):
        return ""
    was = f", {before:.3f} before calibration" if is_figure(before) else ""
    heat = report.record.get("temperature")
    at = f" (temperature {heat:.2f})" if is_figure(heat) else ""
    return f"Calibration: the scores miss the true frequency by {after:.3f} on average (ECE, 15 bins){was}{at}."


def _proof(report: Report) -> str:
    proof = report.record.get("verification")
    proof = proof if isinstance(proof, dict) else report.record
    agreement: Any = proof.get("agreement")
    difference: Any = proof.get("largest_difference")
    if not (is_figure(agreement) and is_figure(difference)):
        return ""
    return (
        f"Export: bestModel.onnx and the trained network give the same class for {percent(agreement)} of "
        f"{proof.get('pictures', report.pictures):,} held-out pictures; {largest_difference(difference)}."
    )


def _share(value: float) -> str:
    return "–" if math.isnan(value) else percent(value)


def _f1(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(elide(name, 40) for name in names[:5]) + more
