"""Calibration of the frozen features: which pictures should set the temperature, over several splits.

    python benchmarks/calibration.py ../shared/data/flowers_small ../shared/data/trashnet ../shared/data/eurosat

Log loss and calibration error (ECE, 15 bins) of the test images without a temperature, with one from the
validation pictures (the peer: Guo et al. 2017), with one from out-of-fold scores (ours), and with the best there is,
which looks at the test images themselves: what no method can beat.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mb_jupyter import Dataset
from mb_jupyter.training import features, folds, head, network, parts
from mb_jupyter.training.calibrate import expected_calibration_error, temperature
from mb_jupyter.training.record import Recorder
from mb_jupyter.training.settings import Settings

WAYS = ("none", "validation", "out of fold", "best there is")


def figures(data: Path, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return temperature, log loss and calibration error of each way on one split."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        Dataset(data).write_split(output / "split.csv", seed=seed, validation_fraction=0.15, test_fraction=0.2)
        found = parts.find(Settings(), data, output, Recorder(output))
        classifier = network.Classifier(
            network.load(network.choose("efficientnet_lite0", None)), found.classes, Settings().image_size
        )
        learned = [*found.train, *found.validation]
        samples = [*learned, *found.test]
        seen, _ = features.extract(classifier, samples, engine_file=output / "engine.json")
    labels = np.array([sample.label for sample in samples])
    train, rest = np.arange(len(found.train)), np.arange(len(found.train), len(learned))
    fit = head.fit_head(
        seen, labels, train, rest, len(found.classes),
        late=classifier.backbone.late, folds=folds.assign(learned, seed), seed=seed,
    )  # fmt: skip
    assert fit.out_of_fold is not None
    held_out = slice(len(learned), None)
    logits = (seen[held_out, 0].astype(np.float32) - fit.mean) * fit.scale @ fit.weight.T + fit.bias
    truth = labels[held_out]
    heats = (
        1.0,
        temperature(fit.validation_logits, labels[rest]),
        temperature(fit.out_of_fold, labels[: len(learned)]),
        temperature(logits, truth),
    )
    return {way: (heat, *judged(logits / heat, truth)) for way, heat in zip(WAYS, heats, strict=True)}


def judged(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return log loss and calibration error."""
    shifted = logits - logits.max(1, keepdims=True)
    scores = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    loss = -np.log(scores[np.arange(len(labels)), labels]).mean()
    return float(loss), expected_calibration_error(scores, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    args = parser.parse_args()
    print("| set | temperature from | log loss | ECE | temperatures, lowest to highest |\n|---|---|---|---|---|")
    for data in args.data:
        runs = [figures(data.resolve(), seed) for seed in range(args.seeds)]
        for way in WAYS:
            heats, losses, errors = zip(*(run[way] for run in runs), strict=True)
            figure = f"{statistics.mean(losses):.3f} | {statistics.mean(errors):.3f}"
            print(f"| {data.name} | {way} | {figure} | {min(heats):.2f} to {max(heats):.2f} |", flush=True)


if __name__ == "__main__":
    main()
