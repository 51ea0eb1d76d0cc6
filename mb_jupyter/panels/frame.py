"""Where the steps are shown: all five in a frame, or one alone, as often as one likes.

A view is two outputs of a cell. The first is durable: the summary, which stays in the saved notebook. The
second is the widgets. A notebook that is opened again with another kernel has no widgets to show for it, and
JupyterLab would say "model not found" there; so the summary brings a rule of style with it: while the widgets
live, they are seen and the summary is not; without them it is the other way round. Where such a rule is
taken out (a notebook that is not trusted, GitHub, nbconvert), so are the widgets, and the summary is seen.
"""

from __future__ import annotations

import contextvars
import importlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from mb_jupyter.display import Durable, Shown, card, escape, somebody_there

from . import STEPS
from .parts import button, hide, row
from .state import State
from .step import Step
from .style import PANEL, SUMMARY

BETWEEN_SUMMARIES = 0.3  # seconds, of many changes in a row
GONE = "Above is a saved snapshot of the panel. Run the cell again to reopen it."
CLOSED = "The panel is closed; %mb opens it again as it was."


class Panel:
    """The steps of a kernel and a workspace, each made when it is first shown."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._steps: dict[str, Step] = {}
        self._lock = threading.RLock()
        self._frame: Any = None
        self._views: dict[str, View] = {}

    def step(self, name: str) -> Step:
        """Return a step."""
        with self._lock:
            if name not in self._steps:
                module, _, kind = STEPS[name].partition(":")
                self._steps[name] = getattr(importlib.import_module(module), kind)(self.state)
            return self._steps[name]

    def show(self, name: str | None = None) -> None:
        """Show a step, or all of them, below the cell that runs."""
        cell = _cell_id()
        if before := self._views.pop(cell, None):  # the same cell again
            before.end()
        names = [name] if name else list(STEPS)
        if name:
            self.step(name).refresh()
        widget = self.step(name).widget if name else self._whole()
        self._views[cell] = View(self, names, widget)

    def summary(self, name: str) -> Shown:
        """Return what stays in the notebook of a step."""
        try:
            return self.step(name).summary()
        except Exception as error:  # one step's trouble does not take the others' summary away
            said = f"{name.capitalize()}: {error}"
            return Shown(said, card(name.capitalize(), escape(str(error))))

    def _whole(self) -> Any:
        """Return the frame: a tab for each of the five steps, and what leads from one to the next."""
        import ipywidgets as widgets

        if self._frame is not None:
            self.step(self.state.step).refresh()
            return self._frame
        names = list(STEPS)
        boxes = [widgets.VBox() for _ in names]
        # the title of a step that is not loaded yet: its name says the same
        titles = [f"{number} {name.capitalize()}" for number, name in enumerate(names, 1)]
        front = names.index(self.state.step) if self.state.step in names else 0
        tabs = widgets.Tab(boxes, titles=titles, selected_index=front)
        tabs.add_class("mb-steps")
        back, on = self._turn(-1, "arrow-left"), self._turn(1, "arrow-right")

        def open_step(_: Any = None) -> None:
            number = tabs.selected_index
            step = self.step(names[number])
            self.state.step = names[number]
            boxes[number].children = (step.widget,)
            step.refresh()
            for turn, other, word in ((back, number - 1, "Back"), (on, number + 1, "Next")):
                hide(turn, not 0 <= other < len(names))
                turn.description = f"{word}: {names[other % len(names)].capitalize()}"

        def follow(change: Any) -> None:
            if change["new"] in names:
                tabs.selected_index = names.index(change["new"])

        tabs.observe(open_step, "selected_index")
        self.state.observe(follow, "step")
        open_step()
        self._frame = widgets.VBox([tabs, row(back, on)])
        return self._frame

    def _turn(self, by: int, icon: str) -> Any:
        turn, names = button("", "The step before" if by < 0 else "The step after", icon=icon), list(STEPS)

        def turned(_: Any) -> None:
            self.state.step = names[max(0, min(len(names) - 1, names.index(self.state.step) + by))]

        turn.on_click(turned)
        return turn


def together(steps: Sequence[Shown]) -> Shown:
    """Return what stays of several steps as one."""
    page = "".join(step.html or f"<pre>{escape(step.text)}</pre>" for step in steps)
    return Shown("\n\n".join(step.text for step in steps), f'{SUMMARY}<div class="mb-summary">{page}</div>')


class View:
    """A view below a cell: the summary that stays, and the widgets."""

    def __init__(self, panel: Panel, names: list[str], widget: Any) -> None:
        import ipywidgets as widgets
        from IPython.display import display

        self._panel, self._names, self._stale = panel, names, set(names)
        self._known = {name: Shown(name.capitalize(), card(name.capitalize(), "")) for name in names}
        self._durable, self._last = Durable(), together(list(self._known.values()))
        self._durable.show(self._last)
        close = button("Close", "Close this view; what was chosen is kept", icon="times")
        head = widgets.HTML(f"{PANEL}<b>Model Builder</b>")
        bar = widgets.HBox([head, close], layout=widgets.Layout(justify_content="space-between", align_items="center"))
        self._box = widgets.VBox([bar, widget], layout=widgets.Layout(max_width="980px", padding="2px 6px 8px 2px"))
        self._box.add_class("mb-panel")
        close.on_click(lambda _: self.close())
        bundle = {
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self._box.model_id,
            },
            "text/plain": GONE,
            "text/html": f'<div style="opacity:.7">{escape(GONE)}</div>',
        }  # fmt: skip
        self._handle: Any = display(bundle, raw=True, display_id=True)
        self._next = 0.0  # when a change is written at once again
        self._writing, self._later, self._again = threading.Lock(), threading.Lock(), threading.Event()
        self._told = {name: self._teller(name) for name in names}
        for name in names:
            panel.step(name).listeners.append(self._told[name])
        self.renew()

    def _teller(self, name: str) -> Callable[[], None]:
        def tell() -> None:
            self._stale.add(name)
            self.renew()

        return tell

    def renew(self) -> None:
        """Renew the summary at once: a notebook that is saved now has in it what is shown.

        Of many changes in a row (somebody types) the first is written at once, and soon after the last as it is then.
        """
        self._again.set()
        if time.monotonic() >= self._next and self._writing.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._writing.release()
        if self._again.is_set() and self._later.acquire(blocking=False):
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(self._write_later,), daemon=True, name="mb summary").start()

    def _write_later(self) -> None:
        try:
            while self._again.is_set():
                time.sleep(max(0.0, self._next - time.monotonic()))
                with self._writing:
                    self._write()
        finally:
            self._later.release()
        if self._again.is_set():  # asked for after the last look
            self.renew()

    def _write(self) -> None:
        """Make again what is stale, and show it, each step as soon as it is made."""
        self._again.clear()
        for name in [name for name in self._names if name in self._stale]:
            self._stale.discard(name)  # before it is made: what changes meanwhile makes it stale again
            self._known[name] = self._panel.summary(name)
            if (now := together([self._known[each] for each in self._names])) != self._last:
                self._last = now
                self._durable.show(now)
        self._next = time.monotonic() + BETWEEN_SUMMARIES

    def close(self) -> None:
        """Take the widgets away; the summary stays, and no trace of a widget in the saved notebook."""
        self.renew()
        said = {"text/plain": CLOSED, "text/html": f'<div style="opacity:.7">{escape(CLOSED)}</div>'}
        self._handle.update(said, raw=True)
        self.end()

    def end(self) -> None:
        """Let go of the widgets of this view; the steps live on for the others."""
        for name, told in self._told.items():
            if told in self._panel.step(name).listeners:
                self._panel.step(name).listeners.remove(told)
        self._box.close()


def show(name: str | None = None) -> Shown | None:
    """Show a step, or all five; where nobody is there to press buttons, return the summary."""
    panel = _panel(State.of())
    if somebody_there():
        panel.show(name)
        return None
    return together([panel.summary(each) for each in ([name] if name else STEPS)])


@cache
def _panel(state: State) -> Panel:
    return Panel(state)


def _cell_id() -> str:
    from IPython import get_ipython

    try:
        parent = get_ipython().get_parent()
        return str(parent["metadata"].get("cellId") or parent["header"]["msg_id"])
    except (AttributeError, KeyError, TypeError):
        return ""
