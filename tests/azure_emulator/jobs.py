"""Command jobs: submitted, looked at, cancelled. ``runner.py`` executes them."""

from __future__ import annotations

import copy
import json
import re
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from .arm import ML, POLL, page, refuse_without, start, without_null
from .messages import RefusalError, Reply, Request
from .workspaces import Workspace, need

if TYPE_CHECKING:
    from .emulator import Azure
    from .runner import Execution

TERMINAL = ("Completed", "Failed", "Canceled", "NotResponding")
MAY_CHANGE = ("tags", "displayName", "description", "isArchived", "properties", "services", "status")
#: what MLflow calls a status
MLFLOW = {
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
    "Running": "RUNNING",
    "Finalizing": "RUNNING",
}


class Job:
    """A job, the run that MLflow and the run history know it by, and what executes it."""

    def __init__(self, azure: Azure, space: Workspace, name: str, given: dict[str, Any]) -> None:
        self.space, self.name, self.given = space, name, given
        self.status = "Starting"
        self.tags: dict[str, str] = dict(given.get("tags") or {})
        self.properties: dict[str, str] = dict(given.get("properties") or {})
        self.metrics: list[dict[str, Any]] = []
        self.params: dict[str, str] = {}
        self.error: dict[str, str] | None = None
        self.created, self.started, self.ended = time.time(), 0.0, 0.0
        self.created_text = azure.now()
        self.experiment = str(given.get("experimentName") or "Default")
        self.history: list[str] = ["Starting"]
        self.cancelled, self.preempted = threading.Event(), threading.Event()
        self.attempts = 0
        self.unseen = 0  # how often it still is not found
        self.execution: Execution | None = None

    def __repr__(self) -> str:
        return f"Job({self.name}, {self.status})"

    @property
    def done(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in TERMINAL

    def become(self, status: str) -> None:
        """Change the status."""
        self.status = status
        self.history.append(status)
        if status == "Running" and not self.started:
            self.started = time.time()
        if self.done:
            self.ended = time.time()

    def cancel(self) -> None:
        """Ask it to end; ``close`` waits until it has."""
        if not self.done and not self.cancelled.is_set():
            self.cancelled.set()
            self.become("CancelRequested")

    def close(self) -> None:
        """End it at once."""
        self.cancelled.set()
        if self.execution:
            self.execution.hurry = True
            self.execution.join(120)

    def wait(self, status: str = "", seconds: float = 120) -> Job:
        """Wait for a status that it has or had, or for the end."""
        end = time.monotonic() + seconds
        while not (status in self.history if status else self.done):
            assert time.monotonic() < end and not (status and self.done), f"{self.name}: {self.history}, {self.error}"
            time.sleep(0.02)
        return self

    @property
    def experiment_id(self) -> str:
        """The id MLflow knows the experiment by."""
        return self.space.experiments[self.experiment]

    @property
    def artifact_prefix(self) -> str:
        """Where its logs and artifacts lie in the artifact store."""
        return f"ExperimentRun/dcid.{self.name}/"

    def resource(self) -> dict[str, Any]:
        """Return the job as ARM shows it."""
        where = self.space.id.replace("/resourceGroups/", "/resourcegroups/")
        studio = f"https://ml.azure.com/runs/{self.name}?wsid={where}"
        tracking = self.space.body["properties"]["mlFlowTrackingUri"]
        artifacts = f"azureml://datastores/workspaceartifactstore/{self.artifact_prefix.rstrip('/')}"
        properties = copy.deepcopy(self.given)
        # a label becomes the version that it means on that day
        properties["environmentId"] = str(self.given.get("environmentId", "")).replace("/labels/latest", "/versions/12")
        properties["outputs"] = {
            "default": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": artifacts},
            **(properties.get("outputs") or {}),
        }
        properties |= {
            "status": self.status,
            "tags": dict(self.tags),
            "properties": dict(self.properties),
            "services": {
                "Tracking": {"jobServiceType": "Tracking", "endpoint": tracking},
                "Studio": {"jobServiceType": "Studio", "endpoint": studio},
            },
        }
        identity = f"{self.space.id}/jobs/{self.name}"
        system = {"createdAt": self.created_text, "createdBy": "Ada Example", "createdByType": "User"}
        body = {"id": identity, "name": self.name, "type": f"{ML}/workspaces/jobs", "systemData": system}
        return without_null({**body, "properties": properties})


def find(space: Workspace, name: str) -> Job:
    """Return a job, or refuse."""
    if name not in space.jobs:
        raise _not_found(name)
    return space.jobs[name]


def _not_found(name: str) -> RefusalError:
    return RefusalError(404, "UserError", f"Run {name} was not found.")


def register_experiment(space: Workspace, name: str) -> str:
    """Return the id of an experiment, which exists afterwards."""
    return space.experiments.setdefault(name, str(uuid.uuid4()))


def _compute_refusal(space: Workspace, given: dict[str, Any]) -> str:
    name = str(given.get("computeId") or "").rsplit("/", 1)[-1]
    body = space.computes.get(name.lower())
    if body is None:
        return f"Unknown compute target '{name}'."
    state = body["properties"]["provisioningState"]
    if state != "Succeeded":
        return f"Compute target '{name}' is in {state.lower()} state and thus not ready for runs."
    nodes = int((given.get("resources") or {}).get("instanceCount") or 1)
    most = body["properties"]["properties"]["scaleSettings"]["maxNodeCount"]
    if nodes > most:
        return f"The specified instance count {nodes} exceeds the maximum node count {most} of '{name}'."
    return ""


def put(azure: Azure, request: Request) -> Reply:
    """Submit a job, or change what may be changed of one with this name: never two of it."""
    from .runner import Execution

    space, name, given = need(azure, request), request.at["name"], request.json()["properties"]
    refuse_without(azure, f"{ML}/workspaces/jobs/write")
    if known := space.jobs.get(name):
        fixed = {key: value for key, value in given.items() if key not in MAY_CHANGE and key in known.given}
        if changed := [key for key, value in fixed.items() if known.given[key] != value and key != "outputs"]:
            message = (
                f"A job with this name already exists. The existing job's '{changed[0]}' property cannot be changed."
            )
            raise RefusalError(400, "UserError", message)
        known.tags = dict(given.get("tags") or {})
        return Reply(200, known.resource())
    if given.get("jobType") != "Command":
        raise RefusalError(400, "UserError", f"The stand-in executes command jobs only, not {given.get('jobType')}.")
    if refusal := _compute_refusal(space, given):
        raise RefusalError(400, "UserError", refusal)
    register_experiment(space, given.get("experimentName") or "Default")
    job = space.jobs[name] = Job(azure, space, name, given)
    job.unseen = azure.unseen
    reply = job.resource()
    job.execution = Execution(azure, job)
    job.execution.start()
    return Reply(201, reply, {"Location": f"https://{request.host}{request.target}"})


def get(azure: Azure, request: Request) -> Reply:
    """One job."""
    job = find(need(azure, request), request.at["name"])
    if job.unseen:
        job.unseen -= 1
        raise _not_found(job.name)
    return Reply(200, job.resource())


def listing(azure: Azure, request: Request) -> Reply:
    """All jobs, newest first."""
    found = [job.resource() for job in need(azure, request).jobs.values()][::-1]
    if tag := request.query.get("tag"):
        found = [one for one in found if tag in one["properties"]["tags"]]
    return page(azure, request, found)


def cancel(azure: Azure, request: Request) -> Reply:
    """Begin to cancel; a job that has ended refuses."""
    space = need(azure, request)
    refuse_without(azure, f"{ML}/workspaces/jobs/cancel/action")
    job = find(space, request.at["name"])
    if job.done:
        raise RefusalError(
            400, "UserError", f"Job {job.name} is in terminal state {job.status} and cannot be cancelled."
        )
    job.cancel()
    base = f"https://management.azure.com/subscriptions/{request.at['sub']}/providers/{ML}/locations/{space.region}"
    where = f"{base}/mfeOperationResults/jc:{space.guid}:{start(azure, lambda: None)}?api-version=2023-04-01-preview"
    return Reply(202, None, {**POLL, "Location": where})


def operation_result(azure: Azure, request: Request) -> Reply:
    """Answer a poll of a cancel."""
    from .arm import location_result

    request.at["id"] = re.sub(r"^\w+:[^:]*:", "", request.at["id"])
    return location_result(azure, request)


def delete(azure: Azure, request: Request) -> Reply:
    """Delete a job that has ended."""
    space = need(azure, request)
    job = find(space, request.at["name"])
    if not job.done:
        raise RefusalError(409, "Conflict", f"Job {job.name} has not ended.")
    del space.jobs[job.name]
    return Reply(200)


def waiting_tag(nodes: int, preparing: int = 0) -> str:
    """Return what Azure writes into a tag while a job waits for a node."""
    known = {"AllocationState": "steady" if not preparing else "resizing", "PreparingNodeCount": preparing,
             "RunningNodeCount": 0, "CurrentNodeCount": nodes}  # fmt: skip
    return json.dumps(known, separators=(",", ":"))
