from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from mb_jupyter.training.manifest import (
    scan,
)
from tests.picture_files import folder_of, photo, put
from tests.training.scanned import of, refusal


def test_a_clean_folder_has_no_findings(flowers: Path) -> None:
    found = scan(flowers)
    assert found.findings == []
    assert found.classes == ["rose", "tulip"]
    assert [picture.path for picture in found.pictures][:2] == ["rose/000.jpg", "rose/001.jpg"]
    first = found.pictures[0]
    assert (first.label, first.split, first.format, first.width, first.height) == ("rose", "", "JPEG", 96, 72)
    assert len(first.sha256) == 64 and first.size == (flowers / "rose/000.jpg").stat().st_size


@pytest.mark.parametrize("name", ["eurosat", "flowers_small", "hemlock_cherry"])
def test_real_sets_without_copies_have_none(shared_data: Path, name: str) -> None:
    assert scan(shared_data / name).findings == []


def test_real_near_copies_are_found(shared_data: Path) -> None:
    # looked at: each of these pairs shows the same object from the same place, or two of a kind on one table
    finding = of(scan(shared_data / "trashnet"), "near duplicate")
    assert 20 <= len(finding.files) <= 26
    assert {"paper/paper68.jpg", "paper/paper74.jpg", "metal/metal11.jpg", "metal/metal221.jpg"} <= set(finding.files)


# what cannot be trained at all


def test_no_folder(tmp_path: Path) -> None:
    said = refusal(lambda: scan(tmp_path / "flower"))
    assert f"There is no folder '{tmp_path}/flower'. Check the spelling" in said


def test_a_file_is_no_folder(flowers: Path) -> None:
    assert "is a file, not a folder of images. Give the folder" in refusal(lambda: scan(flowers / "rose/000.jpg"))


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "There are no images in" in refusal(lambda: scan(tmp_path))
    (tmp_path / "rose").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert "one folder per class" in refusal(lambda: scan(tmp_path))


def test_loose_pictures_only(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", photo(1))
    said = refusal(lambda: scan(tmp_path))
    assert f"1 file lies directly in '{tmp_path}', but there is no class folder with images." in said


def test_one_class(tmp_path: Path) -> None:
    folder_of(tmp_path, {"rose": 3})
    put(tmp_path / "tulip/broken.jpg", b"no")
    said = refusal(lambda: scan(tmp_path))
    assert "only one class with usable images" in said and "'rose'. 'tulip' has none. 1 file cannot be read" in said
    assert "at least two classes" in said


def test_every_picture_broken(tmp_path: Path) -> None:
    for name in ("rose/1.jpg", "rose/2.jpg", "tulip/3.jpg"):
        put(tmp_path / name, b"no picture")
    said = refusal(lambda: scan(tmp_path))
    assert "None of the 3 files in" in said and "'rose/1.jpg' (it is not a JPEG" in said


def test_folders_inside_class_folders_are_refused(flowers: Path) -> None:
    put(flowers / "rose/red/1.jpg", photo(99))
    said = refusal(lambda: scan(flowers))
    assert "There are folders inside class folders: 'rose/red'" in said and "one folder per class" in said
    shutil.rmtree(flowers / "rose/red")
    (flowers / "rose/red/.hidden").mkdir(parents=True)  # nothing inside: nothing is lost
    assert len(scan(flowers).pictures) == 24


def test_one_folder_too_high(flowers: Path) -> None:
    said = refusal(lambda: scan(flowers.parent))
    assert f"one folder deeper than '{flowers.parent}': inside 'flowers'. Give the folder '{flowers}' instead." in said


# progress


def test_progress_and_what_is_known(flowers: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = scan(flowers, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 24) and calls[-1] == (24, 24) and calls == sorted(calls)
    known = {picture.path: picture for picture in first.pictures}
    assert scan(flowers, known=known) == first
    put(flowers / "rose/000.jpg", photo(123))
    shutil.copy(flowers / "rose/001.jpg", flowers / "rose/new.jpg")
    assert scan(flowers, known=known) == scan(flowers)
    (flowers / "rose/new.jpg").unlink()
    assert scan(flowers, known=known) == scan(flowers)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names as text")
def test_a_class_whose_name_is_not_unicode_is_refused(flowers: Path) -> None:
    (flowers / "tulip").rename(os.fsdecode(os.fsencode(flowers) + b"/bl\xfcte"))
    said = refusal(lambda: scan(flowers))
    assert "'bl\\xfcte'" in said and "Rename its folder" in said
