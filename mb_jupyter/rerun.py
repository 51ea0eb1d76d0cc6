"""Repeat a run: the same configuration, the same pictures, the same split; then say what came out differently."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .display import card, counted, elide, escape, table, text_table
from .errors import ConfigError, DataError

if TYPE_CHECKING:
    from .run import Run

FIGURES = ("test_accuracy", "test_loss", "ece_after", "temperature", "best_epoch")
MOST_FLIPS = 20


@dataclass(frozen=True)
class Rerun:
    """A run and its repetition: ``figures`` and ``flips`` (ImageSource, Label, before, now) say what differs."""

    before: Run
    again: Run

    @property
    def figures(self) -> list[tuple[str, float | None, float | None]]:
        """The figures of both reports: name, before, now."""
        old, new = (_json(run.folder / "report.json") for run in (self.before, self.again))
        return [(name, old.get(name), new.get(name)) for name in FIGURES]

    @property
    def flips(self) -> list[tuple[str, str, str, str]]:
        """The held-out pictures that are answered otherwise now."""
        old, new = (_rows(run.folder / "predictions.csv") for run in (self.before, self.again))
        now = {row["ImageSource"]: row["Prediction"] for row in new}
        return [
            (row["ImageSource"], row["Label"], row["Prediction"], now[row["ImageSource"]])
            for row in old
            if row["ImageSource"] in now and now[row["ImageSource"]] != row["Prediction"]
        ]

    @property
    def same_split(self) -> bool:
        """Whether both were trained and tested on the same pictures."""
        old, new = (_rows(run.folder / "split.csv") for run in (self.before, self.again))
        parts = [sorted((row["Sha256"], row["Label"], row["Split"]) for row in rows) for rows in (old, new)]
        return parts[0] == parts[1]

    @property
    def surroundings(self) -> list[str]:
        """What else is not as it was: versions of packages, and the machine."""
        return [*_surroundings(self.before.folder, self.again.folder)]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        columns, flips = ("Figure", "Before", "Now", "Difference"), self.flips
        rows = [(name, _number(old), _number(new), _difference(old, new)) for name, old, new in self.figures]
        exact = not flips and all(old == new for _, old, new in self.figures)
        differ = f"{counted(len(flips), 'answer differs', 'answers differ')}."
        same = "Every figure and every answer is the same." if exact else "Every answer is the same, not every figure."
        said = [differ if flips else same]
        said.append("The split is the same." if self.same_split else "The split is not the same.")
        said += self.surroundings
        names = ("Picture", "Label", "Before", "Now")
        shown = [tuple(elide(cell, 60) for cell in flip) for flip in flips[:MOST_FLIPS]]
        title = f"{self.again.handle} repeats {self.before.handle}"
        text = [title, *said, "", text_table(columns, rows, right=(1, 2, 3))]
        text += ["", text_table(names, shown)] if shown else []
        page = "".join(f"<div>{escape(line)}</div>" for line in said) + table(columns, rows, right=(1, 2, 3))
        page += table(names, shown) if shown else ""
        return {"text/plain": "\n".join(text), "text/html": card(title, page)}


def rerun(run: Run, *, say: Callable[..., None] | None = None) -> Rerun:
    """Train as ``run`` was trained, wait until that has ended, and compare; fails as :func:`begin_again` does."""
    return Rerun(run, begin_again(run, say).wait())


def begin_again(run: Run, say: Callable[..., None] | None = None) -> Run:
    """Begin to train as ``run`` was trained; ``DataError`` names what is no longer the same in the pictures."""
    from .config import resolve
    from .experiment import Experiment, look

    if not (run.folder / "predictions.csv").exists():
        raise DataError(f"{run.handle} has no report to compare with: it is {run.state}.", "Choose a finished run.")
    recorded = {key: value for key, value in run.config.items() if value is not None}
    if str(recorded.get("data", "")).startswith("a table of "):
        raise ConfigError(f"{run.handle} was trained from a DataFrame, which is gone.", "Train from a CSV file.")
    config = resolve(recorded).config
    dataset = look(config, say)
    if dataset.fingerprint != run.record.get("fingerprint"):
        found = {picture.path: (picture.sha256, picture.label) for picture in dataset.pictures}
        raise DataError(
            f"The pictures are not those of {run.handle}: {_differences(run.folder, found)}.",
            "Put them back as they were, or train anew with %mb_train --fresh and compare with %mb_compare.",
        )
    again = Experiment.local(config.experiment).start(config, fresh=True, say=say)
    again.notes.append(f"Repeats {run.handle}.")
    return again


def _differences(folder: Path, found: dict[str, tuple[str, str]]) -> str:
    """Name the pictures that are gone, new, changed or of another label."""
    was = {row["ImageSource"]: (row["Sha256"], row["Label"]) for row in _rows(folder / "split.csv")}
    both = was.keys() & found.keys()
    kinds = {
        "gone": was.keys() - found.keys(),
        "new": found.keys() - was.keys(),
        "changed": {name for name in both if was[name][0] != found[name][0]},
        "of another label": {name for name in both if was[name][1] != found[name][1]},
    }
    said = [f"{len(names):,} {kind}, such as '{elide(min(names), 60)}'" for kind, names in kinds.items() if names]
    return "; ".join(said) or "their given split changed"


def _surroundings(before: Path, now: Path) -> Iterator[str]:
    old, new = (_json(folder / "reproducibility.json") for folder in (before, now))
    versions, others = old.get("versions", {}), new.get("versions", {})
    for name in sorted(versions.keys() | others.keys()):
        if versions.get(name) != others.get(name):
            yield f"{name} was {versions.get(name, 'absent')} and is {others.get(name, 'absent')}."
    if old.get("hardware", {}).get("processor") != new.get("hardware", {}).get("processor"):
        yield "The processor is another one."
    if old.get("fine_tuning") != new.get("fine_tuning"):
        yield "The time allowed another fine-tuning: epochs, blocks or batches differ."


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else "none"


def _difference(old: Any, new: Any) -> str:
    both = isinstance(old, int | float) and isinstance(new, int | float)
    return f"{new - old:+.3g}" if both else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))
