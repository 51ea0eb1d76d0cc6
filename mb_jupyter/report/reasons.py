"""What the training program records as a code, in words: the only place that knows both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Reason(NamedTuple):
    """Why a run has no epoch of fine-tuning, and what to do about it."""

    words: str
    advice: str


NOT_TUNED = {
    "recipe_features": Reason(
        "the recipe is features", "Train with `recipe: auto`: so far only the head was trained"
    ),
    "no_validation": Reason(
        "there are no validation images to show whether it helps",
        "Add images to validate with (more of each class, or a larger `validation_fraction`): without them nothing "
        "would show whether fine-tuning helps, so only the head was trained",
    ),
    "no_mistake": Reason(
        "the frozen features make no mistake on the validation images",
        "Train with `recipe: finetune`: fine-tuning was left out because the frozen features make no mistake on the "
        "validation images",
    ),
    "stop_asked": Reason(
        "the run was stopped", "Train again without a Stop: it came before an epoch of fine-tuning had ended"
    ),
    "no_time": Reason(
        "the time allowed is too short for an epoch",
        "Allow more time (max_minutes): it was too short for an epoch of fine-tuning",
    ),
}  # fmt: skip

# what runs of version 0.1.0 wrote down in the place of a code
OLD = {
    "the recipe is features": "recipe_features",
    "without validation pictures nothing would say whether it helps": "no_validation",
    "the frozen features make no mistake on the validation pictures": "no_mistake",
    "a stop was asked for": "stop_asked",
    "the time allowed is too short for an epoch": "no_time",
}


def not_tuned(record: Mapping[str, Any]) -> str:
    """Return the code in the record of a stage that was left out; nothing where there is none."""
    code = record.get("code") or OLD.get(str(record.get("reason") or ""), "")
    return str(code) if code in NOT_TUNED else ""
