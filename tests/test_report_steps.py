"""Next steps: in one unit, by code, and only what the data can do."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mb_jupyter import Report
from mb_jupyter.report.step import Order
from tests.test_report_figures import table, write_run

CAT, DOG, DOG_AS_CAT = ("cat", "cat", 0.9), ("dog", "dog", 0.9), ("dog", "cat", 0.7)


def run(folder: Path, rows: list[tuple[str, str, float]], learned: dict[str, int], groups: int = 1) -> Report:
    """Return the report on a run with so many further images of each class to learn from, so many to a group."""
    write_run(folder, rows)
    split = [(f"{i}.png", label, "test", f"t{i // groups}") for i, (label, _, _) in enumerate(rows)]
    split += [
        (f"{name}{i}.png", name, "train", f"{name}{i // groups}") for name, n in learned.items() for i in range(n)
    ]
    frame = pd.DataFrame(split, columns=["ImageSource", "Label", "Split", "Group"])
    frame.assign(Sha256=frame["ImageSource"]).to_csv(folder / "split.csv", index=False)
    return Report.from_run(folder)


def step(report: Report, code: str) -> str:
    (found,) = [one.sentence for one in report.steps if one.code == code]
    return found


def test_a_class_that_is_never_found_comes_first(tmp_path: Path) -> None:
    # one dog of one is missed, beside ten cats that are taken for birds
    rows = pd.concat([
        table([("cat", "cat", 0.9)] * 20 + [("cat", "bird", 0.6)] * 10 + [("bird", "bird", 0.9)] * 20, ("cat", "bird")),
        table([("dog", "cat", 0.95)] * 2, ("cat", "bird")),
    ]).assign(**{"Score.dog": 0.0})  # fmt: skip
    rows["ImageSource"] = [f"{i}.png" for i in range(len(rows))]
    folder = write_run(tmp_path / "1")
    rows.to_csv(folder / "predictions.csv", index=False)
    report = Report.from_run(folder)
    assert report.steps[0].code == "class_never_found" and report.steps[0].gain == 2
    assert "dog: none of its 2 test images is found, most taken for cat" in report.next_steps[0]
    assert max(one.gain for one in report.steps) == 10, "the larger gain comes later"


def test_steps_are_ordered_and_recorded_by_code(tmp_path: Path) -> None:
    report = run(tmp_path / "1", [CAT] * 20 + [DOG] * 16 + [DOG_AS_CAT] * 4, {"cat": 40, "dog": 40})
    told = json.loads(report.to_json(tmp_path / "told.json").read_text("utf-8"))
    assert [one["code"] for one in told["steps"]] == [one.code for one in report.steps]
    assert told["steps"][0] == {"code": "classes_confused", "gain": 4, "sentence": report.next_steps[0]}
    orders = [(one.order, -one.gain) for one in report.steps]
    assert orders == sorted(orders) and orders[-1][0] is Order.SURER


@pytest.mark.parametrize(
    ("learned", "said"),
    [
        (30, "Hold out more images of the other classes than cat"),
        (2, "Add images of the other classes than cat"),
    ],
)
def test_images_are_to_be_held_out_only_where_there_are_some(tmp_path: Path, learned: int, said: str) -> None:
    report = run(tmp_path / "1", [CAT] * 95 + [DOG] * 3, {"cat": 400, "dog": learned})
    found = step(report, "baseline_untold")
    assert found.startswith(said)
    assert ("there are only 2 more in all" in found) == (learned == 2)


@pytest.mark.parametrize(
    ("learned", "said"), [(1000, "Hold out more images to know more"), (8, "Add images to know more")]
)
def test_more_test_images_only_where_the_training_can_spare_them(tmp_path: Path, learned: int, said: str) -> None:
    report = run(tmp_path / "1", [CAT] * 20 + [DOG] * 16 + [DOG_AS_CAT] * 4, {"cat": learned, "dog": learned})
    found = step(report, "interval_wide")
    assert found.startswith(said) and "40 test images leave the accuracy between" in found
    assert ("there are only 16 more in all" in found) == (learned == 8)


def test_how_many_more_would_tell_is_said_in_groups(tmp_path: Path) -> None:
    rows = [CAT] * 30 + ([DOG] * 4 + [DOG_AS_CAT]) * 6  # the images of a group do not always agree
    found = step(run(tmp_path / "1", rows, {"cat": 4000, "dog": 4000}, groups=5), "interval_wide")
    assert "12 groups leave the accuracy between" in found
    (wanted,) = [int(word.replace(",", "")) for word in found.split("about ")[1].split()[:1]]
    plain = step(run(tmp_path / "2", rows, {"cat": 4000, "dog": 4000}), "interval_wide")
    (images,) = [int(word.replace(",", "")) for word in plain.split("about ")[1].split()[:1]]
    assert images / 5 < wanted < images, "more groups than if the images of a group were strangers"


def test_label_issues_are_ranked_in_test_images(tmp_path: Path) -> None:
    rows = [CAT] * 60 + [DOG] * 58 + [("dog", "cat", 0.99)] * 2
    report = run(tmp_path / "1", rows, {"cat": 100, "dog": 100})
    issues = [("cat", "cat", 0.97)] * 100 + [("dog", "dog", 0.97)] * 95 + [("dog", "cat", 0.99)] * 5
    table(issues).to_csv(tmp_path / "1" / "out_of_fold.csv", index=False)
    report = Report.from_run(tmp_path / "1")
    parts = report.suspects["Split"].value_counts()
    assert (parts["train"], parts["test"]) == (5, 2)
    (found,) = [one for one in report.steps if one.code == "label_issues"]
    # two test images are mistakes now; nothing is left for 5 of 200 labels to put right
    assert found.gain == 2 and found.gain <= report.pictures - report.right
    assert (
        "5 of 200 training and validation images (2.5 %) and 2 of 120 test images, which count as mistakes"
        in found.sentence
    )


def test_every_code_is_its_own() -> None:
    sources = Path(__file__).parent.parent / "mb_jupyter" / "report"
    words = [(sources / name).read_text("utf-8") for name in ("next_steps.py", "surer.py")]
    codes = [line.strip().strip('",') for text in words for line in text.splitlines() if line.strip().startswith('"')]
    named = [code for code in codes if code.replace("_", "").isalpha() and "_" in code and " " not in code]
    assert len(named) == len(set(named)) >= 12


def test_class_names_are_data_in_the_advice(tmp_path: Path) -> None:
    hostile = '"><img src=x onerror=alert(1)>'
    frame = table([("cat", "cat", 0.9)] * 20 + [("dog", "cat", 0.9)] * 5).replace("dog", hostile)
    frame = frame.rename(columns={"Score.dog": f"Score.{hostile}"})
    page = Report.from_frame(frame)._repr_mimebundle_()["text/html"]
    assert "<img src=x" not in page and 'alt=""' not in page
    assert "&quot;&gt;&lt;img src=x" in page
