"""The first look at a folder: pictures per second, memory as it goes on, both cores.

    python benchmarks/scan.py [--pictures 100000]

Peer: the loop that one writes first, which finds out the same of each picture: read it, hash its bytes, decode it,
take ImageHash's perceptual hash. The pictures are made here: 96 x 96 JPEGs of random blots, no two of them alike.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
import psutil
from PIL import Image

from mb_jupyter import Dataset

CLASSES = 10
SIDE = 96
SAMPLE = 2_000  # pictures for the peer


def make(folder: Path, number: int) -> list[Path]:
    """Write that many pictures into folders of classes."""
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir(parents=True)

    def one(index: int) -> Path:
        blots = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        path = folder / f"class {index % CLASSES}" / f"{index:06}.jpg"
        Image.fromarray(blots).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=80)
        return path

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(one, range(number)))


def plain_loop(paths: Sequence[Path]) -> float:
    """Return the pictures per second of the loop that one writes first."""
    start = time.perf_counter()
    for path in paths:
        content = path.read_bytes()
        hashlib.sha256(content).hexdigest()
        with Image.open(io.BytesIO(content)) as image:
            imagehash.phash(image.convert("RGB"), hash_size=16)
    return len(paths) / (time.perf_counter() - start)


class Peak:
    """Remembers the most memory that this process held while it was open, beyond what it held before."""

    def __enter__(self) -> Peak:
        self._process, self._over = psutil.Process(), threading.Event()
        self.before = self.most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, self._process.memory_info().rss)

    @property
    def mebibytes(self) -> float:
        """The difference between the two."""
        return (self.most - self.before) / 2**20


def look(folder: Path, words: str) -> float:
    """Look at the folder, print how long and how much it took, and return the pictures per second."""
    begun, cpu = time.perf_counter(), time.process_time()
    last = [0.0, 0.0]  # seconds when the last file was read, and when the look was over

    def progress(done: int, total: int) -> None:
        if done == total:
            last[0] = time.perf_counter() - begun

    with Peak() as peak:
        found = Dataset(folder, progress=progress)
    last[1] = time.perf_counter() - begun
    busy = (time.process_time() - cpu) / last[1]
    print(
        f"{words:28} {len(found):9,} {len(found) / last[1]:11,.0f} {last[1]:9.1f} {last[1] - last[0]:13.1f} "
        f"{busy:11.2f} {peak.mebibytes:9.0f}"
    )
    return len(found) / last[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = temporary  # what is remembered of these folders goes with them
        few, many = Path(temporary) / "few", Path(temporary) / "many"
        make(few, given.pictures // 10)
        paths = make(many, given.pictures)
        print(
            f"{'':28} {'pictures':>9} {'per second':>11} {'seconds':>9} {'of them copies':>13} {'cores busy':>11} "
            f"{'MiB more':>9}"
        )
        look(few, "a tenth")
        ours = look(many, "all")
        look(many, "all again, nothing changed")
        peer = plain_loop(paths[:SAMPLE])
        print(f"plain loop, {SAMPLE:,} of them: {peer:,.0f} a second; ours {ours / peer:.2f} times that")


if __name__ == "__main__":
    main()
