"""What this machine knows of a folder that it has sent: which file's content is where in the workspace's storage."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mb_jupyter.training.identity import Stamp

CACHE_DAYS = 90
ROW = [str, int, int, int, int, bool, str, str, int]  # path, identity and whether it settled, hash, pack, offset


@dataclass(frozen=True)
class Entry:
    """Where a file's content is: ``size`` bytes of ``pack`` from ``offset`` on."""

    path: str
    size: int
    sha256: str
    pack: str
    offset: int


@dataclass(frozen=True)
class Found:
    """A file to send. ``sha256`` is what its content must be, empty when nobody looked at it before."""

    path: str
    stamp: Stamp
    settled: bool
    sha256: str

    @property
    def size(self) -> int:
        """Its bytes when it was listed."""
        return self.stamp.size


class Memory:
    """What this machine knows of a folder that it has sent: a file that is certainly the same -> its place.

    A line for each file, added as it is up, so that an upload that was cut off loses nothing.
    """

    def __init__(self, root: Path, address: str) -> None:
        from platformdirs import user_cache_path

        name = hashlib.sha256(os.fsencode(os.path.realpath(root)) + address.encode()).hexdigest()[:32]
        self._path = user_cache_path("mb_jupyter", appauthor=False) / "uploads" / f"{name}.jsonl"
        self._known: dict[str, list[Any]] = {}
        self._file: BinaryIO | None = None
        try:
            for line in self._path.read_bytes().splitlines():
                row = json.loads(line)
                if [type(value) for value in row] == ROW:
                    self._known[row[0]] = row
        except (OSError, ValueError, LookupError, TypeError):
            pass  # torn by a crash, or not there: what follows is sent, or found by its content

    def entries(self) -> Iterator[Entry]:
        """Yield where everything is that was ever sent from here."""
        for path, row in self._known.items():
            sha256, pack, offset = row[6:]
            yield Entry(path, row[1], sha256, pack, offset)

    def recall(self, found: Found) -> Entry | None:
        """Return where an unchanged file is, None when it has or may have changed or was never sent."""
        row = self._known.get(found.path)
        if row is None or row[1:6] != [*found.stamp.identity, True] or found.sha256 not in ("", row[6]):
            return None
        return Entry(found.path, found.size, *row[6:])

    def remember(self, entry: Entry, found: Found) -> None:
        """Add a file; a file that grew while it was read is not the one that was listed."""
        if self._file is None or entry.size != found.size:
            return
        row = [found.path, *found.stamp.identity, found.settled, entry.sha256, entry.pack, entry.offset]
        self._file.write(json.dumps(row).encode() + b"\n")

    def __enter__(self) -> Memory:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for other in self._path.parent.iterdir():
                if time.time() - other.stat().st_mtime > CACHE_DAYS * 86400:
                    other.unlink(missing_ok=True)
            self._file = self._path.open("ab")
        except OSError:  # without a memory the next upload only reads the files once more
            self._file = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
