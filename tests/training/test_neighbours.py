"""Siblings across the parts, which no hash finds, are found by the features; different photos hardly ever are."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mb_jupyter.training.__main__ import main
from mb_jupyter.training.manifest import read_split
from tests.picture_files import photo, put
from tests.series import write_series

SETTINGS = {"architecture": "efficientnet_lite0", "image_size": 128, "recipe": "features"}


def trained(folder: Path, data: Path, **settings: object) -> tuple[list[dict[str, str]], dict[str, object]]:
    """Train on a folder and return the rows of neighbours.csv and what report.json says of them."""
    folder.mkdir()
    config = {**SETTINGS, "cache": str(folder / "cache"), **settings}
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["--config", str(folder / "config.json"), "--data", str(data), "--output", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text())
    path = folder / "neighbours.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) if path.exists() else []
    return rows, report["neighbours"]


def test_siblings_across_the_parts_are_found(tmp_path: Path) -> None:
    data = tmp_path / "tiles"
    # the last shot of every object is the user's own test part
    write_series(data, {"crack": 12, "fray": 12, "hole": 12}, turn=8)
    for path in sorted(data.glob("*/*.jpg")):
        part = "test" if path.stem.endswith("_3") else "train"
        put(data / part / path.parent.name / path.name, path.read_bytes())
        path.unlink()
    for label in ("crack", "fray", "hole"):
        (data / label).rmdir()
    rows, told = trained(tmp_path / "run", data, image_size=224)
    assert len(rows) == 36 and {row["NeighbourSplit"] for row in rows} <= {"train", "validation"}
    split = {row.path: row for row in read_split(tmp_path / "run/split.csv")}
    assert all(split[row["ImageSource"]].split == "test" for row in rows)
    assert all(split[row["Neighbour"]].split == row["NeighbourSplit"] for row in rows)
    close = [row for row in rows if row["Close"] == "1"]
    right = [row for row in close if row["ImageSource"][-14:-6] == row["Neighbour"][-14:-6]]
    assert len(right) >= 26 and len(close) - len(right) <= 2
    assert told["close"] == len(close) and told["test"] == 36 and 0 < float(str(told["threshold"])) <= 1
    assert min(float(row["Similarity"]) for row in close) >= float(str(told["threshold"])) - 1e-3


def test_different_photos_are_not(tmp_path: Path) -> None:
    data = tmp_path / "photos"
    for place, label in enumerate(("one", "two", "three")):
        for index in range(40):
            put(data / label / f"{index}.jpg", photo(1000 * place + index))
    rows, told = trained(tmp_path / "run", data)
    assert len(rows) == 24 and told["close"] == sum(row["Close"] == "1" for row in rows) <= 3


def test_without_test_images_nothing_is_written(tmp_path: Path) -> None:
    data = tmp_path / "photos"
    for place, label in enumerate(("one", "two")):
        for index in range(2):  # a class of fewer than three images only trains
            put(data / label / f"{index}.jpg", photo(1000 * place + index))
    rows, told = trained(tmp_path / "run", data)
    assert rows == [] and told is None


@pytest.mark.parametrize("flowers", ["flowers_small"])
def test_few_of_a_real_set_are_flagged(shared_data: Path, tmp_path: Path, flowers: str) -> None:
    rows, told = trained(tmp_path / "run", shared_data / flowers)
    assert len(rows) == 40 and int(str(told["close"])) <= 8
