"""What the test images say about a model: how often it is right, where it is wrong, how sure one may be.

Everything here is counted on images that training never saw, and read from the files of the run, so that
the same report can be made again at any time, by anybody. Each figure is made when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import DataError, WorkspaceError
from mb_jupyter.records import REPORT, read_fields

from . import files, headline, intervals, learning
from .comparison import Comparison, compare_reports
from .confidence import Confidence
from .paired import paired
from .suspects import find_all, write_patch

if TYPE_CHECKING:
    import pandas as pd

    from .step import Step


@dataclass(frozen=True, repr=False)
class Report(Confidence):
    """The evaluation of a model on its test images.

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

        Raises ``DataError`` when columns are missing, a class is unknown, or no image is left.
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
        from .untested import untested

        folder = Path(folder)
        record = read_fields(folder, REPORT)
        if not (folder / "predictions.csv").is_file():
            if "test_accuracy" in record and record["test_accuracy"] is None:
                raise WorkspaceError(*untested(folder))
            raise WorkspaceError(
                f"{folder} has no predictions.csv: its training has not come as far as the evaluation.",
                "Wait until it ends (%mb_attach), or see why it failed (%mb_why).",
            )
        return cls.from_frame(files.read_predictions(folder / "predictions.csv"), record, folder)

    # -- the whole ---------------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """The accuracy with its interval, and what it does not tell."""
        return headline.headline(self)

    @cached_property
    def caveats(self) -> list[str]:
        """What must stand beside the accuracy: test images that the model has seen something of, or were left out."""
        from .leaks import caveats

        return caveats(self)

    @cached_property
    def leaks(self) -> pd.DataFrame | None:
        """Accuracy on the test images with near copies, with close neighbours, and without; None where unknown."""
        from .leaks import frame

        return frame(self)

    @property
    def summary(self) -> str:
        """The same in one sentence with the classes, and the weakest of them."""
        return headline.summary(self)

    # -- labels ------------------------------------------------------------------------------------------

    @cached_property
    def suspects(self) -> pd.DataFrame:
        """Images of every part whose label looks wrong to a model that never saw them: the label issues."""
        return find_all(self)

    # -- more images -------------------------------------------------------------------------------------

    @cached_property
    def learning_curve(self) -> pd.DataFrame:
        """A row for each part of the images that heads were fitted on: how many, and how right they are on others."""
        return learning.curve(self._learning)

    @cached_property
    def more_images(self) -> learning.Gain | None:
        """What twice as many images would bring; None where that cannot be told."""
        return learning.gain(self._learning)

    @cached_property
    def more_images_of_a_class(self) -> dict[str, learning.Gain]:
        """The same for the recall of each class of which it is known that it gains, the largest gain first.

        None where all together are not known to gain: of several classes one seems to by chance.
        """
        together = self.more_images
        return learning.gains(self._learning, self.classes) if together and together.code == "helps" else {}

    @cached_property
    def _learning(self) -> pd.DataFrame:
        return learning.read(self.folder)

    # -- beside others -----------------------------------------------------------------------------------

    @cached_property
    def frozen_features(self) -> Report | None:
        """The report on the frozen-features model on the same images; None without ``baselines.csv``."""
        if self.same_file("baselines.csv", "predictions.csv"):
            return self
        frame = self.predictions_in("baselines.csv")
        try:
            if frame is None:
                return None
            known = dict(zip(self.frame["ImageSource"], self.group_names, strict=True))
            return Report.from_frame(frame.assign(Group=frame["ImageSource"].map(known).fillna("")))
        except DataError:
            return None

    @cached_property
    def majority(self) -> tuple[str, int]:
        """The most frequent class of the training images, and how many test images it has right."""
        split = self.split
        labels = self.frame["Label"] if split is None else split["Label"][split["Split"] == "train"]
        counts = (labels if len(labels) else self.frame["Label"]).value_counts()
        name = min(counts.index[counts == counts.max()])
        return str(name), int((self.frame["Label"] == name).sum())

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """This model beside the frozen features and beside always answering the most frequent class."""
        import pandas as pd

        rows = [("this model", self.true == self.given, self.groups)]
        if (frozen := self.frozen_features) is not None:
            rows.append(("frozen features", frozen.true == frozen.given, frozen.groups))
        name, _ = self.majority
        rows.append((f"always {name}", (self.frame["Label"] == name).to_numpy(), self.groups))
        shares = [
            (model, int(right.sum()), len(right), float(right.mean()), *intervals.share(right, groups))
            for model, right, groups in rows
        ]
        return pd.DataFrame(shares, columns=["Model", "Right", "Pictures", "Accuracy", "AccuracyLow", "AccuracyHigh"])

    @cached_property
    def lift(self) -> pd.DataFrame:
        """How much more often this model is right than each baseline on the same images, by the paired test.

        Baseline, Lift (of the share that is right), its 95 % interval Low and High, P.
        """
        import pandas as pd

        name, _ = self.majority
        rights = {f"always {name}": (self.frame["Label"] == name).to_numpy()}
        frozen = self.frozen_features
        if (
            frozen is not None
            and frozen is not self
            and list(frozen.frame["ImageSource"]) == list(self.frame["ImageSource"])
        ):
            rights = {"frozen features": frozen.true == frozen.given, **rights}
        here = self.true == self.given
        rows = [
            (one, float(here.mean() - right.mean()), *intervals.difference(right, here, self.groups),
             paired(right, here, self.groups).p_value)
            for one, right in rights.items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["Baseline", "Lift", "Low", "High", "P"])

    def comparison(self, other: Report) -> Comparison:
        """Compare with another run, usually an earlier one, on the images that both held out."""
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
    def steps(self) -> list[Step]:
        """What to do next, the most urgent first: the code of its rule, its gain in test images, a sentence."""
        from .next_steps import next_steps

        return next_steps(self)

    @property
    def next_steps(self) -> list[str]:
        """The same in words."""
        return [step.sentence for step in self.steps]

    # -- how it is shown and kept ------------------------------------------------------------------------

    @cached_property
    def thumbnails(self) -> dict[str, bytes]:
        """The small images made so far, by ImageSource; empty for one that could not be opened."""
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
        images (ImageSource) whose suggestion is to stand there already. Corrections that this run was trained
        with are in it too.
        """
        return write_patch(Path(path), self.suspects, accept, self.corrections)
