from __future__ import annotations

import base64
import html.parser
import io
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mb_jupyter import Dataset
from mb_jupyter.errors import DataError
from tests.picture_files import encoded, folder_of, photo, put

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep what is remembered between kernels away from the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)
    yield folder


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "flowers", {"rose": 12, "tulip": 20})


def page_of(data: Dataset) -> str:
    return data._repr_mimebundle_()["text/html"]


def text_of(data: Dataset) -> str:
    return data._repr_mimebundle_()["text/plain"]


class Words(html.parser.HTMLParser):
    """Collects what a reader sees, and the tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_what_it_holds(flowers: Path) -> None:
    data = Dataset(flowers)
    assert (data.source, data.root) == (flowers, flowers)
    assert data.classes == ["rose", "tulip"] and data.counts == {"rose": 12, "tulip": 20}
    assert len(data) == len(data.pictures) == 32 and data.findings == []
    assert re.fullmatch("[0-9a-f]{64}", data.fingerprint)
    assert repr(data) == f"<Dataset {flowers}: 32 pictures in 2 classes>"
    frame = data.frame
    assert list(frame) == ["ImageSource", "Label", "Split", "Width", "Height", "Format", "Bytes", "Sha256"]
    first = frame.to_dict("records")[0]
    assert first["ImageSource"] == "rose/000.jpg" and first["Label"] == "rose" and first["Split"] == ""
    assert (first["Width"], first["Height"], first["Format"]) == (96, 72, "JPEG")


def test_split(flowers: Path, tmp_path: Path) -> None:
    data = Dataset(str(flowers))
    frame = data.split()
    assert list(frame) == ["ImageSource", "Label", "Split", "Sha256", "Group"]
    assert dict(Counter(frame["Split"])) == data.plan_split() == {"train": 21, "validation": 5, "test": 6}
    assert data.split(seed=0).equals(frame) and not data.split(seed=1).equals(frame)
    assert data.plan_split(validation_fraction=0.25, test_fraction=0.25)["train"] == 16
    data.write_split(tmp_path / "split.csv", seed=3, validation_fraction=0.15, test_fraction=0.2)
    assert pd.read_csv(tmp_path / "split.csv", dtype=str).equals(data.split(seed=3).astype(str))


def test_tables(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Dataset(flowers)
    table = folder.frame[["ImageSource", "Label"]]
    table.to_csv(flowers / "list.csv", index=False)
    from_csv = Dataset(flowers / "list.csv")
    monkeypatch.chdir(flowers)
    table["Split"] = [None if i else "test" for i in range(len(table))]
    paths: list[Any] = [Path(name) for name in table["ImageSource"]]
    from_frame = Dataset(table.assign(ImageSource=paths))
    assert from_csv.root == from_frame.root == flowers
    assert from_csv.counts == from_frame.counts == folder.counts
    assert from_csv.fingerprint == folder.fingerprint != from_frame.fingerprint
    assert [p.path for p in from_frame.pictures if p.split] == ["rose/000.jpg"]
    assert text_of(from_frame).startswith("Data report of DataFrame\n")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "There is no folder '{cwd}/nowhere'. Check the spelling; a relative path begins at"),
        ("nowhere.csv", "There is no file '{cwd}/nowhere.csv'. Check the path."),
        ("flowers/rose/000.jpg", "is a file, not a folder of images. Give the folder that has one folder per class"),
        ("flowers.zip", "'{cwd}/flowers.zip' is an archive. Unpack it, and give the folder that comes out."),
        ("flowers/rose", "but there is no class folder with images. Put the images into one folder per class"),
        (5, "A int is not a set of pictures. Give a folder, a CSV file, or a DataFrame"),
        (pd.DataFrame({"path": ["a"]}), "The DataFrame has no column ImageSource and no column Label; it has 'path'."),
        (pd.DataFrame({"ImageSource": ["a"], "Label": [None]}), "The DataFrame has 1 row that cannot be used: row 1"),
    ],
)
def test_what_cannot_be_used_is_a_data_error(
    flowers: Path, monkeypatch: pytest.MonkeyPatch, source: Any, said: str
) -> None:
    monkeypatch.chdir(flowers.parent)
    put(flowers.parent / "flowers.zip", b"PK")
    with pytest.raises(DataError) as caught:
        Dataset(source)
    assert said.format(cwd=flowers.parent) in str(caught.value)
    assert caught.value.__cause__ is None and len(caught.value.lines()) <= 6


def test_a_split_without_training_pictures(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", {"a": 5, "b": 5})
    table = pd.DataFrame(
        [(f"{c}/{i:03d}.jpg", c, "test") for c in "ab" for i in range(5)], columns=["ImageSource", "Label", "Split"]
    )
    table.to_csv(tmp_path / "data/list.csv", index=False)
    data = Dataset(tmp_path / "data/list.csv")
    assert "Your train part has no picture of 'a' and 'b'" in text_of(data)
    with pytest.raises(DataError, match="No picture is left for training"):
        data.split()


# what is remembered between kernels


def test_one_index_per_folder(flowers: Path, cache: Path) -> None:
    first = Dataset(flowers)
    again = Dataset(flowers)
    assert again.fingerprint == first.fingerprint and again.findings == first.findings
    put(flowers / "rose/000.jpg", photo(99))
    changed = Dataset(flowers)
    assert changed.fingerprint != first.fingerprint and len(changed) == 32
    assert len(list(cache.rglob("*"))) == 2  # the folder and one index


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 0}',
        b'{"version": 2, "pictures": [[1]]}',
        b'{"version": 2, "pictures": [["rose/000.jpg", "rose", "", 5, "w", 1, "JPEG", 1, 1, 1, "", 1, 1, true]]}',
        b"\xff\xfe" * 50,
    ],
)
def test_a_damaged_index_is_ignored(flowers: Path, cache: Path, damage: bytes) -> None:
    first = Dataset(flowers)
    (index,) = cache.rglob("*.json")
    index.write_bytes(damage)
    assert Dataset(flowers).pictures == first.pictures
    assert len(index.read_bytes()) > 1000


def test_no_room_for_an_index(flowers: Path, cache: Path) -> None:
    cache.write_bytes(b"a file where the folder should be")
    assert len(Dataset(flowers)) == 32


def test_several_kernels_look_at_once(flowers: Path, cache: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        all_alike = list(threads.map(lambda _: Dataset(flowers).pictures, range(12)))
    assert all(pictures == all_alike[0] for pictures in all_alike)
    assert [path.suffix for path in cache.rglob("*") if path.is_file()] == [".json"]


def test_progress(flowers: Path) -> None:
    calls: list[tuple[int, int]] = []
    Dataset(flowers, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 32) and calls[-1] == (32, 32)


# how it shows itself


def test_report_of_a_clean_folder(flowers: Path) -> None:
    data = Dataset(flowers)
    text = text_of(data)
    assert text.splitlines()[:2] == [
        f"Data report of {flowers}",
        "32 pictures in 2 classes: all JPEG, 96 x 72 pixels. Nothing is left out.",
    ]
    assert re.search(r"rose +12 +█+\S* +8 +2 +2", text) and re.search(r"tulip +20 +█+ +13 +3 +4", text)
    words = Words(page_of(data)).words
    for told in ("32 pictures in 2 classes", "rose", "Held out", "The split is the one a training with seed 0 makes"):
        assert told in words
    assert "Errors" not in words and "Warnings" not in words and "Notes" not in words


def test_report_names_every_problem(flowers: Path) -> None:
    for index in range(14):
        put(flowers / f"rose/broken{index:02d}.jpg", b"no")
    shutil.copy(flowers / "rose/001.jpg", flowers / "tulip/r.jpg")
    put(flowers / "tulip/wide.png", encoded(photo(80, (300, 100)), "PNG"))
    put(flowers / "daisy/1.jpg", photo(81))
    put(flowers / "daisy/.DS_Store", b"x")
    data = Dataset(flowers)
    text, page = text_of(data), page_of(data)
    words = Words(page).words
    assert "33 pictures in 3 classes: 32 JPEG, 1 PNG, 96 x 72 to 300 x 100 pixels. 16 files are left out" in text
    for told in (text, words):
        assert told.index("Errors (1)") < told.index("Warnings (") < told.index("Notes (1)")
        assert "rose/broken09.jpg: it is not a JPEG" in told
        assert "Once there is the same file in different classes" in told
    assert "and 4 more" in text and "rose/broken10.jpg" not in text
    assert "rose/broken13.jpg" in words and "4 more" in words  # folded, but there
    assert [tag for tag, _ in Words(page).tags].count("details") == 1


def test_html_is_safe_and_needs_nothing_else(flowers: Path) -> None:
    for index in range(5):
        put(flowers / HOSTILE / f"{index}{HOSTILE}.jpg", photo(200 + index))
    put(flowers / "rose" / f"{HOSTILE}\n\x1b[31m\u202e.jpg", b"broken")
    data = Dataset(flowers)
    parsed = Words(page_of(data))
    assert HOSTILE in parsed.words and HOSTILE in text_of(data)
    allowed = {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "img", "details", "summary", "ul", "li", "b"}
    assert {tag for tag, _ in parsed.tags} <= allowed
    for tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/jpeg;base64,")
            assert "of the class" in (attributes["alt"] or "")
    for told in (page_of(data), text_of(data)):
        assert "\x1b" not in told and "\u202e" not in told


def strips(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_thumbnails(shared_data: Path) -> None:
    page = page_of(Dataset(shared_data / "trashnet"))
    assert [strip.size for strip in strips(page)] == [(384, 64)] * 6
    assert 'alt="6 pictures of the class glass"' in page
    assert len(page) < 150_000


def test_two_hundred_classes_stay_small(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", {f"class {i:03d}": 4 + i % 3 for i in range(200)})
    data = Dataset(tmp_path / "data")
    page, text = page_of(data), text_of(data)
    assert len(page) < 400_000 and len("".join(re.findall(r'base64,([^"]+)"', page))) < 150_000
    assert "... and 170 smaller classes" in text and len(text.splitlines()) < 60
    assert "170 smaller classes" in page and "class 199" in page


def test_pictures_that_are_gone_since(flowers: Path) -> None:
    data = Dataset(flowers)
    shutil.rmtree(flowers)
    assert len(strips(page_of(data))) == 2


def test_labels_that_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [str(put(tmp_path / f"{number}.jpg", photo(number)).name) for number in range(8)]
    numbers = [float(number % 2) for number in range(8)]
    assert Dataset(pd.DataFrame({"ImageSource": names, "Label": numbers})).classes == ["0", "1"]
    halves = [number / 2 for number in numbers]
    assert Dataset(pd.DataFrame({"ImageSource": names, "Label": halves})).classes == ["0.0", "0.5"]
    pd.DataFrame({"ImageSource": names, "Label": numbers}).to_csv("list.csv", index=False)
    assert Dataset("list.csv").classes == ["0", "1"]
    for many in (["a", "b"], ("a",), {"a"}, {"a": 1}, np.array(["a", "b"])):
        with pytest.raises(DataError, match="gives every image exactly one class"):
            Dataset(pd.DataFrame({"ImageSource": names, "Label": [many] * 8}))
    assert Dataset(pd.DataFrame({"ImageSource": names, "Label": np.array(["a", "b"] * 4)})).classes == ["a", "b"]


ODD_CLASSES = [
    "None", "nan", "NA", "true", "007", "10", "2", "$5 and $10_{x", "<b>R&D", "a,b", "Error", "Prediction", "꽃",
]  # fmt: skip


def test_odd_names_of_classes_stay_names(tmp_path: Path) -> None:
    data = Dataset(folder_of(tmp_path / "odd", dict.fromkeys(ODD_CLASSES, 4)))
    assert data.classes == sorted(ODD_CLASSES)
    assert "<b>R&D" not in page_of(data) and "&lt;b&gt;R&amp;D" in page_of(data)
    data.write_split(tmp_path / "split.csv", seed=0, validation_fraction=0.2, test_fraction=0.2)
    kept = pd.read_csv(tmp_path / "split.csv", dtype=str, keep_default_na=False)
    assert sorted(set(kept["Label"])) == sorted(ODD_CLASSES)
