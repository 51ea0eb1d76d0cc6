"""Experiments of a workspace and their runs, by its MLflow routes; no MLflow is installed for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mb_jupyter.errors import AzureError

from . import Connection

MOST = 1000  # that are asked for
WORDS = {
    "SCHEDULED": "starting",
    "RUNNING": "running",
    "FINISHED": "completed",
    "FAILED": "failed",
    "KILLED": "canceled",
}
"""MLflow's word for how a run stands -> ours; it does not know one that was stopped."""


@dataclass(frozen=True)
class FoundExperiment:
    """An experiment as the workspace knows it."""

    name: str
    id: str


@dataclass(frozen=True)
class FoundRun:
    """A run as the workspace knows it; ``state`` in our words, ``metrics`` the latest values."""

    id: str
    name: str
    state: str
    begun: datetime | None
    metrics: dict[str, float]


def experiments(connection: Connection) -> list[FoundExperiment]:
    """Return the experiments of the workspace, page after page."""
    found: list[FoundExperiment] = []
    token = ""
    while True:
        body = {"max_results": MOST, **({"page_token": token} if token else {})}
        answer = _ask(connection, "POST", "experiments/search", body=body)
        found += [_experiment(each) for each in answer.get("experiments") or []]
        token = str(answer.get("next_page_token") or "")
        if not token:
            return sorted(found, key=lambda each: each.name)


def experiment(connection: Connection, name: str) -> FoundExperiment | None:
    """Return an experiment by its name, None when no run has used it yet."""
    try:
        answer = _ask(connection, "GET", "experiments/get-by-name", params={"experiment_name": name})
    except AzureError as error:
        if error.status == 404:
            return None
        raise
    return _experiment(answer.get("experiment") or {})


def register(connection: Connection, name: str) -> FoundExperiment:
    """Return the experiment of that name; it is made when it is used for the first time."""
    known = experiment(connection, name)
    if known is not None:
        return known
    try:
        answer = _ask(connection, "POST", "experiments/create", body={"name": name})
    except AzureError:
        made = experiment(connection, name)  # somebody else was quicker
        if made is None:
            raise
        return made
    return FoundExperiment(name, str(answer.get("experiment_id", "")))


def runs(connection: Connection, known: FoundExperiment) -> list[FoundRun]:
    """Return the runs of an experiment, the latest first."""
    body = {"experiment_ids": [known.id], "max_results": MOST, "order_by": ["attributes.start_time DESC"]}
    answer = _ask(connection, "POST", "runs/search", body=body)
    return [_run(each) for each in answer.get("runs") or []]


def _experiment(answer: dict[str, Any]) -> FoundExperiment:
    return FoundExperiment(str(answer.get("name", "")), str(answer.get("experiment_id", "")))


def _run(answer: dict[str, Any]) -> FoundRun:
    info, data = answer.get("info") or {}, answer.get("data") or {}
    begun = info.get("start_time")
    return FoundRun(
        str(info.get("run_id", "")),
        str(info.get("run_name") or info.get("run_id", "")),
        WORDS.get(str(info.get("status", "")), str(info.get("status", "")).lower()),
        datetime.fromtimestamp(int(begun) / 1000, UTC) if begun else None,
        {str(each["key"]): float(each["value"]) for each in data.get("metrics") or [] if each.get("value") is not None},
    )


def _ask(connection: Connection, method: str, route: str, **options: Any) -> dict[str, Any]:
    address = f"{connection.facts.mlflow_api}/{route}"
    answer = connection.arm.send(method, address, doing="reading the experiments", **options).json()
    return answer if isinstance(answer, dict) else {}
