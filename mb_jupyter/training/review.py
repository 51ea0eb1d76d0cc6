"""What a person decided about single pictures: leave this one out, that one is of another class.

Both are data of the training, kept beside the pictures: files are never moved or changed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .cells import from_csv
from .errors import TrainingError
from .listing import Candidate, Listing, delimiter_of
from .nearby import Names, nfc
from .paths import brief, unreachable
from .pictures import Finding, count, quoted, shown

COLUMNS = ("ImageSource", "Label", "NewLabel")
NAMED = 5  # problems told in one sentence


class Relabel(NamedTuple):
    """A reviewed row: the picture, the label that the data give it, and the right one."""

    source: str
    label: str
    new_label: str


def read_patch(path: Path) -> list[Relabel]:
    """Return the rows of a ``labels.patch.csv`` that change something; one without a NewLabel was not decided."""
    patch = [Relabel(*(row[column.casefold()] for column in COLUMNS)) for row in read_rows(path)]
    return [row for row in patch if row.new_label.strip() and row.new_label != row.label]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return every row of a ``labels.patch.csv`` as a person or a spreadsheet saved it, by column in small letters.

    Comma, semicolon or tab, as in a list of pictures. Raises :class:`TrainingError` when it is no patch.
    """
    name = shown(brief(path))
    if reason := unreachable(path):
        raise TrainingError(f"The file of labels '{name}' cannot be read: {reason}.", "Check `labels`.")
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        table = from_csv(text, delimiter_of(text))
    except FileNotFoundError:
        raise TrainingError(f"There is no file of labels '{name}'.", "Correct `labels`, or leave it out.") from None
    except OSError as error:
        raise TrainingError(f"'{name}' cannot be read ({error.strerror}).", "Check its rights.") from None
    except csv.Error as error:
        raise TrainingError(f"'{name}' is not a CSV file ({error}).", "Save it as CSV UTF-8.") from None
    columns = [cell.strip().casefold() for cell in table[0]] if table else []
    missing = [column for column in COLUMNS if column.casefold() not in columns]
    if missing:
        raise TrainingError(
            f"'{name}' has no column {' and no column '.join(missing)}.",
            f"A patch of labels has the columns {', '.join(COLUMNS)}; %mb_evaluate offers one.",
        )
    # a line that somebody cut short gets empty cells: its picture is missed later, by name
    rows = ((*row, *[""] * len(columns)) for row in table[1:] if any(cell.strip() for cell in row))
    return [dict(zip(columns, row, strict=False)) for row in rows]


def apply(listing: Listing, exclude: Sequence[str], patch: Sequence[Relabel]) -> list[Finding]:
    """Take out and relabel the candidates of a listing; return what is to be said of it.

    Raises :class:`TrainingError` that names what is not there: a picture, a class, the label a row began with.
    """
    there = {candidate.path: candidate for candidate in listing.candidates}
    names = Names(there)
    problems = [_not_there(name, names) for name in exclude if not names.same(_plain(name))]
    if problems:
        raise _refused("exclude", problems, "Name images as %mb_data and the reports do: class/file.jpg.")
    changes: dict[str, Candidate] = {}
    problems = []
    for row in patch:
        candidate = _meant(row.source, there, names)
        problem = _problem(row, candidate, changes, listing.classes) if candidate else _not_there(row.source, names)
        if candidate is None or problem:
            problems.append(problem)
        else:
            changes[candidate.path] = replace(candidate, label=_class(row.new_label, listing.classes))
    if problems:
        classes = quoted(sorted(listing.classes), 12)
        raise _refused("labels", problems, f"Correct or delete these rows. The classes are {classes}.")
    left_out = {names.same(_plain(name)) for name in exclude}
    listing.candidates = [
        changes.get(candidate.path, candidate) for candidate in listing.candidates if candidate.path not in left_out
    ]
    return [*_findings(left_out, [(there[path], after) for path, after in changes.items() if path not in left_out])]


def _meant(source: str, there: dict[str, Candidate], names: Names) -> Candidate | None:
    """Return the candidate that a row names: exactly, else as another system or somebody who types writes it."""
    found = (names.same(name) for name in (source, _plain(source), _plain(source.strip())))
    return next((there[name] for name in found if name), None)


def _class(name: str, classes: Sequence[str]) -> str:
    """Return the class that a cell names: exactly, else without the blanks around it."""
    return nfc(name) if nfc(name) in classes else nfc(name.strip())


def _plain(name: str) -> str:
    """Return the name of a picture as a listing has it; the file may come from Windows."""
    return name.replace("\\", "/").removeprefix("./")


def _not_there(name: str, names: Names) -> str:
    near = names.near(_plain(name))
    return f"'{shown(name)}' is not there" + (f", '{shown(near)}' is" if near else "")


def _problem(row: Relabel, candidate: Candidate, changes: Iterable[str], classes: Sequence[str]) -> str:
    name = f"'{shown(row.source)}'"
    if candidate.path in changes:
        return f"{name} is there twice"
    if _class(row.new_label, classes) not in classes:
        return f"{name} gets the new label '{shown(row.new_label)}', which is no class"
    if row.label.strip() and _class(row.label, (candidate.label,)) != candidate.label:
        return f"{name} is said to be '{shown(row.label)}' and is '{shown(candidate.label)}' now"
    return ""


def _refused(key: str, problems: Sequence[str], fix: str) -> TrainingError:
    more = f"; and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
    said = "; ".join(problems[:NAMED])
    return TrainingError(f"`{key}` does not fit the pictures: {said}{more}.", fix)


def _findings(left_out: Iterable[str], changes: Sequence[tuple[Candidate, Candidate]]) -> Iterator[Finding]:
    names = tuple(sorted(left_out))
    if names:
        yield Finding(
            "excluded",
            "note",
            f"{count(len(names), 'picture is', 'pictures are')} left out because `exclude` says so: {quoted(names)}.",
            names,
            excluded=True,
        )
    if changes:
        first, after = changes[0]
        yield Finding(
            "relabelled",
            "note",
            f"{count(len(changes), 'picture has', 'pictures have')} another label because `labels` says so, such as "
            f"'{shown(first.path)}': '{shown(after.label)}' instead of '{shown(first.label)}'. No file was moved.",
            tuple(before.path for before, _ in changes),
            reasons=tuple(f"{shown(after.label)} instead of {shown(before.label)}" for before, after in changes),
        )
