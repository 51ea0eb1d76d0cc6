"""The choice of a run that has left a file: its report, its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import percent
from mb_jupyter.errors import MBError
from mb_jupyter.records import REPORT, read_fields

from . import parts

if TYPE_CHECKING:
    from mb_jupyter.run import Run

    from .step import Step

OFFERED = 50  # runs in the list


class RunChoice:
    """A list of the runs that have left ``file``; ``show`` gets the chosen one, or None where there is none."""

    def __init__(self, step: Step, file: str, show: Callable[[Run | None], None]) -> None:
        self._step, self._file, self._show = step, file, show
        self._filling = False
        self.run: Run | None = None
        self.widget: Any = step.observe(parts.choice("Run", []), self._chose)
        step.state.observe(lambda change: self._follow(), "run")

    def refresh(self) -> None:
        """List the runs again, and show the one that was chosen, else the latest."""
        from mb_jupyter.history import runs

        state = self._step.state
        try:
            found = [run for run in runs()[:OFFERED] if (run.folder / self._file).exists()]
        except MBError as error:
            self._step.show_error(error)
            return
        options = [(_label(run), run.handle) for run in found]
        handles = [handle for _, handle in options]
        if state.run and state.run not in handles and opened(state.run, self._file) is not None:
            options.append((state.run, state.run))
            handles.append(state.run)
        wanted = state.run if state.run in handles else next(iter(handles), None)
        self._filling = True  # new options choose the first of them, which nobody has asked for
        try:
            self.widget.options, self.widget.value = options, wanted
        finally:
            self._filling = False
        parts.hide(self.widget, not options)
        self.run = opened(wanted, self._file)
        self._show(self.run)

    def _chose(self, handle: str | None) -> None:
        if handle and handle != self._step.state.run and not self._filling:
            self._step.state.run = handle

    def _follow(self) -> None:
        if self._step.state.run != (self.run.handle if self.run else ""):
            self.refresh()


def opened(handle: str | None, file: str) -> Run | None:
    """Return a run that has left ``file``, else None."""
    from mb_jupyter.history import attach

    try:
        run = attach(handle) if handle else None
    except MBError:
        return None
    return run if run is not None and (run.folder / file).exists() else None


def _label(run: Run) -> str:
    accuracy = read_fields(run.folder, REPORT).get("test_accuracy")
    figure = f", {percent(accuracy)}" if isinstance(accuracy, int | float) else ""
    return f"{run.experiment} / {run.id}{figure}"
