"""What is kept of an Azure run in its folder: ``azure.json`` (no secret) and the files of every run.

``status.json`` is the program's, with what only this side knows put around it: upload, queue, node, cost, link.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.backends import RunState, Status
from mb_jupyter.records import STATUS, read_fields
from mb_jupyter.training import disk

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection, Place

FACTS = "azure.json"
OWN = (FACTS, "status.json", "metrics.jsonl", "log.txt", "ended.json", "stop", "code", "checkpoint")
"""Of a run's folder, what is never sent: it is made here, or comes from there."""


class RunFolder:
    """The folder of an Azure run. Several threads may use one; the last word of each file is whole."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()

    # -- azure.json ------------------------------------------------------------------------------------

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the job, as far as it fits; empty when there is none."""
        return read_fields(self.path, FACTS)

    def know(self, **changes: Any) -> dict[str, Any]:
        """Change what is known, and return all of it."""
        with self._lock:
            facts = {**self.facts, **changes}
            write_json(self.path / FACTS, facts)
            return facts

    @property
    def place(self) -> Place:
        """Where the job is."""
        from mb_jupyter.azureml import Place

        return Place(**{each.name: self.facts["place"].get(each.name) or "" for each in dataclasses.fields(Place)})

    def connect(self) -> Connection:
        """Return a connection to the job's workspace, by the sign-in it was submitted with."""
        from mb_jupyter.azureml import connect

        return connect(str(self.facts.get("sign_in", "")), self.place)

    # -- status.json -----------------------------------------------------------------------------------

    @property
    def told(self) -> dict[str, Any]:
        """What ``status.json`` says, as far as it fits."""
        return read_fields(self.path, STATUS)

    def tell(self, state: RunState, **values: Any) -> None:
        """Write ``status.json``; what is not named stays as it was."""
        with self._lock:
            told = {**self.told, "state": str(state), **values, "updated": values.get("updated") or time.time()}
            write_json(self.path / STATUS, told)

    def status(self) -> Status:
        """Return what ``status.json`` says as the view takes it."""
        told = self.told
        state = str(told.get("state", ""))
        return Status.of(RunState(state) if state in list(RunState) else RunState.STARTING, told, told.get("error"))

    # -- our own stages --------------------------------------------------------------------------------

    def stage(self, name: str) -> list[dict[str, Any]]:
        """Begin a stage of ours, unless it is the one that goes on; return all of ours."""
        stages: list[dict[str, Any]] = list(self.facts.get("stages") or [])
        if stages and stages[-1]["stage"] == name and stages[-1]["seconds"] is None:
            return stages
        stages = [*_closed(stages), *([{"stage": name, "started": time.time(), "seconds": None}] if name else [])]
        self.know(stages=stages)
        return stages

    def close_stages(self) -> list[dict[str, Any]]:
        """End the stage that goes on; return all of ours."""
        stages = _closed(self.facts.get("stages") or [])
        if stages != self.facts.get("stages"):
            self.know(stages=stages)
        return stages

    # -- the log ---------------------------------------------------------------------------------------

    def append_log(self, text: bytes, at: int) -> None:
        """Write a piece of the log where it belongs; two that follow the same run write the same."""
        path = self.path / "log.txt"
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(at)
            file.write(text)
            if at == 0:
                file.truncate()


def _closed(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    now = time.time()
    return [
        {**each, "seconds": round(now - each["started"], 3)} if each["seconds"] is None else each for each in stages
    ]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file aside, then rename it."""
    write(path, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace"))


def write(path: Path, content: bytes) -> None:
    """Write a file aside, then rename it."""
    disk.swap(path, content, durable=path.name == FACTS)  # without it nobody finds the job again
