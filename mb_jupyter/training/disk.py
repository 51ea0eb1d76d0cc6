"""Files that others may read at any moment: written beside their place, then renamed, with patience.

Windows refuses to rename over a file that somebody has open (a reader, a virus scanner, a synchronised folder), for a
moment; so a refused rename is tried again for some seconds. The notebook's side writes its files with this too.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .errors import TrainingError

PAUSES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds before another try: about three in all
ONCE = ()  # for what is written again soon: one try
BUSY = (errno.EACCES, errno.EPERM, errno.EBUSY)  # Windows: access denied, sharing violation, lock violation
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# of the network's bytes: what every run leaves (the model, alone and in its zip), and the most that a run has used,
# measured with efficientnet_lite0: 39 MiB for 13 MiB without fine-tuning, 156 with its checkpoints
MIN_SIZES, FROZEN_SIZES, TUNED_SIZES = 2, 3, 12
WANTED = 2 * 2**30  # bytes for a run of a large network, with its checkpoints
MAX_STEM = 40  # characters of a file's name that its staging file carries: a name has at most 255 bytes

T = TypeVar("T")


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


def as_bytes(line: str) -> bytes:
    """Return a line as UTF-8; a file name that is none comes as lone surrogates and gets backslashes."""
    return line.encode("utf-8", "backslashreplace")


def replace(path: Path, text: str) -> None:
    """Write a text file aside, then rename it; a ``TrainingError`` says why the disk refused it."""
    with writing(path.parent):
        swap(path, as_bytes(text))


def swap(path: Path, content: bytes, *, durable: bool = False, pauses: Sequence[float] = PAUSES) -> None:
    """Write a file aside, then rename it; ``durable`` and ``pauses`` as for :func:`staged`."""
    with staged(path, durable=durable, pauses=pauses) as aside:
        aside.write_bytes(content)


def store(path: Path, content: bytes) -> None:
    """Write a file of a cache, whose folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    swap(path, content, durable=True)


@contextlib.contextmanager
def staged(path: Path, *, durable: bool = False, pauses: Sequence[float] = PAUSES) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; that file takes the place of ``path`` when the block ends well.

    Each writer has a staging file of its own, and it is gone afterwards. With ``durable`` the content is on the disk
    before the name is: a power cut leaves the old file or the new one, never an empty one.
    """
    aside = path.with_name(f"{stem(path)}{secrets.token_hex(4)}.part")
    try:
        yield aside
        if durable:
            _sync(aside)
        rename(aside, path, pauses)
        if durable and os.name == "posix":
            with contextlib.suppress(OSError):  # not every file system knows it
                _sync(path.parent)
    except OSError as error:
        if error.errno is not None:  # the system's: a refused write does not say of which file
            error.filename = error.filename or str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def stem(path: Path) -> str:
    """Return how the names of a file's staging files begin."""
    return f".{path.name[:MAX_STEM]}."


def rename(source: Path, target: Path, pauses: Sequence[float] = PAUSES) -> None:
    """Rename a file or a folder, over a file that is there; wait while the system refuses it because it is in use."""
    patiently(lambda: os.replace(source, target), pauses)  # noqa: PTH105


def remove(path: Path) -> None:
    """Remove a file if it is there; wait while the system refuses it because somebody has it open."""
    patiently(lambda: path.unlink(missing_ok=True))


def patiently(act: Callable[[], T], pauses: Sequence[float] = PAUSES) -> T:
    """Do what a system may refuse for a moment; its last refusal is raised."""
    for pause in pauses:
        try:
            return act()
        except OSError as error:
            if error.errno not in BUSY:
                raise
        time.sleep(pause)
    return act()


@contextlib.contextmanager
def writing(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Turn what a disk refuses into an error that names the folder, and how many bytes were to be written."""
    try:
        yield
    except OSError as error:
        raise refused(folder, error, needed) from error


def refused(folder: Path, error: OSError, needed: int | None = None) -> TrainingError:
    """Return the error to raise when a disk does not take what the program writes."""
    if error.errno not in NO_ROOM:
        return TrainingError(
            f"The folder {folder} cannot be written: {error.strerror or error}.",
            "Give this user the right to write there, then start again.",
        )
    left = free_space(folder)
    there = "its disk is full" if left is None else f"{left / 2**20:.1f} MiB are left on its disk"
    wanted = f" about {max(needed / 2**20, 0.1):.1f} MiB were to be written and" if needed else ""
    return TrainingError(
        f"There is no room in {folder} ({error.strerror}):{wanted} {there}.",
        "Make room there, then start again: the run goes on from its last checkpoint.",
    )


def check_room(folder: Path, weights: int, *, tuned: bool) -> None:
    """Raise a ``TrainingError`` where a run can only fail for want of room; ``weights``: the network's bytes."""
    left = free_space(folder)
    if left is None or left >= MIN_SIZES * weights:
        return
    needed = (TUNED_SIZES if tuned else FROZEN_SIZES) * weights
    raise TrainingError(
        f"There is no room for this run in {folder}: it needs about {needed / 2**20:,.0f} MiB, "
        f"and {left / 2**20:,.1f} MiB are left on its disk.",
        "Make room there, or train on another disk.",
    )


def room(folder: Path) -> str:
    """Return what to do about a disk that is full, with what is left and what a training needs, as a sentence."""
    left = free_space(folder)
    there = "" if left is None else f"{left / 2**20:,.0f} MiB are left, and "
    return f"Make room on its disk ({there}a training needs up to {WANTED / 2**30:.0f} GiB), or take another disk."


def free_space(folder: Path) -> int | None:
    """Return the bytes that are left on a folder's disk; None where it does not say."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None


def _sync(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
