"""Answers in bulk: how many a second, what they take of memory, and what a killed process leaves.

``python benchmarks/bulk.py [IMAGES]`` scores one small image so often (default 1,000,000) with a tiny network, kills
the process half-way, and runs the same call again. So the figures are of everything but decoding and the network.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import mb_jupyter
from tests.tiny_model import write_zip

EVERY = 10_000


def child(folder: Path, number: int) -> None:
    """Answer the images; write the memory that was taken, by the number of answers, as it goes on."""
    import psutil

    process = psutil.Process()
    log = (folder / "memory.jsonl").open("a", buffering=1)

    def progress(done: int, total: int | None) -> None:
        if done % EVERY == 0:
            log.write(json.dumps([done, time.time(), process.memory_info().rss]) + "\n")

    images = itertools.repeat(str(folder / "image.png"), number)
    written = mb_jupyter.load(folder / "MLModel.zip").predict_to(folder / "scores.csv", images, progress=progress)
    print(f"{written.pictures:,} rows; {written.kept}", flush=True)


def start(folder: Path, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, str(number), str(folder)])


def main(number: int) -> None:
    """Kill a call half-way, run it again, and print what both took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_zip(folder / "MLModel.zip")
        Image.new("RGB", (32, 32), "red").save(folder / "image.png")
        memory = folder / "memory.jsonl"
        begun = time.time()
        with start(folder, number) as first:
            while first.poll() is None and not reached(memory, number // 2):
                time.sleep(0.1)
            first.kill()
        part = folder / "scores.csv.part"
        print(
            f"killed after {time.time() - begun:.0f} s; {part.name} has {part.stat().st_size / 1e6:.1f} MB", flush=True
        )
        before = len(records(memory))
        begun = time.time()
        with start(folder, number) as second:
            second.wait()
        rows = records(memory)
        kept = [row for row in rows[before:] if row[0] <= number // 2]
        print(
            f"continued: {time.time() - begun:.0f} s, of which {kept[-1][1] - begun:.0f} s until the kept half was read"
        )
        for done, _, taken in (*rows[:1], rows[before - 1], *rows[before : before + 1], rows[-1]):
            print(f"after {done:>9,} answers: {taken / 2**20:.0f} MiB")
        speed = (rows[before - 1][0] - rows[0][0]) / (rows[before - 1][1] - rows[0][1])
        table = folder / "scores.csv"
        print(f"{speed:,.0f} answers a second; {table.name} has {table.stat().st_size / 1e6:.1f} MB")


def records(memory: Path) -> list[list[float]]:
    """Return what the children have written so far."""
    lines = memory.read_text().splitlines() if memory.exists() else []
    return [json.loads(line) for line in lines if line.endswith("]")]


def reached(memory: Path, number: int) -> bool:
    """Tell whether so many images are answered."""
    return bool((rows := records(memory)) and rows[-1][0] >= number)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        child(Path(sys.argv[2]), int(sys.argv[1]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
