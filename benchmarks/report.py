"""The report: seconds and bytes of its page, at 20,000 predictions of few and of many classes.

    python benchmarks/report.py [--pictures 20000] [--classes 10 300]

Each row is a fresh process, so that loading pandas, scikit-learn, cleanlab and matplotlib counts. The run's folder
has every file a report reads; its pictures are photos' sizes of noise. The peer is what scikit-learn alone takes for
its classification report and confusion matrix of the same table, loading included: figures without pages or pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

DIFFERENT = 100  # pictures; the others are links to them
SIZE = (320, 240)

OURS = """
import sys, time
begun = time.perf_counter()
from mb_jupyter import Report
report = Report.from_run(sys.argv[1])
page = report.to_html(sys.argv[1] + "/report.html")
print(time.perf_counter() - begun, page.stat().st_size)
"""
SHOWN = """
import sys, time
begun = time.perf_counter()
from mb_jupyter import Report
bundle = Report.from_run(sys.argv[1])._repr_mimebundle_()
print(time.perf_counter() - begun, len(bundle["text/html"].encode()))
"""
PEER = """
import sys, time
begun = time.perf_counter()
import pandas
from sklearn.metrics import classification_report, confusion_matrix
frame = pandas.read_csv(sys.argv[1] + "/predictions.csv")
said = classification_report(frame["Label"], frame["Prediction"], zero_division=0)
said += str(confusion_matrix(frame["Label"], frame["Prediction"]))
print(time.perf_counter() - begun, len(said))
"""


def predictions(number: int, names: list[str], first: int, random: np.random.Generator) -> pd.DataFrame:
    """Return a table of which about nine in ten are right."""
    true = random.integers(0, len(names), number)
    logits = random.normal(0, 1, (number, len(names))).astype(np.float32)
    # the highest of so many others grows as the root of their logarithm
    logits[np.arange(number), true] += 1.4 + np.sqrt(2 * np.log(len(names))) + random.normal(0, 1.2, number)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array(names)
    said = {"ImageSource": [f"{i}.jpg" for i in range(first, first + number)], "Label": labels[true]}
    said["Prediction"] = labels[scores.argmax(axis=1)]
    return pd.concat([pd.DataFrame(said), pd.DataFrame(scores, columns=[f"Score.{name}" for name in names])], axis=1)


def write_run(place: Path, number: int, classes: int, out_of_fold: int) -> Path:
    """Write a run's folder and its pictures."""
    random, names = np.random.default_rng(0), [f"class {i:03d}" for i in range(classes)]
    pictures, folder = place / "pictures", place / "runs" / "20261125-000000-0000"
    pictures.mkdir()
    folder.mkdir(parents=True)
    small = random.integers(0, 256, (DIFFERENT, 12, 16, 3), np.uint8)
    for i, noise in enumerate(small):
        Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC).save(pictures / f"{i}.jpg", quality=88)
    for i in range(DIFFERENT, number + out_of_fold):
        os.link(pictures / f"{i % DIFFERENT}.jpg", pictures / f"{i}.jpg")
    held_out, folds = (predictions(n, names, first, random) for n, first in ((number, 0), (out_of_fold, number)))
    held_out.to_csv(folder / "predictions.csv", index=False, float_format="%.8g")
    held_out.to_csv(folder / "baselines.csv", index=False, float_format="%.8g")
    folds.insert(2, "Fold", np.arange(out_of_fold) % 5)
    folds.to_csv(folder / "out_of_fold.csv", index=False, float_format="%.8g")
    split = [(s, label, part, f"{part}{i:060x}", f"{part}{i}") for part, frame in (("test", held_out), ("train", folds))
             for i, (s, label) in enumerate(zip(frame["ImageSource"], frame["Label"], strict=True))]  # fmt: skip
    columns = ["ImageSource", "Label", "Split", "Sha256", "Group"]
    pd.DataFrame(split, columns=columns).to_csv(folder / "split.csv", index=False)
    epoch = {"event": "epoch", "phase": "features", "epoch": 0, "train_loss": 0.1, "train_accuracy": 0.95,
             "validation_loss": 0.3, "validation_accuracy": 0.9, "best": True}  # fmt: skip
    (folder / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
    (folder / "run.json").write_text(json.dumps({"handle": "local://runs/it", "root": str(pictures), "config": {}}))
    (folder / "report.json").write_text(json.dumps({"temperature": 1.2}))
    return folder


def timed(code: str, folder: Path) -> tuple[float, int]:
    """Return the seconds and the bytes of the quicker of two fresh processes."""
    command = (sys.executable, "-c", code, str(folder))
    rows = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    seconds, size = min(rows, key=lambda row: float(row[0]))
    return float(seconds), int(size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 10, 300])
    parser.add_argument("--out-of-fold", type=int, default=20_000, help="pictures whose labels are examined")
    given = parser.parse_args()
    print(f"{'classes':>8} {'what':28} {'seconds':>8} {'MB':>6} {'ratio':>6}   (load {os.getloadavg()[0]:.1f})")
    for classes in given.classes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = write_run(Path(temporary), given.pictures, classes, given.out_of_fold)
            peer, _ = timed(PEER, folder)
            for what, code in (("report.html", OURS), ("notebook output", SHOWN), ("scikit-learn alone", PEER)):
                seconds, size = timed(code, folder)
                print(f"{classes:8} {what:28} {seconds:8.2f} {size / 1e6:6.2f} {seconds / peer:6.1f}")


if __name__ == "__main__":
    main()
