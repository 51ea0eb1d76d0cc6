"""Workspaces: made by a deployment, kept for a while after a delete."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .arm import ML, ML_REGIONS, POLL, REGIONS, login_check, need_group, page, refuse_without, start, without_null
from .messages import RefusalError, Reply, Request

if TYPE_CHECKING:
    from .emulator import Azure
    from .jobs import Job


@dataclass
class Workspace:
    """A workspace and all that is in it."""

    body: dict[str, Any]
    computes: dict[str, dict[str, Any]] = field(default_factory=dict)
    datastores: dict[str, dict[str, Any]] = field(default_factory=dict)
    assets: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)  # kind, name, version
    jobs: dict[str, Job] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)  # name -> id

    @property
    def id(self) -> str:
        """The ARM id."""
        return str(self.body["id"])

    @property
    def guid(self) -> str:
        """The id the data plane knows it by."""
        return str(self.body["properties"]["workspaceId"])

    @property
    def region(self) -> str:
        """Where it is."""
        return str(self.body["location"])

    def cancel(self) -> None:
        """Ask what runs in it to end."""
        for job in self.jobs.values():
            job.cancel()

    def close(self) -> None:
        """End what runs in it, and wait until it has."""
        for job in self.jobs.values():
            job.close()


def need(azure: Azure, request: Request) -> Workspace:
    """Return the workspace of a path, or refuse."""
    if request.host == "management.azure.com":
        need_group(azure, request)
    else:
        login_check(azure, request)
    space = azure.workspaces.get((request.at["rg"].lower(), request.at["ws"].lower()))
    if space is None:
        what = f"{ML}/workspaces/{request.at['ws']}"
        raise RefusalError(
            404, "ResourceNotFound", f"The Resource '{what}' under resource group '{request.at['rg']}' was not found."
        )
    return space


def make(azure: Azure, sub: str, rg: str, name: str, region: str, **given: Any) -> Workspace:
    """Create a workspace with its datastores."""
    from .assets import default_datastores

    group = f"/subscriptions/{sub}/resourceGroups/{rg}"
    path = f"{group}/providers/{ML}/workspaces/{name}"
    guid, dependents = str(uuid.uuid4()), given.pop("dependents", {})
    made = {
        role: f"{group}/providers/{kind}/{dependents.get(role) or name[:8] + short + guid[:8]}"
        for role, (kind, short) in DEPENDENTS.items()
    }
    if azure.broken_dependents:
        made = {}
    for target in made.values():
        kind, _, last = target.split("/providers/")[1].rpartition("/")
        azure.resources.setdefault(
            target.lower(),
            {
                "id": target,
                "name": last,
                "type": kind,
                "location": region,
                "tags": given.get("tags") or {},
                "properties": {"provisioningState": "Succeeded"},
            },
        )
    host = f"{region}.api.azureml.ms"
    if "insights" in made:
        for kind, last in BY_INSIGHTS:  # without tags, and not deleted with it
            target = f"{group}/providers/{kind}/{last.format(made['insights'].rpartition('/')[2])}"
            of = {"id": target, "name": target.rpartition("/")[2], "type": kind, "location": "global"}
            azure.resources.setdefault(target.lower(), of)
        azure.resources[made["insights"].lower()]["properties"]["WorkspaceResourceId"] = made["logs"]
    properties = {
        "workspaceId": guid,
        "provisioningState": "Succeeded",
        "friendlyName": given.get("friendly") or name,
        "description": given.get("description") or "",
        "publicNetworkAccess": azure.public_access,
        "hbiWorkspace": False,
        "v1LegacyMode": False,
        "storageAccount": made.get("storage"),
        "keyVault": made.get("vault"),
        "applicationInsights": made.get("insights"),
        "discoveryUrl": f"https://{host}/discovery",
        "mlFlowTrackingUri": f"azureml://{host}/mlflow/v1.0{path}",
        "systemDatastoresAuthMode": azure.datastore_credentials_mode,
        "managedNetwork": {"isolationMode": azure.isolation},
        "tenantId": azure.tenant,
        "storageHnsEnabled": False,
    }
    identity = {"type": "SystemAssigned", "principalId": str(uuid.uuid4()), "tenantId": azure.tenant}
    body = {
        "id": path,
        "name": name,
        "type": f"{ML}/workspaces",
        "kind": given.get("kind") or "Default",
        "location": region,
        "tags": given.get("tags") or {},
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": identity,
        "properties": properties,
    }
    space = Workspace(without_null(body))
    space.datastores = default_datastores(azure, space)
    azure.workspaces[(rg.lower(), name.lower())] = space
    return space


DEPENDENTS = {
    "storage": ("Microsoft.Storage/storageAccounts", "storage"),
    "vault": ("Microsoft.KeyVault/vaults", "keyvault"),
    "logs": ("Microsoft.OperationalInsights/workspaces", "logalyti"),
    "insights": ("Microsoft.Insights/components", "insights"),
}
#: what Application Insights makes by itself
BY_INSIGHTS = (
    ("microsoft.alertsmanagement/smartDetectorAlertRules", "Failure Anomalies - {}"),
    ("Microsoft.Insights/actiongroups", "Application Insights Smart Detection"),
)


def listing(azure: Azure, request: Request) -> Reply:
    """All workspaces of a subscription or of a group."""
    if "rg" in request.at:
        need_group(azure, request)
    else:
        login_check(azure, request)
    inside = f"/resourcegroups/{request.at['rg'].lower()}/" if "rg" in request.at else f"/{request.at['sub'].lower()}/"
    return page(azure, request, [space.body for space in azure.workspaces.values() if inside in space.id.lower()])


def get(azure: Azure, request: Request) -> Reply:
    """One workspace."""
    return Reply(200, without_null(need(azure, request).body))


def put(azure: Azure, request: Request) -> Reply:
    """Create one without a deployment."""
    group, asked = need_group(azure, request), request.json()
    error = _refused(azure, request.at["rg"], request.at["ws"], asked.get("location") or group["location"])
    if error:
        raise RefusalError(409, error["code"], error["message"])
    space = make(
        azure,
        request.at["sub"],
        request.at["rg"],
        request.at["ws"],
        asked.get("location") or group["location"],
        tags=asked.get("tags"),
    )
    return Reply(201, space.body)


def patch(azure: Azure, request: Request) -> Reply:
    """Change tags and descriptions."""
    space, asked = need(azure, request), request.json()
    if "tags" in asked:
        space.body["tags"] = asked["tags"]
    for name in ("friendlyName", "description"):
        if name in asked.get("properties", {}):
            space.body["properties"][name] = asked["properties"][name]
    return Reply(200, without_null(space.body))


def delete(azure: Azure, request: Request) -> Reply:
    """Delete it; without ``forceToPurge`` its name stays taken for some days, until a delete with it."""
    group = need_group(azure, request)
    key = (request.at["rg"].lower(), request.at["ws"].lower())
    purge, space = request.query.get("forceToPurge", "false").lower() == "true", azure.workspaces.get(key)
    if space is None and not (purge and key in azure.soft_deleted):
        return Reply(204)

    def finish() -> None:
        azure.soft_deleted.discard(key)
        if gone := azure.workspaces.pop(key, None):
            gone.cancel()
            if not purge:
                azure.soft_deleted.add(key)

    where = space.region if space else group["location"]
    region = f"https://management.azure.com/subscriptions/{request.at['sub']}/providers/{ML}/locations/{where}"
    base = f"{region}/workspaceOperationsStatus/{start(azure, finish)}"
    return Reply(
        202,
        None,
        {
            **POLL,
            "Azure-AsyncOperation": f"{base}?api-version=2024-10-01-preview&type=async",
            "Location": f"{base}?api-version=2024-10-01-preview&type=location",
        },
    )


def _refused(azure: Azure, rg: str, name: str, region: str) -> dict[str, str] | None:
    if azure.deployment_error:
        return azure.deployment_error
    if azure.providers.get(ML.lower()) != "Registered":
        return {
            "code": "MissingSubscriptionRegistration",
            "message": f"The subscription is not registered to use namespace '{ML}'.",
        }
    if REGIONS.get(region) not in ML_REGIONS:
        return {
            "code": "LocationNotAvailableForResourceType",
            "message": f"The provided location '{region}' is not available for resource type '{ML}/workspaces'.",
        }
    if (rg.lower(), name.lower()) in azure.soft_deleted:
        message = f"Soft-deleted workspace exists. Please purge or recover it: {name}. https://aka.ms/wsoftdelete"
        return {"code": "Conflict", "message": message}
    return None


def _deployment_id(request: Request) -> str:
    group = f"/subscriptions/{request.at['sub']}/resourceGroups/{request.at['rg']}"
    return f"{group}/providers/Microsoft.Resources/deployments/{request.at['name']}"


def deploy(azure: Azure, request: Request) -> Reply:
    """Deploy the SDK's template: its parameters are read, the template itself is not."""
    group, asked = need_group(azure, request), request.json()
    refuse_without(azure, "Microsoft.Resources/deployments/write")
    given = {name: one.get("value") for name, one in asked["properties"].get("parameters", {}).items()}
    name, region = given["workspaceName"], given.get("location") or group["location"]
    path = _deployment_id(request)
    body = {
        "id": path,
        "name": request.at["name"],
        "type": "Microsoft.Resources/deployments",
        "properties": {
            "mode": "Incremental",
            "provisioningState": "Accepted",
            "duration": "PT0S",
            "timestamp": azure.now(),
            "correlationId": str(uuid.uuid4()),
        },
    }
    azure.deployments[path.lower()] = {"body": body, "error": None, "name": name}

    def finish() -> dict[str, Any] | None:
        inner = _refused(azure, request.at["rg"], name, region)
        state = "Failed" if inner else "Succeeded"
        body["properties"] |= {"provisioningState": state, "duration": "PT3S", "timestamp": azure.now()}  # type: ignore[operator]
        azure.deployments[path.lower()]["error"] = inner
        if inner:
            return {
                "code": "DeploymentFailed",
                "message": "At least one resource deployment operation failed. Please list deployment operations.",
                "details": [inner],
            }
        names = {
            "storage": given.get("storageAccountName"),
            "vault": given.get("keyVaultName"),
            "logs": given.get("logAnalyticsName"),
            "insights": given.get("applicationInsightsName"),
        }
        make(
            azure,
            request.at["sub"],
            request.at["rg"],
            name,
            region,
            tags=given.get("tagValues"),
            friendly=given.get("friendlyName"),
            description=given.get("description"),
            kind=given.get("kind"),
            dependents=names,
        )
        return None

    held = azure.operations_held or azure.slowness > 1
    if not held and not _refused(azure, request.at["rg"], name, region):
        finish()  # done in the first answer: while it is not, the SDK sleeps for five seconds
        return Reply(201, without_null(body))
    polls = start(azure, finish, ("Accepted", "Running"))
    status = f"https://management.azure.com{path}/operationStatuses/{polls}?api-version=2020-06-01"
    return Reply(201, without_null(body), {**POLL, "Azure-AsyncOperation": status})


def _deployment(azure: Azure, request: Request) -> dict[str, Any]:
    need_group(azure, request)
    path = _deployment_id(request)
    known = azure.deployments.get(path.lower())
    if known is None:
        raise RefusalError(404, "DeploymentNotFound", f"Deployment '{request.at['name']}' could not be found.")
    return known


def deployment(azure: Azure, request: Request) -> Reply:
    """One deployment."""
    return Reply(200, _deployment(azure, request)["body"])


def deployment_operations(azure: Azure, request: Request) -> Reply:
    """What a deployment has done so far."""
    known = _deployment(azure, request)
    state, error = known["body"]["properties"]["provisioningState"], known["error"]
    group, steps = known["body"]["id"].split("/providers/")[0], []
    for kind, name in (*(pair for pair in DEPENDENTS.values()), (f"{ML}/workspaces", known["name"])):
        last = kind.endswith("MachineLearningServices/workspaces")
        own = "Failed" if error and last else "Succeeded" if state in ("Succeeded", "Failed") else "Running"
        properties: dict[str, Any] = {
            "provisioningOperation": "Create", "provisioningState": own, "duration": "PT1S", "timestamp": azure.now(),
            "statusCode": "Conflict" if own == "Failed" else "OK",
            "targetResource": {"id": f"{group}/providers/{kind}/{name}", "resourceType": kind, "resourceName": name},
        }  # fmt: skip
        if own == "Failed":
            properties["statusMessage"] = {"error": error}
        identity = uuid.uuid5(uuid.NAMESPACE_URL, kind).hex.upper()[:16]
        steps.append(
            {"id": f"{known['body']['id']}/operations/{identity}", "operationId": identity, "properties": properties}
        )
    return page(azure, request, steps)
