"""The report for programs, and the files that it leaves in the run's folder.

``evaluation.json`` stands beside the program's own ``report.json``, which every list of runs reads and which
stays as it was written.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.records import read_object

from .files import PATCH
from .intervals import CONFIDENCE
from .ranking import MACRO

if TYPE_CHECKING:
    import pandas as pd

    from .evaluation import Report

PAGE, RECORD = "report.html", "evaluation.json"
SOURCES = ("predictions.csv", "report.json", "baselines.csv", "out_of_fold.csv", "validation.csv", "split.csv",
           "metrics.jsonl", "reproducibility.json", "run.json", "neighbours.csv", "learning_curve.csv")  # fmt: skip
FORMAT = 1
MOST = 1000  # rows of a list: predictions.csv has every image


def as_json(report: Report) -> str:
    """Return every figure; NaN, where a figure does not exist, is null."""
    interval = report.interval
    content: dict[str, Any] = {
        "format": FORMAT,
        "made_from": made_from(report),
        "run": report.run.get("handle"),
        "headline": report.headline,
        "summary": report.summary,
        "pictures": report.pictures,
        "right": report.right,
        "accuracy": report.accuracy,
        "interval": {
            **interval._asdict(),
            "confidence": CONFIDENCE,
            "method": "wilson, design effect" if report.grouped else "wilson",
            "groups": report.group_count,
        },
        "balanced_accuracy": report.balanced_accuracy,
        "balanced_interval": report.balanced_interval._asdict(),
        "classes": list(report.classes),
        "per_class": _rows(report.per_class.reset_index()),
        "too_few": _rows(report.too_few.reset_index()),
        "averages": _rows(report.averages.reset_index()),
        "top_k": _rows(report.top_k),
        "slices": _rows(report.slices),
        "areas": _rows(report.areas.reset_index()),
        "roc_macro": _macro(report.roc),
        "precision_recall_macro": _macro(report.precision_recall),
        "confusions": [vars(one) for one in report.confusions],
        "curves": _rows(report.curves),
        "mistakes": _rows(report.mistakes.head(MOST)),
        "calibration": {
            "ece": report.ece,
            "ece_before": report.ece_before,
            "ece_by_chance": dict(zip(("mean", "upper"), report.ece_by_chance, strict=True)),
            "log_loss": report.log_loss,
            "log_loss_before": report.log_loss_before,
            "temperature": report.record.get("temperature"),
            "bins": _rows(report.calibration),
        },
        "thresholds": _rows(report.thresholds),
        "recommended_threshold": report.recommended_threshold(),
        "choices_from": report.choices_from or None,
        "baselines": _rows(report.baselines),
        "lift": _rows(report.lift),
        "suspects": _rows(report.suspects.head(MOST)),
        "previous": _previous(report),
        "learning_curve": _rows(report.learning_curve),
        "more_images": report.more_images._asdict() if report.more_images else None,
        "more_images_of_a_class": {name: one._asdict() for name, one in report.more_images_of_a_class.items()},
        "variants": _rows(report.variants),
        "variant_choice": report.record.get("variant_choice"),
        "calibration_choice": report.record.get("calibration"),
        "recommended_variant": report.record.get("recommended_variant"),
        "verification": report.record.get("verification"),
        "leaked": report.leaked,
        "reproducibility": report.reproducibility or None,
        "next_steps": report.next_steps,
        "steps": [{"code": step.code, "gain": step.gain, "sentence": step.sentence} for step in report.steps],
    }
    return json.dumps(_plain(content), ensure_ascii=False, indent=1, allow_nan=False)


def write(report: Report) -> list[Path]:
    """Write page, record and suspects into the folder of a run that has ended; return those that are there.

    What was made from the same files is left as it is, and so is a list of suspects that is there already:
    somebody may be reviewing it.
    """
    folder = report.folder
    if folder is None or not report.ended:
        return []
    page, record, patch = folder / PAGE, folder / RECORD, folder / PATCH
    if not page.is_file() or (read_object(record) or {}).get("made_from") != made_from(report):
        report.to_html(page)
        report.to_json(record)  # the last: it says that the page is there
    if not patch.exists() and len(report.suspects):
        report.write_patch(patch)
    return [path for path in (page, record, patch) if path.exists()]


def made_from(report: Report) -> str:
    """Return a word for the files that the report is made from, and for what makes it."""
    from mb_jupyter import __version__

    told = [__version__, report.previous.name if report.previous is not None else ""]
    for path in (report.folder / name for name in SOURCES) if report.folder else ():
        facts = path.stat() if path.exists() else None
        told.append(f"{path.name} {facts.st_size} {facts.st_mtime_ns}" if facts else "")
    return hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _macro(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the mean curve; those of all classes are in the frame."""
    return _rows(curves[curves["Class"] == MACRO].drop(columns="Class"))


def _previous(report: Report) -> dict[str, Any] | None:
    if report.previous is None:
        return None
    pair = report.comparison(report.previous).pairs[0]
    return {
        "run": report.previous.name,
        **pair.test._asdict(),
        "equal": pair.equal,
        "changes": _rows(pair.changes),
        "flips": _rows(pair.flips.head(MOST)),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
