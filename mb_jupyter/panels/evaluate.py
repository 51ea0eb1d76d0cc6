"""Evaluate: how good a model is on the pictures it never saw, and what it answers for any other."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import Shown, card, escape, near, percent
from mb_jupyter.errors import MBError

from . import parts
from .choosing import RunChoice, opened
from .step import Step

if TYPE_CHECKING:
    from mb_jupyter.report import Report
    from mb_jupyter.run import Run

TRY_IT = "Try it"
NOTHING = "No run has been evaluated yet. Train one: the report stands here when it ends."


class Evaluate(Step):
    """The report of a run, to be looked into."""

    name = "evaluate"
    title = "Evaluate"
    about = "How good the model is, measured on test images (not used for training)."

    def __init__(self, state: Any) -> None:
        super().__init__(state)
        self.choice: RunChoice | None = None  # until build()
        self._turn: Callable[[], None] = lambda: None  # brings the tab of the state to the front
        self.report: Report | None = None
        self.run: Run | None = None
        self._read: tuple[str, Report] | None = None  # the report that was read last, by the handle of its run
        self._made: tuple[Report, Shown] | None = None

    def build(self) -> list[Any]:
        """Return the choice of the run, its headline and what to do next, tabs to look into it, the whole report."""
        self.headline, self.whole = parts.html(), parts.html()
        self.tabs = parts.column()
        self.tabs.add_class("mb-looks")
        self.choice = RunChoice(self, "report", self._show)
        self.state.observe(lambda change: self._turn(), "tab")
        self.choice.refresh()
        return [self.choice.widget, self.headline, self.tabs, self.whole]

    def refresh(self) -> None:
        """List the runs again, and open the one that was chosen, else the latest."""
        if self.choice is not None:
            self.choice.refresh()

    def magic(self) -> str:
        """Return the cell that shows the same report, and the same answer."""
        if self.run is None:
            return ""
        if self.state.tab == TRY_IT and self.state.picture:
            return f"%mb_predict --run {self.run.handle} {shlex.quote(near(Path(self.state.picture)))}"
        return f"%mb_evaluate {self.run.handle}"

    def summary(self) -> Shown:
        """Return the report."""
        report = self.report
        if report is None:
            from mb_jupyter.history import latest_with

            try:
                report = self._of(opened(self.state.run, "report") or latest_with("report"))
            except MBError:
                return Shown(f"{self.title}: {NOTHING}", card(self.title, escape(NOTHING)))
        return self._shown(report)

    def _of(self, run: Run) -> Report:
        """Return the report of a run, read once."""
        if self._read is None or self._read[0] != run.handle:
            self._read = (run.handle, run.report)
        return self._read[1]

    def _shown(self, report: Report) -> Shown:
        """Return the whole report as ``%mb_evaluate RUN`` shows it, made once."""
        made = self._made
        if made is None or made[0] is not report:
            bundle = report._repr_mimebundle_()
            self._made = made = (report, Shown(bundle["text/plain"], bundle["text/html"]))
        return made[1]

    def _show(self, run: Run | None) -> None:
        if run is None:
            self.run = self.report = None
            self.headline.value, self.whole.value = card(self.title, escape(NOTHING)), ""
            self._put()
            self.changed()
        elif self.run is None or run.handle != self.run.handle:

            def read() -> tuple[Run, Report, Shown]:
                report = self._of(run)
                return run, report, self._shown(report)

            self.work(read, lambda found: self._fill(*found), says="Reading the report")

    def _fill(self, run: Run, report: Report, whole: Shown) -> None:
        chosen = self.choice.run if self.choice is not None else None
        there = self.run is not None and self.run.handle == run.handle
        if there or chosen is None or chosen.handle != run.handle:  # another was chosen in the meantime
            return
        self.run, self.report = run, report
        from mb_jupyter.report.page import advice, cautions

        self.headline.value = card(report.summary, cautions(report) + advice(report))
        self.whole.value = whole.html
        view, self._turn = tabs(self, run, report)
        self._put(view)

    def _put(self, *views: Any) -> None:
        """Show these in place of what was there, which would stay in the kernel for ever unless it is closed."""
        before, self.tabs.children = self.tabs.children, views
        for view in before:
            parts.close(view)


def tabs(step: Evaluate, run: Run, report: Report) -> tuple[Any, Callable[[], None]]:
    """Return the ways to look into a report, and what brings that of the state to the front.

    Each is made when it is opened for the first time.
    """
    import ipywidgets as widgets

    def gallery() -> Any:
        from .gallery import Gallery

        return Gallery(report, step.work)

    def matrix() -> Any:
        from .matrix import Matrix

        return Matrix(report, gallery()).widget

    def mistakes() -> Any:
        shown = gallery()
        worst = report.mistakes
        wrong = f"{len(worst):,} of {report.pictures:,} test images are answered wrongly"
        shown.show(f"{wrong}; the most confident mistakes come first", worst)
        return shown.widget

    def threshold() -> Any:
        from .threshold import Threshold

        return Threshold(step, report).widget

    def try_it() -> Any:
        from .tryit import TryIt

        made = TryIt(step, run, report)
        made.again()
        return made.widget

    makers: dict[str, Callable[[], Any]] = {
        "Classes": lambda: per_class(report),
        "Confusions": matrix,
        "Mistakes": mistakes,
        "Threshold": threshold,
        TRY_IT: try_it,
    }
    names = list(makers)
    boxes = [parts.column() for _ in makers]
    view = widgets.Tab(boxes, titles=names, selected_index=0)

    def opened(index: int | None) -> None:
        name = names[index or 0]
        step.state.tab = name
        if not boxes[index or 0].children:
            boxes[index or 0].children = (makers[name](),)
        step.changed()

    def follow(_: Any = None) -> None:
        if step.state.tab in names:
            view.selected_index = names.index(step.state.tab)

    step.observe(view, opened, "selected_index")
    follow()
    opened(view.selected_index)
    return view, follow


def per_class(report: Report) -> Any:
    """Return the table of the classes, the weakest first."""
    from .tables import Column, SortedTable

    def ends(interval: tuple[float, float]) -> str:
        return f"{interval[0] * 100:.1f} to {interval[1] * 100:.1f}"

    columns = (
        Column("Class", width="minmax(110px,2fr)", figures=False),
        Column("Pictures", "{:,}".format),
        Column("Precision", percent),
        Column("Recall", percent),
        Column("95 % interval", ends, "minmax(104px,1fr)", about="Of the recall, in percent."),
        Column("F1", "{:.3f}".format),
        Column("AP", "{:.3f}".format, about="Average precision: the area under precision over recall."),
    )
    rows = []
    for name, at in report.per_class.to_dict("index").items():
        low, high = float(at["RecallLow"]), float(at["RecallHigh"])
        interval = None if math.isnan(low) else (low, high)
        figures = (float(at["Precision"]), float(at["Recall"]), interval, float(at["F1"]), float(at["AP"]))
        rows.append((str(name), int(at["Support"]), *figures))
    return SortedTable(columns, rows, caption="Every class", by=5, least="620px").widget
