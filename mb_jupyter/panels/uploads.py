"""A few pictures through the browser into the folder of a class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mb_jupyter.errors import DataError
from mb_jupyter.naming import is_reserved
from mb_jupyter.training import disk


def keep(uploads: Iterable[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write uploaded files into a folder; a name that is taken gets a number. Returns where they are."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for upload in uploads:
            # a browser sends a bare name; whatever else came would not stay in the folder
            name = Path(str(upload["name"]).replace("\\", "/")).name or "picture"
            name = f"image-{name}" if is_reserved(name) else name
            path, number = folder / name, 1
            while path.exists():
                number += 1
                path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
            disk.swap(path, bytes(upload["content"]))
            written.append(path)
    except OSError as error:
        raise DataError(
            f"The pictures cannot be written into {folder}: {error.strerror or error}.",
            "Choose a folder of yours in the field above.",
        ) from None
    return written
