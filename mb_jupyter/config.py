"""From flags, the cell's YAML body, a file and ``%config`` to one frozen value, with every problem at once.

Precedence: line, body, ``-f`` file, ``%config MBMagics.*``, defaults; the origin of each value is kept.
This module loads pydantic, so it is itself imported when first needed.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator  # noqa: TID253

from . import naming
from .backends import BACKENDS
from .configtext import VARIABLE, Known, Layer, Reader, near, short
from .errors import ConfigError
from .training.paths import at_home
from .yaml12 import plain

__all__ = ["CHOICES", "VARIABLE", "AzureConfig", "Resolved", "TrainConfig", "architectures", "as_written", "resolve"]

MOST_HELD_BACK = 0.9  # of the pictures may be kept from training, at the most
NOT_FOR_THE_PROGRAM = ("experiment", "data", "backend", "processes", "max_cost", "azure")
FILES = ("weights", "labels")  # settings that are the path of a file
LATER = ("fit",)  # settings that came later: at their default they are no part of what a run is known by
LISTS = ("exclude",)  # settings that may be a list
SHELL_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)|(?<!\{)\{([A-Za-z_]\w*)\}")  # $folder, ${folder}, {folder}
IN_AZURE = ("azureml:", "/subscriptions/")
CHOICES = {
    "backend": tuple(BACKENDS),
    "recipe": ("auto", "features", "finetune"),
    "fit": ("crop", "pad", "stretch"),
}  # for the Tab key


class AzureConfig(BaseModel):
    """Where in Azure; what is left out is as it was chosen with ``%mb_workspace use`` and ``%mb_compute use``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    compute: str | None = Field(None, description="the name of a compute of the workspace")
    workspace: str | None = Field(None, description="the name of a workspace")
    resource_group: str | None = Field(None, description="the name of the workspace's resource group")
    subscription: str | None = Field(None, description="the id of a subscription")
    sign_in: Literal["cli", "environment", "managed", "device"] | None = Field(
        None, description="cli, environment, managed or device"
    )
    tenant: str | None = Field(None, description="the id or the domain of a tenant")
    experiment: str | None = Field(None, description=f"its name in Azure, when it is another one: {naming.AZURE_RULE}")
    nodes: int = Field(1, ge=1, le=16, description="a whole number of nodes from 1 to 16")
    environment: str | None = Field(None, description="the name of an environment, such as azureml:NAME:VERSION")
    queue_minutes: float | None = Field(
        None, gt=0, description="a number of minutes above 0: how long to wait for a node before giving up"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("")
        return value

    @field_validator("experiment")
    @classmethod
    def _is_name(cls, value: str | None) -> str | None:
        if value is not None and not naming.AZURE_NAME.fullmatch(value):
            raise ValueError("")
        return value


class TrainConfig(BaseModel):
    """What a training was asked for. ``None`` means that the training program chooses.

    ``data`` is a folder with one subfolder per class, a CSV file or a DataFrame with the columns
    ``ImageSource`` and ``Label``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    experiment: str = Field(description=naming.RULE)
    data: Any = Field(description="the path of a folder with one subfolder per class, or of a CSV file")
    backend: str = Field("local", description="local (this machine) or azure (Azure Machine Learning)")
    architecture: str = Field("auto", description="auto, efficientnet_lite0 or a torchvision classifier")
    weights: str | None = Field(None, description="the path of a file of weights")
    recipe: Literal["auto", "features", "finetune"] = Field("auto", description="auto, features or finetune")
    epochs: int = Field(12, ge=1, le=10_000, description="a whole number from 1 to 10000")
    max_minutes: float | None = Field(None, gt=0, description="a number of minutes above 0")
    batch_size: int | None = Field(None, ge=1, le=65_536, description="a whole number from 1 to 65536")
    image_size: int = Field(224, ge=32, le=1024, description="a whole number of pixels from 32 to 1024")
    fit: Literal["crop", "pad", "stretch"] = Field("crop", description="crop, pad or stretch")
    learning_rate: float | None = Field(None, gt=0, le=10, description="a number above 0 and at most 10")
    patience: int = Field(4, ge=1, le=10_000, description="a whole number from 1 to 10000")
    seed: int = Field(0, ge=0, lt=2**32, description="a whole number from 0 to 4294967295")
    validation_fraction: float = Field(0.15, gt=0, lt=1, description="a number between 0 and 1")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="a number between 0 and 1")
    min_accuracy: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1, such as 0.9")
    unsure_below: float | None = Field(None, gt=0, lt=1, description="a score between 0 and 1, such as 0.6")
    exclude: tuple[str, ...] | None = Field(None, description="a list of pictures to leave out, such as [rose/1.jpg]")
    labels: str | None = Field(None, description="the path of a labels.patch.csv: ImageSource,Label,NewLabel")
    group: str | None = Field(
        None,
        description="a regular expression for the paths of images, folder, burst, similar, or column: NAME (in quotes)",
    )
    processes: int | None = Field(None, ge=1, le=64, description="a whole number from 1 to 64")
    max_cost: float | None = Field(None, gt=0, description="a number above 0, in the currency of Azure's prices")
    azure: AzureConfig = Field(default_factory=lambda: AzureConfig.model_validate({}), description="where in Azure")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):  # for Python, `epochs: yes` would be 1
            raise ValueError("")
        return str(value) if isinstance(value, os.PathLike) else value

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("group")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        if value is None or re.match(r"\s*column\s*:", value, re.IGNORECASE):
            return value
        if not value.strip():
            raise ValueError("")
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"it is no regular expression ({error}).") from None
        return value

    @field_validator("experiment")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if said := naming.problem(value):
            raise ValueError(said if naming.is_name(value) else "")
        return naming.clean(value)

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
            raise ValueError(near(value, architectures()))
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
        for name in FILES:
            if settings[name] is not None:
                settings[name] = str(at_home(settings[name]).absolute())
        return settings

    def shown(self) -> dict[str, Any]:
        """Return every value, ready for JSON; a DataFrame is told by its size."""
        values = self.model_dump(mode="json", exclude={"data"})
        data = self.data if isinstance(self.data, str) else f"a table of {len(self.data):,} pictures"
        azure = {key: value for key, value in values.pop("azure").items() if key in self.azure.model_fields_set}
        return {"experiment": values.pop("experiment"), "data": data, **values, **({"azure": azure} if azure else {})}

    @property
    def is_in_azure(self) -> bool:
        """Tell whether the pictures are in Azure already: ``azureml://...``, ``azureml:NAME:VERSION`` or an id."""
        return isinstance(self.data, str) and self.data.startswith(IN_AZURE)


@dataclass(frozen=True)
class Resolved:
    """A configuration and where each of its values comes from."""

    config: TrainConfig
    origins: Mapping[str, str]


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
    reader = Reader(_known(), namespace or {}, problems, LISTS, _texts())
    given = {key: (reader.insert(as_written(key, value), "the line"), "the line") for key, value in _flat(line).items()}
    layers: list[Layer] = [
        {key: (value, "%config MBMagics") for key, value in _flat(defaults or {}).items()},
        reader.file(file) if file else {},
        reader.text(body, lambda number: f"line {number + 2}"),
        given,
    ]
    merged: Layer = {}
    for layer in layers:
        merged |= layer
    if "experiment" not in merged and isinstance(merged.get("data", ("", ""))[0], str | os.PathLike):
        merged["experiment"] = (_slug(str(merged.get("data", ("", ""))[0])), "the name of the data")
    problems += _not_inserted(merged, namespace or {})
    try:
        config = TrainConfig.model_validate(_nested({key: value for key, (value, _) in merged.items()}))
    except ValidationError as error:
        problems += _explained(error, merged, complete=not problems)
    if problems:
        raise ConfigError("\n".join(sorted(problems, key=_line)), "Correct what is named and run the cell again.")
    origins = {key: merged[key][1] if key in merged else "default" for key in TrainConfig.model_fields}
    return Resolved(config, origins | {key: origin for key, (_, origin) in merged.items()})


def _known() -> Known:
    """Return every key with what is allowed."""
    known: dict[str, str | Mapping[str, str]] = {}
    for key, field in TrainConfig.model_fields.items():
        known[key] = str(field.description)
    known["azure"] = {key: str(field.description) for key, field in AzureConfig.model_fields.items()}
    return known


@cache
def _texts() -> frozenset[str]:
    """Return the keys whose values are text: `data: 007` is a folder called 007."""
    return frozenset(
        f"{section}{key}"
        for section, fields in (("", TrainConfig.model_fields), ("azure.", AzureConfig.model_fields))
        for key, field in fields.items()
        if field.annotation is Any or re.search(r"\bstr\b", str(field.annotation))
    )


def as_written(key: str, value: Any) -> Any:
    """Return what a text outside of YAML means for a setting: the same as in a cell's body."""
    return plain(value) if isinstance(value, str) and value and key not in _texts() else value


def _not_inserted(merged: Layer, names: Mapping[str, Any]) -> list[str]:
    """Return a problem for each path that names a variable as a shell or IPython would."""
    problems = []
    for key in ("experiment", "data", *FILES):
        value, origin = merged.get(key, (None, ""))
        found = SHELL_VARIABLE.search(value) if isinstance(value, str) and not os.path.lexists(value) else None
        name = next(filter(None, found.groups()), "") if found else ""
        if name in names:
            problems.append(f"{origin}: `{key}` is `{value}`; write {{{{{name}}}}} to insert the variable `{name}`.")
        elif name in os.environ:
            problems.append(
                f"{origin}: `{key}` is `{value}`; variables of the environment are not inserted: in Python, "
                f'{name} = os.environ["{name}"], then write {{{{{name}}}}}.'
            )
    return problems


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those of a section as ``section.key``."""
    section = values.get("azure")
    if isinstance(section, AzureConfig):
        section = section.model_dump(exclude_unset=True)
    if not isinstance(section, Mapping):
        return dict(values)
    rest = {key: value for key, value in values.items() if key != "azure"}
    return rest | {f"azure.{key}": value for key, value in section.items()}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, dot, inner = key.partition(".")
        if dot:
            nested.setdefault(section, {})[inner] = value
        else:
            nested[key] = value
    return nested


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
    try:
        path = Path(os.path.realpath(at_home(data)))
    except ValueError:  # no path at all; whoever opens it says so
        path = Path(data)
    return naming.derived(path.stem if path.suffix.casefold() in (".csv", ".tsv") else path.name)


def _clock(key: str, value: Any) -> str:
    """Return how to write a number of minutes that was written as a clock shows it."""
    found = re.fullmatch(r"(?:(\d+):)?(\d+):(\d\d)", value.strip()) if isinstance(value, str) else None
    if not found or not key.endswith("minutes"):
        return ""
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return f" for {value.strip()} write {hours * 60 + minutes + seconds / 60:.4g} (minutes);"


def _explained(error: ValidationError, merged: Layer, complete: bool) -> list[str]:
    """Return each of pydantic's findings as a sentence with its origin."""
    problems = []
    for found in error.errors():
        key = ".".join(part for part in found["loc"] if isinstance(part, str))  # a number: an item of a list
        fields = AzureConfig.model_fields if "." in key else TrainConfig.model_fields
        name = key.rpartition(".")[2]
        said = str(found.get("ctx", {}).get("error", ""))
        if not key:
            problems.append(f"{said}.")
        elif found["type"] == "missing":
            # `data` may stand in a text that could not be read; the name follows from it, unless it is a table
            if complete and (key == "data" or hasattr(merged.get("data", ("", ""))[0], "columns")):
                problems.append(f"`{key}` is missing: {fields[name].description}.")
        elif found["type"] == "extra_forbidden":  # given by Python; in a text it was found before
            hint = near(name, list(fields)) or f"allowed are {', '.join(fields)}."
            problems.append(f"{merged[key][1]}: there is no setting `{key}`; {hint}")
        else:
            value, origin = found["input"], merged[key][1]
            if found["loc"][-1] == name:
                wrong = f"be {short(value)}"
            else:  # an item of a list
                wrong = f"hold {'an empty item' if value is None else short(value)}"
            hint = f" {said}" if said else _clock(key, value)
            quotes = " (put it into quotes)" if found["type"] == "string_type" and value is not None else ""
            allowed = fields[name].description
            problems.append(f"{origin}: `{key}` cannot {wrong};{hint} allowed is {allowed}{quotes}.")
    return problems
