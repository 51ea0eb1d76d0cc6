"""Repeat a run: the same configuration, the same pictures, the same split; then say what came out differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .display import card, counted, elide, escape, table, text_table
from .errors import ConfigError, DataError
from .records import REPORT, REPRODUCIBILITY, read_fields, read_run
from .training.cells import records

if TYPE_CHECKING:
    from .dataset import Dataset
    from .run import Run

FIGURES = ("test_accuracy", "test_loss", "ece_after", "temperature", "best_epoch")
# what a run is made by, in its run.json and its reproducibility.json
MADE_BY = {
    "mb_jupyter": "mb_jupyter", "program": "The training program", "architecture": "The network",
    "weights_sha256": "The hash of the weights", "engine": "The engine of the features",
}  # fmt: skip
MOST_FLIPS = 20


@dataclass(frozen=True)
class Rerun:
    """A run and its repetition: ``figures`` and ``flips`` (ImageSource, Label, before, now) say what differs."""

    before: Run
    again: Run

    @property
    def figures(self) -> list[tuple[str, float | None, float | None]]:
        """The figures of both reports: name, before, now."""
        old, new = (read_fields(run.folder, REPORT) for run in (self.before, self.again))
        return [(name, old.get(name), new.get(name)) for name in FIGURES]

    @property
    def answers(self) -> list[tuple[str, str, str, str]]:
        """The test images that both have answered: ImageSource, Label, before, now.

        They are known by their content where both runs kept it, so that a renamed file is the same picture.
        """
        old, new = (_answers(run.folder) for run in (self.before, self.again))
        if not (old.keys() & new.keys()):  # one of them has no hashes
            old, new = ({row["ImageSource"]: row for row in kept.values()} for kept in (old, new))
        both = ((old[key], new[key]) for key in old if key in new)
        return [(row["ImageSource"], row["Label"], row["Prediction"], now["Prediction"]) for row, now in both]

    @property
    def flips(self) -> list[tuple[str, str, str, str]]:
        """The test images that are answered otherwise now."""
        return [answer for answer in self.answers if answer[2] != answer[3]]

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
        title = f"{self.again.handle} repeats {self.before.handle}"
        if not self.again.standing.offers("report"):
            nothing = (
                f"It is {self.again.state.word} and has no report, so there is nothing to compare. Once it has one: "
                f"%mb_compare {self.before.handle} {self.again.handle}"
            )
            return {"text/plain": f"{title}\n{nothing}", "text/html": card(title, f"<div>{escape(nothing)}</div>")}
        said = [self._outcome, f"The split is {'the same' if self.same_split else 'not the same'}."]
        said += self.surroundings
        columns, names = ("Figure", "Before", "Now", "Difference"), ("Picture", "Label", "Before", "Now")
        rows = [(name, _number(old), _number(new), _difference(old, new)) for name, old, new in self.figures]
        shown = [tuple(elide(cell, 60) for cell in flip) for flip in self.flips[:MOST_FLIPS]]
        text = [title, *said, "", text_table(columns, rows, right=(1, 2, 3))]
        text += ["", text_table(names, shown)] if shown else []
        page = "".join(f"<div>{escape(line)}</div>" for line in said) + table(columns, rows, right=(1, 2, 3))
        page += table(names, shown) if shown else ""
        return {"text/plain": "\n".join(text), "text/html": card(title, page)}

    @property
    def _outcome(self) -> str:
        answers, flips = self.answers, len(self.flips)
        if not answers:
            return "No test image is in both runs, so no answers are compared."
        of = f"of {counted(len(answers), 'test image')} that both have"
        if flips:
            return f"{counted(flips, 'answer differs', 'answers differ')}, {of}."
        if all(old == new for _, old, new in self.figures):
            return f"Every figure and every answer is the same, {of}."
        return f"Every answer is the same, not every figure, {of}."


def rerun(run: Run, *, say: Callable[..., None] | None = None) -> Rerun:
    """Train as ``run`` was trained, wait until that has ended, and compare; fails as :func:`begin_again` does."""
    return Rerun(run, begin_again(run, say).wait())


def begin_again(run: Run, say: Callable[..., None] | None = None) -> Run:
    """Begin to train as ``run`` was trained; ``DataError`` names what is no longer the same in the pictures."""
    from .config import resolve
    from .experiment import Experiment, look

    run.standing.require("report")
    recorded = {key: value for key, value in run.config.items() if value is not None}
    if str(recorded.get("data", "")).startswith("a table of "):
        raise ConfigError(f"{run.handle} was trained from a DataFrame, which is gone.", "Train from a CSV file.")
    config = resolve(recorded).config
    if not config.is_in_azure:  # there the program itself looks at the pictures
        _check_pictures(run, look(config, say))
    again = Experiment.local(config.experiment).start(config, fresh=True, say=say)
    again.notes.append(f"Repeats {run.handle}.")
    return again


def _check_pictures(run: Run, dataset: Dataset) -> None:
    if dataset.fingerprint != run.record.get("fingerprint"):
        found = {picture.path: (picture.sha256, picture.label) for picture in dataset.pictures}
        raise DataError(
            f"The pictures are not those of {run.handle}: {_differences(run.folder, found)}.",
            "Put them back as they were, or train anew with %mb_train --fresh and compare with %mb_compare.",
        )


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
    return "; ".join(said) or "their given split or groups changed"


def _surroundings(before: Path, now: Path) -> Iterator[str]:
    old, new = ({**read_run(folder), **read_fields(folder, REPRODUCIBILITY)} for folder in (before, now))
    for key, name in MADE_BY.items():
        if old.get(key) != new.get(key):
            yield f"{name} was {old.get(key, 'not recorded')} and is {new.get(key, 'not recorded')}."
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


def _answers(folder: Path) -> dict[str, dict[str, str]]:
    """Return the predictions of a run by the hash of their picture; by its path where none was kept."""
    hashes = {row["ImageSource"]: row.get("Sha256") for row in _rows(folder / "split.csv")}
    rows = _rows(folder / "predictions.csv")
    return {hashes.get(row["ImageSource"]) or row["ImageSource"]: row for row in rows}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():  # of a run that has not come so far
        return []
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return list(records(file))
