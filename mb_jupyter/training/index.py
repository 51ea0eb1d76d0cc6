"""Where it is remembered what was found out about a folder of images, and how to forget it.

The notebook keeps the index, so that looking at unchanged images takes no time; whoever reads an image whose content is
not the one in the index drops it: nothing else in it is to be believed then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path


def index_file(root: Path, is_table: bool) -> Path:
    """Return the index of a folder, or of the lists of images whose paths begin there."""
    from platformdirs import user_cache_path

    name = hashlib.sha256(os.fsencode(os.path.realpath(root)) + bytes([is_table])).hexdigest()[:32]
    return user_cache_path("mb_jupyter", appauthor=False) / "index" / f"{name}.json"


def forget(root: Path) -> None:
    """Drop what is remembered about a folder: the next look reads every image."""
    for is_table in (False, True):
        with contextlib.suppress(OSError):  # somebody else's, or not there
            index_file(root, is_table).unlink(missing_ok=True)
