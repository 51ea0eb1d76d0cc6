"""What a command leaves in the notebook: plain text and HTML that need nothing else.

Inline styles only and no script, because an untrusted notebook loses ``<style>``, ``<svg>`` and
``<script>``; PNG pictures with alt text; colours that read on light and dark backgrounds, and no
meaning carried by a colour alone.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.45"
ACCENT = "#3b7dd8"
GOOD = "#2e8b57"
WARN = "#b8860b"
BAD = "#d1453b"
FAINT = "rgba(128,128,128,.18)"


def escape(text: object) -> str:
    """Return ``text`` as HTML text; names of files and classes are data, never markup."""
    return html.escape(str(text), quote=True)


def image(png: bytes, alt: str, width: int | None = None) -> str:
    """Return an ``<img>`` with the PNG inside it; ``alt`` says what it shows."""
    size = f"max-width:100%;width:{width}px" if width else "max-width:100%"
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" style="{size}">'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()) -> str:
    """Return an HTML table of escaped cells; ``right`` lists the columns of figures.

    A cell that is already HTML is wrapped in :class:`Markup`.
    """
    numeric = set(right)

    def cell(tag: str, index: int, value: object) -> str:
        side = "right" if index in numeric else "left"
        style = f"text-align:{side};padding:2px 10px 2px 0;border-bottom:1px solid {FAINT};vertical-align:top"
        scope = ' scope="col"' if tag == "th" else ""
        return f'<{tag}{scope} style="{style}">{_markup(value)}</{tag}>'

    head = "".join(cell("th", i, name) for i, name in enumerate(columns))
    body = "".join("<tr>" + "".join(cell("td", i, value) for i, value in enumerate(row)) + "</tr>" for row in rows)
    return (
        f'<table style="border-collapse:collapse;margin:4px 0;{FONT}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


@dataclass(frozen=True)
class Markup:
    """HTML made by this program, to be put into a page as it is."""

    text: str

    def __str__(self) -> str:
        return self.text


def _markup(value: object) -> str:
    return value.text if isinstance(value, Markup) else escape(value)


def bar(fraction: float, *, colour: str = ACCENT, width: int = 160) -> Markup:
    """Return a horizontal bar, ``fraction`` of ``width`` pixels long; say the figure beside it."""
    filled = max(0.0, min(1.0, fraction)) * 100
    return Markup(
        f'<span aria-hidden="true" style="display:inline-block;width:{width}px;max-width:100%;height:10px;'
        f'background:{FAINT};border-radius:3px;vertical-align:middle"><span style="display:block;height:10px;'
        f'width:{filled:.1f}%;background:{colour};border-radius:3px"></span></span>'
    )


def details(summary: str, content: str, *, is_open: bool = False) -> str:
    """Return a part that folds; it works without script and by keyboard."""
    opened = " open" if is_open else ""
    return (
        f'<details{opened} style="margin:4px 0"><summary style="cursor:pointer">{escape(summary)}</summary>'
        f"{content}</details>"
    )


def card(title: str, content: str, *, colour: str = ACCENT) -> str:
    """Return a framed part with a title; ``content`` is HTML already."""
    frame = f"border-left:3px solid {colour};padding:4px 0 4px 12px;margin:4px 0;max-width:960px"
    return f'<div style="{FONT};{frame}"><div style="font-weight:600">{escape(title)}</div>{content}</div>'


def text_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the same table as plain text, columns aligned."""
    cells = [[str(name) for name in columns], *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``8 s``, ``2:05``, ``1:02:05``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass(frozen=True)
class Shown:
    """One durable output: ``text`` is complete in itself, ``html`` says the same and shows pictures."""

    text: str
    html: str = ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"text/plain": self.text}
        if self.html:
            bundle["text/html"] = self.html
        return bundle


class Durable:
    """One output that is replaced in place and stays in the saved notebook.

    Safe to update from a thread: it only ever goes through its own display handle.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, shown: Shown) -> None:
        """Show, or replace what was shown."""
        from IPython.display import display

        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def somebody_there() -> bool:
    """Tell whether a person can answer: False under nbclient, nbconvert and papermill."""
    from IPython import get_ipython  # type: ignore[attr-defined]

    shell = get_ipython()  # type: ignore[no-untyped-call]
    try:
        return bool(shell.get_parent()["content"]["allow_stdin"])
    except (AttributeError, KeyError, TypeError):
        return False
