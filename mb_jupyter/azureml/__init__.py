"""The only room that imports ``azure.*``, and only inside functions.

What comes out are plain values and :class:`mb_jupyter.errors.AzureError`. A :class:`Connection` is a
credential and a :class:`Place`; it asks nothing before it is used.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import arm
from .quiet import quiet
from .signin import ARM_SCOPE, Account, OnCode, sign_in
from .translate import translated

if TYPE_CHECKING:
    from .arm import Arm

__all__ = [
    "ARM_SCOPE",
    "STORAGE_SCOPE",
    "TAGS",
    "Account",
    "Connection",
    "OnCode",
    "Place",
    "WorkspaceFacts",
    "connect",
    "sign_in",
]

STORAGE_SCOPE = "https://storage.azure.com/.default"
WORKSPACE_VERSION = "2023-08-01-preview"
TAGS = {"createdBy": "mb_jupyter"}
"""On everything that is made in a subscription, so that it can be found and removed."""


@dataclass(frozen=True)
class Place:
    """Where something is in Azure; ``region`` and ``tenant`` may be empty, then they are looked up."""

    subscription: str
    resource_group: str = ""
    workspace: str = ""
    region: str = ""
    tenant: str = ""

    @property
    def group_path(self) -> str:
        """The resource group as a path of Azure Resource Manager."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"

    @property
    def workspace_path(self) -> str:
        """The workspace as a path of Azure Resource Manager."""
        return f"{self.group_path}/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"


@dataclass(frozen=True)
class WorkspaceFacts:
    """What the service tells of a workspace. ``guid`` is the service's own id, which container names use.

    ``kind`` is Default, Hub, Project or FeatureStore; ``isolation`` is that of the network its nodes are in,
    ``public_access`` whether the workspace takes requests from the internet.
    """

    id: str
    name: str
    region: str
    guid: str
    mlflow_url: str
    discovery_url: str
    tenant: str = ""
    state: str = ""
    datastore_auth: str = ""
    kind: str = ""
    isolation: str = ""
    public_access: str = ""

    @property
    def has_closed_nodes(self) -> bool:
        """Tell whether its nodes reach only what somebody has approved, and so perhaps no package index."""
        return self.isolation.casefold() == "allowonlyapprovedoutbound"

    @property
    def data_plane(self) -> str:
        """``https://<region>.api.azureml.ms``: run history, metrics."""
        return self.discovery_url.removesuffix("/").removesuffix("/discovery")

    @property
    def mlflow_api(self) -> str:
        """The workspace's MLflow routes, to which ``/runs/get`` and the others are added."""
        url = self.mlflow_url.replace("azureml://", "https://", 1).replace("/mlflow/v1.0/", "/mlflow/v2.0/", 1)
        return f"{url}/api/2.0/mlflow"


class Connection:
    """A credential and a place. Threads may share it."""

    def __init__(self, credential: Any, place: Place) -> None:
        self.credential = credential
        self.place = place

    @cached_property
    def arm(self) -> Arm:
        """Requests to Azure Resource Manager and to the workspace's own routes."""
        from .arm import Arm

        return Arm(self.credential)

    @cached_property
    def client(self) -> Any:
        """The SDK's client, silent and without its reports to Microsoft. Importing it takes two seconds."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            from azure.ai.ml import MLClient
        quiet()
        place = self.place
        with translated("opening the workspace"):
            return MLClient(
                self.credential,
                place.subscription,
                place.resource_group or None,
                place.workspace or None,
                enable_telemetry=False,
                connection_timeout=arm.CONNECT_SECONDS,
                read_timeout=arm.READ_SECONDS,
            )

    @cached_property
    def facts(self) -> WorkspaceFacts:
        """What the service tells of the workspace; asked once."""
        with translated("opening the workspace"):
            return workspace_facts(self.arm.get(self.place.workspace_path, WORKSPACE_VERSION))

    def token(self, scope: str = ARM_SCOPE) -> str:
        """Return a token, fresh for some minutes at least; never shown, never written."""
        with translated("signing in"):
            token: str = self.credential.get_token(scope).token
        return token


def connect(how: str, place: Place, on_code: OnCode | None = None) -> Connection:
    """Return a connection for the account that ``how`` names (``cli``, ``environment``, ``managed``, ``device``)."""
    return Connection(sign_in(how, place.tenant or None, on_code).credential, place)


def workspace_facts(answer: dict[str, Any]) -> WorkspaceFacts:
    """Return the facts in a workspace as the service describes it."""
    inside = answer.get("properties") or {}
    return WorkspaceFacts(
        id=str(answer.get("id", "")),
        name=str(answer.get("name", "")),
        region=str(answer.get("location", "")),
        guid=str(inside.get("workspaceId", "")),
        mlflow_url=str(inside.get("mlFlowTrackingUri", "")),
        discovery_url=str(inside.get("discoveryUrl", "")),
        tenant=str((answer.get("identity") or {}).get("tenantId", "")),
        state=str(inside.get("provisioningState", "")),
        datastore_auth=str(inside.get("systemDatastoresAuthMode", "")),
        kind=str(answer.get("kind", "")),
        isolation=str((inside.get("managedNetwork") or {}).get("isolationMode", "")),
        public_access=str(inside.get("publicNetworkAccess", "")),
    )
