"""What the run says about itself: ``metrics.jsonl``, ``status.json``, log lines, MLflow if it is there.

Only the first of several processes writes. Every reader (the notebook, a plot, a table) reads these two files;
the format of their records is part of the program's contract.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import processes
from .errors import TrainingError

STAGES = ("start", "features", "head", "epoch", "calibrate", "evaluate", "export", "verify")
BETWEEN_WRITES = 0.5  # seconds from one progress to the next on disk
BETWEEN_LINES = 20.0  # seconds from one line about progress to the next in the log
STOP_FILE = "stop"
FAILED_FILE = "failed.json"  # what ended a process that is not the first, and with it all of them


class Recorder:
    """Writes a run's records into its folder; a restarted run goes on where the kept records end."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self._writes = processes.rank() == 0
        self._records = 0
        self._started = self._stage_started = time.time()
        self._expected: dict[str, float] = {}
        self._written = self._said = 0.0
        self._terminated = False
        self._status: dict[str, Any] = {
            "state": "running", "stage": "start", "done": None, "total": None, "fraction": None,
            "eta_seconds": None, "message": "", "stages": [], "started": self._started,
            "updated": self._started, "pid": os.getpid(), "error": None,
        }  # fmt: skip
        self._mlflow = _mlflow() if self._writes else None
        if self._writes:
            with _writing(output):
                output.mkdir(parents=True, exist_ok=True)
                (output / FAILED_FILE).unlink(missing_ok=True)

    # -- the run's own story -------------------------------------------------------------------------

    @property
    def records(self) -> int:
        """How many records ``metrics.jsonl`` holds: a checkpoint keeps it, ``keep`` returns to it."""
        return self._records

    @property
    def status(self) -> dict[str, Any]:
        """What ``status.json`` says now."""
        return dict(self._status)

    def keep(self, records: int) -> None:
        """Cut ``metrics.jsonl`` back to its first records: what came after the checkpoint happens again."""
        if not self._writes:
            return
        path = self.output / "metrics.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines[:records] if line.endswith(b"\n")]
        with _writing(self.output):
            _replace(path, b"".join(kept))
        self._records = len(kept)
        for begun in self._status["stages"]:  # this attempt's own, which came before it knew of the checkpoint
            self.event("stage", stage=begun["stage"])

    def expect(self, **seconds: float) -> None:
        """Say how long stages will take, each at the most; the fraction and the ETA come from it."""
        self._expected.update(seconds)

    def stage(self, name: str, total: int | None = None, message: str = "") -> None:
        """Begin a stage; ``total`` is what ``progress`` counts up to."""
        self.close_stage()
        now = time.time()
        self._stage_started = now
        self._status["stages"].append({"stage": name, "started": now, "seconds": None})
        self._status.update(stage=name, done=None if total is None else 0, total=total, message=message)
        self.event("stage", stage=name, message=message)
        self.say(f"{name}: {message}" if message else name)
        self._write_status()

    def close_stage(self) -> None:
        """Note how long the stage that is going on took."""
        if self._status["stages"] and self._status["stages"][-1]["seconds"] is None:
            stage = self._status["stages"][-1]
            stage["seconds"] = round(time.time() - stage["started"], 3)

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far the stage is; cheap enough for every batch."""
        self._status["done"] = done
        if total is not None:
            self._status["total"] = total
        now = time.time()
        if now - self._written >= BETWEEN_WRITES:
            self._write_status()
        if now - max(self._said, self._stage_started) >= BETWEEN_LINES:
            self.say(f"{self._status['stage']}: {done} of {self._status['total'] or '?'}")

    def downloaded(self, done: int, total: int) -> None:
        """Say how many bytes of the pretrained weights are here; cheap enough for every block."""
        said = f"Downloading the pretrained weights{f' ({total / 1e6:,.0f} MB)' if total else ''}."
        if self.status["message"] != said:
            self.message(said)
        self.progress(round(done / 1e6), round(total / 1e6) or None)

    def message(self, text: str) -> None:
        """Say in a sentence what is going on."""
        self._status["message"] = text
        self.say(text)
        self._write_status()

    def epoch(self, record: dict[str, Any]) -> None:
        """Record one epoch's figures; epoch 0 are the frozen features."""
        self.event("epoch", **record)
        self.say(_epoch_line(record))

    def event(self, kind: str, **values: Any) -> None:
        """Append one record to ``metrics.jsonl``; it is on its way to the disk when this returns."""
        if not self._writes:
            return
        line = json.dumps({"event": kind, "time": time.time(), **_plain(values)}, ensure_ascii=False)
        with _writing(self.output), (self.output / "metrics.jsonl").open("ab") as file:
            file.write(_bytes(line) + b"\n")
        self._records += 1
        self._to_mlflow(kind, values)

    def say(self, line: str) -> None:
        """Write one line into the log, with the time of day."""
        if self._writes:
            self._said = time.time()
            text = _bytes(f"{time.strftime('%H:%M:%S')} {line}\n").decode()
            sys.stdout.write(text)
            sys.stdout.flush()

    # -- its end -------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Stop as the file would make it: what a preempted machine's SIGTERM asks for."""
        self._terminated = True

    def stop_requested(self) -> bool:
        """Return whether somebody asked to stop and keep the best."""
        return self._terminated or (self.output / STOP_FILE).exists()

    def finish(self, state: str, message: str = "") -> None:
        """End the run: ``completed`` or ``stopped``."""
        self.close_stage()
        self._status.update(state=state, message=message, eta_seconds=0.0, fraction=1.0)
        self.say(f"{state}. {message}".strip())
        self._write_status()

    def fail(self, error: BaseException) -> None:
        """End the run with what went wrong: cause and fix, or a bug's traceback."""
        self.close_stage()
        known = isinstance(error, TrainingError)
        shown = {
            "cause": str(error) if known else f"The training program has a bug: {type(error).__name__}: {error}",
            "fix": getattr(error, "fix", "") or ("" if known else "Please report it with the log of this run."),
            "alternative": getattr(error, "alternative", ""),
        }
        if not known:
            shown["traceback"] = "".join(traceback.format_exception(error))
            shown = self._told_by_another() or shown
        self._status.update(state="failed", message=shown["cause"], error=shown, eta_seconds=None)
        self.say("failed. " + " ".join(shown[key] for key in ("cause", "fix", "alternative") if shown[key]))
        if self._writes:
            sys.stderr.write(shown.get("traceback", ""))
        else:
            sys.stderr.write(f"process {processes.rank()}: {shown['cause']} {shown['fix']}\n")
        # a full disk may refuse even this; the exit code and the log still tell
        with contextlib.suppress(TrainingError):
            self._write_status() if self._writes else self._tell_the_first(shown)

    def _tell_the_first(self, shown: dict[str, str]) -> None:
        """Leave what went wrong here: the first process only sees that the connection is gone."""
        with _writing(self.output):
            told = {"state": "failed", "error": shown}
            _replace(self.output / FAILED_FILE, _bytes(json.dumps(told, ensure_ascii=False)))

    def _told_by_another(self) -> dict[str, str] | None:
        if not self._writes:
            return None
        try:
            return dict(json.loads((self.output / FAILED_FILE).read_bytes())["error"])
        except (OSError, ValueError, LookupError):
            return None

    # -- files ---------------------------------------------------------------------------------------

    def _write_status(self) -> None:
        if not self._writes:
            return
        self._written = time.time()
        self._status["updated"] = self._written
        if self._status["state"] == "running":
            self._status.update(self._outlook(self._written))
        with _writing(self.output):
            _replace(self.output / "status.json", _bytes(json.dumps(_plain(self._status), ensure_ascii=False)))

    def _outlook(self, now: float) -> dict[str, float | None]:
        """Return the fraction of the whole run and the seconds left, from pace and expectation."""
        stage, done, total = (self._status[key] for key in ("stage", "done", "total"))
        if stage not in self._expected:
            return {"fraction": self._status["fraction"], "eta_seconds": None}
        spent = now - self._stage_started
        rest = max(0.0, self._expected[stage] - spent)
        if done and total and spent > 1 and stage != "epoch":  # one stage per epoch: its pace says nothing
            rest = spent * (total - done) / done
        rest += sum(self._expected.get(name, 0.0) for name in STAGES[STAGES.index(stage) + 1 :])
        elapsed = now - self._started
        fraction = elapsed / (elapsed + rest) if elapsed + rest > 0 else 0.0
        # a bar that goes back is worse than one that waits
        fraction = max(min(fraction, 0.99), self._status["fraction"] or 0.0)
        return {"fraction": round(fraction, 4), "eta_seconds": round(rest, 1)}

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


def _plain(value: Any) -> Any:
    """Return a value that JSON knows: no NaN, no infinities, no numpy scalars."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _plain(value.item()) if hasattr(value, "item") else str(value)


def replace(path: Path, text: str) -> None:
    """Write a text file aside, then rename it; a ``TrainingError`` says why the disk refused it."""
    with _writing(path.parent):
        _replace(path, _bytes(text))


def _bytes(line: str) -> bytes:
    # a file name that is no UTF-8 comes as lone surrogates; written with a backslash they are JSON again
    return line.encode("utf-8", "backslashreplace")


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(content)
    aside.replace(path)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into an error that names the folder."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"The run's folder {folder} cannot be written: {error.strerror or error}.",
            "Make room on that disk or give this user the right to write there, then start again.",
        ) from error


def _mlflow() -> Any:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    try:
        import mlflow
    except ImportError:
        return None
    return mlflow
