"""``%%mb_train`` in Azure with what goes wrong there: recovered, or one clear card; never two jobs.

The cell runs in a real shell; the job runs in the stand-in for Azure, with a stand-in for the training program.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import ServiceRequestError
from IPython.core.interactiveshell import InteractiveShell

from mb_jupyter import cloud
from mb_jupyter.azureml import arm
from mb_jupyter.azureml.translate import translated
from mb_jupyter.backends import RunState
from mb_jupyter.backends.azure import follow, look
from mb_jupyter.errors import AzureError, MBError, TrainingFailed
from tests.azure_emulator.emulator import Azure
from tests.azure_emulator.faults import Fault
from tests.azure_emulator.jobs import Job
from tests.azure_shell import fails, run
from tests.standin import PROGRAM, write_pictures

CELL = "%%mb_train trees -o run --backend azure\ndata: trees\nepochs: {epochs}\n{more}"
LONG = 120  # epochs of a run to which something happens meanwhile
FILES = {"report.json", "predictions.csv", "metrics.jsonl", "split.csv", "log.txt", "ended.json", "config.json"}


@pytest.fixture
def shell(azure: Azure, azure_shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STANDIN", "")
    monkeypatch.setattr("mb_jupyter.experiment.PROGRAM", PROGRAM)
    monkeypatch.setattr(follow, "OFTEN", 0.2)
    monkeypatch.setattr(follow, "RARELY", 0.5)
    write_pictures(tmp_path / "trees")
    choose(azure)
    return azure_shell


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


# -- the way it should go ------------------------------------------------------------------------------------


@pytest.mark.parametrize("datastore", ["Sas", "AccountKey", "None"])
def test_the_same_cell_trains_there(azure, shell, datastore):
    azure.datastore_credentials, azure.page_size = datastore, 1
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    azure.make_compute("other")
    said = run(shell, cell())
    for told in (
        "completed",
        "Monitor current run in Azure portal: https://ml.azure.com/runs/",
        "Cost: about",
        "epoch",
    ):
        assert told in said, said
    done, job = the_run(shell), only_job(azure)
    assert done.handle == f"azure://ws/{job.name}" and done.state is RunState.COMPLETED
    assert done.url.startswith("https://ml.azure.com/runs/") and f"tid={azure.tenant}" in done.url
    assert {path.name for path in done.folder.iterdir()} >= FILES and len(done.metrics) == 4
    assert not list(done.folder.rglob("*.part")) and done.report.headline
    assert job.tags["createdBy"] == "mb_jupyter" and "trees" in job.space.experiments
    assert not any(key.startswith("mlflow.source.git") for key in job.given["properties"])
    assert "epochs: 3" not in json.dumps(job.given), "settings travel in a file of the run's folder"
    assert "Found the identical run" in run(shell, cell())
    assert len(azure.jobs) == 1 and job.attempts == 1


def test_two_nodes_with_two_processes(azure, shell):
    azure.make_compute("gpu", nodes=(0, 2))
    run(shell, cell("processes: 2\nazure: {nodes: 2}", epochs=1))
    job = only_job(azure)
    assert job.given["resources"]["instanceCount"] == 2
    assert job.given["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 2}
    assert the_run(shell).state is RunState.COMPLETED


# -- while it is submitted -----------------------------------------------------------------------------------

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


@pytest.mark.parametrize("fault", [*PASSING, {"kind": "lost"}, {"kind": "cut"}], ids=named)
def test_a_submission_that_is_disturbed_makes_one_job(azure, shell, monkeypatch, fault):
    monkeypatch.setattr(arm, "READ_SECONDS", 1)
    azure.fault("PUT", "*/jobs/*", 1, **fault)
    run(shell, cell())
    assert only_job(azure).status == "Completed" and the_run(shell).state is RunState.COMPLETED


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "quota of 0"), (401, "did not accept the sign-in"), (403, "may not go on"), (404, "is not there"),
     (409, "Another operation is in progress")],
)  # fmt: skip
def test_a_submission_that_is_refused_is_one_card_and_no_job(azure, shell, status, said):
    azure.fault("PUT", "*/jobs/*", 9, status=status)
    error = fails(shell, cell(), said, TrainingFailed)
    assert error.fix and not azure.jobs
    azure.faults.clear()
    before = the_run(shell).folder
    said = run(shell, cell())
    assert "which failed" in said and the_run(shell).folder == before, "the same run, begun again"
    assert only_job(azure).status == "Completed"


def test_a_compute_in_an_errored_state_gets_no_job(azure, shell):
    azure.make_compute("gpu", error={"code": "ClusterCoreQuotaReached", "message": "The cores are gone."})
    error = fails(shell, cell(), "errored state: The cores are gone", AzureError)
    assert "%mb_compute recreate gpu" in error.fix and "create gpu-b" in error.fix
    assert not azure.jobs and not azure.asked("PUT", "*/data/packs/*"), "told before anything goes up"


def test_a_compute_that_breaks_meanwhile_gets_no_job(azure, shell):
    def spoil() -> None:
        while not azure.asked("PUT", "*/data/packs/*"):
            time.sleep(0.01)
        azure.make_compute("gpu", error={"code": "AllocationFailed", "message": "No machine."})

    with meanwhile(spoil):
        fails(shell, cell(), "failed state and thus not ready for runs", TrainingFailed)
    assert not azure.jobs


def test_a_workspace_that_was_deleted_is_told(azure, shell):
    choose(azure, workspace="gone")
    azure.soft_deleted.add(("rg", "gone"))
    error = fails(shell, cell("azure: {compute: gpu}"), "workspace", AzureError)
    assert "%mb_workspace" in str(error)
    assert not azure.jobs


# -- while the pictures go up --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [PASSING[1], STALL, {"kind": "cut"}, {"kind": "lost"}], ids=named)
def test_an_upload_that_is_disturbed_goes_on(azure, shell, monkeypatch, fault):
    monkeypatch.setattr(arm, "READ_SECONDS", 1)
    azure.fault("PUT", "*/data/*", 2, **fault)
    run(shell, cell(epochs=1))
    assert only_job(azure).status == "Completed"


def test_an_upload_without_network_waits_and_says_so(azure, shell):
    def cut() -> None:
        while not azure.asked("POST", "*/listSecrets"):
            time.sleep(0.005)
        with azure.no_network():
            told("cannot be reached")

    with meanwhile(cut):
        run(shell, cell(epochs=1))
    assert only_job(azure).status == "Completed"


def told(words: str, seconds: float = 40) -> bool:
    """Wait until the run's status says some words."""
    end = time.monotonic() + seconds
    while not any(words in path.read_text() for path in Path("kept/trees").glob("*/status.json")):
        assert time.monotonic() < end, [path.read_text() for path in Path("kept/trees").glob("*/status.json")]
        time.sleep(0.05)
    return True


# -- while it is followed ------------------------------------------------------------------------------------


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
def test_following_that_is_disturbed_goes_on(azure, shell, monkeypatch, where, fault):
    monkeypatch.setattr(arm, "READ_SECONDS", 1)
    faults: list[Fault] = []

    def disturb() -> None:
        seen(azure, shell)
        faults.append(azure.fault("GET", where, **{"times": 2, **fault}))

    with meanwhile(disturb):
        said = run(shell, cell(epochs=LONG))
    assert faults[0].hits == faults[0].times and "completed" in said and len(the_run(shell).metrics) == LONG + 1
    assert only_job(azure).attempts == 1


def test_a_token_that_is_taken_back_is_asked_for_anew(azure, shell):
    with meanwhile(lambda: seen(azure, shell) and azure.expire_tokens()):
        run(shell, cell(epochs=LONG))
    assert only_job(azure).attempts == 1


def test_a_while_without_network(azure, shell):
    def cut() -> None:
        seen(azure, shell)
        with azure.no_network():
            told("trying again. The run itself goes on.")
            time.sleep(3)

    with meanwhile(cut):
        run(shell, cell(epochs=LONG))
    assert only_job(azure).attempts == 1 and len(the_run(shell).metrics) == LONG + 1


@pytest.mark.parametrize(
    ("status", "said"), [(403, "may not go on"), (401, "did not accept the sign-in")], ids=["403", "401"]
)
def test_a_run_that_can_no_longer_be_followed_is_not_lost(azure, shell, monkeypatch, status, said):
    monkeypatch.setattr(follow, "REFUSED", 1.0)
    monkeypatch.setenv("STANDIN", "slow")
    with meanwhile(lambda: seen(azure, shell) and azure.fault("GET", "*/jobs/*", 1_000, status=status)):
        error = fails(shell, cell(), said, AzureError)
    job, handle = only_job(azure), the_run(shell).handle
    assert f"%mb_attach {handle}" in error.alternative and "costs" in error.alternative
    assert the_run(shell).state is RunState.RUNNING and job.status == "Running"
    azure.faults.clear()
    monkeypatch.setattr(follow, "LOST_SECONDS", 0.0)
    with meanwhile(lambda: told('"error": null') and the_run(shell).stop()):
        assert "Found the identical run" in run(shell, cell()), "the cell again shows it, and makes no second one"
    assert the_run(shell).state is RunState.STOPPED and only_job(azure) is job


def test_a_job_that_somebody_has_deleted(azure, shell, monkeypatch):
    monkeypatch.setattr(look, "MISSING_SECONDS", 1.0)
    with meanwhile(lambda: seen(azure, shell) and azure.fault("GET", "*/jobs/*", 1_000, status=404)):
        error = fails(shell, cell(epochs=LONG), "somebody has deleted it", TrainingFailed)
    assert "Run the cell again" in error.fix


def test_a_taken_node_costs_no_more_than_the_epoch(azure, shell):
    with meanwhile(lambda: azure.preempt(seen(azure, shell).name)):
        run(shell, cell(epochs=LONG))
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
        while '"epoch": 3' not in shown.read_text():
            time.sleep(0.05)
        shell.run_line_magic("mb_stop", "")

    with meanwhile(stop):
        run(shell, cell())
    frame = the_run(shell).metrics
    assert list(frame["epoch"]) == [1, 2, 3] and list(frame["validation_accuracy"]) == [0.6, 0.7, 0.8]


# -- how it ends badly ---------------------------------------------------------------------------------------


def test_a_traceback_is_told_in_a_line(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "crash")
    error = fails(shell, cell(), "LookupError: no such leaf", TrainingFailed)
    assert "UserError" in error.cause and "is not sent twice" in error.fix
    why = run(shell, "%mb_why")
    assert "Traceback (most recent call last)" in why and "raise LookupError" in why
    assert the_run(shell).state is RunState.FAILED and only_job(azure).status == "Failed"


def test_the_program_explains_itself(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "refuse")
    assert fails(shell, cell(), "weights of another network", TrainingFailed).fix == "Name the right file."


def test_a_program_that_the_system_ends(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "die")
    error = fails(shell, cell(), "probably because the memory ran out", TrainingFailed)
    assert "batch_size: 32" in error.fix
    run(shell, cell())
    first, second = azure.jobs.values()
    assert (first.status, second.status) == ("Failed", "Completed") and second.name == f"{first.name}-2"
    assert "found a checkpoint" in the_run(shell).logs()


def test_a_node_that_dies_with_everything_on_it(azure, shell):
    with meanwhile(lambda: azure.kill(seen(azure, shell).name)):
        error = fails(shell, cell(epochs=LONG), "The job failed in Azure", TrainingFailed)
    assert "status code -9" in error.cause and "run.url" in error.alternative


def test_no_node_comes(azure, shell, monkeypatch):
    azure.queue_held = True
    monkeypatch.setattr(look, "HINT_MINUTES", 0.02)
    with meanwhile(lambda: told("there may be no free machines of this size in the region")):
        error = fails(shell, cell("azure: {queue_minutes: 0.06}"), "No node was free for", TrainingFailed)
    assert "has cost nothing" in error.cause and "%mb_compute" in error.fix
    assert only_job(azure).status == "Canceled" and only_job(azure).attempts == 0


def test_the_time_is_up(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "deaf")
    monkeypatch.setattr("mb_jupyter.placement.SPARE_MINUTES", 0.05)
    error = fails(shell, cell("max_minutes: 0.05"), "reached its limit of 0.1 minutes", TrainingFailed)
    assert "max_minutes" in error.fix and only_job(azure).status == "Canceled"


# -- how it is ended -----------------------------------------------------------------------------------------


def test_stop_keeps_the_best_and_cancel_does_not(azure, shell, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    with meanwhile(lambda: seen(azure, shell) and shell.run_line_magic("mb_stop", "")):
        assert "stopped" in run(shell, cell())
    assert only_job(azure).tags["mb_stop"] == "true" and the_run(shell).report.headline
    monkeypatch.setenv("STANDIN", "deaf")

    def cancel() -> None:
        while len(azure.jobs) < 2:
            time.sleep(0.05)
        list(azure.jobs.values())[1].wait("Running")
        shell.run_line_magic("mb_cancel", "")

    with meanwhile(cancel):
        fails(shell, cell().replace("trees -o", "trees --fresh -o"), "was canceled; no model is kept", TrainingFailed)
    assert [job.status for job in azure.jobs.values()] == ["Completed", "Canceled"]


# -- what comes down, and from another machine ---------------------------------------------------------------


@pytest.mark.parametrize("fault", [PASSING[1], STALL, {"kind": "truncate"}, {"status": 403, "times": 1}], ids=named)
def test_a_download_that_is_disturbed_goes_on(azure, shell, monkeypatch, fault):
    monkeypatch.setattr(arm, "READ_SECONDS", 1)
    azure.fault("GET", "*blob.core.windows.net/*predictions.csv", **{"times": 2, **fault})
    run(shell, cell(epochs=1))
    assert the_run(shell).report.headline


@pytest.fixture
def elsewhere(azure: Azure, shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the handle of a run that has ended; this is another machine now."""
    run(shell, cell())
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere cache"))
    return str(the_run(shell).handle)


def test_another_machine_rebuilds_all_of_it(azure, shell, elsewhere, tmp_path):
    error = fails(shell, f"%mb_attach {elsewhere}", "none is chosen here yet", AzureError)
    assert "%mb_workspace use ws" in error.fix
    choose(azure)
    before = the_run(shell)
    said = run(shell, f"%mb_attach {elsewhere} -o run")
    there = the_run(shell)
    assert "completed" in said and there.folder.is_relative_to(tmp_path / "elsewhere")
    assert there.metrics.equals(before.metrics) and there.report.headline == before.report.headline
    for name in FILES - {"log.txt"}:
        assert (there.folder / name).read_bytes() == (before.folder / name).read_bytes(), name
    assert there.logs() == before.logs() and len(azure.jobs) == 1
    assert "no job nonsense" in str(fails(shell, "%mb_attach azure://ws/nonsense", "There is no job", AzureError))


def _folder_of(azure: Azure) -> str:
    return str(only_job(azure).given["outputs"]["run"]["uri"])


def test_a_file_that_would_leave_the_folder_is_refused(azure, shell, elsewhere, tmp_path):
    choose(azure)
    azure.put_blobs(_folder_of(azure), {"sub/C:evil": b"evil"})
    error = fails(shell, f"%mb_attach {elsewhere}", "could leave the folder here", AzureError)
    assert "costs nothing more" in error.alternative
    assert not list(tmp_path.rglob("*evil*"))


def test_a_file_that_was_changed_there_is_not_believed(azure, shell, elsewhere):
    choose(azure)
    (kept,) = (value for name, value in azure.blobs(_folder_of(azure)).items() if name == "predictions.csv")
    azure.put_blobs(_folder_of(azure), {"predictions.csv": kept[::-1]})
    error = fails(shell, f"%mb_attach {elsewhere}", "predictions.csv is not in the workspace's storage as", AzureError)
    assert "--fresh" in error.fix


# -- secrets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datastore", ["Sas", "None"])
def test_no_secret_is_logged_even_when_everything_is(azure, shell, caplog, datastore):
    azure.datastore_credentials = datastore
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    caplog.set_level(logging.DEBUG)
    azure.fault("PUT", "*/data/packs/*", 2, kind="reset")
    run(shell, cell(epochs=1))
    assert len(caplog.records) > 10, "something was logged; the fixture looks for secrets in it"


def test_a_script_that_fails_prints_no_signature():
    said = "HTTPSConnectionPool(host='x'): Max retries exceeded with url: /a/b?se=1&sig=abc%2Fdef%3D"
    with pytest.raises(AzureError, match="cannot be reached") as caught, translated("asking"):
        try:
            raise requests.ConnectionError(said)
        except requests.ConnectionError as error:
            raise ServiceRequestError(error, error=error) from error
    whole = "".join(traceback.format_exception(caught.value))
    assert whole.count("sig=(left out)") == 2 and "abc" not in whole


def test_an_error_shows_no_signature(azure, shell):
    told = "Not valid: https://x.blob.core.windows.net/a?sig=abc%2Fdef%3D&se=1 Bearer eyJa.b.c"
    azure.fault("PUT", "*/data/packs/*", 99, status=403, code="AuthenticationFailed", message=told)
    error = fails(shell, cell(), "may not|did not accept", MBError)
    whole = "\n".join(
        (error.why(), repr(error), run(shell, "%mb_why"), *(p.read_text() for p in Path("kept").rglob("*.json")))
    )
    assert "abc%2Fdef" not in whole and "eyJa" not in whole
