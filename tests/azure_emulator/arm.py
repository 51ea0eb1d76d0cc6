"""Azure Resource Manager: subscriptions, regions, resource groups, providers, roles, and long operations."""

from __future__ import annotations

import copy
import fnmatch
import itertools
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .messages import RefusalError, Reply, Request

if TYPE_CHECKING:
    from .emulator import Azure

REGIONS = {
    "westeurope": "West Europe", "northeurope": "North Europe", "eastus": "East US", "eastus2": "East US 2",
    "westus2": "West US 2", "germanywestcentral": "Germany West Central", "uksouth": "UK South",
    "swedencentral": "Sweden Central", "japaneast": "Japan East", "australiaeast": "Australia East",
}  # fmt: skip
POLL = {"retry-after-ms": "20"}
ML = "Microsoft.MachineLearningServices"
ML_REGIONS = [name for region, name in REGIONS.items() if region != "japaneast"]


@dataclass
class Operation:
    """Something that takes a while: answers ``steps`` and, at the last one, happens."""

    steps: list[str]
    finish: Callable[[], dict[str, Any] | None]  # returns Azure's error object when it failed
    answer: dict[str, Any] | None = None


def start(azure: Azure, finish: Callable[[], dict[str, Any] | None], steps: Iterable[str] = ("InProgress",)) -> str:
    """Begin an operation and return its id."""
    name = str(uuid.uuid4())
    azure.operations[name] = Operation([*steps] * azure.slowness, finish)
    return name


def _advance(azure: Azure, request: Request) -> dict[str, Any]:
    operation = azure.operations.get(request.at["id"])
    if operation is None:
        raise RefusalError(404, "OperationNotFound", "The operation was not found.")
    if operation.steps:
        return {"status": operation.steps[0] if azure.operations_held else operation.steps.pop(0)}
    if operation.answer is None:
        error = operation.finish()
        operation.answer = (
            {"status": "Failed", "error": error} if error else {"status": "Succeeded", "percentComplete": 100.0}
        )
    return operation.answer


def operation(azure: Azure, request: Request) -> Reply:
    """Answer a poll of an ``Azure-AsyncOperation``, by its body."""
    login_check(azure, request)
    return Reply(200, _advance(azure, request), dict(POLL))


def location_result(azure: Azure, request: Request) -> Reply:
    """Answer a poll of a ``Location``, by its status."""
    login_check(azure, request)
    state = _advance(azure, request)["status"]
    if state == "Succeeded":
        return Reply(200)
    return Reply(202, None, {**POLL, "Location": f"https://{request.host}{request.target}"})


ROLES: dict[str, dict[str, list[str]]] = {
    "Owner": {"actions": ["*"]},
    "Contributor": {
        "actions": ["*"],
        "notActions": ["Microsoft.Authorization/*/Write", "Microsoft.Authorization/*/Delete"],
    },
    "Reader": {"actions": ["*/read"]},
}


def _rights(azure: Azure) -> dict[str, list[str]]:
    role = ROLES[azure.role] if isinstance(azure.role, str) else azure.role
    return {"actions": [], "notActions": [], "dataActions": [], "notDataActions": [], **role}


def refuse_without(azure: Azure, *actions: str) -> None:
    """Refuse what takes one of the actions to a user whose role has none of them."""
    role = _rights(azure)

    def matches(action: str, key: str) -> bool:
        return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in role[key])

    if not any(matches(action, "actions") and not matches(action, "notActions") for action in actions):
        message = f"The client '{azure.user}' does not have authorization to perform action '{actions[0]}'."
        raise RefusalError(403, "AuthorizationFailed", message)


def refuse_narrow(azure: Azure, request: Request) -> None:
    """Refuse what belongs to the whole subscription to someone whose role is of a resource group."""
    login_check(azure, request)
    if azure.role_of_group:
        message = f"The client '{azure.user}' does not have authorization over scope '{request.path}'."
        raise RefusalError(403, "AuthorizationFailed", message)


def login_check(azure: Azure, request: Request) -> None:
    """Refuse without a token that holds, and refuse a subscription that is not the user's."""
    from .login import check

    check(azure, request)
    sub = request.at.get("sub")
    if sub and sub.lower() not in azure.subscriptions:
        raise RefusalError(404, "SubscriptionNotFound", f"The subscription '{sub}' could not be found.")


def without_null(value: Any) -> Any:
    """Return a copy without members that are null: ARM leaves them out."""
    if isinstance(value, dict):
        return {name: without_null(one) for name, one in value.items() if one is not None}
    return [without_null(one) for one in value] if isinstance(value, list) else copy.copy(value)


def page(azure: Azure, request: Request, items: list[Any]) -> Reply:
    """Return a list, in pages of ``azure.page_size`` with ``nextLink`` where that is set."""
    items, size = without_null(items), azure.page_size or max(1, len(items))
    begin = int(request.query.get("$skipToken", request.query.get("%24skipToken", 0)))
    body: dict[str, Any] = {"value": items[begin : begin + size]}
    if begin + size < len(items):
        rest = "&".join(f"{name}={value}" for name, value in request.query.items() if "skipToken" not in name)
        body["nextLink"] = f"https://{request.host}{request.path}?{rest}&$skipToken={begin + size}"
    return Reply(200, body)


def tenants(azure: Azure, request: Request) -> Reply:
    """The tenants a user belongs to."""
    login_check(azure, request)
    body = {"id": f"/tenants/{azure.tenant}", "tenantId": azure.tenant, "displayName": "Example",
            "countryCode": "DE", "defaultDomain": "example.org", "tenantCategory": "Home"}  # fmt: skip
    return page(azure, request, [body])


def _subscription(azure: Azure, sub: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{sub}",
        "subscriptionId": sub,
        "displayName": azure.subscriptions[sub],
        "state": "Enabled",
        "tenantId": azure.tenant,
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def subscriptions(azure: Azure, request: Request) -> Reply:
    """All subscriptions."""
    login_check(azure, request)
    return page(azure, request, [_subscription(azure, sub) for sub in azure.subscriptions])


def subscription(azure: Azure, request: Request) -> Reply:
    """One subscription."""
    login_check(azure, request)
    return Reply(200, _subscription(azure, request.at["sub"].lower()))


def locations(azure: Azure, request: Request) -> Reply:
    """All regions of a subscription; never in pages."""
    refuse_narrow(azure, request)
    base = f"/subscriptions/{request.at['sub']}/locations"
    kind = {"regionType": "Physical", "regionCategory": "Recommended"}
    named = [{"name": name, "displayName": shown, "regionalDisplayName": shown} for name, shown in REGIONS.items()]
    return Reply(
        200, {"value": [{"id": f"{base}/{one['name']}", "type": "Region", **one, "metadata": kind} for one in named]}
    )


def need_group(azure: Azure, request: Request) -> dict[str, Any]:
    """Return the resource group of a path, or refuse."""
    login_check(azure, request)
    group = azure.groups.get(request.at["rg"].lower())
    if group is None:
        raise RefusalError(404, "ResourceGroupNotFound", f"Resource group '{request.at['rg']}' could not be found.")
    return group


def groups(azure: Azure, request: Request) -> Reply:
    """All resource groups."""
    login_check(azure, request)
    return page(azure, request, [group for group in azure.groups.values() if f"/{request.at['sub']}/" in group["id"]])


def group(azure: Azure, request: Request) -> Reply:
    """One resource group."""
    return Reply(200, need_group(azure, request))


def group_exists(azure: Azure, request: Request) -> Reply:
    """Whether a resource group exists."""
    login_check(azure, request)
    return Reply(204 if request.at["rg"].lower() in azure.groups else 404)


def put_group(azure: Azure, request: Request) -> Reply:
    """Create or change a resource group; its region stays."""
    login_check(azure, request)
    name, asked = request.at["rg"], request.json()
    known = azure.groups.get(name.lower())
    region = asked.get("location", "").lower().replace(" ", "")
    if known is None and region not in REGIONS:
        raise RefusalError(
            400, "LocationNotAvailableForResourceGroup", f"The provided location '{region}' is not available."
        )
    if known is not None and region and known["location"] != region:
        where = known["location"]
        raise RefusalError(
            409, "InvalidResourceGroupLocation", f"The resource group already exists in location '{where}'."
        )
    made = azure.make_group(name, region or known["location"], asked.get("tags"), sub=request.at["sub"])  # type: ignore[index]
    return Reply(200 if known else 201, made)


def delete_group(azure: Azure, request: Request) -> Reply:
    """Delete a resource group with all that is in it."""
    need_group(azure, request)
    name = request.at["rg"].lower()

    def finish() -> None:
        azure.groups.pop(name, None)
        for space in [key for key in azure.workspaces if key[0] == name]:
            azure.workspaces.pop(space).cancel()
        for identity in [key for key in azure.resources if f"/resourcegroups/{name}/" in key]:
            azure.resources.pop(identity)

    base = f"https://management.azure.com/subscriptions/{request.at['sub']}/operationresults"
    where = f"{base}/{start(azure, finish)}?api-version=2020-06-01"
    return Reply(202, None, {**POLL, "Location": where})


def _provider(azure: Azure, request: Request, name: str) -> dict[str, Any]:
    state = azure.providers.get(name.lower(), "NotRegistered")
    kinds = (
        [
            {"resourceType": kind, "locations": ML_REGIONS, "apiVersions": ["2024-10-01", "2024-04-01"]}
            for kind in ("workspaces", "workspaces/computes")
        ]
        if name.lower() == ML.lower()
        else []
    )
    return {"id": f"/subscriptions/{request.at['sub']}/providers/{name}", "namespace": name, "resourceTypes": kinds,
            "registrationState": state, "registrationPolicy": "RegistrationRequired"}  # fmt: skip


def providers(azure: Azure, request: Request) -> Reply:
    """All providers."""
    refuse_narrow(azure, request)
    return page(azure, request, [_provider(azure, request, name) for name in PROVIDERS])


def provider(azure: Azure, request: Request) -> Reply:
    """One provider; one that is registering is registered at the second look."""
    refuse_narrow(azure, request)
    name = request.at["provider"]
    body = _provider(azure, request, next((known for known in PROVIDERS if known.lower() == name.lower()), name))
    if body["registrationState"] == "Registering":
        azure.providers[name.lower()] = "Registered"
    return Reply(200, body)


def register(azure: Azure, request: Request) -> Reply:
    """Begin to register a provider."""
    refuse_narrow(azure, request)
    name = request.at["provider"]
    if azure.providers.get(name.lower()) != "Registered":
        azure.providers[name.lower()] = "Registering"
    return Reply(200, _provider(azure, request, name))


PROVIDERS = (ML, "Microsoft.Storage", "Microsoft.KeyVault", "Microsoft.Insights", "Microsoft.OperationalInsights",
             "Microsoft.ContainerRegistry", "Microsoft.Compute")  # fmt: skip


def permissions(azure: Azure, request: Request) -> Reply:
    """What the user may do at a scope."""
    login_check(azure, request)
    return page(azure, request, [_rights(azure)])


ROLE_IDS = {"Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
            "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7"}  # fmt: skip
CUSTOM_ROLE = str(uuid.UUID(int=8))


def role_assignments(azure: Azure, request: Request) -> Reply:
    """The roles given to the user at a scope: one, for the subscription."""
    login_check(azure, request)
    sub = next(iter(azure.subscriptions))
    base, name = f"/subscriptions/{sub}/providers/Microsoft.Authorization", str(uuid.UUID(int=7))
    return page(
        azure,
        request,
        [
            {
                "id": f"{base}/roleAssignments/{name}",
                "name": name,
                "type": "Microsoft.Authorization/roleAssignments",
                "properties": {
                    "roleDefinitionId": f"{base}/roleDefinitions/{ROLE_IDS.get(str(azure.role), CUSTOM_ROLE)}",
                    "principalId": azure.user_id,
                    "principalType": "User",
                    "scope": f"/subscriptions/{sub}",
                },
            }
        ],
    )


def resources(azure: Azure, request: Request) -> Reply:
    """What a subscription or a group holds, perhaps only what has a tag."""
    login_check(azure, request)
    inside = f"/resourcegroups/{request.at['rg'].lower()}/" if "rg" in request.at else ""
    workspaces = [
        without_null({name: space.body.get(name) for name in ("id", "name", "type", "location", "tags", "kind")})
        for space in azure.workspaces.values()
    ]
    found = [one for one in itertools.chain(workspaces, azure.resources.values()) if inside in one["id"].lower()]
    for clause in request.query.get("$filter", "").split(" and "):
        name, _, value = (part.strip(" '") for part in clause.partition(" eq "))
        if name == "tagName":
            found = [one for one in found if value in (one.get("tags") or {})]
        elif name == "tagValue":
            found = [one for one in found if value in (one.get("tags") or {}).values()]
        elif name == "resourceType":
            found = [one for one in found if one["type"].lower() == value.lower()]
    return page(azure, request, found)


def resource(azure: Azure, request: Request) -> Reply:
    """A storage account, key vault or anything else that a deployment made."""
    need_group(azure, request)
    if request.path.lower() not in azure.resources:
        raise RefusalError(404, "ResourceNotFound", f"The Resource '{request.at['rest']}' was not found.")
    return Reply(200, azure.resources[request.path.lower()])


def delete_resource(azure: Azure, request: Request) -> Reply:
    """Delete one of those."""
    need_group(azure, request)
    return Reply(200 if azure.resources.pop(request.path.lower(), None) else 204)
