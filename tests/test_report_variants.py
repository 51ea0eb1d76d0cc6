"""Why a variant of the model is recommended, as the report says it; runs of the first version said it otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from mb_jupyter import Report
from tests.test_report_figures import ROWS, table

CHOICE = {"code": "int8", "images": 30, "source": "validation", "speed": 1.45, "speed_low": 1.44, "speed_high": 1.46,
          "turns": 40, "needed_speed": 1.2, "allowed_fall": 0.02, "lost": 0, "gained": 0, "fall": 0.003,
          "fall_low": -0.001, "fall_high": 0.007}  # fmt: skip
FLOAT32 = {"name": "float32", "file": "bestModel.onnx", "bytes": 13_500_000, "right": 8, "pictures": 10,
           "ms_first": 20.0, "ms_per_picture": 5.0, "agreement": 1.0, "lost": 0, "gained": 0}  # fmt: skip
INT8 = {**FLOAT32, "name": "int8", "file": "bestModel-int8.onnx", "right": 7, "lost": 2, "gained": 1}


def text(**record: Any) -> str:
    return Report.from_frame(table(ROWS), record)._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            "Recommended: int8 (bestModel-int8.onnx). int8 is faster, and the scores of the true class fall by",
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
    assert "Of 10 test images, which were not used for this choice, int8 answers 2 wrongly" in shown
    assert "timed in turns, 40 times" in shown


def test_what_an_old_run_wrote_is_given_as_it_is() -> None:
    old = {"variants": [FLOAT32], "recommended_variant": "float32", "recommendation": "It was said so."}
    assert "Recommended: float32 (bestModel.onnx). It was said so." in text(**old)
