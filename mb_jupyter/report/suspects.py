"""Labels that look wrong, by heads that never saw their image; a file to review them in.

No file of the user's is ever moved: what was reviewed is a list that the next training reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mb_jupyter.errors import DataError
from mb_jupyter.training import review
from mb_jupyter.training.cells import to_csv
from mb_jupyter.training.errors import TrainingError

from .files import SCORE, replace

if TYPE_CHECKING:
    import pandas as pd

    from .evaluation import Report

COLUMNS = ("ImageSource", "Label", "Suggested", "LabelScore", "SuggestedScore", "Split")
PATCH_COLUMNS = ("ImageSource", "Label", "NewLabel", "Suggested", "LabelScore", "SuggestedScore", "Split")
LEAST = 2  # images of a class, to judge its labels


def find_all(report: Report) -> pd.DataFrame:
    """Return the label issues of every part, the most doubtful first.

    Those of training and validation by heads that were fitted without the image (``out_of_fold.csv``), those of the
    test part by the model, which never saw them. Each is judged among its own: the scores of a fine-tuned model are
    higher than those of such heads.
    """
    import pandas as pd

    found = [find_suspects(report.frame, report.classes).assign(Split="test")]
    if report.out_of_fold is not None:
        learned = find_suspects(report.out_of_fold, report.classes)
        split = report.split
        parts = {} if split is None else dict(zip(split["ImageSource"], split["Split"], strict=True))
        found.append(learned.assign(Split=[parts.get(name, "train") for name in learned["ImageSource"]]))
    kept = [one for one in found if len(one)] or found[:1]
    together = pd.concat(kept, ignore_index=True)[list(COLUMNS)]
    return together.sort_values(
        ["LabelScore", "SuggestedScore"], ascending=[True, False], kind="stable", ignore_index=True
    )


def find_suspects(frame: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return the images whose label confident learning doubts, the most doubtful first.

    ``frame`` has Label and Score.<class> of images that the scores' model did not learn from. After Northcutt et al.
    2021 (arXiv:1911.00068), by cleanlab.
    """
    import numpy as np
    import pandas as pd
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]

    columns = [f"{SCORE}{name}" for name in classes]
    counts = frame["Label"].value_counts()
    # a class is judged by how sure its own images are, so that one alone says nothing
    usual = np.array([counts.get(name, 0) >= LEAST for name in classes])
    if not set(columns) <= set(frame.columns) or usual.sum() < 2:
        return pd.DataFrame(columns=list(COLUMNS[:-1]))
    frame = frame[frame["Label"].isin({name for name, kept in zip(classes, usual, strict=True) if kept})]
    scores = frame[columns].to_numpy(float)
    labels = pd.Categorical(frame["Label"], categories=list(classes)).codes.astype(int)
    # both of cleanlab's ways to count must doubt a label: on few images one alone doubts too many
    among = np.cumsum(usual) - 1
    issues = find_label_issues(among[labels], scores[:, usual], filter_by="both", n_jobs=1)
    best = scores.argmax(axis=1)
    rows = np.flatnonzero(issues & (best != labels))
    own = scores[rows, labels[rows]]
    rows = rows[np.lexsort((-scores[rows, best[rows]], own))]
    return pd.DataFrame(
        {
            "ImageSource": frame["ImageSource"].to_numpy()[rows],
            "Label": frame["Label"].to_numpy()[rows],
            "Suggested": np.array(classes, dtype=object)[best[rows]],
            "LabelScore": scores[rows, labels[rows]],
            "SuggestedScore": scores[rows, best[rows]],
        },
        columns=list(COLUMNS[:-1]),
    )


def write_patch(path: Path, suspects: pd.DataFrame, accept: Iterable[str] = (), earlier: Path | None = None) -> Path:
    """Write the suspects for review: ``NewLabel`` is empty, and an empty one changes nothing.

    ``accept`` names images whose suggestion is taken over into ``NewLabel``. What was reviewed in the file
    before stays as it is, and so does what the run was trained with, in the file ``earlier``: a list that
    forgot it would bring the wrong labels back. ``Label`` is always that of the data themselves.

    Raises ``DataError`` when the file is there and is no such list: somebody's work is in it.
    """
    here = reviewed_in(path)
    if here is None and path.exists():
        raise DataError(
            f"{path} is there and cannot be read as a list of labels, so it was left as it is.",
            "Save it as CSV UTF-8 with the columns ImageSource, Label and NewLabel, or give another path.",
        )
    reviewed = {**((earlier and reviewed_in(earlier)) or {}), **(here or {})}
    rows = {row[0]: row for row in _rows(suspects, set(accept))}
    for source, row in reviewed.items():
        if source not in rows or not rows[source][2]:
            rows[source] = row
        else:
            rows[source] = (source, row[1], *rows[source][2:])
    # without the mark a spreadsheet breaks letters with accents
    return replace(path, "\ufeff" + to_csv([PATCH_COLUMNS, *rows.values()]))


def _rows(suspects: pd.DataFrame, accepted: set[str]) -> Iterator[tuple[str, ...]]:
    for source, label, suggested, own, other, part in suspects.itertuples(index=False, name=None):
        yield source, label, suggested if source in accepted else "", suggested, f"{own:.4f}", f"{other:.4f}", part


def reviewed_in(path: Path) -> dict[str, tuple[str, ...]] | None:
    """Return the rows of a list that somebody has decided, by image; None when it cannot be read as one."""
    try:
        rows = review.read_rows(path)
    except TrainingError:
        return None
    known = (tuple(row.get(column.casefold(), "") for column in PATCH_COLUMNS) for row in rows)
    return {row[0]: row for row in known if row[2].strip()}
