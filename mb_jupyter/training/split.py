"""Which pictures train, which choose, which are held out; saved with hashes.

Stratified by class and seeded; copies and near copies (a group) are never parted, because a copy of a
training picture among the held-out ones makes the report better than the model.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .errors import TrainingError
from .pictures import SPLITS, Picture, shown
from .similar import group

COLUMNS = ("ImageSource", "Label", "Split", "Sha256", "Group")
ROOM = 3  # groups a class needs to be in all three parts


class SplitRow(NamedTuple):
    """One row of ``split.csv``; ``path`` is the ImageSource."""

    path: str
    label: str
    split: str
    sha256: str
    group: str


def split(pictures: Sequence[Picture], *, seed: int, validation_fraction: float, test_fraction: float) -> list[Picture]:
    """Return the pictures, in the same order, with ``split`` and ``group`` filled.

    Parts that the user gave stay as they are; those that are missing are taken from ``train`` and from what
    the user left open. Depends on nothing but the pictures' content, their labels and the seed: not on names,
    order, folder or platform. A class of fewer than three groups only trains.
    """
    pictures = list(pictures) if all(picture.group for picture in pictures) else group(pictures)
    given = {picture.split for picture in pictures}
    fractions = {"test": test_fraction, "validation": validation_fraction}
    wanted = {part: fraction for part, fraction in fractions.items() if part not in given and fraction > 0}
    pool = [picture for picture in pictures if picture.split in ("", "train")]
    if not pool:
        raise TrainingError(
            "No picture is left for training: all are in the validation or the test part.",
            "Put most of the pictures into train/, or leave Split empty for a part made for you.",
        )
    # a test part of the user's own changes how much of the rest makes the same proportion
    share = 1.0 - sum(fraction for part, fraction in fractions.items() if part in given)
    held = _held_out(pictures)
    taken = _take(pool, {part: fraction / share for part, fraction in wanted.items()}, seed, held)

    def part(picture: Picture) -> str:
        if picture.split in fractions:
            return picture.split
        # what the user put into train stays; what was left open follows its copies into the part that is held out
        followed = held.get(picture.group) if not picture.split else None
        return followed or taken.get(picture.group, "train")

    return [replace(picture, split=part(picture)) for picture in pictures]


def _held_out(pictures: Sequence[Picture]) -> dict[str, str]:
    """Return the part of every group of which the user holds a picture out; test before validation."""
    held: dict[str, str] = {}
    for picture in pictures:
        if picture.split == "test" or (picture.split == "validation" and picture.group not in held):
            held[picture.group] = picture.split
    return held


def _take(pool: list[Picture], fractions: dict[str, float], seed: int, held: Mapping[str, str]) -> dict[str, str]:
    """Return the part of every group that is taken from the pool; those of ``held`` stay."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pool:
        groups[picture.group].append(picture)
    # a group with two labels (near copies) counts for the more frequent one
    by_class: dict[str, dict[str, int]] = defaultdict(dict)
    for name, members in groups.items():
        if name not in held:  # a copy of it is held out by the user already
            labels = Counter(picture.label for picture in members)
            by_class[min(labels, key=lambda label: (-labels[label], label))][name] = len(members)
    roomy = {label: sizes for label, sizes in by_class.items() if len(sizes) >= len(fractions) + 1}
    totals = {label: sum(sizes.values()) for label, sizes in roomy.items()}
    quotas = {part: _quotas(totals, fraction) for part, fraction in fractions.items()}
    taken: dict[str, str] = {}
    for label, sizes in roomy.items():
        left = _shuffled(sizes, seed)
        for waiting, part in zip(range(len(fractions), 0, -1), fractions, strict=True):
            for name in _fill(left, sizes, quotas[part][label], keep=waiting):
                taken[name] = part
                left.remove(name)
    return taken


def _quotas(totals: dict[str, int], fraction: float) -> dict[str, int]:
    """Share out ``fraction`` of all pictures among the classes: at least one each, right in the sum.

    Largest remainders (Hamilton's method).
    """
    exact = {label: total * fraction for label, total in totals.items()}
    quotas = {label: max(1, int(value)) for label, value in exact.items()}
    spare = round(sum(exact.values())) - sum(quotas.values())
    for label in sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))[: max(0, spare)]:
        quotas[label] += exact[label] >= 1
    return quotas


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Return the names in an order that the seed decides, the same on every platform."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def _fill(names: list[str], sizes: dict[str, int], quota: int, keep: int) -> list[str]:
    """Choose groups of together at most ``quota`` pictures, at least one group, and leave ``keep`` groups."""
    chosen: list[str] = []
    for name in names:
        if sizes[name] <= quota and len(names) - len(chosen) > keep:
            chosen.append(name)
            quota -= sizes[name]
    return chosen or [min(names, key=lambda name: sizes[name])]


def fingerprint(pictures: Iterable[Picture]) -> str:
    """Return a hex number of what the data are: labels, parts given by the user, contents.

    Take it of a scan's pictures, before :func:`split` fills the parts. File names do not count.
    """
    digest = hashlib.sha256()
    for row in sorted((picture.label, picture.split, picture.sha256) for picture in pictures):
        digest.update("\0".join(row).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def write_split(path: Path, pictures: Iterable[Picture]) -> None:
    """Write the split as CSV: ImageSource, Label, Split, Sha256, Group; aside first, then renamed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for picture in pictures:
        writer.writerow((picture.path, picture.label, picture.split, picture.sha256, picture.group))
    aside = path.with_name(path.name + ".part")
    # a name that is not UTF-8 has to survive the round trip
    aside.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))
    os.replace(aside, path)  # noqa: PTH105


def read_split(path: Path) -> list[SplitRow]:
    """Read what :func:`write_split` wrote; :class:`TrainingError` when it is not such a file."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, csv.Error) as error:
        raise TrainingError(f"The split '{shown(path)}' cannot be read ({error}).", "Start the run anew.") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise TrainingError(
            f"'{shown(path)}' is not a split: its columns are not {', '.join(COLUMNS)}.", "Start the run anew."
        )
    bad = [number for number, row in enumerate(rows[1:], 2) if len(row) != len(COLUMNS) or row[2] not in SPLITS]
    if bad:
        raise TrainingError(f"Line {bad[0]} of the split '{shown(path)}' is damaged.", "Start the run anew.")
    return [SplitRow(*row) for row in rows[1:]]
