"""The way it should go, and what disturbs it until the job runs."""

from __future__ import annotations

import json

import pytest

from mb_jupyter.backends import RunState
from mb_jupyter.errors import AzureError, TrainingFailed
from tests.azure_shell import fails, run

from .cells import FILES, PASSING, STALL, cell, choose, meanwhile, named, only_job, the_run, told, until


@pytest.mark.parametrize("datastore", ["Sas", "AccountKey", "None"])
def test_the_same_cell_trains_there(azure, shell, datastore):
    azure.datastore_credentials, azure.page_size = datastore, 1
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    azure.make_compute("other")
    said = run(shell, cell())
    portal = "Monitor current run in Azure portal: https://ml.azure.com/runs/"
    for words in ("completed", portal, "Cost: about", "epoch"):
        assert words in said, said
    done, job = the_run(shell), only_job(azure)
    assert done.handle == f"azure://ws/{job.name}" and done.state is RunState.COMPLETED
    assert done.url.startswith("https://ml.azure.com/runs/") and f"tid={azure.tenant}" in done.url
    assert {path.name for path in done.folder.iterdir()} >= FILES and len(done.metrics) == 4
    assert not list(done.folder.rglob("*.part")) and done.report.headline
    assert job.given.get("identity") == ({"identityType": "UserIdentity"} if datastore == "None" else None)
    assert job.tags["createdBy"] == "mb_jupyter" and "trees" in job.space.experiments
    assert not any(key.startswith("mlflow.source.git") for key in job.given["properties"])
    assert job.given["inputs"]["settings"]["mode"] == "ReadOnlyMount"
    facts = json.loads((done.folder / "azure.json").read_text())
    assert facts["environment"].endswith("/versions/12"), "what `latest` was on that day"
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


# -- while it is submitted -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*PASSING, {"kind": "lost"}, {"kind": "cut"}], ids=named)
@pytest.mark.usefixtures("impatient")
def test_a_submission_that_is_disturbed_makes_one_job(azure, shell, fault):
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
    assert "which had failed" in said and the_run(shell).folder == before, "the same run, begun again"
    assert only_job(azure).status == "Completed"


def test_a_compute_in_an_errored_state_gets_no_job(azure, shell):
    azure.make_compute("gpu", error={"code": "ClusterCoreQuotaReached", "message": "The cores are gone."})
    error = fails(shell, cell(), "errored state: The cores are gone", AzureError)
    assert "%mb_compute recreate gpu" in error.fix and "create gpu-b" in error.fix
    assert not azure.jobs and not azure.asked("PUT", "*/data/packs/*"), "told before anything goes up"


def test_a_compute_that_breaks_meanwhile_gets_no_job(azure, shell):
    upload = azure.fault("PUT", "*/data/packs/*", kind="stall", seconds=600)

    def spoil() -> None:
        until(lambda: upload.hits)
        azure.make_compute("gpu", error={"code": "AllocationFailed", "message": "No machine."})
        upload.release()

    with meanwhile(spoil):
        fails(shell, cell(), "failed state and thus not ready for runs", TrainingFailed)
    assert not azure.jobs


def test_a_workspace_that_was_deleted_is_told(azure, shell):
    choose(azure, workspace="gone")
    azure.soft_deleted.add(("rg", "gone"))
    error = fails(shell, cell("azure: {compute: gpu}"), "workspace", AzureError)
    assert "%mb_workspace" in str(error)
    assert not azure.jobs


# -- while the pictures go up ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [PASSING[1], STALL, {"kind": "cut"}, {"kind": "lost"}], ids=named)
@pytest.mark.usefixtures("impatient")
def test_an_upload_that_is_disturbed_goes_on(azure, shell, fault):
    azure.fault("PUT", "*/data/*", 2, **fault)
    run(shell, cell(epochs=1))
    assert only_job(azure).status == "Completed"


def test_an_upload_without_network_waits_and_says_so(azure, shell):
    upload = azure.fault("PUT", "*/data/packs/*", kind="stall", seconds=600)

    def cut() -> None:
        until(lambda: upload.hits)
        with azure.no_network():
            upload.release()
            told("cannot be reached")

    with meanwhile(cut):
        run(shell, cell(epochs=1))
    assert only_job(azure).status == "Completed"


def test_a_limit_of_the_cost_is_a_flag(azure, shell):
    limited = cell(epochs=1).replace("-o", "--max-cost 1 -o")
    said = run(shell, limited.replace("-o", "--dry-run -o"))
    assert "max_cost 1.00 USD is reached after 570 minutes" in " ".join(said.split()), said
    run(shell, limited)
    assert the_run(shell).config["max_cost"] == 1.0
    assert only_job(azure).given["limits"]["timeout"].startswith("PT9H30M")


def test_a_limit_of_the_cost_without_a_price_goes_on_with_minutes(azure, shell):
    azure.sizes_withheld.add("Standard_NC4as_T4_v3")
    limited = cell(epochs=1).replace("-o", "--max-cost 1 -o")
    assert "--max-minutes 60" in fails(shell, limited, "cannot be turned into minutes", AzureError).fix
    assert not azure.asked("PUT", "*/data/packs/*")
    run(shell, limited.replace("-o", "--max-minutes 30 -o"))
    assert only_job(azure).given["limits"]["timeout"] == "PT45M"
