"""A refusal names the folder, file or row that is in the way, and what was probably meant."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mb_jupyter.training.formats import below, is_left_behind
from mb_jupyter.training.manifest import Scan, read_rows, scan
from mb_jupyter.training.nearby import MOST_SPELT
from tests.picture_files import folder_of, photo, put
from tests.training.scanned import of, refusal


def listed(root: Path, rows: Sequence[tuple[str, str]]) -> Callable[[], Scan]:
    text = "\n".join(",".join(row) for row in [("ImageSource", "Label"), *rows])
    (root / "list.csv").write_text(text, encoding="utf-8")
    return lambda: scan(root, entries=read_rows(root / "list.csv"))


def test_links_that_lead_out(tmp_path: Path) -> None:
    """As DVC, git-annex and the cache of Hugging Face make them."""
    folder_of(tmp_path / "store", {"a": 3, "b": 3})
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        for file in (tmp_path / "store" / label).iterdir():
            (tmp_path / "set" / label / file.name).symlink_to(file)
    said = refusal(lambda: scan(tmp_path / "set"))
    assert "6 links lead out of the folder and are left out: 'a/000.jpg' and 5 more." in said
    assert "Replace links with the images themselves" in said and "one folder per class" not in said


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("roses/IMG_1.JPG", "roses/IMG_1.jpg"),
        ("roses/img_1.jpg", "roses/IMG_1.jpg"),
        ("Roses/IMG_1.jpg", "roses/IMG_1.jpg"),
        ("roses/IMG_1.png", "roses/IMG_1.jpg"),
        ("roses/IMG_1", "roses/IMG_1.jpg"),
        ("roses/IMG_01.jpg", "roses/IMG_1.jpg"),
        ("rose/IMG_1.jpg", "roses/IMG_1.jpg"),
        ("roses\\IMG_1.JPG", "roses/IMG_1.jpg"),
        ("./roses/IMG_1.JPG", "roses/IMG_1.jpg"),
        ("roses/IMG_9.jpg", ""),
        ("tulips/IMG_1.jpg", ""),
        ("roses", ""),
    ],
)
def test_a_row_that_misses_its_file_narrowly(tmp_path: Path, written: str, near: str) -> None:
    put(tmp_path / "roses/IMG_1.jpg", photo(1))
    said = refusal(listed(tmp_path, [(written, "rose"), ("nothing/at/all.xyz", "tulip")]))
    told = f"'{written}' (there is '{near}')" if near else f"'{written}', 'nothing/at/all.xyz'"
    assert told in said and "Correct the path in the list" in said
    assert "folder per class" not in said


def test_a_name_in_another_unicode_form_is_the_same_name(tmp_path: Path) -> None:
    """A Mac writes an accent as a character of its own; the table was made elsewhere."""
    name = "blüten/gänseblümchen"
    apart, together = unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name)
    rows: list[tuple[str, str]] = []
    for number in range(4):
        put(tmp_path / f"{apart}-{number}.jpg", photo(number))
        rows += [(f"{together}-{number}.jpg", (apart, together, "rose", "rose")[number])]
    found = listed(tmp_path, rows)()
    assert [picture.path for picture in found.pictures] == [f"{apart}-{number}.jpg" for number in range(4)]
    assert found.classes == [unicodedata.normalize("NFC", together), "rose"]
    again = scan(
        tmp_path, entries=[(f"{together}-{n}.jpg", "ab"[n % 2]) for n in range(4)], exclude=[f"{together}-0.jpg"]
    )
    assert len(again.pictures) == 3


def test_a_class_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    together, apart = unicodedata.normalize("NFC", "gänseblümchen"), unicodedata.normalize("NFD", "gänseblümchen")
    for part, name in (("train", together), ("test", apart)):
        folder_of(tmp_path / part, {name: 3, "rose": 3}, first=10 * len(part))
    found = scan(tmp_path)
    assert found.classes == [together, "rose"]
    assert len(found.pictures) == 12


def test_two_labels_each(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": 2})
    said = refusal(listed(tmp_path, [(f"a/00{n}.jpg", label) for n in (0, 1) for label in ("rose", "tulip")]))
    assert "2 images are listed with two labels" in said and "'a/000.jpg' (listed as 'rose' and 'tulip')" in said
    assert "Keep the row with the right label." in said


def test_all_excluded(flowers: Path) -> None:
    every = [picture.path for picture in scan(flowers).pictures]
    said = refusal(lambda: scan(flowers, exclude=every))
    assert "24 pictures are left out because `exclude` says so" in said
    said = refusal(lambda: scan(flowers, exclude=[path for path in every if path.startswith("rose")]))
    assert "only one class with usable images" in said and "'rose' has none. 12 pictures are left out because" in said


@pytest.mark.parametrize("name", ["README.txt", "labels.csv", "notes.md"])
def test_a_text_file_beside_the_classes_of_a_part(tmp_path: Path, name: str) -> None:
    for part in ("train", "test"):
        folder_of(tmp_path / part, {"rose": 6, "tulip": 6}, first=100 * len(part))
        (tmp_path / part / name).write_text("where these come from")
    found = scan(tmp_path)
    assert found.classes == ["rose", "tulip"] and {picture.split for picture in found.pictures} == {"train", "test"}
    assert of(found, "not a picture").files == (f"test/{name}", f"train/{name}")
    assert of(found, "not a picture").severity == "note"


def test_a_folder_beside_the_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder_of(tmp_path / part, {"rose": 6, "tulip": 6}, first=100 * len(part))
    put(tmp_path / "annotations/rose.xml", b"<xml/>")
    (tmp_path / "empty").mkdir()
    found = scan(tmp_path)
    assert found.classes == ["rose", "tulip"]
    assert of(found, "no part").files == ("annotations", "empty") and of(found, "no part").severity == "note"
    put(tmp_path / "samples/1.jpg", photo(7))
    said = refusal(lambda: scan(tmp_path))
    assert "Beside 'test' and 'train' in" in said and "there is 'samples', which is no part of a split." in said
    assert "Move it elsewhere" in said and "called train, validation or test" in said
    put(tmp_path / "annotations/rose.jpg", photo(8))
    assert "there are 'annotations' and 'samples', which are no part" in refusal(lambda: scan(tmp_path))


def test_loose_images_beside_the_classes_of_a_part(tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder_of(tmp_path / part, {"rose": 6, "tulip": 6}, first=100 * len(part))
    put(tmp_path / "train/lost.jpg", photo(9))
    found = scan(tmp_path)
    assert found.classes == ["rose", "tulip"] and of(found, "loose").files == ("train/lost.jpg",)


def test_classes_that_are_called_as_parts(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train": 6, "bus": 6})
    assert scan(tmp_path).classes == ["bus", "train"]
    put(tmp_path / "train/red/1.jpg", photo(99))
    assert "There are folders inside class folders: 'train/red'" in refusal(lambda: scan(tmp_path))


LEFT_BEHIND = [
    ".DS_Store", "._1.jpg", ".ipynb_checkpoints", ".Trash-1000", ".thumbnails", ".git", "__MACOSX", "Thumbs.db",
    "desktop.ini", "lost+found", "$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle", "#snapshot",
    "@Recycle", "RECYCLER", "1.jpg.part", "1.jpg.crdownload", "1.jpg~", "~$list.csv", "1.jpg.tmp", "Icon\r",
]  # fmt: skip


@pytest.mark.parametrize("inside", ["", "rose/"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_systems_leave_behind_is_ignored_and_told_once(flowers: Path, inside: str, kind: str) -> None:
    for name in LEFT_BEHIND:
        path = flowers / f"{inside}{name}"
        put(path / "1.jpg" if kind == "folder" else path, photo(3))
    found = scan(flowers)
    assert found.classes == ["rose", "tulip"] and len(found.pictures) == 24
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("hidden", "note")
    assert set(finding.files) == {f"{inside}{name}" for name in LEFT_BEHIND}
    assert "left behind" in finding.message
    assert all(is_left_behind(name) for name in LEFT_BEHIND)
    assert len([path for path, _ in below(flowers)]) == 24, "a prediction of the folder leaves them out too"


def test_names_that_only_look_so_are_classes(tmp_path: Path) -> None:
    names = {"lost and found": 3, "recycle": 3, "part": 3, "tmp": 3, "~tilde": 3, "#1": 3, "@home": 3}
    assert scan(folder_of(tmp_path, names)).classes == sorted(names)


def test_a_folder_that_is_nearly_there(flowers: Path) -> None:
    said = refusal(lambda: scan(flowers.with_name("Flower")))
    assert f"There is no folder '{flowers.with_name('Flower')}'. There is '{flowers}'. Check the spelling" in said
    assert "There is '" not in refusal(lambda: scan(flowers.with_name("zebras")))


@pytest.mark.skipif(os.name == "nt", reason="there it may be there")
def test_a_path_of_windows(tmp_path: Path) -> None:
    said = refusal(lambda: scan("C:\\Users\\me\\flowers"))
    assert "There is no folder 'C:\\Users\\me\\flowers'. This is a path of Windows" in said


def test_every_file_in_the_way_is_told(tmp_path: Path) -> None:
    put(tmp_path / "rose/1.jpg", b"no picture")
    put(tmp_path / "tulip/list.txt", b"a list")
    put(tmp_path / "loose.jpg", photo(1))
    said = refusal(lambda: scan(tmp_path))
    for name in ("rose/1.jpg", "tulip/list.txt", "loose.jpg"):
        assert f"'{name}'" in said


def test_the_spelling_of_many_rows_is_not_compared(tmp_path: Path) -> None:
    """Each comparison with ten thousand names would take as long as reading an image."""
    for number in range(300):
        (tmp_path / f"x{number}.jpg").write_bytes(b"")
    said = refusal(listed(tmp_path, [(f"y{number}.jpg", "rose") for number in range(300)]))
    assert "300 listed images are not there and are left out: 'y0.jpg' (there is 'x0.jpg') and 299 more" in said
    folder_of(tmp_path, {"rose": 2, "tulip": 2})
    rows = [(f"{label}/{number:03}.jpg", label) for label in ("rose", "tulip") for number in (0, 1)]
    found = listed(tmp_path, [*rows, *((f"y{number}.jpg", "rose") for number in range(300))])()
    assert sum(map(bool, of(found, "missing").reasons)) == MOST_SPELT
