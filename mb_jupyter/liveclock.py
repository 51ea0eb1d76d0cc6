"""How far a run is, as its view says it: the clock, the stages with theirs, what is done and the time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .backends import RunState, Status
from .display import ACCENT, bar, duration, escape

STAGES = ("check", "start", "features", "head", "epoch", "calibrate", "evaluate", "export", "verify")
THERE = ("upload", "submit", "queue", "node", "download")  # of a run in Azure, around the program's
AFTER = THERE[-1:]
STALE = 60.0  # seconds after which a status that is not renewed no longer lets the clock run
STOPPING = "Stopping: the best model so far is evaluated and saved."


def elapsed(status: Status, now: float) -> float:
    """Return the seconds that a run has taken until now, or had taken when it ended; ``now`` is the time of day.

    The program's own clock counts, with the age of what it last said, and so do the stages around it. Without such a
    clock, in a run of version 0.1.0, the times of day have to do.
    """
    around = [stage for stage in status.stages if stage.get("stage") in THERE]
    if status.seconds is None and not around:
        if status.started is None:
            return 0.0
        until = status.updated if status.state.is_terminal else now
        return max(0.0, (until or now) - status.started)
    here = status.stage in THERE or status.state is not RunState.RUNNING
    program = (status.seconds or 0.0) + (0.0 if here else _age(status, now))
    return program + sum(_spent(stage, status, now) for stage in around)


def strip(status: Status, record: Mapping[str, Any], *, epochs: tuple[int, int | None], now: float) -> tuple[str, str]:
    """Return the stages with their clocks, as text and HTML: done, now, to come.

    ``epochs`` are those that are over, and how many there are to be.
    """
    spent: dict[str, float] = {"check": float(record.get("check_seconds") or 0)}
    for stage in status.stages:
        name = stage["stage"]
        spent[name] = spent.get(name, 0.0) + _spent(stage, status, now)
    over = status.state.is_terminal
    here = "" if over else status.stage or "start"
    words, marks = [], []
    for name in _names(status, record):
        never = over or (name == "epoch" and record["config"].get("recipe") == "features")
        if name not in spent and name != here and never:
            continue  # what an ended run never came to, or none of this recipe comes to
        word = name
        if name == "epoch" and name in spent:
            word = f"epoch {epochs[0] + (name == here)}/{epochs[1] or '?'}"
        word += f" {duration(spent[name])}" if name in spent else ""
        words.append(f"[{word}]" if name == here else word)
        if name == here:
            style = f"font-weight:600;border-bottom:2px solid {ACCENT}"
        else:
            style = "" if name in spent else "opacity:.7"
        marks.append(f'<span style="{style}">{escape(word)}</span>')
    return " > ".join(words), f'<div style="margin:4px 0">{" &gt; ".join(marks)}</div>'


def progress(status: Status, notes: Sequence[str] = ()) -> tuple[str, str]:
    """Return what the run does, how much of it is done and how long it still takes, as text and HTML."""
    if status.state.is_terminal:
        return "", ""
    doing = [status.message or ("waiting for the training program to start" if _starts(status) else "")]
    if status.stopping and not any(note.startswith("Stopping") for note in notes):
        doing.insert(0, STOPPING)
    counted = status.total and status.done is not None and status.stage != "epoch"  # the strip counts these
    figures = [f"{status.done:,} of {status.total:,}" if counted else "", *_shares(status)]
    said = ", ".join(figure for figure in figures if figure)
    page = "".join(f"<div>{escape(line)}</div>" for line in doing if line)
    shown = str(bar(status.fraction, width=240)) + " " if status.fraction is not None else ""
    page += f"<div>{shown}{escape(said)}</div>" if said else ""
    return "\n".join(line for line in (*doing, said) if line), page


def left(seconds: float, *, at_most: bool = False) -> str:
    """Return the time left as people say it: no more exact than it is known."""
    about = "up to about" if at_most else "about"
    minutes = round(seconds / 60)
    if seconds < 8:
        return "a few seconds left"
    if seconds < 55:
        return f"{about} {max(10, 5 * round(seconds / 5))} s left"
    if minutes < 100:
        return f"{about} {max(1, minutes)} min left"
    hours, rest = divmod(5 * round(minutes / 5), 60)
    return f"{about} {hours} h{f' {rest} min' if rest else ''} left"


def _shares(status: Status) -> list[str]:
    """Return the percent done and the time left; all of it is done only when the run has ended."""
    if status.fraction is None:
        return [] if status.eta_seconds is None else [left(status.eta_seconds, at_most=status.eta_at_most)]
    if status.fraction >= 1:
        return ["99 % done", "finishing"]
    unknown = "time left not known yet"
    rest = unknown if status.eta_seconds is None else left(status.eta_seconds, at_most=status.eta_at_most)
    return [f"{min(99, int(100 * status.fraction))} % done", rest]


def _names(status: Status, record: Mapping[str, Any]) -> list[str]:
    """Return the names of all stages in their order: as planned, what was begun unplanned behind what it followed."""
    here = record.get("backend", "local") == "local"
    begun = [str(stage["stage"]) for stage in status.stages]
    planned = [*status.planned] if status.planned else [*STAGES[2:]]
    around = () if here else THERE[: -len(AFTER)]
    names = list(dict.fromkeys(["check", *around, "start", *planned, *(() if here else AFTER)]))
    place = 0
    for name in begun:
        if name not in names:
            names.insert(place + 1, name)
        place = names.index(name)
    return names


def _starts(status: Status) -> bool:
    return status.state is RunState.STARTING


def _age(status: Status, now: float) -> float:
    """Return the seconds since the status was written; a clock that was set meanwhile does not count."""
    return min(STALE, max(0.0, now - status.updated)) if status.updated is not None else 0.0


def _spent(stage: Mapping[str, Any], status: Status, now: float) -> float:
    """Return the seconds of a stage; of the one that goes on, those until now."""
    seconds = stage.get("seconds")
    if seconds is not None:
        return float(seconds)
    over = status.state.is_terminal
    if status.stage_seconds is not None and stage.get("stage") == status.stage and stage["stage"] not in THERE:
        return status.stage_seconds + (0.0 if over else _age(status, now))
    until = (status.updated or now) if over else now
    return max(0.0, until - float(stage.get("started") or until))
