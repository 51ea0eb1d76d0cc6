"""A storage account whose organisation forbids its keys: noticed, and got round."""

from __future__ import annotations

import time
from collections.abc import Callable

from mb_jupyter.backends import RunState
from mb_jupyter.errors import TrainingFailed
from tests.azure_shell import fails, run

from .cells import FILES, cell, choose, meanwhile, only_job, the_run


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_account_that_refuses_its_keys_is_opened_as_the_person(azure, shell):
    """Whatever the datastore has: the same requests succeed with a token."""
    azure.keys_refused = True
    run(shell, cell(epochs=1))
    assert the_run(shell).state is RunState.COMPLETED
    assert only_job(azure).given["identity"] == {"identityType": "UserIdentity"}
    refused = [one for one in azure.asked("*", "*.blob.core.windows.net/*") if one.status == 403]
    assert 1 <= len(refused) <= 4, "once for each container that somebody opens"


def test_a_mount_that_is_refused_is_got_round(azure, shell, tmp_path, monkeypatch):
    azure.datastore_credentials, azure.mounts_refused = "None", True
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    error = fails(shell, cell(), "KeyBasedAuthenticationNotPermitted", TrainingFailed)
    assert "by HTTPS" in error.fix
    said = run(shell, cell())
    first, second = azure.jobs.values()
    assert "completed" in said and (first.status, second.status) == ("Failed", "Completed")
    assert not second.given.get("inputs") and not second.given.get("outputs")
    done = the_run(shell)
    assert {path.name for path in done.folder.iterdir()} >= FILES and len(done.metrics) == 4
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "elsewhere"))
    choose(azure)
    run(shell, f"%mb_attach azure://ws/{second.name} -o run")
    assert the_run(shell).report.headline == done.report.headline


def test_a_run_without_mounts_is_stopped_and_goes_on_from_its_checkpoint(azure, shell, monkeypatch):
    azure.datastore_credentials, azure.mounts_refused = "None", True
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    monkeypatch.setenv("STANDIN", "slow")
    fails(shell, cell(), "KeyBasedAuthenticationNotPermitted", TrainingFailed)

    def preempt_then_stop() -> None:
        until(lambda: len(azure.jobs) == 2)
        job = list(azure.jobs.values())[1]
        until(lambda: "checkpoint/last" in azure.blobs(job.tags["mb_output"]))
        azure.preempt(job.name)
        until(lambda: job.attempts == 2)
        azure.fault("GET", "*/runs/get*", 10**6, status=403, inside=True)  # no tag can be read there: the file must do
        shell.run_line_magic("mb_stop", "")

    with meanwhile(preempt_then_stop):
        assert "stopped" in run(shell, cell())
    assert "found a checkpoint" in the_run(shell).logs()
