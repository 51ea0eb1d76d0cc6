"""What every backend promises, with the same program of ten lines on each of them."""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter.backends import BACKENDS, Backend, Job, RunState, Status, open_backend
from mb_jupyter.backends.azure import follow
from mb_jupyter.errors import WorkspaceError
from tests.azure_shell import end_followers

PREAMBLE = """
import json, os, pathlib, sys, time
data, output = map(pathlib.Path, sys.argv[1:3])
def tell(**status):
    (output / "aside").write_text(json.dumps({"stages": [], "started": time.time(), **status}))
    (output / "aside").replace(output / "status.json")
def record(**values):
    with (output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(values) + "\\n")
"""
UNTIL_STOPPED = """
tell(state="running", stage="epoch", message="waits")
while not (output / "stop").exists(): time.sleep(.05)
(output / "kept.txt").write_text("the best")
tell(state="stopped", stage="verify")
"""


@pytest.fixture(params=list(BACKENDS))
def where(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Job]]:
    """Return what makes a job for the backend; its name is ``where.name``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options: dict[str, Any] = {}
    if request.param == "azure":
        azure = request.getfixturevalue("azure")
        azure.make_workspace("ws", "rg")
        azure.make_compute("cpu", "Standard_NC4as_T4_v3")
        place = {
            "subscription": azure.subscription,
            "resource_group": "rg",
            "workspace": "ws",
            "region": "",
            "tenant": "",
        }
        options = {"place": place, "sign_in": "environment", "compute": "cpu", "price": 0.5, "currency": "USD"}
        monkeypatch.setattr(follow, "OFTEN", 0.2)
    (tmp_path / "data/ä b").mkdir(parents=True)
    (tmp_path / "data/ä b/c.txt").write_text("seen")

    def job(program: str, **more: Any) -> Job:
        code = tmp_path / "code/tenlines"
        code.mkdir(parents=True, exist_ok=True)
        (code / "__main__.py").write_text(PREAMBLE + program)
        command = ("python", "-m", "tenlines", "{data}", "{output}")
        return Job("ten lines", command, code, tmp_path / "data", options=options, **more)

    job.name = request.param  # type: ignore[attr-defined]
    yield job
    end_followers()


@pytest.fixture
def backend(where: Any) -> Backend:
    return open_backend(where.name)


@pytest.fixture
def folder(tmp_path: Path, backend: Backend) -> Iterator[Path]:
    path = tmp_path / "kept/lines/20260101-000000-abcd"
    path.mkdir(parents=True)
    yield path
    backend.cancel(path)


def until(backend: Backend, folder: Path, reached: Callable[[Status], object], seconds: float = 120) -> Status:
    end = time.monotonic() + seconds
    while not reached(status := backend.status(folder)):
        assert time.monotonic() < end, f"{status}\n{backend.log(folder)}"
        time.sleep(0.05)
    return status


def ended(backend: Backend, folder: Path) -> Status:
    return until(backend, folder, lambda status: status.state.is_terminal)


def test_a_program_runs_to_its_end(where, backend, folder):
    backend.submit(
        where(
            "record(event='epoch', epoch=1); print((data / 'ä b/c.txt').read_text(), os.environ['EXTRA'], flush=True)\n"
            "(output / 'result.txt').write_text((output / 'config.json').read_text() * 1000)\n"
            "(output / 'sub').mkdir(); (output / 'sub/more ü.txt').write_text('more')\n"
            "tell(state='completed', stage='verify', fraction=1.0)",
            files={"config.json": '{"epochs": 1}'},
            env={"EXTRA": "more"},
        ),
        folder,
    )
    status = ended(backend, folder)
    assert (status.state, status.error) == (RunState.COMPLETED, None), backend.log(folder)
    backend.fetch(folder)
    assert {"event": "epoch", "epoch": 1} in backend.metrics(folder)
    assert "seen more" in backend.log(folder)
    assert (folder / "result.txt").read_text() == '{"epochs": 1}' * 1000
    assert (folder / "sub/more ü.txt").read_text() == "more"


def test_of_twenty_calls_at_once_one_begins(where, backend, folder):
    job = where("record(event='began'); " + UNTIL_STOPPED)
    with ThreadPoolExecutor(20) as threads:
        begun = list(threads.map(lambda _: backend.submit(job, folder), range(20)))
    assert sum(begun) == 1
    until(backend, folder, lambda status: status.stage == "epoch")
    assert backend.submit(job, folder) is False, "it runs already"
    backend.stop(folder)
    assert ended(backend, folder).state is RunState.STOPPED
    backend.fetch(folder)
    assert backend.metrics(folder) == [{"event": "began"}]


def test_a_folder_that_is_gone_is_told(where, backend, folder):
    backend.submit(where("tell(state='completed')"), folder)
    ended(backend, folder)
    shutil.rmtree(folder)
    status = backend.status(folder)
    assert status.state is RunState.FAILED and "deleted or moved" in status.error["cause"]


def test_stop_lets_it_end_well(where, backend, folder):
    backend.submit(where(UNTIL_STOPPED), folder)
    until(backend, folder, lambda status: status.stage == "epoch")
    backend.stop(folder)
    assert ended(backend, folder).state is RunState.STOPPED
    backend.fetch(folder)
    assert (folder / "kept.txt").read_text() == "the best"


def test_cancel_ends_it(where, backend, folder):
    backend.submit(where("tell(state='running', stage='head'); time.sleep(600)"), folder)
    until(backend, folder, lambda status: status.stage == "head")
    backend.cancel(folder)
    assert ended(backend, folder).state is RunState.CANCELED
    backend.cancel(folder)  # once more changes nothing
    assert backend.status(folder).state is RunState.CANCELED


def test_its_own_explanation_is_kept(where, backend, folder):
    error = {"cause": "One class.", "fix": "Add one."}
    backend.submit(where(f"tell(state='failed', error={error}); sys.exit(2)"), folder)
    status = ended(backend, folder)
    assert (status.state, status.error) == (RunState.FAILED, error)


def test_a_traceback_is_in_the_log(where, backend, folder):
    backend.submit(where("tell(state='running'); raise LookupError('no such leaf')"), folder)
    status = ended(backend, folder)
    assert status.state is RunState.FAILED and status.error
    assert "LookupError: no such leaf" in backend.log(folder, 5)


def test_a_program_that_is_killed(where, backend, folder):
    backend.submit(where("tell(state='running'); import signal; os.kill(os.getpid(), signal.SIGKILL)"), folder)
    status = ended(backend, folder)
    assert status.state is RunState.FAILED and status.error
    assert status.error["kind"] == "killed" and "memory" in status.error["cause"]


def test_it_is_begun_again_in_its_folder(where, backend, folder):
    backend.submit(where("(output / 'checkpoint').mkdir(); (output / 'checkpoint/last').touch(); sys.exit(1)"), folder)
    assert ended(backend, folder).state is RunState.FAILED
    backend.submit(where("(output / 'found.txt').write_text(str((output / 'checkpoint/last').exists()))"), folder)
    assert ended(backend, folder).state is RunState.COMPLETED, backend.log(folder)
    backend.fetch(folder)
    assert (folder / "found.txt").read_text() == "True"


def test_several_processes(where, backend, folder):
    backend.submit(
        where(
            "(output / f\"rank{os.environ['RANK']}of{os.environ['WORLD_SIZE']}\").touch()\n"
            # the first process brings the files: it ends when the others have written theirs
            "while len(list(output.glob('rank*'))) < 2: time.sleep(.05)",
            processes=2,
        ),
        folder,
    )
    assert until(backend, folder, lambda status: status.state.is_terminal, 120).state is RunState.COMPLETED
    backend.fetch(folder)
    assert sorted(path.name for path in folder.glob("rank*")) == ["rank0of2", "rank1of2"]


def test_every_backend_in_the_table_opens_and_keeps_the_protocol():
    for name in BACKENDS:
        backend = open_backend(name)
        for function in ("submit", "status", "metrics", "log", "stop", "cancel", "fetch"):
            assert callable(getattr(backend, function)), f"{name} has no {function}"
        assert isinstance(backend.detaches, bool)
        assert type(backend).__module__ == importlib.import_module(BACKENDS[name]).__name__


def test_an_unknown_backend_is_no_backend():
    with pytest.raises(WorkspaceError, match="no backend 'moon'; it has local, azure"):
        open_backend("moon")


def test_states_that_end_a_run():
    assert {state for state in RunState if not state.is_terminal} == {RunState.STARTING, RunState.RUNNING}
    assert {state for state in RunState if state.has_model} == {RunState.COMPLETED, RunState.STOPPED}
    assert f"{RunState.FAILED}" == "failed"
