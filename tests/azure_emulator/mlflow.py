"""The MLflow routes of a workspace: what a job logs and a client reads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .jobs import MLFLOW, Job, register_experiment
from .messages import RefusalError, Reply, Request
from .workspaces import Workspace, need

if TYPE_CHECKING:
    from .emulator import Azure

MISSING = "RESOURCE_DOES_NOT_EXIST"


def _job(azure: Azure, request: Request, name: str) -> Job:
    space = need(azure, request)
    if name not in space.jobs:
        raise RefusalError(404, MISSING, f"Run with id={name} not found")
    return space.jobs[name]


def _info(job: Job) -> dict[str, Any]:
    info = {
        "run_id": job.name,
        "run_uuid": job.name,
        "run_name": job.given.get("displayName") or job.name,
        "experiment_id": job.experiment_id,
        "user_id": "",
        "status": MLFLOW.get(job.status, "SCHEDULED"),
        "start_time": int((job.started or job.created) * 1000),
        "lifecycle_stage": "active",
        "artifact_uri": f"azureml://{job.space.region}.api.azureml.ms/mlflow/v2.0{job.space.id}/experiments/{job.experiment_id}/runs/{job.name}/artifacts",
    }
    return {**info, "end_time": int(job.ended * 1000)} if job.ended else info


def _run(job: Job) -> dict[str, Any]:
    latest = {one["key"]: one for one in list(job.metrics)}
    pairs = [{"key": key, "value": value} for key, value in dict(job.params).items()]
    tags = [{"key": key, "value": value} for key, value in {"mlflow.runName": job.name, **job.tags}.items()]
    return {"info": _info(job), "data": {"metrics": list(latest.values()), "params": pairs, "tags": tags}}


def get_run(azure: Azure, request: Request) -> Reply:
    """One run, with the last value of each metric."""
    query = request.query
    return Reply(200, {"run": _run(_job(azure, request, query.get("run_id") or query.get("run_uuid", "")))})


def search_runs(azure: Azure, request: Request) -> Reply:
    """The runs of experiments, newest first."""
    wanted, space = request.json().get("experiment_ids", []), need(azure, request)
    return Reply(200, {"runs": [_run(job) for job in list(space.jobs.values())[::-1] if job.experiment_id in wanted]})


def history(azure: Azure, request: Request) -> Reply:
    """All values of a metric; in pages where the client asks for them."""
    query = request.query
    job = _job(azure, request, query.get("run_id") or query.get("run_uuid", ""))
    found = [one for one in list(job.metrics) if one["key"] == query.get("metric_key")]
    begin, size = int(query.get("page_token") or 0), int(query.get("max_results") or len(found) or 1)
    body: dict[str, Any] = {"metrics": found[begin : begin + size]}
    if begin + size < len(found):
        body["next_page_token"] = str(begin + size)
    return Reply(200, body)


def _metric(given: dict[str, Any]) -> dict[str, Any]:
    when = int(given.get("timestamp") or time.time() * 1000)
    return {"key": given["key"], "value": given["value"], "timestamp": when, "step": int(given.get("step") or 0)}


def log_metric(azure: Azure, request: Request) -> Reply:
    """One value."""
    given = request.json()
    _job(azure, request, given["run_id"]).metrics.append(_metric(given))
    return Reply(200, {})


def log_batch(azure: Azure, request: Request) -> Reply:
    """Many values, parameters and tags; as many as the real service takes."""
    given = request.json()
    if len(given.get("metrics", [])) > 1000 or len(given.get("params", [])) > 100 or len(given.get("tags", [])) > 100:
        raise RefusalError(
            400, "INVALID_PARAMETER_VALUE", "A batch holds at most 1000 metrics, 100 params and 100 tags."
        )
    job = _job(azure, request, given["run_id"])
    job.metrics += [_metric(one) for one in given.get("metrics", [])]
    job.params |= {one["key"]: str(one["value"]) for one in given.get("params", [])}
    job.tags |= {one["key"]: str(one["value"]) for one in given.get("tags", [])}
    return Reply(200, {})


def log_parameter(azure: Azure, request: Request) -> Reply:
    """One parameter; it cannot be changed."""
    given = request.json()
    job = _job(azure, request, given["run_id"])
    if job.params.setdefault(given["key"], str(given["value"])) != str(given["value"]):
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", f"Changing param values is not allowed: {given['key']}")
    return Reply(200, {})


def set_tag(azure: Azure, request: Request) -> Reply:
    """One tag; the job shows it, too."""
    given = request.json()
    _job(azure, request, given["run_id"]).tags[given["key"]] = str(given["value"])
    return Reply(200, {})


def delete_tag(azure: Azure, request: Request) -> Reply:
    """Take one tag away."""
    given = request.json()
    _job(azure, request, given["run_id"]).tags.pop(given["key"], None)
    return Reply(200, {})


def update_run(azure: Azure, request: Request) -> Reply:
    """What MLflow says at the begin and the end of a run; the job's status is Azure's."""
    return Reply(200, {"run_info": _info(_job(azure, request, request.json()["run_id"]))})


def _experiment(space: Workspace, name: str) -> dict[str, Any]:
    where = f"azureml://{space.region}.api.azureml.ms/mlflow/v2.0{space.id}/experiments/{space.experiments[name]}"
    return {
        "experiment_id": space.experiments[name],
        "name": name,
        "lifecycle_stage": "active",
        "artifact_location": where,
        "tags": [],
        "creation_time": 1700000000000,
        "last_update_time": 1700000000000,
    }


def experiment(azure: Azure, request: Request) -> Reply:
    """One experiment, by its id or by its name."""
    space, query = need(azure, request), request.query
    for name, identity in space.experiments.items():
        if query.get("experiment_id") == identity or query.get("experiment_name") == name:
            return Reply(200, {"experiment": _experiment(space, name)})
    raise RefusalError(404, MISSING, f"No experiment {query.get('experiment_name') or query.get('experiment_id')}")


def create_experiment(azure: Azure, request: Request) -> Reply:
    """Register a name; one that exists is refused."""
    space, name = need(azure, request), request.json()["name"]
    if name in space.experiments:
        raise RefusalError(400, "RESOURCE_ALREADY_EXISTS", f"Experiment '{name}' already exists.")
    return Reply(200, {"experiment_id": register_experiment(space, name)})


def search_experiments(azure: Azure, request: Request) -> Reply:
    """All experiments."""
    space = need(azure, request)
    return Reply(200, {"experiments": [_experiment(space, name) for name in space.experiments]})
