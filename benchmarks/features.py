"""Pictures per second of feature extraction, decoding included, against each engine alone on the same network.

python benchmarks/features.py ../shared/data/eurosat --pictures 400
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mb_jupyter.training import engines, features, network
from mb_jupyter.training.data import Sample

Array = np.ndarray[Any, Any]
WARM = 16  # pictures


def compiled(classifier: network.Classifier) -> engines.Engine:
    """torch.compile, in bfloat16 where the processor has it; its start of half a minute is not counted."""
    forward = torch.compile(classifier.features)

    def run(images: Array) -> Array:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=engines.bf16()):
            return np.asarray(forward(torch.from_numpy(images)).float().numpy())

    return engines.Engine("torch.compile", 16, functools.partial(map, run))


def pace(engine: engines.Engine, size: int, seconds: float) -> float:
    images = np.random.default_rng(0).integers(0, 256, (engine.batch, size, size, 3), np.uint8)
    engine.run(images)
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        engine.run(images)
        done += len(images)
    return done / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--architecture", default="efficientnet_lite0")
    parser.add_argument("--seconds", type=float, default=8)
    args = parser.parse_args()
    backbone = network.load(network.choose(args.architecture, None))
    classifier = network.Classifier(backbone, ("a", "b"), 224).eval()
    installed = [engine for name in engines.entrants() if (engine := engines.made(classifier, name))]
    paces = {engine.name: pace(engine, 224, args.seconds) for engine in (*installed, compiled(classifier))}
    files = sorted(path for path in args.data.glob("*/*") if path.is_file())[: args.pictures]
    samples = [Sample(str(f), f, 0, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        extract = functools.partial(features.extract, engine_file=where / "engine.json", cache=where / "features")
        extract(classifier, samples[:WARM])  # the race, once for a machine
        begun = time.perf_counter()
        _, chosen = extract(classifier, samples[WARM:])
        first = 2 * len(samples[WARM:]) / (time.perf_counter() - begun)
        begun = time.perf_counter()
        extract(classifier, samples)
        again = 2 * len(samples) / (time.perf_counter() - begun)
    best = max(paces.values())
    print("| engine | pictures/s | ratio to the best alone |\n|---|---|---|")
    for name, value in paces.items():
        print(f"| {name} alone, no decoding | {value:.0f} | {value / best:.2f} |")
    print(f"| **mb_jupyter** ({chosen}), decoding included | {first:.0f} | {first / best:.2f} |")
    print(f"| mb_jupyter, the same pictures again | {again:.0f} | {again / best:.2f} |")


if __name__ == "__main__":
    main()
