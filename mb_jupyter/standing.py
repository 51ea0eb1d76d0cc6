"""What a run's folder may be used for: the one place that decides it, from the state that was recorded.

The files of a run that was cancelled or that failed are no model, however complete they look. While a run goes on,
its first model may be used, once the program has recorded that it is whole; whoever uses it says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from . import when
from .backends import RunState, Status, open_backend
from .display import percent
from .errors import ModelError
from .records import REPORT, RUN, read_fields

Use = Literal["model", "report"]
FILES: dict[Use, str] = {"model": "bestModel.onnx", "report": "predictions.csv"}
OTHERS = "%mb_runs lists the runs."
ID = re.compile(r"(?:^|[/-])(\d{8}-\d{6})-[0-9a-f]{4}(?:-\d+)?$")  # at the end of a handle; the time is UTC


@dataclass(frozen=True)
class Origin:
    """Which run a model, an answer or a report comes from; what is not known is empty.

    ``accuracy`` is the share of right answers on ``tests`` test images. ``stage`` says that the run has not ended:
    ``first`` for its first model, ``unproved`` for its last one while that is still being checked.
    """

    experiment: str = ""
    created: str = ""
    accuracy: float | None = None
    tests: int | None = None
    stage: Literal["", "first", "unproved"] = ""

    @property
    def text(self) -> str:
        """``flowers, 29 Nov 10:31, 96.0 % (24 of 25 test images)``; empty where nothing is known."""
        if self.stage:
            quality = {
                "first": "from the first model of a run still in training",
                "unproved": "from a run whose model is still being checked",
            }[self.stage]
        elif self.accuracy is None:
            quality = ""
        else:
            right = None if not self.tests else round(self.accuracy * self.tests)
            count = f" ({right:,} of {self.tests:,} test images)" if right is not None else ""
            quality = f"{percent(self.accuracy)}{count}"
        return ", ".join(part for part in (self.experiment, when.short(self.created), quality) if part)


class Standing:
    """How a run stands, and what may therefore be done with what is in its folder."""

    def __init__(self, folder: Path, status: Status | None = None) -> None:
        self.folder = folder
        self._status = status

    @cached_property
    def record(self) -> dict[str, Any]:
        """``run.json``, empty where it cannot be read."""
        return read_fields(self.folder, RUN)

    @cached_property
    def status(self) -> Status:
        """Everything that is recorded of its progress."""
        return self._status or self._backend.status(self.folder)

    @property
    def state(self) -> RunState:
        """How far it is."""
        return self.status.state

    def offers(self, use: Use) -> bool:
        """Tell whether its model or its report is chosen where nobody names a run."""
        if not (self.folder / FILES[use]).is_file():  # asked first: for the state a process may have to be found
            return False
        if self.state.has_model:
            return True
        return use == "model" and not self.state.is_terminal and self._recorded("model")

    def require(self, use: Use) -> None:
        """Raise ``ModelError`` unless a run that was named may be used so; the error says what it is and what to do.

        A run that failed because it missed ``min_accuracy`` has no model, but a report, which says by how much.
        """
        if self.offers(use):
            return
        there = (self.folder / FILES[use]).is_file()
        if use == "report" and there and self.state is RunState.FAILED and self._recorded("result"):
            return
        raise self._refusal(use)

    def _refusal(self, use: Use) -> ModelError:
        handle, state = str(self.record.get("handle") or self.folder), self.state
        error = self.status.error or {}
        if error.get("kind") == "deleted":
            return ModelError(error["cause"], error["fix"], OTHERS)
        if state is RunState.CANCELED:
            return ModelError(
                f"{handle} was cancelled: it has no {use}, and no command uses the files it has left.",
                "Train again, or name a run that is completed or stopped.", OTHERS,
            )  # fmt: skip
        if state is RunState.FAILED:
            return ModelError(
                f"{handle} failed: it has no {use}, and no command uses the files it has left.",
                f"%mb_why {handle} shows why. Train again, or name a run that is completed or stopped.", OTHERS,
            )  # fmt: skip
        missing = "has no model" if use == "model" else "has not been evaluated"
        if state.is_terminal:
            return ModelError(f"{handle} {missing}: it is {state.word}, and {FILES[use]} is missing.", "Train again.")
        first = "its first model is there soon after the features" if use == "model" else "it is evaluated at its end"
        return ModelError(
            f"{handle} {missing}: it is {state.word}.", f"Wait: {first}. %mb_attach {handle} shows how far it is."
        )

    @property
    def origin(self) -> Origin:
        """The name of its model for people."""
        report, record = read_fields(self.folder, REPORT), self.record
        accuracy, tests = report.get("test_accuracy"), (report.get("counts") or {}).get("test")
        stage: Literal["", "first", "unproved"] = ""
        if not self.state.is_terminal:
            exported = any(r.get("event") == "model" and "test_accuracy" in r for r in self._records)
            stage = "unproved" if exported else "first"
        return Origin(
            str(record.get("experiment") or self.folder.parent.name),
            str(record.get("created") or ""),
            _share(accuracy),
            tests if isinstance(tests, int) else None,
            stage,
        )

    def _recorded(self, event: str) -> bool:
        return any(record.get("event") == event for record in self._records)

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        return self._backend.metrics(self.folder)

    @cached_property
    def _backend(self) -> Any:
        return open_backend(str(self.record.get("backend") or "local"))


def of_file(path: Path) -> Standing | None:
    """Return how the run stands whose folder this is, or one of whose files; None where it is no run's."""
    folder = path if path.is_dir() else path.parent
    return Standing(folder) if (folder / "run.json").is_file() else None


def in_card(card: dict[str, Any]) -> Origin:
    """Return what a model file says of the run that it comes from; of an old one less is known."""
    handle, metrics = str(card.get("run") or ""), card.get("metrics") or {}
    found = ID.search(handle)
    created = ""
    if found:
        day, clock = found[1].split("-")
        created = f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}+00:00"
    experiment = handle.partition("://")[2].rpartition("/")[0 if handle.startswith("local") else 2]
    if found and not handle.startswith("local"):  # azure://WORKSPACE/EXPERIMENT-ID
        experiment = ID.sub("", experiment)
    accuracy, tests = metrics.get("test_accuracy"), card.get("tests") or (card.get("pictures") or {}).get("test")
    return Origin(
        experiment,
        str(card.get("created") or created),
        _share(accuracy),
        int(str(tests)) if str(tests or "").isdigit() else None,
    )


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
