"""Pictures per second of feature extraction, decoding included, against each engine alone on the same network.

python benchmarks/features.py ../shared/data/eurosat --pictures 400
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mb_jupyter.training import engines, features, network
from mb_jupyter.training.data import Sample

Array = np.ndarray[Any, Any]


def compiled(classifier: network.Classifier) -> engines.Engine:
    """torch.compile, in bfloat16 where the processor has it; its start of half a minute is not counted."""
    run = torch.compile(classifier.features)

    def engine(images: Array) -> Array:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=engines.bf16()):
            return np.asarray(run(torch.from_numpy(images)).float().numpy())

    return engine


def pace(engine: engines.Engine, size: int, seconds: float) -> float:
    images = np.random.default_rng(0).integers(0, 256, (engines.BATCH, size, size, 3), np.uint8)
    engine(images)
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        engine(images)
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
    makers: dict[str, Callable[[network.Classifier], engines.Engine]] = {**engines.ENGINES, "torch.compile": compiled}
    paces = {name: pace(make(classifier), 224, args.seconds) for name, make in makers.items()}
    files = sorted(path for path in args.data.glob("*/*") if path.is_file())[: args.pictures]
    samples = [Sample(str(f), f, 0, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]
    with tempfile.TemporaryDirectory() as folder:
        where = {"engine_file": Path(folder) / "engine.json", "cache": Path(folder) / "features"}
        features.extract(classifier, samples[: engines.BATCH], **where)  # the race, once for a machine
        begun = time.perf_counter()
        _, chosen = features.extract(classifier, samples[engines.BATCH :], **where)
        first = 2 * len(samples[engines.BATCH :]) / (time.perf_counter() - begun)
        begun = time.perf_counter()
        features.extract(classifier, samples, **where)
        again = 2 * len(samples) / (time.perf_counter() - begun)
    best = max(paces.values())
    print("| engine | pictures/s | ratio to the best alone |\n|---|---|---|")
    for name, value in paces.items():
        print(f"| {name} alone, no decoding | {value:.0f} | {value / best:.2f} |")
    print(f"| **mb_jupyter** ({chosen}), decoding included | {first:.0f} | {first / best:.2f} |")
    print(f"| mb_jupyter, the same pictures again | {again:.0f} | {again / best:.2f} |")


if __name__ == "__main__":
    main()
