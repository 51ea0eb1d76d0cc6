"""How long a run takes: its planned stages, their pace, and what is left. Numbers only: no clock and no file.

A stage is planned as an amount of work, ``units * each + fixed`` seconds on a machine like the one the constants were
measured on. Two things correct that: the paces that earlier runs of the same network on this machine left behind,
and the stages of this run that are over. Until one of the two is there, the seconds left are not known.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ALMOST = 0.99  # the most that is done of a run that has not ended
SURE = 0.7  # of the rest that must be known for the seconds left to be known
PRIOR = 3.0  # seconds of work that went as expected, assumed before there is any: a short stage proves little
FASTEST = 0.5  # of what was expected: a stage that took next to nothing was not done faster, but done before
MOSTLY = 0.5  # of a stage's seconds
ENOUGH = 2.0  # seconds of work, from which on this run's own pace is one


@dataclass(frozen=True)
class Stage:
    """A planned stage: ``seconds`` as planned; ``exact`` is one that was measured for this very run."""

    seconds: float
    uncounted: float = 0.0  # share of its seconds that its count of images does not show
    exact: bool = False
    known: bool = True
    most: bool = False  # it may end earlier


class Left(NamedTuple):
    """What is left of the run: ``known`` tells whether the seconds rest on something measured."""

    seconds: float
    known: bool
    most: bool


@dataclass
class Outlook:
    """The plan of one run, and how it goes. ``paces`` are earlier runs' factors over the plan, per stage."""

    paces: Mapping[str, Sequence[float]] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)  # this run's own factors, for later runs
    _stages: dict[str, Stage] = field(default_factory=dict)
    _now: str = ""
    _begun: set[str] = field(default_factory=set)
    _prepared: float = 0.0  # seconds of the stage before its work began
    _there: float = 0.0  # share of the stage that was done before
    _place: int = 0  # of the first stage that is still to come
    _taken: list[tuple[float, float, float | None]] = field(default_factory=list)  # seconds, planned, expected
    _fraction: float = 0.0

    @property
    def planned(self) -> list[str]:
        """The stages that the run has had and will have, in their order."""
        return [name for name, stage in self._stages.items() if stage.seconds > 0 or name in self._begun]

    def plan(self, name: str, units: float, each: float, fixed: float = 0.0) -> None:
        """Plan a stage, or plan it anew: so many units of so many seconds, and what it takes to begin."""
        seconds = max(0.0, units * each + fixed if units else 0.0)
        self._stages[name] = Stage(seconds, uncounted=min(1.0, fixed / seconds) if seconds else 0.0)

    def expect(self, name: str, seconds: float, *, known: bool = True, most: bool = False) -> None:
        """Plan what is still to come of a stage in seconds that were measured now."""
        self._stages[name] = Stage(max(0.0, seconds), exact=True, known=known, most=most)

    def begin(self, name: str) -> None:
        """Note which stage goes on; those planned before it are over."""
        self._now, self._prepared, self._there = name, 0.0, 0.0
        self._begun.add(name)
        if name in self._stages:
            self._place = list(self._stages).index(name) + 1

    def prepared(self, spent: float, share: float = 0.0) -> None:
        """Note that the stage's own work begins only now: what was made ready before says nothing of its pace.

        A ``share`` of it was there already.
        """
        self._prepared, self._there = spent, min(share, 1.0)

    def end(self, seconds: float, *, whole: bool = True) -> None:
        """Note how long the stage took; one that was cut short or did nothing teaches no pace."""
        stage, seconds = self._stages.get(self._now), seconds - self._prepared
        if stage is None or stage.exact or not whole or stage.seconds <= 0 or seconds <= 0:
            return
        past = self._remembered(self._now)
        self.found[self._now] = seconds / stage.seconds
        self._taken.append((seconds, stage.seconds, None if past is None else past * stage.seconds))

    def seconds_of(self, name: str) -> float:
        """Return the seconds that a stage is expected to take."""
        stage = self._stages.get(name)
        if stage is None:
            return 0.0
        return stage.seconds if stage.exact else stage.seconds * self._factor(name)

    def after(self, name: str) -> float:
        """Return the seconds expected of all stages that come after this one."""
        names = list(self._stages)
        return sum(map(self.seconds_of, names[names.index(name) + 1 :] if name in names else self._behind))

    def left(self, spent: float, share: float | None) -> Left:
        """Return what is left of the run, ``spent`` seconds into a stage of which a ``share`` is done."""
        here, parts = self._here(spent, share), []
        parts.append((here, (share is not None and share > 0) or self._is_known(self._now)))
        parts += [(self.seconds_of(name), self._is_known(name)) for name in self._behind]
        rest = sum(seconds for seconds, _ in parts)
        sure = sum(seconds for seconds, known in parts if known)
        unplanned = any(name in self._stages and not self._stages[name].known for name in (self._now, *self._behind))
        most = any(self._stages[name].most for name in (self._now, *self._behind) if name in self._stages)
        return Left(rest, bool(self._stages) and not unplanned and sure >= SURE * rest, most)

    def fraction(self, elapsed: float, rest: float) -> float | None:
        """Return the share of the run that is done; it never goes back."""
        if not self._stages:
            return None
        share = elapsed / (elapsed + rest) if elapsed + rest > 0 else 0.0
        self._fraction = max(self._fraction, min(share, ALMOST))
        return self._fraction

    def _here(self, spent: float, share: float | None) -> float:
        """Return what is left of the stage that goes on: by the plan at first, by its own pace more and more.

        Not where its count leaves out most of its work, such as timing a model: that count has no pace.
        """
        whole, spent = self.seconds_of(self._now), spent - self._prepared
        if share is None or share <= self._there:
            return max(0.0, whole - spent)
        share = (min(share, 1.0) - self._there) / (1 - self._there)
        own = spent * (1 - share) / share
        if self._now in self._stages and self._stages[self._now].uncounted > MOSTLY:
            return max(whole - spent, whole * (1 - share))
        trust = min(1.0, spent / ENOUGH, 2 * share)
        return trust * own + (1 - trust) * whole * (1 - share)

    @property
    def _behind(self) -> list[str]:
        return list(self._stages)[self._place :]

    def _is_known(self, name: str) -> bool:
        stage = self._stages.get(name)
        if stage is None or stage.exact:
            return stage is None or stage.known
        return self._remembered(name) is not None or sum(taken for taken, _, _ in self._taken) >= ENOUGH

    def _factor(self, name: str) -> float:
        """Return by how much a stage takes longer than planned: as it did before, and as this run goes now."""
        past = self._remembered(name)
        if past is None:
            pairs = [(taken, planned) for taken, planned, _ in self._taken]
            prior = PRIOR if not pairs else PRIOR / 3
        else:
            pairs = [(taken, expected) for taken, _, expected in self._taken if expected is not None]
            prior = PRIOR
        now = (sum(taken for taken, _ in pairs) + prior) / (sum(planned for _, planned in pairs) + prior)
        return max(FASTEST, now) * (past or 1.0)

    def _remembered(self, name: str) -> float | None:
        found = [pace for pace in self.paces.get(name, ()) if math.isfinite(pace) and pace > 0]
        return statistics.median(found) if found else None


def as_status(outlook: Outlook, elapsed: float, spent: float, share: float | None, limit: float) -> dict[str, Any]:
    """Return what ``status.json`` says of the rest; ``limit`` are the seconds left of the time allowed."""
    left = outlook.left(spent, share)
    # the limit ends the fine-tuning; what must come after it is done all the same
    seconds = min(left.seconds, max(0.0, limit, outlook.after("epoch")))
    fraction = outlook.fraction(elapsed, seconds)
    return {
        "fraction": None if fraction is None else round(fraction, 4),
        "eta_seconds": round(seconds, 1) if left.known and fraction is not None else None,
        "eta_at_most": left.most,
        "planned": outlook.planned,
    }
