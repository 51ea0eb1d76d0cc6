"""What is counted on the test images: how often the model is right, for every class, and where it is wrong."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from mb_jupyter.training.pictures import natural

from . import files, intervals, slices, statistics
from .intervals import Interval
from .statistics import Confusion

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FEWEST_GROUPS = 5  # of a class, to say anything of it: with four the interval of its recall is half the scale wide
UNEQUAL = 1.5  # the largest class over the smallest, from which the large ones make the accuracy
APART = 0.2  # between the recalls of two classes, from which their mean hides one
TOP = (2, 3, 5)
MANY_CLASSES = 5  # from which the first few answers are worth a figure


class Figures(files.InFolder):
    """The counts of a report; each is made when it is first asked for."""

    frame: pd.DataFrame
    classes: tuple[str, ...]

    @property
    def pictures(self) -> int:
        """How many test images there are."""
        return len(self.frame)

    @cached_property
    def right(self) -> int:
        """How many of them the model has right."""
        return int((self.frame["Label"] == self.frame["Prediction"]).sum())

    @property
    def accuracy(self) -> float:
        """The share of images that the model has right."""
        return self.right / self.pictures

    @cached_property
    def interval(self) -> Interval:
        """The 95 % confidence interval of the accuracy, by group where images belong together."""
        return intervals.share(self.true == self.given, self.groups)

    @cached_property
    def groups(self) -> np.ndarray[Any, Any]:
        """A number for every test image (N,); images with the same one belong together."""
        import pandas as pd

        codes: np.ndarray[Any, Any] = pd.factorize(self.group_names)[0]
        return codes

    @cached_property
    def group_count(self) -> int:
        """How many groups the test images are in."""
        return int(self.groups.max()) + 1

    @property
    def grouped(self) -> bool:
        """Whether some test images belong together."""
        return self.group_count < self.pictures

    @cached_property
    def per_group(self) -> float:
        """How many independent test images a group counts for: 1, where every image is alone in its group."""
        return intervals.effective((self.true == self.given).astype(float), self.groups) / self.group_count

    def about(self, right: int, number: int) -> Interval:
        """Return the interval of a share of test images of which only the counts were kept."""
        return intervals.wilson(right * self._each, number * self._each)

    @property
    def _each(self) -> float:
        return self.per_group * self.group_count / self.pictures

    @cached_property
    def shown_classes(self) -> list[str]:
        """The classes in the order in which people count them."""
        return sorted(self.classes, key=natural)

    @cached_property
    def true(self) -> np.ndarray[Any, Any]:
        """The true class of every image, by number."""
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
        """One row an image, one column a class."""
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

        NaN where a figure does not exist: recall and F1 of a class without test images, precision of a
        class that was never answered. ``Right`` and ``Answered`` are the counts behind the shares.
        """
        return statistics.per_class(self.true, self.given, self.scores, self.classes, self.groups)

    @cached_property
    def tested(self) -> pd.DataFrame:
        """The rows of ``per_class`` of the classes that have test images."""
        return self.per_class[self.per_class["Support"] > 0]

    @cached_property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have test images: each class counts alike, however large."""
        return float(self.tested["Recall"].mean())

    @cached_property
    def balanced_interval(self) -> Interval:
        """The 95 % interval of the balanced accuracy, from those of the recalls (MOVER, doi:10.1002/sim.3095)."""
        recall, number = self.tested["Recall"], len(self.tested)
        down, up = ((recall - self.tested[end]).pow(2).sum() ** 0.5 / number for end in ("RecallLow", "RecallHigh"))
        middle = self.balanced_accuracy
        return Interval(max(0.0, middle - float(down)), min(1.0, middle + float(up)))

    @property
    def unequal(self) -> bool:
        """Whether the large classes make the accuracy."""
        support = self.tested["Support"]
        return len(support) > 1 and bool(support.max() >= UNEQUAL * support.min())

    @cached_property
    def recalls_apart(self) -> tuple[float, float] | None:
        """The lowest and the highest recall, where their mean is that of no class.

        Recalls of a handful of images are far apart by chance, so they do not count.
        """
        recall = self.tested["Recall"][self.tested["Groups"] >= FEWEST_GROUPS]
        apart = len(recall) > 1 and bool(recall.max() - recall.min() > APART - 1e-9)
        return (float(recall.min()), float(recall.max())) if apart else None

    @property
    def balance_matters(self) -> bool:
        """Whether the accuracy alone would mislead: the classes are unequal, or their recalls far apart."""
        return self.unequal or self.recalls_apart is not None

    @cached_property
    def too_few(self) -> pd.DataFrame:
        """The classes with so few test images, or groups of them, that nothing can be said: Support, Groups."""
        return self.per_class.loc[self.per_class["Groups"] < FEWEST_GROUPS, ["Support", "Groups"]]

    @cached_property
    def averages(self) -> pd.DataFrame:
        """Precision, recall and F1 over the classes: ``macro``, each alike, and ``weighted`` by their test images.

        Classes without test images are left out; a precision that does not exist (never answered) counts as 0.
        """
        import numpy as np
        import pandas as pd

        columns = ["Precision", "Recall", "F1"]
        figures = self.tested[columns].fillna(0.0)
        rows = [figures.mean().to_numpy(), np.average(figures.to_numpy(), axis=0, weights=self.tested["Support"])]
        return pd.DataFrame(rows, index=pd.Index(["macro", "weighted"], name="Average"), columns=columns)

    @cached_property
    def top_k(self) -> pd.DataFrame:
        """How often the true class is among the first ``K`` answers, with its interval; empty below five classes."""
        import numpy as np
        import pandas as pd

        columns = ["K", "Right", "Share", "Low", "High"]
        if len(self.classes) < MANY_CLASSES:
            return pd.DataFrame(columns=columns)
        own = self.scores[np.arange(self.pictures), self.true][:, None]
        before = np.arange(len(self.classes)) < self.true[:, None]  # of equal scores the first class is answered
        rank = ((self.scores > own) | ((self.scores == own) & before)).sum(axis=1)
        chosen = [k for k in TOP if k < len(self.classes)]
        rows = [
            (k, int((rank < k).sum()), float((rank < k).mean()), *intervals.share(rank < k, self.groups))
            for k in chosen
        ]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def slices(self) -> pd.DataFrame:
        """The accuracy by every further column of the list (site, device, day), the worst first; see ``slices.of``.

        Column, Value, Images, Groups, Right, Accuracy, its interval Low and High, which holds for all slices at once,
        and the accuracy of the Rest. Empty where the list had no further column.
        """
        names = [] if self.split is None else [str(name) for name in self.split.columns]
        told = {name.removeprefix(slices.SLICE): self.told(name) for name in names if name.startswith(slices.SLICE)}
        return slices.of(self.true == self.given, self.groups, {k: v for k, v in told.items() if v is not None})

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """How many images of each true class (rows) were given each class (columns)."""
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
        """Every test image: ImageSource, Label, Prediction, Score, LabelScore (of the true class)."""
        import numpy as np

        own = self.scores[np.arange(self.pictures), self.true]
        return self.frame[["ImageSource", "Label", "Prediction"]].assign(Score=self.confidence, LabelScore=own)

    @cached_property
    def mistakes(self) -> pd.DataFrame:
        """The wrong answers, the surest first."""
        wrong = self.answers[self.true != self.given]
        return wrong.sort_values(["Score", "LabelScore"], ascending=[False, True], kind="stable", ignore_index=True)

    def pictures_in(self, true: str, predicted: str) -> pd.DataFrame:
        """Return the images in one cell of the confusion matrix, the surest answers first."""
        answers = self.answers
        cell = answers[(answers["Label"] == true) & (answers["Prediction"] == predicted)]
        return cell.sort_values("Score", ascending=False, kind="stable", ignore_index=True)
