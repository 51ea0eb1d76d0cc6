"""The route table. A pattern names its parts in braces; ``{name*}`` may hold slashes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import arm, computes, login, workspaces
from .messages import RefusalError, Reply, Request

if TYPE_CHECKING:
    from .emulator import Azure

Function = Callable[["Azure", Request], Reply]

LOGIN = "login.microsoftonline.com/{tenant}"
ARM = "management.azure.com"
S = ARM + "/subscriptions/{sub}"
RG = S + "/resourceGroups/{rg}"
ML = "/providers/Microsoft.MachineLearningServices"
W = RG + ML + "/workspaces/{ws}"
LOC = S + ML + "/locations/{region}"

ROUTES: tuple[tuple[str, str, Function], ...] = (
    # signing in
    ("GET", LOGIN + "/v2.0/.well-known/openid-configuration", login.openid),
    ("GET", LOGIN + "/discovery/instance", login.instances),
    ("GET", LOGIN + "/UserRealm/{user}", login.realm),
    ("POST", LOGIN + "/oauth2/v2.0/devicecode", login.device_code),
    ("POST", LOGIN + "/oauth2/v2.0/token", login.token),
    ("GET", "169.254.169.254/metadata/identity/oauth2/token", login.managed_identity),
    # subscriptions, groups, providers, roles
    ("GET", ARM + "/tenants", arm.tenants),
    ("GET", ARM + "/subscriptions", arm.subscriptions),
    ("GET", S, arm.subscription),
    ("GET", S + "/locations", arm.locations),
    ("GET", S + "/resourceGroups", arm.groups),
    ("GET", RG, arm.group),
    ("HEAD", RG, arm.group_exists),
    ("PUT", RG, arm.put_group),
    ("PATCH", RG, arm.put_group),
    ("DELETE", RG, arm.delete_group),
    ("GET", S + "/operationresults/{id}", arm.location_result),
    ("GET", S + "/providers", arm.providers),
    ("GET", S + "/providers/{provider}", arm.provider),
    ("POST", S + "/providers/{provider}/register", arm.register),
    ("GET", ARM + "/{scope*}/providers/Microsoft.Authorization/permissions", arm.permissions),
    ("GET", ARM + "/{scope*}/providers/Microsoft.Authorization/roleAssignments", arm.role_assignments),
    ("GET", S + "/resources", arm.resources),
    ("GET", RG + "/resources", arm.resources),
    # workspaces
    ("GET", S + ML + "/workspaces", workspaces.listing),
    ("GET", RG + ML + "/workspaces", workspaces.listing),
    ("GET", W, workspaces.get),
    ("PUT", W, workspaces.put),
    ("PATCH", W, workspaces.patch),
    ("DELETE", W, workspaces.delete),
    ("GET", LOC + "/workspaceOperationsStatus/{id}", arm.operation),
    ("PUT", RG + "/providers/Microsoft.Resources/deployments/{name}", workspaces.deploy),
    ("GET", RG + "/providers/Microsoft.Resources/deployments/{name}", workspaces.deployment),
    ("GET", RG + "/providers/Microsoft.Resources/deployments/{name}/operationStatuses/{id}", arm.operation),
    ("GET", RG + "/deployments/{name}/operations", workspaces.deployment_operations),
    # computes
    ("GET", W + "/computes", computes.listing),
    ("GET", W + "/computes/{name}", computes.get),
    ("PUT", W + "/computes/{name}", computes.put),
    ("PATCH", W + "/computes/{name}", computes.patch),
    ("DELETE", W + "/computes/{name}", computes.delete),
    ("POST", W + "/computes/{name}/listNodes", computes.nodes),
    ("GET", LOC + "/computeOperationsStatus/{id}", arm.operation),
    ("GET", LOC + "/vmSizes", computes.sizes),
    ("GET", LOC + "/usages", computes.usages),
    ("GET", LOC + "/quotas", computes.quotas),
    # whatever else a resource group holds
    ("GET", RG + "/providers/{rest*}", arm.resource),
    ("DELETE", RG + "/providers/{rest*}", arm.delete_resource),
)  # fmt: skip


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)(\*?)\}", pattern)
    text = re.escape(parts[0])
    for name, star, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        text += f"(?P<{name}>{'.+' if star else '[^/]+'})" + re.escape(rest)
    return re.compile(text + "/?", re.IGNORECASE)


_TABLE = [(method, _compiled(pattern), function) for method, pattern, function in ROUTES]


def find(request: Request) -> tuple[Function, dict[str, str]]:
    """Return the function of the first route that matches, and the parts its pattern names."""
    where = request.host + re.sub("/{2,}", "/", request.path)
    for method, pattern, function in _TABLE:
        if method == request.method and (match := pattern.fullmatch(where)):
            return function, match.groupdict()
    raise RefusalError(404, "EmulatorNoRoute", f"The stand-in has no route for {request.method} {where}")
