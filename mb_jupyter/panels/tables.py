"""A table of the panels: its heads are buttons that sort it, a word filters it, and many rows come in pages.

A widget has no table, so the rows are HTML with the roles of one, and the buttons of the heads stand above
them in a grid of the same columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mb_jupyter.display import FAINT, FONT, Markup, escape

PAGE = 20  # rows
UP, DOWN = "\N{BLACK UP-POINTING TRIANGLE}", "\N{BLACK DOWN-POINTING TRIANGLE}"
HIDDEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"  # but read aloud


class Column(NamedTuple):
    """A column: its head, how a value is written, and how wide it is, as CSS grid says it."""

    title: str
    show: Callable[[Any], object] = str
    width: str = "minmax(72px,1fr)"
    figures: bool = True
    about: str = ""


class Pager:
    """Previous and Next below something that has many pages; hidden where one page holds all."""

    def __init__(self, size: int, noun: str, show: Callable[[int, int], None]) -> None:
        import ipywidgets as widgets

        self._size, self._noun, self._show = size, noun, show
        self._first, self._total = 0, 0
        narrow = widgets.Layout(width="auto")
        self._back = widgets.Button(description="Previous", tooltip=f"Earlier {noun}", layout=narrow)
        self._on = widgets.Button(description="Next", tooltip=f"Further {noun}", layout=narrow)
        self._said = widgets.HTML()
        self._back.on_click(lambda _: self._turn(-size))
        self._on.on_click(lambda _: self._turn(size))
        self.widget = widgets.HBox([self._back, self._on, self._said], layout=widgets.Layout(align_items="center"))

    def begin(self, total: int) -> None:
        """Show the first page of ``total`` things."""
        self._total, self._first = total, 0
        self._turn(0)

    def _turn(self, step: int) -> None:
        self._first = max(0, min(self._first + step, max(0, self._total - 1) // self._size * self._size))
        last = min(self._total, self._first + self._size)
        self._back.disabled = self._first == 0
        self._on.disabled = last >= self._total
        self.widget.layout.display = None if self._total > self._size else "none"
        self._said.value = f"{self._noun} {self._first + 1:,} to {last:,} of {self._total:,}"
        self._show(self._first, last)


class SortedTable:
    """Rows of values that a press on a head sorts; what does not exist (None, NaN) stays last.

    The word to filter by is offered where there is more than a page, or ``filtered`` is set. ``on_change`` is
    told when :attr:`shown` may be others.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[Any]] = (),
        *,
        caption: str,
        by: int = 0,
        down: bool = False,
        least: str = "0px",
        filtered: bool = False,
        page: int = PAGE,
    ) -> None:
        import ipywidgets as widgets

        self._columns, self._rows = tuple(columns), [tuple(row) for row in rows]
        self._by, self._down, self._caption, self._chosen = by, down, caption, list(self._rows)
        self._filtered, self._page = filtered, page
        self.on_change: Callable[[], None] | None = None
        self._template = " ".join(column.width for column in columns)
        self._heads = [self._head(i) for i in range(len(columns))]
        heads = widgets.GridBox(
            self._heads,
            layout=widgets.Layout(grid_template_columns=self._template, grid_gap="0px", min_width=least),
        )
        self._body = widgets.HTML(layout=widgets.Layout(margin="0", min_width=least))
        self._filter = widgets.Text(
            description="Filter", placeholder="part of a name", continuous_update=True,
            layout=widgets.Layout(width="260px", max_width="100%"), style={"description_width": "initial"},
        )  # fmt: skip
        self._filter.observe(lambda _: self._arrange(), "value")
        self._pager = Pager(page, "rows", self._draw)
        scrolled = widgets.VBox([heads, self._body], layout=widgets.Layout(overflow="auto hidden", width="100%"))
        self.widget = widgets.VBox([self._filter, scrolled, self._pager.widget])
        self.fill(self._rows)

    @property
    def shown(self) -> list[tuple[Any, ...]]:
        """The rows that the filter leaves, in their order."""
        return self._chosen

    def fill(self, rows: Sequence[Sequence[Any]]) -> None:
        """Show other rows in the same order."""
        self._rows = [tuple(row) for row in rows]
        self._filter.layout.display = None if self._filtered or len(self._rows) > self._page else "none"
        self._arrange()

    def sort(self, by: int) -> None:
        """Sort by a column; the same once more turns the order round."""
        self._down = not self._down if by == self._by else self._columns[by].figures
        self._by = by
        self._arrange()

    def _head(self, index: int) -> Any:
        import ipywidgets as widgets

        column = self._columns[index]
        head = widgets.Button(
            tooltip=f"Sort by {column.title}. {column.about}".rstrip(),
            layout=widgets.Layout(
                width="auto", margin="0", padding="0 8px", height="26px", overflow="hidden",
                display="flex", justify_content="flex-end" if column.figures else "flex-start",
            ),
            style={"button_color": "transparent", "font_weight": "600"},
        )  # fmt: skip
        head.on_click(lambda _: self.sort(index))
        return head

    def _arrange(self) -> None:
        for index, (column, head) in enumerate(zip(self._columns, self._heads, strict=True)):
            mark = f" {DOWN if self._down else UP}" if index == self._by else ""
            head.description = f"{column.title}{mark}"
        word = self._filter.value.strip().casefold()
        rows = [row for row in self._rows if not word or any(word in str(v).casefold() for v in row)]
        known = [row for row in rows if not _unknown(row[self._by])]
        known.sort(key=lambda row: _key(row[self._by]), reverse=self._down)
        self._chosen = known + [row for row in rows if _unknown(row[self._by])]
        self._pager.begin(len(self._chosen))
        if self.on_change is not None:
            self.on_change()

    def _draw(self, first: int, last: int) -> None:
        lines = "".join(self._line(row) for row in self._chosen[first:last])
        names = "".join(f'<span role="columnheader">{escape(column.title)}</span>' for column in self._columns)
        nothing = "" if self._chosen else '<div style="padding:4px">Nothing matches.</div>'
        self._body.value = (
            f'<div role="table" aria-label="{escape(self._caption)}" style="{FONT};position:relative">'
            f'<div role="row" style="{HIDDEN}">{names}</div>{lines}</div>{nothing}'
        )

    def _line(self, row: tuple[Any, ...]) -> str:
        cells = []
        for column, value in zip(self._columns, row, strict=True):
            side = "right" if column.figures else "left"
            shown = "–" if _unknown(value) else column.show(value)
            inside = shown.text if isinstance(shown, Markup) else escape(shown)
            tip = "" if column.figures else f' title="{escape(value)}"'
            style = f"text-align:{side};overflow:hidden;text-overflow:ellipsis;white-space:nowrap;padding:2px 8px"
            cells.append(f'<span role="cell"{tip} style="{style}">{inside}</span>')
        grid = f"display:grid;grid-template-columns:{self._template};border-bottom:1px solid {FAINT}"
        return f'<div role="row" style="{grid}">{"".join(cells)}</div>'


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _key(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
