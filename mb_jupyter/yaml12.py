"""YAML 1.2 (core schema) on PyYAML, which knows 1.1 only.

In 1.2 ``010`` is ten, ``1:30`` and ``2026-11-29`` are text, and only ``true`` and ``false`` are truth values: ``no``
is a country. Only single values are ever constructed.
"""

from __future__ import annotations

import functools
import re
from typing import Any

TAG = "tag:yaml.org,2002:"
# https://yaml.org/spec/1.2.2/#1032-tag-resolution, in its order
_CORE = {
    "null": (re.compile(r"null|Null|NULL|~|"), "nN~"),
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    "int": (re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), "-+0123456789"),
    "float": (
        re.compile(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        "-+0123456789.",
    ),
}


@functools.cache
def loader_class() -> Any:
    """Return PyYAML's safe loader with the rules of 1.2; PyYAML is loaded when it is first needed."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {}  # those of 1.1 are inherited
    for kind, (pattern, first) in _CORE.items():
        Loader.add_implicit_resolver(TAG + kind, re.compile(rf"(?:{pattern.pattern})\Z"), list(first) or None)
    Loader.yaml_implicit_resolvers.setdefault("", []).append((TAG + "null", re.compile(r"\Z")))
    return Loader


def scalar(node: Any, loader: Any, *, as_text: bool = False) -> Any:
    """Return the value of a scalar node; with ``as_text`` a plain 007 stays the text 007.

    Raises ``ValueError`` for an explicit tag that the text does not fit, and PyYAML's error for an unknown tag.
    """
    kind = node.tag.removeprefix(TAG)
    if kind == "str" or (as_text and node.style is None and kind in ("bool", "int", "float")):
        return node.value
    if kind not in _CORE:
        return loader.construct_object(node)
    return _construct(kind, node.value)


def plain(text: str) -> Any:
    """Return what a plain text means, as it would in a YAML file."""
    kind = next((kind for kind, (pattern, _) in _CORE.items() if text and pattern.fullmatch(text)), "")
    return _construct(kind, text) if kind else text


def _construct(kind: str, text: str) -> Any:
    if not _CORE[kind][0].fullmatch(text):
        raise ValueError(f"it is no {kind}")
    if kind == "null":
        return None
    if kind == "bool":
        return text.casefold() == "true"
    if kind == "float":
        return float(text.casefold().replace(".inf", "inf").replace(".nan", "nan"))
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
