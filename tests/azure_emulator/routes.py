"""The route table. A pattern names its parts in braces; ``{name*}`` may hold slashes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import arm, assets, computes, history, jobs, login, mlflow, workspaces
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
DP = "{region}.api.azureml.ms"
WS = "/subscriptions/{sub}/resourceGroups/{rg}" + ML + "/workspaces/{ws}"
HISTORY = DP + "/history/v1.0" + WS
EXPERIMENT = HISTORY + "/experiments/{experiment}"
FLOW = DP + "/mlflow/v{version}" + WS + "/api/2.0/mlflow"
LOC = S + ML + "/locations/{region}"

ROUTES: tuple[tuple[str, str, Function], ...] = (
    # signing in
    ("GET", LOGIN + "/v2.0/.well-known/openid-configuration", login.openid),
    ("GET", LOGIN + "/discovery/instance", login.instances),
    ("GET", LOGIN + "/UserRealm/{user}", login.realm),
    ("POST", LOGIN + "/oauth2/v2.0/devicecode", login.device_code),
    ("POST", LOGIN + "/oauth2/v2.0/token", login.token),
    ("GET", "169.254.169.254/metadata/identity/oauth2/token", login.managed_identity),
    ("GET", "169.254.169.254/obo/token", login.on_behalf),
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
    # datastores and assets
    ("GET", W + "/datastores", assets.datastores),
    ("GET", W + "/datastores/{name}", assets.datastore),
    ("POST", W + "/datastores/{name}/listSecrets", assets.secrets),
    # jobs
    ("GET", W + "/jobs", jobs.listing),
    ("GET", W + "/jobs/{name}", jobs.get),
    ("PUT", W + "/jobs/{name}", jobs.put),
    ("DELETE", W + "/jobs/{name}", jobs.delete),
    ("POST", W + "/jobs/{name}/cancel", jobs.cancel),
    ("GET", LOC + "/mfeOperationResults/{id}", jobs.operation_result),
    # code, data, environments, models
    ("GET", W + "/{kind}", assets.containers),
    ("GET", W + "/{kind}/{name}", assets.container),
    ("GET", W + "/{kind}/{name}/versions", assets.versions),
    ("GET", W + "/{kind}/{name}/versions/{version}", assets.version),
    ("PUT", W + "/{kind}/{name}/versions/{version}", assets.put_version),
    ("POST", W + "/{kind}/{name}/versions/{version}/startPendingUpload", assets.pending_upload),
    # the data plane: run history, artifacts
    ("GET", DP + "/discovery", history.discovery),
    ("GET", DP + "/discovery/{rest*}", history.discovery),
    ("POST", HISTORY + "/rundata", history.run_data),
    ("GET", HISTORY + "/runs/{name}", history.run),
    ("GET", HISTORY + "/runs/{name}/details", history.details),
    ("POST", HISTORY + "/experiments:query", history.experiments),
    ("GET", EXPERIMENT, history.experiment),
    ("POST", EXPERIMENT, history.experiment),
    ("POST", EXPERIMENT + "/runs:query", history.runs),
    ("GET", EXPERIMENT + "/runs/{name}", history.run),
    ("PATCH", EXPERIMENT + "/runs/{name}", history.patch),
    ("GET", EXPERIMENT + "/runs/{name}/details", history.details),
    ("GET", EXPERIMENT + "/runs/{name}/artifacts", history.artifacts),
    ("GET", EXPERIMENT + "/runs/{name}/artifacts/contentinfo", history.content),
    ("POST", EXPERIMENT + "/runs/{name}/artifacts/batch/metadata", history.upload_links),
    ("POST", DP + "/data/v1.0" + WS + "/dataversion/batchGetResolvedUris", history.resolve),
    # MLflow, under v1.0 and v2.0
    ("GET", FLOW + "/runs/get", mlflow.get_run),
    ("POST", FLOW + "/runs/search", mlflow.search_runs),
    ("GET", FLOW + "/metrics/get-history", mlflow.history),
    ("POST", FLOW + "/runs/log-metric", mlflow.log_metric),
    ("POST", FLOW + "/runs/log-batch", mlflow.log_batch),
    ("POST", FLOW + "/runs/log-parameter", mlflow.log_parameter),
    ("POST", FLOW + "/runs/set-tag", mlflow.set_tag),
    ("POST", FLOW + "/runs/delete-tag", mlflow.delete_tag),
    ("POST", FLOW + "/runs/update", mlflow.update_run),
    ("GET", FLOW + "/experiments/get", mlflow.experiment),
    ("GET", FLOW + "/experiments/get-by-name", mlflow.experiment),
    ("POST", FLOW + "/experiments/create", mlflow.create_experiment),
    ("GET", FLOW + "/experiments/search", mlflow.search_experiments),
    ("POST", FLOW + "/experiments/search", mlflow.search_experiments),
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
