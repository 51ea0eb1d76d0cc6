"""What to do next, ranked by what it may gain: rules that follow from the figures, each with its count."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .evaluation import Report


def next_steps(report: Report) -> list[str]:
    """Return sentences, the largest expected gain first."""
    return [f"Look at the {len(report.mistakes):,} mistakes: report.mistakes."] if len(report.mistakes) else []
