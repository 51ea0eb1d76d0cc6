"""What the held-out pictures say about a model: how often it is right, where it is wrong, how sure one may be.

Everything here is counted on the pictures that training never saw. The functions take ``predictions.csv`` of
a run, so that the same report can be made again at any time, by anybody.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mb_jupyter.display import (
    ROUND,
    Shown,
    bar,
    card,
    details,
    elide,
    escape,
    image,
    largest_difference,
    percent,
    table,
    text_table,
)
from mb_jupyter.errors import DataError, WorkspaceError

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
MOST_CONFUSIONS = 5
MOST_ROWS = 50  # classes in the shown table
MOST_COLUMNS = 20  # classes up to which the confusion matrix is a table too


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Confusion:
    """How many pictures of the class ``true`` were taken for ``predicted``."""

    true: str
    predicted: str
    count: int
    support: int

    def __str__(self) -> str:
        return f"{self.count:,} of {self.support:,} pictures of {self.true} were taken for {self.predicted}"


@dataclass(frozen=True, repr=False)
class Report:
    """The evaluation of a model on its held-out pictures.

    ``frame`` has the columns ``ImageSource, Label, Prediction`` and ``Score.<class>`` for every class;
    ``record`` is the run's ``report.json``, empty where there is none.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, record: dict[str, Any] | None = None) -> Report:
        """Return the report on predictions; of a table with a column ``Split`` only the rows of ``test`` count.

        Raises ``DataError`` when columns are missing, a class is unknown, or no picture is left.
        """
        classes = tuple(name.removeprefix("Score.") for name in frame.columns if name.startswith("Score."))
        missing = [name for name in ("ImageSource", "Label", "Prediction") if name not in frame.columns]
        missing += [] if classes else ["Score.<class>"]
        if missing:
            raise DataError(
                f"These are no predictions with their true classes: the column {', '.join(missing)} is missing.",
                "Pass the predictions.csv that a run has written.",
            )
        if "Split" in frame.columns:
            frame = frame[frame["Split"] == "test"]
        if frame.empty:
            raise DataError("There are no held-out pictures to report on.", "Give test_fraction more than 0.")
        strange = sorted({*frame["Label"], *frame["Prediction"]} - {*classes}, key=str)
        if strange:
            raise DataError(f"The class {strange[0]!r} in the predictions has no scores.", "Export the run again.")
        return cls(frame.reset_index(drop=True), classes, dict(record or {}))

    @classmethod
    def from_csv(cls, path: str | Path, record: dict[str, Any] | None = None) -> Report:
        """Return the report on a ``predictions.csv``; raises ``DataError`` for a file that is none."""
        import pandas as pd

        try:
            # a class may be called "NA" or "7": everything is text but the scores
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
            for name in frame.columns:
                if name.startswith("Score."):
                    frame[name] = frame[name].astype(float)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its path.") from error
        except ValueError as error:  # of pandas, of float, and of text that is not UTF-8
            raise DataError(
                f"{path} is not a table of predictions.",
                "Pass the predictions.csv that a run has written.",
                details=str(error),
            ) from error
        return cls.from_frame(frame, record)

    @classmethod
    def from_run(cls, folder: str | Path) -> Report:
        """Return the report on the run in ``folder``; raises ``WorkspaceError`` before it has predictions."""
        folder = Path(folder)
        if not (folder / "predictions.csv").is_file():
            raise WorkspaceError(
                f"{folder} has no predictions.csv: its training has not come as far as the evaluation.",
                "Wait until it ends (%mb_attach), or see why it failed (%mb_why).",
            )
        try:
            record = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # being written at this moment, or from before the evaluation
            record = {}
        return cls.from_csv(folder / "predictions.csv", record if isinstance(record, dict) else {})

    # -- figures -----------------------------------------------------------------------------------------

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
        """The 95 % confidence interval of the accuracy (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
        from scipy.stats import binomtest

        found = binomtest(self.right, self.pictures).proportion_ci(CONFIDENCE, method="wilson")
        return Interval(float(found.low), float(found.high))

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Support, precision, recall and F1 of every class.

        NaN where a figure does not exist: recall and F1 of a class without held-out pictures, precision of a
        class that was never answered.
        """
        import pandas as pd
        from sklearn.metrics import precision_recall_fscore_support

        precision, recall, f1, support = precision_recall_fscore_support(
            self.frame["Label"], self.frame["Prediction"], labels=list(self.classes), zero_division=math.nan
        )
        columns = {"Support": support, "Precision": precision, "Recall": recall, "F1": f1}
        frame = pd.DataFrame(columns, index=pd.Index(self.classes, name="Label"))
        frame.loc[frame["Support"] == 0, "F1"] = math.nan
        return frame

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """How many pictures of each true class (rows) were given each class (columns)."""
        import pandas as pd
        from sklearn.metrics import confusion_matrix

        counts = confusion_matrix(self.frame["Label"], self.frame["Prediction"], labels=list(self.classes))
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

    @property
    def headline(self) -> str:
        """The report in one sentence."""
        low, high = (f"{end * 100:.1f}" for end in self.interval)
        return (
            f"Accuracy {percent(self.accuracy)} on held-out pictures: {self.right:,} of {self.pictures:,} are right "
            f"(95 % interval {low} to {high} %)."
        )

    @property
    def summary(self) -> str:
        """The report in a sentence, or two where a class is behind the others."""
        return f"{self.headline} {self._weakest()}".rstrip()

    def _weakest(self) -> str:
        worst = self.per_class.sort_values("F1", kind="stable").iloc[0]
        if self.right == self.pictures or math.isnan(worst["F1"]):
            return ""
        found = f"recall {_share(worst['Recall'])}, precision {_share(worst['Precision'])}"
        return f"The weakest class is {elide(str(worst.name), 40)}: {found}, F1 {worst['F1']:.2f}."

    # -- how it looks ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Report: {self.summary}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return Shown(self._text(), self._html())._repr_mimebundle_()

    def _text(self) -> str:
        rows = [row for row, _ in self._rows()]
        parts = [
            self.summary,
            text_table(("Class", "Pictures", "Precision", "Recall", "F1"), rows, right=range(1, 5)),
            *self._notes(),
        ]
        if self.confusions:
            listed = "\n".join(f"  {pair}" for pair in self.confusions[:MOST_CONFUSIONS])
            parts.insert(2, f"Most frequent mistakes:\n{listed}")
        return "\n\n".join(parts)

    def _html(self) -> str:
        rows = [(*row, bar(0.0 if math.isnan(f1) else f1, width=80)) for row, f1 in self._rows()]
        columns = ("Class", "Pictures", "Precision", "Recall", "F1", "")
        mistakes = "".join(f"<li>{escape(pair)}</li>" for pair in self.confusions[:MOST_CONFUSIONS])
        parts = [
            f"<div>{escape(self._weakest())}</div>" if self._weakest() else "",
            table(columns, rows, right=range(1, 5)),
            f'<div>Most frequent mistakes:<ul style="margin:2px 0">{mistakes}</ul></div>' if mistakes else "",
            self._confusion_html(),
            *(f'<div style="margin-top:4px">{escape(note)}</div>' for note in self._notes()),
        ]
        return card(self.headline, "".join(parts))

    def _confusion_html(self) -> str:
        from mb_jupyter.plots import confusion_matrix, confusion_matrix_alt

        counts = self.confusion.to_numpy()
        picture = image(confusion_matrix(counts, self.classes), confusion_matrix_alt(counts, self.classes), style=ROUND)
        if len(self.classes) <= MOST_COLUMNS:
            names = [elide(name, 24) for name in self.classes]
            rows = [(name, *counts[i].tolist()) for i, name in enumerate(names)]
            figures = table(("True class, predicted:", *names), rows, right=range(1, len(names) + 1))
        else:
            mixed = [(p.true, p.predicted, f"{p.count:,}", f"{p.support:,}") for p in self.confusions[:MOST_ROWS]]
            figures = table(("True class", "Taken for", "Pictures", "of"), mixed, right=(2, 3))
        return f"<div>{picture}</div>" + details("The confusion matrix as a table", figures)

    def _rows(self) -> list[tuple[tuple[str, ...], float]]:
        """Return the cells and the F1 of every class, or of very many classes those of the weakest."""
        frame = self.per_class
        if len(frame) > MOST_ROWS:
            frame = frame.sort_values("F1", kind="stable").head(MOST_ROWS)
        figures = zip(frame["Support"], frame["Precision"], frame["Recall"], frame["F1"], strict=True)
        return [
            ((elide(name, 40), f"{support:,}", _share(precision), _share(recall), _f1(f1)), f1)
            for name, (support, precision, recall, f1) in zip(frame.index, figures, strict=True)
        ]

    def _notes(self) -> list[str]:
        frame, notes = self.per_class, []
        if len(self.classes) > MOST_ROWS:
            notes.append(
                f"Shown are the {MOST_ROWS} weakest of {len(self.classes):,} classes; .per_class has all of them."
            )
        if absent := list(frame.index[frame["Support"] == 0]):
            notes.append(f"Without held-out pictures, so that nothing is known of it: {_few(absent)}.")
        if unanswered := list(frame.index[frame["Precision"].isna() & (frame["Support"] > 0)]):
            notes.append(f"Never answered, so that its precision does not exist (–): {_few(unanswered)}.")
        return notes + [note for note in (self._calibration(), self._proof()) if note]

    def _calibration(self) -> str:
        before, after = self.record.get("ece_before"), self.record.get("ece_after")
        if not _is_figure(after):
            return ""
        was = f", {before:.3f} before calibration" if _is_figure(before) else ""
        heat = self.record.get("temperature")
        at = f" (temperature {heat:.2f})" if _is_figure(heat) else ""
        return f"Calibration: the scores miss the true frequency by {after:.3f} on average (ECE, 15 bins){was}{at}."

    def _proof(self) -> str:
        proof = self.record.get("verification")
        proof = proof if isinstance(proof, dict) else self.record
        agreement: Any = proof.get("agreement")
        difference: Any = proof.get("largest_difference")
        if not (_is_figure(agreement) and _is_figure(difference)):
            return ""
        return (
            f"Export: bestModel.onnx and the trained network give the same class for {percent(agreement)} of "
            f"{proof.get('pictures', self.pictures):,} held-out pictures; {largest_difference(difference)}."
        )


def _share(value: float) -> str:
    return "–" if math.isnan(value) else percent(value)


def _f1(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(elide(name, 40) for name in names[:5]) + more


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
