"""The choice of a run: for its report, or for its model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import MBError

from . import parts

if TYPE_CHECKING:
    from mb_jupyter.run import Run
    from mb_jupyter.standing import Use

    from .step import Step

OFFERED = 50  # runs in the list


class RunChoice:
    """A list of the runs to ``use``; ``show`` gets the chosen one, or None where there is none."""

    def __init__(self, step: Step, use: Use, show: Callable[[Run | None], None]) -> None:
        self._step, self._use, self._show = step, use, show
        self._filling = False
        self.run: Run | None = None
        self.widget: Any = step.observe(parts.choice("Run", []), self._chose)
        step.state.observe(lambda change: self._follow(), "run")

    def refresh(self) -> None:
        """List the runs again, and show the one that was chosen, else the latest."""
        from mb_jupyter.history import runs

        state = self._step.state
        try:
            found = runs()[:OFFERED]
        except MBError as error:
            self._step.show_error(error)
            return
        options = offered(found, lambda run: _label(run) if run.standing.offers(self._use) else "")
        handles = [handle for _, handle in options]
        if state.run and state.run not in handles and opened(state.run, self._use) is not None:
            options.append((state.run, state.run))
            handles.append(state.run)
        wanted = state.run if state.run in handles else next(iter(handles), None)
        self._filling = True  # new options choose the first of them, which nobody has asked for
        try:
            self.widget.options, self.widget.value = options, wanted
        finally:
            self._filling = False
        parts.hide(self.widget, not options)
        self.run = opened(wanted, self._use)
        self._show(self.run)

    def _chose(self, handle: str | None) -> None:
        if handle and handle != self._step.state.run and not self._filling:
            self._step.state.run = handle

    def _follow(self) -> None:
        if self._step.state.run != (self.run.handle if self.run else ""):
            self.refresh()


def opened(handle: str | None, use: Use) -> Run | None:
    """Return a run whose model or report may be used, else None."""
    from mb_jupyter.history import attach

    try:
        run = attach(handle) if handle else None
        return run if run is not None and run.handle and run.standing.offers(use) else None
    except MBError:
        return None


def offered(found: Iterable[Run], label: Callable[[Run], str]) -> list[tuple[str, str]]:
    """Return label and handle of the runs that have a label; one with a damaged record costs its row, not the list."""
    options: list[tuple[str, str]] = []
    for run in found:
        with suppress(MBError):
            if said := label(run):
                options.append((said, run.handle))
    return options


def _label(run: Run) -> str:
    return f"{run.standing.origin.text} · {run.id}"
