"""Datastores, code, data and environments, and the place where the SDK uploads code."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from .arm import ML, page, refuse_without, without_null
from .messages import RefusalError, Reply, Request
from .workspaces import Workspace, need

if TYPE_CHECKING:
    from .emulator import Azure

KINDS = ("codes", "data", "environments", "models")


def _system(azure: Azure) -> dict[str, str]:
    return {
        "createdAt": azure.now(),
        "createdBy": "Ada Example",
        "createdByType": "User",
        "lastModifiedAt": azure.now(),
    }


# --- datastores -----------------------------------------------------------------------------------


def default_datastores(azure: Azure, space: Workspace) -> dict[str, dict[str, Any]]:
    """Return the two every workspace has."""
    containers = {
        "workspaceblobstore": f"azureml-blobstore-{space.guid}",
        "workspaceartifactstore": "azureml",
    }
    return {name: _datastore(azure, space, name, where) for name, where in containers.items()}


def _datastore(azure: Azure, space: Workspace, name: str, container: str) -> dict[str, Any]:
    properties = {
        "datastoreType": "AzureBlob",
        "isDefault": name == "workspaceblobstore",
        "accountName": azure.azurite.account,
        "containerName": container,
        "endpoint": "core.windows.net",
        "protocol": "https",
        "credentials": {"credentialsType": azure.datastore_credentials},
        "serviceDataAccessAuthIdentity": "None",
        "tags": {},
        "properties": {},
    }
    return {
        "id": f"{space.id}/datastores/{name}",
        "name": name,
        "type": f"{ML}/workspaces/datastores",
        "systemData": _system(azure),
        "properties": properties,
    }


def container_of(space: Workspace, datastore: str) -> str:
    """Return the container behind a datastore."""
    body = space.datastores.get(datastore)
    if body is None:
        raise RefusalError(404, "UserError", f"Could not find datastore: {datastore}")
    return str(body["properties"]["containerName"])


def datastores(azure: Azure, request: Request) -> Reply:
    """All datastores, or only the default."""
    found = list(need(azure, request).datastores.values())
    if request.query.get("isDefault", "").lower() == "true":
        found = [one for one in found if one["properties"]["isDefault"]]
    return page(azure, request, found)


def datastore(azure: Azure, request: Request) -> Reply:
    """One datastore; asking for it makes its container, as the making of a real workspace does."""
    space, name = need(azure, request), request.at["name"]
    azure.azurite.container(container_of(space, name))
    return Reply(200, without_null(space.datastores[name]))


def secrets(azure: Azure, request: Request) -> Reply:
    """What opens a datastore: a signature for an hour, or the account's key."""
    space, name = need(azure, request), request.at["name"]
    container = container_of(space, name)
    kind = space.datastores[name]["properties"]["credentials"]["credentialsType"]
    if kind == "None":
        raise RefusalError(400, "UserError", "No secrets for credentials of type None.")
    if kind == "AccountKey":
        return Reply(200, {"secretsType": "AccountKey", "key": azure.azurite.key})
    return Reply(200, {"secretsType": "Sas", "sasToken": azure.azurite.sas(container, seconds=azure.sas_lifetime)})


# --- versions of code, data and environments ----------------------------------------------------------


def _key(request: Request) -> tuple[str, str, str]:
    at = request.at
    if at["kind"] not in KINDS:
        raise RefusalError(404, "EmulatorNoRoute", f"The stand-in has no {at['kind']}")
    return at["kind"], at["name"], at.get("version", "")


def _of(space: Workspace, request: Request) -> list[dict[str, Any]]:
    kind, name, _ = _key(request)
    return [body for key, body in space.assets.items() if key[:2] == (kind, name)]


def containers(azure: Azure, request: Request) -> Reply:
    """The names of a kind."""
    space, kind = need(azure, request), request.at["kind"]
    names = dict.fromkeys(name for one, name, _ in space.assets if one == kind)
    return page(azure, request, [_container(azure, space, kind, name) for name in names])


def _container(azure: Azure, space: Workspace, kind: str, name: str) -> dict[str, Any]:
    versions = [version for one, known, version in space.assets if (one, known) == (kind, name)]
    properties = {"isArchived": False, "latestVersion": versions[-1], "nextVersion": str(len(versions) + 1)}
    if kind == "data":
        properties["dataType"] = space.assets[kind, name, versions[-1]]["properties"]["dataType"]
    identity = f"{space.id}/{kind}/{name}"
    return {"id": identity, "name": name, "type": f"{ML}/workspaces/{kind}", "properties": properties}


def container(azure: Azure, request: Request) -> Reply:
    """One name, with its latest version."""
    space = need(azure, request)
    kind, name, _ = _key(request)
    if not _of(space, request):
        raise RefusalError(404, "UserError", f"Not found: {kind} {name}")
    return Reply(200, _container(azure, space, kind, name))


def versions(azure: Azure, request: Request) -> Reply:
    """All versions of a name, newest first; code can be asked for by its hash."""
    found = _of(need(azure, request), request)[::-1]
    if wanted := request.query.get("hash"):
        found = [one for one in found if one["properties"].get("properties", {}).get("hash_sha256") == wanted]
    if limit := request.query.get("$top"):
        found = found[: int(limit)]
    return page(azure, request, found)


def version(azure: Azure, request: Request) -> Reply:
    """One version."""
    body = need(azure, request).assets.get(_key(request))
    if body is None:
        raise RefusalError(404, "UserError", f"Not found: {' '.join(_key(request))}")
    return Reply(200, without_null(body))


def _refuse_to_write(azure: Azure, kind: str) -> None:
    # the table of rights calls code `metadata/codes`, the list of operations `codes`
    refuse_without(azure, f"{ML}/workspaces/{kind}/versions/write", f"{ML}/workspaces/metadata/{kind}/versions/write")


def put_version(azure: Azure, request: Request) -> Reply:
    """Register a version."""
    space, key = need(azure, request), _key(request)
    _refuse_to_write(azure, key[0])
    known, (kind, name, number) = key in space.assets, key
    properties = {
        "isArchived": False,
        "isAnonymous": False,
        "tags": {},
        "properties": {},
        **request.json()["properties"],
    }
    if kind == "environments":
        properties |= {"environmentType": "UserCreated", "osType": "Linux"}
    space.assets[key] = {
        "id": f"{space.id}/{kind}/{name}/versions/{number}",
        "name": number,
        "type": f"{ML}/workspaces/{kind}/versions",
        "systemData": _system(azure),
        "properties": properties,
    }
    return Reply(200 if known else 201, without_null(space.assets[key]))


def pending_upload(azure: Azure, request: Request) -> Reply:
    """Give a fresh container for what a version is made of."""
    space = need(azure, request)
    _refuse_to_write(azure, request.at["kind"])
    fresh = f"{space.guid[:10].rstrip('-')}-{uuid.uuid4()}"
    uri = f"https://{azure.azurite.account}.blob.core.windows.net:443/{fresh}"
    sas = azure.azurite.sas(fresh, "rcwl")
    return Reply(
        200,
        {
            "pendingUploadId": str(uuid.uuid4()),
            "pendingUploadType": request.json().get("pendingUploadType", "TemporaryBlobReference"),
            "blobReferenceForConsumption": {
                "blobUri": uri,
                "storageAccountArmId": space.body["properties"].get("storageAccount", ""),
                "credential": {"credentialType": "SAS", "sasUri": f"{uri}?{sas}"},
            },
        },
    )


# --- where a path leads -------------------------------------------------------------------------------


def locate(azure: Azure, space: Workspace, uri: str, *, identity: bool = True) -> tuple[str, str]:
    """Return container and prefix of an ``azureml://`` path, a blob's address or a data asset's id.

    Without an ``identity`` a datastore that has no key cannot be opened.
    """
    if match := re.search(r"/data/([^/]+)/versions/([^/]+)$", uri) or re.match(r"azureml:([^:/]+):([^:/]+)$", uri):
        body = space.assets.get(("data", match[1], match[2]))
        if body is None:
            raise LookupError(f"the data asset {match[1]}:{match[2]} is not registered")
        uri = body["properties"]["dataUri"]
    if match := re.search(r"/datastores/([^/]+)/paths/(.*)$", uri):
        container = container_of(space, match[1])
        if not identity and space.datastores[match[1]]["properties"]["credentials"]["credentialsType"] == "None":
            raise LookupError(f"PermissionDenied: the datastore {match[1]} has no credentials, the job no identity")
        return container, match[2]
    if match := re.match(rf"https://{azure.azurite.account}\.blob\.core\.windows\.net(?::443)?/([^/]+)/?(.*)$", uri):
        return match[1], match[2]
    raise LookupError(f"the stand-in cannot read {uri}")
