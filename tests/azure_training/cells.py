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
LONG = 120  # epochs of a run to which something happens meanwhile
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
    end = time.monotonic() + 60
    while True:
        files = list(Path("kept/trees").glob("*/metrics.jsonl"))
        if azure.jobs and files and '"epoch"' in files[0].read_text():
            return only_job(azure)
        assert time.monotonic() < end, {name: (job.history, job.error) for name, job in azure.jobs.items()}
        time.sleep(0.05)


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
        thread.join(90)
        assert not raised, raised


def told(words: str, seconds: float = 40) -> bool:
    """Wait until the run's status says some words."""
    end = time.monotonic() + seconds
    while not any(words in path.read_text() for path in Path("kept/trees").glob("*/status.json")):
        assert time.monotonic() < end, [path.read_text() for path in Path("kept/trees").glob("*/status.json")]
        time.sleep(0.05)
    return True
