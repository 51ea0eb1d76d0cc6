"""What a wrong name probably means: the same in capitals, with another extension, or nearly spelt so.

Two names that differ only in their Unicode form are the same name: a Mac may write é as e and an accent, and
everybody else as one character.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

MOST_SPELT = 20  # names whose spelling is compared with all others; each costs as long as reading a picture


def nfc(name: str) -> str:
    """Return the name in the form in which it is compared."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return the name as a file system compares it that does not know capitals."""
    return nfc(nfc(name).casefold())


class Names:
    """Names of one folder or list, asked for one by one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._same: dict[str, str] = {}
        self._folded: dict[str, str] = {}
        self._others: dict[str, str] = {}  # without the extension, or without the zeros before numbers
        for name in sorted(names, reverse=True):  # of several the first counts
            self._same[nfc(name)] = name
            self._folded[folded(name)] = name
            self._others |= dict.fromkeys(_variants(name), name)

    def same(self, name: str) -> str:
        """Return the same name in whatever Unicode form it has here; empty when it is not here."""
        return self._same.get(nfc(name), "")

    def near(self, name: str, *, spelling: bool = True) -> str:
        """Return what was probably meant; empty when nothing is near."""
        found = self.same(name) or self._folded.get(folded(name), "")
        found = found or next((self._others[each] for each in _variants(name) if each in self._others), "")
        if found or not spelling:
            return found
        close = difflib.get_close_matches(folded(name), self._folded, n=5, cutoff=0.75)
        return next((self._folded[each] for each in close if _numbers(each) == _numbers(name)), "")


def _variants(name: str) -> Iterator[str]:
    yield re.sub(r"(?<![0-9])0+(?=[0-9])", "", folded(name))
    yield folded(os.path.splitext(name)[0])  # noqa: PTH122 - a path stays one


def _numbers(name: str) -> list[int]:
    """Return the numbers in a name: another number is another image, however near it is spelt."""
    return [int(number) for number in re.findall(r"[0-9]+", name)]


class Finder:
    """Finds files by the paths of a list; every folder is looked into once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, Names] = {}
        self._spelt = 0

    def find(self, source: str) -> tuple[Path | None, str]:
        """Return the file that a path means in another Unicode form, else None and the path that is near, if any."""
        wanted = PurePath(source.replace("\\", "/"))
        here = Path(wanted.anchor) if wanted.is_absolute() else self._root
        parts = [part for part in wanted.parts if part not in (wanted.anchor, ".")]
        is_same = True
        for part in parts:
            names = self._inside(here)
            found = part if part == ".." else names.same(part)
            if not found:
                is_same = False
                self._spelt += 1
                found = names.near(part, spelling=self._spelt <= MOST_SPELT)
            if not found:
                return None, ""
            here = here / found
        if not parts or not here.is_file():
            return None, ""
        near = here if wanted.is_absolute() else here.relative_to(self._root)
        return (here, "") if is_same else (None, near.as_posix())

    def _inside(self, folder: Path) -> Names:
        key = str(folder)
        if key not in self._folders:
            try:
                self._folders[key] = Names(os.listdir(folder))  # noqa: PTH208 - names are what is wanted
            except (OSError, ValueError):
                self._folders[key] = Names(())
        return self._folders[key]


def near_folder(root: Path) -> str:
    """Return the folder that was probably meant by one that is not there; empty when nothing is near."""
    parent = root.parent
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if Path(entry.path).is_dir()]
    except (OSError, ValueError):
        return ""
    near = Names(names).near(root.name)
    return str(parent / near) if near else ""
