"""The parts of the report that say what is right and what is wrong: classes, confusions, curves, mistakes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mb_jupyter.display import (
    ROUND,
    Markup,
    bar,
    counted,
    details,
    elide,
    escape,
    image,
    percent,
    table,
    text_table,
)

from .files import rows_of
from .pictures import Album, framed

if TYPE_CHECKING:
    from .evaluation import Report

MOST_CONFUSIONS = 5  # in words
MOST_ROWS = 50  # classes in the notebook's table; the page has all
MOST_COLUMNS = 20  # classes up to which the confusion matrix is a table
MOST_CELLS = 40  # of a larger one, opening to their images
IN_A_CELL = 4  # thumbnails
NAMES_IN_A_CELL = 12
CODE = re.compile("`([^`]+)`")
MISTAKES = {False: 10, True: 24}  # in the notebook, on the page


@dataclass(frozen=True)
class Section:
    """One part of the report, in words and as HTML; ``is_open`` where it is essential in the notebook."""

    title: str
    text: str
    html: str
    is_open: bool = False
    gist: str = ""  # beside the title while it is folded


@dataclass(frozen=True)
class Sheet:
    """What a section is made from: the report, its images, and whether there is room for all of it."""

    report: Report
    album: Album
    whole: bool


def said(title: str, *sentences: str, is_open: bool = False) -> Section:
    """Return a section of sentences alone."""
    kept = [sentence for sentence in sentences if sentence]
    return Section(title, "\n".join(kept), paragraphs(*kept), is_open)


def paragraphs(*sentences: str) -> str:
    """Return sentences as HTML, each on its own line."""
    return "".join(f'<div style="margin:4px 0">{prose(sentence)}</div>' for sentence in sentences if sentence)


def prose(sentence: str) -> str:
    """Return a sentence as HTML; what stands between backticks is code."""
    return CODE.sub(r"<code>\1</code>", escape(sentence))


def of(count: float, number: float) -> str:
    """Return a share with the counts behind it: ``75.0 % (3 of 4)``."""
    return f"{percent(count / number)} ({int(count):,} of {int(number):,})" if number else "–"


def ends(low: float, high: float) -> str:
    """Return an interval of a share, with as many digits as keep its ends apart."""
    if math.isnan(low):
        return "–"
    digits = next((digits for digits in range(3) if f"{low * 100:.{digits}f}" != f"{high * 100:.{digits}f}"), 2)
    return f"{low * 100:.{digits}f} to {high * 100:.{digits}f} %"


def decimals(value: float, digits: int = 3) -> str:
    """Return a figure, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def few(names: Sequence[str]) -> str:
    """Return the first names and how many more."""
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(elide(name, 40) for name in names[:5]) + more


# -- classes ---------------------------------------------------------------------------------------------

CLASS_COLUMNS = ("Class", "Images", "Recall", "95 % interval", "Precision", "F1", "AP")


def classes(sheet: Sheet) -> Section:
    """Return support, recall with interval, precision, F1 and average precision of every class."""
    shown = [row for row, _ in _class_rows(sheet.report, MOST_ROWS)]
    listed = _class_rows(sheet.report, len(sheet.report.classes) if sheet.whole else MOST_ROWS)
    rows = [(*row, bar(0.0 if math.isnan(f1) else f1, width=70)) for row, f1 in listed]
    notes = list(_class_notes(sheet.report, whole=False))
    figures = table((*CLASS_COLUMNS, ""), rows, right=(1, 5, 6))
    page = figures + paragraphs(how_to_read(sheet.report), *_class_notes(sheet.report, whole=sheet.whole))
    return Section("Classes", "\n".join([text_table(CLASS_COLUMNS, shown, right=(1, 5, 6)), *notes]), page, True)


HOW_TO_READ = (
    "Recall: of the images of the class, how many were found. Precision: of the answers that name the class, how "
    "many are right. F1 joins both; AP (average precision) judges the order of the class's scores. The interval is "
    "that of the recall, after Wilson{by_group}."
)
BY_GROUP = (
    ", with the images of a group, which are never parted, counted for as many as are independent: {images} in {groups}"
)


def how_to_read(report: Report) -> str:
    """Return what the columns mean, and what the intervals rest on."""
    numbers = {"images": counted(report.pictures, "test image"), "groups": counted(report.group_count, "group")}
    return HOW_TO_READ.format(by_group=BY_GROUP.format(**numbers) if report.grouped else "")


def _class_rows(report: Report, most: int) -> list[tuple[tuple[str, ...], float]]:
    """Return the cells and the F1 of every class, or of very many classes those of the weakest."""
    frame = report.per_class.loc[report.shown_classes]
    if len(frame) > most:
        frame = frame.sort_values("F1", kind="stable").head(most)
    return [
        (
            (
                elide(str(row.Index), 40),
                f"{row.Support:,}",
                of(row.Right, row.Support),
                ends(row.RecallLow, row.RecallHigh),
                of(row.Right, row.Answered),
                decimals(row.F1),
                decimals(row.AP),
            ),
            row.F1,
        )
        for row in rows_of(frame)
    ]


def _class_notes(report: Report, *, whole: bool) -> Iterator[str]:
    frame = report.per_class
    if len(report.classes) > MOST_ROWS and not whole:
        yield f"Shown are the {MOST_ROWS} weakest of {len(report.classes):,} classes; .per_class has all of them."
    yield _averages(report)
    if report.grouped and not whole:
        yield f"The intervals are by group: {counted(report.pictures, 'test image')} in {report.group_count:,} groups."
    if absent := list(frame.index[frame["Support"] == 0]):
        yield f"Without test images, so that nothing is known of it: {few(absent)}."
    if unanswered := list(frame.index[frame["Precision"].isna() & (frame["Support"] > 0)]):
        yield f"Never answered, so that its precision does not exist (–): {few(unanswered)}."


def _averages(report: Report) -> str:
    """Return the figures over all classes, and how often the true class is among the first answers."""
    macro, weighted = (
        f"precision {row.Precision:.3f}, recall {row.Recall:.3f}, F1 {row.F1:.3f}" for row in rows_of(report.averages)
    )
    sentence = (
        f"Macro average: {macro}; weighted by test images: {weighted}. Balanced accuracy (the mean recall): "
        f"{percent(report.balanced_accuracy)} (95 % interval {ends(*report.balanced_interval)})."
    )
    first = ", ".join(
        f"{row.K} answers in {of(row.Right, report.pictures)} ({ends(row.Low, row.High)})"
        for row in rows_of(report.top_k)
    )
    return f"{sentence} The true class is among the first {first}." if first else sentence


# -- confusions ------------------------------------------------------------------------------------------


def confusions(sheet: Sheet) -> Section:
    """Return the confusion matrix as a plot and as a table whose cells open to their images."""
    from mb_jupyter.plots import MOST_NAMES, confusion_matrix, confusion_matrix_alt

    report = sheet.report
    names = report.shown_classes
    counts = report.confusion.loc[names, names].to_numpy()
    alt = confusion_matrix_alt(counts, names)
    picture = image(report.drawn("confusion", lambda: confusion_matrix(counts, names)), alt, style=ROUND)
    if len(names) > MOST_NAMES:
        numbered = ", ".join(f"{number}: {name}" for number, name in enumerate(names, 1))
        picture += details("The classes of the plot by number", paragraphs(numbered))
    most = [str(pair) for pair in report.confusions[:MOST_CONFUSIONS]]
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in most)
    words = f'<div>Most frequent mistakes:<ul style="margin:2px 0">{items}</ul></div>' if most else ""
    if len(report.classes) <= MOST_COLUMNS:
        title, figures = "Counts and shares; a cell opens to its images", _matrix(sheet)
    else:
        title, figures = "The most frequent confusions; each opens to its images", _pairs(sheet)
    text = "\n".join(["Most frequent mistakes:", *(f"  {line}" for line in most)]) if most else "There is no mistake."
    page = f"{words or paragraphs(text)}<div>{picture}</div>{details(title, figures, is_open=sheet.whole)}"
    return Section("Confusions", text, page, True)


def _matrix(sheet: Sheet) -> str:
    report = sheet.report
    names = report.shown_classes
    counts = report.confusion.loc[names, names].to_numpy()
    # mistakes are what one opens first: they get their thumbnails before the right answers do
    order = sorted(zip(*counts.nonzero(), strict=True), key=lambda at: (at[0] == at[1], -counts[at]))
    cells = {at: _cell(sheet, names[at[0]], names[at[1]], int(counts[at]), int(counts[at[0]].sum())) for at in order}
    rows = [
        (
            Markup(f'<div style="margin:4px 0;font-weight:600">{escape(elide(name, 24))}</div>'),
            *(cells.get((i, j), "") for j in range(len(names))),
        )
        for i, name in enumerate(names)
    ]
    return table(("True class, answered:", *(elide(name, 24) for name in names)), rows)


def _cell(sheet: Sheet, true: str, predicted: str, count: int, support: int) -> Markup:
    summary = f"{count:,} · {percent(count / support)}"
    return Markup(f'<div style="white-space:nowrap">{details(summary, _pictures_of(sheet, true, predicted))}</div>')


def _pairs(sheet: Sheet) -> str:
    shown = sheet.report.confusions[: MOST_CELLS if sheet.whole else MOST_CELLS // 2]
    rest = len(sheet.report.confusions) - len(shown)
    parts = [details(str(pair), _pictures_of(sheet, pair.true, pair.predicted)) for pair in shown]
    return "".join(parts) + paragraphs(f"and {counted(rest, 'rarer one')}: report.confusions." if rest else "")


def _pictures_of(sheet: Sheet, true: str, predicted: str) -> str:
    frame = sheet.report.pictures_in(true, predicted)
    rows = [(row.ImageSource, percent(row.Score)) for row in rows_of(frame.head(IN_A_CELL))]
    names = [elide(str(name), 60) for name in frame["ImageSource"][IN_A_CELL:NAMES_IN_A_CELL]]
    listed = "".join(f'<div style="font-size:11px;opacity:.8">{escape(name)}</div>' for name in names)
    rest = len(frame) - NAMES_IN_A_CELL
    more = f"and {rest:,} more: report.pictures_in({true!r}, {predicted!r})" if rest > 0 else ""
    width = 210 if true != predicted else 110
    return f'<div style="max-width:{width}px;white-space:normal">{sheet.album.strip(rows, IN_A_CELL)}' + (
        f"{listed}{paragraphs(more)}</div>"
    )


# -- curves ----------------------------------------------------------------------------------------------


def curves(sheet: Sheet) -> Section:
    """Return loss and accuracy over the epochs with the best one."""
    from mb_jupyter.plots import last_figures, metric_curves, metric_curves_alt

    epochs = sheet.report.epochs
    if not epochs:
        return said("Training", "The run has no metrics.jsonl with epochs, so there are no curves.")
    sentence, picture = metric_curves_alt(epochs), ""
    gist = counted(len(epochs), "epoch")
    if all(record.get("phase") == "features" for record in epochs):
        gist = "the head on frozen features"
        sentence = f"Only the head was trained, on frozen features, so there is no curve: {last_figures(epochs)}."
    else:
        drawn = sheet.report.drawn("curves", lambda: metric_curves(epochs))
        picture = f"<div>{image(drawn, sentence, style=ROUND)}</div>"
    sentences = [sentence, UNLIKE, apart(sheet.report), leaks(sheet.report)]
    text = "\n".join(filter(None, sentences))
    return Section("Training", text, picture + paragraphs(*sentences), gist=gist)


UNLIKE = (
    "The validation loss is that at the best temperature for the validation images; the training loss is taken as "
    "trained, so the two cannot be compared."
)


def apart(report: Report) -> str:
    """Say in which choices of the run the test images took part."""
    by = ["the recommended threshold"] if report.choice_frame is None else []
    if report.record.get("recommended_variant") and not report.record.get("variant_choice"):
        by.append("the choice between float32 and int8")
    if not by:
        return (
            "The test images were not used for training or for any choice: what was chosen rests on training "
            f"and validation images ({report.choices_from})."
        )
    rest = "rests" if len(by) == 1 else "rest"
    return f"The test images were not used for training; {' and '.join(by)} {rest} on them."


def leaks(report: Report) -> str:
    """Say whether the split keeps test images and their copies out of the training."""
    if report.leaked is None:
        return ""
    if not report.leaked:
        return (
            "No test image is in a group with a training or validation image (the column Group of split.csv: copies "
            "and near-duplicates that were found, and groups that were given)."
        )
    have = (
        "has a near copy or an image of its group"
        if report.leaked == 1
        else "have near copies or images of their group"
    )
    return f"{report.leaked:,} of {counted(report.pictures, 'test image')} {have} in the training or validation part."


# -- mistakes --------------------------------------------------------------------------------------------

MISTAKE_COLUMNS = ("True", "Answered", "Score", "Score of the true class", "Image")


def mistakes(sheet: Sheet) -> Section:
    """Return the wrong answers that were given most surely."""
    report, frame = sheet.report, sheet.report.mistakes
    if frame.empty:
        return said("Most confident mistakes", f"No answer on {counted(report.pictures, 'test image')} is wrong.")
    shown = frame.head(MISTAKES[sheet.whole])
    found = sheet.album.take(list(shown["ImageSource"]))
    rows = [
        (elide(r.Label, 30), elide(r.Prediction, 30), percent(r.Score), percent(r.LabelScore), elide(r.ImageSource, 60))
        for r in rows_of(shown)
    ]
    pictures = [framed(found.get(source), source) for source in shown["ImageSource"]]
    rest = f" The {len(shown)} most confident are shown; report.mistakes has all." if len(frame) > len(shown) else ""
    are = "is" if len(frame) == 1 else "are"
    sentence = f"{len(frame):,} of {counted(report.pictures, 'test image')} {are} answered wrongly.{rest}"
    page = table(("", *MISTAKE_COLUMNS), [(p, *r) for p, r in zip(pictures, rows, strict=True)], right=(3, 4),
                 vertical="middle")  # fmt: skip
    text = text_table(MISTAKE_COLUMNS, rows[: MISTAKES[False]], right=(2, 3))
    gist = f"{len(frame):,} of {report.pictures:,} are wrong"
    return Section("Most confident mistakes", f"{sentence}\n{text}", paragraphs(sentence) + page, gist=gist)
