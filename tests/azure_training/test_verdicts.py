"""That a run has failed, was canceled or costs nothing is said only when Azure, or the run itself, has said so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from mb_jupyter.backends import RunState
from mb_jupyter.backends.azure import follow, look, node
from mb_jupyter.errors import AzureError, TrainingFailed
from tests.azure_shell import end_followers, fails, run
from tests.standin import PROGRAM

from .cells import cell, meanwhile, only_job, seen, the_run, told, until

SUBMISSION, KEY, DATASTORE = ("PUT", "*/jobs/*"), ("POST", "*/listSecrets"), ("GET", "*/datastores/*")
PROGRAM_SENT, JOB, METRICS = ("*", "*/codes/*"), ("GET", "*/jobs/*"), ("GET", "*/mlflow/*")
FILES, TOKEN = ("GET", "*blob.core.windows.net/azureml-blobstore-*"), ("POST", "login.microsoftonline.com/*/token")
OFTEN = 6  # in a row: more than azure-core asks


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a job that is not found after a second, and ask again at once."""
    monkeypatch.setattr(look, "MISSING_SECONDS", 1.0)
    monkeypatch.setattr(follow, "LOST_SECONDS", 0.0)


# -- accepted, and then not found or not read ------------------------------------------------------------


def test_an_accepted_job_that_azure_forgets_for_a_moment_goes_on(azure, shell):
    azure.unseen = 2
    assert "completed" in run(shell, cell())
    assert only_job(azure).attempts == 1


@pytest.mark.parametrize(
    ("route", "times", "kind"),
    [(SUBMISSION, 1, "truncate"), (SUBMISSION, 1, "unparsable"), (KEY, OFTEN, "truncate"), (DATASTORE, 2, "unparsable"),
     (PROGRAM_SENT, 2, "truncate")],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_asked_for_again_while_it_is_sent(azure, shell, route, times, kind):
    fault = azure.fault(*route, times, kind=kind)
    assert "completed" in run(shell, cell()) and fault.hits == times
    assert only_job(azure).attempts == 1


@pytest.mark.parametrize(
    "spoilt",
    [(JOB, OFTEN, "truncate"), (JOB, OFTEN, "unparsable"), (FILES, 2, "truncate"), (FILES, 2, "unparsable"),
     (METRICS, OFTEN, "unparsable"), (TOKEN, 2, "unparsable")],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_asked_for_again_while_it_runs(azure, shell, monkeypatch, spoilt):
    route, times, kind = spoilt
    monkeypatch.setenv("STANDIN", "slow")

    def disturb() -> None:
        seen(azure, shell)
        if route == TOKEN:
            azure.expire_tokens(nodes=False)
        fault = azure.fault(*route, times, kind=kind)
        until(lambda: fault.hits == times)
        shell.run_line_magic("mb_stop", "")

    with meanwhile(disturb):
        assert "stopped" in run(shell, cell())
    assert only_job(azure).attempts == 1


def test_a_job_that_is_not_found_is_not_failed_and_not_sent_twice(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    with meanwhile(lambda: seen(azure, shell) and azure.fault("GET", "*/jobs/*", 10_000, status=404)):
        error = fails(shell, cell(), "Azure does not find the job", AzureError)
    assert "not known" in error.cause and "https://ml.azure.com/runs/" in error.alternative
    assert "cost" in error.alternative and "--fresh" in error.fix
    assert the_run(shell).state is RunState.RUNNING
    assert "unknown" in run(shell, "%mb_runs") and "unknown" in the_run(shell)._repr_mimebundle_()["text/plain"]
    fails(shell, cell(), "Azure does not find the job", AzureError)
    assert len(azure.jobs) == 1, "the same cell looks again, and sends nothing"
    azure.faults.clear()
    with meanwhile(lambda: told('"error": null') and the_run(shell).stop()):
        assert "stopped" in run(shell, cell())
    assert only_job(azure).attempts == 1


def test_a_run_that_azure_has_lost_can_be_closed_here(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    with meanwhile(lambda: seen(azure, shell) and azure.fault("*", "*/jobs/*", 10_000, status=404)):
        fails(shell, cell(), "Azure does not find the job", AzureError)
    assert "is cancelled" in run(shell, "%mb_cancel")
    shown = the_run(shell)._repr_mimebundle_()["text/plain"]
    assert "it goes on and costs: https://ml.azure.com/runs/" in shown
    azure.faults.clear()
    monkeypatch.setenv("STANDIN", "")
    first = only_job(azure)
    run(shell, cell())
    assert len(azure.jobs) == 2 and first.status != "Canceled", "the second one was asked for"


def test_a_cancel_that_meets_a_forgotten_job_is_not_believed(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    monkeypatch.setattr(look, "MISSING_SECONDS", 60.0)

    def cancel() -> None:
        seen(azure, shell)
        fault = azure.fault("*", "*/jobs/*", 10_000, status=404)
        told("Looking again")
        error = fails_to_cancel()
        assert "was not cancelled" in error.cause and "https://ml.azure.com/runs/" in error.fix
        assert the_run(shell).state is RunState.RUNNING
        fault.times = 0
        shell.run_line_magic("mb_cancel", "")

    def fails_to_cancel() -> AzureError:
        with pytest.raises(AzureError) as caught:
            shell.run_line_magic("mb_cancel", "")
        return caught.value

    with meanwhile(cancel):
        fails(shell, cell(), "was cancelled", TrainingFailed)
    assert only_job(azure).status == "Canceled"


def test_a_cancel_while_the_answer_to_the_submission_is_lost_ends_the_job(azure, shell, monkeypatch):
    """Whether the job has arrived is not known then; it is canceled when Azure shows it."""
    monkeypatch.setenv("STANDIN", "deaf")
    azure.unseen = 3
    azure.fault("PUT", "*/jobs/*", kind="lost")
    hidden = azure.fault("PUT", "*/jobs/*", 10_000, status=503, skip=1)

    def cancel() -> None:
        until(lambda: azure.jobs)
        shell.run_line_magic("mb_cancel", "")
        hidden.times = 0

    with meanwhile(cancel):
        fails(shell, cell(), "was cancelled", TrainingFailed)
    assert only_job(azure).wait().status == "Canceled"


# -- what is gone ----------------------------------------------------------------------------------------


def test_a_workspace_that_is_taken_away_during_a_run_is_named(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    taken: list[Any] = []

    def take() -> None:
        seen(azure, shell)
        taken.append(azure.take_workspace("ws", "rg", running=True))

    with meanwhile(take):
        error = fails(shell, cell(), "The workspace ws is gone: the resource group rg", AzureError)
    assert "not known" in error.cause and the_run(shell).state is RunState.RUNNING
    fails(shell, cell(), "ws", AzureError)
    (job,) = taken[0].jobs.values()
    azure.give_workspace(taken[0])
    with meanwhile(lambda: told('"error": null') and the_run(shell).stop()):
        assert "stopped" in run(shell, f"%mb_attach {the_run(shell).handle} -o run")
    assert only_job(azure) is job and job.attempts == 1


def test_a_resource_group_that_is_deleted_during_a_run_is_named(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")

    def take() -> None:
        seen(azure, shell)
        azure.take_workspace("ws", "rg")
        del azure.groups["rg"]

    with meanwhile(take):
        fails(shell, cell(), "The resource group rg is gone, and with it the workspace ws", AzureError)
    assert the_run(shell).state is RunState.RUNNING


def test_a_workspace_that_is_deleted_during_the_upload_is_named(azure, shell):
    upload = azure.fault("PUT", "*/data/packs/*", 1, kind="stall", seconds=600)

    def take() -> None:
        until(lambda: upload.hits)
        azure.take_workspace("ws", "rg")
        upload.release()

    with meanwhile(take):
        error = fails(shell, cell(), "The workspace ws is gone", TrainingFailed)
    assert "%mb_workspace" in error.fix and the_run(shell).state is RunState.FAILED, "nothing was submitted"


def test_a_workspace_that_is_deleted_at_the_end_costs_nothing_of_the_result(azure, shell):
    """The storage is still there, and already open: what the run has left is fetched, and is its result."""
    download = azure.fault("GET", "*blob.core.windows.net/*predictions.csv", 1, kind="stall", seconds=600)

    def take() -> None:
        until(lambda: download.hits)
        azure.take_workspace("ws", "rg")
        download.release()

    with meanwhile(take):
        assert "completed" in run(shell, cell())


def test_a_job_that_was_deleted_after_it_had_ended_is_judged_by_its_files(azure, shell, held, monkeypatch):
    monkeypatch.setattr(look, "MISSING_SECONDS", 60.0)

    def forget() -> None:
        job = seen(azure, shell)
        azure.fault("GET", "*/jobs/*", 10_000, status=404)
        held.touch()
        job.wait()

    with meanwhile(forget):
        said = run(shell, cell())
    assert "completed" in said and "does not find its job any more, but the training had ended well" in said


# -- the end on the node ---------------------------------------------------------------------------------


def test_a_mount_that_refuses_at_the_end_loses_nothing(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")

    def refuse() -> None:
        job = seen(azure, shell)
        azure.break_mounts(job.name)
        azure.jobs[job.name].tags["mb_stop"] = "true"
        log = azure.folder / "jobs" / job.name / "1/std_log.txt"
        while "predictions.csv could not be written to the workspace's storage" not in log.read_text():
            assert not job.done, job.history
            time.sleep(0.05)
        azure.mend_mounts(job.name)

    with meanwhile(refuse):
        assert "stopped" in run(shell, cell())
    assert the_run(shell).report.headline and only_job(azure).status == "Completed"


def test_the_runs_own_files_count_more_than_azures_word(azure, shell):
    azure.exit_crash = True
    said = run(shell, cell())
    assert only_job(azure).status == "Failed" and the_run(shell).state is RunState.COMPLETED
    assert "Azure calls its job Failed, but the training had ended well before" in said
    assert the_run(shell).report.headline and "Azure calls its job Failed" in run(shell, "%mb_why")


ENDS = """
import atexit, pathlib, runpy, sys, threading
def left():
    pathlib.Path("threads").write_text(str([one.name for one in threading.enumerate()]))
atexit.register(left)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WAITS = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)"


def test_no_thread_of_a_node_is_in_a_request_when_its_interpreter_ends(azure, tmp_path):
    """One that is may crash the process after everything is written (seen once in 50 jobs)."""
    space = azure.make_workspace("ws", "rg")
    tracked = {
        "MLFLOW_TRACKING_URI": space.body["properties"]["mlFlowTrackingUri"],
        "MLFLOW_TRACKING_TOKEN": "none",
        "MLFLOW_RUN_ID": "job",
    }
    asked = azure.fault("GET", "*/mlflow/*", kind="stall", seconds=600, inside=True)
    (tmp_path / "mount").mkdir()
    command = [sys.executable, "-c", ENDS, node.__file__, "--output", str(tmp_path / "mount"), "--"]
    process = subprocess.Popen(
        [*command, "python", "-c", WAITS],
        cwd=tmp_path,
        env={**os.environ, **azure.network(azure.inside_proxy.port), **tracked},
    )
    try:
        while not asked.hits:
            assert process.poll() is None
            time.sleep(0.02)
        (tmp_path / "go").touch()
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
        asked.release()
    assert not (tmp_path / "threads").exists(), "the interpreter went through its own end"
    assert (tmp_path / "mount/ended.json").exists()


# -- several at once -------------------------------------------------------------------------------------

STARTS = """
import pathlib, sys
from concurrent.futures import ThreadPoolExecutor
import mb_jupyter.experiment as experiment
from mb_jupyter.config import resolve
experiment.PROGRAM = pathlib.Path(sys.argv[1])
config = resolve({"data": "trees", "epochs": 1, "backend": "azure"}).config
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(10) as threads:
    runs = list(threads.map(lambda _: experiment.Experiment.local("trees").start(config).submitted(), range(10)))
print(sum(run.begun_here for run in runs), *{run.handle for run in runs})
"""


def test_of_twenty_starts_in_two_kernels_one_sends_a_job_and_the_others_attach(azure, shell):
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    kernels = [subprocess.Popen([sys.executable, "-c", STARTS, str(PROGRAM)], **pipes) for _ in range(2)]
    try:
        for kernel in kernels:
            assert kernel.stdout is not None and kernel.stdout.readline() == "ready\n"
        for kernel in kernels:
            assert kernel.stdin is not None
            kernel.stdin.write("now\n")
            kernel.stdin.flush()
        said = [kernel.communicate(timeout=600)[0].split() for kernel in kernels]
    finally:
        for kernel in kernels:
            kernel.kill()
            kernel.wait()
    assert sum(int(begun) for begun, *_ in said) == 1 and len({handle for _, *all_ in said for handle in all_}) == 1
    assert "completed" in run(shell, f"%mb_attach {said[0][1]} -o run")
    assert len(azure.asked("PUT", "*/jobs/*")) == 1 and only_job(azure).attempts == 1


# -- files of another shape ------------------------------------------------------------------------------

#: status.json, and what azure.json has instead of its own: None replaces all of it
SHAPES: tuple[tuple[str, Any], ...] = (
    ('{"stages": 5}', {}),
    ('{"state": "completed", "spent": "x", "url": 5, "currency": [], "note": 7, "stages": [5]}', {}),
    ('{"state": "running", "error": {"kind": "lost", "cause": 5}}', {}),
    ('{"state": 5, "error": 7}', {"stages": [{"stage": "queue"}], "attempt": "x"}),
    ("", {"price": "x", "nodes": [], "minutes": "y", "missing_since": "z"}),
    ("", {"place": 7}),
    ("", {"place": {"subscription": 5}}),
    ("", {"job": 5}),
    ("", {"prefix": []}),
    ("", None),
)


def test_files_of_another_shape_are_said_to_be_damaged_or_made_anew(azure, shell):
    run(shell, cell(epochs=1))
    folder, handle = the_run(shell).folder, the_run(shell).handle
    whole = json.loads((folder / "azure.json").read_text())
    for status, changes in SHAPES:
        end_followers()
        (folder / "status.json").write_text(status)
        (folder / "azure.json").write_text("[]" if changes is None else json.dumps(whole | changes))
        for line in ("%mb_runs", f"%mb_why {handle}", f"%mb_attach --no-wait {handle}"):
            try:
                said = run(shell, line)
            except AzureError as error:
                said = error.cause
            assert handle in said or "azure.json is damaged" in said, (status, changes, line)
    assert len(azure.jobs) == 1
