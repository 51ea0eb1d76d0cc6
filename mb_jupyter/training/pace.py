"""The paces of earlier runs on this machine, one small file for each device, network and image size.

Each stage has the last few factors by which it took longer than its plan. A file that is missing, damaged or cannot be
written costs an estimate, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
KEPT = 5  # runs that are remembered: the median of so many outlives one on a busy machine
LEAST, MOST = 1e-3, 1e3  # factors outside are no pace


def file_of(folder: Path, *facts: Any) -> Path:
    """Return the file of paces for a device, a network, an image size and whatever else decides them."""
    key = hashlib.sha256(json.dumps([FORMAT, *facts], default=str).encode()).hexdigest()[:24]
    return folder / f"{key}.pace"


def read(file: Path) -> dict[str, list[float]]:
    """Return the factors of each stage, the latest last; nothing where there is no whole file."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): [f for f in map(float, factors) if _is_pace(f)] for name, factors in told["paces"].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def add(file: Path, found: Mapping[str, float]) -> None:
    """Add a run's factors to the file; it is written aside and renamed."""
    from .disk import store

    paces = read(file)
    for name, factor in found.items():
        if _is_pace(factor):
            paces[name] = [*paces.get(name, []), round(factor, 4)][-KEPT:]
    with contextlib.suppress(OSError):
        store(file, json.dumps({"paces": paces}).encode())


def _is_pace(factor: float) -> bool:
    return math.isfinite(factor) and LEAST <= factor <= MOST
