"""Pictures of a report in the Evaluate step: a page of them at a time, each with what the model said."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import BAD, FONT, GOOD, TEXT, elide, escape, image, percent

from .tables import Pager

if TYPE_CHECKING:
    import pandas as pd

    from mb_jupyter.report import Report

PAGE = 12
SIDE = 150  # pixels of the square in which a picture is shown
FRAME = "width:150px;height:112px;object-fit:contain;display:block;border-radius:4px;background:rgba(128,128,128,.12)"


class Gallery:
    """The pictures in the rows of a table like ``Report.mistakes``; they are read in a thread.

    ``work(what, done)`` runs ``what`` elsewhere and gives its result to ``done``, as ``Step.work`` does.
    """

    def __init__(self, report: Report, work: Callable[[Callable[[], Any], Callable[[Any], None]], Any]) -> None:
        import ipywidgets as widgets

        self._report, self._work = report, work
        self._rows: pd.DataFrame | None = None
        self._asked = 0
        self._title = widgets.HTML()
        self._body = widgets.HTML()
        self._pager = Pager(PAGE, "pictures", self._page)
        self.widget = widgets.VBox([self._title, self._body, self._pager.widget])

    def show(self, title: str, rows: pd.DataFrame) -> None:
        """Show these rows, from the first page on."""
        self._rows = rows
        self._title.value = f'<div role="status" style="{FONT};font-weight:600">{escape(title)}</div>'
        self._pager.begin(len(rows))

    def _page(self, first: int, last: int) -> None:
        assert self._rows is not None
        rows, report = self._rows.iloc[first:last], self._report
        self._asked += 1
        mine = self._asked

        def done(page: str) -> None:
            if mine == self._asked:  # else another page was asked for in the meantime
                self._body.value = page

        if rows.empty:
            self._body.value = f'<div style="{FONT}">There are none.</div>'
        else:
            self._work(lambda: cards(report, rows), done)


def cards(report: Report, rows: pd.DataFrame) -> str:
    """Return a card for each row: picture, what it is, what the model took it for, and its path."""
    shown = "".join(_card(report, row) for row in rows.to_dict("records"))
    return f'<div style="display:flex;flex-wrap:wrap;gap:10px;{FONT}">{shown}</div>'


def _card(report: Report, row: dict[Any, Any]) -> str:
    source, true, given = str(row["ImageSource"]), str(row["Label"]), str(row["Prediction"])
    right = true == given
    score, of_true = row.get("Score"), row.get("LabelScore")
    first = f"taken for {elide(given, 40)}" if not right else f"rightly {elide(given, 40)}"
    first += f", {_whole(score)}" if score is not None else ""
    second = "" if right else f"is {elide(true, 40)}" + (f", {_whole(of_true)}" if of_true is not None else "")
    line = "overflow:hidden;overflow-wrap:anywhere;max-height:4.05em"  # three lines
    parts = [(first, f"color:{TEXT[GOOD if right else BAD]};font-weight:600"), (second, ""), (source, "opacity:.75")]
    words = "".join(f'<div title="{escape(text)}" style="{line};{style}">{escape(text)}</div>' for text, style in parts)
    alt = f"The picture {source}: {first}" + (f"; it {second}" if second else "")
    return (
        f'<div style="width:{SIDE}px;line-height:1.35;font-size:12px">{_picture(report.path(source), alt)}{words}</div>'
    )


def _whole(share: float) -> str:
    """Return a share that is not broken between its figure and its sign."""
    return percent(share).replace(" ", "\N{NO-BREAK SPACE}")


def _picture(path: Path, alt: str) -> str:
    from mb_jupyter.training.errors import PictureError

    try:
        return image(thumbnail(path), alt, style=FRAME)
    except (OSError, PictureError):
        gone = f"{FRAME};display:flex;align-items:center;justify-content:center;text-align:center;padding:0 8px"
        return f'<div style="{gone};box-sizing:border-box">The picture cannot be read here.</div>'


def thumbnail(path: Path) -> bytes:
    """Return a small JPEG of a picture, upright; of a tiny one a PNG, pixel by pixel."""
    from mb_jupyter.training.preprocess import open_picture

    picture = open_picture(path, at_least=SIDE)
    tiny = max(picture.size) <= 64
    picture.thumbnail((SIDE * 2, SIDE * 2))
    file = io.BytesIO()
    picture.save(file, *(("PNG",) if tiny else ("JPEG",)), quality=80)
    return file.getvalue()
