"""Computes: clusters of virtual machines, their sizes and the quota."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arm import ML, POLL, page, refuse_narrow, refuse_without, start, without_null
from .messages import RefusalError, Reply, Request
from .workspaces import Workspace, need

if TYPE_CHECKING:
    from .emulator import Azure

#: name: family, vCPU, GPUs, memory GB, temporary storage MB, low priority, dollars an hour
SIZES: dict[str, tuple[str, int, int, float, int, bool, float]] = {
    "Standard_DS3_v2": ("standardDSv2Family", 4, 0, 14, 28672, True, 0.293),
    "Standard_D4s_v3": ("standardDSv3Family", 4, 0, 16, 32768, True, 0.24),
    "Standard_NC4as_T4_v3": ("Standard NCASv3_T4 Family", 4, 1, 28, 180224, True, 0.526),
    "Standard_NC8as_T4_v3": ("Standard NCASv3_T4 Family", 8, 1, 56, 368640, True, 0.752),
    "Standard_NC16as_T4_v3": ("Standard NCASv3_T4 Family", 16, 1, 110, 368640, True, 1.204),
    "Standard_NC64as_T4_v3": ("Standard NCASv3_T4 Family", 64, 4, 440, 2949120, True, 4.352),
    "Standard_NC24ads_A100_v4": ("Standard NCADS_A100_v4 Family", 24, 1, 220, 1179648, True, 3.673),
    "Standard_NC48ads_A100_v4": ("Standard NCADS_A100_v4 Family", 48, 2, 440, 2359296, True, 7.346),
    "Standard_ND40rs_v2": ("Standard NDrsv2 Family", 40, 8, 672, 2969600, False, 22.032),
}
#: cores a subscription may use; the A100 family is what a new subscription has: nothing
LIMITS = {
    "standardDSv2Family": 24, "standardDSv3Family": 24, "Standard NCASv3_T4 Family": 64,
    "Standard NCADS_A100_v4 Family": 0, "Standard NDrsv2 Family": 0,
}  # fmt: skip
LOW_PRIORITY = "Total Cluster Low-Priority Regional vCPUs"
TOTAL = "Total Cluster Dedicated Regional vCPUs"
#: the type of a usage is all that tells dedicated cores from low-priority ones: a family has one name for both
KINDS = {TOTAL: "dedicatedCores", LOW_PRIORITY: "lowPriorityCores"}
COUNTS = ("idle", "running", "preparing", "unusable", "leaving", "preempted")


def _size(name: str) -> tuple[str, int, int, float, int, bool, float] | None:
    return next((one for known, one in SIZES.items() if known.lower() == name.lower()), None)


def find(space: Workspace, name: str) -> dict[str, Any]:
    """Return a compute, or refuse."""
    if name.lower() not in space.computes:
        message = f"Requested resource '{name}' was not found in workspace '{space.body['name']}'."
        raise RefusalError(404, "ComputeNotFound", message)
    return space.computes[name.lower()]


def make(
    azure: Azure,
    space: Workspace,
    name: str,
    size: str,
    *,
    low_priority: bool = True,
    nodes: tuple[int, int] = (0, 1),
    **more: Any,
) -> dict[str, Any]:
    """Create a cluster that is ready."""
    now = azure.now()
    counts = {f"{kind}NodeCount": 0 for kind in COUNTS}
    scale = {
        "minNodeCount": nodes[0],
        "maxNodeCount": nodes[1],
        "nodeIdleTimeBeforeScaleDown": more.get("idle", "PT5M"),
    }
    inner = {
        "vmSize": size.upper(),
        "vmPriority": "LowPriority" if low_priority else "Dedicated",
        "osType": "Linux",
        "isolatedNetwork": False,
        "scaleSettings": scale,
        "allocationState": "Steady",
        "allocationStateTransitionTime": now,
        "remoteLoginPortPublicAccess": "NotSpecified",
        "enableNodePublicIp": True,
        "currentNodeCount": nodes[0],
        "targetNodeCount": nodes[0],
        "nodeStateCounts": counts | {"idleNodeCount": nodes[0]},
    }
    properties = {
        "computeType": "AmlCompute",
        "computeLocation": space.region,
        "provisioningState": "Succeeded",
        "createdOn": now,
        "modifiedOn": now,
        "isAttachedCompute": False,
        "disableLocalAuth": True,
        "properties": inner,
    }
    body = {
        "id": f"{space.id}/computes/{name}",
        "name": name,
        "type": f"{ML}/workspaces/computes",
        "location": space.region,
        "tags": more.get("tags") or {},
        "properties": properties,
    }
    space.computes[name.lower()] = body
    return body


def spoil(body: dict[str, Any], code: str, message: str) -> None:
    """Make a compute one whose creation failed."""
    body["properties"] |= {
        "provisioningState": "Failed",
        "provisioningErrors": [{"error": {"code": code, "message": message}}],
    }


def listing(azure: Azure, request: Request) -> Reply:
    """All computes of a workspace."""
    return page(azure, request, list(need(azure, request).computes.values()))


def get(azure: Azure, request: Request) -> Reply:
    """One compute."""
    return Reply(200, without_null(find(need(azure, request), request.at["name"])))


def _refused(azure: Azure, size: str, low_priority: bool, least: int) -> dict[str, str] | None:
    """Return what Azure finds only while it creates, after it has said 201."""
    if azure.compute_error:
        return azure.compute_error
    facts = _size(size)
    if facts and least and not low_priority and least * facts[1] > {**LIMITS, **azure.limits}[facts[0]]:
        message = (
            f"Requested {least * facts[1]} cores, the quota of the family is {({**LIMITS, **azure.limits})[facts[0]]}."
        )
        return {"code": "ClusterMinNodesExceedCoreQuota", "message": message}
    return None


def put(azure: Azure, request: Request) -> Reply:
    """Create or change a cluster."""
    space, asked, name = need(azure, request), request.json(), request.at["name"]
    refuse_without(azure, f"{ML}/workspaces/computes/write")
    inner = asked["properties"]["properties"]
    size, low = inner["vmSize"], inner.get("vmPriority") == "LowPriority"
    known = space.computes.get(name.lower())
    if known and known["properties"]["provisioningState"] in ("Failed", "Deleting"):
        raise RefusalError(
            409,
            "Conflict",
            f"The compute '{name}' is in state {known['properties']['provisioningState']} and cannot be updated.",
        )
    facts = _size(size)
    if facts is None:
        raise RefusalError(
            400,
            "BadRequest",
            f"The specified Azure ML Compute VM size {size} is not supported in region {space.region}.",
        )
    if low and not facts[5]:
        raise RefusalError(400, "BadRequest", f"The VM size {size} does not support low priority nodes.")
    if not low and {**LIMITS, **azure.limits}[facts[0]] == 0:
        message = (
            f"The specified subscription has a {facts[0]} vCPU quota of 0 and cannot accomodate for at least 1 "
            f"requested managed compute node which maps to {facts[1]} vCPUs. Please increase the quota."
        )
        raise RefusalError(400, "BadRequest", message)
    scale = inner.get("scaleSettings") or {}
    nodes = (int(scale.get("minNodeCount", 0)), int(scale.get("maxNodeCount", 1)))
    before = known["properties"]["properties"]["vmSize"] if known else azure.kept_sizes.get(name.lower(), size)
    body = make(
        azure,
        space,
        name,
        before,
        low_priority=low,
        nodes=nodes,
        idle=scale.get("nodeIdleTimeBeforeScaleDown", "PT5M"),
        tags=asked.get("tags"),
    )
    kept = ("subnet", "enableNodePublicIp", "isolatedNetwork", "remoteLoginPortPublicAccess")
    body["properties"]["properties"] |= {one: inner[one] for one in kept if one in inner}
    body |= {"identity": asked["identity"]} if "identity" in asked else {}
    body["properties"]["provisioningState"] = "Updating" if known else "Creating"
    reply = without_null(body)

    def finish() -> dict[str, Any] | None:
        error = _refused(azure, size, low, nodes[0])
        body["properties"]["provisioningState"] = "Succeeded"
        if error:
            spoil(body, error["code"], error["message"])
        return error

    where = _status_url(request, space, start(azure, finish, ("Creating", "InProgress")))
    return Reply(201, reply, {**POLL, "Azure-AsyncOperation": where})


def _status_url(request: Request, space: Workspace, operation: str) -> str:
    base = f"https://management.azure.com/subscriptions/{request.at['sub']}/providers/{ML}/locations/{space.region}"
    return f"{base}/computeOperationsStatus/{operation}?api-version=2023-08-01-preview&service=new"


def patch(azure: Azure, request: Request) -> Reply:
    """Change how a cluster scales."""
    body = find(need(azure, request), request.at["name"])
    body["properties"]["properties"]["scaleSettings"] |= request.json()["properties"]["properties"].get(
        "scaleSettings", {}
    )
    return Reply(200, without_null(body))


def delete(azure: Azure, request: Request) -> Reply:
    """Delete a cluster."""
    space = need(azure, request)
    body = find(space, request.at["name"])
    body["properties"]["provisioningState"] = "Deleting"

    def finish() -> None:
        space.computes.pop(request.at["name"].lower(), None)

    return Reply(
        202,
        None,
        {**POLL, "Azure-AsyncOperation": _status_url(request, space, start(azure, finish, ("Deleting", "InProgress")))},
    )


def nodes(azure: Azure, request: Request) -> Reply:
    """The nodes of a cluster: none stay once their job is done."""
    find(need(azure, request), request.at["name"])
    return Reply(200, {"nodes": []})


def sizes(azure: Azure, request: Request) -> Reply:
    """What a region offers."""
    refuse_narrow(azure, request)
    return Reply(
        200,
        {
            "value": [
                {
                    "name": name,
                    "family": family,
                    "vCPUs": cores,
                    "gpus": gpus,
                    "osVhdSizeMB": 1047552,
                    "maxResourceVolumeMB": storage,
                    "memoryGB": float(memory),
                    "lowPriorityCapable": low,
                    "premiumIO": True,
                    "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
                    "estimatedVMPrices": {
                        "billingCurrency": "USD",
                        "unitOfMeasure": "OneHour",
                        "values": [
                            {"retailPrice": price, "osType": "Linux", "vmTier": "Standard"},
                            {"retailPrice": round(price / 5, 4), "osType": "Linux", "vmTier": "LowPriority"},
                        ],
                    },
                }
                for name, (family, cores, gpus, memory, storage, low, price) in SIZES.items()
                if name not in azure.sizes_withheld
            ]
        },
    )


def _used(azure: Azure, sub: str, region: str) -> dict[str, int]:
    used: dict[str, int] = {}
    for space in azure.workspaces.values():
        for body in space.computes.values():
            inner, facts = body["properties"]["properties"], _size(body["properties"]["properties"]["vmSize"])
            if facts and space.region == region and f"/{sub}/" in space.id:
                low = inner["vmPriority"] == "LowPriority"
                for name in [LOW_PRIORITY] if low else [TOTAL, facts[0]]:
                    used[name] = used.get(name, 0) + inner["currentNodeCount"] * facts[1]
    return used


def usages(azure: Azure, request: Request) -> Reply:
    """How many cores are used, and how many may be."""
    refuse_narrow(azure, request)
    sub, region = request.at["sub"], request.at["region"]
    used, base = _used(azure, sub, region), f"/subscriptions/{sub}/providers/{ML}/locations/{region}"
    limits = {TOTAL: 100, LOW_PRIORITY: azure.low_priority_cores, **LIMITS, **azure.limits}
    return page(
        azure,
        request,
        [
            {
                "id": f"{base}/usages/{name}",
                "type": f"{ML}/{KINDS.get(name, 'vmFamily/dedicatedCores')}/usages",
                "amlWorkspaceLocation": region,
                "unit": "Count",
                "currentValue": used.get(name, 0) + azure.used.get(name, 0),
                "limit": limit,
                "name": {
                    "value": name,
                    "localizedValue": name if name in (TOTAL, LOW_PRIORITY) else f"{name} Cluster Dedicated vCPUs",
                },
            }
            for name, limit in limits.items()
        ],
    )


def quotas(azure: Azure, request: Request) -> Reply:
    """What is given to each family."""
    refuse_narrow(azure, request)
    base = f"/subscriptions/{request.at['sub']}/providers/{ML}/locations/{request.at['region']}"
    return page(
        azure,
        request,
        [
            {
                "id": f"{base}/quotas/{name}",
                "type": f"{ML}/quotas",
                "limit": limit,
                "unit": "Count",
                "amlWorkspaceLocation": request.at["region"],
                "name": {"value": name, "localizedValue": f"{name} Cluster Dedicated vCPUs"},
            }
            for name, limit in {**LIMITS, **azure.limits}.items()
        ],
    )
