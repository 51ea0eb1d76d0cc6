"""The learning curve: parts that are nested, stratified and made of whole groups, judged on images of another fold."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from mb_jupyter.training import curve, folds, head
from mb_jupyter.training.data import Sample

from .test_head import clouds


def samples(labels: np.ndarray, each: int = 1) -> list[Sample]:
    """Return samples of which ``each`` in a row and of one class are a group."""
    counts: dict[int, int] = {}
    found = []
    for row, label in enumerate(labels.tolist()):
        number = counts[label] = counts.get(label, 0) + 1
        digest = hashlib.sha256(str(row).encode()).hexdigest()
        group = f"{label}-{(number - 1) // each}" if each > 1 else ""
        found.append(Sample(f"{row}.png", Path(f"{row}.png"), label, digest, group))
    return found


def fitted(count: int = 150, each: int = 1, spread: float = 6.0) -> tuple[head.Fit, list[Sample], np.ndarray]:
    features, labels = clouds(count, 80, spread=spread)
    images = samples(labels, each)
    held = folds.assign(images, 0)
    order = np.arange(count)
    return head.fit_head(features, labels, order, order[:0], 3, folds=held), images, held


def measured(fit: head.Fit, images: list[Sample], held: np.ndarray, **options: object) -> list[curve.Point]:
    assert fit.points is not None and fit.out_of_fold is not None
    return curve.learning_curve(
        fit.points, images, held, fit.out_of_fold, classes=3, penalty=fit.penalty, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_every_image_is_judged_once_in_each_draw_by_heads_of_the_other_folds() -> None:
    fit, images, held = fitted()
    found = measured(fit, images, held)
    draws = curve.plan(150, 3, range(5)).draws
    for fraction in (*curve.FRACTIONS, 1.0):
        own = [one for one in found if one.fraction == fraction]
        assert len(own) == 5 * draws and sum(int(one.total.sum()) for one in own) == 150 * draws
        assert [int(sum(one.total[label] for one in own)) for label in range(3)] == [
            draws * sum(image.label == label for image in images) for label in range(3)
        ]
        for one in own:
            learned = 150 - int((held == one.fold).sum())
            assert one.images == pytest.approx(fraction * learned, abs=3)  # one of each class
    assert fit.out_of_fold is not None
    right = fit.out_of_fold.argmax(1) == [image.label for image in images]
    last = [one for one in found if one.fraction == 1 and one.repeat < 5]
    assert sum(int(one.right.sum()) for one in last) == right.sum()  # the last points are the out-of-fold scores


def test_it_rises_where_there_is_something_to_learn() -> None:
    found = measured(*fitted(300))
    shares = [
        sum(one.right.sum() for one in found if one.fraction == fraction)
        / sum(one.total.sum() for one in found if one.fraction == fraction)
        for fraction in (1 / 8, 1.0)
    ]
    assert shares[1] > shares[0] + 0.05


@pytest.mark.parametrize("each", [1, 3, 7])
def test_parts_are_nested_stratified_and_never_part_a_group(each: int) -> None:
    images = samples(np.array([0] * 60 + [1] * 21 + [2] * 4), each)
    ranks = curve._ranks(images, "salt")
    groups = {image.group or image.sha256 for image in images}
    for group in groups:
        own = ranks[[place for place, image in enumerate(images) if (image.group or image.sha256) == group]]
        assert len(set(own.tolist())) == 1, group  # so any part has all of it or nothing
    for fraction in (1 / 8, 1 / 4, 1 / 2):
        for label, count in ((0, 60), (1, 21), (2, 4)):
            taken = sum(ranks[place] < fraction and image.label == label for place, image in enumerate(images))
            assert 1 <= taken < fraction * count + each  # a class is in every part, and by one group at most too much
    assert (ranks < 1).all()
    assert not np.array_equal(ranks, curve._ranks(images, "pepper"))


def test_names_of_groups_do_not_count() -> None:
    images = samples(np.array([0] * 30 + [1] * 30), 3)
    renamed = [dataclasses.replace(image, group=f"renamed {image.group}") for image in images]
    assert np.array_equal(curve._ranks(images, "salt"), curve._ranks(renamed, "salt"))


def test_whole_groups_are_learned_and_counted() -> None:
    fit, images, held = fitted(150, each=5)
    for one in measured(fit, images, held):
        assert one.images == pytest.approx(5 * one.groups, abs=8)  # the last group of a class may be smaller
        others = {image.group for image, fold in zip(images, held, strict=True) if fold != one.fold}
        assert one.groups <= len(others) and not others & {
            image.group for image, fold in zip(images, held, strict=True) if fold == one.fold
        }


def test_fewer_coordinates_give_the_same_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, images, held = fitted(120)
    turned = measured(fit, images, held)
    monkeypatch.setattr(curve, "ROTATED", 10**9)
    plain = measured(fit, images, held)
    assert [one.log_loss for one in turned] == pytest.approx([one.log_loss for one in plain], rel=1e-2)


def test_the_same_images_give_the_same_curve() -> None:
    fit, images, held = fitted(90)
    first, second = (measured(fit, images, held) for _ in range(2))
    assert [(one.images, one.log_loss) for one in first] == [(one.images, one.log_loss) for one in second]


def test_a_stop_leaves_whole_repeats() -> None:
    fit, images, held = fitted(90)
    seen: list[int] = []
    found = measured(fit, images, held, progress=lambda done, total: seen.append(done), stop=lambda: len(seen) >= 7)
    assert len(seen) == 7 and {one.repeat for one in found} == {0, 1}
    for repeat in (0, 1):
        assert [one.fraction for one in found if one.repeat == repeat] == [*curve.FRACTIONS, 1.0]
    assert measured(fit, images, held, stop=lambda: True) == []


def test_few_images_have_no_curve_and_many_are_spared_work() -> None:
    assert curve.plan(20, 5, range(5)).heads == 0
    assert curve.plan(60, 5, range(5)).fractions == (1 / 4, 1 / 2)  # an eighth would have one image of a class
    assert curve.plan(200, 5, [0]).heads == 0
    assert [curve.plan(count, 5, range(5)).draws for count in (400, 1000, 2000)] == [4, 2, 1]
    assert curve.plan(100_000, 5, range(5)).heads == 6


def test_the_file(tmp_path: Path) -> None:
    found = measured(*fitted(90))
    curve.write(tmp_path / curve.FILE, found, ("a", "b", "ü"))
    with (tmp_path / curve.FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "Fraction", "Repeat", "Fold", "Images", "Groups", "Right", "Total", "LogLoss",
        "Right.a", "Total.a", "Right.b", "Total.b", "Right.ü", "Total.ü",
    ]  # fmt: skip
    assert len(rows) == len(found)
    for row in rows:
        assert int(row["Right"]) == sum(int(row[f"Right.{name}"]) for name in "abü")
