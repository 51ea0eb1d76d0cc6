"""Averages, top-k, ranking curves, slices, balanced accuracy: by hand and against scikit-learn."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score, top_k_accuracy_score

from mb_jupyter import Report
from mb_jupyter.report.files import rows_of
from mb_jupyter.report.intervals import CONFIDENCE, wilson
from tests.test_report_figures import table, write_run

CAT, DOG, DOG_AS_CAT = ("cat", "cat", 0.9), ("dog", "dog", 0.9), ("dog", "cat", 0.7)


def many(number: int, images: int, seed: int = 0) -> Report:
    """Return the report on random scores that lean to the true class."""
    random = np.random.default_rng(seed)
    names = [f"class {i}" for i in range(number)]
    true = np.arange(images) % number
    scores = random.dirichlet(np.ones(number), images) + 0.4 * np.eye(number)[true] * random.random((images, 1))
    scores /= scores.sum(axis=1, keepdims=True)
    frame = pd.DataFrame({
        "ImageSource": [f"{i}.jpg" for i in range(images)], "Label": [names[i] for i in true],
        "Prediction": [names[i] for i in scores.argmax(axis=1)],
        **{f"Score.{name}": scores[:, i] for i, name in enumerate(names)},
    })  # fmt: skip
    return Report.from_frame(frame)


def text(report: Report) -> str:
    return report._repr_mimebundle_()["text/plain"]


def test_balanced_accuracy_by_hand() -> None:
    # 40 cats, all right; 10 dogs, half of them: accuracy 45/50, balanced (1 + 1/2) / 2
    report = Report.from_frame(table([CAT] * 40 + [DOG] * 5 + [DOG_AS_CAT] * 5))
    assert (report.accuracy, report.balanced_accuracy) == (0.9, 0.75)
    for words in (report.headline, report.summary):
        assert "Accuracy 90.0 %" in words and "balanced accuracy 75.0 % (recalls 50.0 to 100.0 %)" in words
    low, high = report.balanced_interval
    cats, dogs = wilson(40, 40), wilson(5, 10)
    assert low == pytest.approx(0.75 - math.hypot(1 - cats.low, 0.5 - dogs.low) / 2)
    assert high == pytest.approx(0.75 + (dogs.high - 0.5) / 2)


@pytest.mark.parametrize(
    ("rows", "matters"),
    [
        ([CAT] * 20 + [DOG] * 20, False),
        ([CAT] * 29 + [DOG] * 20, False),
        ([CAT] * 30 + [DOG] * 20, True),  # half as many again
        ([CAT] * 20 + [DOG] * 17 + [DOG_AS_CAT] * 3, False),
        ([CAT] * 20 + [DOG] * 16 + [DOG_AS_CAT] * 4, True),  # recalls of 1 and .8
        ([CAT] * 4 + [DOG] * 2 + [DOG_AS_CAT] * 2, False),  # of a handful
        ([CAT] * 20, False),  # of one class there is nothing to balance
    ],
)
def test_balanced_accuracy_stands_beside_where_the_accuracy_alone_misleads(rows: list, matters: bool) -> None:
    report = Report.from_frame(table(rows))
    assert report.balance_matters == matters == ("balanced accuracy" in report.headline)


def test_a_class_with_one_test_image_is_named_beside_a_perfect_accuracy() -> None:
    report = Report.from_frame(table([CAT] * 5 + [DOG]))
    assert report.headline.startswith(
        "Accuracy 100.0 % on test images: 6 of 6 are right (95 % interval 61.0 to 100.0 %)"
    )
    assert report.headline.endswith("Too few test images to judge dog (1).")
    assert report.too_few.to_dict("index") == {"dog": {"Support": 1, "Groups": 1}}
    assert "Too few" not in Report.from_frame(table([CAT] * 5 + [DOG] * 5)).headline


def test_many_photos_of_one_object_are_too_few(tmp_path: Path) -> None:
    frame = table([CAT] * 10 + [DOG] * 12).assign(Group=[f"{i}" for i in range(10)] + ["a"] * 6 + ["b"] * 6)
    headline = Report.from_frame(frame).headline
    assert "22 of 22 in 12 groups are right" in headline
    assert "Too few test images to judge dog (12 in 2 groups)." in headline


def test_where_every_class_has_too_few_their_names_say_nothing() -> None:
    assert many(4, 12).headline.endswith("Every class has too few test images to be judged alone.")


def test_averages_by_hand() -> None:
    # cats: precision 20/23, recall 1; dogs: precision 1, recall 7/10
    report = Report.from_frame(table([CAT] * 20 + [DOG] * 7 + [DOG_AS_CAT] * 3))
    macro, weighted = report.averages.loc["macro"], report.averages.loc["weighted"]
    assert macro["Precision"] == pytest.approx((20 / 23 + 1) / 2)
    assert weighted["Precision"] == pytest.approx((20 * 20 / 23 + 10) / 30)
    assert (macro["Recall"], weighted["Recall"]) == (pytest.approx(0.85), pytest.approx(27 / 30))
    assert "Macro average: precision 0.935, recall 0.850" in text(report)


def test_top_k_is_that_of_scikit_learn() -> None:
    report = many(8, 400)
    for row in rows_of(report.top_k):
        expected = top_k_accuracy_score(report.true, report.scores, k=int(row.K), labels=range(8))
        assert row.Share == pytest.approx(expected) and row.Low < row.Share < row.High
    assert report.top_k["K"].tolist() == [2, 3, 5]
    assert "The true class is among the first 2 answers in" in text(report)
    assert many(5, 50).top_k["K"].tolist() == [2, 3] and many(4, 40).top_k.empty
    # the class that is answered is the first of equal scores, so that the first answer is right as often as the model
    equal = Report.from_frame(table([("cat", "cat", 0.5), ("dog", "cat", 0.5)]))
    assert equal.right == 1


def test_areas_and_curves_are_those_of_scikit_learn() -> None:
    report = many(4, 300)
    for number, name in enumerate(report.classes):
        own = report.true == number
        assert report.areas.loc[name, "AUC"] == pytest.approx(roc_auc_score(own, report.scores[:, number]))
        assert report.areas.loc[name, "AP"] == pytest.approx(average_precision_score(own, report.scores[:, number]))
        curve = report.roc[report.roc["Class"] == name]
        area = np.trapezoid(curve["TruePositiveRate"], curve["FalsePositiveRate"])
        assert area == pytest.approx(report.areas.loc[name, "AUC"], abs=0.02)
    bundle = report._repr_mimebundle_()
    assert f"area under ROC {report.areas['AUC'].mean():.3f}" in bundle["text/plain"]
    assert 'alt="ROC and precision-recall curves: mean area' in bundle["text/html"]


def test_curves_by_hand() -> None:
    # scores of cats: .9 right, .8 wrong, .7 right
    frame = pd.DataFrame({"ImageSource": list("abc"), "Label": ["cat", "dog", "cat"], "Prediction": ["cat"] * 3,
                          "Score.cat": [0.9, 0.8, 0.7], "Score.dog": [0.1, 0.2, 0.3]})  # fmt: skip
    report = Report.from_frame(frame)
    assert report.areas.loc["cat", "AUC"] == 0.5
    roc = report.roc[report.roc["Class"] == "cat"].set_index("FalsePositiveRate")["TruePositiveRate"]
    assert (roc.loc[0.0], roc.loc[0.5], roc.loc[1.0]) == (0.5, 0.5, 1.0)
    curve = report.precision_recall[report.precision_recall["Class"] == "cat"].set_index("Recall")["Precision"]
    assert (curve.loc[0.5], curve.iloc[-1]) == (1.0, pytest.approx(2 / 3))
    alone = Report.from_frame(table([CAT] * 3))
    assert alone.roc.empty and "there is nothing to tell apart" in text(alone)


def with_columns(folder: Path, rows: list[tuple[str, str, float]], each: int = 1, **columns: Any) -> Report:
    """Return the report on a run whose list had further columns, its images in groups of so many."""
    write_run(folder, rows)
    pd.DataFrame({
        "ImageSource": [f"{i}.png" for i in range(len(rows))], "Label": [label for label, _, _ in rows],
        "Split": "test", "Sha256": [str(i) for i in range(len(rows))],
        "Group": [f"g{i // each}" for i in range(len(rows))],
        **{f"Slice.{name}": values for name, values in columns.items()},
    }).to_csv(folder / "split.csv", index=False)  # fmt: skip
    return Report.from_run(folder)


SITES = ["Bonn"] * 60 + ["Köln"] * 20
ROWS = [CAT] * 58 + [("cat", "dog", 0.8)] * 2 + [DOG] * 8 + [DOG_AS_CAT] * 12


def test_slices_are_corrected_for_their_number_and_the_worst_comes_first(tmp_path: Path) -> None:
    report = with_columns(tmp_path / "1", ROWS, site=SITES, device=["a", "b"] * 40)
    frame = report.slices
    assert len(frame) == 4
    columns = ["Column", "Value", "Images", "Right", "Worse"]
    assert frame[columns].values.tolist()[0] == ["site", "Köln", 20, 8, True]
    assert frame["Worse"].sum() == 1
    # four slices: each interval at 1 - .05/4
    exact = binomtest(8, 20).proportion_ci(1 - (1 - CONFIDENCE) / 4, method="exact")
    assert (frame.loc[0, "Low"], frame.loc[0, "High"]) == pytest.approx((exact.low, exact.high))
    said = text(report)
    assert "95 % for all 4 slices at once (Bonferroni)" in said
    assert "Worse than the rest, by more than chance explains: site Köln." in said
    told = json.loads(report.to_json(tmp_path / "told.json").read_text("utf-8"))
    assert told["slices"][0]["Value"] == "Köln"


def test_slices_know_the_groups(tmp_path: Path) -> None:
    single = with_columns(tmp_path / "1", ROWS, site=SITES).slices
    grouped = with_columns(tmp_path / "2", ROWS, each=10, site=SITES).slices
    assert (grouped["High"] - grouped["Low"] > single["High"] - single["Low"]).all()
    assert single["Worse"].any() and not grouped["Worse"].any(), "two objects in Köln show nothing"


def test_chance_alone_finds_no_worse_slice(tmp_path: Path) -> None:
    random, found = np.random.default_rng(1), 0
    for number in range(40):
        rows = [CAT if right else ("cat", "dog", 0.8) for right in random.random(300) < 0.9]
        days = [f"day {i}" for i in random.integers(0, 20, 300)]
        found += bool(with_columns(tmp_path / str(number), rows, day=days).slices["Worse"].any())
    assert found <= 4, "each of 20 slices has a chance of 5 % / 20"


def test_columns_of_every_kind(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "age": [str(20 + i) for i in range(80)],
        "file": [f"IMG_{i}" for i in range(80)],
        "note": [""] * 40 + ["<b>"] * 40,
        "same": ["x"] * 80,
    }
    report = with_columns(tmp_path / "1", ROWS, **columns)
    values = report.slices.groupby("Column")["Value"].apply(list).to_dict()
    assert sorted(values["age"]) == ["20 to 39", "40 to 59", "60 to 79", "80 to 99"]
    assert len(values["file"]) == 21 and "(other values)" in values["file"]
    assert sorted(values["note"]) == ["(empty)", "<b>"] and "same" not in values
    assert "<td" in (page := report._repr_mimebundle_()["text/html"]) and "&lt;b&gt;" in page and "<b>;" not in page
    assert with_columns(tmp_path / "2", ROWS).slices.empty


def test_the_page_of_a_hundred_and_twenty_classes_stays_small(tmp_path: Path) -> None:
    report = many(120, 1200)
    path = report.to_html(tmp_path / "page.html")
    page = path.read_text("utf-8")
    assert path.stat().st_size < 700_000
    assert "report.areas" not in page, "the page lists all"
    order = [page.index(f">class {number}<") for number in (2, 10, 100)]
    assert order == sorted(order), "2 before 10"
    assert "1: class 0" in page and "120: class 119" in page
