"""The report for programs: one JSON text."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from .evaluation import Report

FORMAT = 1
MOST = 1000  # rows of a list: predictions.csv has every picture


def as_json(report: Report) -> str:
    """Return every figure; NaN, where a figure does not exist, is null."""
    interval = report.interval
    content: dict[str, Any] = {
        "format": FORMAT,
        "run": report.run.get("handle"),
        "summary": report.summary,
        "pictures": report.pictures,
        "right": report.right,
        "accuracy": report.accuracy,
        "interval": {"low": interval.low, "high": interval.high, "confidence": 0.95, "method": "wilson"},
        "classes": list(report.classes),
        "per_class": _rows(report.per_class.reset_index()),
        "confusions": [vars(one) for one in report.confusions],
        "mistakes": _rows(report.mistakes.head(MOST)),
        "calibration": {
            "ece": report.ece,
            "ece_before": report.ece_before,
            "temperature": report.record.get("temperature"),
            "bins": _rows(report.calibration),
        },
        "thresholds": _rows(report.thresholds),
        "recommended_threshold": report.recommended_threshold(),
        "baselines": _rows(report.baselines),
        "suspects": None if report.out_of_fold is None else _rows(report.suspects.head(MOST)),
        "next_steps": report.next_steps,
    }
    return json.dumps(_plain(content), ensure_ascii=False, indent=1, allow_nan=False)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
