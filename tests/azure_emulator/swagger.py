"""Microsoft's swagger files, read as JSON Schema: what an operation takes and what it answers.

Swagger 2.0 says some things in its own words. They are translated: ``discriminator`` to if/then, ``x-nullable``
to "or null", enums without regard to case, ``required`` without what only the other side sends. Every object is
closed, so that a member Microsoft does not know is found.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Side = Literal["request", "reply"]

FOLDER = (Path(__file__).parents[3] / "shared" / "openapi").resolve()
ML = "specification/machinelearningservices/resource-manager/Microsoft.MachineLearningServices"
NEAREST = "preview/2024-04-01-preview"  # the youngest that is at hand, for younger versions
ML_FILES = ("workspaceRP.json", "machineLearningServices.json", "mfe.json")
ARM = "specification/resources/resource-manager/Microsoft.Resources/stable"
DATA_PLANE = "specification/machinelearningservices/data-plane/Microsoft.MachineLearningServices/preview/2019-09-30"
COMMON = "https://schema.management.azure.com/schemas/common/definitions.json"
KEPT = (
    "type",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "multipleOf",
)


@dataclass(frozen=True)
class Operation:
    """One operation of a swagger file."""

    file: Path
    path: str
    spec_text: str

    @property
    def spec(self) -> dict[str, Any]:
        """What the file says of it."""
        return json.loads(self.spec_text)


@functools.cache
def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8"))


def files_for(host: str, path: str, version: str) -> list[Path]:
    """Return the files that describe a path in a version, or the nearest there are."""
    if host.endswith(".api.azureml.ms"):
        return [FOLDER / DATA_PLANE / "runHistory.json"] if path.startswith("/history/") else []
    if re.search("/providers/microsoft.machinelearningservices/(workspaces|locations)", path.lower()):
        exact = [FOLDER / ML / kind / version for kind in ("preview", "stable")]
        folder = next((one for one in exact if one.is_dir()), FOLDER / ML / NEAREST)
        return [file for name in ML_FILES if (file := folder / name).is_file()]
    exact = [FOLDER / ARM / version]
    folder = exact[0] if exact[0].is_dir() else FOLDER / ARM / "2024-03-01"
    return [*sorted(folder.glob("*.json")), FOLDER / ARM / "2022-12-01" / "subscriptions.json"]


@functools.cache
def _table(file: Path) -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    paths = sorted(_read(file)["paths"].items(), key=lambda one: one[0].startswith("/{"))
    generic = "{parentResourcePath}"
    return [(re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "/?", re.IGNORECASE), path, operations)
            for path, operations in paths if generic not in path and "{resourceId}" not in path]  # fmt: skip


@functools.cache
def find(host: str, method: str, path: str, version: str) -> Operation | None:
    """Return the operation that a request is, if a file describes it."""
    for file in files_for(host, path, version):
        for pattern, name, operations in _table(file):
            if method.lower() in operations and pattern.fullmatch(path):
                return Operation(file, name, json.dumps(operations[method.lower()]))
    return None


class Converter:
    """Builds JSON Schema for one side of the wire, definition by definition, as they are referred to."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.definitions: dict[str, Any] = {}

    def refer(self, file: Path, reference: str, own: bool = False) -> dict[str, str]:
        """Return a reference to a converted definition; ``own``: as a part of another, not dispatched, not closed."""
        where, _, pointer = reference.partition("#")
        target = (file.parent / where).resolve() if where else file
        key = re.sub(r"[^\w.-]", "_", f"{target.relative_to(FOLDER)}_{pointer}{'_own' if own else ''}")
        if key not in self.definitions:
            self.definitions[key] = {}  # it may refer to itself
            node: Any = _read(target)
            for part in pointer.strip("/").split("/"):
                node = node[part]
            self.definitions[key] = self.convert(target, node, own=own, name=pointer.rsplit("/", 1)[-1])
        return {"$ref": f"#/$defs/{key}"}

    def convert(self, file: Path, node: dict[str, Any], own: bool = False, name: str = "") -> dict[str, Any]:
        """Return a schema as JSON Schema."""
        if "$ref" in node:
            made: dict[str, Any] = self.refer(file, node["$ref"], own)
            return {"anyOf": [made, {"type": "null"}]} if node.get("x-nullable") else made
        made = {key: node[key] for key in KEPT if key in node}
        if "enum" in node and node.get("type") == "string":
            made["pattern"] = "(?i)^(" + "|".join(re.escape(str(one)) for one in node["enum"]) + ")$"
        parts = [self.convert(file, one, own=True) for one in node.get("allOf", [])]
        if "properties" in node:
            made["properties"] = {key: self.convert(file, one) for key, one in node["properties"].items()}
        if required := [key for key in node.get("required", []) if self._sent(node.get("properties", {}).get(key, {}))]:
            made["required"] = required
        if "items" in node:
            made["items"] = self.convert(file, node["items"])
        if isinstance(node.get("additionalProperties"), dict):
            made["additionalProperties"] = self.convert(file, node["additionalProperties"])
        if not own:
            parts += self._dispatch(file, node, name)
            shaped = "properties" in node or parts
            if (
                shaped
                and not isinstance(node.get("additionalProperties"), dict)
                and node.get("additionalProperties") is not True
            ):
                made["unevaluatedProperties"] = False
        if parts:
            made["allOf"] = parts
        return {"anyOf": [made, {"type": "null"}]} if node.get("x-nullable") else made

    def _sent(self, node: dict[str, Any]) -> bool:
        mutability = node.get("x-ms-mutability")
        if self.side == "request":
            return not node.get("readOnly") and (mutability is None or bool({"create", "update"} & set(mutability)))
        return mutability is None or "read" in mutability

    def _dispatch(self, file: Path, node: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """Return what holds for each value of the member that tells which kind an object is."""
        member, kinds = node.get("discriminator"), []
        if not member:
            return []
        for child, spec in _read(file)["definitions"].items():
            if any(one.get("$ref", "").endswith(f"/definitions/{name}") for one in spec.get("allOf", [])):
                value = re.escape(spec.get("x-ms-discriminator-value", child))
                when = {"properties": {member: {"pattern": f"(?i)^{value}$"}}, "required": [member]}
                kinds.append({"if": when, "then": self.refer(file, f"#/definitions/{child}", own=True)})
        return kinds


@functools.cache
def _converter(side: Side) -> Converter:
    return Converter(side)


def problems(operation: Operation, side: Side, node: dict[str, Any], value: Any) -> list[str]:
    """Return where a value is not what the schema of an operation says."""
    converter = _converter(side)
    schema = converter.convert(operation.file, node)
    return _errors(Draft202012Validator({**schema, "$defs": converter.definitions}), value)


@functools.cache
def _arm_schema(version: str) -> dict[str, Any]:
    file = FOLDER / "arm-schemas" / "schemas" / version / "Microsoft.MachineLearningServices.json"
    return dict(_mended(_read(file))) if file.is_file() else {}


def _mended(node: Any) -> Any:
    """Return an ARM schema in which a base closes the whole object, not only its part: as written nothing fits."""
    if isinstance(node, list):
        return [_mended(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _mended(value) for key, value in node.items() if key not in ("$schema", "id")}
    for part in made.get("allOf", []):
        if part.get("additionalProperties") is False:
            del part["additionalProperties"]
            made["unevaluatedProperties"] = False
    return made


def arm_problems(version: str, kind: str, properties: Any) -> list[str]:
    """Return where the properties of a PUT are not what the ARM schema of the exact version says."""
    known = _arm_schema(version)
    if kind not in known.get("resourceDefinitions", {}):
        return []
    common = _mended(_read(FOLDER / "arm-schemas" / "schemas" / "common" / "definitions.json"))
    pairs = [
        (COMMON, Resource.from_contents(common, DRAFT202012)),
        ("urn:this", Resource.from_contents(known, DRAFT202012)),
    ]
    registry: Registry[Any] = Registry().with_resources(pairs)
    schema = {"$ref": f"urn:this#/resourceDefinitions/{kind}/properties/properties"}
    return _errors(Draft202012Validator(schema, registry=registry), properties)


def _errors(validator: Draft202012Validator, value: Any) -> list[str]:
    found = []
    for error in validator.iter_errors(value):
        inner = error
        while inner.context:  # of the alternatives the one that went deepest
            inner = max(inner.context, key=lambda one: len(one.absolute_path))
        found.append(f"{'.'.join(map(str, inner.absolute_path))}: {inner.message[:300]}")
    return found
