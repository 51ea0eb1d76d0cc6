"""What there is in a subscription, and how it is made and removed: plain values in and out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mb_jupyter.errors import AzureError

from . import TAGS, WORKSPACE_VERSION, Connection, Place, WorkspaceFacts, workspace_facts
from .arm import Arm, Progress
from .quiet import quiet
from .translate import translated

SUBSCRIPTIONS = "2022-12-01"
GROUPS = "2024-03-01"
WORKSPACES = WORKSPACE_VERSION
PERMISSIONS = "2022-04-01"
PROVIDER = "Microsoft.MachineLearningServices"
NEEDED = (PROVIDER, "Microsoft.Storage", "Microsoft.KeyVault", "Microsoft.Insights", "Microsoft.OperationalInsights")
"""The providers whose resources a workspace is made of."""

VERSIONS = {
    "microsoft.storage/storageaccounts": "2023-01-01",
    "microsoft.keyvault/vaults": "2023-07-01",
    "microsoft.insights/components": "2020-02-02",
    "microsoft.operationalinsights/workspaces": "2022-10-01",
    "microsoft.containerregistry/registries": "2023-07-01",
}
"""Kind of a part -> the api-version with which it is deleted."""

DEPLOYMENTS = "azure.ai.ml._arm_deployments.arm_deployment_executor"


@dataclass(frozen=True)
class Subscription:
    """A subscription that the account can see."""

    id: str
    name: str
    state: str
    tenant: str


@dataclass(frozen=True)
class Region:
    """A data centre location; ``area`` is the part of the world."""

    name: str
    label: str
    area: str = ""


@dataclass(frozen=True)
class ResourceGroup:
    """A container of related resources."""

    name: str
    region: str
    tags: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def ours(self) -> bool:
        """Tell whether this library has made it."""
        return is_ours(self.tags)


@dataclass(frozen=True)
class FoundWorkspace:
    """A workspace as a list shows it. ``parts`` are the ids of what belongs to it: storage, keys, logs."""

    name: str
    resource_group: str
    region: str
    state: str
    kind: str = "Default"
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    parts: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Tell whether this library has made it."""
        return is_ours(self.tags)


def is_ours(tags: dict[str, str]) -> bool:
    """Tell whether the tags are those of this library."""
    return all(tags.get(key) == value for key, value in TAGS.items())


def subscriptions(arm: Arm) -> list[Subscription]:
    """Return the subscriptions of the account."""
    with translated("listing the subscriptions"):
        return [
            Subscription(
                str(each.get("subscriptionId", "")),
                str(each.get("displayName", "")),
                str(each.get("state", "")),
                str(each.get("tenantId", "")),
            )
            for each in arm.pages("/subscriptions", SUBSCRIPTIONS)
        ]


def regions(arm: Arm, subscription: str) -> list[Region]:
    """Return the regions in which the subscription may have a workspace."""
    places = arm.pages(f"/subscriptions/{subscription}/locations", SUBSCRIPTIONS)
    found = []
    for each in places:
        facts = each.get("metadata") or {}
        if facts.get("regionType", "Physical") == "Physical":
            found.append(
                Region(
                    str(each["name"]), str(each.get("displayName", each["name"])), str(facts.get("geographyGroup", ""))
                )
            )
    offered = _offered_regions(arm, subscription)
    return sorted(
        (region for region in found if not offered or region.label.casefold() in offered or region.name in offered),
        key=lambda region: (region.area, region.label),
    )


def _offered_regions(arm: Arm, subscription: str) -> set[str]:
    provider = arm.get(f"/subscriptions/{subscription}/providers/{PROVIDER}", GROUPS)
    kinds = provider.get("resourceTypes") or []
    return {
        str(place).casefold()
        for kind in kinds
        if kind.get("resourceType") == "workspaces"
        for place in kind.get("locations") or []
    }


def resource_groups(arm: Arm, subscription: str) -> list[ResourceGroup]:
    """Return the resource groups of a subscription."""
    groups = arm.pages(f"/subscriptions/{subscription}/resourcegroups", GROUPS)
    return [ResourceGroup(str(each["name"]), str(each.get("location", "")), each.get("tags") or {}) for each in groups]


def resource_group(arm: Arm, place: Place) -> ResourceGroup | None:
    """Return the resource group of a place, None when there is none."""
    found = arm.exists(place.group_path, GROUPS)
    return ResourceGroup(str(found["name"]), str(found.get("location", "")), found.get("tags") or {}) if found else None


def create_resource_group(arm: Arm, place: Place) -> None:
    """Make the resource group, tagged as ours."""
    body = {"location": place.region, "tags": TAGS}
    arm.send("PUT", place.group_path, GROUPS, body=body, doing=f"making the resource group {place.resource_group}")


def delete_resource_group(arm: Arm, place: Place, progress: Progress | None = None) -> None:
    """Delete a resource group with everything in it, and wait until it is gone."""
    doing = f"deleting the resource group {place.resource_group}"
    arm.wait(arm.send("DELETE", place.group_path, GROUPS, doing=doing), doing, progress)


def resources_in(arm: Arm, place: Place) -> list[dict[str, Any]]:
    """Return what a resource group holds: id, name, type and tags of each."""
    return list(arm.pages(f"{place.group_path}/resources", GROUPS))


def tagged(arm: Arm, subscription: str) -> list[dict[str, Any]]:
    """Return everything in a subscription that carries our tag; a compute is no resource of its own there."""
    (key, value), *_ = TAGS.items()
    asked = {"$filter": f"tagName eq '{key}' and tagValue eq '{value}'"}
    found = arm.pages(f"/subscriptions/{subscription}/resources", GROUPS, **asked)
    return [each for each in found if not str(each.get("type", "")).casefold().startswith(PROVIDER.casefold())]


def delete_resource(arm: Arm, path: str) -> None:
    """Delete one part of a workspace that is left over."""
    version = VERSIONS.get("/".join(path.split("/")[6:8]).casefold(), "2023-01-01")
    doing = f"deleting {path.rsplit('/', 1)[-1]}"
    arm.wait(arm.send("DELETE", path, version, doing=doing), doing)


def workspaces(arm: Arm, subscription: str, resource_group: str = "") -> list[FoundWorkspace]:
    """Return the workspaces of a subscription, or of one resource group."""
    inside = f"/resourceGroups/{resource_group}" if resource_group else ""
    path = f"/subscriptions/{subscription}{inside}/providers/{PROVIDER}/workspaces"
    return [found_workspace(each) for each in arm.pages(path, WORKSPACES)]


def workspace(arm: Arm, place: Place) -> tuple[FoundWorkspace, WorkspaceFacts] | None:
    """Return a workspace with its facts, None when there is none."""
    found = arm.exists(place.workspace_path, WORKSPACES)
    return (found_workspace(found), workspace_facts(found)) if found else None


def found_workspace(answer: dict[str, Any]) -> FoundWorkspace:
    """Return the workspace that an answer of the service describes."""
    inside, words = answer.get("properties") or {}, str(answer.get("id", "")).split("/")
    parts = (inside.get(key) for key in ("storageAccount", "keyVault", "applicationInsights", "containerRegistry"))
    return FoundWorkspace(
        str(answer.get("name", "")),
        words[4] if len(words) > 4 else "",
        str(answer.get("location", "")),
        str(inside.get("provisioningState", "")),
        str(answer.get("kind", "Default")),
        answer.get("tags") or {},
        tuple(str(part) for part in parts if part),
    )


def provider_states(arm: Arm, subscription: str, names: tuple[str, ...] = NEEDED) -> dict[str, str]:
    """Return for each provider whether it is registered (``Registered``), asked all at once."""

    def ask(name: str) -> str:
        answer = arm.get(f"/subscriptions/{subscription}/providers/{name}", GROUPS)
        return str(answer.get("registrationState", ""))

    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(ask, names), strict=True))


def register_providers(
    arm: Arm, subscription: str, names: tuple[str, ...], progress: Progress | None = None, seconds: float = 600
) -> None:
    """Register providers and wait until the service has done so."""
    for name in names:
        path = f"/subscriptions/{subscription}/providers/{name}/register"
        arm.send("POST", path, GROUPS, doing=f"registering {name}")
    begun = time.monotonic()
    while missing := [n for n, state in provider_states(arm, subscription, names).items() if state != "Registered"]:
        if progress is not None:
            progress(f"registering {', '.join(missing)}")
        if time.monotonic() - begun > seconds:
            raise AzureError(
                f"Azure has not registered {', '.join(missing)} within {seconds / 60:.0f} minutes.",
                "It goes on by itself; run the cell again later.",
            )
        time.sleep(2)


def permissions(arm: Arm, scope: str) -> list[dict[str, list[str]]]:
    """Return what the account may do at a scope: ``actions`` and ``notActions`` of each of its roles."""
    found = arm.pages(f"{scope}/providers/Microsoft.Authorization/permissions", PERMISSIONS)
    return [{key: list(each.get(key) or []) for key in ("actions", "notActions")} for each in found]


def may(granted: list[dict[str, list[str]]], action: str) -> bool:
    """Tell whether permissions allow an action, such as ``.../workspaces/write``."""
    from fnmatch import fnmatchcase

    wanted = action.casefold()
    return any(
        any(fnmatchcase(wanted, rule.casefold()) for rule in role["actions"])
        and not any(fnmatchcase(wanted, rule.casefold()) for rule in role["notActions"])
        for role in granted
    )


def create_workspace(connection: Connection, progress: Progress | None = None) -> None:
    """Make the workspace of the connection's place with its storage, keys and logs; minutes."""
    place, client = connection.place, connection.client
    with translated(f"making the workspace {place.workspace}"), _told(progress):
        from azure.ai.ml.entities import Workspace

        asked = Workspace(name=place.workspace, location=place.region, tags=dict(TAGS))
        poller = client.workspaces.begin_create(asked)
        _wait(poller, progress, f"making the workspace {place.workspace}")
        poller.result()


def delete_workspace(connection: Connection, *, parts: bool, purge: bool, progress: Progress | None = None) -> None:
    """Delete the workspace, with ``parts`` also its storage, keys and logs; with ``purge`` for good."""
    name = connection.place.workspace
    with translated(f"deleting the workspace {name}"), _told(progress):
        poller = connection.client.workspaces.begin_delete(
            name, delete_dependent_resources=parts, permanently_delete=purge
        )
        _wait(poller, progress, f"deleting the workspace {name}")
        poller.result()


def purge_workspace(connection: Connection, progress: Progress | None = None) -> bool:
    """Delete for good a workspace that was deleted already; tell whether there was one."""
    doing = f"deleting the workspace {connection.place.workspace} for good"
    path, params = connection.place.workspace_path, {"forceToPurge": "true"}
    try:
        response = connection.arm.send("DELETE", path, WORKSPACES, params=params, doing=doing)
    except AzureError as error:
        if error.status == 404:
            return False
        raise
    connection.arm.wait(response, doing, progress)
    return bool(response.status_code != 204)


def _wait(poller: Any, progress: Progress | None, doing: str) -> None:
    begun = time.monotonic()
    while not poller.done():
        poller.wait(timeout=1)
        if progress is not None:
            progress(f"{doing}: {time.monotonic() - begun:.0f} s")
        if time.monotonic() - begun < 1:  # some pollers do not wait
            time.sleep(0.05)


class _Telling(logging.Handler):
    """Hands on what the SDK would have written to the notebook's error stream."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one line, when it says something."""
        text = record.getMessage().strip()
        if record.levelno < logging.ERROR and text.strip(". "):
            self._progress(text)


@contextmanager
def _told(progress: Progress | None) -> Iterator[None]:
    """Let the SDK's reports of a deployment go to ``progress``, and nowhere else."""
    quiet()
    logger = logging.getLogger(DEPLOYMENTS)
    before, level = logger.handlers[:], logger.level
    handler = _Telling(progress) if progress is not None else logging.NullHandler()
    logger.handlers[:], logger.propagate = [handler], False
    logger.setLevel(logging.INFO if progress is not None else logging.CRITICAL)
    try:
        yield
    finally:
        logger.handlers[:] = before
        logger.setLevel(max(level, logging.ERROR))
