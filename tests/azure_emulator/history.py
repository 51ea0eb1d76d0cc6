"""The data plane of a region: discovery, run history, artifacts, where outputs lie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .jobs import Job, find
from .jobs import register_experiment as register
from .messages import RefusalError, Reply, Request
from .workspaces import Workspace, need

if TYPE_CHECKING:
    from .emulator import Azure

SERVICES = ("api", "history", "experimentation", "artifact", "data", "hyperdrive", "execution", "rendering", "studio")


def discovery(azure: Azure, request: Request) -> Reply:
    """Where the services of a region are: all on one host."""
    base = f"https://{request.host}"
    return Reply(200, dict.fromkeys(SERVICES, base))


def _iso(azure: Azure, moment: float) -> str | None:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z") if moment else None


def _run(azure: Azure, job: Job) -> dict[str, Any]:
    return {
        "runNumber": list(job.space.jobs).index(job.name) + 1,
        "rootRunId": job.name,
        "runId": job.name,
        "experimentId": job.experiment_id,
        "createdUtc": _iso(azure, job.created),
        "startTimeUtc": _iso(azure, job.started),
        "endTimeUtc": _iso(azure, job.ended),
        "status": job.status,
        "displayName": job.given.get("displayName") or job.name,
        "name": job.given.get("displayName") or job.name,
        "dataContainerId": f"dcid.{job.name}",
        "hidden": False,
        "runType": "azureml.commandjob",
        "properties": dict(job.properties),
        "tags": dict(job.tags),
        "description": job.given.get("description"),
        "error": _error(job),
        "target": str(job.given.get("computeId", "")).rsplit("/", 1)[-1],
    }


def _error(job: Job) -> dict[str, Any] | None:
    return {"error": {**job.error, "details": []}, "time": "0001-01-01T00:00:00+00:00"} if job.error else None


def run(azure: Azure, request: Request) -> Reply:
    """One run."""
    return Reply(200, _run(azure, find(need(azure, request), request.at["name"])))


def patch(azure: Azure, request: Request) -> Reply:
    """Change tags, display name and description."""
    job, given = find(need(azure, request), request.at["name"]), request.json()
    job.tags |= given.get("tags") or {}
    job.properties |= given.get("properties") or {}
    for name in ("displayName", "description"):
        if name in given:
            job.given[name] = given[name]
    return Reply(200, _run(azure, job))


def _artifacts(azure: Azure, job: Job) -> list[str]:
    container = azure.azurite.container("azureml")
    return [
        blob.name[len(job.artifact_prefix) :] for blob in container.list_blobs(name_starts_with=job.artifact_prefix)
    ]


def _link(azure: Azure, job: Job, path: str, permission: str = "r") -> str:
    base = f"https://{azure.azurite.account}.blob.core.windows.net/azureml/{job.artifact_prefix}{path}"
    return f"{base}?{azure.azurite.sas('azureml', permission)}"


def details(azure: Azure, request: Request) -> Reply:
    """All about a run: its error, and where its logs can be read."""
    job = find(need(azure, request), request.at["name"])
    logs = {
        path: _link(azure, job, path) for path in _artifacts(azure, job) if path.startswith(("user_logs/", "logs/"))
    }
    return Reply(
        200,
        {
            "runId": job.name,
            "target": str(job.given.get("computeId", "")).rsplit("/", 1)[-1],
            "status": job.status,
            "startTimeUtc": _iso(azure, job.started),
            "endTimeUtc": _iso(azure, job.ended),
            "error": _error(job),
            "warnings": None,
            "tags": dict(job.tags),
            "properties": dict(job.properties),
            "inputDatasets": [],
            "outputDatasets": [],
            "runDefinition": None,
            "logFiles": logs,
            "jobCost": None,
            "revision": None,
            "runTypeV2": None,
            "settings": None,
            "computeRequest": None,
            "compute": None,
            "createdBy": None,
            "submittedBy": "Ada Example",
        },
    )


def _asset(job: Job, name: str) -> str:
    space = job.space
    return f"azureml://locations/{space.region}/workspaces/{space.guid}/data/azureml_{job.name}_output_data_{name}/versions/1"


def run_data(azure: Azure, request: Request) -> Reply:
    """The assets that a run's outputs became."""
    job = find(need(azure, request), request.json()["runId"])
    named = {
        name: {"assetId": _asset(job, name), "type": "UriFolder"}
        for name in ["default", *(job.given.get("outputs") or {})]
    }
    return Reply(
        200, {"runMetadata": {**_run(azure, job), "outputs": named}, "runDefinition": None, "jobSpecification": None}
    )


def resolve(azure: Azure, request: Request) -> Reply:
    """Where assets lie."""
    space, found = need(azure, request), {}
    _, _, sub, _, group, *_ = space.id.split("/")
    base = f"azureml://subscriptions/{sub}/resourcegroups/{group}/workspaces/{space.body['name']}/datastores"
    for asset in request.json().get("values", []):
        match = re.search(r"/data/azureml_(.+)_output_data_([^/]+)/versions/", asset)
        if match and match[1] in space.jobs:
            job, name = space.jobs[match[1]], match[2]
            where = (job.given.get("outputs") or {}).get(name, {}).get(
                "uri"
            ) or f"{base}/workspaceblobstore/paths/azureml/{job.name}/{name}/"
            if name == "default":
                where = f"{base}/workspaceartifactstore/paths/{job.artifact_prefix}"
            found[asset] = {"uri": where, "type": "UriFolder"}
    return Reply(200, {"values": found})


# --- experiments ----------------------------------------------------------------------------------------


def _experiment(space: Workspace, name: str) -> dict[str, Any]:
    return {
        "experimentId": space.experiments[name],
        "name": name,
        "description": None,
        "createdUtc": "2023-11-14T22:13:20Z",
        "tags": {},
        "archivedTime": None,
        "retainForLifetimeOfWorkspace": False,
    }


def experiment(azure: Azure, request: Request) -> Reply:
    """One experiment; POST registers it."""
    space, name = need(azure, request), request.at["experiment"]
    if request.method == "POST":
        register(space, name)
    if name not in space.experiments:
        raise RefusalError(404, "UserError", f"Experiment {name} was not found.")
    return Reply(200, _experiment(space, name))


def experiments(azure: Azure, request: Request) -> Reply:
    """All experiments."""
    space = need(azure, request)
    return Reply(200, {"value": [_experiment(space, name) for name in space.experiments]})


def runs(azure: Azure, request: Request) -> Reply:
    """The runs of an experiment, newest first."""
    space, name = need(azure, request), request.at["experiment"]
    return Reply(
        200, {"value": [_run(azure, job) for job in list(space.jobs.values())[::-1] if job.experiment == name]}
    )


# --- artifacts --------------------------------------------------------------------------------------------


def _artifact(job: Job, path: str) -> dict[str, Any]:
    return {
        "artifactId": f"ExperimentRun/dcid.{job.name}/{path}",
        "origin": "ExperimentRun",
        "container": f"dcid.{job.name}",
        "path": path,
        "etag": None,
        "createdTime": "2023-11-14T22:13:20Z",
        "dataPath": None,
        "tags": {},
    }


def artifacts(azure: Azure, request: Request) -> Reply:
    """What a run left in the artifact store."""
    job = find(need(azure, request), request.at["name"])
    return Reply(200, {"value": [_artifact(job, path) for path in _artifacts(azure, job)]})


def content(azure: Azure, request: Request) -> Reply:
    """Where one artifact can be read."""
    job, path = find(need(azure, request), request.at["name"]), request.query["path"]
    if path not in _artifacts(azure, job):
        raise RefusalError(404, "UserError", f"Artifact {path} was not found.")
    known = {"origin": "ExperimentRun", "container": f"dcid.{job.name}", "path": path}
    return Reply(200, {**known, "contentUri": _link(azure, job, path), "tags": {}})


def upload_links(azure: Azure, request: Request) -> Reply:
    """Where artifacts can be written."""
    job = find(need(azure, request), request.at["name"])
    paths = [one["path"] for one in request.json()["paths"]]
    links = {path: {"origin": "ExperimentRun", "container": f"dcid.{job.name}", "path": path,
                    "contentUri": _link(azure, job, path, "rcw")} for path in paths}  # fmt: skip
    return Reply(
        200,
        {
            "artifacts": {path: _artifact(job, path) for path in paths},
            "artifactContentInformation": links,
            "errors": {},
        },
    )
