from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image

from mb_jupyter.training.manifest import (
    read_split,
    scan,
    write_split,
)
from tests.picture_files import encoded, folder_of, photo, put
from tests.training.scanned import of, parted

NASTY = [
    "with space",
    'quote\'s "two"',
    "été",
    "🌷👩‍🌾",
    "<img src=x onerror=alert(1)>".replace("/", ""),
    "名前",
    "%s{0}",
]


def test_unusable_files_are_named_with_the_reason(flowers: Path) -> None:
    put(flowers / "rose/broken.jpg", b"no picture")
    put(flowers / "rose/empty.png", b"")
    put(flowers / "tulip/cut.jpg", encoded(photo(50))[:-300])
    huge = Image.new("1", (20_000, 6_000))
    put(flowers / "tulip/huge.png", encoded(huge, "PNG"))
    put(flowers / "tulip/notes.txt", b"these are tulips")
    found = scan(flowers)
    assert len(found.pictures) == 24
    unreadable = of(found, "unreadable")
    assert unreadable.files == ("rose/broken.jpg", "rose/empty.png") and unreadable.excluded
    assert unreadable.message == (
        "2 files cannot be read and are left out: 'rose/broken.jpg' (it is not a JPEG, PNG, WebP, BMP, GIF, TIFF, "
        "AVIF or HEIC image), 'rose/empty.png' (the file is empty). Save such a file again as JPEG or PNG, or delete "
        "it."
    )
    assert of(found, "truncated").message.startswith(
        "1 picture is cut short and is left out: 'tulip/cut.jpg' (it is cut short; the end of the file is missing)."
    )
    assert "'tulip/huge.png' (it has 20,000 x 6,000 pixels" in of(found, "huge").message
    assert of(found, "not a picture").files == ("tulip/notes.txt",)
    assert of(found, "not a picture").severity == "note"


def test_the_content_decides_about_the_format(flowers: Path) -> None:
    put(flowers / "rose/really-jpeg.png", photo(50))
    put(flowers / "rose/without-extension", encoded(photo(51), "PNG"))
    found = scan(flowers)
    assert len(found.pictures) == 26
    finding = of(found, "wrong extension")
    assert finding.files == ("rose/really-jpeg.png", "rose/without-extension") and not finding.excluded
    assert "such as 'rose/really-jpeg.png': it is a JPEG. The content decides" in finding.message


def test_hidden_and_loose_files(flowers: Path) -> None:
    put(flowers / ".ipynb_checkpoints/000-checkpoint.jpg", photo(1))
    put(flowers / "__MACOSX/._a.jpg", b"x")
    put(flowers / "rose/.DS_Store", b"x")
    put(flowers / "rose/Thumbs.db", b"x")
    put(flowers / "rose/.ipynb_checkpoints/000-checkpoint.jpg", photo(1))
    put(flowers / "cover.jpg", photo(70))
    found = scan(flowers)
    assert found.classes == ["rose", "tulip"] and len(found.pictures) == 24
    hidden = of(found, "hidden")
    assert set(hidden.files) == {
        ".ipynb_checkpoints",
        "__MACOSX",
        "rose/.DS_Store",
        "rose/Thumbs.db",
        "rose/.ipynb_checkpoints",
    }
    assert hidden.severity == "note" and "Nothing needs to be done." in hidden.message
    loose = of(found, "loose")
    assert loose.files == ("cover.jpg",) and "lies beside the class folders" in loose.message


def test_links(flowers: Path, tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere/secret.jpg", photo(60))
    for link, target in {
        "rose/out.jpg": elsewhere,
        "daisy": elsewhere.parent,
        "rose/loop.jpg": flowers / "rose/loop.jpg",
        "tulip/all": flowers,
        "rose/nowhere.jpg": tmp_path / "gone.jpg",
        "rose/copy.jpg": flowers / "rose/000.jpg",
    }.items():
        (flowers / link).symlink_to(target)
    found = scan(flowers)
    outside = of(found, "link outside")
    assert set(outside.files) == {"rose/out.jpg", "daisy"} and outside.excluded
    assert "2 links lead out of the folder and are left out" in outside.message
    assert of(found, "link to a folder").files == ("tulip/all",)
    assert set(of(found, "unreadable").files) == {"rose/loop.jpg", "rose/nowhere.jpg"}
    assert set(of(found, "duplicate").files) == {"rose/000.jpg", "rose/copy.jpg"}
    assert found.classes == ["rose", "tulip"]


@pytest.mark.skipif(os.name != "posix", reason="rights work otherwise there")
def test_files_that_may_not_be_read(flowers: Path, ordinary_user: Callable[[], AbstractContextManager[None]]) -> None:
    (flowers / "rose/000.jpg").chmod(0)
    with ordinary_user():
        found = scan(flowers)
    assert "'rose/000.jpg' (the file may not be read (permission denied))" in of(found, "unreadable").message


def test_a_pipe_does_not_block(flowers: Path) -> None:
    os.mkfifo(flowers / "rose/pipe.jpg")
    assert of(scan(flowers), "not a picture").reasons == ("it is a pipe, socket or device",)


@pytest.mark.parametrize("name", [*NASTY, "n" * 251 + ".jpg"[-4:], "line\nbreak.jpg", "tab\t.jpg"])
def test_nasty_names(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path / "data", {"plain": 12})
    label = name if len(name) < 200 else "long"
    for index in range(11):
        put(tmp_path / "data" / label / f"{index}.jpg", photo(100 + index))
    put(tmp_path / "data" / label / name, photo(200))
    put(tmp_path / "data/plain" / name, b"broken")
    found = scan(tmp_path / "data")
    assert f"{label}/{name}" in {picture.path for picture in found.pictures}
    if name.endswith(".jpg"):
        assert of(found, "unreadable").files == (f"plain/{name}",)
        assert "\n" not in of(found, "unreadable").message
    rows = parted(found)
    write_split(tmp_path / "split.csv", rows)
    assert [(r.path, r.label) for r in read_split(tmp_path / "split.csv")] == [(p.path, p.label) for p in rows]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", {"rose": 11, "tulip": 12})
    name = os.fsdecode(b"caf\xe9.jpg")
    put(root / "rose" / name, photo(90))
    put(root / "tulip" / name, b"broken")
    found = scan(root)
    assert r"'tulip/caf\xe9.jpg'" in of(found, "unreadable").message
    found.findings[0].message.encode("utf-8")
    write_split(tmp_path / "split.csv", parted(found))
    rows = {row.path for row in read_split(tmp_path / "split.csv")}
    assert f"rose/{name}" in rows and (root / f"rose/{name}").is_file()


# classes


def test_small_and_unequal_classes(tmp_path: Path) -> None:
    folder_of(tmp_path, {"many": 40, "some": 9, "one": 1})
    (tmp_path / "none").mkdir()
    put(tmp_path / "broken/1.jpg", b"no")
    found = scan(tmp_path)
    assert "'one' has 1 picture, 'some' has 9 pictures: fewer than 10" in of(found, "tiny class").message
    assert "'many' has 40 pictures and 'one' 1:" in of(found, "imbalance").message
    assert of(found, "empty class").message.startswith("'broken' and 'none' have no usable picture")
    assert of(found, "not held out").message.startswith("'one' has fewer than 3 different images: all of their")
    assert found.classes == ["many", "one", "some"]


def test_class_names_that_look_the_same(tmp_path: Path) -> None:
    folder_of(tmp_path, {"Rose": 10, "rose": 10, "caf\u00e9": 10, "cafe": 10, "cafe ": 10})
    messages = [finding.message for finding in scan(tmp_path).findings if finding.kind == "similar class names"]
    assert len(messages) == 2 and any("'Rose' and 'rose' differ only in capitals" in message for message in messages)
