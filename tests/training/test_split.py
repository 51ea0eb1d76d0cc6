from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from mb_jupyter.training.manifest import (
    Picture,
    fingerprint,
    read_split,
    scan,
    split,
    write_split,
)
from tests.picture_files import folder_of, photo, put
from tests.training.scanned import of, parted, refusal, sizes


def made(classes: dict[str, list[int]], part: str = "") -> list[Picture]:
    """Return pictures without files: per class the sizes of its groups."""
    return [
        Picture(f"{c}/{g}-{i}.jpg", c, part, f"{c}{g}{i}".ljust(64, "0"), 8, 8, "JPEG", None, 1, 1, f"{c}-{g}{part}")
        for c, groups in classes.items()
        for g, size in enumerate(groups)
        for i in range(size)
    ]


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


def test_what_is_left_open_follows_its_copies_into_the_part_that_is_held_out() -> None:
    marked = [replace(picture, split="test") for picture in made({"a": [1, 1], "b": [1]})]
    copies = [
        replace(picture, path=f"copy of {picture.path}", sha256=picture.sha256[::-1], split=part)
        for picture, part in zip(marked, ("", "train", ""), strict=True)
    ]
    rest = [replace(picture, group=f"more {picture.group}") for picture in made({"a": [1] * 9, "b": [1] * 9})]
    found = {picture.path: picture.split for picture in cut([*marked, *copies, *rest])}
    assert [found[picture.path] for picture in copies] == ["test", "train", "test"]


def test_what_the_user_trains_on_stays_though_its_copy_is_held_out() -> None:
    """Nobody draws it for the validation part either: the model would be chosen on an image of the test part."""
    marked = [replace(picture, split="test") for picture in made({"a": [1] * 12, "b": [1] * 12})]
    copies = [
        replace(picture, path=f"copy of {picture.path}", sha256=picture.sha256[::-1], split="train")
        for picture in marked
    ]
    rest = [replace(picture, group=f"more {picture.group}") for picture in made({"a": [1] * 12, "b": [1] * 12})]
    for seed in range(5):
        found = {picture.path: picture.split for picture in cut([*marked, *copies, *rest], seed)}
        assert {found[picture.path] for picture in copies} == {"train"}


@pytest.mark.parametrize("parts", [("test", "validation"), ("validation", "test")])
def test_what_is_left_open_follows_its_group_into_the_test_part_first(parts: tuple[str, str]) -> None:
    held = [replace(picture, split=part) for picture, part in zip(made({"a": [2]}), parts, strict=True)]
    open_ = replace(held[0], path="open.jpg", sha256="f" * 64, split="")
    rest = [replace(picture, group=f"more {picture.group}") for picture in made({"a": [1] * 9, "b": [1] * 9}, "train")]
    found = {picture.path: picture.split for picture in cut([*held, open_, *rest])}
    assert found["open.jpg"] == "test"


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


# the file of a run


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
