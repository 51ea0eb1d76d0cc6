"""A run that has ended, made from the tiny model: its folder, its pictures and what it answers for them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from mb_jupyter import load
from mb_jupyter.prediction import Predictions
from mb_jupyter.run import Run
from tests.tiny_model import COLOURS, members, network, write_zip

ID = "20261123-101502-ab12"


def write_run(
    place: Path, classes: tuple[str, ...] = COLOURS, *, each: int = 8, data: str = "colours", experiment: str = "hues"
) -> Run:
    """Write pictures below ``place / data`` and a completed run on them into ``place / mb_workspace``.

    The tiny model looks at the mean colour, and the pictures are noisy: it is right for most of them.
    """
    pictures = write_colours(place / data, classes, each)
    folder = place / "mb_workspace" / experiment / ID
    folder.mkdir(parents=True)
    handle = f"local://{experiment}/{ID}"
    model = {**members(classes), "bestModel.onnx": network(classes, changes={"run": handle}).SerializeToString()}
    for name, content in model.items():
        (folder / name).write_bytes(content)
    write_zip(folder / "MLModel.zip", model)
    config = {"data": data, "experiment": experiment, "architecture": "auto", "epochs": 3, "backend": "local"}
    record = {"handle": handle, "experiment": experiment, "id": ID, "backend": "local", "config": config,
              "created": "2026-11-23T10:15:02+00:00", "data": data, "classes": list(classes)}  # fmt: skip
    files = {
        "run.json": record,
        "exit.json": {"returncode": 0},
        "status.json": {"state": "completed", "stages": []},
        "report.json": {"test_accuracy": 0.9, "architecture": "tiny", "temperature": 1.1, "ece_before": 0.1,
                        "ece_after": 0.05, "agreement": 1.0, "largest_difference": 1e-7},
        "config.json": config,
    }  # fmt: skip
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    (folder.parent / "experiment.json").write_text(json.dumps({"name": experiment}))
    _write_predictions(folder, place / data, pictures, classes)
    return Run(folder)


def write_colours(folder: Path, classes: tuple[str, ...], each: int) -> list[tuple[str, str]]:
    """Write a folder for each class; return path below ``folder`` and label of every picture."""
    random = np.random.default_rng(5)
    written = []
    for number, label in enumerate(classes):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(each):
            colour = random.integers(40, 140, 3)
            colour[number % 3] += random.integers(0, 110)
            noise = random.integers(-40, 40, (64, 80, 3))
            path = folder / label / f"{index:02d}.png"
            Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(path)
            written.append((f"{label}/{path.name}", label))
    return written


def _write_predictions(folder: Path, data: Path, pictures: list[tuple[str, str]], classes: tuple[str, ...]) -> None:
    answers = cast(Predictions, load(folder).predict([str(data / source) for source, _ in pictures]))
    with (
        (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as predictions,
        (folder / "split.csv").open("w", newline="", encoding="utf-8") as split,
    ):
        rows, parts = csv.writer(predictions), csv.writer(split)
        rows.writerow(["ImageSource", "Label", "Prediction", *(f"Score.{name}" for name in classes)])
        parts.writerow(["ImageSource", "Label", "Split"])
        for (source, label), answer in zip(pictures, answers, strict=True):
            rows.writerow([source, label, answer.label, *(f"{answer.scores[name]:.9g}" for name in classes)])
            parts.writerow([source, label, "test"])
