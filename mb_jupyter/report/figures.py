"""What is counted on the test images: how often the model is right, for every class, and where it is wrong."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import files, statistics
from .statistics import Confusion, Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Figures(files.InFolder):
    """The counts of a report; each is made when it is first asked for."""

    frame: pd.DataFrame
    classes: tuple[str, ...]

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
