"""Held-out accuracy, seconds and memory of the training program, mean of several seeds.

    python benchmarks/training.py ../shared/data/flowers_small ../shared/data/trashnet ../shared/data/eurosat
    python benchmarks/training.py ../shared/data/eurosat --recipe auto --minutes 10 --seeds 1

The peer is the frozen features alone, on the same test images (`baselines.csv` of each run); with `--recipe
features` it is the model itself. "Chosen" counts the seeds whose fine-tuned network was kept, and the epochs of each.
"""

from __future__ import annotations

import argparse
import csv
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
        with (output / "baselines.csv").open(encoding="utf-8", newline="") as file:
            frozen = statistics.mean(row["Label"] == row["Prediction"] for row in csv.DictReader(file))
        epochs = sum(record["event"] == "epoch" and record["phase"] == "finetune" for record in records)
        return {
            **report, "seconds": seconds, "memory": memory / 1e6, "frozen": frozen, "epochs": epochs,
            "first model": first["time"] - records[0]["time"],
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--recipe", default="features")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    columns = ("set", "accuracy", "frozen features", "chosen (epochs)", "NLL", "ECE before", "ECE after", "seconds",
               "first model, s", "memory, MB")  # fmt: skip
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for data in args.data:
        # the first seed computes every feature, the others only what their split adds
        results = []
        for seed in range(args.seeds):
            results.append(run(data.resolve(), args.recipe, args.minutes, seed, fresh=seed == 0))
            told = {key: results[-1][key] for key in ("test_accuracy", "frozen", "best_phase", "epochs", "seconds")}
            print(f"{data.name}, seed {seed}: {told}", file=sys.stderr, flush=True)
        mean = {
            key: statistics.mean(result[key] for result in results)
            for key in ("test_accuracy", "test_loss", "ece_before", "ece_after")
        }
        each = ", ".join(f"{result['test_accuracy']:.3f}" for result in results)
        frozen = statistics.mean(result["frozen"] for result in results)
        tuned = sum(result["best_phase"] == "finetune" for result in results)
        chosen = f"{tuned} of {len(results)} ({', '.join(str(result['epochs']) for result in results)})"
        figures = f"{mean['test_loss']:.3f} | {mean['ece_before']:.3f} | {mean['ece_after']:.3f}"
        first = results[0]
        cost = f"{first['seconds']:.0f} | {first['first model']:.0f} | {max(r['memory'] for r in results):.0f}"
        accuracy = f"{mean['test_accuracy']:.3f} ({each}) | {frozen:.3f} | {chosen}"
        print(f"| {data.name} | {accuracy} | {figures} | {cost} |", flush=True)


if __name__ == "__main__":
    main()
