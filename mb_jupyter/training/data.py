"""From rows of the split to batches of pixels: decode once, augment, the same order for any number of workers."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from . import preprocess
from .augment import ROOM, Augmentation
from .errors import ChangedError, PictureError, TrainingError

Array = np.ndarray[Any, Any]

LARGEST_SHELF = 16 * 2**30  # bytes that decoded pictures may take on the disk for temporary files


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a part of the split: its name in the tables, its file, its class's number.

    Copies and near copies share a ``group``. ``fit`` is how the image becomes a square: crop, pad or stretch.
    """

    source: str
    path: Path
    label: int
    sha256: str
    group: str = ""
    fit: str = "crop"


class Step(NamedTuple):
    """One step of an epoch: the pictures this process takes, and how many all processes take together."""

    indices: Array
    pictures: int


def decode(sample: Sample, size: int) -> Array:
    """Return the image as uint8 (size, size, 3); a ``TrainingError`` names a lost or changed file."""
    data = read(sample)
    with _usable(sample):
        return preprocess.load(data, size, preprocess.Preparation(sample.fit))


def check(sample: Sample) -> None:
    """Raise now what :func:`decode` would raise later of a file that is gone, was changed or cannot be read here."""
    data = read(sample)
    with _usable(sample):
        preprocess.check_header(data)


def read(sample: Sample) -> bytes:
    """Return the bytes of the image's file, which are those that were checked."""
    try:
        data = sample.path.read_bytes()
    except OSError as error:
        raise TrainingError(
            f"The image {sample.source} can no longer be read: {error.strerror or error}.",
            "Put it back, or run the cell again: it reads every image again.",
        ) from error
    if hashlib.sha256(data).hexdigest() != sample.sha256:
        raise ChangedError(
            f"The image {sample.source} changed after the images were checked.",
            "Run the cell again: it reads every image again and makes a new split.",
        )
    return data


@contextlib.contextmanager
def _usable(sample: Sample) -> Iterator[None]:
    try:
        yield
    except PictureError as error:
        raise TrainingError(
            f"The image {sample.source} cannot be used: {error}.",
            "Replace it or take it out, then start a new run.",
        ) from error


class Shelf:
    """Rows of one shape in a nameless temporary file: outside this process's memory, gone when it ends.

    Forked workers share it: a row is written before its mark, and every writer of a row writes the same.
    Without room on the disk it stays empty, and everything still works, slower.
    """

    def __init__(self, rows: int, shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._rows, self._bytes = rows, int(np.prod(shape)) * self.dtype.itemsize
        self._lock = threading.Lock()
        self._file: Any = None
        room = min(LARGEST_SHELF, shutil.disk_usage(tempfile.gettempdir()).free // 4)
        if rows * self._bytes > room:
            return
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the shelf
        weakref.finalize(self, file.close)
        with contextlib.suppress(OSError):  # a limit on the size of files
            file.truncate(rows * (self._bytes + 1))
            self._file = file

    def __getstate__(self) -> dict[str, Any]:
        # a spawned worker cannot share the file: it keeps no rows
        return {**self.__dict__, "_file": None, "_lock": None}

    def get(self, row: int) -> Array | None:
        """Return a row, or ``None`` when it was never put."""
        if self._file is None or self._read(self._rows * self._bytes + row, 1) != b"\x01":
            return None
        return np.frombuffer(self._read(row * self._bytes, self._bytes), self.dtype).reshape(self.shape)

    def put(self, row: int, value: Array) -> None:
        """Keep a row, if the disk takes it."""
        if self._file is None:
            return
        try:
            self._write(row * self._bytes, np.ascontiguousarray(value, self.dtype).tobytes())
            self._write(self._rows * self._bytes + row, b"\x01")
        except OSError:
            self._file = None  # a full disk: what is kept here can be made again

    def _read(self, at: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, at)
        with self._lock:
            self._file.seek(at)
            return bytes(self._file.read(count))

    def _write(self, at: int, data: bytes) -> None:
        if hasattr(os, "pwrite"):
            written = os.pwrite(self._file.fileno(), data, at)
        else:
            with self._lock:
                self._file.seek(at)
                written = self._file.write(data)
        if written != len(data):  # the disk had room for a part, and says nothing
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Pictures(Dataset[Any]):
    """The decoded pictures of one part of the split; an item's key is (epoch, index).

    Without an augmentation the epoch does not matter, and the pixels are those that prediction sees.
    """

    def __init__(
        self, samples: Sequence[Sample], size: int, augmentation: Augmentation | None = None, threads: int = 1
    ) -> None:
        self.samples, self.size, self.augmentation = samples, size, augmentation
        self.side = size if augmentation is None else round(size * ROOM)
        self.labels = np.array([sample.label for sample in samples], np.int64)
        self.threads = threads
        self._shelf = Shelf(len(samples), (self.side, self.side, 3))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Array:
        """Return uint8 (size, size, 3)."""
        epoch, index = key
        pixels = self._shelf.get(index)
        if pixels is None:
            pixels = decode(self.samples[index], self.side)
            self._shelf.put(index, pixels)
        return pixels if self.augmentation is None else self.augmentation(pixels, epoch, index)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch: uint8 (N, size, size, 3) and the labels (N,)."""
        if self.threads > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                pixels = list(pool.map(self.__getitem__, keys))
        else:
            pixels = [self[key] for key in keys]
        stacked = np.stack(pixels) if pixels else np.empty((0, self.size, self.size, 3), np.uint8)
        return torch.from_numpy(stacked), torch.from_numpy(self.labels[[index for _, index in keys]])


def steps(count: int, batch: int, *, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[Step]:
    """Return an epoch's steps: one permutation for all processes, cut into nearly equal batches.

    No picture is left out, and no batch is so small that its gradient is mostly noise.
    """
    order = np.random.default_rng([seed, epoch, 0x5EED]).permutation(count)
    parts = np.array_split(order, max(1, -(-count // batch)))
    return [Step(part[rank::world], len(part)) for part in parts]


def in_order(count: int, batch: int, *, rank: int = 0, world: int = 1) -> list[Step]:
    """Return a process's steps of an evaluation: every world-th picture, none twice; perhaps no step at all."""
    own = np.arange(count)[rank::world]
    return [Step(own[start : start + batch], len(own)) for start in range(0, len(own), batch)]


def first(count: int) -> Array:
    """Return the indices of the first pictures."""
    return np.arange(count)


def loader(
    pictures: Pictures, plan: Sequence[Step], *, epoch: int = 0, workers: int = 0, pin: bool = False
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the batches of a plan, decoded by worker processes when there are some."""
    keys = [[(epoch, int(index)) for index in step.indices] for step in plan]
    yield from DataLoader(
        pictures,
        batch_sampler=keys,
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin,
        # forked workers share the shelf, and start at once
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )


def _as_it_is(batch: Any) -> Any:
    return batch
