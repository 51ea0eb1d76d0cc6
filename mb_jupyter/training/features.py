"""Frozen features: what the pretrained network sees in each picture and in its mirror image, computed once.

They are kept on the disk under the picture's content, the network's weights, the preprocessing and the engine, so a
second training of the same pictures starts at once, and one with some new pictures computes only those.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import checkpoint, disk, parallel, processes
from .data import Sample, decode
from .described import Preparation, described
from .engines import Engine, fastest
from .graph import user_cache, weights_digest
from .network import Classifier

Array = np.ndarray[Any, Any]

SHARD = 512  # images kept in one file, unless these take longer than from one checkpoint to the next
CACHE_BYTES = 8 * 2**30  # of all kept features; the oldest files go first
IN_MEMORY_BYTES = 512 * 2**20  # more is assembled in a temporary file
_DAMAGED = (OSError, EOFError, ValueError, IndexError, TypeError)
_LARGEST = np.float32(np.finfo(np.float16).max)


def extract(
    classifier: Classifier,
    samples: Sequence[Sample],
    *,
    engine_file: Path,
    cache: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
    say: Callable[[str], None] = lambda line: None,
    missing: Callable[[int], None] = lambda count: None,
    views: int = 2,
) -> tuple[Array, str]:
    """Return features (N, 2, D) float16, of each picture and of its mirror image, and the engine's name.

    With one of the ``views``, (N, 1, D) without the mirror images.

    Several processes share the work, and each gets all of it. ``cache`` is the folder of kept features, the user's
    own by default. ``say`` gets what takes a while before the first image, ``missing`` how many are not kept yet.
    """
    engine = fastest(classifier, engine_file, say) if processes.rank() == 0 else None
    processes.wait()  # the first process has noted the engine: the others take the same
    if engine is None:
        engine = fastest(classifier, engine_file)
    kept = _Kept(cache or user_cache() / "features", _key(classifier, engine.name, views))
    world = processes.world()
    mine = list(range(processes.rank(), len(samples), world))
    tell = lambda done: progress(min(done * world, len(samples)))  # noqa: E731
    found = _gathered(
        _collect([samples[i] for i in mine], classifier, engine, kept, tell, count=missing, views=views), len(samples)
    )
    kept.trim()
    return found, engine.name


def precision(engine: str) -> str:
    """Return the arithmetic that an engine computes in."""
    return engine.rsplit(maxsplit=1)[-1]


def _collect(
    samples: Sequence[Sample],
    classifier: Classifier,
    engine: Engine,
    kept: _Kept,
    progress: Callable[[int], None],
    *,
    count: Callable[[int], None],
    views: int,
) -> Array:
    found = _array((len(samples), views, classifier.backbone.feature_size))
    missing = kept.fill(found, samples)
    count(len(missing))
    done = len(samples) - len(missing)
    progress(done)
    at_once = max(1, engine.batch // views)
    pixels = _decoded([samples[row] for row in missing], classifier.size, at_once, mirrored=views == 2)
    shard: list[int] = []
    put = lambda: kept.put([samples[row].sha256 for row in shard], found[shard])  # noqa: E731
    begun = time.monotonic()
    try:
        for number, seen in enumerate(engine.through(pixels)):
            rows = missing[number * at_once :][: len(seen) // views]
            halves = np.clip(seen, -_LARGEST, _LARGEST).astype(np.float16)  # half precision has no larger numbers
            for view, half in enumerate(np.split(halves, views)):
                found[rows, view] = half
            shard += rows
            done += len(rows)
            if len(shard) >= SHARD or time.monotonic() - begun >= checkpoint.EVERY:
                put()
                shard.clear()
                begun = time.monotonic()
            progress(done)
    finally:  # also when it is stopped, or an image cannot be read
        if shard:
            put()
    return found


def _decoded(samples: Sequence[Sample], size: int, count: int, *, mirrored: bool) -> Iterator[Array]:
    """Yield the pixels of so many images, first as they are, then mirrored; threads decode ahead of the engine."""
    pixels = parallel.in_order(lambda sample: decode(sample, size), samples, ahead=2 * count)
    while some := list(itertools.islice(pixels, count)):
        images = np.stack(some)
        yield np.concatenate((images, images[:, :, ::-1])) if mirrored else images


def _array(shape: tuple[int, ...]) -> Array:
    """Return an array for features, in memory or in a file that goes when it is no longer used."""
    if np.prod(shape, dtype=np.int64) * 2 <= IN_MEMORY_BYTES:
        return np.empty(shape, np.float16)
    with tempfile.TemporaryFile() as file:
        _make_room(file, int(np.prod(shape, dtype=np.int64)) * 2)
        return np.memmap(file, np.float16, "r+", shape=shape)


def _make_room(file: IO[bytes], size: int) -> None:
    """Take the space of a file now: a mapped file that finds none later ends the process without a word."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(Path(tempfile.gettempdir()) / "features")) from error


def _gathered(mine: Array, count: int) -> Array:
    if processes.world() == 1:
        return mine
    everything = _array((count, *mine.shape[1:]))
    for rank, part in enumerate(processes.gather(np.asarray(mine))):
        everything[rank :: processes.world()] = part
    return everything


def _key(classifier: Classifier, engine: str, views: int) -> str:
    prepared = described(classifier.size, Preparation(classifier.fit))
    told = json.dumps([prepared, engine, *([] if views == 2 else [views])], sort_keys=True)
    return hashlib.sha256(f"{weights_digest(classifier.backbone)} {told}".encode()).hexdigest()[:32]


class _Kept:
    """Features on the disk: files of many pictures each, with the list of their hashes beside them.

    A file is written aside and renamed, its list last, so two trainings at once only ever see whole ones.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._all, self._folder = folder, folder / key

    def fill(self, found: Array, samples: Sequence[Sample]) -> list[int]:
        """Put what is kept into ``found``; return the rows that are missing."""
        wanted: dict[str, list[int]] = {}
        for row, sample in enumerate(samples):
            wanted.setdefault(sample.sha256, []).append(row)
        for listing in sorted(self._folder.glob("*.json")):
            try:
                hashes = json.loads(listing.read_text(encoding="ascii"))
                here = [(place, sha256) for place, sha256 in enumerate(hashes) if sha256 in wanted]
                if not here:
                    continue
                rows = np.load(listing.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
                for place, sha256 in here:
                    found[wanted[sha256]] = rows[place]
            except _DAMAGED:  # or just trimmed by another training
                for file in (listing, listing.with_suffix(".npy")):
                    with contextlib.suppress(OSError):
                        file.unlink()
                continue
            for _, sha256 in here:
                wanted.pop(sha256, None)
            with contextlib.suppress(OSError):  # a cache of somebody else's may only be read
                listing.touch()
        return sorted(row for rows in wanted.values() for row in rows)

    def put(self, hashes: list[str], rows: Array) -> None:
        """Keep a shard; a disk that is full or read-only costs the next training some time, no more."""
        name = self._folder / uuid.uuid4().hex
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with disk.staged(name.with_suffix(".npy"), durable=True) as aside, aside.open("wb") as file:
                np.save(file, rows, allow_pickle=False)
            disk.store(name.with_suffix(".json"), json.dumps(hashes).encode())
        except OSError:
            with contextlib.suppress(OSError):
                name.with_suffix(".npy").unlink(missing_ok=True)

    def trim(self) -> None:
        """Drop the files that were not used for longest until the rest is within bounds."""
        with contextlib.suppress(OSError):  # another training trims too, or the cache may only be read
            files = [(path.stat().st_mtime, path.with_suffix(".npy"), path) for path in self._all.glob("*/*.json")]
            sizes = {npy: npy.stat().st_size for _, npy, _ in files if npy.exists()}
            total = sum(sizes.values())
            for _, npy, listing in sorted(files):
                if total <= CACHE_BYTES:
                    return
                total -= sizes.get(npy, 0)
                listing.unlink(missing_ok=True)
                npy.unlink(missing_ok=True)
