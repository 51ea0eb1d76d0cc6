"""The confusion matrix of the Evaluate step: its cells are buttons that open their pictures."""

from __future__ import annotations

from typing import Any

from mb_jupyter.display import FONT, elide, escape
from mb_jupyter.report import Report

from .gallery import Gallery
from .parts import choice

MOST = 12  # classes in the grid: more buttons neither fit nor can be walked through by keyboard
NAMED = 5  # classes up to which a column has room for its name, and not for its number only
LISTED = 200  # mix-ups in the list
RIGHT, WRONG = "59,125,216", "209,69,59"
SHADES = 5
NOT_YET = "Choose a cell or a mix-up to see its pictures."


class Matrix:
    """A grid of counts, a list of the mix-ups, the pictures of the one that was chosen."""

    def __init__(self, report: Report, gallery: Gallery) -> None:
        import ipywidgets as widgets

        self._report, self._gallery = report, gallery
        self._classes = most_mixed_up(report)
        note = f"Rows are true classes, columns what the model answered. {NOT_YET}"
        if len(self._classes) < len(report.classes):
            note = f"The {len(self._classes)} of {len(report.classes):,} classes that are mixed up most often. {note}"
        said = widgets.HTML(f'<div style="{FONT}">{escape(note)}</div>')
        self.widget = widgets.VBox([said, self._grid(), self._list(), gallery.widget])

    def choose(self, true: str, predicted: str) -> None:
        """Show the pictures of a cell."""
        rows = self._report.pictures_in(true, predicted)
        self._gallery.show(self._said(true, predicted, len(rows)), rows)

    def _said(self, true: str, predicted: str, count: int) -> str:
        support = int(self._report.confusion.loc[true].to_numpy().sum())
        what = "rightly answered" if true == predicted else f"taken for {elide(predicted, 40)}"
        return f"{count:,} of {support:,} pictures of {elide(true, 40)} {'was' if count == 1 else 'were'} {what}"

    def _grid(self) -> Any:
        import ipywidgets as widgets

        counts = self._report.confusion.loc[self._classes, self._classes].to_numpy()
        support = self._report.confusion.loc[self._classes].to_numpy().sum(axis=1)
        narrow = widgets.Layout(width="auto", margin="1px", padding="0", height="28px")
        zero = _text("0", "text-align:center;opacity:.7;line-height:28px")  # one for all: it has no state
        styles: dict[tuple[str, int], Any] = {}
        cells: list[Any] = [_text("", "")]
        few = len(self._classes) <= NAMED
        cells += [
            _text(f"{j + 1}: {name}" if few else str(j + 1), f"{_ELIDED};text-align:center", f"{j + 1}: {name}")
            for j, name in enumerate(self._classes)
        ]
        for i, true in enumerate(self._classes):
            cells.append(_text(f"{i + 1}: {true}", f"{_ELIDED};line-height:28px", true))
            for j, given in enumerate(self._classes):
                count = int(counts[i, j])
                if not count:
                    cells.append(zero)
                    continue
                shade = max(1, round(SHADES * count / max(1, support[i])))
                key = (RIGHT if i == j else WRONG, shade)
                if key not in styles:
                    colour = f"rgba({key[0]},{0.12 + 0.11 * shade:.2f})"
                    styles[key] = widgets.ButtonStyle(button_color=colour)
                cell = widgets.Button(
                    description=f"{count:,}", tooltip=self._said(true, given, count), layout=narrow, style=styles[key]
                )
                cell.on_click(lambda _, true=true, given=given: self.choose(true, given))
                cells.append(cell)
        columns = f"minmax(80px,160px) repeat({len(self._classes)},minmax(34px,72px))"
        grid = widgets.GridBox(cells, layout=widgets.Layout(grid_template_columns=columns, overflow="auto"))
        grid.add_class("mb-matrix")
        return grid

    def _list(self) -> Any:
        import ipywidgets as widgets

        confusions = self._report.confusions[:LISTED]
        options: list[Any] = [(str(one), (one.true, one.predicted)) for one in confusions]
        more = len(self._report.confusions) - len(options)
        if not options:
            return _text("Nothing was mixed up.", "")
        said = [_text(f"The {LISTED} most frequent of {LISTED + more:,} mix-ups:", "")] if more > 0 else []
        # no list of several rows: in JupyterLab the arrow keys would go to the notebook
        chosen = choice("Mix-ups", [("choose one", None), *options])

        def picked(change: Any) -> None:
            if change["new"]:
                self.choose(*change["new"])

        chosen.observe(picked, "value")
        return widgets.VBox([*said, chosen])


_ELIDED = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap;padding:0 4px"


def _text(text: str, style: str, title: str = "") -> Any:
    import ipywidgets as widgets

    tip = f' title="{escape(title)}"' if title else ""
    return widgets.HTML(
        f'<div{tip} style="{FONT};{style}">{escape(text)}</div>',
        layout=widgets.Layout(margin="0", min_width="0", overflow="hidden"),
    )


def most_mixed_up(report: Report) -> list[str]:
    """Return the classes for the grid in their own order: all of a few, of many those in the most mix-ups."""
    if len(report.classes) <= MOST:
        return list(report.classes)
    chosen: dict[str, None] = {}
    for one in report.confusions:
        if len({*chosen, one.true, one.predicted}) <= MOST:
            chosen |= {one.true: None, one.predicted: None}
    for name in report.classes:
        if len(chosen) < MOST:
            chosen.setdefault(name)
    return [name for name in report.classes if name in chosen]
