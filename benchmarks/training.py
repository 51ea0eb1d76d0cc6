"""Held-out accuracy, seconds and memory of the training program, mean of several seeds.

    python benchmarks/training.py ../shared/data/flowers_small ../shared/data/trashnet ../shared/data/eurosat
    python benchmarks/training.py ../shared/data/eurosat --recipe auto --minutes 10 --seeds 1

The peer of `--recipe auto` is the frozen features alone, which every run records as its epoch 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import mb_jupyter
from mb_jupyter import Dataset

PROGRAM = Path(mb_jupyter.__file__).parent


def run(data: Path, recipe: str, minutes: float, seed: int, fresh: bool) -> dict[str, Any]:
    """Return the result of one run with its wall seconds and its largest resident memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        settings = {"architecture": "efficientnet_lite0", "recipe": recipe, "max_minutes": minutes, "seed": seed}
        settings |= {"cache": str(output / "cache")} if fresh else {}
        (output / "config.json").write_text(json.dumps(settings))
        Dataset(data).write_split(output / "split.csv", seed=seed, validation_fraction=0.15, test_fraction=0.2)
        command = (
            sys.executable, "-m", "training", "--config", str(output / "config.json"),
            "--data", str(data), "--output", folder,
        )  # fmt: skip
        begun, memory = time.perf_counter(), 0
        with (output / "log.txt").open("wb") as log:
            process = psutil.Popen(command, cwd=PROGRAM, stdout=log, stderr=log)
            while process.poll() is None:
                try:
                    memory = max(memory, process.memory_info().rss)
                except psutil.Error:
                    break
                time.sleep(0.1)
        seconds = time.perf_counter() - begun
        if process.wait() != 0:
            raise SystemExit((output / "log.txt").read_text())
        records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        first = next(record for record in records if record["event"] == "model")
        report = json.loads((output / "report.json").read_text())
        return {**report, "seconds": seconds, "memory": memory / 1e6, "first model": first["time"] - records[0]["time"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--recipe", default="features")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    columns = ("set", "accuracy", "NLL", "ECE before", "ECE after", "seconds", "first model, s", "memory, MB")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for data in args.data:
        # the first seed computes every feature, the others only what their split adds
        results = [run(data.resolve(), args.recipe, args.minutes, seed, fresh=seed == 0) for seed in range(args.seeds)]
        mean = {
            key: statistics.mean(result[key] for result in results)
            for key in ("test_accuracy", "test_loss", "ece_before", "ece_after")
        }
        each = ", ".join(f"{result['test_accuracy']:.3f}" for result in results)
        figures = f"{mean['test_loss']:.3f} | {mean['ece_before']:.3f} | {mean['ece_after']:.3f}"
        first = results[0]
        cost = f"{first['seconds']:.0f} | {first['first model']:.0f} | {max(r['memory'] for r in results):.0f}"
        print(f"| {data.name} | {mean['test_accuracy']:.3f} ({each}) | {figures} | {cost} |", flush=True)


if __name__ == "__main__":
    main()
