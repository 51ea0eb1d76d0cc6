"""The run's memory: one file, written aside and renamed, so that a kill at any moment leaves a whole one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .disk import refused, remove, staged, stem

FORMAT = 2
EVERY = 60.0  # seconds from one checkpoint to the next: about what is lost when a machine is taken away
MAX_SHARE = 0.1  # of the time that writing may take: a slow disk gets a large network's checkpoints less often


def digest(*values: Any) -> str:
    """Return a hash of plain values: a checkpoint of other settings or pictures has another one."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write the state (tensors and plain values); the file that was there stays until this one is whole.

    A ``TrainingError`` names the folder and the room that is needed and left.
    """
    import torch

    try:
        path.parent.mkdir(exist_ok=True)  # a run's folder that somebody has deleted is not made again
        with staged(path, durable=True) as aside, aside.open("wb") as file:
            torch.save({"format": FORMAT, "key": key, **state}, file)
    except (OSError, RuntimeError) as error:
        # torch reports a refused write as a RuntimeError raised while handling the OSError
        refusal = _os_error(error)
        if refusal is None:
            raise
        raise refused(path.parent, refusal, _size(state)) from error


def load(path: Path, key: str) -> tuple[dict[str, Any] | None, str]:
    """Return the state and "", or ``None`` and the reason why there is nothing to go on from.

    Only tensors and plain values are read: a checkpoint that holds anything else is not ours.
    """
    import pickle

    import torch

    for left in path.parent.glob(f"{stem(path)}*"):  # by a kill in the middle of a write
        remove(left)
    if not path.exists():
        return None, ""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        return None, f"The checkpoint {path} cannot be read ({type(error).__name__}); starting from the beginning."
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        return None, f"The checkpoint {path} has another format; starting from the beginning."
    if state.get("key") != key:
        return None, "The settings or the pictures changed since the checkpoint; starting from the beginning."
    return state, ""


def _os_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _size(value: Any) -> int:
    """Return the bytes of the tensors in a state."""
    if isinstance(value, dict):
        return sum(_size(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_size(item) for item in value)
    return value.numel() * value.element_size() if hasattr(value, "numel") else 0
