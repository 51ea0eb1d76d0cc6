"""What is chosen is not chosen on the test images, and what the report says of its choices is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter import Report
from tests.test_report_figures import table, write_run

# on the test images .6 is enough: 19 of 20 are right; elsewhere it takes .8
TESTED = [("cat", "cat", 0.9)] * 10 + [("dog", "dog", 0.65)] * 9 + [("dog", "cat", 0.62)] + [("cat", "dog", 0.55)] * 4
ELSEWHERE = [("cat", "cat", 0.9)] * 30 + [("dog", "dog", 0.85)] * 10 + [("dog", "cat", 0.7)] * 20


def with_choices(folder: Path, file: str | None, **record: Any) -> Report:
    """Return the report on a run whose choices were made on ``file``."""
    write_run(folder, TESTED)
    if file:
        table(ELSEWHERE).assign(Fold=0).to_csv(folder / file, index=False)
        record["choices_from"] = file
    (folder / "report.json").write_text(json.dumps(record))
    (folder / "metrics.jsonl").write_text('{"event": "epoch", "phase": "features", "epoch": 0, "best": true}\n')
    return Report.from_run(folder)


def text(report: Report) -> str:
    return report._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize("file", ["out_of_fold.csv", "validation.csv"])
def test_the_threshold_is_chosen_elsewhere_and_told_on_the_test_images(tmp_path: Path, file: str) -> None:
    report = with_choices(tmp_path / "1", file)
    threshold = report.recommended_threshold()
    # 40 of the 40 scores above .7 are right, and 40 of all 60: .95 is reached above .7 only
    assert threshold is not None and 0.7 < threshold <= 0.85
    said = text(report)
    assert "On the test images 100.0 % (10 of 10) of the answers are right then" in said and "14 of 24 images" in said
    assert f"for any choice: what was chosen rests on training and validation images ({file})." in said
    assert "on the test images themselves" not in said
    told = json.loads(report.to_json(tmp_path / "told.json").read_text("utf-8"))
    assert (told["recommended_threshold"], told["choices_from"]) == (threshold, file)


@pytest.mark.parametrize("named", [None, "predictions.csv", "../1/predictions.csv", "gone.csv"])
def test_a_run_that_kept_no_such_scores_says_that_the_test_images_chose(tmp_path: Path, named: str | None) -> None:
    report = with_choices(tmp_path / "1", None, choices_from=named, recommended_variant="float32")
    threshold = report.recommended_threshold()
    assert threshold is not None and 0.55 < threshold <= 0.62 and report.choice_frame is None
    said = text(report)
    assert "chosen on the test images themselves, so expect a little less on others" in said
    assert "were not used for training; the recommended threshold and the choice between float32 and int8" in said
    assert "any choice" not in said


def calibrated(kept: bool, before: float, after: float) -> dict[str, Any]:
    return {"kept": kept, "temperature": 1.3, "source": "out_of_fold.csv", "images": 60, "log_loss_before": before,
            "log_loss_after": after}  # fmt: skip


def test_calibration_that_is_kept_and_helps(tmp_path: Path) -> None:
    report = with_choices(tmp_path / "1", None, temperature=0.8, calibration=calibrated(True, 0.5, 0.4))
    said = text(report)
    assert (
        "calibrated (temperature 1.30): on 60 images of out_of_fold.csv that takes the log loss from 0.500 to 0.400"
        in said
    )
    assert "before calibration" in said


def test_calibration_that_is_left_out(tmp_path: Path) -> None:
    report = with_choices(tmp_path / "1", None, temperature=1.0, calibration=calibrated(False, 0.4, 0.41))
    said = text(report)
    assert "not calibrated: on 60 images of out_of_fold.csv it would not lower the log loss (0.400, " in said
    assert "before calibration" not in said and "made the log loss worse" not in said


def test_calibration_that_could_not_be_tried(tmp_path: Path) -> None:
    told = {**calibrated(False, 0.4, 0.4), "images": 0, "log_loss_before": None, "log_loss_after": None}
    report = with_choices(tmp_path / "1", None, temperature=1.0, calibration=told)
    assert "not calibrated: there were no images to set a temperature with" in text(report)


def test_calibration_that_made_the_test_images_worse_is_said(tmp_path: Path) -> None:
    # the scores are a little too low as they are, and a temperature above 1 has made them so
    rows = [("cat", "cat", 0.9)] * 60 + [("dog", "dog", 0.9)] * 60 + [("dog", "cat", 0.9)] * 5
    reports = {}
    for temperature in (0.7, 1.5):
        folder = write_run(tmp_path / str(temperature), rows)
        (folder / "report.json").write_text(json.dumps({"temperature": temperature}))
        reports[temperature] = Report.from_run(folder)
    for temperature, report in reports.items():
        assert report.calibration_hurts == (report.log_loss > (report.log_loss_before or 0)) == (temperature == 1.5)
    assert "On the test images the calibration made the log loss worse." in text(reports[1.5])
    assert "nothing speaks against" not in text(reports[1.5]) and "made the log loss worse" not in text(reports[0.7])


def test_what_the_losses_of_an_epoch_are_is_said(tmp_path: Path) -> None:
    assert "the two cannot be compared" in text(with_choices(tmp_path / "1", None))
