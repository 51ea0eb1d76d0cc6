"""The cell that the tests run, what they look at, and what they do to Azure meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from mb_jupyter import cloud
from tests.azure_emulator.emulator import Azure
from tests.azure_emulator.jobs import Job

CELL = "%%mb_train trees -o run --backend azure\ndata: trees\nepochs: {epochs}\n{more}"
PATIENCE = 120.0  # seconds, for what must come on a machine that has much else to do
FILES = {"report.json", "predictions.csv", "metrics.jsonl", "split.csv", "log.txt", "ended.json", "config.json"}
STALL = {"kind": "stall", "seconds": 5.0}
PASSING: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "reset"},
    STALL,
    {"kind": "truncate"},
]


def named(fault: dict[str, Any]) -> str:
    return str(fault.get("status") or fault["kind"])


def choose(azure: Azure, **more: str) -> None:
    place = {"subscription": azure.subscription, "resource_group": "rg", "workspace": "ws", "tenant": azure.tenant}
    cloud.choose(**{"sign_in": "environment", "compute": "gpu", **place, **more})


def cell(more: str = "", epochs: int = 3) -> str:
    return CELL.format(more=more, epochs=epochs)


def the_run(shell: InteractiveShell) -> Any:
    return shell.user_ns["run"]


def only_job(azure: Azure) -> Job:
    (job,) = azure.jobs.values()
    return job


def seen(azure: Azure, shell: InteractiveShell) -> Job:
    """Wait until the notebook's side has seen an epoch of the job that runs."""

    def there() -> bool:
        files = list(Path("kept/trees").glob("*/metrics.jsonl"))
        return bool(azure.jobs and files and '"epoch"' in files[0].read_text())

    until(there, lambda: {name: (job.history, job.error) for name, job in azure.jobs.items()})
    return only_job(azure)


def until(true: Callable[[], object], otherwise: Callable[[], object] = lambda: "it did not come") -> None:
    """Wait for what lasts once it has come."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.02)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do something while a cell runs; what it raises fails the test."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join(2 * PATIENCE)
        assert not raised and not thread.is_alive(), raised


def told(words: str) -> bool:
    """Wait until the run's status says some words."""

    def said() -> list[str]:
        return [path.read_text() for path in Path("kept/trees").glob("*/status.json")]

    until(lambda: any(words in each for each in said()), said)
    return True
