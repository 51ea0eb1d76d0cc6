"""The time left as a training says it, against the time that it really took, run after run on one machine.

    python benchmarks/outlook.py ../shared/data/flowers_small              # ten runs
    python benchmarks/outlook.py ../shared/data/flowers_small --runs 3 --recipe auto --minutes 3

The first run knows nothing of the machine, the later ones what the earlier left behind; every run computes its features
anew. ``status.json`` is read twice a second, as the notebook does. A row for each tenth of the time that the run took:
the median over the runs of predicted over real, its range, and in how many runs a time was said at all. The peer, in
the same runs: "as long as the run before took, less what is over". Where early stopping may end a fine-tuning, the time
is said as "at most": that holds when no more than 30 % on top of it came.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import rmtree
from typing import Any

import mb_jupyter
from mb_jupyter import Dataset

PROGRAM = Path(mb_jupyter.__file__).parent
WITHIN = 0.3  # of the real time left


def run(data: Path, args: argparse.Namespace, seed: int, cache: Path) -> list[dict[str, Any]]:
    """Return what ``status.json`` said during one run, twice a second."""
    rmtree(cache / "mb_jupyter" / "features", ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        settings = {
            "architecture": "efficientnet_lite0",
            "recipe": args.recipe,
            "max_minutes": args.minutes,
            "seed": seed,
        }
        (output / "config.json").write_text(json.dumps(settings))
        Dataset(data).write_split(output / "split.csv", seed=seed, validation_fraction=0.15, test_fraction=0.2)
        command = (
            sys.executable, "-m", "training", "--config", str(output / "config.json"), "--data", str(data),
            "--output", folder,
        )  # fmt: skip
        told: list[dict[str, Any]] = []
        with (output / "log.txt").open("wb") as log:
            environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
            process = subprocess.Popen(command, cwd=PROGRAM, stdout=log, stderr=log, env=environment)
            while process.poll() is None:
                time.sleep(0.5)
                if (output / "status.json").exists():
                    told.append(json.loads((output / "status.json").read_bytes()))
        if process.returncode:
            raise SystemExit((output / "log.txt").read_text())
        return [*told, json.loads((output / "status.json").read_bytes())]


def at(told: list[dict[str, Any]], share: float) -> dict[str, Any]:
    """Return what was said when so much of the run's time was over."""
    whole = told[-1]["seconds"]
    return next(status for status in told if status["seconds"] >= share * whole)


def row(runs: list[list[dict[str, Any]]], tenth: int) -> str:
    """Return how the predictions at a tenth of the time compare with what came, and those of the peer."""
    ours: list[float] = []
    bounds: list[float] = []
    peers: list[float] = []
    for number, told in enumerate(runs):
        status, whole = at(told, tenth / 10), told[-1]["seconds"]
        real = whole - status["seconds"]
        if status["eta_seconds"] is not None and status["state"] == "running":
            (bounds if status["eta_at_most"] else ours).append(status["eta_seconds"] / max(real, 0.1))
        if number:
            peers.append(max(0.0, runs[number - 1][-1]["seconds"] - status["seconds"]) / max(real, 0.1))
    said, held = len(ours) + len(bounds), sum(bound >= 1 - WITHIN for bound in bounds)
    most = f"{held} of {len(bounds)}" if bounds else "-"
    return f"| {10 * tenth} % | {said} of {len(runs)} | {ratios(ours)} | {most} | {ratios(peers)} |"


def ratios(found: list[float]) -> str:
    if not found:
        return "- | -"
    within = sum(1 - WITHIN <= ratio <= 1 + WITHIN for ratio in found)
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}) | {within} of {len(found)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--recipe", default="features")
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    runs, loads = [], []
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(args.runs):
            runs.append(run(args.data.resolve(), args, seed, Path(cache)))
            loads.append(os.getloadavg()[0])
            stages: dict[str, float] = {}
            for stage in runs[-1][-1]["stages"]:
                stages[stage["stage"]] = round(stages.get(stage["stage"], 0.0) + stage["seconds"], 1)
            print(f"run {seed}: {runs[-1][-1]['seconds']:.0f} s, load {loads[-1]:.1f}, {stages}", file=sys.stderr)
    seconds = [told[-1]["seconds"] for told in runs]
    still = max(later["seconds"] - told["seconds"] for run in runs for told, later in itertools.pairwise(run))
    took = f"{min(seconds):.0f} to {max(seconds):.0f} s"
    busy = f"load {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores"
    print(
        f"{args.data.name}, {args.recipe}, {len(runs)} runs of {took}; {busy}; longest step of the clock {still:.1f} s"
    )
    print("| time over | a time was said | predicted / real, median (range) | within 30 % | 'at most' held |"
          " as long as the run before | within 30 % |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for tenth in range(1, 10):
        print(row(runs, tenth))


if __name__ == "__main__":
    main()
