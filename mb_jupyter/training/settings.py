"""What the run was asked for, read from JSON; unknown fields are refused, all problems are told at once."""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .described import FITS
from .errors import TrainingError
from .rule import problem_of

RECIPES = ("auto", "features", "finetune")
SMALLEST_PICTURE, LARGEST_PICTURE = 32, 1024
MOST_HELD_BACK = 0.9  # of the pictures may be kept from training, at the most


@dataclass(frozen=True, slots=True)
class Settings:
    """The run as it was asked for; ``None`` means that the program chooses.

    ``max_minutes`` bounds the whole run, the features, the evaluation and the export included. ``batch_size``
    is the global one: several processes share it. ``run`` and ``fingerprint`` are only passed on, into the
    model's card. ``cache`` is a folder that several runs may share. ``exclude`` names pictures to leave out, and
    ``labels`` is a CSV file of corrected labels, and ``group`` says which images belong together, as in
    :func:`~.manifest.scan`; the three count where the program itself makes the split.
    ``unsure_below`` is the score under which the model says that it is unsure. ``fit`` is how an image that
    is not square becomes one: its centre (crop), the whole on grey (pad), or the whole squeezed (stretch).
    """

    architecture: str = "auto"
    weights: str | None = None
    recipe: str = "auto"
    epochs: int = 12
    max_minutes: float | None = None
    batch_size: int | None = None
    image_size: int = 224
    fit: str = "crop"
    learning_rate: float | None = None
    patience: int = 4
    seed: int = 0
    validation_fraction: float = 0.15
    test_fraction: float = 0.2
    min_accuracy: float | None = None
    run: str = ""
    fingerprint: str = ""
    cache: str | None = None
    unsure_below: float | None = None
    exclude: list[str] | None = None
    labels: str | None = None
    group: str | None = None

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Return the settings in a JSON file; a ``TrainingError`` lists every problem of it."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise TrainingError(
                f"The settings file {path} cannot be read: {error.strerror or error}.",
                "Pass --config with the path of a JSON file.",
            ) from error
        except ValueError as error:  # of json, and of text that is not UTF-8
            raise TrainingError(
                f"The settings file {path} is not JSON: {error}.", "Write one JSON object into it."
            ) from error
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Any) -> Settings:
        """Return the settings in a mapping; a ``TrainingError`` lists every problem of it."""
        if not isinstance(values, dict):
            raise TrainingError(
                f"The settings are a {type(values).__name__}, not an object of names and values.",
                'Write for example {"epochs": 12}.',
            )
        problems = [*_unknown(values), *_wrong(values)]
        if problems:
            count = "A setting is wrong" if len(problems) == 1 else f"{len(problems)} settings are wrong"
            raise TrainingError(f"{count}: " + " ".join(problems), "Correct what is named, then start again.")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, ready for JSON."""
        return dataclasses.asdict(self)


def _unknown(values: dict[str, Any]) -> list[str]:
    names = [field.name for field in dataclasses.fields(Settings)]
    problems = []
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(names)}."
            problems.append(f"There is no setting {name!r}; {hint}")
    return problems


def _wrong(values: dict[str, Any]) -> list[str]:
    problems = []
    for name, (rule, holds) in _RULES.items():
        if name in values and not holds(values[name]):
            problems.append(f"{name} must be {rule}, not {json.dumps(values[name], default=str)}.")
    held_back = values.get("validation_fraction", 0.15), values.get("test_fraction", 0.2)
    if all(_is_number(part) and 0 < part < 1 for part in held_back) and sum(held_back) > MOST_HELD_BACK:
        problems.append(
            f"validation_fraction and test_fraction together are {sum(held_back):g}; "
            f"at most {MOST_HELD_BACK:g}, so that something is left to train on."
        )
    return problems


def _is_number(value: Any) -> bool:
    # bool is an int for Python, but `epochs: true` is a mistake; NaN and infinities are numbers for JSON
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_RULES: dict[str, tuple[str, Any]] = {
    "architecture": ("the name of a network, or auto", lambda v: _is_text(v) and bool(v.strip())),
    "weights": ("the path of a file, or null", lambda v: v is None or (_is_text(v) and bool(v))),
    "recipe": (f"one of {', '.join(RECIPES)}", lambda v: v in RECIPES),
    "epochs": ("a whole number from 1 to 10000", lambda v: _is_whole(v) and 1 <= v <= 10_000),
    "max_minutes": ("a number above 0, or null", lambda v: v is None or (_is_number(v) and v > 0)),
    "batch_size": (
        "a whole number from 1 to 65536, or null",
        lambda v: v is None or (_is_whole(v) and 1 <= v <= 65_536),
    ),
    "image_size": (
        f"a whole number from {SMALLEST_PICTURE} to {LARGEST_PICTURE}",
        lambda v: _is_whole(v) and SMALLEST_PICTURE <= v <= LARGEST_PICTURE,
    ),
    "fit": (f"one of {', '.join(FITS)}", lambda v: v in FITS),
    "learning_rate": (
        "a number above 0 and at most 10, or null",
        lambda v: v is None or (_is_number(v) and 0 < v <= 10),
    ),
    "patience": ("a whole number from 1 to 10000", lambda v: _is_whole(v) and 1 <= v <= 10_000),
    "seed": (
        "a whole number from 0 to 4294967295",
        lambda v: _is_whole(v) and 0 <= v < 2**32,
    ),
    "validation_fraction": ("a number between 0 and 1", lambda v: _is_number(v) and 0 < v < 1),
    "test_fraction": ("a number between 0 and 1", lambda v: _is_number(v) and 0 < v < 1),
    "min_accuracy": (
        "a number from 0 to 1, or null",
        lambda v: v is None or (_is_number(v) and 0 <= v <= 1),
    ),
    "run": ("text", _is_text),
    "fingerprint": ("text", _is_text),
    "cache": ("the path of a folder, or null", lambda v: v is None or (_is_text(v) and bool(v))),
    "unsure_below": (
        "a number between 0 and 1, or null",
        lambda v: v is None or (_is_number(v) and 0 < v < 1),
    ),
    "exclude": (
        "a list of names of pictures, or null",
        lambda v: v is None or (isinstance(v, list) and all(map(_is_text, v))),
    ),
    "labels": ("the path of a file, or null", lambda v: v is None or (_is_text(v) and bool(v))),
    "group": (
        "a regular expression for the paths of images, folder, burst, similar, column: NAME, or null",
        lambda v: v is None or (_is_text(v) and not problem_of(v)),
    ),
}
