"""How far the scores can be trusted: calibration, and what is gained by leaving unsure answers out."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import files, ranking, statistics
from .figures import Figures
from .statistics import BINS, THRESHOLDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SAME = 1e-9  # of temperatures
TARGET = 0.95  # precision that a recommended threshold is to give


class Confidence(Figures):
    """The figures of a report that need the height of the scores."""

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Bins of the score with the share that is right in each: a reliability diagram as a table."""
        return statistics.reliability(self.confidence, self.true == self.given, self.groups, BINS)

    @cached_property
    def scores_before(self) -> np.ndarray[Any, Any] | None:
        """The scores before the temperature was set; None when it is not known."""
        heat = self.record.get("temperature")
        return statistics.heated(self.scores, heat) if files.is_figure(heat) and heat > 0 else None

    @property
    def is_calibrated(self) -> bool:
        """Whether a temperature has changed the scores."""
        return self.scores_before is not None and abs(float(self.record["temperature"]) - 1) > SAME

    @property
    def calibration_hurts(self) -> bool:
        """Whether the scores of the test images were better without the temperature, by their log loss."""
        before = self.log_loss_before
        return self.is_calibrated and before is not None and self.log_loss > before

    @cached_property
    def calibration_before(self) -> pd.DataFrame | None:
        """The reliability diagram before the temperature was set; None when it is not known."""
        if self.scores_before is None:
            return None
        confidence = self.scores_before[range(self.pictures), self.given]
        return statistics.reliability(confidence, self.true == self.given, self.groups, BINS)

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
        return statistics.calibration_error_by_chance(self.confidence, self.groups)

    @property
    def is_miscalibrated(self) -> bool:
        """Whether the calibration error is more than chance explains, and large enough to matter."""
        return self.ece > max(self.ece_by_chance[1], statistics.NEGLIGIBLE)

    @property
    def log_loss(self) -> float:
        """The mean of -ln of the true class's score: what a temperature makes small, and less of a lottery than ECE."""
        return statistics.log_loss(self.scores, self.true)

    @property
    def log_loss_before(self) -> float | None:
        """The same before the temperature was set; None when it is not known."""
        return None if self.scores_before is None else statistics.log_loss(self.scores_before, self.true)

    @cached_property
    def roc(self) -> pd.DataFrame:
        """The ROC curve of every class against the rest, and their mean (``macro``), at 101 false positive rates."""
        return ranking.roc(self.scores, self.true, self.classes)

    @cached_property
    def precision_recall(self) -> pd.DataFrame:
        """The precision-recall curve of every class against the rest, and their mean, at 101 recalls."""
        return ranking.precision_recall(self.scores, self.true, self.classes)

    @cached_property
    def areas(self) -> pd.DataFrame:
        """The areas under both curves of every class, ``AUC`` and ``AP``, the weakest first; NaN without a curve."""
        frame = self.per_class[["Support", "AP"]].assign(AUC=ranking.auc(self.scores, self.true))
        return frame[["Support", "AUC", "AP"]].sort_values(["AUC", "AP"], kind="stable")

    @cached_property
    def thresholds(self) -> pd.DataFrame:
        """What remains, and how right it is, when answers with a score below a threshold are ``unsure``."""
        return statistics.at_thresholds(self.confidence, self.true == self.given, self.groups, THRESHOLDS)

    def at(self, threshold: float) -> pd.DataFrame:
        """Return the figures of every class when answers below ``threshold`` are ``unsure``.

        Answered counts the answers that name the class; its unsure images count as not found in Recall.
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

    @cached_property
    def choice_frame(self) -> pd.DataFrame | None:
        """The scores on which the run's choices are made: training and validation images, by models that never saw
        them. None where the run kept none (version 0.1.0), or where they are of other classes.
        """
        name = self.choices_from
        frame = self.predictions_in(name) if name else None
        columns = [f"{files.SCORE}{label}" for label in self.classes]
        if frame is None or frame.empty or not {"Label", *columns} <= {*frame.columns}:
            return None
        return frame[frame["Label"].isin(set(self.classes))].reset_index(drop=True)

    @property
    def choices_from(self) -> str:
        """The file in the run's folder with these scores; empty where the run does not say."""
        told = str(self.record.get("choices_from") or "")
        return told if told in files.CHOICES else ""

    def recommended_threshold(self, precision: float = TARGET) -> float | None:
        """Return the lowest threshold above which that share of the answers is right; None if there is none.

        Chosen on ``choice_frame``, so that the test images can say what it does; in a run that has none, on the test
        images themselves.
        """
        return statistics.lowest_threshold(*self._choosing, precision)

    @cached_property
    def _choosing(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Score of the answer, and whether it is right, of the images on which a threshold is chosen."""
        import numpy as np

        frame = self.choice_frame
        if frame is None:
            return self.confidence, self.true == self.given
        scores = frame[[f"{files.SCORE}{name}" for name in self.classes]].to_numpy(float)
        answers = np.array(self.classes, dtype=object)[scores.argmax(axis=1)]
        return scores.max(axis=1), (frame["Label"] == answers).to_numpy()
