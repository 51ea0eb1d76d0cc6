from __future__ import annotations

import csv
import os
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.manifest import (
    Finding,
    Picture,
    Scan,
    fingerprint,
    read_rows,
    read_split,
    scan,
    split,
    write_split,
)
from tests.picture_files import encoded, folder_of, photo, put

NASTY = [
    "with space",
    'quote\'s "two"',
    "été",
    "🌷👩‍🌾",
    "<img src=x onerror=alert(1)>".replace("/", ""),
    "名前",
    "%s{0}",
]


def of(found: Scan, kind: str) -> Finding:
    (finding,) = [finding for finding in found.findings if finding.kind == kind]
    return finding


def kinds(found: Scan) -> set[str]:
    return {finding.kind for finding in found.findings}


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(TrainingError) as caught:
        action()
    assert caught.value.cause.endswith(".") and caught.value.fix.endswith(".")
    return f"{caught.value.cause} {caught.value.fix}"


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "flowers", {"rose": 12, "tulip": 12})


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
    # looked at: each of these pairs shows the same object from the same place
    finding = of(scan(shared_data / "trashnet"), "near duplicate")
    assert 8 <= len(finding.files) <= 12
    assert {"paper/paper68.jpg", "paper/paper74.jpg"} <= set(finding.files)


# what cannot be trained at all


def test_no_folder(tmp_path: Path) -> None:
    said = refusal(lambda: scan(tmp_path / "flower"))
    assert f"There is no folder '{tmp_path}/flower'. Check the spelling" in said


def test_a_file_is_no_folder(flowers: Path) -> None:
    assert "is a file, not a folder of pictures. Give the folder" in refusal(lambda: scan(flowers / "rose/000.jpg"))


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "There are no pictures in" in refusal(lambda: scan(tmp_path))
    (tmp_path / "rose").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert "one folder per class" in refusal(lambda: scan(tmp_path))


def test_loose_pictures_only(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", photo(1))
    said = refusal(lambda: scan(tmp_path))
    assert f"1 file lies directly in '{tmp_path}', but there is no class folder with pictures." in said


def test_one_class(tmp_path: Path) -> None:
    folder_of(tmp_path, {"rose": 3})
    put(tmp_path / "tulip/broken.jpg", b"no")
    said = refusal(lambda: scan(tmp_path))
    assert "only one class with usable pictures" in said and "'rose' (1 file could not be used)" in said
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


# what is left out, and what is only said


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
        "2 files cannot be read and are left out: 'rose/broken.jpg' (it is not a JPEG, PNG, WebP, BMP, GIF or TIFF "
        "picture), 'rose/empty.png' (the file is empty). Save such a file again as JPEG or PNG, or delete it."
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


# copies


def test_copies_stay_together_and_are_named(flowers: Path) -> None:
    for index in range(6):
        shutil.copy(flowers / f"rose/{index:03d}.jpg", flowers / f"rose/copy{index}.jpg")
    found = scan(flowers)
    finding = of(found, "duplicate")
    assert finding.message.startswith("6 times there is the same file more than once in a class (12 pictures)")
    assert not finding.excluded and finding.severity == "note"
    for seed in range(20):
        parts = defaultdict(set)
        for picture in parted(found, seed=seed):
            parts[picture.sha256].add(picture.split)
        assert all(len(part) == 1 for part in parts.values())


ALTERED: dict[str, Callable[[Image.Image], bytes]] = {
    "smaller": lambda image: encoded(image.resize((image.width // 2, image.height // 2))),
    "larger": lambda image: encoded(image.resize((image.width * 2, image.height * 2))),
    "recompressed": lambda image: encoded(image, quality=40),
    "as PNG": lambda image: encoded(image, "PNG"),
    "trimmed": lambda image: encoded(image.crop((2, 2, image.width - 2, image.height - 2))),
}


@pytest.mark.parametrize("how", ALTERED)
def test_near_copies_are_found(shared_data: Path, tmp_path: Path, how: str) -> None:
    originals = sorted((shared_data / "flowers_small").glob("*/*"))[::8]
    for index, path in enumerate(originals):
        shutil.copy(path, put(tmp_path / f"{index % 2}/{index}.jpg", b""))
        with Image.open(path) as image:
            put(tmp_path / f"{index % 2}/{index}-again.img", ALTERED[how](image.convert("RGB")))
    found = scan(tmp_path)
    together = Counter(picture.group for picture in found.pictures)
    assert max(together.values()) == 2
    assert sum(number == 2 for number in together.values()) >= 0.9 * len(originals)
    assert "They stay in one part of the split" in of(found, "near duplicate").message


def test_near_copies_with_two_labels(flowers: Path) -> None:
    put(flowers / "tulip/again.jpg", encoded(photo(0), quality=60))
    finding = of(scan(flowers), "near duplicate, two labels")
    assert set(finding.files) == {"rose/000.jpg", "tulip/again.jpg"} and finding.severity == "warning"
    assert "Once there is nearly the same picture in different classes (2 pictures)" in finding.message


def test_colour_tells_pictures_apart(tmp_path: Path) -> None:
    for label, colour in {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (20, 110, 20)}.items():
        for index in range(10):
            image = Image.new("RGB", (64, 64), (230, 230, 230))
            image.paste(colour, (5 + index * 3, 10, 30 + index * 3, 50))
            put(tmp_path / label / f"{index}.png", encoded(image, "PNG"))
    assert "near duplicate, two labels" not in kinds(scan(tmp_path))


def test_plain_pictures_are_not_near_copies(tmp_path: Path) -> None:
    for label, level in {"dark": 20, "light": 220}.items():
        for index in range(10):
            put(tmp_path / label / f"{index}.png", encoded(Image.new("L", (64, 64), level + index), "PNG"))
    assert scan(tmp_path).findings == []


def test_the_same_file_with_two_labels_is_left_out(flowers: Path) -> None:
    shutil.copy(flowers / "rose/003.jpg", flowers / "tulip/rose?.jpg")
    found = scan(flowers)
    finding = of(found, "conflicting label")
    assert finding.severity == "error" and finding.excluded
    assert finding.files == ("rose/003.jpg", "tulip/rose?.jpg")
    assert finding.message == (
        "Once there is the same file in different classes (2 pictures): 'rose/003.jpg' and 'tulip/rose?.jpg'. "
        "All of them are left out; keep each in its right class only."
    )
    assert len(found.pictures) == 23 and found.findings[0] is finding


# classes


def test_small_and_unequal_classes(tmp_path: Path) -> None:
    folder_of(tmp_path, {"many": 40, "some": 9, "one": 1})
    (tmp_path / "none").mkdir()
    put(tmp_path / "broken/1.jpg", b"no")
    found = scan(tmp_path)
    assert "'one' has 1 picture, 'some' has 9 pictures: fewer than 10" in of(found, "tiny class").message
    assert "'many' has 40 pictures and 'one' 1:" in of(found, "imbalance").message
    assert of(found, "empty class").message.startswith("'broken' and 'none' have no usable picture")
    assert of(found, "not held out").message.startswith("'one' has fewer than 3 different pictures: all of them train")
    assert found.classes == ["many", "one", "some"]


def test_class_names_that_look_the_same(tmp_path: Path) -> None:
    folder_of(tmp_path, {"Rose": 10, "rose": 10, "caf\u00e9": 10, "cafe\u0301": 10})
    messages = [finding.message for finding in scan(tmp_path).findings if finding.kind == "similar class names"]
    assert len(messages) == 2 and any("'Rose' and 'rose' differ only in capitals" in message for message in messages)


# the split


def parted(found: Scan, seed: int = 0, validation: float = 0.15, test: float = 0.2) -> list[Picture]:
    return split(found.pictures, seed=seed, validation_fraction=validation, test_fraction=test)


def made(classes: dict[str, list[int]], part: str = "") -> list[Picture]:
    """Return pictures without files: per class the sizes of its groups."""
    return [
        Picture(f"{c}/{g}-{i}.jpg", c, part, f"{c}{g}{i}".ljust(64, "0"), 8, 8, "JPEG", None, 1, 1, f"{c}-{g}{part}")
        for c, groups in classes.items()
        for g, size in enumerate(groups)
        for i in range(size)
    ]


def sizes(pictures: list[Picture], label: str | None = None) -> dict[str, int]:
    return dict(Counter(p.split for p in pictures if label in (None, p.label)))


def cut(pictures: list[Picture], seed: int = 0, validation: float = 0.15, test: float = 0.2) -> list[Picture]:
    return split(pictures, seed=seed, validation_fraction=validation, test_fraction=test)


def test_fractions_are_right_in_every_class_and_in_the_sum() -> None:
    pictures = cut(made({f"c{i}": [1] * (7 + i) for i in range(40)}))
    total = len(pictures)
    assert abs(sizes(pictures)["test"] - 0.2 * total) <= 1
    assert abs(sizes(pictures)["validation"] - 0.15 * total) <= 1
    for i in range(40):
        assert abs(sizes(pictures, f"c{i}")["test"] - 0.2 * (7 + i)) < 1.01
        assert set(sizes(pictures, f"c{i}")) == {"train", "validation", "test"}


@pytest.mark.parametrize("groups", [[1, 1, 1], [1] * 4, [10, 1, 1], [5, 5, 5], [30, 1, 1, 1], [1, 2, 9]])
def test_three_groups_are_enough_for_three_parts(groups: list[int]) -> None:
    for seed in range(10):
        pictures = cut(made({"a": groups, "b": [1] * 30}), seed)
        assert set(sizes(pictures, "a")) == {"train", "validation", "test"}
        parts = defaultdict(set)
        for picture in pictures:
            parts[picture.group].add(picture.split)
        assert all(len(part) == 1 for part in parts.values())


def test_fewer_than_three_groups_only_train() -> None:
    pictures = cut(made({"a": [1, 1], "b": [50], "c": [1] * 30}))
    assert sizes(pictures, "a") == {"train": 2} and sizes(pictures, "b") == {"train": 50}


def test_the_split_depends_on_contents_and_seed_alone(flowers: Path, tmp_path: Path) -> None:
    found = scan(flowers)
    other = tmp_path / "other"
    shutil.copytree(flowers, other)
    for path in sorted(other.glob("*/*")):
        path.rename(path.with_name(f"renamed-{99 - int(path.stem)}.jpg"))
    again = scan(other)
    assert fingerprint(found.pictures) == fingerprint(again.pictures) == fingerprint(found.pictures[::-1])
    by_content = {picture.sha256: picture.split for picture in parted(found)}
    assert by_content == {picture.sha256: picture.split for picture in parted(again)}
    backwards = split(found.pictures[::-1], seed=0, validation_fraction=0.15, test_fraction=0.2)
    assert backwards == parted(found)[::-1]
    assert by_content != {picture.sha256: picture.split for picture in parted(found, seed=1)}


def test_the_order_drawn_is_the_same_on_every_platform_and_in_every_version() -> None:
    held_out = [p.path for p in cut(made({"a": [1] * 10, "b": [1] * 10})) if p.split == "test"]
    assert held_out == ["a/2-0.jpg", "a/9-0.jpg", "b/4-0.jpg", "b/7-0.jpg"]


def test_the_fingerprint_sees_contents_labels_and_parts(flowers: Path) -> None:
    before = fingerprint(scan(flowers).pictures)
    (flowers / "rose/000.jpg").rename(flowers / "tulip/000r.jpg")
    moved = fingerprint(scan(flowers).pictures)
    put(flowers / "rose/000.jpg", photo(77))
    assert len({before, moved, fingerprint(scan(flowers).pictures)}) == 3


def test_fractions_of_zero() -> None:
    assert sizes(cut(made({"a": [1] * 10}), validation=0, test=0)) == {"train": 10}
    assert sizes(cut(made({"a": [1] * 10}), validation=0.2, test=0)) == {"train": 8, "validation": 2}


# the user's own split


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "testing"), ("training", "validation", "test")]
)
def test_folders_of_a_split_are_kept(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for index, (name, number) in enumerate(zip(names, (12, 3, 4), strict=True)):
        folder_of(tmp_path / name, {"rose": number, "tulip": number}, first=100 * index)
    found = scan(tmp_path)
    assert found.classes == ["rose", "tulip"]
    assert sizes(parted(found)) == {"train": 24, "validation": 6, "test": 8}
    assert all(Path(p.path).parts[0] == names[["train", "validation", "test"].index(p.split)] for p in parted(found))


def test_validation_is_taken_from_train_where_there_is_none(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"rose": 40, "tulip": 40})
    folder_of(tmp_path / "test", {"rose": 10, "tulip": 10}, first=200)
    rows = parted(scan(tmp_path))
    assert sizes(rows) == {"train": 65, "validation": 15, "test": 20}  # 0.15 / 0.8 of 80
    assert all(p.path.startswith("test/") == (p.split == "test") for p in rows)


def test_a_test_part_is_taken_from_train_where_there_is_none(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"rose": 17, "tulip": 17})
    folder_of(tmp_path / "val", {"rose": 3, "tulip": 3}, first=200)
    assert sizes(parted(scan(tmp_path))) == {"train": 26, "validation": 6, "test": 8}


def test_train_alone_is_only_a_folder(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"rose": 20, "tulip": 20})
    put(tmp_path / "test/unlabelled.jpg", photo(300))
    found = scan(tmp_path)
    assert of(found, "loose").files == ("test/unlabelled.jpg",)
    assert sizes(parted(found)) == {"train": 26, "validation": 6, "test": 8}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train": 12, "car": 12})
    assert scan(tmp_path).classes == ["car", "train"]
    assert {p.split for p in scan(tmp_path).pictures} == {""}


def test_a_copy_in_two_parts_is_kept_where_it_measures(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"rose": 12, "tulip": 12})
    folder_of(tmp_path / "test", {"rose": 3, "tulip": 3}, first=200)
    shutil.copy(tmp_path / "test/rose/000.jpg", tmp_path / "train/rose/leak.jpg")
    found = scan(tmp_path)
    finding = of(found, "leak")
    assert finding.files == ("train/rose/leak.jpg",) and finding.excluded
    assert "A picture that was trained on cannot test" in finding.message
    assert "test/rose/000.jpg" in {picture.path for picture in found.pictures}


def test_classes_missing_from_a_part(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"rose": 12, "tulip": 12})
    folder_of(tmp_path / "test", {"rose": 12, "daisy": 12}, first=200)
    found = scan(tmp_path)
    assert (
        "Your train part has no picture of 'daisy', so that this class cannot be learned"
        in of(found, "not in train").message
    )
    assert of(found, "not in train").severity == "error"
    assert "no picture of 'tulip'" in of(found, "not in test").message


def test_no_training_pictures() -> None:
    said = refusal(lambda: cut(made({"a": [1] * 5}, "test") + made({"b": [1] * 5}, "validation")))
    assert "No picture is left for training" in said


# tables


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
    assert "1 listed picture is not there and is left out: 'rose/gone.jpg'." in of(found, "missing").message
    assert of(found, "listed twice").files == ("rose/000.jpg",)
    conflict = of(found, "conflicting rows")
    assert conflict.files == ("tulip/001.jpg",) and conflict.severity == "error" and conflict.excluded
    assert len(found.pictures) == 22


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column ImageSource and no column Label; it has none. Name the columns"),
        ("path,Label\na.jpg,x\n", "has no column ImageSource; it has 'path' and 'label'."),
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
    said = refusal(lambda: scan(tmp_path, entries=[("a.jpg", "x", ""), ("b.jpg", "y", "")]))
    assert "None of the listed pictures is there: 'a.jpg' and 'b.jpg'." in said


# files of a run, speed


def test_split_file_round_trip(flowers: Path, tmp_path: Path) -> None:
    rows = parted(scan(flowers))
    write_split(tmp_path / "split.csv", rows)
    assert (tmp_path / "split.csv").read_text().splitlines()[0] == "ImageSource,Label,Split,Sha256,Group"
    assert [tuple(row) for row in read_split(tmp_path / "split.csv")] == [
        (p.path, p.label, p.split, p.sha256, p.group) for p in rows
    ]
    assert list(tmp_path.glob("*.part")) == []
    (tmp_path / "split.csv").write_text("ImageSource,Label\n")
    assert "is not a split: its columns are not ImageSource" in refusal(lambda: read_split(tmp_path / "split.csv"))
    (tmp_path / "split.csv").write_text("ImageSource,Label,Split,Sha256,Group\na,b,c,d,e\n")
    assert "Line 2 of the split" in refusal(lambda: read_split(tmp_path / "split.csv"))


def test_progress_and_what_is_known(flowers: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = scan(flowers, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 24) and calls[-1] == (24, 24) and calls == sorted(calls)
    known = {picture.path: picture for picture in first.pictures}
    assert scan(flowers, known=known) == first
    # what is known is not read again: only a changed file is
    kept = (flowers / "rose/000.jpg").stat()
    put(flowers / "rose/000.jpg", b"x" * kept.st_size)
    os.utime(flowers / "rose/000.jpg", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert scan(flowers, known=known) == first
    put(flowers / "rose/000.jpg", photo(123))
    shutil.copy(flowers / "rose/001.jpg", flowers / "rose/new.jpg")
    assert scan(flowers, known=known) == scan(flowers)
    (flowers / "rose/new.jpg").unlink()
    assert scan(flowers, known=known) == scan(flowers)


def test_a_hundred_thousand_hashes_are_compared_in_seconds() -> None:
    import time

    rng = np.random.default_rng(0)
    number = 20_000  # a twenty-fifth of the work
    hashes = [int.from_bytes(rng.bytes(40), "big") for _ in range(number)]
    pictures = [
        Picture(f"{i}", "a", "", f"{i:016x}".ljust(64, "0"), 8, 8, "JPEG", value, 1, 1)
        for i, value in enumerate([*hashes, hashes[5] ^ (0b1011 << 200)])
    ]
    begun = time.perf_counter()
    rows = split(pictures, seed=0, validation_fraction=0.15, test_fraction=0.2)
    assert time.perf_counter() - begun < 5
    assert rows[5].group == rows[-1].group
    assert len({row.group for row in rows}) == number
