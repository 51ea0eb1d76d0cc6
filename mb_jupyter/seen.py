"""Whether an image was in a run's data: looked up by the content of its file in the run's split.csv."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

PARTS = ("train", "validation", "test")  # one that is in several counts as the first of these
WORDS = {"train": "training", "validation": "validation", "test": "test"}
FLATTER = PARTS[:2]  # the model has learned from these


class Seen:
    """The images of a run by the hash of their files. ``folder`` is the run's; without one nothing is known."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def part(self, content: Any) -> str | None:
        """Return the part of the split that a file (its path or its bytes) was in; None for any other image."""
        if not self._parts:
            return None
        try:
            if isinstance(content, str | Path):
                with Path(content).open("rb") as file:
                    return self._parts.get(hashlib.file_digest(file, "sha256").hexdigest())
            if isinstance(content, bytes | bytearray | memoryview):
                return self._parts.get(hashlib.sha256(content).hexdigest())
        except (OSError, ValueError, BufferError):  # whoever scores it says what is wrong with it
            pass
        return None

    @cached_property
    def _parts(self) -> dict[str, str]:
        if self._folder is None:
            return {}
        found: dict[str, str] = {}
        try:
            with (self._folder / "split.csv").open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file):
                    digest, part = row.get("Sha256"), row.get("Split")
                    if digest and part in PARTS:
                        found[digest] = min(found.get(digest, part), part, key=PARTS.index)
        except (OSError, csv.Error):
            return {}
        return found


def sentence(parts: Iterable[str | None], *, alone: bool = False) -> str:
    """Return what is to be said of answers for images that the model has learned from; empty for no such image.

    ``alone``: it is one image that was asked about, and not a table of them.
    """
    counts = Counter(part for part in parts if part in FLATTER)
    if not counts:
        return ""
    if alone:
        (part,) = counts
        return f"This image was in the {WORDS[part]} images of this run: its score flatters."
    number = counts.total()
    first, *others = [part for part in FLATTER if counts[part]]
    were, whose = ("was", "its score flatters") if number == 1 else ("were", "their scores flatter")
    where = f"{counts[first]:,} of these images {were} in the {WORDS[first]} images of this run"
    where += "".join(f" and {counts[part]:,} in its {WORDS[part]} images" for part in others)
    return f"{where}: {whose}."


def notes(run: str, seen: Iterable[str | None], *, alone: bool = False) -> list[str]:
    """Return what goes with answers: which run's model gave them, and which of them flatter."""
    return [line for line in (f"Model: {run}" if run else "", sentence(seen, alone=alone)) if line]
