"""Two runs or more on the test images that all of them held out: which is better, or whether that is noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import counted, percent
from mb_jupyter.errors import DataError

from .intervals import share
from .paired import FEWEST, Paired, joined, paired

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .evaluation import Report

# what is compared beside settings and versions: the words for it and its key in run.json, report.json and
# reproducibility.json
BEGUN_WITH = (("classes", "classes"), ("pictures", "counts"), ("data fingerprint", "fingerprint"),
              ("version of mb_jupyter", "mb_jupyter"), ("training program", "program"))  # fmt: skip
CAME_TO = (("network", "architecture"), ("best_phase", "best_phase"))
COMPUTED_BY = (("weights (SHA-256)", "weights_sha256"), ("engine of the features", "engine"))
FLIPS = ("ImageSource", "Label", "Before", "After")


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs compared in pairs: each of the others (``after``) with the first (``before``).

    Only images that both held out, with the same label, count: for an image that one of them learned
    from, its answer says nothing. Images are known by their content where the runs kept a split.
    """

    reports: tuple[Report, ...]

    def __post_init__(self) -> None:
        if len(self.reports) < 2:
            raise DataError("One run alone cannot be compared.", "Name two runs or more; %mb_runs lists them.")

    @property
    def before(self) -> Report:
        """The run that the others are compared with."""
        return self.reports[0]

    @property
    def after(self) -> Report:
        """The last of the others; of two runs the second."""
        return self.reports[-1]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every other run with the first."""
        return [Pair(self.before, other, number=len(self.reports) - 1) for other in self.reports[1:]]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a run: its accuracy on its own test images, with interval and counts."""
        import pandas as pd

        rows = [(r.name, r.accuracy, r.right, r.pictures, *r.interval) for r in self.reports]
        return pd.DataFrame(rows, columns=["Run", "Accuracy", "Right", "Pictures", "AccuracyLow", "AccuracyHigh"])

    @property
    def flips(self) -> pd.DataFrame:
        """The images that only one of ``before`` and ``after`` has right."""
        return self.pairs[-1].flips

    @property
    def changes(self) -> pd.DataFrame:
        """What differs in configuration and data between ``before`` and ``after``."""
        return self.pairs[-1].changes

    @property
    def test(self) -> Paired:
        """The paired test of ``before`` and ``after``."""
        return self.pairs[-1].test

    @property
    def equal(self) -> bool | None:
        """Whether the difference of ``before`` and ``after`` may be chance; None where no image compares them."""
        return self.pairs[-1].equal

    @property
    def summary(self) -> str:
        """What came out, a sentence for each pair."""
        return " ".join(pair.sentence for pair in self.pairs)

    @property
    def title(self) -> str:
        """The outcome in a few words."""
        if len(self.pairs) > 1:
            return f"{len(self.reports)} runs, each compared with {self.before.name}"
        return f"{self.after.name} beside {self.before.name}: {self.pairs[0].outcome}"

    def __repr__(self) -> str:
        return f"<Comparison: {self.summary}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from .page import comparison

        return comparison(self)._repr_mimebundle_()


@dataclass(frozen=True, repr=False)
class Pair:
    """Two runs on the test images that both have."""

    before: Report
    after: Report
    words: tuple[str, str] = ("", "")  # what to call them instead of their handles
    number: int = 1  # of comparisons made at once: so many chances to find a difference that is none

    @cached_property
    def joined(self) -> pd.DataFrame:
        """The common images: ImageSource, Label, Before, After (what each run answered)."""
        return self._common[list(FLIPS)]

    @cached_property
    def groups(self) -> np.ndarray[Any, Any]:
        """A number for each common image; images that one of the runs knows to belong together have the same."""
        return joined(*(self._common[f"Group_{which}"].to_numpy(str) for which in ("before", "after")))

    @cached_property
    def _common(self) -> pd.DataFrame:
        columns = {"Prediction_before": "Before", "Prediction_after": "After", "Label_after": "Label"}
        both = self._merged.rename(columns={**columns, "ImageSource_after": "ImageSource"})
        return both[both["Label_before"] == both["Label"]].reset_index(drop=True)

    @cached_property
    def _merged(self) -> pd.DataFrame:
        frames = [report.identified for report in (self.before, self.after)]
        if not all(report.has_hashes for report in (self.before, self.after)):
            frames = [frame.assign(Key=frame["ImageSource"]) for frame in frames]
        unique = [frame.drop_duplicates("Key") for frame in frames]
        return unique[0].merge(unique[1], on="Key", suffixes=("_before", "_after"))

    @property
    def relabelled(self) -> int:
        """How many common images have another label now, and so are left out."""
        return len(self._merged) - len(self.joined)

    @cached_property
    def test(self) -> Paired:
        """The exact test on the common images, by group, after Bonferroni for several comparisons at once."""
        found = paired(*self._right, self.groups)
        return found._replace(p_value=min(1.0, found.p_value * self.number))

    @property
    def _right(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        both = self.joined
        before, after = ((both[which] == both["Label"]).to_numpy() for which in ("Before", "After"))
        return before, after

    @property
    def equal(self) -> bool | None:
        """Whether the difference may be chance; None where no image compares the two, or they are one."""
        return not self.test.differ if self.test.pictures and not self.same else None

    @property
    def flips(self) -> pd.DataFrame:
        """The images that only one of the two has right."""
        both = self.joined
        return both[(both["Before"] == both["Label"]) != (both["After"] == both["Label"])].reset_index(drop=True)

    @cached_property
    def changes(self) -> pd.DataFrame:
        """What differs in configuration and data."""
        import pandas as pd

        return pd.DataFrame(list(_changes(self.before, self.after)), columns=["What", "Before", "After"])

    @property
    def same(self) -> bool:
        """Whether both are one and the same run."""
        folders = [report.folder.absolute() if report.folder else None for report in (self.before, self.after)]
        return self.before is self.after or (folders[0] is not None and folders[0] == folders[1])

    @property
    def sentence(self) -> str:
        """The outcome with its counts; two runs whose difference may be chance are said to be equal."""
        before, after, test = self.words[0] or self.before.short, self.words[1] or self.after.short, self.test
        if self.same:
            return f"{self.after.name} was compared with itself: both are the same run. Name two different runs."
        if not test.pictures:
            return f"{after} and {before} have no test image in common, so nothing compares them."
        chance = test.chance + (f", times {self.number} for as many comparisons" if self.number > 1 else "")
        counts = f"{self._left_out()}{self._counts(before, after)}."
        if not test.differ:
            return f"{after} and {before} are equal as far as these images can tell ({chance}). {counts}"
        return f"{after} is {self.outcome} than {before} ({chance}). {counts}"

    def _counts(self, before: str, after: str) -> str:
        test, (first, second) = self.test, self._right
        shares = " and ".join(
            f"{name} has {int(right.sum()):,} right ({percent(float(right.mean()))}, interval {self._ends(right)})"
            for name, right in ((after, second), (before, first))
        )
        alone = f"{test.second_only:,} only {after}, {test.first_only:,} only {before}"
        if not test.first_only + test.second_only:
            alone = "the same ones"
        elif test.too_few:
            kind = "groups" if test.grouped else "images"
            alone += f"; fewer than {FEWEST} such {kind} never tell two runs apart"
        where = f" (in {counted(test.groups, 'group')})" if test.grouped else ""
        return f"Of the {counted(test.pictures, 'test image')}{where} that both have, {shares}; {alone}"

    def _ends(self, right: np.ndarray[Any, Any]) -> str:
        low, high = share(right, self.groups)
        return f"{low * 100:.1f} to {high * 100:.1f} %"

    @property
    def outcome(self) -> str:
        """``better``, ``worse`` or ``equal within noise``; of one run twice, that it is the same."""
        if self.same:
            return "the same run"
        if not self.test.pictures:
            return "nothing in common"
        if not self.test.differ:
            return "equal within noise"
        return "better" if self.test.second_only > self.test.first_only else "worse"

    def _left_out(self) -> str:
        if not self.relabelled:
            return ""
        return f"{counted(self.relabelled, 'image was', 'images were')} given another label in between and left out. "


def compare_reports(reports: Sequence[Report]) -> Comparison:
    """Compare reports, each with the first."""
    return Comparison(tuple(reports))


def _changes(before: Report, after: Report) -> Iterator[tuple[str, str, str]]:
    """Yield what differs: settings, classes, images, network, versions."""
    for key in sorted({*before.config, *after.config} - {"experiment"}):
        was, now = before.config.get(key), after.config.get(key)
        if was != now:
            yield key, _said(was), _said(now)
    kinds = ((BEGUN_WITH, "run"), (CAME_TO, "record"), (COMPUTED_BY, "reproducibility"))
    for names, kind in kinds:
        for name, key in names:
            was, now = (getattr(report, kind).get(key) for report in (before, after))
            if was != now:
                yield name, _said(was), _said(now)
    was, now = (report.reproducibility.get("versions", {}) for report in (before, after))
    for package in sorted({*was, *now}):
        if was.get(package) != now.get(package):
            yield f"version of {package}", _said(was.get(package)), _said(now.get(package))


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value[:5]))}{' ...' if len(value) > 5 else ''}"
    return str(value)
