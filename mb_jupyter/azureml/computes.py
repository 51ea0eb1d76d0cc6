"""The computes of a workspace, the sizes a region offers and the quota left.

The requests are our own: the SDK keeps back the service's message of a compute that failed, and its
values for sizes and usages have the wrong names (azure-ai-ml 1.35).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from mb_jupyter.errors import AzureError

from . import TAGS, Connection
from .arm import Arm, Progress
from .resources import is_ours
from .translate import redacted

VERSION = "2023-08-01-preview"
FAILED = ("failed", "canceled")
KEPT = (
    "osType",
    "virtualMachineImage",
    "isolatedNetwork",
    "subnet",
    "enableNodePublicIp",
    "remoteLoginPortPublicAccess",
)
"""What a compute that is made anew has as before; sizes, priority and scale can be given."""
LOW_PRIORITY, DEDICATED = "low-priority", "dedicated"
WIRE = {LOW_PRIORITY: "LowPriority", DEDICATED: "Dedicated"}


@dataclass(frozen=True)
class ComputeFacts:
    """A compute as the service describes it. Errors are pairs of code and message.

    ``errors`` are of the compute itself, ``node_errors`` of its latest try to have more nodes: it tries again.
    """

    name: str
    kind: str
    state: str
    size: str = ""
    priority: str = ""
    min_nodes: int = 0
    max_nodes: int = 0
    idle: str = ""
    nodes: int = 0
    target_nodes: int = 0
    running_nodes: int = 0
    preempted_nodes: int = 0
    allocation: str = ""
    errors: tuple[tuple[str, str], ...] = ()
    node_errors: tuple[tuple[str, str], ...] = ()
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    region: str = ""

    @property
    def errored(self) -> bool:
        """Tell whether a job sent there would wait for ever."""
        return self.state.casefold() in FAILED or bool(self.errors)

    @property
    def ready(self) -> bool:
        """Tell whether jobs can be sent there."""
        return self.state.casefold() == "succeeded" and not self.errors

    @property
    def ours(self) -> bool:
        """Tell whether this library has made it."""
        return is_ours(self.tags)


def path_of(connection: Connection, name: str = "") -> str:
    """Return the path of the workspace's computes, or of one."""
    return f"{connection.place.workspace_path}/computes{'/' + name if name else ''}"


def computes(connection: Connection) -> list[ComputeFacts]:
    """Return the computes of the workspace."""
    return [facts_of(each) for each in connection.arm.pages(path_of(connection), VERSION)]


def compute(connection: Connection, name: str) -> ComputeFacts | None:
    """Return one compute, None when there is none."""
    found = described(connection, name)
    return facts_of(found) if found else None


def described(connection: Connection, name: str) -> dict[str, Any] | None:
    """Return all that the service says of one compute, None when there is none."""
    return connection.arm.exists(path_of(connection, name), VERSION)


def create(connection: Connection, name: str, body: dict[str, Any], progress: Progress | None = None) -> None:
    """Make or change a compute and wait; raises what Azure said when it failed."""
    doing = f"making the compute {name}"
    response = connection.arm.send("PUT", path_of(connection, name), VERSION, body=body, doing=doing)
    connection.arm.wait(response, doing, progress)


def delete(connection: Connection, name: str, progress: Progress | None = None) -> None:
    """Delete a compute and wait until it is gone."""
    doing = f"deleting the compute {name}"
    params = {"underlyingResourceAction": "Delete"}
    response = connection.arm.send("DELETE", path_of(connection, name), VERSION, params=params, doing=doing)
    connection.arm.wait(response, doing, progress)


def wait_until_gone(connection: Connection, name: str, progress: Progress | None = None, seconds: float = 900) -> None:
    """Wait until the service no longer knows a compute: only then is its name free."""
    begun = time.monotonic()
    while compute(connection, name) is not None:
        passed = time.monotonic() - begun
        if progress is not None:
            progress(f"waiting until {name} is gone: {passed:.0f} s")
        if passed > seconds:
            raise AzureError(
                f"Azure has not removed {name} within {seconds / 60:.0f} minutes.", "Run the cell again later."
            )
        time.sleep(min(1 + passed / 10, 10))


def body_of(
    region: str, *, size: str, priority: str, min_nodes: int, max_nodes: int, idle_seconds: int
) -> dict[str, Any]:
    """Return what the service is asked for."""
    return {
        "location": region,
        "tags": dict(TAGS),
        "properties": {
            "computeType": "AmlCompute",
            "disableLocalAuth": True,
            "properties": {
                "vmSize": size,
                "vmPriority": WIRE[priority],
                "osType": "Linux",
                "enableNodePublicIp": True,
                "remoteLoginPortPublicAccess": "NotSpecified",
                "scaleSettings": {
                    "minNodeCount": min_nodes,
                    "maxNodeCount": max_nodes,
                    "nodeIdleTimeBeforeScaleDown": f"PT{idle_seconds}S",
                },
            },
        },
    }


def body_again(body: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` for a compute that is made anew: with the network, the identity and the tags it had before."""
    outer = before.get("properties") or {}
    inner = outer.get("properties") or {}
    identity = {key: value for key, value in (before.get("identity") or {}).items() if key == "type"}
    if users := (before.get("identity") or {}).get("userAssignedIdentities"):
        identity["userAssignedIdentities"] = {user: {} for user in users}
    shape = {**body["properties"]["properties"], **_given(inner, KEPT)}
    return {
        "location": before.get("location") or body["location"],
        "tags": before.get("tags") or {},
        **({"identity": identity} if identity else {}),
        "properties": {
            **body["properties"],
            **_given(outer, ("description", "disableLocalAuth", "computeLocation")),
            "properties": shape,
        },
    }


def _given(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def minutes_of(duration: str) -> float | None:
    """Return the minutes of a duration such as ``PT2M30S``, None where it is no such text."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", duration)
    if not found or not any(found.groups()):
        return None
    return sum(float(part or 0) * each for part, each in zip(found.groups(), (1440, 60, 1, 1 / 60), strict=True))


def facts_of(answer: dict[str, Any]) -> ComputeFacts:
    """Return the compute that an answer of the service describes."""
    outer = answer.get("properties") or {}
    inner = outer.get("properties") or {}
    scale, nodes = inner.get("scaleSettings") or {}, inner.get("nodeStateCounts") or {}
    priority = str(inner.get("vmPriority", ""))
    return ComputeFacts(
        name=str(answer.get("name", "")),
        kind=str(outer.get("computeType", "")),
        state=str(outer.get("provisioningState", "")),
        size=str(inner.get("vmSize", "")),
        priority=next((ours for ours, wire in WIRE.items() if wire.casefold() == priority.casefold()), priority),
        min_nodes=int(scale.get("minNodeCount") or 0),
        max_nodes=int(scale.get("maxNodeCount") or 0),
        idle=str(scale.get("nodeIdleTimeBeforeScaleDown") or ""),
        nodes=int(inner.get("currentNodeCount") or 0),
        target_nodes=int(inner.get("targetNodeCount") or 0),
        running_nodes=int(nodes.get("runningNodeCount") or 0),
        preempted_nodes=int(nodes.get("preemptedNodeCount") or 0),
        allocation=str(inner.get("allocationState") or ""),
        errors=_errors(outer.get("provisioningErrors")),
        node_errors=_errors(inner.get("errors")),
        tags=answer.get("tags") or {},
        region=str(outer.get("computeLocation") or answer.get("location") or ""),
    )


def _errors(found: Any) -> tuple[tuple[str, str], ...]:
    inside = [(each.get("error") or each) for each in found or [] if isinstance(each, dict)]
    return tuple((str(e.get("code", "")), redacted(str(e.get("message", "")))) for e in inside)


@dataclass(frozen=True)
class OfferedSize:
    """A size as a region offers it; prices are per node and hour."""

    name: str
    family: str
    vcpu: int
    memory_gib: float
    storage_gib: float | None
    gpus: int
    low_priority: bool
    price: float | None
    low_priority_price: float | None
    currency: str


def offered_sizes(arm: Arm, subscription: str, region: str) -> list[OfferedSize]:
    """Return the sizes a region offers for clusters."""
    path = f"/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{region}/vmSizes"
    return [
        _offered(each)
        for each in arm.get(path, VERSION).get("value") or []
        if "AmlCompute" in (each.get("supportedComputeTypes") or ["AmlCompute"])
    ]


def _offered(each: dict[str, Any]) -> OfferedSize:
    estimated = each.get("estimatedVMPrices") or {}
    prices = {
        str(value.get("vmTier")): float(value["retailPrice"])
        for value in estimated.get("values") or []
        if value.get("osType", "Linux") == "Linux" and value.get("retailPrice") is not None
    }
    volume = each.get("maxResourceVolumeMB")
    return OfferedSize(
        str(each.get("name", "")),
        str(each.get("family", "")),
        int(each.get("vCPUs") or 0),
        float(each.get("memoryGB") or 0),
        round(volume / 1024) if volume else None,
        int(each.get("gpus") or 0),
        bool(each.get("lowPriorityCapable")),
        prices.get("Standard"),
        prices.get("Spot", prices.get("LowPriority")),
        str(estimated.get("billingCurrency", "")),
    )


@dataclass(frozen=True)
class Quota:
    """How many vCPUs a family, or with an empty ``family`` all of them, may have in a region."""

    family: str
    low_priority: bool
    used: int
    limit: int  # -1: no limit of its own

    @property
    def left(self) -> int | None:
        """The vCPUs left; None without a limit."""
        return None if self.limit < 0 else max(self.limit - self.used, 0)


def quotas(arm: Arm, subscription: str, region: str) -> list[Quota]:
    """Return the quotas of vCPUs of a region: a family has the same name for both priorities, only the type tells."""
    path = f"/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{region}/usages"
    found = []
    for each in arm.pages(path, VERSION):
        kind = str(each.get("type", "")).casefold().split("/")
        low, dedicated = "lowprioritycores" in kind, "dedicatedcores" in kind
        if not (low or dedicated) or "workspaces" in str(each.get("id", "")).casefold().split("/"):
            continue  # of something else, or a share of one workspace
        family = str((each.get("name") or {}).get("value", "")) if "vmfamily" in kind else ""
        found.append(Quota(family, low, int(each.get("currentValue") or 0), int(each.get("limit") or 0)))
    return found


def quota_of(known: list[Quota], family: str, low_priority: bool) -> tuple[int | None, int | None]:
    """Return how many vCPUs of a family can still be had, and how many at all; None when nothing limits them."""
    those = [
        quota
        for quota in known
        if quota.low_priority is low_priority
        and quota.family.casefold() in ("", family.casefold())
        and quota.limit >= 0
    ]
    if not those:
        return None, None
    return min(quota.left or 0 for quota in those), min(quota.limit for quota in those)
