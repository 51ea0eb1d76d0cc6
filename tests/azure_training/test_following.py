"""What disturbs the look at a job that runs, and the job itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mb_jupyter.backends import RunState
from mb_jupyter.backends.azure import follow
from mb_jupyter.errors import AzureError
from tests.azure_shell import fails, run

from .cells import PASSING, cell, meanwhile, named, only_job, seen, the_run, told, until

JOB, TRACKED, FILE = "*/jobs/*", "*/mlflow/*", "*blob.core.windows.net/*status.json"


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        *((JOB, fault) for fault in [*PASSING, {"status": 401}, {"status": 404}]),
        *((TRACKED, fault) for fault in ({"status": 503}, {"status": 404}, {"kind": "truncate"})),
        *((FILE, fault) for fault in ({"status": 503}, {"status": 403, "times": 1}, {"kind": "truncate"})),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else value.strip("*/"),
)
@pytest.mark.usefixtures("impatient")
def test_following_that_is_disturbed_goes_on(azure, shell, held, where, fault):
    def disturb() -> None:
        seen(azure, shell)
        made = azure.fault("GET", where, **{"times": 2, **fault})
        until(lambda: made.hits == made.times)
        held.touch()

    with meanwhile(disturb):
        said = run(shell, cell(epochs=3))
    assert "completed" in said and len(the_run(shell).metrics) == 4
    assert only_job(azure).attempts == 1


def test_a_token_that_is_taken_back_is_asked_for_anew(azure, shell, held):
    def take_back() -> None:
        seen(azure, shell)
        azure.expire_tokens()
        until(lambda: any(one.status == 401 for one in azure.asked("GET", "*")))
        held.touch()

    with meanwhile(take_back):
        run(shell, cell())
    assert only_job(azure).attempts == 1


def test_a_while_without_network(azure, shell, held):
    def cut() -> None:
        seen(azure, shell)
        with azure.no_network():
            told("trying again. The run itself goes on.")
        held.touch()

    with meanwhile(cut):
        run(shell, cell(epochs=3))
    assert only_job(azure).attempts == 1 and len(the_run(shell).metrics) == 4


@pytest.mark.parametrize(
    ("status", "said"), [(403, "may not go on"), (401, "did not accept the sign-in")], ids=["403", "401"]
)
def test_a_run_that_can_no_longer_be_followed_is_not_lost(azure, shell, monkeypatch, status, said):
    monkeypatch.setattr(follow, "REFUSED", 1.0)
    monkeypatch.setenv("STANDIN", "slow")
    with meanwhile(lambda: seen(azure, shell) and azure.fault("GET", "*/jobs/*", 1_000, status=status)):
        error = fails(shell, cell(), said, AzureError)
    job, handle = only_job(azure), the_run(shell).handle
    assert f"%mb_attach {handle}" in error.alternative and "go on, and cost" in error.alternative
    assert the_run(shell).state is RunState.RUNNING and job.status == "Running"
    azure.faults.clear()
    monkeypatch.setattr(follow, "LOST_SECONDS", 0.0)
    with meanwhile(lambda: told('"error": null') and the_run(shell).stop()):
        assert "Found the identical run" in run(shell, cell()), "the cell again shows it, and makes no second one"
    assert the_run(shell).state is RunState.STOPPED and only_job(azure) is job


def test_a_taken_node_costs_no_more_than_the_epoch(azure, shell, held):
    def preempt() -> None:
        job = seen(azure, shell)
        azure.preempt(job.name)
        until(lambda: job.attempts == 2)
        held.touch()

    with meanwhile(preempt):
        run(shell, cell())
    job = only_job(azure)
    assert job.attempts == 2 and job.history.count("Running") == 2
    assert "found a checkpoint in the run's folder" in the_run(shell).logs()
    assert the_run(shell).state is RunState.COMPLETED


LOGS_WITH_MLFLOW = """
import json, os, pathlib, sys, time, urllib.request
output = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
base = os.environ["MLFLOW_TRACKING_URI"].replace("azureml://", "https://").replace("/v1.0/", "/v2.0/").partition("?")[0]
def log(epoch):
    figures = {"validation_accuracy": 0.5 + epoch / 10, "train_loss": 1 / epoch}
    metrics = [{"key": k, "value": v, "timestamp": int(time.time() * 1000), "step": epoch} for k, v in figures.items()]
    body = json.dumps({"run_id": os.environ["MLFLOW_RUN_ID"], "metrics": metrics}).encode()
    head = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"], "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(base + "/api/2.0/mlflow/runs/log-batch", body, head))
(output / "status.json").write_text(json.dumps({"state": "running", "stage": "epoch", "stages": []}))
for epoch in (1, 2, 3):
    log(epoch)
while not (output / "stop").exists():
    time.sleep(0.05)
(output / "status.json").write_text(json.dumps({"state": "stopped", "stage": "verify", "stages": []}))
"""


def test_what_only_mlflow_knows_is_seen_while_it_runs(azure, shell, tmp_path, monkeypatch):
    program = tmp_path / "program/training"
    program.mkdir(parents=True)
    (program / "__main__.py").write_text(LOGS_WITH_MLFLOW)
    monkeypatch.setattr("mb_jupyter.experiment.PROGRAM", program)

    def stop() -> None:
        seen(azure, shell)
        (shown,) = Path("kept/trees").glob("*/metrics.jsonl")
        until(lambda: '"epoch": 3' in shown.read_text())
        shell.run_line_magic("mb_stop", "")

    with meanwhile(stop):
        run(shell, cell())
    frame = the_run(shell).metrics
    assert list(frame["epoch"]) == [1, 2, 3] and list(frame["validation_accuracy"]) == [0.6, 0.7, 0.8]
