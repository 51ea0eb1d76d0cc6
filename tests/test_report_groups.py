"""Intervals and tests that know which images belong together: by hand, by bootstrap, by brute force."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from mb_jupyter import Report
from mb_jupyter.report import compare_reports
from mb_jupyter.report.intervals import CONFIDENCE, difference, effective, images_for, quantile, share, wilson
from mb_jupyter.report.paired import joined, paired, sign_flip
from mb_jupyter.report.statistics import calibration_error_by_chance, tendency
from tests.test_report_figures import table, write_run

ALONE = np.arange(1000)


def test_images_that_are_alone_have_the_plain_interval_of_wilson() -> None:
    right = np.arange(40) < 33
    assert share(right, ALONE[:40]) == pytest.approx(binomtest(33, 40).proportion_ci(CONFIDENCE, method="wilson"))
    assert effective(right.astype(float), ALONE[:40]) == 40
    assert all(map(math.isnan, share(right[:0], ALONE[:0])))


def test_the_design_effect_by_hand() -> None:
    # 12 groups of 3 images: eight all right, two with 2 and two with 1 of 3; 30 of 36, the mean 5/6
    right = np.array([True] * 24 + [True, True, False] * 2 + [True, False, False] * 2)
    groups = np.repeat(np.arange(12), 3)
    # the groups' sums less 3 x 5/6, squared: 8 x .25 + 2 x .25 + 2 x 2.25 = 7
    between = 12 / 11 * 7 / 36**2
    single = 5 / 6 * 1 / 6 / 35
    effect = (4 * between / single + 2 * 3) / (4 + 2)  # four groups differ; two that always agree are assumed
    wider = (2.200985 / 2.030108) ** 2  # Student's t of 11 and of 35 degrees, 97.5 %
    assert effective(right.astype(float), groups) == pytest.approx(36 / effect / wider, rel=1e-5)
    assert effective(right.astype(float), groups) == pytest.approx(15.39, abs=0.01)
    # were a group all wrong, the images would not even count for 12: but never for fewer than the groups
    assert effective(np.arange(36) < 33, groups) == 12


def test_images_that_always_agree_count_once_for_each_group() -> None:
    groups = np.repeat(np.arange(6), 6)
    assert share(np.ones(36, bool), groups) == pytest.approx(wilson(6, 6))
    # 0 of 6 photos of one object is one witness
    assert share(np.zeros(6, bool), np.zeros(6)) == pytest.approx(wilson(0, 1))


def test_a_mistake_never_makes_it_surer() -> None:
    groups = np.repeat(np.arange(6), 6)
    lows = [share(np.arange(36) >= wrong, groups).low for wrong in range(7)]
    assert lows == sorted(lows, reverse=True)


def series(random: np.random.Generator, number: int, most: int, pull: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what is right, and the groups, of so many groups of 1 to ``most`` images that resemble each other."""
    groups = np.repeat(np.arange(number), random.integers(1, most + 1, number))
    return random.random(len(groups)) < random.beta(0.85 * pull, 0.15 * pull, number)[groups], groups


def test_the_ends_are_those_of_a_bootstrap_over_groups() -> None:
    random = np.random.default_rng(3)
    right, groups = series(random, 90, 3, 1.0)
    sums = np.bincount(groups, weights=right), np.bincount(groups)
    draws = random.integers(0, 90, (4000, 90))
    low, high = np.quantile(sums[0][draws].sum(1) / sums[1][draws].sum(1), (0.025, 0.975))
    found, plain = share(right, groups), wilson(right.sum(), len(right))
    assert abs(found.low - low) < 0.03 and abs(found.high - high) < 0.03
    assert found.high - found.low > 1.2 * (plain.high - plain.low)


@pytest.mark.parametrize(("number", "most", "pull"), [(12, 11, 2), (30, 7, 2), (90, 3, 2), (90, 3, 100)])
def test_the_interval_holds_as_often_as_it_says(number: int, most: int, pull: float) -> None:
    random, hits, plain = np.random.default_rng(0), 0, 0
    for _ in range(300):
        right, groups = series(random, number, most, pull)
        low, high = share(right, groups)
        hits += low <= 0.85 <= high
        low, high = wilson(right.sum(), len(right))
        plain += low <= 0.85 <= high
    assert hits >= 0.93 * 300
    assert pull == 100 or plain < 0.92 * 300, "the plain one holds less often than it says"


def test_how_many_would_tell() -> None:
    for portion in (0.5, 0.95):
        number = images_for(portion, 0.1)
        widths = [wilson(portion * n, n).high - wilson(portion * n, n).low for n in (number - 1, number)]
        assert widths[1] <= 0.1 < widths[0]


@pytest.mark.parametrize("seed", range(20))
def test_images_that_are_alone_have_the_exact_test_of_mcnemar(seed: int) -> None:
    random = np.random.default_rng(seed)
    number = int(random.integers(1, 400))
    first, second = random.random((2, number)) < random.random((2, 1))
    found = paired(first, second, ALONE[:number])
    only = found.first_only + found.second_only
    assert found.p_value == pytest.approx(binomtest(found.first_only, only).pvalue if only else 1.0, rel=1e-9)
    assert "McNemar" in found.chance and found.differing == only


@pytest.mark.parametrize(("one", "other", "p"), [(0, 6, 0.03125), (1, 5, 0.21875), (0, 5, 0.0625), (0, 0, 1.0)])
def test_mcnemar_by_hand(one: int, other: int, p: float) -> None:
    # two-sided binomial: 2 / 2**6, 2 (1 + 6) / 2**6, 2 / 2**5
    first = np.array([True] * one + [False] * other + [True] * 4)
    second = np.array([False] * one + [True] * other + [True] * 4)
    found = paired(first, second, ALONE[: len(first)])
    assert (found.both, found.first_only, found.second_only) == (4, one, other)
    assert found.p_value == pytest.approx(p)
    assert found.differ == (p < 0.05)


@pytest.mark.parametrize("sums", [[3, -1, 2, 2, 0, -4], [6, 6, 6], [1], [], [5, -5, 1, 1, 2, -3, 8]])
def test_the_sign_flips_are_all_of_them(sums: list[int]) -> None:
    flipped = [
        sum(s * f for s, f in zip(sums, signs, strict=True)) for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    expected = sum(abs(total) >= abs(sum(sums)) for total in flipped) / len(flipped)
    assert sign_flip(np.array(sums, int)) == pytest.approx(expected)


def test_two_objects_photographed_six_times_prove_nothing() -> None:
    first, second, groups = np.zeros(12, bool), np.ones(12, bool), np.repeat([0, 1], 6)
    found = paired(first, second, groups)
    assert (found.p_value, found.differ, found.too_few, found.groups) == (0.5, False, True, 2)
    assert "exact sign-flip test over 2 groups, p = 0.5" in found.chance
    assert paired(first, second, ALONE[:12]).differ


def test_the_interval_of_a_difference_by_hand() -> None:
    first = np.array([True] * 50 + [True] * 5 + [False] * 20 + [False] * 25)
    second = np.array([True] * 50 + [False] * 5 + [True] * 20 + [False] * 25)
    # (20.5 - 5.5) / 102 and sqrt(26 - 15^2 / 102) / 102, after Agresti and Min
    middle, deviation = 15 / 102, math.sqrt(26 - 15**2 / 102) / 102
    found = difference(first, second, ALONE[:100])
    assert found == pytest.approx((middle - quantile() * deviation, middle + quantile() * deviation))
    wider = difference(first, second, np.arange(100) // 5)
    assert wider.low < found.low < found.high < wider.high
    alike = difference(first, first, ALONE[:100])
    assert alike.low < 0 < alike.high


def test_groups_of_two_runs_are_joined() -> None:
    found = joined(np.array(["a", "a", "b", "c"]), np.array(["x", "y", "y", "z"]))
    assert found[0] == found[1] == found[2] != found[3]


# 12 objects, each photographed five times: 40 cats of which one object is taken for a dog, and 20 dogs
ROWS = [("cat", "cat", 0.9)] * 35 + [("cat", "dog", 0.8)] * 5 + [("dog", "dog", 0.7)] * 20


def with_groups(folder: Path, rows: list[tuple[str, str, float]], each: int, **record: object) -> Path:
    """Write a run whose test images are in groups of so many."""
    write_run(folder, rows, **record)
    pd.DataFrame({
        "ImageSource": [f"{i}.png" for i in range(len(rows))], "Label": [label for label, _, _ in rows],
        "Split": "test", "Sha256": [f"{i:064x}" for i in range(len(rows))],
        "Group": [f"object {i // each}" for i in range(len(rows))],
    }).to_csv(folder / "split.csv", index=False)  # fmt: skip
    return folder


def test_every_interval_of_the_report_knows_the_groups(tmp_path: Path) -> None:
    single, grouped = (Report.from_run(with_groups(tmp_path / str(n), ROWS, n)) for n in (1, 5))
    for report in (single, grouped):
        assert (report.right, report.pictures) == (55, 60)
    assert (single.grouped, grouped.grouped, grouped.group_count) == (False, True, 12)

    def widths(report: Report) -> dict[str, pd.Series[float]]:
        tables = {
            "recall": (report.per_class, "Recall"), "thresholds": (report.thresholds, "Precision"),
            "calibration": (report.calibration, "Accuracy"), "baselines": (report.baselines, "Accuracy"),
            "lift": (report.lift, ""), "comparison": (compare_reports([report, report]).frame, "Accuracy"),
        }  # fmt: skip
        found = {name: frame[f"{of}High"] - frame[f"{of}Low"] for name, (frame, of) in tables.items()}
        single = [interval.high - interval.low for interval in (report.interval, report.about(55, 60))]
        return {**{name: one.dropna() for name, one in found.items()}, "single": pd.Series(single)}

    plain, wide = widths(single), widths(grouped)
    for name in plain:
        assert len(plain[name]) and (wide[name] > plain[name]).all(), name
    assert grouped.per_class["Groups"].tolist() == [8, 4]
    text = grouped._repr_mimebundle_()["text/plain"]
    assert "60 test images in 12 groups" in grouped.summary and "interval by group" in text
    assert "group" not in single.summary and "by group" not in single.headline
    told = json.loads(grouped.to_json(tmp_path / "told.json").read_text("utf-8"))
    assert told["interval"]["groups"] == 12 and told["interval"]["low"] == grouped.interval.low


def test_runs_are_compared_by_group(tmp_path: Path) -> None:
    better = [("cat", "cat", 0.9)] * 40 + [("dog", "dog", 0.7)] * 20
    worse = [("cat", "dog", 0.9)] * 15 + [("cat", "cat", 0.9)] * 25 + [("dog", "dog", 0.7)] * 20
    for each, known, p in ((1, False, 2 / 2**15), (5, True, 2 / 2**3)):
        before, after = (
            Report.from_run(with_groups(tmp_path / f"{each} {n}", rows, each)) for n, rows in enumerate((worse, better))
        )
        found = after.comparison(before)
        assert found.test.p_value == pytest.approx(p)
        assert found.equal == known
    assert "60 test images (in 12 groups) that both have" in found.summary
    assert "fewer than 6 such groups never tell two runs apart" in found.summary


def test_several_comparisons_at_once_are_as_many_chances(tmp_path: Path) -> None:
    rows = [[("cat", "cat", 0.9)] * (20 + more) + [("cat", "dog", 0.9)] * (6 - more) for more in (0, 6, 6)]
    reports = [Report.from_run(write_run(tmp_path / str(n), one)) for n, one in enumerate(rows)]
    one, two = compare_reports(reports[:2]), compare_reports(reports)
    assert one.test.p_value == pytest.approx(2 / 2**6) and not one.equal
    assert two.test.p_value == pytest.approx(2 * 2 / 2**6) and two.equal
    assert "times 2 for as many comparisons" in two.summary and "times" not in one.summary


def test_a_run_compared_with_itself_is_the_same_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1", ROWS)
    found = compare_reports([Report.from_run(folder), Report.from_run(folder)])
    text = found._repr_mimebundle_()["text/plain"]
    assert "both are the same run" in found.summary and "the same run" in found.title
    assert "equal" not in text and found.equal is None


def test_a_column_group_of_a_table_counts_too() -> None:
    frame = table(ROWS).assign(Group=[f"{i // 5}" for i in range(60)])
    assert Report.from_frame(frame).interval.low < Report.from_frame(table(ROWS)).interval.low


def test_what_is_said_of_the_scores_knows_the_groups() -> None:
    # 100 scores of .9 and 84 right are too few by more than chance explains; 10 series of which one is missed are not
    scores, right = np.full(100, 0.9), np.arange(100) >= 16
    assert (tendency(scores, right, ALONE[:100]), tendency(scores, right, ALONE[:100] // 10)) == (1, 0)
    alone, together = (calibration_error_by_chance(scores, ALONE[:100] // each) for each in (1, 10))
    # one bin of 100: the error is |share right - .9|, whose deviation is .03 for images and .095 for ten series
    assert alone[1] == pytest.approx(1.96 * 0.03, abs=0.012)
    assert together[1] > 2.5 * alone[1]
