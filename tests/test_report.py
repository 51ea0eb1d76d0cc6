from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mb_jupyter import Report
from mb_jupyter.errors import DataError, WorkspaceError


def frame(pairs: list[tuple[str, str]], classes: list[str]) -> pd.DataFrame:
    rows = {
        "ImageSource": [f"{i}.jpg" for i in range(len(pairs))],
        "Label": [true for true, _ in pairs],
        "Prediction": [given for _, given in pairs],
    }
    scores = {f"Score.{name}": [float(given == name) for _, given in pairs] for name in classes}
    return pd.DataFrame({**rows, **scores})


# 10 images: 4 cats of which 3 are right, 5 dogs of which 4 are right, a bird that is taken for a cat
PAIRS = [("cat", "cat")] * 3 + [("cat", "dog")] + [("dog", "dog")] * 4 + [("dog", "cat"), ("bird", "cat")]
CLASSES = ["bird", "cat", "dog", "fish"]


@pytest.fixture
def report() -> Report:
    return Report.from_frame(frame(PAIRS, CLASSES))


def test_accuracy_and_interval(report: Report) -> None:
    assert (report.right, report.pictures, report.accuracy) == (7, 10, 0.7)
    # Wilson by hand: (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n)
    p, n, z2 = 0.7, 10, 1.959964**2
    half = math.sqrt(z2) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = (p + z2 / (2 * n) - half) / (1 + z2 / n), (p + z2 / (2 * n) + half) / (1 + z2 / n)
    assert report.interval == pytest.approx((low, high), abs=1e-6)
    assert (round(low, 3), round(high, 3)) == (0.397, 0.892)


def test_per_class_figures(report: Report) -> None:
    figures = report.per_class
    assert list(figures.index) == CLASSES
    assert list(figures["Support"]) == [1, 4, 5, 0]
    np.testing.assert_allclose(figures["Precision"], [math.nan, 3 / 5, 4 / 5, math.nan])
    np.testing.assert_allclose(figures["Recall"], [0, 3 / 4, 4 / 5, math.nan])
    np.testing.assert_allclose(figures["F1"], [0, 2 * 3 / (5 + 4), 4 / 5, math.nan])


def test_a_class_that_is_only_answered_has_no_recall() -> None:
    figures = Report.from_frame(frame([("cat", "dog"), ("cat", "cat")], ["cat", "dog"])).per_class
    assert figures.loc["dog", "Precision"] == 0
    assert math.isnan(float(figures.loc["dog", "Recall"]))  # type: ignore[arg-type]
    assert math.isnan(float(figures.loc["dog", "F1"]))  # type: ignore[arg-type]


def test_confusion(report: Report) -> None:
    expected = [[0, 1, 0, 0], [0, 3, 1, 0], [0, 1, 4, 0], [0, 0, 0, 0]]
    assert report.confusion.to_numpy().tolist() == expected
    assert (report.confusion.index.name, report.confusion.columns.name) == ("Label", "Prediction")
    assert report.confusion.loc["dog", "cat"] == 1
    assert [(one.true, one.predicted) for one in report.confusions] == [("bird", "cat"), ("cat", "dog"), ("dog", "cat")]


def test_in_words(report: Report) -> None:
    assert report.summary == (
        "Accuracy 70.0 % (95 % interval 39.7 to 89.2 %), balanced accuracy 51.7 %: 7 of 10 test images of 4 classes "
        "are right; the weakest class is bird (0 of 1 found, never answered, F1 0.00). "
        "Too few test images to judge bird (1), cat (4), fish (0)."
    )
    text = report._repr_mimebundle_()["text/plain"]
    assert "1 of 5 images of dog was taken for cat" in text
    assert "nothing is known of it: fish." in text
    assert "precision does not exist (–): bird." in text


def test_a_tie_for_the_weakest_class_is_said() -> None:
    report = Report.from_frame(frame([("a", "a"), ("a", "b"), ("b", "b"), ("b", "a")], ["a", "b"]))
    assert "one of the weakest classes is a (1 of 2 found, 1 of 2 answers right, F1 0.50)" in report.summary


def test_one_picture_is_said_in_the_singular() -> None:
    report = Report.from_frame(frame([("a", "b")], ["a", "b"]))
    text = report._repr_mimebundle_()["text/plain"]
    assert "0 of 1 test image of 2 classes are right" in text
    assert "1 of 1 test image is answered wrongly." in text
    assert "1 of 1 image of a was taken for b" in text
    assert "1 of the 1 mistake with a score" in text
    assert not re.search(r"\b1 (images|mistakes|classes|answers|labels|epochs)\b", text)


def test_a_perfect_model_has_no_weakest_class() -> None:
    report = Report.from_frame(frame([("a", "a"), ("b", "b")], ["a", "b"]))
    assert report.interval.high == pytest.approx(1)
    assert "weakest" not in report.summary
    assert "There is no mistake." in report._repr_mimebundle_()["text/plain"]


def test_only_held_out_pictures_count() -> None:
    table = frame(PAIRS, CLASSES).assign(Split=["train"] * 5 + ["test"] * 5)
    assert Report.from_frame(table).pictures == 5
    with pytest.raises(DataError, match="no test images"):
        Report.from_frame(table[:5])


def test_html_has_the_picture_in_words_and_a_table() -> None:
    record = {"verification": {"pictures": 328, "agreement": 1.0, "largest_difference": 4.2e-7}}
    bundle = Report.from_frame(frame(PAIRS, CLASSES), record)._repr_mimebundle_()
    assert 'alt="Confusion matrix of 4 classes: 7 of 10' in bundle["text/html"]
    assert "<details" in bundle["text/html"]
    assert not [tag for tag in ("<style", "<script", "<svg") if tag in bundle["text/html"]]
    for shown in bundle.values():
        for said in ("100.0 %", "328", "4e-07", "70.0 %"):
            assert said in shown


def test_names_are_data() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    report = Report.from_frame(frame([(hostile, "b"), ("b", "b")], [hostile, "b"]))
    assert "<img src=x" not in report._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("number", [2, 21, 300])
def test_two_classes_and_three_hundred(number: int) -> None:
    names = [f"class {i:03d}" for i in range(number)]
    pairs = [(names[i % number], names[(i * 7) % number if i % 3 == 0 else i % number]) for i in range(number * 4)]
    report = Report.from_frame(frame(pairs, names))
    bundle = report._repr_mimebundle_()
    assert len(bundle["text/html"]) < 700_000
    assert len(bundle["text/plain"].splitlines()) < 170
    if number > 50:
        assert "50 weakest of 300 classes" in bundle["text/plain"]


def test_a_csv_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    table = frame([("NA", "NA"), ("007", "NA"), ("007", "007")], ["007", "NA"])
    table.to_csv(path, index=False)
    assert Report.from_csv(path).confusion.to_numpy().tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"ImageSource,Label,Prediction,Score.a\n1.jpg,a,a,high\n",
     b"ImageSource,Label,Prediction,Score.a\n", b"ImageSource,Label,Prediction,Score.a\n1.jpg,b,a,1\n"],
)  # fmt: skip
def test_what_is_no_table_of_predictions(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Report.from_csv(path)
    assert caught.value.fix


def test_a_missing_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Report.from_csv(tmp_path / "none.csv")


def test_from_a_runs_folder(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="has no predictions"):
        Report.from_run(tmp_path)
    frame(PAIRS, CLASSES).to_csv(tmp_path / "predictions.csv", index=False)
    said = Report.from_run(tmp_path)._repr_mimebundle_()["text/plain"]
    for absent in (
        "metrics.jsonl",
        "out_of_fold.csv",
        "baselines.csv",
        "variants",
        "reproducibility.json",
        "earlier run",
    ):
        assert re.search(rf"\nThe(re is no| run.* has no) {re.escape(absent)}", said), absent
    (tmp_path / "report.json").write_text('{"ece_af')
    assert Report.from_run(tmp_path).pictures == 10
