"""Leaks: test images that the model has seen something of, as near copies, groups or close neighbours.

A near copy or an image of one group in the training part makes the test accuracy look better than it is. So does
another photo of the same object, which no hash finds: the training compares features for that (``neighbours.csv``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mb_jupyter.display import Markup, counted, details, elide, escape, percent, table, text_table

from . import intervals
from .files import is_figure, rows_of
from .pictures import framed
from .sections import Section, Sheet, ends, of, paragraphs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .evaluation import Report

MANY = 0.2  # of the test images: with so many close neighbours every headline says so
MOST = 0.5
PAIRS = {False: 4, True: 12}  # shown, in the notebook and on the page
COLUMNS = ("Test images", "Right", "95 % interval")
PAIR_COLUMNS = ("Test image", "Nearest training image", "Similarity")
COPY, CLOSE, ALONE = (
    "with a near copy or an image of its group in training",
    "with a close neighbour in training",
    "without",
)


def copied(report: Report) -> np.ndarray[Any, Any] | None:
    """Return which test images share a group with an image that was learned from; None where no groups are kept."""
    split, names = report.split, report.told("Group")
    if split is None or names is None:
        return None
    learned = set(split["Group"][split["Split"] != "test"]) - {""}
    return names.isin(learned).to_numpy(bool)


def close(report: Report) -> np.ndarray[Any, Any] | None:
    """Return which test images have a close neighbour by their features; None where a run did not look for them."""
    found = report.neighbours
    if found is None:
        return None
    near = set(found["ImageSource"][found["Close"] == "1"])
    return report.frame["ImageSource"].isin(near).to_numpy(bool)


def frame(report: Report) -> pd.DataFrame | None:
    """Return Images, Right, Pictures, Accuracy and its interval with and without leaks; None where nothing is known."""
    import numpy as np
    import pandas as pd

    near, like = copied(report), close(report)
    if near is None and like is None:
        return None
    nothing = np.zeros(report.pictures, bool)
    near = nothing if near is None else near
    like = nothing if like is None else like & ~near
    right = report.true == report.given
    rows = []
    for name, which in ((COPY, near), (CLOSE, like), (ALONE, ~near & ~like)):
        low, high = intervals.share(right[which], report.groups[which])
        number = int(which.sum())
        rows.append((name, int(right[which].sum()), number, right[which].mean() if number else np.nan, low, high))
    return pd.DataFrame(rows, columns=["Images", "Right", "Pictures", "Accuracy", "AccuracyLow", "AccuracyHigh"])


def caveats(report: Report) -> list[str]:
    """Return what must stand beside the accuracy wherever it is shown; nothing where nothing speaks against it."""
    found = []
    left_out = report.record.get("test_images_left_out")
    if is_figure(left_out) and left_out > 0:
        found.append(
            f"The run was stopped while its test images were scored: the accuracy comes from {report.pictures:,} of "
            f"{report.pictures + int(left_out):,}, chosen at random."
        )
    if report.leaked:
        have = (
            "has a near copy or an image of its group"
            if report.leaked == 1
            else "have near copies or images of their group"
        )
        found.append(
            f"Leak: {report.leaked:,} of {counted(report.pictures, 'test image')} {have} in the training or validation "
            f"part, so the accuracy looks better than it is{_without(report)}."
        )
    like = close(report)
    number = 0 if like is None else int(like.sum())
    if number >= MANY * report.pictures and number > 1:
        most = "Most test images" if number > MOST * report.pictures else "Many test images"
        found.append(
            f"{most} ({number:,} of {report.pictures:,}) have a close neighbour in the training or validation part"
            f"{'' if report.leaked else _without(report)}. If such pairs show the same object, keep them together with "
            "`group:` and train again."
        )
    return found


def marked(record: dict[str, Any]) -> str:
    """Return a short mark for a list of runs from ``report.json`` alone: what the caveats are about, or nothing."""
    near, leaked = record.get("neighbours"), record.get("leaked")
    told = near if isinstance(near, dict) else {}
    number, tests = told.get("close"), told.get("test")
    if is_figure(leaked) and leaked:
        return "leaks"
    if is_figure(number) and is_figure(tests) and number > 1 and number >= MANY * tests:
        return "close neighbours"
    return ""


def _without(report: Report) -> str:
    """Return the accuracy on the images that nothing was seen of, as the end of a sentence."""
    told = frame(report)
    alone = None if told is None else told.iloc[-1]
    if alone is None or not alone["Pictures"]:
        return "; no other test images are left to compare with"
    return f"; on the other {int(alone['Pictures']):,} it is {percent(alone['Accuracy'])}"


def section(sheet: Sheet) -> Section | None:
    """Return accuracy with and without leaks, and the pairs; nothing of a run that knows nothing of them."""
    told = frame(sheet.report)
    if told is None:
        return None
    rows = [
        (row.Images, of(row.Right, row.Pictures), ends(row.AccuracyLow, row.AccuracyHigh))
        for row in rows_of(told)
        if row.Pictures
    ]
    sentences = [*sheet.report.caveats, *_how(sheet.report)]
    leaking = int(told["Pictures"][:2].sum())
    if leaking:
        gist = f"{leaking:,} of {sheet.report.pictures:,} test images"
        compared, drawn = [text_table(COLUMNS, rows, right=(1,))], table(COLUMNS, rows, right=(1,))
    else:  # all test images are alike in this: the headline has their accuracy
        gist, compared, drawn = "none found" if _told_apart(sheet.report) else "", [], ""
    pairs_text, pairs_html = _pairs(sheet)
    text = "\n".join([*sentences, *compared, *pairs_text])
    page = paragraphs(*sentences) + drawn + pairs_html
    return Section("Leaks", text, page, bool(sheet.report.caveats), gist)


def _told_apart(report: Report) -> bool:
    """Whether the run could tell close neighbours from other images."""
    near = report.record.get("neighbours")
    if close(report) is None or not isinstance(near, dict):
        return False
    return near.get("above", near.get("jump")) is not None  # a jump: what earlier versions measured


def _how(report: Report) -> list[str]:
    """Say how close neighbours were found, and whether there are any."""
    near = report.record.get("neighbours")
    if close(report) is None or not isinstance(near, dict):
        return (
            ["This run did not compare the features of test and training images."] if report.split is not None else []
        )
    if not _told_apart(report):
        return ["Close neighbours could not be told apart: too few images to know what is usual between classes."]
    like = close(report)
    none = [] if like is None or like.any() else ["No test image has a close neighbour in training."]
    return [
        *none,
        "A close neighbour stands out, by the pretrained network's features, from other images of its class, as only "
        f"{percent(near.get('chance') or 0)} of the images do in other classes.",
    ]


def _pairs(sheet: Sheet) -> tuple[list[str], str]:
    found = sheet.report.neighbours
    if found is None:
        return [], ""
    near = found[found["Close"] == "1"].sort_values("Similarity", ascending=False, kind="stable")
    if near.empty:
        return [], ""
    shown = near.head(PAIRS[sheet.whole])
    thumbnails = sheet.album.take([*shown["ImageSource"], *shown["Neighbour"]])
    rows = [(elide(r.ImageSource, 60), elide(r.Neighbour, 60), r.Similarity) for r in rows_of(shown)]
    framed_rows = [
        (Markup(_side(thumbnails, r.ImageSource)), Markup(_side(thumbnails, r.Neighbour)), r.Similarity)
        for r in rows_of(shown)
    ]
    title = f"Pairs of close neighbours ({len(shown):,} of {len(near):,})"
    page = details(title, table(PAIR_COLUMNS, framed_rows, right=(2,), vertical="middle"), is_open=sheet.whole)
    return [title, text_table(PAIR_COLUMNS, rows, right=(2,))], page


def _side(thumbnails: dict[str, bytes], source: str) -> str:
    return f'{framed(thumbnails.get(source), source)}<div style="font-size:11px">{escape(elide(source, 40))}</div>'
