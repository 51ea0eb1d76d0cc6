"""What a command leaves in the notebook: plain text and HTML that need nothing else.

Inline styles only and no script, because an untrusted notebook loses ``<style>``, ``<svg>`` and
``<script>``; PNG pictures with alt text; colours that read on light and dark backgrounds, and no
meaning carried by a colour alone.
"""

from __future__ import annotations

import base64
import html
import os
import signal
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

# JupyterLab's font, else VS Code's, else the system's
FONT = (
    "font-family:var(--jp-ui-font-family,var(--vscode-font-family,system-ui,sans-serif));"
    "font-size:13px;line-height:1.45"
)
ACCENT = "#3b7dd8"
GOOD = "#2e8b57"
WARN = "#b8860b"
BAD = "#d1453b"
# as text they would be too faint on a light page or on a dark one; a page that does not know light-dark() shows
# such a text in its own colour
TEXT = {
    ACCENT: "light-dark(#1f5fb8,#82b1ff)", GOOD: "light-dark(#1b6e3c,#6fcf97)", WARN: "light-dark(#7a5900,#e6b450)",
    BAD: "light-dark(#b3261e,#ff8a80)",
}  # fmt: skip
FAINT = "rgba(128,128,128,.18)"
ROUND = "border-radius:6px"  # of plots, whose white ground shows on a dark page


def escape(text: object) -> str:
    """Return ``text`` as HTML text; names of files and classes are data, never markup."""
    return html.escape(str(text), quote=True)


def image(data: bytes, alt: str, width: int | None = None, *, style: str = "") -> str:
    """Return an ``<img>`` with the PNG or JPEG inside it; ``alt`` says what it shows."""
    size = f"max-width:100%;width:{width}px" if width else "max-width:100%"
    kind = "jpeg" if data.startswith(b"\xff\xd8") else "png"
    inside = base64.b64encode(data).decode("ascii")
    return f'<img src="data:image/{kind};base64,{inside}" alt="{escape(alt)}" style="{size};{style}">'


def near(path: str | os.PathLike[str]) -> str:
    """Return a path as somebody beside the notebook writes it: from the current folder, when it is below that."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder is gone
        return str(path)


def percent(fraction: float) -> str:
    """Return a share as people read it; only a true 0 or 1 is called 0.0 % or 100.0 %."""
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if 0.9995 <= fraction < 1:
        return ">99.9 %"
    return f"{fraction * 100:.1f} %"


def thousandths(value: float | None) -> str:
    """Return an error or a loss with three decimals, a dash for None; only a true 0 is called 0.000."""
    if value is None:
        return "–"
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 picture``, ``2,000 pictures``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def largest_difference(value: float) -> str:
    """Return how far two answers of the same model are apart, as part of a sentence."""
    figure = "below 1e-9" if value < 1e-9 else f"{value:.1g}"
    return f"the largest difference of a probability is {figure}"


def width_of(text: str) -> int:
    """Return how many columns of a fixed-width font ``text`` takes; Chinese characters and emoji take two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return ``text`` filled with spaces to ``width`` columns; ``right`` puts them before it."""
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def elide(text: str, width: int) -> str:
    """Return ``text`` on one line and within ``width`` columns, the middle of a longer one left out."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if width_of(text) <= width:
        return text
    head, tail = "", ""
    for first, last in zip(text, reversed(text), strict=True):
        if width_of(head + first + tail) >= width:
            break
        head += first
        if width_of(head + last + tail) >= width:
            break
        tail = last + tail
    return f"{head}\N{HORIZONTAL ELLIPSIS}{tail}"


def text_bar(fraction: float, width: int = 20) -> str:
    """Return a bar of block characters, exact to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = (), vertical: str = "top"
) -> str:
    """Return an HTML table of escaped cells; ``right`` lists the columns of figures.

    ``vertical`` aligns cells of unequal height: ``top`` or ``middle``. A cell that is already HTML is wrapped
    in :class:`Markup`. A table that is wider than the page scrolls by itself.
    """
    numeric = set(right)

    def cell(tag: str, index: int, value: object) -> str:
        side = "right" if index in numeric else "left"
        style = f"text-align:{side};padding:2px 10px 2px 0;border-bottom:1px solid {FAINT};vertical-align:{vertical}"
        scope = ' scope="col"' if tag == "th" else ""
        return f'<{tag}{scope} style="{style}">{_markup(value)}</{tag}>'

    head = "".join(cell("th", i, name) for i, name in enumerate(columns))
    body = "".join("<tr>" + "".join(cell("td", i, value) for i, value in enumerate(row)) + "</tr>" for row in rows)
    return (
        f'<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:4px 0;{FONT}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


@dataclass(frozen=True)
class Markup:
    """HTML made by this program, to be put into a page as it is."""

    text: str

    def __str__(self) -> str:
        return self.text


def unbroken(text: str) -> Markup:
    """Return text that stays on one line of its cell."""
    return Markup(f'<span style="white-space:nowrap">{escape(text)}</span>')


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


def text_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()) -> str:
    """Return the same table as plain text, columns aligned."""
    numeric = set(right)
    cells = [[str(name) for name in columns], *([str(value) for value in row] for row in rows)]
    widths = [max(width_of(row[i]) for row in cells) for i in range(len(columns))]

    def line(row: list[str]) -> str:
        padded = (pad(value, widths[i], right=i in numeric) for i, value in enumerate(row))
        return "  ".join(padded).rstrip()

    return "\n".join(line(row) for row in cells)


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

        if cell_number() is None:
            print(shown.text, flush=True)  # noqa: T201 - a script, where there is nothing to replace
        elif self._handle is None:
            with _uninterrupted():  # else a Stop in between leaves an output that nobody can replace
                self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold a Stop back until the block is done; only the main thread ever gets one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *stop: held.append(stop))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held and callable(before):
            before(*held[0])


def somebody_there() -> bool:
    """Tell whether a person can answer: False under nbclient, nbconvert and papermill."""
    from IPython import get_ipython

    shell = get_ipython()
    try:
        return bool(shell.get_parent()["content"]["allow_stdin"])
    except (AttributeError, KeyError, TypeError):
        return False


def nobody_watches() -> bool:
    """Tell whether a program runs the cells of this kernel: nbclient, nbconvert, papermill. A terminal has a person."""
    from IPython import get_ipython

    try:
        return not get_ipython().get_parent()["content"]["allow_stdin"]
    except (AttributeError, KeyError, TypeError):
        return False


def kernel_is_ending() -> bool:
    """Tell whether this kernel was asked to end or to restart.

    A server interrupts a busy kernel before it asks: the same signal as the notebook's Stop button.
    """
    from IPython import get_ipython

    return bool(getattr(get_ipython(), "exit_now", False))


def cell_number() -> int | None:
    """Return the number of the cell that runs, None outside IPython."""
    from IPython import get_ipython

    shell = get_ipython()
    return None if shell is None else int(shell.execution_count)
