"""Images that belong together: how the user says so, and that nothing parts them."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mb_jupyter.training import folds
from mb_jupyter.training.cells import records
from mb_jupyter.training.data import Sample
from mb_jupyter.training.manifest import Entry, Picture, Scan, fingerprint, read_rows, read_split, scan, write_split
from mb_jupyter.training.parts import Parts
from tests.picture_files import folder_of, photo, put
from tests.series import Shot, write_list, write_series
from tests.training.scanned import of, parted, refusal, sizes

PATTERN = r"(tile_\d+)_\d"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Shot]]:
    """Return a folder of two classes with seven objects each, six shots of every object."""
    root = tmp_path_factory.mktemp("series")
    return root, write_series(root, {"crack": 7, "fray": 7})


def parts_of(pictures: Iterable[Picture], key: str = "group") -> dict[str, set[str]]:
    """Return the parts that the images of every group are in."""
    parts = defaultdict(set)
    for picture in pictures:
        parts[getattr(picture, key)].add(picture.split)
    return parts


def partition(found: Scan) -> set[frozenset[str]]:
    """Return the groups as sets of paths."""
    members = defaultdict(set)
    for picture in found.pictures:
        members[picture.group].add(picture.path)
    return {frozenset(paths) for paths in members.values()}


def kinds(found: Scan) -> list[str]:
    return [finding.kind for finding in found.findings]


# three ways of saying it


def test_the_fixture_is_hard_for_hashes(series: tuple[Path, list[Shot]]) -> None:
    root, written = series
    assert len({picture.group for picture in scan(root).pictures}) > 0.9 * len(written)


def test_a_pattern_a_column_and_folders_say_the_same(series: tuple[Path, list[Shot]], tmp_path: Path) -> None:
    root, written = series
    by_pattern = scan(root, group_by=PATTERN)
    by_column = scan(root, entries=read_rows(write_list(tmp_path / "list.csv", written)))
    for shot in written:
        put(tmp_path / "nested" / shot.label / shot.object / Path(shot.path).name, (root / shot.path).read_bytes())
    by_folder = scan(tmp_path / "nested", group_by="folder")
    assert {picture.group for picture in by_pattern.pictures} == {shot.object for shot in written}
    assert partition(by_pattern) == partition(by_column)
    assert {p.sha256: p.group for p in by_folder.pictures} == {p.sha256: p.group for p in by_pattern.pictures}
    assert fingerprint(by_pattern.pictures) == fingerprint(by_column.pictures) == fingerprint(by_folder.pictures)
    assert fingerprint(by_pattern.pictures) != fingerprint(scan(root).pictures)
    for found, how in (
        (by_pattern, r"the pattern '(tile_\d+)_\d'"),
        (by_column, "the column 'Group'"),
        (by_folder, "the folders inside the class folders"),
    ):
        assert of(found, "groups").message == (
            f"84 images are in 14 groups, given by {how}. A group is never divided between training, validation and "
            "test images."
        )
        for seed in range(5):
            rows = parted(found, seed)
            assert all(len(parts) == 1 for parts in parts_of(rows).values())
            assert sizes(rows) == {"train": 60, "validation": 12, "test": 12}


def test_another_column_by_name(flowers: Path) -> None:
    rows = [
        (f"{c}/{i:03d}.jpg", c, "", "", (("Patient", f"p{i // 2}"), ("site", "x"))) for c in ("rose", "tulip")
        for i in range(12)
    ]  # fmt: skip
    for wanted in ("column: Patient", "column:patient", " Column :  Patient "):
        found = scan(flowers, entries=rows, group_by=wanted)
        assert {picture.group for picture in found.pictures} == {f"p{i}" for i in range(6)}
        assert of(found, "group of several classes").message.startswith("6 groups hold images of more than one class: ")
    assert dict(found.pictures[0].slices) == {"Patient": "p0", "site": "x"}


def test_a_setting_goes_before_the_column_group_which_is_then_carried(flowers: Path) -> None:
    rows = [(f"{c}/{i:03d}.jpg", c, "", f"g{i % 4}", ()) for c in ("rose", "tulip") for i in range(12)]
    assert {picture.group for picture in scan(flowers, entries=rows).pictures} == {"g0", "g1", "g2", "g3"}
    found = scan(flowers, entries=rows, group_by=r"/0(\d)")
    assert {picture.user_group for picture in found.pictures} == {"0", "1"}
    assert {picture.slices for picture in found.pictures} == {(("Group", f"g{i}"),) for i in range(4)}


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        (r"/00\d", "/001"),  # without a capture group: the whole match
        (r"(0.)1", "00"),
        (r"(?P<x>[a-z]+)/0(0)", "rose"),
        (r"(?:ro|tu)[a-z]+/\d\d", "rose/00"),
    ],
)
def test_what_a_pattern_names(flowers: Path, pattern: str, group: str) -> None:
    found = {picture.path: picture.user_group for picture in scan(flowers, group_by=pattern).pictures}
    assert found["rose/001.jpg"] == group


def test_images_without_a_group_stand_for_themselves_and_are_told(flowers: Path) -> None:
    found = scan(flowers, group_by=r"rose/00")
    assert len({picture.group for picture in found.pictures}) == 15
    finding = of(found, "groups")
    assert finding.severity == "note" and not finding.excluded and len(finding.files) == 14
    assert finding.message.startswith("10 images are in 1 group, given by the pattern 'rose/00'. ")
    assert finding.message.endswith(
        "14 images have no group: 'rose/010.jpg', 'rose/011.jpg', 'tulip/000.jpg' and 11 more. Without a group, an "
        "image is treated as independent of all others."
    )


def test_the_users_groups_and_near_copies_are_joined(flowers: Path) -> None:
    for copy, source in (("rose/a.jpg", "rose/000.jpg"), ("tulip/b.jpg", "tulip/003.jpg")):
        put(flowers / copy, photo(0 if "rose" in source else 15).resize((90, 68)))
    groups = {"rose/a.jpg": "p10", "rose/001.jpg": "p10", "rose/000.jpg": "p9", "rose/002.jpg": "p9"}
    rows = [(f"{p.parent.name}/{p.name}", p.parent.name, "", groups.get(f"{p.parent.name}/{p.name}", ""))
            for p in sorted(flowers.glob("*/*.jpg"))]  # fmt: skip
    found = {picture.path: picture for picture in scan(flowers, entries=rows).pictures}
    assert {path for path, picture in found.items() if picture.group == "p9"} == set(groups)  # 9 before 10
    assert found["rose/a.jpg"].copies == found["rose/000.jpg"].copies != found["rose/001.jpg"].copies
    assert found["tulip/b.jpg"].group == found["tulip/003.jpg"].group == found["tulip/b.jpg"].copies


def test_groups_are_no_near_copies(series: tuple[Path, list[Shot]]) -> None:
    root, _ = series
    without = [f for f in scan(root).findings if f.kind.startswith("near")]
    assert without == [f for f in scan(root, group_by=PATTERN).findings if f.kind.startswith("near")]


def test_a_name_that_looks_like_one_of_ours_joins_nothing(flowers: Path) -> None:
    first = min(scan(flowers).pictures, key=lambda picture: picture.sha256)
    others = [p for p in scan(flowers).pictures if p != first]
    rows = [(first.path, first.label), *((p.path, p.label, "", first.group) for p in others[:2]),
            *((p.path, p.label) for p in others[2:])]  # fmt: skip
    found = {picture.path: picture.group for picture in scan(flowers, entries=rows).pictures}
    assert found[others[0].path] == found[others[1].path] == first.group != found[first.path]


# what is refused


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("(tile", "`group` is not a regular expression: missing ), unterminated subpattern at position 0 in '(tile'."),
        (
            "  ",
            "`group` is empty. `group` is a regular expression for the paths of images, folder, burst, similar, ",
        ),
        ("patient", "`group` matches no image: 'patient' is found in no path, such as 'rose/000.jpg'."),
        ("ROSE", "capitals count."),
        ("(x)?001", "`group` matches no image"),  # it matches, but names nothing
        ("folder", "`group: folder` needs folders inside the class folders, and there are none."),
        ("column: day", "`group` names the column 'day', but the images come from a folder, without a list."),
        ("jpg", "`group` puts all images into one group, 'jpg': nothing could be kept for testing."),
    ],
)
def test_a_group_that_does_not_fit_a_folder(flowers: Path, group: str, said: str) -> None:
    assert said in refusal(lambda: scan(flowers, group_by=group))


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("column: patint", "`group` names the column 'patint', which the list does not have; its further columns are "
         "'patient' and 'empty'. The nearest name is column: patient."),
        ("column: Group", "`group` names the column 'Group', which the list does not have;"),
        ("column: empty", "`group` names the column 'empty', which is empty."),
        ("patient", "For the column, write column: patient."),
    ],
)  # fmt: skip
def test_a_group_that_does_not_fit_a_list(flowers: Path, group: str, said: str) -> None:
    rows = [
        (f"{c}/{i:03d}.jpg", c, "", "", (("patient", str(i)), ("empty", "")))
        for c in ("rose", "tulip") for i in range(12)
    ]  # fmt: skip
    assert said in refusal(lambda: scan(flowers, entries=rows, group_by=group))


def test_nested_folders(tmp_path: Path) -> None:
    seeds = itertools.count()
    for label, thing, index in itertools.product("ab", "xyz", range(2)):
        put(tmp_path / f"{label}/{thing}{label}/{index}.jpg", photo(next(seeds)))
    put(tmp_path / "a/alone.jpg", photo(1001))
    said = refusal(lambda: scan(tmp_path))
    assert "There are folders inside class folders: 'a/xa', 'a/ya', 'a/za' and 3 more" in said
    assert "If each inner folder holds the images of one object, set `group: folder`." in said
    found = {picture.path: picture.group for picture in scan(tmp_path, group_by="folder").pictures}
    assert found["a/xa/0.jpg"] == "xa" and found["b/zb/1.jpg"] == "zb" and len(set(found.values())) == 7
    by_pattern = scan(tmp_path, group_by="([^/]+/[^/]+)/[^/]+$")
    assert {p.group for p in by_pattern.pictures if p.user_group} == {f"{c}/{t}{c}" for c in "ab" for t in "xyz"}
    put(tmp_path / "a/xa/deeper/1.jpg", photo(1002))
    said = refusal(lambda: scan(tmp_path, group_by="folder"))
    assert "There are folders more than one level below class folders: 'a/xa/deeper'" in said


def test_folders_of_a_list(tmp_path: Path) -> None:
    rows = []
    for patient, session, index in itertools.product(range(4), range(2), range(2)):
        path = f"p{patient}/s{session}/{index}.jpg"
        put(tmp_path / path, photo(patient * 10 + session * 4 + index))
        rows.append((path, "ab"[index]))
    found = scan(tmp_path, entries=rows, group_by="folder")
    assert {picture.group for picture in found.pictures} == {f"p{i}/s{j}" for i in range(4) for j in range(2)}


# the user's own parts


def test_groups_that_the_users_split_divides_are_a_warning_that_counts_them(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", {"rose": 9, "tulip": 9})
    folder_of(tmp_path / "test", {"rose": 4, "tulip": 4}, first=100)
    found = scan(tmp_path, group_by=r"(rose/00[0-2])")
    finding = of(found, "group in several parts")
    assert finding.severity == "warning" and not finding.excluded and len(finding.files) == 6
    assert finding.message.startswith(
        "Your own split divides 3 groups (6 images) between parts: 'rose/000' (train and test), 'rose/001' (train and "
        "test), 'rose/002' (train and test). "
    )
    whole = scan(tmp_path, group_by=r"(train|test)/rose")
    assert "group in several parts" not in kinds(whole)


def test_what_is_left_open_follows_its_group_into_the_part_that_is_held_out(flowers: Path) -> None:
    rows = [
        (f"{c}/{i:03d}.jpg", c, "test" if i in (0, 4) else "", f"{c} {i // 4}")
        for c in ("rose", "tulip")
        for i in range(12)
    ]
    found = {p.path: p.split for p in parted(scan(flowers, entries=rows))}
    assert {path for path, part in found.items() if part == "test"} == {
        f"{c}/{i:03d}.jpg" for c in ("rose", "tulip") for i in range(8)
    }


# how much each part gets


def digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def made(groups: dict[str, dict[str, int]]) -> list[Picture]:
    """Return pictures without files: of every group how many images of which class."""
    rows = ((g, c, i) for g, counts in groups.items() for c, number in counts.items() for i in range(number))
    return [
        Picture(f"{c}/{g}-{i}.jpg", c, "", digest(g, c, i), 8, 8, "JPEG", None, 1, 1, g, user_group=g)
        for g, c, i in rows
    ]


def shares(pictures: list[Picture]) -> dict[str, dict[str, int]]:
    """Return per class how many images each part has."""
    return {label: sizes(pictures, label) for label in sorted({picture.label for picture in pictures})}


def cut(groups: dict[str, dict[str, int]], seed: int = 0) -> dict[str, dict[str, int]]:
    pictures = made(groups)
    rows = parted(Scan(Path(), pictures, [], []), seed)
    assert all(len(parts) == 1 for parts in parts_of(rows).values())
    return shares(rows)


@pytest.mark.parametrize("seed", range(4))
def test_a_class_of_few_large_groups(seed: int) -> None:
    found = cut({**{f"a{i}": {"a": 30} for i in range(3)}, **{f"b{i}": {"b": 3} for i in range(40)}}, seed)
    assert found["a"] == {"train": 30, "validation": 30, "test": 30}
    assert found["b"] == {"train": 78, "validation": 18, "test": 24}
    found = cut({**{f"a{i}": {"a": 30} for i in range(7)}, "b": {"b": 9}, "c": {"b": 9}, "d": {"b": 9}}, seed)
    assert found["a"] == {"train": 150, "validation": 30, "test": 30}


@pytest.mark.parametrize("seed", range(4))
def test_one_group_that_is_most_of_a_class_trains_and_leaves_others_to_train_with_it(seed: int) -> None:
    small = {f"s{i}": {"a": 1} for i in range(20)}
    found = cut({"big": {"a": 80}, **small, **{f"b{i}": {"b": 1} for i in range(100)}}, seed)
    assert found["a"] == {"train": 80 + 20 - 7 - 5, "validation": 5, "test": 7}  # at most 30 and 22.5 % of 21 groups
    assert found["b"] == {"train": 65, "validation": 15, "test": 20}


@pytest.mark.parametrize("seed", range(6))
def test_groups_of_unequal_sizes_keep_near_the_fractions(seed: int) -> None:
    chance = random.Random(seed)
    groups = {f"{c}{i}": {c: chance.choice((1, 2, 3, 5, 8, 13))} for c in "abc" for i in range(40)}
    for counts in cut(groups, seed).values():
        total = sum(counts.values())
        assert 0.14 <= counts["test"] / total <= 0.2 + 1 / total
        assert 0.1 <= counts["validation"] / total <= 0.15 + 1 / total


@pytest.mark.parametrize("seed", range(6))
def test_patients_with_both_findings(seed: int) -> None:
    chance = random.Random(seed)
    groups = {f"p{i}": {"healthy": chance.randint(3, 9), "ill": chance.randint(0, 3)} for i in range(60)}
    found = cut(groups, seed)
    for label in ("healthy", "ill"):
        total = sum(found[label].values())
        assert found[label]["train"] >= 0.6 * total
        assert found[label]["test"] >= 0.14 * total and found[label]["validation"] >= 0.1 * total


@pytest.mark.parametrize("seed", range(6))
def test_a_rare_class_within_groups_of_a_frequent_one_is_in_all_parts(seed: int) -> None:
    groups = {f"p{i}": {"common": 6, **({"rare": 1} if i < 4 else {})} for i in range(40)}
    found = cut(groups, seed)
    assert set(found["rare"]) == {"train", "validation", "test"}
    assert abs(found["common"]["test"] - 48) <= 6 and abs(found["common"]["validation"] - 36) <= 6


def test_every_class_keeps_images_to_train_on() -> None:
    for seed in range(40):
        chance = random.Random(seed)
        groups = {
            f"g{i}": Counter({c: chance.randint(1, 9) for c in chance.sample("abcdef", chance.randint(1, 3))})
            for i in range(chance.randint(4, 25))
        }
        for label, counts in cut({name: dict(counts) for name, counts in groups.items()}, seed).items():
            assert counts.get("train"), (seed, label)


def test_names_of_groups_do_not_count(series: tuple[Path, list[Shot]]) -> None:
    root, _ = series
    one, other = scan(root, group_by=PATTERN), scan(root, group_by=r"(\d+)_\d")
    assert {p.group for p in one.pictures} != {p.group for p in other.pictures}
    assert fingerprint(one.pictures) == fingerprint(other.pictures)
    assert [p.split for p in parted(one)] == [p.split for p in parted(other)]


def test_a_fingerprint_without_groups_is_that_of_before(flowers: Path) -> None:
    rows = [(f"{c}/{i:03d}.jpg", c) for c in ("rose", "tulip") for i in range(12)]
    plain = fingerprint(scan(flowers).pictures)
    single = [Entry(source, label, group=source) for source, label in rows]
    assert plain == fingerprint(scan(flowers, entries=single).pictures)  # each alone, as they were
    pairs = [Entry(source, label, group=f"{label}{i // 2}") for i, (source, label) in enumerate(rows)]
    other = [Entry(source, label, group=f"{label}{i // 3}") for i, (source, label) in enumerate(rows)]
    assert len({plain, *(fingerprint(scan(flowers, entries=each).pictures) for each in (pairs, other))}) == 3


def test_classes_of_fewer_than_three_groups(flowers: Path) -> None:
    rows = [(f"{c}/{i:03d}.jpg", c, "", f"{c}{i // (6 if c == 'rose' else 2)}") for c in ("rose", "tulip")
            for i in range(12)]  # fmt: skip
    found = scan(flowers, entries=rows)
    assert of(found, "not held out").message == (
        "'rose' has fewer than 3 groups: all of their images are used for training, so the report cannot say how well "
        "this class is recognised. Add images of other groups."
    )
    assert sizes(parted(found), "rose") == {"train": 12}


def test_a_group_that_is_most_of_a_class(flowers: Path) -> None:
    rows = [(f"{c}/{i:03d}.jpg", c, "", "" if i % 4 else f"{c} one") for c in ("rose", "tulip") for i in range(12)]
    rows = [(*row[:3], "big" if row[0] < "rose/008" else row[3]) for row in rows]
    assert of(scan(flowers, entries=rows), "large group").message.startswith(
        "A single group makes up most of a class: 'big' has 8 of the 12 images of 'rose'. "
    )


# folds


def test_folds_never_part_a_group_and_stay_even() -> None:
    for seed in range(10):
        chance = random.Random(seed)
        samples = []
        for group in range(60):
            for row in range(chance.choice((1, 2, 6, 12))):
                name = f"{group}-{row}"
                samples.append(Sample(name, Path(name), group % 3, digest(name), f"patient {group}"))
        found = folds.assign(samples, seed)
        members = defaultdict(set)
        for sample, fold in zip(samples, found, strict=True):
            members[sample.group].add(int(fold))
        assert all(len(each) == 1 for each in members.values())
        for label in range(3):
            own = np.bincount([f for s, f in zip(samples, found, strict=True) if s.label == label], minlength=5)
            assert own.max() - own.min() <= 12, (seed, own)


def in_folds(groups: dict[str, dict[int, int]], seed: int = 0) -> tuple[list[Sample], list[int]]:
    """Return images without files, by group and class, and their folds."""
    samples = [
        Sample(f"{group}-{label}-{row}", Path(), label, digest(group.removeprefix("renamed "), label, row), group)
        for group, counts in groups.items()
        for label, number in counts.items()
        for row in range(number)
    ]
    return samples, folds.assign(samples, seed).tolist()


def test_large_groups_come_first_so_that_small_ones_even_out() -> None:
    groups = {f"g{i}": {0: 20 if i < 5 else 4} for i in range(30)}
    for seed in range(5):
        _, found = in_folds(groups, seed)
        assert Counter(found) == dict.fromkeys(range(5), 40)


def test_a_rare_class_within_groups_of_a_frequent_one_is_in_every_fold() -> None:
    groups = {f"g{i}": {0: 5, 1: 1} if i < 10 else {0: 6} for i in range(50)}
    for seed in range(5):
        samples, found = in_folds(groups, seed)
        rare = Counter(fold for sample, fold in zip(samples, found, strict=True) if sample.label == 1)
        assert rare == dict.fromkeys(range(5), 2)


def test_names_of_groups_do_not_count_in_folds() -> None:
    groups = {f"g{i}": {i % 3: 3} for i in range(30)}
    assert in_folds(groups)[1] == in_folds({f"renamed {name}": counts for name, counts in groups.items()})[1]


def test_a_checkpoint_knows_the_groups() -> None:
    """Folds depend on them: a run does not go on with the scores of another grouping."""
    one, other = (
        Parts(("a", "b"), [Sample("1.png", Path(), 0, "sha", group)], [], []).contents for group in ("p1", "p2")
    )
    assert one != other


def test_the_group_that_takes_least_of_any_class_is_drawn_where_none_fits() -> None:
    rare = {"x": {"rare": 4, "common": 1}, "y": {"rare": 1, "common": 30}, "z": {"rare": 1, "common": 30}}
    groups = {**rare, "w": {"rare": 1, "common": 12}, **{f"c{i}": {"common": 6} for i in range(3)}}
    for seed in range(10):
        assert cut(groups, seed)["rare"]["train"] >= 4


# the file of a run


def test_further_columns_are_carried_to_the_split(flowers: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "IMAGESOURCE,label,Site,group,,Label note,Slice.day,site,Sha256\n"
        + "".join(
            f"{flowers.as_posix()}/{c}/{i:03d}.jpg,{c},=1+1;<b>,g{i},0,ä,mon,{i},x\n"
            for c in ("rose", "tulip") for i in range(12)
        ),
        encoding="utf-8",
    )  # fmt: skip
    found = scan(flowers, entries=read_rows(tmp_path / "list.csv"))
    write_split(tmp_path / "split.csv", parted(found))
    with (tmp_path / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(records(file))
    assert list(rows[0]) == ["ImageSource", "Label", "Split", "Sha256", "Group", "Slice.Site", "Slice.Label note",
                             "Slice.day", "Slice.site"]  # fmt: skip
    assert rows[3]["Slice.Site"] == "=1+1;<b>" and rows[3]["Slice.site"] == "3" and rows[3]["Group"] == "g3"
    assert [tuple(row) for row in read_split(tmp_path / "split.csv")] == [
        (p.path, p.label, p.split, p.sha256, p.group) for p in parted(found)
    ]
    again = scan(flowers, entries=read_rows(tmp_path / "split.csv"))  # given back as a list
    assert partition(again) == partition(found) and again.pictures[0].slices == found.pictures[0].slices
    assert "group in several parts" not in kinds(again)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("ImageSource,Label,label", ""),
        ("ImageSource,LABEL,label", "has 2 columns called Label: 'LABEL' and 'label'. Keep one of them as Label,"),
        ("ImageSource,Label,Label", "has 2 columns called Label: 'Label' and 'Label'."),
        ("ImageSource,Label,group,GROUP", "has 2 columns called Group"),
    ],
)
def test_columns_called_as_ours_in_other_capitals(flowers: Path, header: str, said: str) -> None:
    width = header.count(",") - 1
    rows = [f"{c}/{i:03d}.jpg,{c}" + ",note" * width for c in ("rose", "tulip") for i in range(12)]
    (flowers / "list.csv").write_text("\n".join([header, *rows]))
    if said:
        assert said in refusal(lambda: read_rows(flowers / "list.csv"))
    else:
        found = scan(flowers, entries=read_rows(flowers / "list.csv"))
        assert found.classes == ["rose", "tulip"] and found.pictures[0].slices == (("label", "note"),)


def test_a_row_listed_twice_with_two_groups_is_told(flowers: Path) -> None:
    rows = [(f"{c}/{i:03d}.jpg", c, "", f"g{i}") for c in ("rose", "tulip") for i in range(12)]
    found = scan(flowers, entries=[*rows, ("rose/000.jpg", "rose", "", "other")])
    assert "the first row counts, with the group 'g0', not 'other'" in of(found, "listed twice").message


def test_known_images_follow_another_grouping(series: tuple[Path, list[Shot]]) -> None:
    root, _ = series
    first = scan(root, group_by=PATTERN)
    known = {picture.path: picture for picture in first.pictures}
    assert scan(root, group_by=PATTERN, known=known).pictures == first.pictures
    assert partition(scan(root, known=known)) == partition(scan(root)) != partition(first)
    other = scan(root, group_by=r"([a-z]+/tile_00[0-4]|tile_\d+)", known=known)
    assert other.pictures == scan(root, group_by=r"([a-z]+/tile_00[0-4]|tile_\d+)").pictures
    assert replace(other.pictures[0], group="", user_group="") != other.pictures[0]
