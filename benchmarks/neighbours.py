"""Close neighbours by frozen features: how many siblings are found, and how many images are flagged that have none.

    python benchmarks/neighbours.py [../shared/data/flowers_small ...] [--seeds 5]

Series of tests/series.py (90 objects, six shots each), split by image, so that nearly every test image has a sibling in
training; and folders of photos, of which all that are flagged are counted. The peer takes the cosine alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from mb_jupyter.training import features, neighbours, network
from mb_jupyter.training.data import Sample
from tests.series import write_series

Array = np.ndarray[Any, Any]


def seen(root: Path, scratch: Path, size: int) -> tuple[Array, Array, Array]:
    """Return features (N, D), classes (N,) and objects (N,) of a folder of classes."""
    paths = sorted(path for path in root.glob("*/*") if path.is_file())
    classes = tuple(sorted({path.parent.name for path in paths}))
    samples = [
        Sample(path.name, path, classes.index(path.parent.name), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in paths
    ]
    weights = network.load(network.choose("efficientnet_lite0", None))
    classifier = network.Classifier(weights, classes, size)
    found, _ = features.extract(
        classifier, samples, engine_file=scratch / "engine.json", cache=scratch / "kept", views=1
    )
    objects = np.array([path.stem.rpartition("_")[0] if path.stem.startswith("tile_") else path.stem for path in paths])
    return found[:, 0], np.array([sample.label for sample in samples]), objects


def flagged(found: Array, labels: Array, objects: Array, seed: int) -> dict[str, tuple[float, float]]:
    """Return for each rule the share of the test images whose sibling is found, and of others that are flagged."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test[rows[: max(1, round(0.2 * len(rows)))]] = True
    space = neighbours._whitened(found[~test], labels[~test])
    near = neighbours._nearest(space.of(found[test]), labels[test], space.of(found[~test]), labels[~test])
    right = objects[test] == objects[~test][near.place]
    plain = neighbours.Whitened(space.mean, space.scale, np.eye(found.shape[1], dtype=np.float32))
    cosine = plain.of(found[test]) @ plain.of(found[~test]).T
    other = np.where(labels[test][:, None] == labels[~test], -1, cosine).max(1)
    same = objects[test] == objects[~test][cosine.argmax(1)]
    ours = near.above > np.quantile(near.usual, 1 - neighbours.CHANCE)
    peer = cosine.max(1) > np.quantile(other, 1 - neighbours.CHANCE)
    return {
        "program": (float((ours & right).mean()), float((ours & ~right).mean())),
        "cosine": (float((peer & same).mean()), float((peer & ~same).mean())),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    print("| set | rule | siblings found | others flagged |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        series = []
        for turn in (8, 25):
            write_series(scratch / f"series, {turn} degrees", dict.fromkeys(("crack", "fray", "free"), 30), turn=turn)
            series.append((scratch / f"series, {turn} degrees", 128))
        for root, size in [*series, *((each, 224) for each in given.sets)]:
            own = seen(root, scratch, size)
            runs = [flagged(*own, seed) for seed in range(given.seeds)]
            for rule in runs[0]:
                right, wrong = np.mean([run[rule] for run in runs], axis=0)
                print(f"| {root.name} | {rule} | {right:.2f} | {wrong:.3f} |", flush=True)


if __name__ == "__main__":
    main()
