"""The table of the epochs in the view of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .display import details, escape, percent, table, text_table

ROWS = 12  # the others fold
FIGURES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
# the validation loss is taken at the temperature that fits the validation images best; the training loss is not
COLUMNS = ("Epoch", "Train loss", "Train accuracy", "Calibrated validation loss", "Validation accuracy", "Seconds", "")


def epoch_table(epochs: Sequence[Mapping[str, Any]], ended: bool) -> tuple[str, str]:
    """Return the epochs as text and as HTML: the last ones, and of a run that has ended all of them folded."""
    if not epochs:
        return "", ""
    best = max((number for number, r in enumerate(epochs) if r.get("best")), default=-1)
    word = "best" if ended else "best so far"
    rows = [
        (
            "features" if r.get("phase") == "features" else r.get("epoch"),
            *(_figure(key, r.get(key)) for key in FIGURES),
            f"{r.get('seconds') or 0:.1f}",
            word if number == best else "",
        )
        for number, r in enumerate(epochs)
    ]  # fmt: skip
    shown = rows[-ROWS:]
    text, page = text_table(COLUMNS, shown, right=range(1, 6)), table(COLUMNS, shown, right=range(1, 6))
    if len(rows) > len(shown):
        left_out = f"({len(rows) - len(shown)} earlier epochs: run.metrics)"
        text += f"\n{left_out}"
        whole = details("every epoch", table(COLUMNS, rows, right=range(1, 6)))
        page += whole if ended else f'<div style="opacity:.7">{escape(left_out)}</div>'
    return text, page


def _figure(key: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return percent(value) if key.endswith("accuracy") else f"{value:.4f}"
