"""The SDK submits jobs; they run, log, fail, are cancelled, preempted and downloaded."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml import Input, MLClient, Output, UserIdentityConfiguration, command
from azure.ai.ml.entities import CommandJobLimits, Data, Environment
from azure.core.exceptions import HttpResponseError
from azure.identity import EnvironmentCredential
from azure.storage.blob import BlobClient, ContainerClient

from .emulator import Azure
from .jobs import Job

PREFIX = "azureml://datastores/workspaceblobstore/paths/"
Submit = Callable[..., Job]


@pytest.fixture
def ml(azure: Azure) -> MLClient:
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu", nodes=(0, 2))
    return MLClient(EnvironmentCredential(), azure.subscription, "rg", "ws", enable_telemetry=False)


@pytest.fixture
def submit(azure: Azure, ml: MLClient, tmp_path: Path) -> Submit:
    def send(program: str, **more: Any) -> Job:
        code = tmp_path / "code"
        code.mkdir(exist_ok=True)
        (code / "main.py").write_text(textwrap.dedent(program))
        given: dict[str, Any] = {
            "command": "python main.py", "code": str(code), "compute": "gpu", "experiment_name": "flowers",
            "environment": Environment(image="mcr.microsoft.com/azureml/x:latest"),
            "outputs": {"out": Output(type="uri_folder", mode="rw_mount", path=PREFIX + "runs/one/")},
            "properties": {"azureml.git.dirty": "False"},
        }  # fmt: skip
        made = ml.jobs.create_or_update(command(**(given | more)))
        assert made.status == "Starting" and "tid=" in made.studio_url
        return azure.jobs[str(made.name)]

    return send


def test_a_job_of_two_nodes_and_two_processes(azure: Azure, ml: MLClient, submit: Submit, tmp_path: Path) -> None:
    data = tmp_path / "mes données"
    (data / "été").mkdir(parents=True)
    (data / "été" / "a b.txt").write_text("seen")
    job = submit(
        """
        import os, sys, pathlib
        data, out, epochs = sys.argv[1:]
        rank = os.environ["RANK"]
        (pathlib.Path(out) / f"{rank}.txt").write_text(" ".join((
            os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"], os.environ["NODE_RANK"], epochs,
            (pathlib.Path(data) / "été" / "a b.txt").read_text())))
        print("hello from", rank)
        """,
        command="python main.py ${{inputs.data}} ${{outputs.out}} ${{inputs.epochs}}",
        inputs={"data": Input(type="uri_folder", path=str(data)), "epochs": 3},
        distribution={"type": "PyTorch", "process_count_per_instance": 2}, instance_count=2,
    )  # fmt: skip
    assert job.wait().history == [
        "Starting",
        "Provisioning",
        "Preparing",
        "Queued",
        "Running",
        "Finalizing",
        "Completed",
    ]
    assert ml.jobs.get(job.name).status == "Completed" and [one.name for one in ml.jobs.list()] == [job.name]
    stored = azure.blobs(PREFIX + "runs/one/")
    assert stored == {f"{rank}.txt": f"4 {rank % 2} {rank // 2} 3 seen".encode() for rank in range(4)}
    store = ml.datastores.get("workspaceartifactstore", include_secrets=True)
    url = f"https://{store.account_name}.blob.core.windows.net"
    with ContainerClient(url, store.container_name, credential=store.credentials.sas_token) as container:
        log = container.download_blob(f"ExperimentRun/dcid.{job.name}/user_logs/std_log_process_3.txt", offset=0)
        assert b"hello from 3" in log.readall()
    with pytest.raises(HttpResponseError):
        ml.jobs.begin_cancel(job.name).result()


def test_metrics_and_tags_while_it_runs(azure: Azure, ml: MLClient, submit: Submit) -> None:
    job = submit("""
        import os, time, requests
        base = os.environ["MLFLOW_TRACKING_URI"].replace("azureml://", "https://") + "/api/2.0/mlflow/"
        run, head = os.environ["MLFLOW_RUN_ID"], {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}
        for step in range(3):
            metrics = [{"key": "accuracy", "value": step / 4, "timestamp": int(time.time() * 1000), "step": step}]
            body = {"run_id": run, "metrics": metrics}
            requests.post(base + "runs/log-batch", json=body, headers=head).raise_for_status()
        while True:
            tags = requests.get(base + "runs/get", params={"run_id": run}, headers=head).json()["run"]["data"]["tags"]
            if any(tag["key"] == "mb_stop" for tag in tags):
                break
            time.sleep(0.05)
        """)
    job.wait("Running")
    uri = ml.workspaces.get("ws").mlflow_tracking_uri.replace("azureml://", "https://").replace("/v1.0/", "/v2.0/")
    base, token = (
        f"{uri}/api/2.0/mlflow/",
        EnvironmentCredential().get_token("https://management.azure.com/.default").token,
    )
    head = {"Authorization": f"Bearer {token}"}

    def ask(path: str, **query: str) -> Any:
        return requests.get(base + path, params=query, headers=head).json()

    end = time.monotonic() + 30
    while not (found := ask("metrics/get-history", run_id=job.name, metric_key="accuracy")["metrics"])[2:]:
        assert time.monotonic() < end
    assert [one["value"] for one in found] == [0, 0.25, 0.5]
    assert ask("runs/get", run_id=job.name)["run"]["info"]["status"] == "RUNNING"
    assert ask("runs/get", run_id="nobody")["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert ask("experiments/get-by-name", experiment_name="flowers")["experiment"]["name"] == "flowers"
    requests.post(base + "runs/set-tag", json={"run_id": job.name, "key": "mb_stop", "value": "now"}, headers=head)
    job.wait()
    assert ml.jobs.get(job.name).tags["mb_stop"] == "now"


def test_a_job_that_fails_says_why(azure: Azure, ml: MLClient, submit: Submit) -> None:
    job = submit("raise ValueError('not this way')")
    job.wait()
    assert ml.jobs.get(job.name).status == "Failed"
    token = EnvironmentCredential().get_token("https://management.azure.com/.default").token
    where = f"https://westeurope.api.azureml.ms/history/v1.0{job.space.id}/runs/{job.name}/details"
    details = requests.get(where, headers={"Authorization": f"Bearer {token}"}).json()
    assert details["error"]["error"]["code"] == "UserError" and "not this way" in details["error"]["error"]["message"]
    with BlobClient.from_blob_url(details["logFiles"]["user_logs/std_log.txt"]) as log:
        assert b"ValueError: not this way" in log.download_blob().readall()


LONG = "import time, signal\nprint('begun', flush=True)\ntime.sleep(60)"


def test_cancel_kill_and_timeout(azure: Azure, ml: MLClient, submit: Submit) -> None:
    first, second = submit(LONG), submit(LONG)
    third = submit(LONG, limits=CommandJobLimits(timeout=1))
    for one in (first, second, third):
        one.wait("Running")
    ml.jobs.begin_cancel(first.name).result()
    azure.kill(second.name)
    ends = [one.wait().status for one in (first, second, third)]
    assert ends == ["Canceled", "Failed", "Canceled"]


def test_a_preempted_job_finds_what_it_wrote(azure: Azure, submit: Submit) -> None:
    job = submit(
        """
        import pathlib, sys, time
        mark = pathlib.Path(sys.argv[1]) / "checkpoint"
        if mark.exists():
            print("resumed from", mark.read_text())
        else:
            mark.write_text("epoch 3")
            time.sleep(60)
        """,
        command="python main.py ${{outputs.out}}",
    )
    job.wait("Running")
    end = time.monotonic() + 20
    while not azure.blobs(PREFIX + "runs/one/") and time.monotonic() < end:
        time.sleep(0.05)
    azure.preempt(job.name)
    job.wait()
    assert job.status == "Completed" and job.history.count("Queued") == job.history.count("Running") == 2
    with azure.azurite.container("azureml").get_blob_client(f"{job.artifact_prefix}user_logs/std_log.txt") as log:
        assert b"resumed from epoch 3" in log.download_blob().readall()


def test_a_held_queue_and_a_broken_compute(azure: Azure, ml: MLClient, submit: Submit) -> None:
    azure.queue_held = True
    job = submit("print(1)")
    job.wait("Queued")
    assert json.loads(ml.jobs.get(job.name).tags["_aml_system_ComputeTargetStatus"])["CurrentNodeCount"] == 0
    azure.queue_held = False
    assert job.wait().status == "Completed"
    azure.make_compute("bad", error={"code": "ClusterCoreQuotaReached", "message": "none left"})
    with pytest.raises(HttpResponseError, match="not ready for runs"):
        submit("print(1)", compute="bad")
    with pytest.raises(HttpResponseError, match="Unknown compute"):
        submit("print(1)", compute="nobody")
    assert len(azure.jobs) == 1


@pytest.mark.parametrize("credentials", ["Sas", "AccountKey", "None"])
def test_data_assets_downloads_and_all_kinds_of_credentials(
    azure: Azure, tmp_path: Path, credentials: str, submit: Submit
) -> None:  # fmt: skip
    azure.reset()
    os.environ["AZURE_CLIENT_SECRET"] = azure.client_secret
    azure.datastore_credentials = credentials
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    ml = MLClient(EnvironmentCredential(), azure.subscription, "rg", "ws", enable_telemetry=False)
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    asset = ml.data.create_or_update(Data(name="pictures", version="1", type="uri_folder", path=str(folder)))
    assert asset.path and [one.version for one in ml.data.list("pictures")] == ["1"]
    wanted: dict[str, Any] = {
        "command": "cp ${{inputs.data}}/a.txt ${{outputs.model}}/b.txt; mkdir outputs; echo x > outputs/c.txt",
        "inputs": {"data": Input(type="uri_folder", path="azureml:pictures:1")},
        "outputs": {"model": Output(type="uri_folder")},
        "compute": "gpu", "environment": "azureml://registries/azureml/environments/acpt/labels/latest",
        "experiment_name": "flowers", "properties": {"azureml.git.dirty": "False"},
    }  # fmt: skip
    if credentials == "None":
        made = ml.jobs.create_or_update(command(**wanted))
        refused = azure.jobs[str(made.name)].wait()
        assert refused.error and "the job no identity" in refused.error["message"]
        wanted["identity"] = UserIdentityConfiguration()
    made = ml.jobs.create_or_update(command(**wanted))
    job = azure.jobs[str(made.name)].wait()
    assert job.status == "Completed", job.error
    ml.jobs.download(job.name, download_path=tmp_path / "got", output_name="model")
    assert (tmp_path / "got" / "named-outputs" / "model" / "b.txt").read_text() == "hello"
    ml.jobs.download(job.name, download_path=tmp_path / "all", all=True)
    assert (tmp_path / "all" / "artifacts" / "outputs" / "c.txt").read_text() == "x\n"
