"""Metrics and tags of a run, by the workspace's MLflow routes; no MLflow is installed for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import AzureError

if TYPE_CHECKING:
    from . import Connection


class Tracking:
    """Reads what a program logs with MLflow: one request for the latest values, more only for what has moved."""

    def __init__(self, connection: Connection, run: str) -> None:
        self._connection, self._run = connection, run
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._history: dict[str, list[tuple[int, float]]] = {}

    def metrics(self, known: Collection[int] = ()) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) for each metric; empty before the job has begun to run.

        A metric whose latest step is among the ``known`` ones is not asked for again.
        """
        found = self._ask("GET", "runs/get", run_id=self._run)
        data = ((found or {}).get("run") or {}).get("data") or {}
        for metric in data.get("metrics") or []:
            key, latest = str(metric["key"]), (metric.get("step"), metric.get("timestamp"), metric.get("value"))
            if self._seen.get(key) == latest or latest[0] in known:
                continue
            told = self._ask("GET", "metrics/get-history", run_id=self._run, metric_key=key) or {}
            steps = {int(each.get("step") or 0): float(each["value"]) for each in told.get("metrics") or []}
            self._history[key] = sorted(steps.items())
            self._seen[key] = latest
        return self._history

    def tag(self, key: str, value: str) -> None:
        """Put a tag on the run; the program may watch it."""
        self._connection.arm.send(
            "POST",
            f"{self._connection.facts.mlflow_api}/runs/set-tag",
            body={"run_id": self._run, "key": key, "value": value},
            doing="setting a tag of the run",
        )

    def _ask(self, method: str, route: str, **params: str) -> dict[str, Any] | None:
        address = f"{self._connection.facts.mlflow_api}/{route}"
        try:
            answer = self._connection.arm.send(method, address, params=params, doing="reading the metrics").json()
        except AzureError as error:
            if error.status == 404:  # before the job runs there is nothing
                return None
            raise
        return answer if isinstance(answer, dict) else None
