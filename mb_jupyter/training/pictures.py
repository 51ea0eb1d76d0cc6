"""The values everything about the data is said in: a picture, a finding, a scan."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]
Progress: TypeAlias = Callable[[int, int], None]
_JOINERS = "\u200c\u200d"  # part of emoji and of several scripts
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Picture:
    """One usable picture.

    ``path`` is relative to the scan's root, with forward slashes, or absolute where the file lies elsewhere.
    ``split`` is what the user gave, else empty, until :func:`~.split.split` fills it. ``phash`` is a perceptual
    hash and ``thumbnail`` a tiny copy, both to find near copies with. ``size`` to ``inode`` are what the file system
    says of the file; ``settled``: the same will mean the same content. ``user_group`` is the group that the user gave,
    else empty; ``copies`` is equal for copies, near copies and copies of those. Images of one ``group`` are never
    parted: it joins both where they share an image. ``slices`` are the cells of the list's further columns, as (column,
    cell), and ``taken`` is as in ``taken.py``. ``bits`` is how many bits the values use where the file stores more than
    8, else 0; ``spread`` is by how much the pixels of one channel differ at the most.
    """

    path: str
    label: str
    split: str
    sha256: str
    width: int
    height: int
    format: str
    phash: int | None
    size: int
    mtime_ns: int
    group: str = ""
    ctime_ns: int = 0
    inode: int = 0
    settled: bool = False
    user_group: str = ""
    copies: str = ""
    thumbnail: str = ""
    taken: str = ""
    bits: int = 0
    spread: int = 255
    slices: tuple[tuple[str, str], ...] = ()

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What :class:`~.identity.Stamp` calls the identity of the file."""
        return (self.size, self.mtime_ns, self.ctime_ns, self.inode)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know about the data: a whole sentence and the files it is about.

    ``reasons`` is empty or has one entry per file. With ``excluded`` those files are left out. ``lines`` are settings
    to copy, as YAML.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[str, ...] = ()
    excluded: bool = False
    reasons: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The sentence with the lines to copy, each on a line of its own."""
        return "\n".join((self.message, *(f"    {line}" for line in self.lines)))


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found: the usable pictures by path, the findings, the classes in order."""

    root: Path
    pictures: list[Picture]
    findings: list[Finding]
    classes: list[str]


def shown(name: object) -> str:
    """Return a name fit for a sentence: no line break, no control character, no undecodable byte.

    Only for showing; a file is always opened by its own name.
    """
    return "".join(char if char.isprintable() or char in _JOINERS else _escaped(char) for char in str(name))


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python carries a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def quoted(names: Iterable[object], limit: int = 3) -> str:
    """Return names for a sentence: ``'a', 'b', 'c' and 2 more``."""
    every = [f"'{shown(name)}'" for name in names]
    if len(every) > limit:
        return ", ".join(every[:limit]) + f" and {len(every) - limit:,} more"
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts names as people do: 2 before 10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(bool(i % 2), int(part) if i % 2 else 0, "" if i % 2 else part) for i, part in enumerate(parts)]


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 picture`` or ``1,200 pictures``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
