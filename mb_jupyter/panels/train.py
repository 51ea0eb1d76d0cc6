"""The Train step: settings, Start, Stop and keep, Cancel; the run as it goes on; earlier runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import FAINT, FONT, Shown, card, duration, escape
from mb_jupyter.errors import MBError

from .choosing import OFFERED, offered
from .front import Front, Into
from .parts import button, choice, folded, hide, html, row, tick
from .settings import Settings, cell, configuration
from .state import State
from .step import Step, background

if TYPE_CHECKING:
    from mb_jupyter.config import Resolved
    from mb_jupyter.run import Run

LINES = 14  # of the log
BETWEEN_SUMMARIES = 5.0  # seconds, while a run goes on
HINT = "The buttons below end it; other cells can be run meanwhile, and it outlives the kernel."


class Train(Step):
    """Settings with their defaults, and the run they make."""

    name = "train"
    title = "Train"
    about = "Empty fields take the default that stands in them."

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._watched: str = ""  # handle of the run that is followed
        self._shown: Shown | None = None
        self._ended: dict[str, Shown] = {}
        self._said_at = 0.0
        self._goes_on = False
        self._current: Front | None = None  # what shows the run in front
        self._starting: Front | None = None  # between Start and the run that it makes
        self._begins = threading.Lock()  # is there a run, or is the start abandoned?

    def build(self) -> list[Any]:
        """Return settings, buttons, the run and the earlier runs."""
        self._start = button("Start", "Begin the training", icon="play", style="primary")
        self._check = button("Check", "Resolve everything and look at the data; change nothing", icon="list")
        self._stop = button("Stop and keep", "End early and keep the best model", icon="stop")
        self._cancel = button(
            "Cancel", "Discard the run now; no command uses what it has left", icon="times", style="danger"
        )
        self._fresh = tick("Train anew even if the identical run is there")
        self._place, self._estimate, self._plan = html(), html(), html()
        self._view, self._log = html(), html()
        self._settings = Settings(self.state, self._chosen)
        for pressed, ask in (
            (self._start, self.start), (self._check, self.plan), (self._stop, self.stop), (self._cancel, self.cancel),
        ):  # fmt: skip
            self.on(pressed, ask)
        self.observe(self._fresh, lambda _: self.changed())
        self.state.observe(self._chosen, ["environment", "azure", "exclude", "data"])
        self.state.observe(lambda _: self._trained_elsewhere(), "training")
        self._logs = folded("Log", self._log)
        self._build_runs()
        self._running(False)
        self._chosen()
        return [
            self._place, self._settings.widget, self._estimate, row(self._start, self._check, self._fresh), self._plan,
            self._view, row(self._stop, self._cancel), self._logs, self._runs,
        ]  # fmt: skip

    def refresh(self) -> None:
        """Find the run of this state again, list the earlier ones, renew the estimate."""
        self.widget  # noqa: B018 - made when it is first asked for
        self._chosen()
        self._list_runs()
        if self.state.training and self._watched != self.state.training and not self._goes_on:
            self._open(self.state.training)

    def magic(self) -> str:
        """Return the cell that trains the same."""
        fresh = self.__dict__.get("_fresh")  # there is none before build()
        return cell(self.state, fresh is not None and fresh.value)

    def summary(self) -> Shown:
        """Return the run as it stands, or what is chosen."""
        said = self.magic()
        if self._shown is not None and (self._goes_on or self._watched == self.state.training):
            shown = self._shown
        elif self.state.training:
            shown = self._seen(self.state.training)
        elif (latest := self._latest()) is not None:
            shown = self._seen(latest)
        else:
            return Shown(f"Train\n{said}".rstrip(), card("Train", f"<pre>{escape(said)}</pre>" if said else "Not yet."))
        page = f'<pre style="background:{FAINT};padding:6px 8px">{escape(said)}</pre>{shown.html}'
        return Shown(f"{said}\n\n{shown.text}", page)

    def _latest(self) -> str | None:
        """Return the handle of the latest run, where there is one."""
        from mb_jupyter.history import attach

        try:
            return attach().handle
        except MBError:
            return None

    def _trained_elsewhere(self) -> None:
        """Show the run that a command has begun or opened."""
        if self.state.training and self.state.training != self._watched and not self._goes_on:
            self._open(self.state.training)

    def _seen(self, handle: str) -> Shown:
        """Return the view of a run that is not followed here; of one that has ended it is made once."""
        from mb_jupyter.history import attach

        if handle not in self._ended:
            run = attach(handle)
            over = run.state.is_terminal  # asked before it is shown: what is kept is the end
            shown = Shown(**_named(run._repr_mimebundle_()))
            if not over:
                return shown
            self._ended = {handle: shown}
        return self._ended[handle]

    # -- asking ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the training, or find the identical run; follow it."""
        from mb_jupyter.experiment import begin

        config, fresh = configuration(self.state).config, self._fresh.value
        with self._begins:
            live = self._starting = self._live(config.experiment)
            self._running(True)
        self._plan.value = self._log.value = ""

        def work() -> Run | None:
            try:
                return begin(config, live, fresh=fresh)
            except MBError:
                if live.abandoned:  # which its view says already
                    return None
                raise

        def begun(run: Run | None) -> None:
            with self._begins:
                self._starting = None
                self._watched = run.handle if run is not None else self._watched
                self.progress.end()
            if run is None:
                self._running(False)
                return
            if live.abandoned and run.begun_here:
                live.notes.append("It had begun when it was abandoned, and is cancelled.")
                self._ask(run.cancel, "canceling")
            self.state.choose(training=run.handle, run=run.handle)
            self._fresh.value = False
            self._follow(run, live)

        def failed(_: Exception) -> None:
            if self._starting is live:
                self._starting = None
                self.progress.end()
            self._in_front(live, False)

        self.work(work, begun, failed=failed)

    def plan(self) -> None:
        """Show what a training would do: every value with its origin, the split, the identical run."""
        from mb_jupyter.experiment import Experiment

        resolved = configuration(self.state)

        def work() -> str:
            plan = Experiment.local(resolved.config.experiment).plan(resolved, self._say)
            return str(plan._repr_mimebundle_()["text/html"])

        self.work(work, lambda page: setattr(self._plan, "value", page), says="checking")

    def _say(self, message: str, done: int | None = None, total: int | None = None) -> None:
        self.progress.say(message, done, total)

    def stop(self) -> None:
        """Ask the run to end early and to keep the best; while there is none yet, abandon the start."""
        if self._abandon():
            return
        self._stop.disabled = True  # Cancel stays: whoever does not want to wait may still abandon
        self._ask(self._run().stop, "stopping: the best model so far is evaluated and saved")

    def cancel(self) -> None:
        """Abandon the run, or the start."""
        if self._abandon():
            return
        self._stop.disabled = self._cancel.disabled = True
        self._ask(self._run().cancel, "canceling")

    def _ask(self, what: Callable[[], Any], word: str) -> None:
        """Ask the run, and say so until it has ended."""

        def asked(run: Run) -> None:
            if run.state.is_terminal:  # then nobody else would take the line away
                self.progress.end()

        def failed(_: Exception) -> None:
            self.progress.end()
            self._running(self._goes_on)

        self.progress.begin(word)
        self.work(what, asked, failed=failed)

    def _abandon(self) -> bool:
        """Give a start up; False when there is a run to be asked."""
        with self._begins:
            if self._starting is None:
                return False
            self._starting.abandoned = True
            self._stop.disabled = self._cancel.disabled = True
            self.progress.begin("abandoning the start")
            return True

    def _run(self) -> Run:
        from mb_jupyter.history import attach

        return attach(self._watched)

    # -- the run ---------------------------------------------------------------------------------------

    def _open(self, handle: str) -> None:
        """Show a run, and follow it while it goes on."""
        from mb_jupyter.history import attach

        self._watched = handle
        self.progress.end()

        def opened(run: Run) -> None:
            with self._begins:
                if self._watched != handle or self._starting is not None:
                    return  # something else was asked for meanwhile
                live = self._live(run.experiment)
            self.state.training = handle
            self._follow(run, live)

        self.work(lambda: attach(handle), opened)

    def _live(self, title: str) -> Front:
        live = Front(title, Into(lambda shown: self._show(shown, live)), watched=True, hint=HINT, cell=None)
        self._current = live
        return live

    def _show(self, shown: Shown, live: Front) -> None:
        if live is not self._current:
            return  # another run is in front
        self._shown = shown
        self._view.value = shown.html
        if time.monotonic() - self._said_at > BETWEEN_SUMMARIES:
            self._said_at = time.monotonic()
            self.changed()

    def _follow(self, run: Run, live: Front) -> None:
        """Follow a run until it ends, in the thread that this is called in."""
        self._in_front(live, not run.state.is_terminal)
        ended = threading.Event()
        background(lambda: self._tail(run, ended), None, self.show_error)
        try:
            run.watch(live)
        except MBError:
            if live is self._current:  # else it is no news about the run in front
                raise
        finally:
            ended.set()
            if self._in_front(live, False):
                self.progress.end()
                self._said_at = 0.0
                self._chosen()
                self._list_runs()

    def _tail(self, run: Run, ended: threading.Event) -> None:
        """Show the last lines of the log, once a second and at the end."""
        before = ""
        over = False
        while not over:
            over = ended.wait(1.0)
            lines = run.logs(LINES)
            if lines != before and self._watched == run.handle:
                before = lines
                style = f"white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;background:{FAINT};padding:6px"
                self._log.value = f'<pre style="{style}">{escape(lines)}</pre>'

    def _in_front(self, live: Front, running: bool) -> bool:
        """Tell whether a run is the one in front; if so, set the buttons for one that runs or not."""
        with self._begins:
            if live is self._current:
                self._running(running)
            return live is self._current

    def _running(self, running: bool) -> None:
        for each in (self._stop, self._cancel):
            hide(each, not running)
            each.disabled = not running
        self._goes_on = running
        hide(self._logs, not running and not self._watched)
        self._able()

    def _able(self) -> None:
        self._start.disabled = self._goes_on or self._settings.check() is None
        self._check.disabled = self._start.disabled
        self._reopens.disabled = self._starting is not None

    # -- what is chosen --------------------------------------------------------------------------------

    def _chosen(self, _: Any = None) -> None:
        """Renew what follows from the choices."""
        self._able()
        here = "on this machine" if self.state.environment == "local" else f"on {self.state.environment}"
        compute = self.state.azure.get("compute") if self.state.environment != "local" else ""
        place = f"Trains {here}{f', compute {compute}' if compute else ''}; the step Environment changes that."
        if self.state.exclude:
            place += f" Pictures left out by choice: {len(self.state.exclude):,}."
        self._place.value = f'<div style="{FONT}">{escape(place)}</div>'
        background(self._estimated, lambda text: setattr(self._estimate, "value", text), self.show_error)
        self.changed()

    def _estimated(self) -> str:
        """Return how long it may take, from the limit and from earlier runs on the same data."""
        from mb_jupyter.experiment import UNSET
        from mb_jupyter.history import runs

        if not self.state.data:
            return ""
        try:
            resolved: Resolved = configuration(self.state)
        except MBError:
            return ""
        limit = resolved.config.max_minutes
        told = f"at most {limit:g} minutes" if limit else f"minutes at the most: {UNSET['max_minutes']}"
        for run in runs(resolved.config.experiment)[:OFFERED]:
            status = run.status
            if status.state.has_model and status.started and status.updated:
                told += f"; the last run of this experiment took {duration(status.updated - status.started)}"
                break
        return f'<div style="{FONT};opacity:.8">Estimate: {escape(told)}.</div>'

    # -- earlier runs ------------------------------------------------------------------------------------

    def _build_runs(self) -> None:
        self._table, self._compared = html(), html()
        self._one = choice("Run", [], hint="An earlier run of this experiment")
        self._other = choice("Compare with", [], hint="Another run, on the same test images")
        self._reopens = button("Open", "Show this run above, and in Evaluate", icon="folder-open")
        self.on(self._reopens, self._reopen)
        compare = self.on(button("Compare", "What changed, and by how much", icon="exchange"), self._compare)
        asks = row(self._reopens, compare)
        self._runs = folded("Earlier runs", self._table, self._one, self._other, asks, self._compared)

    def _list_runs(self) -> None:
        from mb_jupyter.history import Runs, runs

        def work() -> tuple[Runs, str]:
            found = runs()
            return found, found._repr_mimebundle_()["text/html"]

        def done(result: tuple[Runs, str]) -> None:
            found, page = result
            self._table.value = page
            options = offered(found[:OFFERED], lambda run: f"{run.handle} ({run.state})")
            for field, place in ((self._one, 0), (self._other, 1)):
                before = field.value
                field.options = options
                handles = [handle for _, handle in options]
                field.value = (
                    before if before in handles else handles[min(place, len(handles) - 1)] if handles else None
                )
            hide(self._runs, not options)

        background(work, done, self.show_error)

    def _reopen(self) -> None:
        if self._one.value:
            self.state.run = self._one.value
            self._open(self._one.value)

    def _compare(self) -> None:
        from mb_jupyter.history import compare

        names = [self._one.value, self._other.value]
        if not all(names) or names[0] == names[1]:
            raise MBError("Two different runs are needed.", "Choose them in the two lists.")

        def work() -> str:
            return str(compare(names)._repr_mimebundle_()["text/html"])

        self.work(work, lambda page: setattr(self._compared, "value", page), says="comparing")


def _named(bundle: dict[str, str]) -> dict[str, str]:
    return {"text": bundle["text/plain"], "html": bundle["text/html"]}
