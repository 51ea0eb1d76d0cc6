"""What a report reads in the folder of a run. A file that is missing or damaged is an absent one."""

from __future__ import annotations

import filecmp
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from mb_jupyter.errors import DataError
from mb_jupyter.records import REPRODUCIBILITY, RUN, STATUS, read_fields, read_metrics
from mb_jupyter.standing import Standing
from mb_jupyter.training import disk
from mb_jupyter.training.cells import original
from mb_jupyter.training.paths import at_home

from . import reasons

if TYPE_CHECKING:
    import pandas as pd

SCORE = "Score."
PATCH = "labels.patch.csv"
CHOICES = ("out_of_fold.csv", "validation.csv")  # scores on which a run's choices may be made


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Return a table of predictions; raises ``DataError`` for a file that is none.

    A class may be called "NA" or "7": everything is text but the scores.
    """
    import pandas as pd

    try:
        columns = list(pd.read_csv(path, nrows=0, dtype=str, encoding_errors="surrogateescape").columns)
        kinds = {name: float if name.startswith(SCORE) else str for name in columns}
        return _original(pd.read_csv(path, dtype=kinds, keep_default_na=False, encoding_errors="surrogateescape"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its path.") from error
    except ValueError as error:  # of pandas, of float, and of text that is not UTF-8
        raise DataError(
            f"{path} is not a table of predictions.",
            "Pass the predictions.csv that a run has written.",
            details=str(error),
        ) from error


def checked(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the test rows of a table of predictions, and its classes; ``DataError`` when it is none."""
    classes = tuple(str(name).removeprefix(SCORE) for name in frame.columns if str(name).startswith(SCORE))
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
        raise DataError("There are no test images to report on.", "Give test_fraction more than 0.")
    strange = sorted({*frame["Label"], *frame["Prediction"]} - {*classes}, key=str)
    if strange:
        raise DataError(f"The class {strange[0]!r} in the predictions has no scores.", "Export the run again.")
    return frame.reset_index(drop=True), classes


def read_text_table(path: Path) -> pd.DataFrame | None:
    """Return a table whose every cell is text."""
    import pandas as pd

    try:
        return _original(pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="surrogateescape"))
    except (OSError, ValueError):
        return None


def _original(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its texts and the names of its columns as they were before they were written."""
    import pandas as pd

    is_figures = pd.api.types.is_float_dtype
    texts = {str(name): column.map(original) for name, column in frame.items() if not is_figures(column)}
    return frame.assign(**texts).rename(columns=original)


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows, each with its columns as attributes."""
    return iter(frame.itertuples())


def is_table(data: object) -> bool:
    """Tell whether a run's ``data`` was a DataFrame, of which only a description is kept."""
    return str(data or "").startswith("a table of ")


def data_root(run: dict[str, Any]) -> Path | None:
    """Return the folder that a run's paths begin at, as ``run.json`` tells it."""
    if run.get("root"):
        return Path(str(run["root"]))
    data = str(run.get("data") or "")
    if not data or is_table(data):
        return None
    path = at_home(data).absolute()
    return path.parent if path.suffix.casefold() in (".csv", ".tsv") else path


def replace(path: Path, text: str) -> Path:
    """Write a text file so that nobody ever reads half of it."""
    disk.swap(path, text.encode("utf-8", "surrogateescape"))
    return path


def is_figure(value: Any) -> TypeGuard[float]:
    """Tell whether a value read from JSON is a number to reckon with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Learned(NamedTuple):
    """How much of a class the training and validation parts hold."""

    images: int
    groups: int


def evaluated_before(folder: Path) -> Iterator[Path]:
    """Yield the folders of the earlier runs of a run's experiment whose reports may be used, the latest first."""
    earlier = [record.parent for record in folder.parent.glob("*/run.json") if record.parent.name < folder.name]
    yield from (one for one in sorted(earlier, reverse=True) if Standing(one).offers("report"))


class InFolder:
    """What lies in a run's folder, read when it is asked for; without a folder nothing does."""

    folder: Path | None
    frame: pd.DataFrame
    record: dict[str, Any]

    @cached_property
    def run(self) -> dict[str, Any]:
        """What was written down when the run was begun (``run.json``)."""
        return read_fields(self.folder, RUN) if self.folder else {}

    @property
    def name(self) -> str:
        """The handle of the run, or words in its place."""
        return str(self.run.get("handle") or (self.folder.name if self.folder else "these predictions"))

    @property
    def short(self) -> str:
        """The run's own part of its handle."""
        return str(self.run.get("id") or self.name)

    @property
    def origin(self) -> str:
        """The run's name for people, such as ``flowers, 29 Nov 10:31, 96.0 %``, and its handle; empty without a run."""
        if self.folder is None or not self.run:
            return ""
        return f"{Standing(self.folder).origin.text}; {self.name}"

    @property
    def config(self) -> dict[str, Any]:
        """What the run was asked for."""
        found = self.run.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def corrections(self) -> Path | None:
        """The list of corrected labels that the run was trained with: the copy in its folder, or where it was."""
        if not self.config.get("labels"):
            return None
        kept = self.folder / "corrections.csv" if self.folder else None
        return kept if kept and kept.is_file() else at_home(str(self.config["labels"]))

    @cached_property
    def reproducibility(self) -> dict[str, Any]:
        """The run's ``reproducibility.json``."""
        return read_fields(self.folder, REPRODUCIBILITY) if self.folder else {}

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """The records of the run's epochs."""
        return [record for record in self.records if record.get("event") == "epoch"]

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """What the run told while it went on (``metrics.jsonl``)."""
        return read_metrics(self.folder) if self.folder else []

    @property
    def not_tuned(self) -> str:
        """The code of why the run has no epoch of fine-tuning; nothing where its program did not say."""
        told = [record for record in self.records if record.get("event") == "left out"]
        return reasons.not_tuned(told[-1]) if told else ""

    @property
    def curves(self) -> pd.DataFrame:
        """One row an epoch: phase, epoch, losses and accuracies on training and validation images, best."""
        import pandas as pd

        return pd.DataFrame(self.epochs).drop(columns=["event", "time"], errors="ignore")

    @property
    def variants(self) -> pd.DataFrame:
        """The model in float32 and in int8: name, file, bytes, times in ms, right of how many images."""
        import pandas as pd

        return pd.DataFrame([one for one in self.record.get("variants") or [] if isinstance(one, dict)])

    @cached_property
    def split(self) -> pd.DataFrame | None:
        """The run's ``split.csv``; None without."""
        frame = read_text_table(self.folder / "split.csv") if self.folder else None
        return frame if frame is not None and {"ImageSource", "Label", "Split"} <= {*frame.columns} else None

    @cached_property
    def out_of_fold(self) -> pd.DataFrame | None:
        """The run's ``out_of_fold.csv``; None without."""
        return self.predictions_in("out_of_fold.csv")

    @property
    def has_hashes(self) -> bool:
        """Whether the images are known by their content."""
        return self.split is not None and "Sha256" in self.split.columns

    def told(self, column: str) -> pd.Series[str] | None:
        """Return what ``split.csv`` tells of every test image in a column, empty where nothing; None without it."""
        if self.split is None or column not in self.split.columns:
            return None
        known = self.split.drop_duplicates("ImageSource").set_index("ImageSource")[column]
        return self.frame["ImageSource"].map(known).fillna("")

    @cached_property
    def identified(self) -> pd.DataFrame:
        """The predictions with the columns ``Key``, the image's hash where the run kept it, else its path, and
        ``Group``.
        """
        frame = self.frame[["ImageSource", "Label", "Prediction"]].assign(Group=self.group_names)
        hashes = self.told("Sha256")
        if hashes is None:
            return frame.assign(Key=frame["ImageSource"])
        return frame.assign(Key=hashes.where(hashes != "", frame["ImageSource"]))

    @cached_property
    def group_names(self) -> pd.Series[str]:
        """The group of every test image: that of ``split.csv``; an image of which none is known is one of its own."""
        own = self.frame["ImageSource"].str.cat(self.frame.index.astype(str), sep="\0")
        names = self.frame["Group"] if "Group" in self.frame.columns else self.told("Group")
        return own if names is None else names.where(names != "", own)

    @cached_property
    def leaked(self) -> int | None:
        """How many test images have a copy or near copy in another part; None where no groups are kept."""
        split = self.split
        if split is None or "Group" not in split.columns:
            return None
        learned = set(split["Group"][split["Split"] != "test"]) - {""}
        return int(split["Group"][split["Split"] == "test"].isin(learned).sum())

    @cached_property
    def neighbours(self) -> pd.DataFrame | None:
        """The run's ``neighbours.csv``: every test image and the nearest image that was learned from; None without."""
        found = read_text_table(self.folder / "neighbours.csv") if self.folder else None
        return found if found is not None and {"ImageSource", "Neighbour", "Close"} <= {*found.columns} else None

    @cached_property
    def learned_from(self) -> dict[str, Learned]:
        """How many images and groups of each class are in the training and validation parts; empty without a split."""
        split = self.split
        if split is None:
            return {}
        learned = split[split["Split"] != "test"]
        names = learned["Group"].where(learned["Group"] != "", learned["ImageSource"]) if "Group" in learned else None
        groups = learned["ImageSource"] if names is None else names
        return {
            str(name): Learned(len(of), int(of.nunique())) for name, of in groups.groupby(learned["Label"], sort=False)
        }

    @property
    def ended(self) -> bool:
        """Whether the run has ended, as far as its program has told."""
        return self.state in ("completed", "stopped", "failed")

    @property
    def state(self) -> str:
        """The state that the run's program has told last."""
        status = read_fields(self.folder, STATUS) if self.folder else {}
        return str(status.get("state") or "")

    def path(self, image_source: str) -> Path:
        """Return where an image is, or was when the run was begun."""
        root = data_root(self.run)
        return root / image_source if root else Path(image_source)

    def same_file(self, first: str, second: str) -> bool:
        """Tell whether two files of the run hold the same: where fine-tuning did not win, no need to read twice."""
        if self.folder is None:
            return False
        one, other = self.folder / first, self.folder / second
        return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)

    def predictions_in(self, name: str) -> pd.DataFrame | None:
        """Return a table of predictions of the run; None when it is not there or damaged."""
        path = self.folder / name if self.folder else None
        try:
            frame = read_predictions(path) if path is not None and path.is_file() else None
        except DataError:
            return None
        return frame if frame is not None and {"ImageSource", "Label", "Prediction"} <= {*frame.columns} else None
