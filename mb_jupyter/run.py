"""One training: its configuration, state, metrics, log and files; reopened by its handle from any kernel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backends import Backend, RunState, Status, open_backend
from .display import cell_number, kernel_is_ending, near
from .errors import AzureError, MBError, ModelError, TrainingFailed
from .live import Live, Moment, how_to_stop, render
from .liveclock import STOPPING
from .records import read_run
from .standing import Standing

if TYPE_CHECKING:
    import pandas as pd

    from .export import Export
    from .model import Model
    from .report import Report

SECOND_STOP = 5.0  # seconds within which a second Stop abandons
RESTART_SHOWS = 0.7  # seconds after a Stop until which it may turn out to be the restart of the kernel
OFTEN, OFTEN_FOR, RARELY = 0.1, 5.0, 0.5  # seconds between two looks, at first and later
RARELY_THERE = 1.0  # of a run elsewhere, which tells something new every two seconds at the most
PRESSED = f"{STOPPING} Press Stop again within 5 seconds to discard the run."
USUAL_BATCH = 32
BEFORE_SUBMISSION = ("upload", "submit")  # stages in which nothing runs yet
TAIL = 60  # lines of the log that an error carries


class Run:
    """A training that was begun. Get one from ``train``, ``attach`` or ``runs``.

    It may go on, have ended or have failed; ``state`` tells. Nothing is kept in memory that is not in its
    ``folder``, so two of the same run agree.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.notes: list[str] = []  # what is to be said about how we came to this run
        self.begun_here = False  # by the call that returned it, and not found as it goes on
        self._shown_in: int | None = None  # the cell that shows it already

    # -- what it is ------------------------------------------------------------------------------------

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """What was written down when it was begun."""
        return read_run(self.folder)

    @property
    def id(self) -> str:
        """Its name within the experiment, which begins with the time (UTC)."""
        return str(self.record["id"])

    @property
    def handle(self) -> str:
        """The text that reopens it: ``attach(handle)``."""
        return str(self.record["handle"])

    @property
    def experiment(self) -> str:
        """The name of its experiment."""
        return str(self.record["experiment"])

    @property
    def config(self) -> Mapping[str, Any]:
        """What it was asked for."""
        config: Mapping[str, Any] = self.record["config"]
        return config

    @property
    def url(self) -> str | None:
        """A page about it on the web; a run on this machine has none."""
        return self.status.url or None

    @cached_property
    def backend(self) -> Backend:
        """Where it is carried out."""
        return open_backend(str(self.record.get("backend", "local")))

    # -- how it stands ---------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """Everything that is known of its progress now."""
        return self.backend.status(self.folder)

    @property
    def state(self) -> RunState:
        """How far it is: starting, running, completed, stopped, failed or ``canceled``."""
        return self.status.state

    @property
    def standing(self) -> Standing:
        """What may be done with what it has left, by its state now."""
        return Standing(self.folder)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per epoch; epoch 0 of phase ``features`` are the frozen features."""
        import pandas as pd

        rows = [dict(epoch) for epoch in self._moment().epochs]
        return pd.DataFrame(rows).drop(columns=["event", "time"], errors="ignore")

    def logs(self, lines: int | None = None) -> str:
        """Return what the program has printed, or its last ``lines``."""
        return self.backend.log(self.folder, lines)

    def why(self) -> str:
        """Return why it stands as it does: the error in full if it failed, and the end of its log."""
        status = self.status
        error = status.error or {}
        said = [f"{self.handle} is {status.word}."]
        said += [error[key] for key in ("cause", "fix", "alternative", "traceback") if error.get(key)]
        said += [status.message] if status.message and not error else []
        said += [status.note] if status.note else []
        return "\n\n".join([*said, self._log_tail()])

    # -- what it leaves --------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The best model so far; there is one soon after the frozen features.

        Raises ``ModelError`` before that, and for a run that was cancelled or that failed.
        """
        from .model import load

        _ = self.record  # a damaged one is the first thing to say
        return load(self.folder)

    @property
    def report(self) -> Report:
        """How good it is on the test images; raises ``ModelError`` where it was not evaluated."""
        from .report import Report, untested

        _ = self.record
        if self._has_no_test_images:
            raise ModelError(*untested(self.folder))
        self.standing.require("report")
        return Report.from_run(self.folder)

    def predict(self, *sources: Any, urls: bool = False) -> Any:
        """Score pictures with its model; see :meth:`mb_jupyter.Model.predict`."""
        return self.model.predict(*sources, urls=urls)

    def export(self, to: str | Path, *, name: str | None = None, api: bool = False) -> Export:
        """Write its model as two projects below ``to``; see :func:`mb_jupyter.export.export`."""
        from .export import export

        return export(self, to, name=name, api=api)

    # -- steering --------------------------------------------------------------------------------------

    def stop(self) -> Run:
        """Ask it to end early and to keep the best: it still evaluates and exports. Returns at once."""
        if not self.state.is_terminal:
            self.backend.stop(self.folder)
        return self

    def cancel(self) -> Run:
        """Abandon it now; its work is not kept."""
        if not self.state.is_terminal:
            self.backend.cancel(self.folder)
        return self

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for its end without showing anything.

        Raises ``TrainingFailed`` when it failed or was cancelled, ``TimeoutError`` after ``timeout`` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        for status in self._look():
            if status.state.is_terminal:
                self.backend.fetch(self.folder)
                return self._ended(status)
            self._still_followed(status)
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"{self.handle} goes on after {timeout:g} seconds")
        raise AssertionError("unreachable")

    def watch(self, live: Live | None = None) -> Run:
        """Show it until it ends.

        The first ``KeyboardInterrupt`` (the notebook's Stop button) asks the program to finish and keep
        the best; a second one within 5 seconds discards the run. One that comes because the kernel ends or restarts
        only ends the watching. Raises ``TrainingFailed`` as :meth:`wait` does.
        """
        live = live or Live(self.experiment)
        live.hint = live.hint or how_to_stop(self.backend.detaches)
        live.notes += [note for note in self.notes if note not in live.notes]
        self._shown_in = live.cell
        if self.backend.detaches:
            return self._watch_there(live)
        presses: list[float] = []
        heard = 0
        while True:
            try:
                if heard < len(presses):
                    if not self._obey(presses, live):
                        return self
                    heard = len(presses)
                return self._ended(self._follow(live, presses))
            except KeyboardInterrupt:  # may come while the one before is still obeyed
                presses.append(time.monotonic())

    def _watch_there(self, live: Live) -> Run:
        """Show a run that goes on elsewhere; a Stop looks away, before the submission it cancels."""
        try:
            return self._ended(self._follow(live))
        except KeyboardInterrupt:
            status = self.status
            if kernel_is_ending() or status.state.is_terminal:
                return self
            if status.stage in BEFORE_SUBMISSION:
                self.cancel()
                status = self.status
                live.notes.append(status.message or "Stopped before anything was submitted.")
            else:
                handle = self.handle
                live.notes.append(
                    f"The notebook no longer follows {handle}; it goes on and costs: "
                    f"%mb_attach {handle} | %mb_stop {handle} | %mb_cancel {handle}"
                )
                live.detach()
            live.update(self._moment(status, notes=live.notes))
            return self

    def submitted(self) -> Run:
        """Wait until it is on its way where it runs, so that it no longer needs this process."""
        while (status := self.status).state is RunState.STARTING and status.stage in BEFORE_SUBMISSION:
            time.sleep(OFTEN)
        return self

    def _obey(self, presses: Sequence[float], live: Live) -> bool:
        """Do what a Stop asks for; False when it was none, but the end of the kernel."""
        if len(presses) > 1 and presses[-1] - presses[-2] < SECOND_STOP:
            self._forget_stops(live)
            live.notes.append("Discarded by a second Stop.")
            self.cancel()
            return True
        self._forget_stops(live)
        live.notes.append(PRESSED)
        live.update(self._moment(notes=live.notes))
        while time.monotonic() - presses[-1] < RESTART_SHOWS:
            if kernel_is_ending():
                live.notes[live.notes.index(PRESSED)] = "The kernel ended. The training goes on: %mb_attach shows it."
                live.update(self._moment(notes=live.notes))
                return False
            time.sleep(0.02)
        self.stop()
        return True

    def show(self, live: Live) -> None:
        """Show once how it stands."""
        live.update(self._moment(notes=live.notes + self.notes))

    @staticmethod
    def _forget_stops(live: Live) -> None:
        """Take back what was said of a Stop that is answered: at the end nothing is stopping any more."""
        live.notes[:] = [note for note in live.notes if note not in (PRESSED, STOPPING)]

    def _follow(self, live: Live, presses: Sequence[float] = ()) -> Status:
        for status in self._look():
            if status.state.is_terminal:
                self._forget_stops(live)
                self.backend.fetch(self.folder)
            elif PRESSED in live.notes and time.monotonic() - presses[-1] > SECOND_STOP:
                live.notes[live.notes.index(PRESSED)] = STOPPING
            live.update(self._moment(status, live.notes))
            if status.state.is_terminal:
                return status
            self._still_followed(status)
        raise AssertionError("unreachable")

    def _still_followed(self, status: Status) -> None:
        """Raise when nobody can tell how the run stands."""
        error = status.error or {}
        if status.is_lost:
            raise AzureError(*(error.get(key, "") for key in ("cause", "fix", "alternative", "details")))

    def _look(self) -> Iterator[Status]:
        """Yield the status, often at first and then more rarely."""
        begun, rarely = time.monotonic(), RARELY_THERE if self.backend.detaches else RARELY
        while True:
            yield self.status
            time.sleep(OFTEN if time.monotonic() - begun < OFTEN_FOR else rarely)

    def _ended(self, status: Status) -> Run:
        if status.state.has_model:
            return self
        if status.state is RunState.CANCELED:
            raise TrainingFailed(
                f"{self.handle} was cancelled; no command uses what it has left.", "Run the cell again to train again."
            )
        raise self._failure(status)

    def _failure(self, status: Status) -> TrainingFailed:
        error = dict(status.error or {})
        if error.get("kind") == "killed":
            records = self.backend.metrics(self.folder)
            told = [record.get("at_once", record["batch_size"]) for record in records if record.get("batch_size")]
            batch = told[-1] if told else self.config.get("batch_size") or USUAL_BATCH
            error["alternative"] = error.get("fix", "")
            error["fix"] = f"Set `batch_size: {max(1, int(batch) // 2)}` and train again."
        tail = self._log_tail()
        traceback = error.get("traceback", "").strip()
        told = [traceback] if traceback and traceback.splitlines()[-1] not in tail else []
        return TrainingFailed(
            error.get("cause", "The training failed."),
            error.get("fix", ""),
            error.get("alternative", ""),
            "\n\n".join([f"Run {self.handle}", *told, tail]),
        )

    def _log_tail(self) -> str:
        if not self.folder.is_dir():
            return "Its log is gone with its folder."
        tail = self.logs(TAIL) or "(it is empty)"
        return f"The last lines of {near(self.folder / 'log.txt')}:\n{tail}"

    # -- showing ---------------------------------------------------------------------------------------

    def _moment(self, status: Status | None = None, notes: Sequence[str] = ()) -> Moment:
        status = status or self.status
        headline = ""
        if status.state.is_terminal and status.state is not RunState.CANCELED:
            with contextlib.suppress(MBError):  # a damaged file does not hide the rest
                headline = " ".join([self.report.headline, *self.report.caveats])
        if self._has_no_test_images:
            from .report import untested

            headline = " ".join(untested(self.folder))
        return Moment(
            self.record,
            self.folder,
            status,
            self.backend.metrics(self.folder),
            "" if status.state.is_terminal else self.logs(1),
            tuple(notes or self.notes),
            headline,
        )

    @property
    def _has_no_test_images(self) -> bool:
        results = [record for record in self.backend.metrics(self.folder) if record.get("event") == "result"]
        return self.state.has_model and bool(results) and results[-1].get("test_accuracy") is None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        moment = self._moment()
        return render(moment, Live(self.experiment).curves(moment))._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        # the cell that has shown the training live does not show it a second time as its result
        if self._shown_in is None or self._shown_in != cell_number():
            from IPython.display import display

            display(self._repr_mimebundle_(), raw=True)

    def __repr__(self) -> str:
        return f"<Run {self.handle} {self.status.word}>"
