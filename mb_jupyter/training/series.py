"""Series that the user may not have told of: several images of one object, by file name, time and camera, or likeness.

Only proposed, never applied: names mean what their owner meant.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import median

import numpy as np

from .pictures import Finding, Picture, count, natural, quoted
from .rule import BURST, BURST_SECONDS, FOLDER, SIMILAR

SMALLEST_CLASS = 6  # images of a class whose names can show a pattern
IN_SERIES = 0.6  # of a class's images, so that its names show series
LARGEST_SERIES = 0.5  # of a class's images; more is the name of the class, with a number for each image
FEWEST_SERIES = 3  # in a class that shows them
NEARLY_ALL = 0.9  # of the images of the pattern that finds most; one that finds fewer is no alternative
WORDS = 12  # members of a series, at the most, whose name has no number: a word may as well be a source
LOOKING_ALIKE = 0.3  # of a class's images that resemble another one; the likeness of a series has gaps
# bits of the hash, of 256, that may differ between two shots of one object: with slight turns and crops 86 % of the
# pairs have no more, and none of different objects; of 1.3 million pairs of photos of rubbish 16
ALIKE_BITS = 64
MOST_COMPARED = 5_000  # images whose hashes are compared each time somebody looks at the data
BLOCK = 1_000  # rows compared at a time
HASH_BITS, COLOUR_BITS = 256, 64  # of what similar.py calls a perceptual hash
PAIRS = 400  # whose hashes are compared, to see whether a series looks like one
NEARER_BITS = 6  # that a pair within a series differs less, of 256, where it looks like one

# each finds the series of a file name as its first capture group; from rather sure to rather bold
_PATTERNS = (
    r"([^/]+)[._](?:jpe?g|png|bmp|webp)\.rf\.\w+{end}",  # Roboflow: one image, augmented
    r"([^/]*?)(?: ?\(\d+\)| - Copy)?{end}",  # IMG_0001 (2).jpg
    r"([^/]*\d){gap}\d+{end}",  # tile_012_3.jpg
    r"([^/]*\d[^/]*?){gap}\d+{end}",  # tile_012a_3.jpg
    r"([^/]*?\d){gap}(?:[A-Za-z]+{gap})?\d+{end}",  # video1_frame_0001.jpg
    r"([^/]*?\d){gap}(?:[A-Za-z]+)?\d+{end}",  # video1_frame0001.jpg
    r"([^/]*?\d)(?:{gap}[A-Za-z]+\d*)?{end}",  # patient7-left.jpg, scan3_aug1.jpg
    r"([^/]*?\d+){gap}[^/]*$",  # p07_left_0001.jpg
    r"([^/]*?[^/\d _.\-]){gap}\d+{end}",  # anna_1.jpg
    r"([^/]*?[^/\d _.\-])\d+{end}",  # anna1.jpg
)
_GAPS = ("_", "-", " ", r"\.", r"[ _.\-]+")  # from readable to general
_ENDS = (r"\.\w+$", r"(?:\.\w+)?$")
WITHIN = "the same name in two classes means two objects"
ACROSS = "the same name in two classes means one object"
_IN_CLASS = "[^/]+/"
# a year, a day, or a day with hours, minutes and perhaps seconds, at the end of a name
_DATE = re.compile(
    r"(?:^|\D)(?:19|20)\d\d(?:[ _.\-]?[01]\d(?:[ _.\-]?[0-3]\d(?:[ _.\-T]*[0-2]\d(?:[ _.\-]?[0-5]\d){0,2})?)?)?$"
)


@dataclass(frozen=True)
class _Proposal:
    """A setting ``group``, and what it would give."""

    setting: str
    series: Mapping[str, Sequence[Picture]]  # groups of several images, by name
    note: str = ""

    @property
    def images(self) -> int:
        """How many images are in series."""
        return sum(map(len, self.series.values()))

    @property
    def partition(self) -> set[frozenset[str]]:
        """The series as sets of paths."""
        return {frozenset(picture.path for picture in each) for each in self.series.values()}


def findings(pictures: Sequence[Picture], *, is_list: bool) -> Iterator[Finding]:
    """Yield a finding with one or two settings to copy, where the images seem to be series."""
    by_name = list(_by_name(pictures, is_list))
    if by_name:
        yield _finding("names", by_name, "they share parts of their file names")
        return
    bursts = _proposal(BURST, pictures, {picture.path: name for picture, name in _bursts(pictures)})
    if bursts is not None:
        yield _finding("bursts", [bursts], f"one camera took them within {BURST_SECONDS} seconds of each other")
        return
    if len(pictures) <= MOST_COMPARED:
        alike = _series(SIMILAR, pictures, _alike(pictures))
        # copies of one file are no series, and are never parted anyway
        alike = replace(
            alike, series={n: each for n, each in alike.series.items() if len({p.copies for p in each}) > 1}
        )
        names = {picture.path: name for name, each in alike.series.items() for picture in each}
        if (similar := _proposal(SIMILAR, pictures, names, LOOKING_ALIKE)) is not None:
            yield _finding("likeness", [similar], "")


def _finding(kind: str, proposals: Sequence[_Proposal], why: str) -> Finding:
    first = proposals[0]
    name = min(first.series, key=natural)
    reasons = [why] if why else []
    like = not why or _looks(first)
    if like:
        reasons.append("they resemble each other")
    message = (
        f"{count(first.images, 'image')} may show only {count(len(first.series), 'object')}, several times each: "
        f"{' and '.join(reasons)}, such as "
        f"{quoted(picture.path for picture in first.series[name])}. If so, images of one object are in both training "
        "and test, and the scores are too high. To keep each object in one part, add "
        f"{'this line' if len(proposals) == 1 else 'one of these lines'} to the settings:"
    )
    return Finding(f"series by {kind}", "warning" if like else "note", message, lines=tuple(map(_line, proposals)))


def _line(proposal: _Proposal) -> str:
    """Return the setting as YAML, with what it gives as a comment."""
    setting = proposal.setting.replace("'", "''")
    note = f"; {proposal.note}" if proposal.note else ""
    return f"group: '{setting}'  # {count(len(proposal.series), 'group')} of {proposal.images:,} images{note}"


# names


def _by_name(pictures: Sequence[Picture], is_list: bool) -> Iterator[_Proposal]:
    """Yield the coarsest pattern that fits the names and the finest, or the same one within and across classes."""
    # the class is a part of the name at first: objects may be numbered in each class
    scope = _IN_CLASS if all("/" in picture.path for picture in pictures) else ""
    found = [_proposal(pattern, pictures, _names(pattern, pictures, scope)) for pattern in _PATTERNS]
    if is_list:
        folders = {picture.path: picture.path.rpartition("/")[0] for picture in pictures}
        found.append(_proposal(FOLDER, pictures, folders))
    fitting = [proposal for proposal in found if proposal is not None and not _are_dates(proposal)]
    if not fitting:
        return
    most = max(proposal.images for proposal in fitting)
    good = [proposal for proposal in fitting if proposal.images >= NEARLY_ALL * most]
    coarse = min(good, key=lambda proposal: len(proposal.series))
    fine = max(good, key=lambda proposal: len(proposal.series))
    if coarse.partition != fine.partition:
        yield _simplest(coarse, pictures, scope)
        yield _simplest(fine, pictures, scope)
        return
    across = coarse if coarse.setting == FOLDER else _series(coarse.setting, pictures, _names(coarse.setting, pictures))
    if across.partition != coarse.partition:  # a name in two classes: the same object, or not
        coarse, across = replace(coarse, note=WITHIN), replace(across, note=ACROSS)
        yield _simplest(coarse, pictures, scope)
    yield _simplest(across, pictures, "")


def _names(pattern: str, pictures: Sequence[Picture], scope: str = "") -> dict[str, str]:
    """Return the name of the series of every path that the pattern fits; gaps and ends may be of any kind."""
    search = re.compile(_filled(pattern, scope, _GAPS[-1], _ENDS[-1])).search
    found = ((picture.path, search(picture.path)) for picture in pictures)
    return {path: match[1] for path, match in found if match and match[1]}


def _filled(pattern: str, scope: str, gap: str, end: str) -> str:
    return f"({scope}" + pattern[1:].replace("{gap}", gap).replace("{end}", end)


def _simplest(proposal: _Proposal, pictures: Sequence[Picture], scope: str) -> _Proposal:
    """Return the proposal with the most readable pattern that gives the same series, and no more."""
    if proposal.setting == FOLDER:
        return proposal
    general = _names(proposal.setting, pictures, scope)
    for inside, gap, end in product(dict.fromkeys(("", scope)), _GAPS, _ENDS):
        simple = _filled(proposal.setting, inside, gap, end)
        matched = _names(simple, pictures)
        if matched.keys() == general.keys() and _series(simple, pictures, matched).partition == proposal.partition:
            return replace(proposal, setting=simple)
    return replace(proposal, setting=_filled(proposal.setting, scope, _GAPS[-1], _ENDS[-1]))


def _are_dates(proposal: _Proposal) -> bool:
    """Return whether the names are days or years, such as those of IMG_20261129_101502.jpg."""
    return sum(bool(_DATE.search(name)) for name in proposal.series) > 0.5 * len(proposal.series)


def _series(setting: str, pictures: Sequence[Picture], names: Mapping[str, str]) -> _Proposal:
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if names.get(picture.path):
            groups[names[picture.path]].append(picture)
    return _Proposal(setting, {name: each for name, each in groups.items() if len(each) > 1})


def _proposal(
    setting: str, pictures: Sequence[Picture], names: Mapping[str, str], share: float = IN_SERIES
) -> _Proposal | None:
    """Return the series, if they are what several images of one object look like in a class."""
    proposal = _series(setting, pictures, names)
    totals = Counter(picture.label for picture in pictures)
    large = [label for label, total in totals.items() if total >= SMALLEST_CLASS]
    inside: Counter[str] = Counter()
    many: Counter[str] = Counter()
    for name, each in proposal.series.items():
        if len(each) > WORDS and not any(char.isdigit() for char in name.rpartition("/")[2]):
            return None
        labels = Counter(picture.label for picture in each)
        if any(labels[label] > LARGEST_SERIES * totals[label] for label in large):
            return None
        inside += labels
        many.update(labels.keys())
    shows = any(inside[label] >= share * totals[label] and many[label] >= FEWEST_SERIES for label in large)
    return proposal if shows else None


# time and camera


def by_burst(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the images with ``user_group`` filled where one camera took several within seconds of each other."""
    names = {picture.path: name for picture, name in _bursts(pictures)}
    return [replace(picture, user_group=names.get(picture.path, "")) for picture in pictures]


def _bursts(pictures: Sequence[Picture]) -> Iterator[tuple[Picture, str]]:
    """Yield every image of a burst with the camera and the time at which it begins."""
    cameras: dict[str, list[tuple[int, Picture]]] = defaultdict(list)
    for picture in pictures:
        if picture.taken:
            begun, _, camera = picture.taken.partition(" ")
            cameras[camera].append((int(begun), picture))
    for camera, rows in cameras.items():
        rows.sort(key=lambda row: (row[0], row[1].path))
        burst: list[Picture] = []
        for number, (seconds, picture) in enumerate(rows):
            burst.append(picture)
            if number + 1 < len(rows) and rows[number + 1][0] - seconds <= BURST_SECONDS:
                continue
            if len(burst) > 1:
                yield from ((each, f"{camera} {burst[0].taken.partition(' ')[0]}") for each in burst)
            burst = []


# how they look


def by_likeness(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the images with ``user_group`` filled where several have hashes that are rather near."""
    names = _alike(pictures)
    return [replace(picture, user_group=names.get(picture.path, "")) for picture in pictures]


def _alike(pictures: Sequence[Picture]) -> dict[str, str]:
    """Return the name of the group of every image that resembles another, by path."""
    hashes = {picture.sha256: picture.phash >> COLOUR_BITS for picture in pictures if picture.phash is not None}
    order = sorted(hashes)
    raw = b"".join(hashes[sha].to_bytes(HASH_BITS // 8, "big") for sha in order)
    bits = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(len(order), HASH_BITS // 8), axis=1)
    signs = bits.astype(np.float32) * 2 - 1  # the product of two rows is HASH_BITS - 2 x the bits that differ
    leader = list(range(len(order)))

    def first_of(row: int) -> int:
        while leader[row] != row:
            leader[row] = row = leader[leader[row]]
        return row

    for start in range(0, len(order), BLOCK):
        near = signs[start : start + BLOCK] @ signs[start:].T >= HASH_BITS - 2 * ALIKE_BITS
        for row, other in np.argwhere(near):
            one, two = sorted((first_of(start + int(row)), first_of(start + int(other))))
            leader[two] = one
    members = Counter(first_of(row) for row in range(len(order)))
    name = {sha: f"like {order[first_of(row)][:8]}" for row, sha in enumerate(order) if members[first_of(row)] > 1}
    return {picture.path: name[picture.sha256] for picture in pictures if picture.sha256 in name}


def _looks(proposal: _Proposal) -> bool:
    """Return whether images within a series are nearer to each other than to others of their class."""
    chance = random.Random(0)  # noqa: S311 - the same pairs every time
    series = [[p for p in each if p.phash is not None] for each in proposal.series.values()]
    series = [each for each in series if len(each) > 1]
    by_class: dict[str, list[tuple[int, Picture]]] = defaultdict(list)
    for number, each in enumerate(series):
        for picture in each:
            by_class[picture.label].append((number, picture))
    if not series:
        return False
    within = [_bits(*chance.sample(chance.choice(series), 2)) for _ in range(PAIRS)]
    between = []
    for _ in range(PAIRS):
        one, other = (chance.choice(by_class[chance.choice(sorted(by_class))]) for _ in range(2))
        if one[0] != other[0]:
            between.append(_bits(one[1], other[1]))
    return bool(between) and median(within) <= median(between) - NEARER_BITS


def _bits(one: Picture, other: Picture) -> int:
    return (((one.phash or 0) ^ (other.phash or 0)) >> COLOUR_BITS).bit_count()
