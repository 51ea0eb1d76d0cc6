"""Series that are proposed as groups: by names, by time and camera; and names that are none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageEnhance

from mb_jupyter.training import series
from mb_jupyter.training.manifest import Finding, Picture, scan
from mb_jupyter.training.taken import taken
from tests.picture_files import encoded, folder_of, photo, put
from tests.series import exif, write_list, write_series
from tests.training.scanned import of, refusal


def named(**classes: Iterable[str]) -> list[Picture]:
    """Return pictures without files, by class and file name."""
    return [
        Picture(f"{label}/{name}", label, "", f"{label}{name}", 8, 8, "JPEG", None, 1, 1)
        for label, names in classes.items()
        for name in names
    ]


def proposed(pictures: list[Picture], *, is_list: bool = False) -> list[tuple[int, set[frozenset[str]]]]:
    """Return what every proposed line says it gives, and the groups of several that its setting does give."""
    told = []
    for finding in series.findings(pictures, is_list=is_list):
        for line in finding.lines:
            pattern = yaml.safe_load(line)["group"]
            groups: dict[str, set[str]] = {}
            for picture in pictures:
                if match := re.search(pattern, picture.path):
                    groups.setdefault(match[1], set()).add(picture.path)
            several = {frozenset(paths) for paths in groups.values() if len(paths) > 1}
            counted = re.search(r"# ([\d,]+) groups? of ([\d,]+) images", line)
            assert counted is not None and int(counted[2]) == sum(map(len, several))
            told.append((int(counted[1]), several))
    assert all(number == len(groups) for number, groups in told)
    return told


def by(pictures: list[Picture], key: str) -> set[frozenset[str]]:
    """Return the true groups: paths that have the same first capture group of ``key``."""
    groups: dict[str, set[str]] = {}
    for picture in pictures:
        if match := re.search(key, picture.path):
            groups.setdefault(match[1], set()).add(picture.path)
    return {frozenset(paths) for paths in groups.values()}


TILES = {c: [f"tile_{i:03d}_{j}.jpg" for i in range(n, n + 8) for j in range(6)] for n, c in ((0, "ok"), (8, "bad"))}


@pytest.mark.parametrize(
    ("classes", "key"),
    [
        (TILES, r"(tile_\d+)"),
        ({**TILES, "plain": [f"plain_{i:04d}.jpg" for i in range(30)]}, r"(tile_\d+)"),
        ({"a": [f"IMG_{i:04d}{n}.jpg" for i in range(9) for n in ("", " (2)", " (3)")]}, r"(IMG_\d+)"),
        ({"a": [f"IMG_{i:04d}{n}.JPG" for i in range(9) for n in ("", " - Copy")]}, r"(IMG_\d+)"),
        ({"a": [f"patient{i}-{side}.png" for i in range(9) for side in ("left", "right")]}, r"(patient\d+)"),
        ({"a": [f"scan{i}{n}.png" for i in range(9) for n in ("", "_flip", "_aug1", "_aug2")]}, r"(scan\d+)"),
        ({"a": [f"video{i}_frame_{j:05d}.jpg" for i in range(5) for j in range(40)]}, r"(video\d)"),
        ({"a": [f"video{i}-frame{j:05d}.jpg" for i in range(5) for j in range(40)]}, r"(video\d)"),
        ({"a": [f"x{i}_jpg.rf.{i}{j}abc.jpg" for i in range(7) for j in range(3)]}, r"(x\d)"),
        ({"a": [f"{n}_{i}.jpg" for n in ("anna", "ben", "carl") for i in range(4)]}, r"(anna|ben|carl)"),
        ({"a": [f"{n}{i}.jpg" for n in ("anna", "ben", "carl") for i in range(4)]}, r"(anna|ben|carl)"),
        ({"a": [f"tile 012b{i} {j}" for i in range(5) for j in range(4)]}, r"(012b\d)"),
    ],
)
def test_names_of_series(classes: dict[str, list[str]], key: str) -> None:
    pictures = named(**classes, other=[f"{c}.jpg" for c in "abcdefghij"])
    ((number, groups),) = proposed(pictures)
    assert groups == by(pictures, key) and number == len(groups)


@pytest.mark.parametrize(
    "names",
    [
        [f"flower_{i:04d}.jpg" for i in range(1, 201)],
        [f"flower ({i}).jpg" for i in range(1, 201)],
        [f"flower{i}.jpg" for i in range(1, 201)],
        [f"{i:05d}.jpg" for i in range(200)],
        [f"{site}_{i:04d}.jpg" for site in ("google", "bing", "flickr") for i in range(40)],
        [f"IMG_202611{day}_1015{i:02d}.jpg" for day in range(10, 20) for i in range(10)],
        [f"2026-11-{day} 10.15.{i:02d}.jpg" for day in range(10, 20) for i in range(10)],
        [f"{i * 7919 % 100_003}_{i * 104_729 % 1_000_003:x}_n.jpg" for i in range(1, 100)],
        [f"n01440764_{i * 7}.JPEG" for i in range(100)],
        [f"{i * 2_654_435_761 % 2**32:08x}.jpg" for i in range(1, 300)],
        [f"photo_{i}.jpg" for i in range(100)] + ["photo_7 (2).jpg", "photo_9 (2).jpg"],
    ],
)
def test_names_that_are_no_series(names: list[str]) -> None:
    assert proposed(named(a=names, b=[f"b{name}" for name in names])) == []


def tiles(series: list[int], alone: int) -> list[str]:
    """Return names of objects with so many images each, and of images that are alone."""
    together = [f"tile_{number:03d}_{shot}.jpg" for number, size in enumerate(series) for shot in range(size)]
    return together + [f"plain{'x' * number}.jpg" for number in range(alone)]


@pytest.mark.parametrize(
    ("names", "is_series"),
    [
        (tiles([3, 3, 3, 3], 8), True),  # 12 of 20 images
        (tiles([3, 3, 3, 2], 9), False),
        (tiles([2, 2, 2], 0), True),  # three series of six images: as few as can show it
        (tiles([3, 3], 0), False),
        (tiles([2, 2], 0), False),
        (tiles([5, 3, 2], 0), True),
        (tiles([6, 3, 2], 0), False),  # most of the class: its name, with a number for each image
    ],
)
def test_how_many_make_a_series(names: list[str], is_series: bool) -> None:
    assert bool(proposed(named(a=names, b=[f"b{'y' * number}.jpg" for number in range(20)]))) is is_series


def test_objects_numbered_in_each_class_give_two_lines() -> None:
    pictures = named(**{c: [f"patient{i}-{side}.jpg" for i in range(6) for side in ("left", "right")] for c in "ab"})
    (finding,) = series.findings(pictures, is_list=False)
    assert "add one of these lines to the settings:" in finding.message
    assert [line.partition("# ")[2] for line in finding.lines] == [
        "12 groups of 24 images; the same name in two classes means two objects",
        "6 groups of 24 images; the same name in two classes means one object",
    ]
    assert [groups for _, groups in proposed(pictures)] == [by(pictures, r"(./\w+\d)"), by(pictures, r"(t\d)")]


def test_series_within_series_give_the_coarse_and_the_fine() -> None:
    names = [f"p{i}_{side}_{j}.jpg" for i in range(8) for side in ("left", "right") for j in range(3)]
    pictures = named(a=names, b=[name.replace("p", "q") for name in names])
    assert [groups for _, groups in proposed(pictures)] == [by(pictures, r"/(.\d)"), by(pictures, r"/(.*)_")]


def test_parts_of_the_users_split_are_no_part_of_a_name(tmp_path: Path) -> None:
    for shot in write_series(tmp_path / "train", {"crack": 5, "fray": 5}, number=5):
        if shot.path.endswith(("_4.jpg", "_5.jpg")):
            (tmp_path / "test" / shot.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "train" / shot.path).rename(tmp_path / "test" / shot.path)
    finding = of(scan(tmp_path), "series by names")
    grouped = scan(tmp_path, group_by=yaml.safe_load(finding.lines[0])["group"])
    assert of(grouped, "group in several parts").message.startswith("Your own split divides 10 groups (")


def test_a_proposal_in_the_findings_of_a_folder(tmp_path: Path) -> None:
    write_series(tmp_path, {"crack": 8, "fray": 8})
    found = scan(tmp_path)
    finding = of(found, "series by names")
    assert finding.severity == "note"  # of shots turned so far the hashes say nothing
    assert finding.message == (
        "96 images may show only 16 objects, several times each: they share parts of their file names, "
        "such as 'crack/tile_000_1.jpg', 'crack/tile_000_2.jpg', 'crack/tile_000_3.jpg' and 3 "
        "more. If so, images of one object are in both training and test, and the scores are too high. To keep each "
        "object in one part, add this line to the settings:"
    )
    assert finding.lines == (r"group: '([^/]*\d)_\d+\.\w+$'  # 16 groups of 96 images",)
    assert len({picture.group for picture in found.pictures}) > 80  # nothing is applied
    grouped = scan(tmp_path, group_by=yaml.safe_load(finding.lines[0])["group"])
    assert "96 images are in 16 groups" in of(grouped, "groups").message
    assert not [f for f in grouped.findings if f.kind.startswith("series")]


def test_names_of_images_that_resemble_each_other_are_a_warning(tmp_path: Path) -> None:
    for index, path in enumerate(sorted(mild(tmp_path, 16).glob("*/*.jpg"), key=lambda path: NAMES[path.stem])):
        path.rename(path.with_name(f"thing{index // 4:02d}_{index % 4}.jpg"))
    finding = of(scan(tmp_path), "series by names")
    assert finding.severity == "warning"
    assert "they share parts of their file names and they resemble each other, such as" in finding.message


def test_names_alone_are_a_note(tmp_path: Path) -> None:
    for seed, (c, j) in enumerate((c, j) for c in "ab" for _ in range(6) for j in range(3)):
        put(tmp_path / f"{c}/thing{seed // 3}_{j}.jpg", photo(seed))
    finding = of(scan(tmp_path), "series by names")
    assert finding.severity == "note" and "resemble" not in finding.message


def test_a_list_with_folders_that_are_no_classes(tmp_path: Path) -> None:
    written = write_series(tmp_path, {"crack": 5, "fray": 5}, name="tile{object:03d}/{random}.jpg")
    rows = [(shot.path, shot.label) for shot in written]
    assert of(scan(tmp_path, entries=rows), "series by names").lines == ("group: 'folder'  # 10 groups of 60 images",)
    write_list(tmp_path / "list.csv", written)
    with_groups = [(shot.path, shot.label, "", shot.object) for shot in written]
    assert not [f for f in scan(tmp_path, entries=with_groups).findings if f.kind.startswith("series")]


# time and camera


def test_bursts(tmp_path: Path) -> None:
    written = write_series(tmp_path, {"crack": 5, "fray": 5}, name="{label}/{random}.jpg", camera="<b>EOS</b>")
    found = scan(tmp_path)
    finding = of(found, "series by bursts")
    assert "one camera took them within 10 seconds of each other," in finding.message
    assert finding.lines == ("group: 'burst'  # 10 groups of 60 images",)
    grouped = scan(tmp_path, group_by="burst", known={picture.path: picture for picture in found.pictures})
    objects = {shot.path: shot.object for shot in written}
    sizes = Counter((picture.group, objects[picture.path]) for picture in grouped.pictures)
    assert set(sizes.values()) == {6} and len({group for group, _ in sizes}) == 10
    assert grouped.pictures[0].group.startswith("Maker <b>EOS</b> ")
    assert "in 10 groups, given by bursts: one camera, at most 10 seconds" in of(grouped, "groups").message


def drawn(index: int) -> str:
    return f"{index * 2_654_435_761 % 2**32:08x}"


NAMES = {drawn(index): index for index in range(64)}


def mild(root: Path, objects: int, shots: int = 4) -> Path:
    """Fill a folder with objects under other light and reflections, no near copies, whose file names tell nothing."""
    for number in range(objects):
        whole = photo(number, (160, 120))
        for shot in range(shots):
            image = Image.blend(whole, photo(1000 + number * shots + shot, (160, 120)), 0.3)
            name = f"{drawn(number * shots + shot)}.jpg"
            put(root / "ab"[number % 2] / name, ImageEnhance.Brightness(image).enhance((0.6, 0.9, 1.2, 1.5)[shot]))
    return root


def test_likeness(tmp_path: Path) -> None:
    found = scan(mild(tmp_path, 16))
    finding = of(found, "series by likeness")
    assert finding.severity == "warning"
    assert re.search(r"\d+ images may show only \d+ objects, several times each: they resemble", finding.message)
    assert re.fullmatch(r"group: 'similar'  # \d+ groups of \d+ images", finding.lines[0])
    grouped = scan(tmp_path, group_by="similar")
    together: dict[str, set[int]] = {}
    for picture in grouped.pictures:
        together.setdefault(picture.group, set()).add(NAMES[Path(picture.path).stem] // 4)
    assert all(len(each) == 1 for each in together.values())
    assert len(together) < 32
    assert "given by likeness: images whose perceptual hashes" in of(grouped, "groups").message


def alike(sizes: list[int], alone: int, *, copies: bool = False) -> list[Picture]:
    """Return pictures of one class without files: so many that resemble each other in each group, and others."""
    rng = np.random.default_rng(0)
    found = []
    for number, size in enumerate([*sizes, *[1] * alone]):
        bits = int.from_bytes(rng.bytes(32), "big")
        for shot in range(size):
            name = f"{'x' * number}_{'abcdefgh'[shot] * 3}"
            own = Picture(f"a/{name}", "a", "", name.ljust(64, "0"), 8, 8, "JPEG", (bits ^ shot) << 64, 1, 1)
            found.append(replace(own, copies=f"{number}" if copies else name))
    return found


def test_a_few_images_that_resemble_each_other_are_no_series() -> None:
    assert [finding.kind for finding in series.findings(alike([2, 2, 2], 14), is_list=False)] == ["series by likeness"]
    assert list(series.findings(alike([2, 2, 2], 15), is_list=False)) == []


def test_copies_are_no_series() -> None:
    assert list(series.findings(alike([2, 2, 2], 0, copies=True), is_list=False)) == []


def test_no_likeness(flowers: Path) -> None:
    assert not [finding for finding in scan(flowers).findings if finding.kind.startswith("series")]
    said = refusal(lambda: scan(flowers, group_by="similar"))
    assert said.startswith("`group: similar` finds no two images that resemble each other.")


def test_no_bursts(flowers: Path) -> None:
    said = refusal(lambda: scan(flowers, group_by="burst"))
    assert "`group: burst` finds no two images that one camera took within 10 seconds of each other." in said


def test_two_cameras_at_once_are_two_bursts(tmp_path: Path) -> None:
    for index in range(24):
        camera, label = f"camera {index % 2}", "ab"[index // 12]
        data = encoded(photo(index), exif=exif(camera, 100 * (index // 4) + index % 4))
        put(tmp_path / label / f"{index}.jpg", data)
    found = scan(tmp_path, group_by="burst")
    assert set(Counter(picture.group for picture in found.pictures).values()) == {2}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Exif\0\0",
        b"\xff\xd8Exif\0\0",
        b"\xff\xd8Exif\0\0II*\0\xff\xff\xff\xff",
        b"\xff\xd8" + exif("x", 5)[:60],
        b"\xff\xd8" + exif("x", 5).replace(b"2026:11", b"2026:99"),
        b"\xff\xd8" + exif("x", 5).replace(b"\x90\x03", b"\x91\x03"),
        b"\xff\xd8" + exif("x", 5).replace(b"\x87\x69", b"\x87\x68"),
    ],
)
def test_damaged_exif_tells_nothing(data: bytes) -> None:
    assert taken(data) == ""


def test_exif_of_a_file() -> None:
    assert taken(encoded(photo(1), exif=exif("EOS\0 ", 5))) == "1795939205 Maker EOS"
    assert taken(encoded(photo(1))) == "" == taken(encoded(photo(1), "PNG"))


# real photos


@pytest.mark.parametrize("name", ["flowers_small", "trashnet", "eurosat", "hemlock_cherry"])
def test_real_sets_give_no_proposal(shared_data: Path, name: str) -> None:
    files = sorted((shared_data / name).glob("*/*.jpg"))
    pictures = [
        Picture(f"{f.parent.name}/{f.name}", f.parent.name, "", f.name, 8, 8, "JPEG", None, 1, 1) for f in files
    ]
    assert list(series.findings(pictures, is_list=False)) == []


def test_kinds_of_findings_are_shown_with_their_lines(tmp_path: Path) -> None:
    finding = Finding("series by names", "note", "A sentence.", lines=("group: 'a'", "group: 'b'"))
    assert finding.text == "A sentence.\n    group: 'a'\n    group: 'b'"
    folder_of(tmp_path, {"a": 4, "b": 4})
    assert all(found.text == found.message for found in scan(tmp_path).findings)
