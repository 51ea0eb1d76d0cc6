"""Which pictures train, which choose, which are held out; saved with hashes.

Stratified by class and seeded. A group, the user's own or copies and near copies, is never divided between parts:
a copy of a training image among the test images makes the report better than the model.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .cells import from_csv, to_csv
from .disk import swap
from .errors import TrainingError
from .listing import SLICE
from .pictures import SPLITS, Picture, shown
from .similar import group

COLUMNS = ("ImageSource", "Label", "Split", "Sha256", "Group")
ROOM = 3  # groups a class needs to be in all three parts
MORE_GROUPS = 1.5  # times its fraction of a class's groups that a part may have, where they are small ones


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
    the user left open. Depends on nothing but the images' content, their labels, who is in which
    group, and the seed: not on names, order, folder or platform. A class of fewer than three groups only trains.
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
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in pool:
        if picture.group not in held:  # a copy of it is held out by the user already
            counts[picture.group][picture.label] += 1
    holders: dict[str, list[str]] = defaultdict(list)  # class -> the groups that hold images of it
    for name in _shuffled(counts, _keys(pool), seed):
        for label in counts[name]:
            holders[label].append(name)
    roomy = {label for label, names in holders.items() if len(names) >= len(fractions) + 1}
    # a class with less room only trains, and so does what belongs to it
    free = {name for name, labels in counts.items() if labels.keys() <= roomy}
    totals = {label: sum(counts[name][label] for name in holders[label]) for label in sorted(roomy)}
    taken: dict[str, str] = {}
    for waiting, (part, fraction) in zip(range(len(fractions), 0, -1), fractions.items(), strict=True):
        drawn = _Part(counts, totals, fraction)
        left = Counter(label for name, labels in counts.items() if name not in taken for label in labels)
        # the class with the fewest groups chooses first: groups of several classes may be all it has
        for label in sorted(roomy, key=lambda label: (len(holders[label]), label)):
            names = [name for name in holders[label] if name in free and name not in taken]
            drawn.fill(label, names, len(holders[label]), left, keep=waiting)
        taken |= dict.fromkeys(drawn.chosen, part)
    return taken


class _Part:
    """A part of the split as it is drawn: groups whose images stay within the quota of every class."""

    def __init__(self, counts: Mapping[str, Counter[str]], totals: dict[str, int], fraction: float) -> None:
        self.counts, self.fraction, self.totals = counts, fraction, totals
        self.room = Counter(_quotas(totals, fraction))  # images of each class that still fit
        self.chosen: dict[str, None] = {}

    def fill(self, label: str, names: Sequence[str], groups: int, left: Counter[str], keep: int) -> None:
        """Draw groups that hold the class, at least one, and leave ``keep`` groups of every class.

        Where one group is most of a class and must train, nearly all the others would have room in the part: then
        their number is the limit.
        """
        most = math.ceil(min(1.0, MORE_GROUPS * self.fraction) * groups)
        have = sum(label in self.counts[name] for name in self.chosen)

        def may_go(name: str) -> bool:
            return name not in self.chosen and all(left[each] > keep for each in self.counts[name])

        for name in names:
            fits = all(number <= self.room[each] for each, number in self.counts[name].items())
            if have < most and fits and may_go(name):
                self._draw(name, left)
                have += 1
        possible = [name for name in names if may_go(name)]
        if not have and possible:
            self._draw(min(possible, key=self._largest_share), left)

    def _largest_share(self, name: str) -> float:
        """Return how much of a class's images the group holds, of the class it holds most of."""
        return max(number / self.totals[label] for label, number in self.counts[name].items())

    def _draw(self, name: str, left: Counter[str]) -> None:
        self.chosen[name] = None
        for label, number in self.counts[name].items():
            self.room[label] -= number
            left[label] -= 1


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


def _keys(pictures: Sequence[Picture]) -> dict[str, str]:
    """Return what the draw knows a group by: its smallest hash where the user named it, so that names do not count."""
    named = {picture.group for picture in pictures if picture.user_group}
    keys: dict[str, str] = {}
    for picture in pictures:
        own = picture.sha256[:16] if picture.group in named else picture.group
        keys[picture.group] = min(own, keys.get(picture.group, own))
    return keys


def _shuffled(names: Iterable[str], keys: Mapping[str, str], seed: int) -> list[str]:
    """Return the names in an order that the seed decides, the same on every platform."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{keys[name]}".encode()).digest())


def fingerprint(pictures: Sequence[Picture]) -> str:
    """Return a hex number of what the data are: labels, parts given by the user, contents, the user's groups.

    Take it of a scan's pictures, before :func:`split` fills the parts. Names of files and groups do not count: a
    group is known by its smallest hash, and one with a single image is none.
    """
    members: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.user_group:
            members[picture.user_group].add(picture.sha256)
    names = {name: (min(hashes),) for name, hashes in members.items() if len(hashes) > 1}
    digest = hashlib.sha256()
    rows = ((picture.label, picture.split, picture.sha256, *names.get(picture.user_group, ())) for picture in pictures)
    for row in sorted(rows):
        digest.update("\0".join(row).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def columns_of(pictures: Iterable[Picture]) -> tuple[str, ...]:
    """Return the columns of ``split.csv``: those of every split, then one for each further column of the list."""
    return (*COLUMNS, *dict.fromkeys(f"{SLICE}{name}" for picture in pictures for name, _ in picture.slices))


def rows_of(pictures: Sequence[Picture]) -> list[tuple[str, ...]]:
    """Return the rows of ``split.csv``."""
    further = [name.removeprefix(SLICE) for name in columns_of(pictures)[len(COLUMNS) :]]
    rows: list[tuple[str, ...]] = []
    for p in pictures:
        cells = dict(p.slices)
        rows.append((p.path, p.label, p.split, p.sha256, p.group, *(cells.get(name, "") for name in further)))
    return rows


def write_split(path: Path, pictures: Sequence[Picture]) -> None:
    """Write the split as CSV: ImageSource, Label, Split, Sha256, Group, Slice.<column>; aside first, then renamed."""
    text = to_csv([columns_of(pictures), *rows_of(pictures)])
    # a name that is not UTF-8 has to survive the round trip
    swap(path, text.encode("utf-8", "surrogateescape"), durable=True)


def read_split(path: Path) -> list[SplitRow]:
    """Read what :func:`write_split` wrote, but no further columns; :class:`TrainingError` for another file."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        rows = from_csv(text)
    except (OSError, csv.Error) as error:
        raise TrainingError(f"The split '{shown(path)}' cannot be read ({error}).", "Start the run anew.") from None
    if not rows or tuple(rows[0][: len(COLUMNS)]) != COLUMNS:
        raise TrainingError(
            f"'{shown(path)}' is not a split: its columns are not {', '.join(COLUMNS)}.", "Start the run anew."
        )
    bad = [number for number, row in enumerate(rows[1:], 2) if len(row) != len(rows[0]) or row[2] not in SPLITS]
    if bad:
        raise TrainingError(f"Line {bad[0]} of the split '{shown(path)}' is damaged.", "Start the run anew.")
    return [SplitRow(*row[: len(COLUMNS)]) for row in rows[1:]]
