"""What the held-out pictures say about a model: how often it is right, where it is wrong, how sure one may be.

Everything here is counted on pictures that training never saw, and read from the files of the run, so that
the same report can be made again at any time, by anybody. Each figure is made when it is first asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import counted, elide, percent
from mb_jupyter.errors import DataError, WorkspaceError
from mb_jupyter.records import REPORT, read_fields

from . import files, statistics
from .comparison import Comparison, compare_reports
from .confidence import Confidence
from .suspects import COLUMNS, find_suspects, write_patch

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Report(Confidence):
    """The evaluation of a model on its held-out pictures.

    ``frame`` has the columns ``ImageSource, Label, Prediction`` and ``Score.<class>`` for every class;
    ``record`` is the run's ``report.json``, empty where there is none; ``folder`` is the run's, where the other
    files are. What a missing file would tell is absent: an empty table or None.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    record: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, record: dict[str, Any] | None = None, folder: Path | None = None
    ) -> Report:
        """Return the report on predictions; of a table with a column ``Split`` only the rows of ``test`` count.

        Raises ``DataError`` when columns are missing, a class is unknown, or no picture is left.
        """
        frame, classes = files.checked(frame)
        return cls(frame, classes, dict(record or {}), folder)

    @classmethod
    def from_csv(cls, path: str | Path, record: dict[str, Any] | None = None) -> Report:
        """Return the report on a ``predictions.csv``; raises ``DataError`` for a file that is none."""
        return cls.from_frame(files.read_predictions(path), record)

    @classmethod
    def from_run(cls, folder: str | Path) -> Report:
        """Return the report on the run in ``folder``; raises ``WorkspaceError`` before it has predictions."""
        folder = Path(folder)
        if not (folder / "predictions.csv").is_file():
            raise WorkspaceError(
                f"{folder} has no predictions.csv: its training has not come as far as the evaluation.",
                "Wait until it ends (%mb_attach), or see why it failed (%mb_why).",
            )
        record = read_fields(folder, REPORT)
        return cls.from_frame(files.read_predictions(folder / "predictions.csv"), record, folder)

    # -- the whole ---------------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """The accuracy in one sentence."""
        low, high = (f"{end * 100:.1f}" for end in self.interval)
        return (
            f"Accuracy {percent(self.accuracy)} on held-out pictures: {self.right:,} of {self.pictures:,} are right "
            f"(95 % interval {low} to {high} %)."
        )

    @property
    def summary(self) -> str:
        """The report in one sentence: accuracy, interval, pictures, classes, and the weakest class."""
        low, high = (f"{end * 100:.1f}" for end in self.interval)
        are = "is" if self.right == 1 else "are"
        return (
            f"Accuracy {percent(self.accuracy)} (95 % interval {low} to {high} %): {self.right:,} of "
            f"{counted(self.pictures, 'held-out picture')} of {counted(len(self.classes), 'class', 'classes')} {are} "
            f"right{self._weakest()}."
        )

    def _weakest(self) -> str:
        worst = self.per_class.sort_values(["F1", "Recall"], kind="stable").iloc[0]
        if self.right == self.pictures or math.isnan(worst["F1"]):
            return ""
        which = "one of the weakest classes" if (self.per_class["F1"] == worst["F1"]).sum() > 1 else "the weakest class"
        right, support, answered = (int(worst[name]) for name in ("Right", "Support", "Answered"))
        precision = f"{right:,} of {counted(answered, 'answer')} right" if answered else "never answered"
        found = f"{right:,} of {support:,} found, {precision}"
        return f"; {which} is {elide(str(worst.name), 40)} ({found}, F1 {worst['F1']:.2f})"

    # -- labels ------------------------------------------------------------------------------------------

    @cached_property
    def suspects(self) -> pd.DataFrame:
        """Training and validation pictures whose label looks wrong to heads that never saw them."""
        import pandas as pd

        frame = self.out_of_fold
        return pd.DataFrame(columns=list(COLUMNS)) if frame is None else find_suspects(frame, self.classes)

    # -- beside others -----------------------------------------------------------------------------------

    @cached_property
    def frozen_features(self) -> Report | None:
        """The report on the frozen-features model on the same pictures; None without ``baselines.csv``."""
        if self.same_file("baselines.csv", "predictions.csv"):
            return self
        frame = self.predictions_in("baselines.csv")
        try:
            return None if frame is None else Report.from_frame(frame)
        except DataError:
            return None

    @cached_property
    def majority(self) -> tuple[str, int]:
        """The most frequent class of the training pictures, and how many held-out ones it has right."""
        split = self.split
        labels = self.frame["Label"] if split is None else split["Label"][split["Split"] == "train"]
        counts = (labels if len(labels) else self.frame["Label"]).value_counts()
        name = min(counts.index[counts == counts.max()])
        return str(name), int((self.frame["Label"] == name).sum())

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """This model beside the frozen features and beside always answering the most frequent class."""
        import pandas as pd

        name, hits = self.majority
        rows = [("this model", self.right, self.pictures)]
        if self.frozen_features is not None:
            rows.append(("frozen features", self.frozen_features.right, self.frozen_features.pictures))
        rows.append((f"always {name}", hits, self.pictures))
        shares = [
            (model, right, number, right / number, *statistics.wilson(right, number)) for model, right, number in rows
        ]
        return pd.DataFrame(shares, columns=["Model", "Right", "Pictures", "Accuracy", "AccuracyLow", "AccuracyHigh"])

    def comparison(self, other: Report) -> Comparison:
        """Compare with another run, usually an earlier one, on the pictures that both held out."""
        return compare_reports((other, self))

    @cached_property
    def previous(self) -> Report | None:
        """The report on the run before this one in its experiment that was evaluated; None without."""
        if self.folder is None:
            return None
        for folder in sorted(self.folder.parent.glob("*/predictions.csv"), reverse=True):
            if folder.parent.name < self.folder.name and (folder.parent / "run.json").is_file():
                try:
                    return Report.from_run(folder.parent)
                except DataError:  # a damaged one, or one without held-out pictures
                    continue
        return None

    @cached_property
    def next_steps(self) -> list[str]:
        """What to do next, the largest expected gain first."""
        from .next_steps import next_steps

        return next_steps(self)

    # -- how it is shown and kept ------------------------------------------------------------------------

    @cached_property
    def thumbnails(self) -> dict[str, bytes]:
        """The small pictures made so far, by ImageSource; empty for one that could not be opened."""
        return {}

    def drawn(self, name: str, draw: Callable[[], bytes]) -> bytes:
        """Return a plot, drawn once for the notebook and the page."""
        if name not in self._plots:
            self._plots[name] = draw()
        return self._plots[name]

    @cached_property
    def _plots(self) -> dict[str, bytes]:
        return {}

    def __repr__(self) -> str:
        return f"<Report: {self.summary}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from .page import shown

        return shown(self)._repr_mimebundle_()

    def to_html(self, path: str | Path) -> Path:
        """Write the whole report as one page that needs nothing else; return its path."""
        from .page import document

        return files.replace(Path(path), document(self))

    def to_json(self, path: str | Path) -> Path:
        """Write every figure of the report for programs; return its path."""
        from .record import as_json

        return files.replace(Path(path), as_json(self))

    def write(self) -> list[Path]:
        """Write report.html, evaluation.json and labels.patch.csv into the folder of a run that has ended.

        Showing the report does it too. Returns the files; what is up to date is not written again.
        """
        from .record import write

        return write(self)

    def write_patch(self, path: str | Path, accept: Iterable[str] = ()) -> Path:
        """Write the suspect labels for review, for a training with ``labels: PATH``; return its path.

        ``NewLabel`` is empty, and an empty one changes nothing: fill in what is right. ``accept`` names the
        pictures (ImageSource) whose suggestion is to stand there already. Corrections that this run was trained
        with are in it too.
        """
        return write_patch(Path(path), self.suspects, accept, self.corrections)
