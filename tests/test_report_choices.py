"""What was chosen without the test images, as the report says it; runs of the first version said it otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from mb_jupyter import Report
from mb_jupyter.report import choices
from tests.test_report_figures import ROWS, table

KEPT = {"kept": True, "temperature": 1.5, "source": "out_of_fold.csv", "images": 160, "log_loss_before": 0.25,
        "log_loss_after": 0.2}  # fmt: skip
CHOICE = {"code": "int8", "images": 30, "source": "validation", "speed": 1.45, "speed_low": 1.44, "speed_high": 1.46,
          "turns": 40, "needed_speed": 1.2, "allowed_fall": 0.02, "lost": 0, "gained": 0, "fall": 0.003,
          "fall_low": -0.001, "fall_high": 0.007}  # fmt: skip
FLOAT32 = {"name": "float32", "file": "bestModel.onnx", "bytes": 13_500_000, "right": 8, "pictures": 10,
           "ms_first": 20.0, "ms_per_picture": 5.0, "agreement": 1.0, "lost": 0, "gained": 0}  # fmt: skip
INT8 = {**FLOAT32, "name": "int8", "file": "bestModel-int8.onnx", "right": 7, "lost": 2, "gained": 1}


def text(**record: Any) -> str:
    return Report.from_frame(table(ROWS), record)._repr_mimebundle_()["text/plain"]


def test_the_report_says_whether_calibration_was_kept() -> None:
    kept = text(temperature=1.5, calibration=KEPT)
    assert "Calibration was kept: on 160 training and validation images" in kept
    assert "went from 0.2500 to 0.2000" in kept and "before calibration" in kept
    harmful = {**KEPT, "kept": False, "temperature": 1.0, "log_loss_after": 0.3}
    left = text(temperature=1.0, calibration=harmful)
    assert "Calibration was not kept" in left and "would have gone from 0.2500 to 0.3000" in left
    assert "before calibration" not in left  # there is nothing before it
    none = {**KEPT, "kept": False, "images": 0, "log_loss_before": None, "log_loss_after": None}
    assert "no images to set a temperature with" in text(temperature=1.0, calibration=none)
    assert "Calibration was" not in text(temperature=1.5)  # a run of 0.1.0


def test_a_fine_tuned_models_calibration_is_said_of_validation_images() -> None:
    said = choices.calibration({"calibration": {**KEPT, "source": "validation.csv", "images": 1}})
    assert "on 1 validation image, with a temperature set on others" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            "Recommended: int8 (bestModel-int8.onnx). int8 is faster, and the scores of the true class fall by at most 2",
        ),
        ({"code": "loses"}, "may fall by more than 2 points"),
        ({"code": "not_faster", "speed": 1.05, "speed_low": 0.9}, "not shown to be at least 1.2 times as fast"),
        ({"code": "not_faster", "speed": 1.05, "speed_low": 0.9}, "the difference is within the noise"),
        ({"code": "too_few", "images": 7, "fall": None}, "7 validation images cannot show what int8 loses"),
    ],
)
def test_the_choice_of_a_variant(changed: dict[str, Any], said: str) -> None:
    choice = {**CHOICE, **changed}
    name = "int8" if choice["code"] == "int8" else "float32"
    shown = text(variants=[FLOAT32, INT8], recommended_variant=name, variant_choice=choice)
    assert said in shown and f"Recommended: {name}" in shown
    assert "Of 10 test images, which took no part in this choice, int8 answers 2 wrongly" in shown
    assert "timed in turns, 40 times" in shown


def test_what_an_old_run_wrote_is_given_as_it_is() -> None:
    old = {"variants": [FLOAT32], "recommended_variant": "float32", "recommendation": "It was said so."}
    assert "Recommended: float32 (bestModel.onnx). It was said so." in text(**old)
