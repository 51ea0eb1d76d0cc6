"""Files of the run's records: JSON that every reader takes, written aside, and an error that names the folder."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import TrainingError


def plain(value: Any) -> Any:
    """Return a value that JSON knows: no NaN, no infinities, no numpy scalars."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return plain(value.item()) if hasattr(value, "item") else str(value)


def replace(path: Path, text: str) -> None:
    """Write a text file aside, then rename it; a ``TrainingError`` says why the disk refused it."""
    with writing(path.parent):
        swap(path, as_bytes(text))


def as_bytes(line: str) -> bytes:
    """Return a line as UTF-8; a file name that is none comes as lone surrogates and gets backslashes."""
    return line.encode("utf-8", "backslashreplace")


def swap(path: Path, content: bytes) -> None:
    """Write a file aside, then rename it."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(content)
    aside.replace(path)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into an error that names the folder."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"The run's folder {folder} cannot be written: {error.strerror or error}.",
            "Make room on that disk or give this user the right to write there, then start again.",
        ) from error
