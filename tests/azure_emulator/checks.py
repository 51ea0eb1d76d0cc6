"""What is asserted after each test: Microsoft's schemas hold, and no secret was shown."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import swagger
from .messages import Exchange

#: where the SDK or the service does not keep to the files: (method and path, the problem), both as patterns
KNOWN = (
    # an integer where the contract says a map of strings; the stand-in echoes it
    (r"(GET|PUT) .*/codes/", r"hash_version|is not of type 'string'|Unevaluated properties"),
    # younger than the files at hand
    (r"POST .*/listSecrets$", r"a body where none is taken: .'expirableSecret': True, 'expireAfterHours': 1"),
    # the only page of a list names no next one, whatever the file says
    (r"GET /(subscriptions|tenants)$", r"'nextLink' is a required property"),
)

#: described in no file that is at hand
UNDOCUMENTED = tuple(
    re.compile(one, re.IGNORECASE)
    for one in (
        r".*/operationStatuses/.*",
        r".*/computeOperationsStatus/.*",
        r".*/workspaceOperationsStatus/.*",
        r".*/operationresults/.*",
        r".*/mfeOperationResults/.*",
        r".*/providers/Microsoft\.Authorization/.*",
        r"/discovery.*",
        r"/mlflow/.*",
        r"/data/v1\.0/.*",
        r".*/providers/Microsoft\.(Storage|KeyVault|Insights|OperationalInsights|ContainerRegistry)/.*",
        r"/history/.*/(rundata|runs/[^/]+(/details)?)",
    )
)


def violations(exchanges: Iterable[Exchange]) -> list[str]:
    """Return everything that is not as Microsoft's files say, each once."""
    found: dict[str, None] = {}
    for one in exchanges:
        if one.reply and one.status == 404 and "EmulatorNoRoute" in json.dumps(one.reply):
            found[f"{one}: the stand-in has no such route"] = None
        if not (one.host == "management.azure.com" or one.host.endswith(".api.azureml.ms")):
            continue
        for problem in _of(one):
            what = f"{one.method} {one.path}"
            if not any(re.search(where, what) and re.search(text, problem) for where, text in KNOWN):
                found[f"{what} {one.api_version} -> {one.status}: {problem}"] = None
    return list(found)


def _of(one: Exchange) -> list[str]:
    spoilt = one.fault not in ("", "status", "lost")
    asked = (one.host, one.method, one.path, one.api_version)
    return list(_checked(asked, 0 if spoilt else one.status, _text(one.request), _text(one.reply)))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@functools.lru_cache(4096)  # a poll is answered with the same words many times
def _checked(asked: tuple[str, str, str, str], status: int, request: str, reply: str) -> tuple[str, ...]:
    operation = swagger.find(*asked)
    if operation is None:
        known = any(one.fullmatch(asked[2]) for one in UNDOCUMENTED)
        return () if known else ("no swagger file describes this operation",)
    return (*_request(operation, asked, json.loads(request)), *_reply(operation, status, json.loads(reply)))


def _request(operation: swagger.Operation, asked: tuple[str, str, str, str], body: Any) -> list[str]:
    _, method, path, version = asked
    parameters = [_resolved(operation, one) for one in operation.spec.get("parameters", [])]
    schema = next((one["schema"] for one in parameters if one.get("in") == "body"), None)
    if schema is None or body is None:
        taken = body in (None, {}) or schema
        return [] if taken else [f"request: a body where none is taken: {str(body)[:100]}"]
    found = [f"request: {problem}" for problem in swagger.problems(operation, "request", schema, body)]
    if method == "PUT" and re.search(r"/workspaces/[^/]+/jobs/[^/]+$", path):
        more = swagger.arm_problems(version, "workspaces_jobs", body["properties"])
        found += [f"request (ARM schema): {problem}" for problem in more]
    return found


def _resolved(operation: swagger.Operation, node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    where, _, pointer = node["$ref"].partition("#")
    found: Any = swagger._read((operation.file.parent / where).resolve() if where else operation.file)
    for part in pointer.strip("/").split("/"):
        found = found[part]
    # what it refers to is told from its own file
    return (
        {**found, "schema": {"$ref": _from(where, found["schema"]["$ref"])}}
        if "$ref" in found.get("schema", {})
        else dict(found)
    )


def _from(where: str, reference: str) -> str:
    return where + reference if where and reference.startswith("#") else reference


def _reply(operation: swagger.Operation, status: int, body: Any) -> list[str]:
    if not status:
        return []
    answers = operation.spec["responses"]
    if str(status) not in answers and status < 400:
        return [f"reply: status {status} is not one of {', '.join(answers)}"]
    schema = answers.get(str(status), answers.get("default", {})).get("schema")
    if body is None or schema is None:
        return [] if body is None or status >= 400 else ["reply: a body where none is told of"]
    return [f"reply: {problem}" for problem in swagger.problems(operation, "reply", schema, body)]


# --- secrets --------------------------------------------------------------------------------------------


def secrets_in(text: str, secrets: Iterable[str]) -> list[str]:
    """Return the beginnings of the secrets that a text shows."""
    return [f"{secret[:6]}... ({len(secret)} characters)" for secret in secrets if secret and secret in text]


def secrets_in_files(folder: Path, secrets: list[str]) -> list[str]:
    """Return the files below a folder that hold a secret, pictures and models aside."""
    found = []
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_size < 4_000_000:
            shown = secrets_in(file.read_bytes().decode("utf-8", "ignore"), secrets)
            found += [f"{file}: {one}" for one in shown]
    return found
