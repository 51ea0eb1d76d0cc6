"""One step of the panel: what all five have in common, and how work is done off the kernel's thread."""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections.abc import Callable
from functools import cached_property
from typing import Any

from mb_jupyter.display import FONT, Shown, card, escape
from mb_jupyter.errors import MBError

from .parts import Problem, Progress, Repeat, html
from .state import State

SETTLED = 0.3  # seconds without another value: what was typed is all here


def background(
    work: Callable[[], Any], done: Callable[[Any], None] | None, failed: Callable[[Exception], None]
) -> threading.Thread:
    """Run ``work`` in a thread and hand its result to ``done``, or what either raised to ``failed``.

    In a copy of the caller's context, so that a kernel knows whose output this is; both run in the thread.
    """

    def run() -> None:
        try:
            result = work()
            if done is not None:
                done(result)
        except Exception as error:  # nothing else would show it
            failed(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name="mb panel")
    thread.start()
    return thread


class Step:
    """What every step has; ``mb_jupyter.panels`` says how one is written."""

    name = ""
    title = ""
    about = ""  # a sentence under the title

    def __init__(self, state: State) -> None:
        self.state = state
        self.listeners: list[Callable[[], None]] = []  # told when the summary has changed
        self._touched = 0.0  # when something was last typed or chosen
        state.observe(lambda _: self._touch())

    # -- what a step adds --------------------------------------------------------------------------------

    def build(self) -> list[Any]:
        """Return the widgets of the body."""
        raise NotImplementedError

    def magic(self) -> str:
        """Return the cell that repeats what was chosen, or an empty text."""
        return ""

    def summary(self) -> Shown:
        """Return what stays in the saved notebook."""
        said = self.magic()
        return Shown(f"{self.title}\n{said}".rstrip(), card(self.title, f"<pre>{escape(said)}</pre>" if said else ""))

    def refresh(self) -> None:
        """Read again what may have changed while the step was not in front."""

    # -- what it is given --------------------------------------------------------------------------------

    @cached_property
    def progress(self) -> Progress:
        """The line that says what goes on."""
        return Progress()

    @cached_property
    def problem(self) -> Problem:
        """The card of the last error."""
        return Problem()

    @cached_property
    def repeat(self) -> Repeat:
        """The cell that repeats the step."""
        return Repeat()

    @cached_property
    def widget(self) -> Any:
        """The whole step, made when it is first asked for; the same for every view."""
        import ipywidgets as widgets

        about = f'<div style="{FONT};opacity:.75">{escape(self.about)}</div>' if self.about else ""
        head = html(f'<h3 style="margin:8px 0 2px">{escape(self.title)}</h3>{about}')
        try:
            body = self.build()
        except Exception as error:
            body = []
            self.show_error(error)
        box = widgets.VBox([head, *body, self.progress.widget, self.problem.widget, self.repeat.widget])
        box.add_class(f"mb-step-{self.name}")
        self.changed()
        return box

    def changed(self) -> None:
        """Renew the cell that repeats the step, and tell those who show the summary."""
        self.repeat.show(self.magic())
        for listener in list(self.listeners):
            listener()

    def work(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], None] | None = None,
        *,
        says: str = "",
        failed: Callable[[Exception], None] | None = None,
    ) -> threading.Thread:
        """Run ``work`` in a thread; show ``says`` with a clock until it ends, and every error in the card."""
        self.problem.clear()
        if says:
            self.progress.begin(says)

        def finished(result: Any) -> None:
            if says:
                self.progress.end()
            if done is not None:
                done(result)

        def went_wrong(error: Exception) -> None:
            if says:
                self.progress.end()
            self.show_error(error)
            if failed is not None:
                failed(error)

        return background(work, finished, went_wrong)

    def on(self, button: Any, ask: Callable[[], None]) -> Any:
        """Call ``ask`` when the button is pressed; what it raises is shown in the step.

        A page sends what is typed piece by piece, each when the last was taken in, and a press overtakes the rest
        of them: above all while another cell runs. So a press waits until no more comes; by then the button may
        have been disabled, and is not obeyed.
        """

        def act(_: Any = None) -> None:
            if not button.disabled:
                self._guarded(ask)

        def pressed(_: Any) -> None:
            if self._unsettled() > 0:
                background(self._settle, act, self.show_error)
            else:
                act()

        button.on_click(pressed)
        return button

    def observe(self, widget: Any, told: Callable[[Any], None], name: str = "value") -> Any:
        """Call ``told`` with the new value when a widget changes; what it raises is shown in the step."""

        def changed(change: Any) -> None:
            self._touch()
            self._guarded(lambda: told(change["new"]))

        widget.observe(changed, name)
        return widget

    def show_error(self, error: Exception) -> None:
        """Show an error in the step; a bug of ours keeps its traceback."""
        if not isinstance(error, MBError):
            said = "".join(traceback.format_exception(error))
            error = MBError(f"This is a bug: {type(error).__name__}: {error}", "Report it, with %mb_why.", details=said)
        self.problem.show(error)

    def _touch(self) -> None:
        self._touched = time.monotonic()

    def _unsettled(self) -> float:
        """Return for how many seconds something may still be on its way."""
        return self._touched + SETTLED - time.monotonic()

    def _settle(self) -> None:
        while (rest := self._unsettled()) > 0:
            time.sleep(rest)

    def _guarded(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except Exception as error:
            self.show_error(error)
