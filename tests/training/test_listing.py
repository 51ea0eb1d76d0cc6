from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mb_jupyter.training.manifest import (
    read_rows,
    scan,
)
from tests.picture_files import photo, put
from tests.training.scanned import of, refusal


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv(flowers: Path, delimiter: str, mark: str) -> None:
    rows = [("Extra", "imagesource", "LABEL", "Split")]
    rows += [
        ("x", f"{p.parent.name}/{p.name}", p.parent.name, "Valid" if p.stem == "000" else "")
        for p in flowers.glob("*/*")
    ]
    text = "\n".join(delimiter.join(row) for row in rows)
    (flowers / "list.csv").write_text(mark + text, encoding="utf-8")
    found = scan(flowers, entries=read_rows(flowers / "list.csv"))
    assert found.classes == ["rose", "tulip"] and len(found.pictures) == 24
    assert {p.path for p in found.pictures if p.split == "validation"} == {"rose/000.jpg", "tulip/000.jpg"}


def test_csv_paths(flowers: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "elsewhere/a, b.jpg", photo(80))
    rows = [(f"{c}\\{i:03d}.jpg", c) for c in ("rose", "tulip") for i in range(11)]
    rows += [(str(outside), "rose"), ("rose/gone.jpg", "rose"), ("rose/000.jpg", "rose"), ("tulip/001.jpg", "rose")]
    with (flowers / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("ImageSource", "Label"), *rows])
    found = scan(flowers, entries=read_rows(flowers / "list.csv"))
    assert str(outside) in {p.path for p in found.pictures}
    assert of(found, "missing").files == ("rose/gone.jpg",)
    assert "1 listed image is not there and is left out: 'rose/gone.jpg'." in of(found, "missing").message
    assert of(found, "listed twice").files == ("rose/000.jpg",)
    conflict = of(found, "conflicting rows")
    assert conflict.files == ("tulip/001.jpg",) and conflict.severity == "error" and conflict.excluded
    assert len(found.pictures) == 22


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column ImageSource and no column Label; it has none. Name the columns"),
        ("path,Label\na.jpg,x\n", "has no column ImageSource; it has 'path' and 'Label'."),
        ("ImageSource,Label\n", "has no rows."),
        (
            "ImageSource,Label\na.jpg,\n,x\n",
            "has 2 rows that cannot be used: row 1 has no Label; row 2 has no ImageSource.",
        ),
        ("ImageSource,Label,Split\na.jpg,x,holdout\n", "row 1 has the Split 'holdout'. Every row needs"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    assert said in refusal(lambda: read_rows(tmp_path / "list.csv"))


def test_csv_in_another_encoding_or_missing(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("ImageSource,Label\né.jpg,x\n".encode("latin-1"))
    assert "is not a text file in UTF-8. Save it as CSV UTF-8." in refusal(lambda: read_rows(tmp_path / "list.csv"))
    assert "There is no file" in refusal(lambda: read_rows(tmp_path / "none.csv"))


def test_no_listed_picture_is_there(tmp_path: Path) -> None:
    said = refusal(lambda: scan(tmp_path, entries=[("a.jpg", "x"), ("b.jpg", "y")]))
    assert "None of the listed images can be used. 2 listed images are not there" in said and "'a.jpg', 'b.jpg'" in said
