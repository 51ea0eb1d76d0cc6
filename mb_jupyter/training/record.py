"""What the run says about itself: ``metrics.jsonl``, ``status.json``, log lines, MLflow if it is there.

Only the first of several processes writes. Every reader (the notebook, a plot, a table) reads these two files;
the format of their records is part of the program's contract.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from . import processes
from .disk import as_bytes, plain, swap, writing
from .errors import StoppedError, TrainingError
from .progress import Progress

BETWEEN_LINES = 20.0  # seconds from one line about progress to the next in the log
STOP_FILE = "stop"
FAILED_FILE = "failed.json"  # what ended a process that is not the first, and with it all of them


class Recorder:
    """Writes a run's records into its folder; a restarted run goes on where the kept records end."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self._writes = processes.rank() == 0
        self._said = 0.0
        self._terminated = False
        self._heard = 0  # the stop file's time when the training ended
        self.ends_at_stop = True  # until everything for a first model is there
        self.clock = Progress(output, self.stop_requested)
        self.outlook = self.clock.outlook
        self._mlflow = _mlflow() if self._writes else None
        if self._writes:
            with writing(output):
                output.mkdir(parents=True, exist_ok=True)
                (output / FAILED_FILE).unlink(missing_ok=True)

    # -- the run's own story -------------------------------------------------------------------------

    @property
    def history(self) -> str:
        """What ``metrics.jsonl`` holds: a checkpoint keeps it, ``keep`` returns to it."""
        path = self.output / "metrics.jsonl"
        return path.read_text(encoding="utf-8") if self._writes and path.exists() else ""

    @property
    def status(self) -> dict[str, Any]:
        """What ``status.json`` says now."""
        return dict(self.clock.status)

    def keep(self, history: str) -> None:
        """Return to the records of a checkpoint: what came after it happens again.

        The file may also hold less than the checkpoint: a machine was taken away while both were copied elsewhere.
        """
        if not self._writes:
            return
        with writing(self.output):
            swap(self.output / "metrics.jsonl", history.encode())
        for begun in self.clock.status["stages"]:  # this attempt's own, which came before it knew of the checkpoint
            self.event("stage", stage=begun["stage"])

    def plan(self, stage: str, units: float, each: float, fixed: float = 0.0) -> None:
        """Plan a stage: so many units (images, heads ...) of about so many seconds, and what it takes to begin.

        The seconds are only what a first run goes by; the paces of earlier runs and of this one correct them. Stages
        are planned in their order, before the first of them begins. 0 units take a planned stage out; one that is
        planned again keeps its place.
        """
        self.outlook.plan(stage, units, each, fixed)

    def expect(self, stage: str, seconds: float, *, known: bool = True, most: bool = False) -> None:
        """Say how many seconds a stage has still to go, measured now; ``most`` when it may end earlier."""
        begun = self.clock.stage_seconds if self.clock.status["stage"] == stage else 0.0
        self.outlook.expect(stage, seconds + begun, known=known, most=most)

    def stage(self, name: str, total: int | None = None, message: str = "") -> None:
        """Begin a stage; ``total`` is what ``progress`` counts up to."""
        self.event("stage", stage=name, message=message)
        self.clock.begin(name, total, message)
        self.say(f"{name}: {message}" if message else name)

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far the stage is; cheap enough for every batch.

        Raises a ``TrainingError`` when somebody asked to stop a run that has nothing yet to keep the best of.
        """
        self.clock.count(done, total)
        if self.ends_at_stop and self._asked():
            raise self._too_early()
        if time.monotonic() - self._said >= BETWEEN_LINES and self.clock.stage_seconds >= BETWEEN_LINES:
            status = self.clock.status
            self.say(f"{status['stage']}: {done} of {status['total'] or '?'}")

    def downloaded(self, done: int, total: int) -> None:
        """Say how many bytes of the pretrained weights are here; cheap enough for every block."""
        said = f"Downloading the pretrained weights{f' ({total / 1e6:,.0f} MB)' if total else ''}."
        if self.status["message"] != said:
            self.message(said)
        self.progress(round(done / 1e6), round(total / 1e6) or None)

    def message(self, text: str) -> None:
        """Say in a sentence what is going on."""
        self.say(text)
        self.clock.update(message=text)

    def epoch(self, record: dict[str, Any]) -> None:
        """Record one epoch's figures; epoch 0 are the frozen features."""
        self.event("epoch", **record)
        self.say(_epoch_line(record))

    def event(self, kind: str, **values: Any) -> None:
        """Append one record to ``metrics.jsonl``; it is on its way to the disk when this returns."""
        if not self._writes:
            return
        line = json.dumps({"event": kind, "time": time.time(), **plain(values)}, ensure_ascii=False)
        with writing(self.output), (self.output / "metrics.jsonl").open("ab") as file:
            file.write(as_bytes(line) + b"\n")
        self._to_mlflow(kind, values)

    def say(self, line: str) -> None:
        """Write one line into the log, with the time of day."""
        if self._writes:
            self._said = time.monotonic()
            text = as_bytes(f"{time.strftime('%H:%M:%S')} {line}\n").decode()
            sys.stdout.write(text)
            sys.stdout.flush()

    # -- its end -------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Stop as the file would make it: what a preempted machine's SIGTERM asks for."""
        self._terminated = True

    def stop_requested(self) -> bool:
        """Return whether somebody asked to stop and keep the best."""
        return self._terminated or self._asked() > 0

    def heed(self) -> None:
        """Raise ``StoppedError`` when somebody asked to stop: for every step of work that the run can do without."""
        if self.stop_requested():
            raise StoppedError

    def training_is_over(self) -> None:
        """Note that what follows judges and writes the model: a stop so far asks for just that."""
        self._heard = self._asked()

    def hurries(self) -> bool:
        """Return whether somebody asked to stop since the training is over, or the machine is being taken away."""
        return self._terminated or self._asked() != self._heard

    def _asked(self) -> int:
        """Return when somebody last asked to stop, by the file's own clock; 0 when nobody did."""
        try:
            return (self.output / STOP_FILE).stat().st_mtime_ns
        except OSError:
            return 0

    def _too_early(self) -> TrainingError:
        done, total = self.status["done"], self.status["total"]
        goes_on = self.status["stage"] == "features" and done
        return TrainingError(
            "The training was stopped before it had a model.",
            f"Run the cell again to go on: the features of {done:,} of {total:,} images are kept."
            if goes_on
            else "Run the cell again to train.",
        )

    def finish(self, state: str, message: str = "") -> None:
        """End the run: ``completed`` or ``stopped``."""
        self.clock.close()
        self.say(f"{state}. {message}".strip())
        self.clock.update(state=state, message=message, eta_seconds=0.0, fraction=1.0)

    def fail(self, error: BaseException) -> None:
        """End the run with what went wrong: cause and fix, or a bug's traceback."""
        self.clock.close()
        known = isinstance(error, TrainingError)
        shown = {
            "cause": str(error) if known else f"The training program has a bug: {type(error).__name__}: {error}",
            "fix": getattr(error, "fix", "") or ("" if known else "Please report it with the log of this run."),
            "alternative": getattr(error, "alternative", ""),
        }
        if not known:
            shown["traceback"] = "".join(traceback.format_exception(error))
            shown = self._told_by_another() or shown
        self.say("failed. " + " ".join(shown[key] for key in ("cause", "fix", "alternative") if shown[key]))
        if self._writes:
            sys.stderr.write(shown.get("traceback", ""))
        else:
            sys.stderr.write(f"process {processes.rank()}: {shown['cause']} {shown['fix']}\n")
        self.clock.update(state="failed", message=shown["cause"], error=shown, eta_seconds=None)
        if not self._writes:
            # a full disk may refuse even this; the exit code and the log still tell
            with contextlib.suppress(TrainingError):
                self._tell_the_first(shown)

    def _tell_the_first(self, shown: dict[str, str]) -> None:
        """Leave what went wrong here: the first process only sees that the connection is gone."""
        with writing(self.output):
            told = {"state": "failed", "error": shown}
            swap(self.output / FAILED_FILE, as_bytes(json.dumps(told, ensure_ascii=False)))

    def _told_by_another(self) -> dict[str, str] | None:
        if not self._writes:
            return None
        try:
            return dict(json.loads((self.output / FAILED_FILE).read_bytes())["error"])
        except (OSError, ValueError, LookupError):
            return None

    def _to_mlflow(self, kind: str, values: dict[str, Any]) -> None:
        if self._mlflow is None or kind not in ("epoch", "result"):
            return
        figures = {
            name: float(value) for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "epoch"
        }  # fmt: skip
        try:
            self._mlflow.log_metrics(figures, step=values.get("epoch"))
        except Exception as error:
            # the tracking server is a reader like others: losing it must not lose the training
            self.say(f"MLflow no longer takes the metrics ({type(error).__name__}: {error}); going on without.")
            self._mlflow = None


def _epoch_line(record: dict[str, Any]) -> str:
    name = "frozen features" if record["phase"] == "features" else f"epoch {record['epoch']}"
    figures = ", ".join(
        f"{label} {record[key]:.4f}"
        for label, key in (
            ("train loss", "train_loss"), ("accuracy", "train_accuracy"),
            ("validation loss", "validation_loss"), ("accuracy", "validation_accuracy"),
        )
        if record.get(key) is not None
    )  # fmt: skip
    return f"{name}: {figures}, {record['seconds']:.1f} s{', the best so far' if record['best'] else ''}"


def _mlflow() -> Any:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    try:
        import mlflow
    except ImportError:
        return None
    return mlflow
