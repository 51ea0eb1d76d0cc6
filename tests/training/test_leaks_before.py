"""Leaks in the user's own split are a warning before the training, computed from the split."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ImageOps

from mb_jupyter import Dataset
from mb_jupyter.training.manifest import scan
from tests.picture_files import photo, put
from tests.training.scanned import of


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """train/ and test/ of two classes, and nothing of one in the other."""
    root = tmp_path / "flowers"
    for part, first, number in (("train", 0, 10), ("test", 500, 5)):
        for place, label in enumerate(("rose", "tulip")):
            for index in range(number):
                put(root / part / label / f"{index}.jpg", photo(first + 50 * place + index))
    return root


def test_near_copies_across_parts_are_a_warning(folders: Path) -> None:
    for index in range(3):
        put(folders / f"train/rose/again{index}.jpg", ImageOps.mirror(photo(500 + index)))
    put(folders / "train/rose/twice.jpg", ImageOps.mirror(photo(3)))
    found = scan(folders)
    leak = of(found, "near duplicate across parts")
    assert leak.severity == "warning" and not leak.excluded and len(leak.files) == 6
    assert leak.message.startswith(
        "3 of 10 test images have near copies in your training or validation part, such as 'test/rose/0.jpg' and "
        "'train/rose/again0.jpg': the split leaks. The test accuracy will look better than it is."
    )
    # the pair within the training part stays a note, which speaks of nothing else
    note = of(found, "near duplicate")
    assert set(note.files) == {"train/rose/3.jpg", "train/rose/twice.jpg"} and note.severity == "note"
    for text in Dataset(folders)._repr_mimebundle_().values():
        assert "3 of 10 test images have near copies or images of their group in the training or validation" in text
        assert "no test image has a copy" not in text


def test_the_validation_part_leaks_too(folders: Path) -> None:
    for label in ("rose", "tulip"):
        put(folders / f"val/{label}/own.jpg", photo(hash(label) % 97 + 800))
    put(folders / "val/rose/again.jpg", ImageOps.mirror(photo(3)))
    put(folders / "val/rose/tested.jpg", ImageOps.mirror(photo(500)))
    messages = [f.message for f in scan(folders).findings if f.kind == "near duplicate across parts"]
    assert messages[0].startswith("1 of 10 test images has a near copy in your training or validation part, 'test/rose")
    assert messages[1].startswith(
        "1 of 4 validation images has a near copy in your training part, 'val/rose/again.jpg'"
    )
    assert "What is chosen on them will look better than it is." in messages[1]


def test_a_near_copy_with_another_label_leaks_as_well(folders: Path) -> None:
    put(folders / "train/tulip/again.jpg", ImageOps.mirror(photo(500)))
    found = scan(folders)
    assert of(found, "near duplicate across parts").files == ("test/rose/0.jpg", "train/tulip/again.jpg")
    assert of(found, "near duplicate, two labels").severity == "warning"


def test_without_leaks_nothing_warns(folders: Path) -> None:
    put(folders / "train/rose/twice.jpg", ImageOps.mirror(photo(3)))
    found = scan(folders)
    assert "near duplicate across parts" not in {finding.kind for finding in found.findings}
    text = Dataset(folders)._repr_mimebundle_()["text/plain"]
    assert "so that no test image has a near copy in training" in text
    assert "no test image has a copy, a near copy or an image of its group in the training or validation part" in text


def test_what_has_no_part_follows_its_copy(folders: Path) -> None:
    # a list may leave the part of an image open: then the split made here keeps it with its copy, and nothing leaks
    put(folders / "train/rose/again.jpg", ImageOps.mirror(photo(500)))
    rows = ["ImageSource,Label,Split"]
    for path in sorted(folders.rglob("*.jpg")):
        part, label, name = path.relative_to(folders).parts
        rows.append(f"{part}/{label}/{name},{label},{'' if name == 'again.jpg' else part}")
    put(folders / "list.csv", "\n".join(rows).encode())
    data = Dataset(folders / "list.csv")
    assert "near duplicate across parts" not in {finding.kind for finding in data.findings}
    parts = data.split().set_index("ImageSource")["Split"]
    assert parts["train/rose/again.jpg"] == parts["test/rose/0.jpg"] == "test"
