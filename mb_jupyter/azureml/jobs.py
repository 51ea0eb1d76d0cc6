"""Command jobs: the program's snapshot, the submission, how a job stands, its cancellation and why it failed.

A job's name is ours, so a submission that is repeated finds the job that the first one made.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import AzureError

from . import TAGS, WORKSPACE_VERSION
from .storage import Store, container_client
from .translate import translated

if TYPE_CHECKING:
    from . import Connection

VERSION = "2024-01-01-preview"  # of a job's GET
GROUP_VERSION = "2024-03-01"
CODE_VERSION = "2023-04-01"
ENVIRONMENT = "azureml://registries/azureml/environments/acpt-pytorch-2.8-cuda12.6/labels/latest"
"""Microsoft's own, ready on its nodes: an environment with an image of its own is built for minutes first."""
CODE_SPACE = uuid.UUID("6b1f0f3e-52a4-4d0e-9a10-6f1d6c0d7a51")  # the names of code assets are made in it
OUTPUT_TAG = "mb_output"  # where the run's folder is, on a job that mounts none
SHARED_MEMORY = "8g"  # the processes of a node hand pictures to each other through it

_one_at_a_time = threading.Lock()  # two submissions at once collide in the service


@dataclass(frozen=True)
class Spec:
    """A job before it is sent. ``inputs`` is name -> (address, mode), ``output`` the address of its folder, if mounted.

    ``by_identity``: the node opens the storage as the person who submits, because the workspace keeps no key for it.
    """

    name: str
    title: str
    experiment: str
    command: str
    code: str
    compute: str
    output: str
    inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    environment: str = ENVIRONMENT
    processes: int = 1
    nodes: int = 1
    minutes: float | None = None
    by_identity: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """How a job stands: ``status`` in Azure's own words; times in seconds since 1970."""

    name: str
    status: str
    url: str = ""
    experiment: str = ""
    compute: str = ""
    output: str = ""
    environment: str = ""
    nodes: int = 1
    waiting: str = ""
    started: float | None = None
    ended: float | None = None
    created: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def submit(connection: Connection, spec: Spec) -> None:
    """Make the job; one of the same name and content is not made twice.

    When this returns, Azure has accepted it, whatever it says when it is asked for the job a moment later.
    """
    with _one_at_a_time:
        try:
            with translated("submitting the job"):
                connection.client.jobs.create_or_update(_entity(spec))
        except AzureError as error:
            # the answer may have been lost, not the request
            try:
                arrived = look(connection, spec.name) is not None
            except AzureError:
                raise error from error.__cause__
            if not arrived:
                raise


def _entity(spec: Spec) -> Any:
    from azure.ai.ml import Input, Output, PyTorchDistribution, UserIdentityConfiguration, command

    several = spec.processes * spec.nodes > 1
    return command(
        name=spec.name,
        display_name=spec.title,
        experiment_name=spec.experiment,
        command=spec.command,
        code=spec.code,
        compute=spec.compute,
        environment=spec.environment,
        inputs={name: Input(type="uri_folder", path=path, mode=mode) for name, (path, mode) in spec.inputs.items()},
        outputs={"run": Output(type="uri_folder", path=spec.output, mode="rw_mount")} if spec.output else {},
        environment_variables=dict(spec.env),
        distribution=PyTorchDistribution(process_count_per_instance=spec.processes) if several else None,
        instance_count=spec.nodes,
        identity=UserIdentityConfiguration() if spec.by_identity else None,
        shm_size=SHARED_MEMORY,
        timeout=int(spec.minutes * 60) if spec.minutes else None,
        tags={**TAGS, **spec.tags},
        # one of these keeps the SDK from telling the remote, the branch and the commit of the notebook's folder
        properties={"azureml.git.dirty": "False"},
    )


def look(connection: Connection, name: str) -> Facts | None:
    """Return how a job stands, None when there is none of that name."""
    answer = connection.arm.exists(f"{connection.place.workspace_path}/jobs/{name}", VERSION)
    return None if answer is None else _facts(answer)


def _facts(answer: Mapping[str, Any]) -> Facts:
    inside: Mapping[str, Any] = answer.get("properties") or {}
    services: Mapping[str, Any] = inside.get("services") or {}
    outputs: Mapping[str, Any] = inside.get("outputs") or {}
    more: Mapping[str, str] = inside.get("properties") or {}
    tags: dict[str, str] = dict(inside.get("tags") or {})
    return Facts(
        name=str(answer.get("name", "")),
        status=str(inside.get("status", "Unknown")),
        url=str((services.get("Studio") or {}).get("endpoint", "")),
        experiment=str(inside.get("experimentName", "")),
        compute=str(inside.get("computeId", "")).rpartition("/")[2],
        output=str((outputs.get("run") or {}).get("uri") or tags.get(OUTPUT_TAG, "")),
        environment=str(inside.get("environmentId", "")),
        nodes=int((inside.get("resources") or {}).get("instanceCount") or 1),
        waiting=_waiting(tags.get("_aml_system_ComputeTargetStatus", "")),
        started=_seconds(more.get("StartTimeUtc")),
        ended=_seconds(more.get("EndTimeUtc")),
        created=_seconds((answer.get("systemData") or {}).get("createdAt")),
        tags=tags,
    )


def _waiting(told: str) -> str:
    """Return what a queued job waits for, in a sentence; empty when the service does not tell."""
    try:
        nodes = json.loads(told)
        state, preparing = str(nodes["AllocationState"]).casefold(), int(nodes.get("PreparingNodeCount") or 0)
        running = int(nodes.get("RunningNodeCount") or 0)
    except (ValueError, LookupError, TypeError):
        return ""
    if preparing:
        return f"{preparing} node{'' if preparing == 1 else 's'} being prepared"
    if running:
        return f"{running} node{' is' if running == 1 else 's are'} busy with other jobs"
    return "the cluster is being enlarged" if state == "resizing" else "no node is there yet"


def _seconds(text: Any) -> float | None:
    # Azure writes seven digits of a second, or `2026-11-25 05:00:00`, both without a zone when it is UTC
    found = re.match(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)", str(text or ""))
    return datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00").timestamp() if found else None


def cancel(connection: Connection, name: str) -> bool:
    """Ask for the end of a job, unless it has ended; False when Azure does not find it."""
    try:
        connection.arm.send(
            "POST", f"{connection.place.workspace_path}/jobs/{name}/cancel", "2023-04-01-preview", doing="canceling"
        )
    except AzureError as error:
        if error.status == 404:
            return False
        if error.status not in (400, 409):  # it has ended
            raise
    return True


def gone(connection: Connection) -> str:
    """Return in a sentence what is gone of where jobs belong, the workspace or its group; empty when both are there."""
    place = connection.place
    if connection.arm.exists(place.workspace_path, WORKSPACE_VERSION) is not None:
        return ""
    group = f"resource group {place.resource_group}"
    try:
        if connection.arm.exists(place.group_path, GROUP_VERSION) is None:
            return f"The {group} is gone, and with it the workspace {place.workspace}."
    except AzureError as error:  # a role may be of the workspace alone
        if error.status != 403:
            raise
    return f"The workspace {place.workspace} is gone: the {group} does not have it any more."


def portal(connection: Connection, name: str) -> str:
    """Return the address of a job's page in the portal."""
    place = connection.place
    tenant = f"&tid={place.tenant}" if place.tenant else ""
    return f"https://ml.azure.com/runs/{name}?wsid={place.workspace_path}{tenant}"


def why(connection: Connection, name: str) -> tuple[str, str]:
    """Return code and message of what a job failed with, both empty when the run history tells nothing."""
    facts = connection.facts
    details = connection.arm.exists(
        f"{facts.data_plane}/history/v1.0{connection.place.workspace_path}/runs/{name}/details", "v1.0"
    )
    error = (((details or {}).get("error") or {}).get("error")) or {}
    return str(error.get("code") or ""), str(error.get("message") or "")


def build_log(connection: Connection, name: str) -> bytes:
    """Return the log of the image that was built for a job, empty when none was."""
    store = Store(connection, "workspaceartifactstore")
    blobs = store.names(f"ExperimentRun/dcid.{name}/azureml-logs/")
    return b"".join(
        store.get(each) or b"" for each in sorted(blob.name for blob in blobs if "image_build" in blob.name)
    )


def snapshot(connection: Connection, folder: Path) -> str:
    """Return the id of the code asset with the folder's files; an unchanged folder is sent once."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    name, base = str(uuid.uuid5(CODE_SPACE, digest.hexdigest())), connection.place.workspace_path
    path = f"{base}/codes/{name}/versions/1"
    with _one_at_a_time:
        if connection.arm.exists(path, CODE_VERSION) is not None:
            return path
        asked = {"pendingUploadType": "TemporaryBlobReference"}
        told = connection.arm.send("POST", f"{path}/startPendingUpload", CODE_VERSION, body=asked).json()
        place = told["blobReferenceForConsumption"]
        _send(place, folder, files)
        body = {
            "properties": {
                "codeUri": f"{place['blobUri']}/{folder.name}",
                "isAnonymous": True,
                "tags": TAGS,
                "properties": {"hash_sha256": digest.hexdigest(), "hash_version": "1"},
            }
        }
        connection.arm.send("PUT", path, CODE_VERSION, body=body, doing="registering the program")
    return path


def _send(place: Mapping[str, Any], folder: Path, files: list[Path]) -> None:
    address, _, signature = str(place["credential"]["sasUri"]).partition("?")
    account, _, container = address.rpartition("/")
    client = container_client(account, container, signature)
    with translated("sending the program"):
        for file in files:
            name = f"{folder.name}/{file.relative_to(folder).as_posix()}"
            client.upload_blob(name, file.read_bytes(), overwrite=True)
