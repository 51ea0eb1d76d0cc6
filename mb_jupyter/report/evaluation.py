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

from . import files, statistics
from .comparison import Comparison, compare_reports
from .statistics import BINS, THRESHOLDS, Confusion, Interval
from .suspects import COLUMNS, find_suspects, write_patch

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TARGET = 0.95  # precision that a recommended threshold is to give


@dataclass(frozen=True, repr=False)
class Report(files.InFolder):
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
        record = files.read_record(folder / "report.json")
        return cls.from_frame(files.read_predictions(folder / "predictions.csv"), record, folder)

    # -- the whole ---------------------------------------------------------------------------------------

    @property
    def pictures(self) -> int:
        """How many held-out pictures there are."""
        return len(self.frame)

    @cached_property
    def right(self) -> int:
        """How many of them the model has right."""
        return int((self.frame["Label"] == self.frame["Prediction"]).sum())

    @property
    def accuracy(self) -> float:
        """The share of pictures that the model has right."""
        return self.right / self.pictures

    @cached_property
    def interval(self) -> Interval:
        """The 95 % confidence interval of the accuracy, after Wilson."""
        return statistics.wilson(self.right, self.pictures)

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

    # -- classes and mistakes ----------------------------------------------------------------------------

    @cached_property
    def true(self) -> np.ndarray[Any, Any]:
        """The true class of every picture, by number."""
        return self._codes("Label")

    @cached_property
    def given(self) -> np.ndarray[Any, Any]:
        """The class that was answered, by number."""
        return self._codes("Prediction")

    def _codes(self, column: str) -> np.ndarray[Any, Any]:
        import pandas as pd

        return pd.Categorical(self.frame[column], categories=list(self.classes)).codes.astype(int)

    @cached_property
    def scores(self) -> np.ndarray[Any, Any]:
        """One row a picture, one column a class."""
        return self.frame[[f"{files.SCORE}{name}" for name in self.classes]].to_numpy(float)

    @cached_property
    def confidence(self) -> np.ndarray[Any, Any]:
        """The score of the class that was answered."""
        import numpy as np

        found: np.ndarray[Any, Any] = self.scores[np.arange(self.pictures), self.given]
        return found

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Support, precision, recall with its 95 % interval, F1 and average precision of every class.

        NaN where a figure does not exist: recall and F1 of a class without held-out pictures, precision of a
        class that was never answered. ``Right`` and ``Answered`` are the counts behind the shares.
        """
        return statistics.per_class(self.true, self.given, self.scores, self.classes)

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """How many pictures of each true class (rows) were given each class (columns)."""
        import pandas as pd
        from sklearn.metrics import confusion_matrix

        counts = confusion_matrix(self.true, self.given, labels=range(len(self.classes)))
        index, columns = pd.Index(self.classes, name="Label"), pd.Index(self.classes, name="Prediction")
        return pd.DataFrame(counts, index=index, columns=columns)

    @cached_property
    def confusions(self) -> list[Confusion]:
        """Every pair of classes that was mixed up, the most frequent first."""
        counts = self.confusion.to_numpy()
        support = counts.sum(axis=1)
        pairs = [
            Confusion(self.classes[i], self.classes[j], int(counts[i, j]), int(support[i]))
            for i, j in zip(*counts.nonzero(), strict=True)
            if i != j
        ]
        return sorted(pairs, key=lambda pair: (-pair.count, -pair.count / pair.support))

    @cached_property
    def answers(self) -> pd.DataFrame:
        """Every held-out picture: ImageSource, Label, Prediction, Score, LabelScore (of the true class)."""
        import numpy as np

        own = self.scores[np.arange(self.pictures), self.true]
        return self.frame[["ImageSource", "Label", "Prediction"]].assign(Score=self.confidence, LabelScore=own)

    @cached_property
    def mistakes(self) -> pd.DataFrame:
        """The wrong answers, the surest first."""
        wrong = self.answers[self.true != self.given]
        return wrong.sort_values(["Score", "LabelScore"], ascending=[False, True], kind="stable", ignore_index=True)

    def pictures_in(self, true: str, predicted: str) -> pd.DataFrame:
        """Return the pictures in one cell of the confusion matrix, the surest answers first."""
        answers = self.answers
        cell = answers[(answers["Label"] == true) & (answers["Prediction"] == predicted)]
        return cell.sort_values("Score", ascending=False, kind="stable", ignore_index=True)

    # -- how far its scores can be trusted ---------------------------------------------------------------

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Bins of the score with the share that is right in each: a reliability diagram as a table."""
        return statistics.reliability(self.confidence, self.true == self.given, BINS)

    @cached_property
    def scores_before(self) -> np.ndarray[Any, Any] | None:
        """The scores before the temperature was set; None when it is not known."""
        heat = self.record.get("temperature")
        return statistics.heated(self.scores, heat) if files.is_figure(heat) and heat > 0 else None

    @cached_property
    def calibration_before(self) -> pd.DataFrame | None:
        """The reliability diagram before the temperature was set; None when it is not known."""
        if self.scores_before is None:
            return None
        confidence = self.scores_before[range(self.pictures), self.given]
        return statistics.reliability(confidence, self.true == self.given, BINS)

    @property
    def ece(self) -> float:
        """The expected calibration error, over 15 equal bins of the score."""
        return statistics.calibration_error(self.calibration)

    @property
    def ece_before(self) -> float | None:
        """The same before the temperature was set; None when it is not known."""
        before = self.calibration_before
        return None if before is None else statistics.calibration_error(before)

    @cached_property
    def ece_by_chance(self) -> tuple[float, float]:
        """The mean, and the end of 95 %, of the error that chance alone makes of scores without fault."""
        return statistics.calibration_error_by_chance(self.confidence)

    @property
    def log_loss(self) -> float:
        """The mean of -ln of the true class's score: what a temperature makes small, and less of a lottery than ECE."""
        return statistics.log_loss(self.scores, self.true)

    @property
    def log_loss_before(self) -> float | None:
        """The same before the temperature was set; None when it is not known."""
        return None if self.scores_before is None else statistics.log_loss(self.scores_before, self.true)

    @cached_property
    def thresholds(self) -> pd.DataFrame:
        """What remains, and how right it is, when answers with a score below a threshold are ``unsure``."""
        return statistics.at_thresholds(self.confidence, self.true == self.given, THRESHOLDS)

    def at(self, threshold: float) -> pd.DataFrame:
        """Return the figures of every class when answers below ``threshold`` are ``unsure``.

        Answered counts the answers that name the class; its unsure pictures count as not found in Recall.
        """
        import numpy as np
        import pandas as pd

        sure, number = self.confidence >= threshold, len(self.classes)
        support = np.bincount(self.true, minlength=number)
        answered = np.bincount(self.given[sure], minlength=number)
        right = np.bincount(self.true[sure & (self.true == self.given)], minlength=number)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as in per_class
            columns = {"Support": support, "Answered": answered, "Precision": right / answered}
            return pd.DataFrame({**columns, "Recall": right / support, "Right": right}, index=self.per_class.index)

    def recommended_threshold(self, precision: float = TARGET) -> float | None:
        """Return the lowest threshold above which that share of the answers is right; None if there is none."""
        return statistics.lowest_threshold(self.confidence, self.true == self.given, precision)

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
        for folder in files.evaluated_before(self.folder):
            try:
                return Report.from_run(folder)
            except DataError:  # a damaged one, or one without test images
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
