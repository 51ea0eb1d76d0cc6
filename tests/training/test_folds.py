"""Scores of heads that never saw the picture: who is in which fold, and that nothing leaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mb_jupyter.training import folds, head
from mb_jupyter.training.data import Sample

from .test_head import clouds


def samples(labels: list[int], groups: list[str] | None = None) -> list[Sample]:
    names = groups or [f"g{row}" for row in range(len(labels))]
    return [
        Sample(f"{row}.png", Path(f"{row}.png"), label, f"sha{row}", group)
        for row, (label, group) in enumerate(zip(labels, names, strict=True))
    ]


def test_folds_are_stratified_and_even() -> None:
    labels = [0] * 50 + [1] * 23 + [2] * 7
    found = folds.assign(samples(labels), seed=0)
    for label, pictures in Counter(labels).items():
        held = np.bincount(found[np.array(labels) == label], minlength=folds.FOLDS)
        assert held.max() - held.min() <= 1, label
        assert held.sum() == pictures
    whole = np.bincount(found, minlength=folds.FOLDS)
    assert whole.max() - whole.min() <= 1


def test_a_large_group_of_another_class_does_not_keep_a_class_out_of_its_fold() -> None:
    labels = [0] * 10 + [1] * 10
    found = folds.assign(samples(labels, ["one"] * 10 + [f"g{row}" for row in range(10)]), seed=0)
    assert np.bincount(found[10:], minlength=folds.FOLDS).tolist() == [2] * folds.FOLDS


def test_copies_are_never_parted_even_with_two_labels() -> None:
    labels = [row % 3 for row in range(60)]
    groups = [f"g{row // 4}" for row in range(60)]
    found = folds.assign(samples(labels, groups), seed=1)
    for group in set(groups):
        assert len({int(found[row]) for row in range(60) if groups[row] == group}) == 1


def test_the_folds_depend_on_the_seed_and_not_on_the_order() -> None:
    pictures = samples([row % 3 for row in range(60)])
    by_name = dict(zip([sample.source for sample in pictures], folds.assign(pictures, 3).tolist(), strict=True))
    turned = pictures[::-1]
    assert [by_name[sample.source] for sample in turned] == folds.assign(turned, 3).tolist()
    assert folds.assign(pictures, 3).tolist() != folds.assign(pictures, 4).tolist()


def test_a_wrong_label_stands_out() -> None:
    features, labels = clouds(150, 40, spread=1.0)
    wrong = labels.copy()
    wrong[[3, 30, 77]] = (wrong[[3, 30, 77]] + 1) % 3
    order, train = np.arange(150), np.arange(110)
    fold = folds.assign(samples(wrong.tolist()), seed=0)
    fit = head.fit_head(features, wrong, train, order[110:], 3, folds=fold)
    assert fit.out_of_fold is not None
    assert (fit.out_of_fold.argmax(1) == labels).mean() > 0.95
    assert (fit.out_of_fold[[3, 30, 77]].argmax(1) == labels[[3, 30, 77]]).all()
    alone = head.fit_head(features, wrong, train, order[110:], 3)
    assert np.array_equal(alone.weight, fit.weight)  # the model itself is the same with and without
    again = head.fit_head(features, wrong, train, order[110:], 3, folds=fold)
    assert again.out_of_fold is not None and np.array_equal(again.out_of_fold, fit.out_of_fold)


def test_what_a_picture_is_called_changes_nothing_about_its_own_score() -> None:
    features, labels = clouds(100, 40)
    fold = folds.assign(samples(labels.tolist()), seed=0)
    pictures, none = np.arange(100), np.empty(0, np.int64)
    other = labels.copy()
    mine = np.flatnonzero(fold == 2)
    other[mine] = (other[mine] + 1) % 3
    first, second = (head.fit_head(features, every, pictures, none, 3, folds=fold) for every in (labels, other))
    assert first.out_of_fold is not None and second.out_of_fold is not None
    assert np.array_equal(first.out_of_fold[mine], second.out_of_fold[mine])
    assert not np.array_equal(first.out_of_fold, second.out_of_fold)


def test_two_pictures_are_too_few_to_learn_from_and_no_error(tmp_path: Path) -> None:
    features, _ = clouds(2, 40)
    pictures = samples([0, 1], ["same", "same"])
    fold = folds.assign(pictures, seed=0)
    fit = head.fit_head(features, np.array([0, 1]), np.arange(2), np.empty(0, np.int64), 2, folds=fold)
    assert fit.out_of_fold is not None and not fit.out_of_fold.any()
    folds.write(tmp_path / "out.csv", pictures, ("a", "b"), fold, fit.out_of_fold)
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "ImageSource,Label,Fold,Prediction,Score.a,Score.b"
    assert lines[1] == "0.png,a,0,a,0.5,0.5"


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_pictures_than_folds(count: int) -> None:
    assert len(set(folds.assign(samples([0] * count), 0).tolist())) == count
