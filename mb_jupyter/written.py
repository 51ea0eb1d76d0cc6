"""What ``predict_to`` and ``%mb_predict --to`` have done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .display import Shown, card, duration, escape
from .prediction import summarise
from .seen import notes


@dataclass(frozen=True)
class Written:
    """What ``predict_to`` has done: the file, how often each class was answered, the pictures without answer."""

    path: Path
    counts: Counter[str]
    failed: int
    seconds: float
    unsure: int = 0
    run: str = ""  # which run's model answered, in words
    seen: Mapping[str, int] = field(default_factory=dict)  # part of the run's data -> how many of the images were in it
    kept: str = ""  # what was kept from an earlier call, in words

    @property
    def pictures(self) -> int:
        """How many rows the file has."""
        return sum(self.counts.values()) + self.failed

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rate = f"{self.pictures / max(self.seconds, 1e-9):,.0f} a second"
        said = summarise(self.counts, self.failed, self.unsure)
        said += f" Written to {self.path} in {duration(self.seconds)}, {rate}."
        lines = [self.kept] if self.kept else []
        lines += notes(self.run, Counter(self.seen).elements())
        lines += ["The column Error of the file says why."] if self.failed else []
        page = "".join(f"<div>{escape(line)}</div>" for line in lines)
        return Shown("\n".join([said, *lines]), card(said, page))._repr_mimebundle_()
