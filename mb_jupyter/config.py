"""From flags, the cell's YAML body, a file and ``%config`` to one frozen value, with every problem at once.

Precedence: line, body, ``-f`` file, ``%config MBMagics.*``, defaults; the origin of each value is kept.
This module loads pydantic, so it is itself imported when first needed.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator  # noqa: TID253

from .backends import BACKENDS
from .errors import ConfigError
from .workspace import NAME, NAME_RULE

MOST_HELD_BACK = 0.9  # of the pictures may be kept from training, at the most
NOT_FOR_THE_PROGRAM = ("experiment", "data", "backend", "processes")
CHOICES = {"backend": tuple(BACKENDS), "recipe": ("auto", "features", "finetune")}  # for the Tab key
LATER = {"azure": "the Azure backend, which this version does not have; train with `backend: local`"}


class TrainConfig(BaseModel):
    """What a training was asked for. ``None`` means that the training program chooses.

    ``data`` is a folder with one subfolder per class, a CSV file or a DataFrame with the columns
    ``ImageSource`` and ``Label``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    experiment: str = Field(description=NAME_RULE)
    data: Any = Field(description="the path of a folder with one subfolder per class, or of a CSV file")
    backend: str = Field("local", description=f"{' or '.join(BACKENDS)}: this version trains on this machine")
    architecture: str = Field("auto", description="auto, efficientnet_lite0 or a torchvision classifier")
    weights: str | None = Field(None, description="the path of a file of weights")
    recipe: Literal["auto", "features", "finetune"] = Field("auto", description="auto, features or finetune")
    epochs: int = Field(12, ge=1, le=10_000, description="a whole number from 1 to 10000")
    max_minutes: float | None = Field(None, gt=0, description="a number of minutes above 0")
    batch_size: int | None = Field(None, ge=1, le=65_536, description="a whole number from 1 to 65536")
    image_size: int = Field(224, ge=32, le=1024, description="a whole number of pixels from 32 to 1024")
    learning_rate: float | None = Field(None, gt=0, le=10, description="a number above 0 and at most 10")
    patience: int = Field(4, ge=1, le=10_000, description="a whole number from 1 to 10000")
    seed: int = Field(0, ge=0, lt=2**32, description="a whole number from 0 to 4294967295")
    validation_fraction: float = Field(0.15, gt=0, lt=1, description="a number between 0 and 1")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="a number between 0 and 1")
    min_accuracy: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1, such as 0.9")
    processes: int | None = Field(None, ge=1, le=64, description="a whole number from 1 to 64")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):  # for Python, `epochs: yes` would be 1
            raise ValueError("")
        return str(value) if isinstance(value, os.PathLike) else value

    @field_validator("experiment")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("")
        return value

    @field_validator("data")
    @classmethod
    def _is_path_or_frame(cls, value: Any) -> Any:
        if not (isinstance(value, str) and value.strip()) and not hasattr(value, "columns"):
            raise ValueError("")
        return value

    @field_validator("backend")
    @classmethod
    def _is_backend(cls, value: str) -> str:
        if value not in BACKENDS:
            raise ValueError("")
        return value

    @field_validator("architecture")
    @classmethod
    def _is_architecture(cls, value: str) -> str:
        if value not in architectures():
            raise ValueError(_near(value, architectures()))
        return value

    @model_validator(mode="after")
    def _leaves_something(self) -> TrainConfig:
        held_back = self.validation_fraction + self.test_fraction
        if held_back > MOST_HELD_BACK:
            raise ValueError(
                f"`validation_fraction` and `test_fraction` together are {held_back:g}; "
                f"allowed is at most {MOST_HELD_BACK:g}, so that something is left to train on"
            )
        return self

    def program_settings(self) -> dict[str, Any]:
        """Return what the training program is told, ready for JSON."""
        settings = self.model_dump(exclude=set(NOT_FOR_THE_PROGRAM))
        if self.weights is not None:
            settings["weights"] = str(Path(self.weights).expanduser().absolute())
        return settings

    def shown(self) -> dict[str, Any]:
        """Return every value, ready for JSON; a DataFrame is told by its size."""
        values = self.model_dump(exclude={"data"})
        data = self.data if isinstance(self.data, str) else f"a table of {len(self.data):,} pictures"
        return {"experiment": values.pop("experiment"), "data": data, **values}


@dataclass(frozen=True)
class Resolved:
    """A configuration and where each of its values comes from."""

    config: TrainConfig
    origins: Mapping[str, str]


Layer = dict[str, tuple[Any, str]]  # key -> value and origin


def resolve(
    line: Mapping[str, Any],
    body: str = "",
    file: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    namespace: Mapping[str, Any] | None = None,
) -> Resolved:
    """Return the configuration; a :class:`ConfigError` lists every problem with its line.

    ``line`` and ``defaults`` hold only what was set. ``namespace`` has the variables for ``{{name}}``.
    """
    problems: list[str] = []
    names = namespace or {}
    layers: list[Layer] = [
        {key: (value, "%config MBMagics") for key, value in (defaults or {}).items()},
        _read_file(file, names, problems) if file else {},
        _read_yaml(body, lambda number: f"line {number + 2}", names, problems),
        {key: (_insert(value, names, "the line", problems), "the line") for key, value in line.items()},
    ]
    merged: Layer = {}
    for layer in layers:
        merged |= layer
    if "experiment" not in merged and isinstance(merged.get("data", ("", ""))[0], str | os.PathLike):
        merged["experiment"] = (_slug(str(merged.get("data", ("", ""))[0])), "the name of the data")
    try:
        config = TrainConfig.model_validate({key: value for key, (value, _) in merged.items()})
    except ValidationError as error:
        problems += _explained(error, merged, complete=not problems)
    if problems:
        raise ConfigError("\n".join(sorted(problems, key=_line)), "Correct what is named and run the cell again.")
    origins = {key: merged[key][1] if key in merged else "default" for key in TrainConfig.model_fields}
    return Resolved(config, origins)


@cache
def architectures() -> tuple[str, ...]:
    """Return the networks by name, without importing torch: read from torchvision's own source."""
    spec = importlib.util.find_spec("torchvision")
    folders = spec.submodule_search_locations if spec else None
    found = set()
    for file in Path(next(iter(folders or []), "")).glob("models/*.py"):
        source = file.read_text(encoding="utf-8")
        found |= set(re.findall(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", source, re.MULTILINE))
    return ("auto", "efficientnet_lite0", *sorted(found))


def _line(problem: str) -> int:
    number = re.match(r"(?:.*, )?line (\d+):", problem)
    return int(number[1]) if number else 0


def _slug(data: str) -> str:
    path = Path(data).expanduser().resolve()
    name = path.stem if path.suffix.casefold() in (".csv", ".tsv") else path.name
    plain = unicodedata.normalize("NFKD", name)
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain.encode("ascii", "ignore").decode()).strip("-_") or "pictures"


def _near(value: str, known: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1)
    return f"did you mean `{near[0]}`?" if near else ""


def _explained(error: ValidationError, merged: Layer, complete: bool) -> list[str]:
    """Return each of pydantic's findings as a sentence with its origin."""
    problems = []
    for found in error.errors():
        key = str(found["loc"][0]) if found["loc"] else ""
        said = str(found.get("ctx", {}).get("error", ""))
        if not key:
            problems.append(f"{said}.")
        elif found["type"] == "missing":
            # `data` may stand in a text that could not be read, and the name follows from it
            if key == "data" and complete:
                problems.append(f"`data` is missing: {TrainConfig.model_fields[key].description}.")
        elif found["type"] != "extra_forbidden":
            value, origin = merged[key]
            allowed = TrainConfig.model_fields[key].description
            hint = f" {said}" if said else ""
            quotes = " (put it into quotes)" if found["type"] == "string_type" and value is not None else ""
            problems.append(f"{origin}: `{key}` cannot be {_short(value)};{hint} allowed is {allowed}{quotes}.")
    return problems


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return f"a truth value ({'yes' if value else 'no'})"
    if value is None:
        return "empty"
    text = value if isinstance(value, str) else repr(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"


def _read_file(file: str, names: Mapping[str, Any], problems: list[str]) -> Layer:
    path = Path(file).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        problems.append(f"the file {file} cannot be read: {reason}.")
        return {}
    return _read_yaml(text, lambda number: f"{path.name}, line {number + 1}", names, problems)


VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_MARKED = re.compile("\ue000([A-Za-z_]\\w*)\ue001")  # private characters: no YAML meaning, nobody types them


def _read_yaml(text: str, where: Callable[[int], str], names: Mapping[str, Any], problems: list[str]) -> Layer:
    """Return the keys of a YAML mapping with their origin.

    The text is composed, not loaded: the nodes know their lines, repeated keys are still there, and
    nothing but single values is ever constructed. ``{{name}}`` is marked before and put in afterwards,
    so that no variable's content is read as YAML.
    """
    import yaml

    tabs = [number for number, line in enumerate(text.splitlines()) if re.match(r" *\t", line) and line.strip()]
    if tabs:
        problems += [f"{where(number)}: begins with a tab; YAML wants spaces." for number in tabs]
        return {}
    loader = None
    try:
        loader = yaml.SafeLoader(VARIABLE.sub("\ue000\\1\ue001", text))
        node = loader.get_single_node()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
            hint = " (a colon needs a space after it)" if isinstance(node, yaml.ScalarNode) else ""
            problems.append(f"{where(node.start_mark.line)}: is {kind}; write `key: value` lines{hint}.")
            return {}
        return _pairs(node, loader, where, names, problems)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = where(mark.line) if mark else where(0)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        problems.append(f"{place}: is not YAML: {problem}.")
        return {}
    finally:
        if loader is not None:
            loader.dispose()


def _pairs(node: Any, loader: Any, where: Callable[[int], str], names: Mapping[str, Any], problems: list[str]) -> Layer:
    layer: Layer = {}
    known = list(TrainConfig.model_fields)
    for key_node, value_node in node.value:
        place, key = where(key_node.start_mark.line), str(getattr(key_node, "value", ""))
        if key in LATER:
            problems.append(f"{place}: `{key}` needs {LATER[key]}.")
        elif key_node.id != "scalar" or key not in known:
            hint = _near(key, known) or f"allowed are {', '.join(known)}."
            problems.append(f"{place}: there is no setting {_short(key)}; {hint}")
        elif key in layer:
            problems.append(f"{place}: `{key}` is there twice, first in {layer[key][1]}.")
        elif value_node.id != "scalar":
            kind = "a list" if value_node.id == "sequence" else "a mapping"
            problems.append(f"{place}: `{key}` is {kind}; allowed is {TrainConfig.model_fields[key].description}.")
        else:
            layer[key] = (_value(value_node, loader, place, names, problems), place)
    return layer


def _value(node: Any, loader: Any, place: str, names: Mapping[str, Any], problems: list[str]) -> Any:
    try:
        value = loader.construct_object(node)
    except ValueError as error:  # such as a day that is in no calendar
        problems.append(f"{place}: `{node.value}` cannot be read: {error}; put it into quotes.")
        return None
    return _insert(value, names, place, problems, _MARKED)


def _insert(
    value: Any, names: Mapping[str, Any], place: str, problems: list[str], mark: re.Pattern[str] = VARIABLE
) -> Any:
    """Return the value with the variables it names: one alone keeps its type, within a text it is text."""
    if not isinstance(value, str):
        return value
    unknown = [name for name in mark.findall(value) if name not in names]
    if unknown:
        problems += [f"{place}: there is no variable `{name}` in this notebook." for name in unknown]
        return value
    alone = mark.fullmatch(value.strip())
    return names[alone[1]] if alone else mark.sub(lambda found: str(names[found[1]]), value)
