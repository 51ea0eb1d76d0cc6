"""Classes and files with the names of formulas, through a real training and everything that reads its tables."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mb_jupyter
from mb_jupyter import Dataset
from mb_jupyter.report.suspects import write_patch
from mb_jupyter.run import Run
from mb_jupyter.training.cells import records
from mb_jupyter.training.review import read_rows

TRIGGERS = ("=", "+", "-", "@", "\t", "\r")
CLASSES = ("=cmd|' '!A0", "'=quoted", "+sum; -1", "@a\t=b ")
NAMES = ("{}.png", "={}.png", "'@{};=1.png")
EACH = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("formulas")
    random = np.random.default_rng(1)
    for number, label in enumerate(CLASSES):
        (place / "data" / label).mkdir(parents=True)
        for index in range(EACH):
            pixels = random.integers(0, 90, (64, 64, 3), np.uint8)
            pixels[..., number % 3] += np.uint8(40 * (1 + number // 3) + 60)
            name = NAMES[index % len(NAMES)].format(index)
            Image.fromarray(pixels).save(place / "data" / label / name)
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MB_WORKSPACE", str(place / "kept"))
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        yield mb_jupyter.train(
            data="data", recipe="features", architecture="efficientnet_lite0", seed=3, test_fraction=0.3
        ).wait()


def sources(run: Run) -> set[str]:
    return {f"{label}/{path.name}" for label in CLASSES for path in Path("data", label).iterdir()}


def test_no_table_of_a_run_has_a_formula(run):
    run.report.write()
    tables = sorted(run.folder.glob("*.csv"))
    assert {"predictions.csv", "split.csv", "out_of_fold.csv", "neighbours.csv"} <= {path.name for path in tables}
    assert [formula for path in tables for formula in formulas(path)] == []


def formulas(path: Path) -> list[str]:
    """Return the cells that a spreadsheet would run, wherever it parts cells at commas, semicolons or tabs."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row if not is_number(cell)]
    for line in path.read_text("utf-8-sig").splitlines():
        cells += [cell.lstrip('" ') for cell in line.replace("\t", ";").split(";")]
    return [cell for cell in cells if cell.startswith(TRIGGERS)]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_every_name_comes_back(run):
    report = run.report
    assert set(report.classes) == set(CLASSES)
    assert set(report.frame.Label) == set(CLASSES)
    assert set(report.split.ImageSource) == sources(run) and set(report.split.Label) == set(CLASSES)
    assert set(report.frame.ImageSource) <= sources(run) and set(report.out_of_fold.ImageSource) <= sources(run)
    assert all(report.path(name).is_file() for name in report.frame.ImageSource)
    assert set(report.neighbours.Neighbour) <= sources(run)
    answers = run.predict("data")
    assert set(answers.labels) <= set(CLASSES)


def test_a_split_is_a_list_of_images_again(run):
    shutil.copy(run.folder / "split.csv", "data/list.csv")
    again = Dataset("data/list.csv")
    Path("data/list.csv").unlink()
    stripped = {label.strip(): EACH for label in CLASSES}  # as in every list, blanks around a name are not part of it
    assert again.counts == stripped or again.counts == dict.fromkeys(CLASSES, EACH)


def test_corrected_labels_are_applied(run, place):
    doubtful = pd.DataFrame(
        [(f"{a}/{path.name}", a, b, 0.1, 0.9, "train") for a, b in zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True)
         for path in sorted(Path("data", a).iterdir())[:2]],
        columns=["ImageSource", "Label", "Suggested", "LabelScore", "SuggestedScore", "Split"],
    )  # fmt: skip
    patch = write_patch(place / "labels.patch.csv", doubtful, accept=list(doubtful.ImageSource))
    assert [row["imagesource"] for row in read_rows(patch)] == list(doubtful.ImageSource)
    assert formulas(patch) == []
    before, after = Dataset("data").frame, Dataset("data", labels=patch).frame
    new = dict(zip(doubtful.ImageSource, doubtful.Suggested, strict=True))
    expected = [new.get(name, label) for name, label in zip(before.ImageSource, before.Label, strict=True)]
    assert list(after.Label) == expected
    write_patch(patch, doubtful.iloc[:0])  # what was reviewed stays
    assert {row["imagesource"] for row in read_rows(patch)} == set(doubtful.ImageSource)


def test_an_export_finds_its_recorded_images(run, place):
    made = run.export(place / "out", name="Formulas")
    assert "drawn" not in (made.model / "README.md").read_text("utf-8")
    recorded = json.loads((made.model / "tests" / "recorded.json").read_text("utf-8"))
    assert {picture["Label"] for picture in recorded["pictures"]} == set(CLASSES)


def test_a_repetition_compares_the_same_images(run):
    from mb_jupyter.rerun import _answers

    assert len(_answers(run.folder)) == len(run.report.frame)
    with (run.folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert {row["Label"] for row in records(file)} == set(CLASSES)
