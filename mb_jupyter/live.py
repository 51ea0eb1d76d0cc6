"""The view of a training: what a cell shows while it goes on, and what stays when it has ended.

One durable output, replaced in place about once a second. Where nobody watches (nbclient, papermill, a
script) a line per stage is printed instead, and the same output follows once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import liveclock, when
from .backends import RunState, Status
from .display import (
    ACCENT,
    BAD,
    GOOD,
    ROUND,
    WARN,
    Durable,
    Shown,
    bar,
    card,
    cell_number,
    counted,
    details,
    duration,
    escape,
    image,
    largest_difference,
    near,
    percent,
    somebody_there,
    table,
)
from .epochtable import epoch_table

BETWEEN_UPDATES = 1.0  # seconds
HOW_TO_STOP = (
    "The notebook's Stop button ends the training early and keeps the best model; press twice within 5 seconds to "
    "discard the run."
)
HOW_TO_DETACH = (
    "The notebook's Stop button only looks away: the run goes on in Azure and costs. %mb_stop ends it early and keeps "
    "the best model, %mb_cancel discards the run."
)
PORTAL = "Monitor current run in Azure portal"
BY_BUTTONS = "The cell has returned; the buttons below, %mb_stop and %mb_cancel end the training."
FILES = ("bestModel.onnx", "bestModelMap.json", "MLModel.zip", "predictions.csv", "report.json", "split.csv")
COLOURS = {RunState.COMPLETED: GOOD, RunState.STOPPED: GOOD, RunState.FAILED: BAD, RunState.CANCELED: WARN}


@dataclass(frozen=True)
class Moment:
    """All that is known of a run at one moment; the view is a function of it."""

    record: Mapping[str, Any]
    folder: Path
    status: Status
    records: Sequence[Mapping[str, Any]] = ()
    log_line: str = ""
    notes: Sequence[str] = ()
    headline: str = ""  # the accuracy with its interval, once it is known
    now: float = field(default_factory=time.time)
    least: float = 0.0  # seconds that were shown of it already

    @property
    def epochs(self) -> list[Mapping[str, Any]]:
        """The epochs in order; one that a resumed program did again stands once."""
        found = {(r.get("phase"), r.get("epoch")): r for r in self.records if r.get("event") == "epoch"}
        return list(found.values())

    def last(self, event: str) -> Mapping[str, Any]:
        """Return the last record of a kind, an empty one when there is none."""
        return next((r for r in reversed(self.records) if r.get("event") == event), {})

    @property
    def seconds(self) -> float:
        """How long the run has taken, or had taken when it ended; not less than was shown of it already."""
        return max(self.least, liveclock.elapsed(self.status, self.now))


@dataclass
class Live:
    """Shows a training while it goes on. ``title`` names it before there is a run."""

    title: str
    durable: Durable = field(default_factory=Durable)
    quiet: bool = False
    watched: bool = field(default_factory=somebody_there)
    notes: list[str] = field(default_factory=list)
    hint: str = ""  # how it can be ended from here
    cell: int | None = field(default_factory=cell_number)
    _shown_at: float = 0.0
    _shown: tuple[Any, ...] = ()
    _printed: set[str] = field(default_factory=set)
    _went_on: bool = False
    _curves: tuple[int, str] = (0, "")
    _clock: tuple[str, float] = ("", 0.0)

    def say(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Show what goes on before there is a run; with ``done`` and ``total`` it may come often."""
        count = f" {done:,}" + (f" of {total:,}" if total else "") if done is not None else ""
        if not self.watched or self.quiet:
            self._print(message, message)
        elif done is None or done == total or time.monotonic() - self._shown_at >= BETWEEN_UPDATES / 2:
            share = str(bar(done / total)) if done is not None and total else ""
            as_of = f"As of {when.second(time.time())}; in a reopened notebook run the cell again."
            page = f"<div>check: {escape(message)}{count} {share}</div>{_faint(self.hint)}{_faint(as_of)}"
            self._show(Shown(f"{self.title}\ncheck: {message}{count}\n{self.hint}\n{as_of}", card(self.title, page)))

    def end(self, message: str) -> None:
        """Show, in place of everything, how it ended before there was a run."""
        if self.watched and not self.quiet:
            self._show(Shown(f"{self.title}\n{message}", card(self.title, f"<div>{escape(message)}</div>", colour=BAD)))

    def update(self, moment: Moment) -> None:
        """Show this moment, unless the last one was shown less than a second ago and nothing has happened."""
        ended = moment.status.state.is_terminal
        if self.quiet:
            return
        if not self.watched:
            self._print_stages(moment)
            if not ended:
                return
        news = (moment.status.state, moment.status.stage, len(moment.records), tuple(moment.notes))
        if ended or news != self._shown or time.monotonic() - self._shown_at >= BETWEEN_UPDATES:
            self._shown = news
            handle = str(moment.record["handle"])
            moment = replace(moment, least=self._clock[1] if self._clock[0] == handle else 0.0)
            self._clock = (handle, moment.seconds)
            self._show(render(moment, self.curves(moment), self.hint))

    def detach(self) -> None:
        """Say from now on that the run is no longer looked at."""
        self.hint = ""

    def _show(self, shown: Shown) -> None:
        self._shown_at = time.monotonic()
        self.durable.show(shown)

    def _print_stages(self, moment: Moment) -> None:
        for note in moment.notes:
            self._print(note, note)
        self._went_on = self._went_on or not moment.status.state.is_terminal
        if not self._went_on:  # what ended before is no news
            return
        stages = [record for record in moment.records if record.get("event") == "stage"]
        for record in moment.records:
            if record.get("event") == "stage" and record.get("stage") != "epoch":
                message = record.get("message") or (moment.status.message if record is stages[-1] else "")
                self._print(record["stage"], f"{record['stage']}: {message}" if message else record["stage"])
            elif record.get("event") == "epoch" and record.get("epoch"):
                accuracy, seconds = _percent(record.get("validation_accuracy")), duration(record.get("seconds") or 0)
                line = f"epoch {record['epoch']}: validation accuracy {accuracy}, {seconds}"
                self._print(f"epoch {record['epoch']}", line)

    def _print(self, key: str, line: str) -> None:
        if key not in self._printed and not self.quiet:
            self._printed.add(key)
            print(f"{self.title}: {line}", flush=True)  # noqa: T201 - the log of a notebook nobody watches

    def curves(self, moment: Moment) -> str:
        """Return the curves as HTML, drawn anew only when an epoch has come."""
        epochs = moment.epochs
        if len(epochs) < 2:
            return ""
        if self._curves[0] != len(epochs):
            from .plots import metric_curves, metric_curves_alt

            self._curves = (
                len(epochs),
                image(metric_curves(epochs), metric_curves_alt(epochs), width=760, style=ROUND),
            )
        return self._curves[1]


def how_to_stop(detaches: bool) -> str:
    """Return the sentence about the notebook's Stop button, of a run that goes on without the notebook or not."""
    return HOW_TO_DETACH if detaches else HOW_TO_STOP


def render(moment: Moment, curves: str = "", hint: str = "") -> Shown:
    """Return the view of one moment, complete as text and the same as HTML."""
    record, status = moment.record, moment.status
    clock = f", {duration(moment.seconds)}" if moment.seconds else ""
    title = f"{record['experiment']}: {status.word}{clock}"
    lines, parts = [title], []
    if hint and not status.state.is_terminal:
        lines.append(hint)
        parts.append(_faint(hint))
    begun = when.minute(record.get("created"))
    run = f"run {record['handle']}{f', begun {begun}' if begun else ''}"
    lines.append(run)
    parts.append(_faint(run))
    for text, page in (_portal(moment),):
        lines += [text] if text else []
        parts.append(page)
    for sentence in (*moment.notes, *([status.note] if status.note else [])):
        lines.append(sentence)
        parts.append(f"<div>{escape(sentence)}</div>")
    news = not status.state.is_terminal and not (status.message and status.message in moment.log_line)
    log = f"log: {moment.log_line}" if moment.log_line and news else ""
    for text, page in (
        _outcome(moment), _strip(moment), liveclock.progress(status, moment.notes), ("", curves),
        epoch_table(moment.epochs, moment.status.state.is_terminal),
        _data(moment), _network(moment), _proof(moment), (log, _faint(log) if log else ""), _following(moment),
        _as_of(moment),
    ):  # fmt: skip
        lines += [text] if text else []
        parts.append(page)
    return Shown("\n".join(lines), card(title, "".join(parts), colour=COLOURS.get(status.state, ACCENT)))


def _as_of(moment: Moment) -> tuple[str, str]:
    """Return the time of a view of a run that goes on: an output outlives the process that renews it."""
    if moment.status.state.is_terminal:
        return "", ""
    said = f"As of {when.second(moment.now)}. If this time stands still, run %mb_attach {moment.record['handle']}"
    return said, _faint(said)


def _portal(moment: Moment) -> tuple[str, str]:
    """Return the link to the run's page in the portal, and what the run has cost."""
    status = moment.status
    texts, marks = [], []
    if status.url:
        texts.append(f"{PORTAL}: {status.url}")
        marks.append(f'<a href="{escape(status.url)}" target="_blank" rel="noopener">{PORTAL}</a>')
    if status.spent is not None:
        price = (moment.record.get("azure") or {}).get("price")
        hourly = f" ({price:,.2f} an hour)" if isinstance(price, int | float) else ""
        word = "Cost" if status.state.is_terminal else "Cost so far"
        said = f"{word}: about {status.spent:,.2f} {status.currency}{hourly}".strip()
        texts.append(said)
        marks.append(escape(said))
    return "\n".join(texts), f"<div>{' &middot; '.join(marks)}</div>" if marks else ""


def _faint(sentence: str) -> str:
    return f'<div style="opacity:.7">{escape(sentence)}</div>'


def _percent(share: Any) -> str:
    return percent(share) if isinstance(share, int | float) else "?"


def _strip(moment: Moment) -> tuple[str, str]:
    """Return the stages with their clocks."""
    total = moment.last("plan").get("epochs") or moment.record["config"].get("epochs")
    epochs = (moment.last("epoch").get("epoch") or 0, total)
    return liveclock.strip(moment.status, moment.record, epochs=epochs, now=moment.now)


def _data(moment: Moment) -> tuple[str, str]:
    """Return what is trained on; nothing is left out silently."""
    counts = moment.record.get("counts") or {}
    if not counts:
        return "", ""
    said = f"Data: {sum(counts.values()):,} pictures in {len(counts):,} classes"
    if parts := moment.last("start").get("pictures"):
        words = {"train": "to train", "validation": "to validate", "test": "held out"}
        said += f", {', '.join(f'{number:,} {words.get(part, part)}' for part, number in parts.items())}"
    if left_out := moment.record.get("left_out"):
        files = "1 file is" if left_out == 1 else f"{left_out:,} files are"
        said += f"; {files} left out: %mb_data says which and why"
    return said, f"<div>{escape(said)}</div>"


def _network(moment: Moment) -> tuple[str, str]:
    from .report import reasons

    start = moment.last("start")
    if not start:
        return "", ""
    network = str(start.get("reason") or start.get("architecture") or "").rstrip(".")
    engine = moment.last("engine").get("engine") or start.get("precision")
    said = f"Network: {network}. Computed on: {start.get('device', '')}{f', {engine}' if engine else ''}."
    if code := reasons.not_tuned(moment.last("left out")):
        said += f" Without fine-tuning: {reasons.NOT_TUNED[code].words}."
    return said, f"<div>{escape(said)}</div>"


def _outcome(moment: Moment) -> tuple[str, str]:
    """Return how it ended: the accuracy, or why there is none."""
    state, error, result = moment.status.state, moment.status.error or {}, moment.last("result")
    if state is RunState.CANCELED:
        said = (
            f"Discarded: this run has no model. Its files are in {near(moment.folder)}; no command uses them. "
            "Run the cell again to train again."
        )
        return said, f"<div>{escape(said)}</div>"
    if state is RunState.FAILED or moment.status.is_lost:
        words = (("cause", ""), ("fix", "fix: "), ("alternative", "or: "))
        told = [f"{word}{error[key]}" for key, word in words if error.get(key)] + ["more: %mb_why"]
        return "\n".join(told), "".join(f"<div>{escape(line)}</div>" for line in told)
    if not result or not state.is_terminal:
        return "", ""
    headline = moment.headline or f"Accuracy {_percent(result.get('test_accuracy'))} on test images."
    return headline, f'<div style="font-size:15px;font-weight:600;margin:4px 0">{escape(headline)}</div>'


def _proof(moment: Moment) -> tuple[str, str]:
    result = moment.last("result")
    if not isinstance(result.get("agreement"), int | float) or not moment.status.state.is_terminal:
        return "", ""
    said = (
        f"Proof of the export: bestModel.onnx gives the same answer as torch for {_percent(result['agreement'])} of "
        f"the test images; {largest_difference(result.get('largest_difference', float('nan')))}."
    )
    return said, f"<div>{escape(said)}</div>"


def _following(moment: Moment) -> tuple[str, str]:
    """Return the files and what to type next."""
    if not moment.status.state.has_model:
        return "", ""
    sizes = [(name, _size(moment.folder / name)) for name in FILES if (moment.folder / name).exists()]
    files = f"Files in {near(moment.folder)}"
    tested = moment.last("result").get("test_accuracy") is not None
    following = (*(["%mb_evaluate"] if tested else []), "%mb_predict IMAGE")
    text = f"{files}: {', '.join(f'{name} ({size})' for name, size in sizes)}\nNext: {'   '.join(following)}"
    page = details(files, table(("File", "Size"), sizes, right=[1]))
    commands = " ".join(f"<code>{escape(line)}</code>" for line in following)
    return text, f"{page}<div>Next: {commands}</div>"


def _size(path: Path) -> str:
    size = path.stat().st_size
    if size >= 100_000:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1_000 else counted(size, "byte")
