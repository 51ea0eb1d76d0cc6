"""The shared parts of the steps: labelled fields, findings, progress, errors, the cell that repeats.

Core ipywidgets only. A field's description is its label for screen readers too. ``html`` is for what is
read, and gets text that is escaped already.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mb_jupyter.display import BAD, FAINT, FONT, GOOD, WARN, bar, card, duration, escape

if TYPE_CHECKING:
    from mb_jupyter.errors import MBError

LABEL = "150px"  # of a field, beside it
WIDTH = "640px"  # of a field with its label, at the most
COLOURS = {"error": BAD, "warning": WARN, "info": GOOD, "ok": GOOD}
MARKS = {"error": "\N{MULTIPLICATION SIGN} ", "warning": "! ", "info": "", "ok": "\N{CHECK MARK} "}


class Saying(Protocol):
    """A finding: ``cloud.Finding`` is one."""

    @property
    def severity(self) -> str:
        """Error, warning or info."""

    @property
    def message(self) -> str:
        """What is to be said, a whole sentence."""

    @property
    def says(self) -> str:
        """Who demands it."""


# -- fields --------------------------------------------------------------------------------------------


def _field(kind: str, label: str, value: Any, hint: str, **traits: Any) -> Any:
    import ipywidgets as widgets

    field = getattr(widgets, kind)(
        description=label,
        style={"description_width": LABEL},
        layout=widgets.Layout(width="calc(100% - 4px)", max_width=WIDTH),
        **traits,
    )
    field.tooltip = hint  # also an empty one: without it the page says "null"
    if value is not None:
        field.value = value
    return field


def text(label: str, value: str = "", *, placeholder: str = "", hint: str = "", multiline: bool = False) -> Any:
    """Return a field for text; its value changes with every key."""
    return _field("Textarea" if multiline else "Text", label, value, hint, placeholder=placeholder)


def completed(
    label: str, value: str = "", *, options: Sequence[str] = (), placeholder: str = "", hint: str = ""
) -> Any:
    """Return a field for text that offers ``options``; assign new ones while somebody types."""
    return _field("Combobox", label, value, hint, options=tuple(options), placeholder=placeholder, ensure_option=False)


def choice(label: str, options: Sequence[Any], value: Any = None, *, hint: str = "") -> Any:
    """Return a drop-down list; an option is a text, or a pair of what is shown and the value."""
    return _field("Dropdown", label, value, hint, options=list(options))


def options(label: str, offered: Sequence[tuple[str, str]], value: str) -> Any:
    """Return a few options one below the other; each is a pair of what is shown and the value."""
    return _field("RadioButtons", label, value, "", options=list(offered))


def whole(label: str, value: int, low: int, high: int, *, hint: str = "") -> Any:
    """Return a field for a whole number."""
    return _field("BoundedIntText", label, value, hint, min=low, max=high)


def figure(label: str, value: float, low: float, high: float, *, step: float = 0.1, hint: str = "") -> Any:
    """Return a field for a number."""
    return _field("BoundedFloatText", label, value, hint, min=low, max=high, step=step)


def tick(label: str, value: bool = False, *, hint: str = "") -> Any:
    """Return a box to tick; its label stands behind it and is as long as it needs to be."""
    import ipywidgets as widgets

    return widgets.Checkbox(value, description=label, indent=False, tooltip=hint, layout=widgets.Layout(width="auto"))


def button(label: str, hint: str = "", *, icon: str = "", style: str = "") -> Any:
    """Return a button as wide as its label; ``style`` is primary, danger or empty."""
    import ipywidgets as widgets

    layout = widgets.Layout(width="auto", flex="0 0 auto")
    return widgets.Button(description=label, tooltip=hint or label, icon=icon, button_style=style, layout=layout)


def html(value: str = "") -> Any:
    """Return a widget that shows HTML."""
    import ipywidgets as widgets

    shown = widgets.HTML(value, layout=widgets.Layout(width="100%", overflow="visible"))
    shown.add_class("mb-html")
    return shown


def row(*children: Any) -> Any:
    """Return widgets side by side; on a narrow page they wrap."""
    import ipywidgets as widgets

    layout = widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px", width="100%")
    return widgets.HBox(list(children), layout=layout)


def column(*children: Any) -> Any:
    """Return widgets one below the other."""
    import ipywidgets as widgets

    return widgets.VBox(list(children), layout=widgets.Layout(width="100%"))


def folded(title: str, *children: Any) -> Any:
    """Return a part that folds: an accordion's head cannot be reached by keyboard, the page's own can.

    ``.style`` hides what follows the head while that is shut.
    """
    style = "cursor:pointer;font-weight:600;padding:4px 0"
    head = html(f'<details style="{FONT}"><summary style="{style}">{escape(title)}</summary></details>')
    part = column(head, *children)
    part.add_class("mb-fold")
    return part


def hide(widget: Any, hidden: bool = True) -> None:
    """Take a widget off the page, or put it back."""
    widget.layout.display = "none" if hidden else None


def close(widget: Any) -> None:
    """Let go of a widget and of all that belongs to it."""
    for child in getattr(widget, "children", ()):
        close(child)
    for part in ("layout", "style"):
        if getattr(widget, part, None) is not None:
            getattr(widget, part).close()
    widget.close()


# -- what is said ----------------------------------------------------------------------------------------


class Findings:
    """The line under a field that says, as one types, what is wrong with its value.

    ``check(value)`` returns findings with ``severity``, ``message`` and ``says``; ``on_change`` is told
    whether there is no error, for a button that needs it.
    """

    def __init__(
        self, field: Any, check: Callable[[Any], Iterable[Saying]], on_change: Callable[[bool], None] | None = None
    ) -> None:
        self.field, self.check, self.on_change = field, check, on_change
        self.line = html()
        self.widget = column(field, self.line)
        self.ok = True
        field.observe(lambda change: self.renew(), "value")
        self.renew()

    def renew(self) -> None:
        """Check the field's value again."""
        found = list(self.check(self.field.value))
        self.line.value = said(found)
        hide(self.line, not found)
        self.ok = not any(each.severity == "error" for each in found)
        if self.on_change is not None:
            self.on_change(self.ok)


def said(findings: Iterable[Saying]) -> str:
    """Return findings as lines of HTML; a word says what the colour says."""
    lines = []
    for each in findings:
        colour = COLOURS.get(each.severity, WARN)
        source = getattr(each, "says", "")
        who = f' <span style="opacity:.7">({escape(source)})</span>' if source else ""
        word = f"{MARKS.get(each.severity, '')}{each.severity}: " if each.severity in ("error", "warning") else ""
        lines.append(
            f'<div style="{FONT};border-left:3px solid {colour};padding-left:8px;margin:1px 0">'
            f"<b>{escape(word)}</b>{escape(each.message)}{who}</div>"
        )
    return f'<div role="status" aria-live="polite">{"".join(lines)}</div>' if lines else ""


class Progress:
    """The line that says what goes on, with its clock.

    Only what goes on is read aloud when it changes; figures and a clock that change all the time stand beside it.
    """

    def __init__(self) -> None:
        self._said, self._beside = html(), html()
        for part in (self._said, self._beside):
            part.layout.width = "auto"
        self.widget = row(self._said, self._beside)
        self._count, self._share = "", ""
        self._begun, self._shown, self._ended = 0.0, 0.0, threading.Event()
        hide(self.widget)

    def begin(self, what: str) -> None:
        """Show ``what`` and a clock until :meth:`end`."""
        self._ended.set()
        self._begun, self._ended = time.monotonic(), threading.Event()
        self._tell(what)
        self._show()
        threading.Thread(target=self._tick, args=(self._ended,), daemon=True).start()

    def say(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Say how far it is; it may come often."""
        self._tell(message, done, total)
        if done is None or done == total or time.monotonic() - self._shown > 0.2:
            self._show()

    def end(self) -> None:
        """Take the line away."""
        self._ended.set()
        hide(self.widget)

    def _tell(self, what: str, done: int | None = None, total: int | None = None) -> None:
        self._said.value = f'<div role="status" style="{FONT}">{escape(what)}</div>'
        self._count = f"{done:,}" + (f" of {total:,}" if total else "") if done is not None else ""
        self._share = str(bar(done / total)) if done is not None and total else ""

    def _tick(self, ended: threading.Event) -> None:
        while not ended.wait(1.0):
            self._show()

    def _show(self) -> None:
        if self._ended.is_set():
            return
        self._shown = time.monotonic()
        clock = f'<span aria-hidden="true">({duration(self._shown - self._begun)})</span>'
        self._beside.value = f'<div style="{FONT}">{self._count} {self._share} {clock}</div>'
        hide(self.widget, False)


class Problem:
    """The card of an error: cause, fix, alternative, and buttons with a way out."""

    def __init__(self) -> None:
        import ipywidgets as widgets

        self._page = html()
        self._actions = row()
        self.widget = widgets.VBox([self._page, self._actions])
        self.widget.add_class("mb-problem")
        hide(self.widget)

    def show(self, error: MBError, *actions: Any) -> None:
        """Show an error; ``actions`` are buttons."""
        error.remember()
        words = (error.cause, ""), (error.fix, "fix: "), (error.alternative, "or: ")
        lines = [f"<div>{escape(word + line)}</div>" for line, word in words if line]
        if error.details:
            style = f"white-space:pre-wrap;max-height:240px;overflow:auto;background:{FAINT};padding:4px"
            lines.append(
                f'<details><summary style="cursor:pointer">more</summary>'
                f'<pre style="{style}">{escape(error.details)}</pre></details>'
            )
        self._page.value = f'<div role="alert">{card(type(error).__name__, "".join(lines), colour=BAD)}</div>'
        self._actions.children = actions
        hide(self.widget, False)

    def clear(self) -> None:
        """Take the card away."""
        hide(self.widget)


# -- the cell that repeats ---------------------------------------------------------------------------------


class Repeat:
    """The text of the cell that repeats a step, with a button that inserts it below.

    The button is one of JupyterLab's own command links (``data-commandlinker-command``), so it works in
    JupyterLab and Notebook without any script of ours; elsewhere (``.style`` hides it there) one click marks the
    whole text for Ctrl+C.
    """

    def __init__(self) -> None:
        self.widget = html()
        self.widget.add_class("mb-repeat")
        self.text = ""

    def show(self, cell: str) -> None:
        """Show the cell's text; an empty one takes the row away."""
        if cell == self.text and self.widget.value:
            return
        self.text = cell
        hide(self.widget, not cell)
        commands = ["notebook:insert-cell-below", "notebook:enter-edit-mode", "notebook:replace-selection"]
        arguments = json.dumps({"commands": commands, "args": {"text": cell}})
        pre = (
            f"white-space:pre-wrap;overflow-wrap:anywhere;user-select:all;background:{FAINT};padding:6px 8px;"
            "margin:2px 0;border-radius:3px;line-height:1.35;font-size:12px"
        )
        self.widget.value = (
            f'<div style="{FONT};margin-top:10px;border-top:1px solid {FAINT};padding-top:6px">'
            '<span style="opacity:.75">The cell that repeats this (one click marks it for copying): </span>'
            '<button type="button" class="jupyter-button mb-insert" style="width:auto" '
            'data-commandlinker-command="apputils:run-all-enabled" '
            f'data-commandlinker-args="{escape(arguments)}">Insert below</button>'
            f'<pre tabindex="0" style="{pre}">{escape(cell)}</pre></div>'
        )
