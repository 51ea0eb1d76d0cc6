"""Where a run can be carried out: the values and the few functions that every backend shares.

A backend knows nothing of learning. It gets a :class:`Job`, carries it out, and tells what the files
in the run's folder say; so it can be tested with a ten-line program.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from mb_jupyter.errors import WorkspaceError

BACKENDS = {"local": "mb_jupyter.backends.local", "azure": "mb_jupyter.backends.azure"}
"""Name of a backend -> the module whose ``open()`` returns it; imported when it is chosen."""


class RunState(StrEnum):
    """How far a run is; the same words for every backend."""

    STARTING = "starting"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing will change any more."""
        return self not in (RunState.STARTING, RunState.RUNNING)

    @property
    def has_model(self) -> bool:
        """Tell whether the run ended with a model that was evaluated and proved."""
        return self in (RunState.COMPLETED, RunState.STOPPED)

    @property
    def word(self) -> str:
        """The state as people read it."""
        return "cancelled" if self is RunState.CANCELED else str(self)


@dataclass(frozen=True)
class Job:
    """All that a backend sees of a run: a program, its input and the small files it reads.

    ``command`` begins with ``python``; ``{data}`` and ``{output}`` in it stand for the two folders,
    whose real names only the backend knows. ``code`` is the program's folder, a package whose name
    the command uses; a snapshot of it is taken. ``files`` are put into the output folder.

    A backend elsewhere sends only ``needs`` of the data (paths below it; None: all), or nothing where ``data``
    is an address that the place itself can open. ``attachments`` are files of this machine that go into the output
    folder too. ``minutes`` bounds the job, ``options`` say where it goes.
    """

    name: str
    command: tuple[str, ...]
    code: Path
    data: Path | str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] | None = None
    attachments: Mapping[str, Path] = field(default_factory=dict)
    minutes: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """What is known of a run at one moment. ``fraction`` (0 to 1) and ``eta_seconds`` are of the whole run.

    ``seconds`` is what the program's own clock showed when the status was ``updated``, earlier attempts included, and
    ``stage_seconds`` that of the stage. ``planned`` names the stages in their order; ``eta_at_most`` tells that the run
    may end earlier, ``stopping`` that it has heard of a stop. Programs of version 0.1.0 say none of these.

    ``error`` has ``cause``, ``fix`` and ``alternative``; its ``kind`` is ``"killed"`` when the system
    ended the program, which mostly means that memory ran out. A run elsewhere of which nobody can tell how it stands
    has an error of the kind ``"lost"``; its ``state`` is the last one known, and asking again may tell more. One that
    may never have arrived there is ``"unsent"``: sent again it has the same name, which is taken once. ``note`` is what
    is to be said of how it ended. ``spent`` is what it has cost so far, where that is known.
    """

    state: RunState
    stage: str = ""
    done: int | None = None
    total: int | None = None
    fraction: float | None = None
    eta_seconds: float | None = None
    message: str = ""
    stages: tuple[Mapping[str, Any], ...] = ()
    started: float | None = None
    updated: float | None = None
    error: Mapping[str, str] | None = None
    seconds: float | None = None
    stage_seconds: float | None = None
    eta_at_most: bool = False
    planned: tuple[str, ...] = ()
    stopping: bool = False
    note: str = ""
    url: str = ""
    spent: float | None = None
    currency: str = ""

    @classmethod
    def of(cls, state: RunState, told: Mapping[str, Any], error: Mapping[str, Any] | None = None) -> Status:
        """Return the status that the fields of a ``status.json``, checked already, tell of a run in a state."""
        known = {each.name for each in fields(cls)} - {"state", "error"}
        values = {name: value for name, value in told.items() if name in known and value is not None}
        values |= {name: tuple(values[name]) for name in ("stages", "planned") if name in values}
        return cls(state, error={key: str(value) for key, value in error.items() if value} if error else None, **values)

    @property
    def is_lost(self) -> bool:
        """Tell whether nobody can say how the run stands."""
        return (self.error or {}).get("kind") in ("lost", "unsent")

    @property
    def may_begin_again(self) -> bool:
        """Tell whether the run may be begun again in its folder, without a second one beside it."""
        return self.state is RunState.FAILED or (self.error or {}).get("kind") == "unsent"

    @property
    def word(self) -> str:
        """The state as people read it."""
        return "unknown" if self.is_lost else self.state.word


class Backend(Protocol):
    """Carries out jobs. Everything it must remember of a run it keeps in the run's folder.

    So a run is found again by its folder alone, from any kernel. Not promised: that :meth:`stop` and
    :meth:`cancel` have taken effect when they return (ask :meth:`status`), that :meth:`metrics` tells
    a record at once, or that a program which dies without a word leaves more than its log.

    ``detaches`` tells that the run goes on, and may cost, when the notebook looks away: its Stop button then
    leaves the run alone.
    """

    detaches: bool

    def submit(self, job: Job, folder: Path) -> bool:
        """Start the job with ``folder`` as its output; what an earlier attempt left there is resumed.

        Of several calls at once for one folder, one starts the job and returns True; for the others it runs already,
        and they return False. May return while the job is still on its way there.
        """

    def status(self, folder: Path) -> Status:
        """Tell how far the run is; never raises for a run that was once submitted."""

    def metrics(self, folder: Path) -> list[dict[str, Any]]:
        """Return the records the program has written so far; a resumed program may take some back."""

    def log(self, folder: Path, lines: int | None = None) -> str:
        """Return the program's output, or its last ``lines``."""

    def stop(self, folder: Path) -> None:
        """Ask the program to finish early and to keep the best it has."""

    def cancel(self, folder: Path) -> None:
        """End the program now; what it has done may be lost."""

    def fetch(self, folder: Path) -> None:
        """Wait until the files of an ended run are in ``folder``."""


def open_backend(name: str) -> Backend:
    """Return the backend called ``name``; raises ``WorkspaceError`` where this installation has none."""
    if name not in BACKENDS:
        raise WorkspaceError(
            f"This installation has no backend {name!r}; it has {', '.join(BACKENDS)}.",
            "Install the package that brings it, or open the run where it was trained.",
        )
    opened: Backend = importlib.import_module(BACKENDS[name]).open_backend()
    return opened
