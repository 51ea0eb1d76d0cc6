"""Which files there are, and which class each belongs to: from a folder, a CSV file or rows."""

from __future__ import annotations

import csv
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from .cells import from_csv
from .errors import TrainingError
from .formats import has_image_name, is_left_behind
from .identity import Stamp
from .nearby import Finder, nfc
from .pictures import count, quoted, shown

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
OURS = ("ImageSource", "Label", "Split", "Group")  # columns of a list; the others are carried to split.csv
DERIVED = frozenset({"sha256"})  # columns of split.csv that say nothing new where it is given back as a list
SLICE = "Slice."  # before the name of a further column in split.csv
_WHOLE = re.compile(r"-?[0-9]+\.0+")
LAYOUT = "Put the images into one folder per class, such as flowers/rose/1.jpg and flowers/tulip/2.jpg"


class Entry(NamedTuple):
    """A row of a list; ``slices`` are the cells of its further columns, as (column, cell)."""

    source: str
    label: str
    split: str = ""
    group: str = ""
    slices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be an image; fields as in :class:`~.pictures.Picture`.

    ``folder`` is the name of the folder inside the class folder, where there is one.
    """

    path: str
    label: str
    split: str
    stamp: Stamp
    folder: str = ""
    user_group: str = ""
    slices: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Listing:
    """The candidates, and by kind the names of what is none, with reasons where they differ.

    ``is_list`` tells that they come from a list, not from a folder.
    """

    candidates: list[Candidate] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)
    is_list: bool = False

    def remark(self, kind: str, name: str, reason: str = "") -> None:
        """Note that ``name`` is left out because it is of this kind."""
        self.remarks.setdefault(kind, {})[name] = reason


def list_folder(root: Path, *, nested: bool = False) -> Listing:
    """List a folder of class folders, perhaps inside ``train/``, ``val/`` and ``test/``.

    With ``nested`` a class folder may hold folders, one for each object.
    """
    found = Listing()
    walk = _Walk(root, found, nested)
    tops, loose = walk.look("")
    parts = _parts(walk, tops)
    for top in tops:
        if top not in parts:
            if parts:
                found.remark("no part", top)
            else:
                walk.collect(top, label=top)
            continue
        folders, files = walk.look(top)
        loose += files
        for folder in folders:
            walk.collect(folder, label=Path(folder).name, split=parts[top])
    for file in loose:
        has_ending = "." in file.path.rpartition("/")[2]
        found.remark("not a picture" if has_ending and not has_image_name(file.path) else "loose", file.path)
    if walk.nested:
        raise _nesting(root, tops, walk, nested)
    return found


def _parts(walk: _Walk, tops: list[str]) -> dict[str, str]:
    """Return which split each top folder stands for; nothing when the tops are the classes.

    Folders beside the parts that hold no image are none of them and no class either.
    """
    parts = {top: part for top in tops if (part := SPLIT_NAMES.get(top.casefold(), ""))}
    trains = [top for top, part in parts.items() if part == "train"]
    if not trains or not all(walk.is_part(top, alone=len(parts) == 1) for top in trains):
        return {}
    if any(walk.holds_images(top) for top in tops if top not in parts):
        return {}
    if set(parts.values()) == {"train"}:  # nothing to part: just a folder around the classes
        return dict.fromkeys(parts, "")
    return parts


def _nesting(root: Path, tops: list[str], walk: _Walk, nested: bool) -> TrainingError:
    names = quoted(walk.nested)
    called = [top for top in tops if top.casefold() in SPLIT_NAMES]
    parts = [top for top in called if walk.is_part(top, alone=len(called) == 1)]
    others = [top for top in tops if top not in parts and walk.holds_images(top)]
    if others and any(SPLIT_NAMES[part.casefold()] == "train" for part in parts):
        is_one = len(others) == 1
        return TrainingError(
            f"Beside {quoted(parts)} in '{shown(root)}' there {'is' if is_one else 'are'} {quoted(others)}, "
            f"{'which is' if is_one else 'which are'} no part of a split.",
            f"Move {'it' if is_one else 'them'} elsewhere; a part is called train, validation or test, and holds one "
            "folder per class.",
        )
    if nested:
        return TrainingError(
            f"There are folders more than one level below class folders: {names} in '{shown(root)}'.",
            "With `group`, a class folder may hold one level of folders: class/object/1.jpg.",
            "List the images in a CSV file with the columns ImageSource, Label and Group, and give that file.",
        )
    if len(tops) == 1 and walk.holds_only_folders(tops[0]):
        return TrainingError(
            f"The classes are one folder deeper than '{shown(root)}': inside '{shown(tops[0])}'.",
            f"Give the folder '{shown(root / tops[0])}' instead.",
        )
    return TrainingError(
        f"There are folders inside class folders: {names} in '{shown(root)}'.",
        f"{LAYOUT}, without a folder inside a class folder. If each inner folder holds the images of one object, set "
        "`group: folder`.",
        "List the images in a CSV file with the columns ImageSource and Label, and give that file.",
    )


class _Walk:
    """Looks into folders and sorts what is there; never follows a link to a folder or out of the root."""

    def __init__(self, root: Path, found: Listing, deeper: bool) -> None:
        self.root = str(root)
        self.home = os.path.realpath(root)
        self.found = found
        self.deeper = deeper  # one level more is wanted
        self.nested: list[str] = []

    def collect(self, folder: str, label: str, split: str = "") -> None:
        """Take the files of a class folder as candidates."""
        label = nfc(label)  # a name from a Mac and one from elsewhere are the same class
        if label not in self.found.classes:
            self.found.classes.append(label)
        folders, files = self.look(folder)
        self.found.candidates += [replace(file, label=label, split=split) for file in files]
        if not self.deeper:
            self.nested += [inner for inner in folders if self._holds_files(inner)]
            return
        for inner in folders:
            below, files = self.look(inner)
            name = Path(inner).name
            self.found.candidates += [replace(file, label=label, split=split, folder=name) for file in files]
            self.nested += [deeper for deeper in below if self._holds_files(deeper)]

    def holds_only_folders(self, folder: str) -> bool:
        """Tell whether there are folders inside, and no file that counts."""
        folders, files = self.look(folder)
        return bool(folders) and not files

    def is_part(self, folder: str, *, alone: bool) -> bool:
        """Tell whether a folder called train or test holds classes; ``alone`` it could be a class itself."""
        folders, files = self.look(folder)
        return bool(folders) and not (alone and any(has_image_name(file.path) for file in files))

    def holds_images(self, folder: str) -> bool:
        """Tell whether a file somewhere inside has an image's name."""
        folders, files = self.look(folder)
        return any(has_image_name(file.path) for file in files) or any(map(self.holds_images, folders))

    def look(self, folder: str) -> tuple[list[str], list[Candidate]]:
        """Return the folders and the files directly inside, sorted by name, paths relative to the root."""
        folders: list[str] = []
        files: list[Candidate] = []
        try:
            with os.scandir(os.path.join(self.root, folder)) as inside:  # noqa: PTH118
                entries = sorted(inside, key=lambda entry: entry.name)
        except OSError as error:
            self.found.remark("unreadable", folder or self.root, f"the folder cannot be read ({error.strerror})")
            return folders, files
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if is_left_behind(entry.name):
                self.found.remark("hidden", path)
            elif entry.is_symlink() and not self._may_follow(entry, path):
                continue
            elif entry.is_dir():
                folders.append(path)
            else:
                self._file(entry, path, files)
        return folders, files

    def _file(self, entry: os.DirEntry[str], path: str, files: list[Candidate]) -> None:
        try:
            facts = entry.stat()
        except OSError as error:
            self.found.remark("unreadable", path, f"the file cannot be read ({error.strerror})")
            return
        if stat.S_ISREG(facts.st_mode):
            files.append(Candidate(path, "", "", Stamp.of(facts)))
        else:
            self.found.remark("not a picture", path, "it is a pipe, socket or device")

    def _may_follow(self, entry: os.DirEntry[str], path: str) -> bool:
        target = os.path.realpath(entry.path)
        if not os.path.exists(target):  # noqa: PTH110
            self.found.remark("unreadable", path, "it is a link that leads nowhere")
        elif not f"{target}{os.sep}".startswith(self.home.rstrip(os.sep) + os.sep):
            self.found.remark("link outside", path)
        elif entry.is_dir():
            self.found.remark("link to a folder", path)
        else:
            return True
        return False

    def _holds_files(self, folder: str) -> bool:
        folders, files = self.look(folder)
        return bool(files) or any(self._holds_files(inner) for inner in folders)


def list_entries(root: Path, entries: Iterable[tuple[Any, ...]]) -> Listing:
    """List rows, as in :class:`Entry`; relative paths are looked for under ``root``."""
    found = Listing(is_list=True)
    listed: dict[str, Candidate] = {}
    finder = Finder(root)
    for row in entries:
        source, label, split, group, slices = Entry(*row)
        label = nfc(label)
        path, facts, near = _locate(root, source, finder)
        if facts is None:
            found.remark("missing", path, f"there is '{near}'" if near else "")
        elif path not in listed:
            listed[path] = Candidate(path, label, split, Stamp.of(facts), user_group=group, slices=slices)
        elif listed[path].label != label:
            found.remark("conflicting rows", path, f"listed as '{shown(listed[path].label)}' and '{shown(label)}'")
        elif group != listed[path].user_group:
            first = shown(listed[path].user_group)
            found.remark("listed twice", path, f"the first row counts, with the group '{first}', not '{shown(group)}'")
        else:
            found.remark("listed twice", path)
    refused = found.remarks.get("conflicting rows", {})
    found.candidates = [candidate for path, candidate in listed.items() if path not in refused]
    found.classes = sorted({candidate.label for candidate in found.candidates})
    return found


def _locate(root: Path, source: str, finder: Finder) -> tuple[str, os.stat_result | None, str]:
    """Return the path of a row as an image's path, and what the file system says of it, else the path that is near."""
    names = [source, source.replace("\\", "/")]  # the list may come from Windows
    for name in dict.fromkeys(names):
        found = _regular(root, name)
        if found is not None:
            return (*found, "")
    same, near = finder.find(source)
    found = _regular(root, str(same)) if same is not None else None
    return (*found, "") if found is not None else (source, None, near)


def _regular(root: Path, name: str) -> tuple[str, os.stat_result] | None:
    """Return the path of a file as an image's path, and what the file system says of it; None when it is none."""
    path = Path(os.path.normpath(root / name))
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix(), facts


def read_rows(path: Path) -> list[Entry]:
    """Read a CSV file with the columns ImageSource, Label and perhaps Split, Group and others.

    Comma, semicolon or tab; UTF-8, with or without a byte order mark; capitals do not matter in the names of ours.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="strict")
    except FileNotFoundError:
        raise TrainingError(f"There is no file '{shown(path)}'.", "Check the path.") from None
    except UnicodeDecodeError:
        raise TrainingError(f"'{shown(path)}' is not a text file in UTF-8.", "Save it as CSV UTF-8.") from None
    except OSError as error:
        raise TrainingError(f"'{shown(path)}' cannot be read ({error.strerror}).", "Check its rights.") from None
    try:
        table = from_csv(text, delimiter_of(text), strip=True)
    except csv.Error as error:
        raise TrainingError(f"'{shown(path)}' is not a CSV file ({error}).", "Save it as CSV UTF-8.") from None
    columns = table[0] if table else []
    rows = [row for row in table[1:] if any(row)]
    return check_rows(columns, rows, f"'{shown(path)}'")


def delimiter_of(text: str) -> str:
    """Return what parts the columns of a CSV file: comma, semicolon or tab, whichever its header has most of."""
    return max(",;\t", key=text.split("\n", 1)[0].count)


def check_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> list[Entry]:
    """Return the entries of a table whose cells have no blanks around them; refuse what is incomplete.

    ``columns`` are the names as written: capitals do not matter in ours, and count in those of further columns.
    """
    columns = [column.strip() for column in columns]
    where = [_place(columns, ours, name) for ours in OURS]
    missing = [ours for ours, place in zip(OURS[:2], where, strict=False) if place < 0]
    if missing:
        raise TrainingError(
            f"{name} has no column {' and no column '.join(missing)}; it has {quoted(columns, 8) or 'none'}.",
            "Name the columns ImageSource (the path of an image) and Label (its class); Split and Group are optional.",
        )
    further = _further(columns, where)
    entries: list[Entry] = []
    problems: list[str] = []
    for number, row in enumerate(rows, 1):
        source, label, split, group = (row[i] if 0 <= i < len(row) else "" for i in where)
        if not source or not label:
            problems.append(f"row {number} has no {'ImageSource' if not source else 'Label'}")
        elif split and split.casefold() not in SPLIT_NAMES:
            problems.append(f"row {number} has the Split '{shown(split)}'")
        else:
            slices = tuple((column, row[i] if i < len(row) else "") for column, i in further.items())
            entries.append(Entry(source, label, SPLIT_NAMES.get(split.casefold(), ""), group, slices))
    if problems:
        more = f", and {len(problems) - 5:,} more" if len(problems) > 5 else ""
        raise TrainingError(
            f"{name} has {count(len(problems), 'row')} that cannot be used: {'; '.join(problems[:5])}{more}.",
            "Every row needs an ImageSource and a Label; a Split is train, validation, test or empty.",
        )
    if not entries:
        raise TrainingError(f"{name} has no rows.", "List one image per row: ImageSource,Label.")
    if all(_WHOLE.fullmatch(entry.label) for entry in entries):  # pandas made them decimal where one was missing
        entries = [entry._replace(label=entry.label.partition(".")[0]) for entry in entries]
    return entries


def _place(columns: Sequence[str], ours: str, name: str) -> int:
    """Return where a column of ours is, or -1: as we write it, else the only one that differs in capitals."""
    if columns.count(ours) == 1:
        return columns.index(ours)
    alike = [place for place, column in enumerate(columns) if column.casefold() == ours.casefold()]
    if len(alike) > 1:
        raise TrainingError(
            f"{name} has {len(alike)} columns called {ours}: {quoted((columns[place] for place in alike), 8)}.",
            f"Keep one of them as {ours}, and rename or delete the others.",
        )
    return alike[0] if alike else -1


def _further(columns: Sequence[str], ours: Sequence[int]) -> dict[str, int]:
    """Return the further columns by name; a column without a name is none (the index of a saved DataFrame)."""
    further: dict[str, int] = {}
    for place, column in enumerate(columns):
        name = column.removeprefix(SLICE)
        if place in ours or not name or name.casefold() in DERIVED:
            continue
        number = 2
        while name in further:
            name = f"{column.removeprefix(SLICE)}.{number}"
            number += 1
        further[name] = place
    return further
