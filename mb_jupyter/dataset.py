"""A set of labelled pictures: what is in it, what is wrong with it, how it is split."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError
from .training.paths import at_home, brief, unreachable

if TYPE_CHECKING:
    import pandas as pd

    from .training.errors import TrainingError
    from .training.manifest import Entry, Finding, Picture

INDEX_VERSION = 7  # of what is remembered; raise it when Picture or what is found out changes
INDEX_DAYS = 90  # after which a folder nobody looked at is forgotten
VALIDATION_FRACTION = 0.15
TEST_FRACTION = 0.2


class Dataset:
    """Labelled pictures from a folder with one folder per class, a CSV file or a DataFrame.

    A table has the columns ``ImageSource`` and ``Label``, and optionally ``Split`` (train, validation, test) and
    ``Group``; relative paths begin at the CSV file's folder, or for a DataFrame at the current folder. Further
    columns (site, device, day) are carried to ``split.csv`` as ``Slice.<column>``.

    Images of one group (one object, patient, session or video) are never divided between training and test.
    ``group`` says which belong together: a regular expression for the path as it is shown (``rose/1.jpg``), whose
    first capture group, or else the whole match, names the group; ``"folder"`` for folders inside the class
    folders; ``"burst"`` for images that one camera took within seconds; ``"similar"`` for images that resemble each
    other; ``"column: NAME"`` for another column.
    The name alone counts: ``7`` in two classes is one group, unless the pattern captures the class too.

    Every picture is opened once; what was found out is remembered, so that looking again takes no time. A file
    that may have changed is hashed again; with ``recheck`` every file is.
    ``exclude`` names pictures to leave out (``rose/1.jpg``); ``labels`` is the path of a ``labels.patch.csv``
    (ImageSource, Label, NewLabel) that gives some pictures another class; both are named in the findings.
    ``progress(done, total)`` is called while files are read. Raises :class:`~mb_jupyter.errors.DataError`
    when nothing can be trained. In a notebook it shows itself: counts, thumbnails, findings, planned split.

    ``pictures`` are the usable ones, ``findings`` say what is wrong and which files are left out, ``classes``
    are sorted by name, ``counts`` is pictures per class.
    """

    source: Any
    root: Path
    pictures: list[Picture]
    findings: list[Finding]
    classes: list[str]

    def __init__(
        self,
        source: str | Path | pd.DataFrame,
        *,
        exclude: Sequence[str] = (),
        labels: str | Path | None = None,
        group: str | None = None,
        recheck: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        from .training.errors import TrainingError
        from .training.index import index_file
        from .training.manifest import scan

        self.source = source
        try:
            root, entries = _open(source)
            index = index_file(root, entries is not None)
            known = _remembered(index)
            patch = at_home(labels).absolute() if labels is not None else None
            found = scan(
                root,
                entries=entries,
                progress=progress,
                known=known,
                recheck=recheck,
                exclude=exclude,
                labels=patch,
                group_by=group,
            )
        except TrainingError as error:
            raise _translated(error) from None
        self.root = found.root
        self.pictures = found.pictures
        self.findings = found.findings
        self.classes = found.classes
        self.counts: dict[str, int] = dict(sorted(Counter(p.label for p in found.pictures).items()))
        if known != {picture.path: picture for picture in found.pictures}:
            _remember(index, found.pictures)

    @cached_property
    def fingerprint(self) -> str:
        """A hex number of the images' contents, labels, given parts and groups; not of their names or folder."""
        from .training.manifest import fingerprint

        return fingerprint(self.pictures)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The usable pictures: ImageSource, Label, Split (as given), Width, Height, Format, Bytes, Sha256."""
        import pandas as pd

        columns = ["ImageSource", "Label", "Split", "Width", "Height", "Format", "Bytes", "Sha256"]
        rows = [(p.path, p.label, p.split, p.width, p.height, p.format, p.size, p.sha256) for p in self.pictures]
        return pd.DataFrame(rows, columns=columns)

    def split(
        self,
        seed: int = 0,
        validation_fraction: float = VALIDATION_FRACTION,
        test_fraction: float = TEST_FRACTION,
    ) -> pd.DataFrame:
        """Return the split that a training with these values uses: ImageSource, Label, Split, Sha256, Group.

        Stratified; a Group, which joins copies, near copies and your own groups, is never divided between parts, unless
        you divided it: parts you gave are kept, and a finding warns of what leaks. Further columns of a list follow as
        ``Slice.<column>``.
        """
        import pandas as pd

        from .training.manifest import columns_of, rows_of

        parted = self._parted(seed, validation_fraction, test_fraction)
        return pd.DataFrame(rows_of(parted), columns=list(columns_of(parted)))

    def plan_split(
        self,
        seed: int = 0,
        validation_fraction: float = VALIDATION_FRACTION,
        test_fraction: float = TEST_FRACTION,
    ) -> dict[str, int]:
        """Return how many pictures each part of :meth:`split` has."""
        from .training.manifest import SPLITS

        parts = Counter(p.split for p in self._parted(seed, validation_fraction, test_fraction))
        return {part: parts[part] for part in SPLITS}

    def write_split(self, path: str | Path, *, seed: int, validation_fraction: float, test_fraction: float) -> None:
        """Write :meth:`split` as CSV, for a run."""
        from .training.manifest import write_split

        write_split(Path(path), self._parted(seed, validation_fraction, test_fraction))

    def _parted(self, seed: int, validation_fraction: float, test_fraction: float) -> list[Picture]:
        from .training.errors import TrainingError
        from .training.manifest import split

        try:
            return split(self.pictures, seed=seed, validation_fraction=validation_fraction, test_fraction=test_fraction)
        except TrainingError as error:
            raise _translated(error) from None

    def __len__(self) -> int:
        return len(self.pictures)

    def __repr__(self) -> str:
        return f"<Dataset {self.root}: {len(self.pictures):,} pictures in {len(self.classes):,} classes>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self._report

    @cached_property
    def _report(self) -> dict[str, str]:
        from .datareport import as_html, as_text

        try:
            parted = self._parted(0, VALIDATION_FRACTION, TEST_FRACTION)
        except DataError:  # the findings say why
            parted = self.pictures
        name = "DataFrame" if hasattr(self.source, "columns") else str(self.source)
        return {
            "text/plain": as_text(name, parted, self.findings),
            "text/html": as_html(name, self.root, parted, self.findings),
        }


def _translated(error: TrainingError) -> DataError:
    return DataError(error.cause, error.fix, error.alternative)


def _open(source: Any) -> tuple[Path, list[Entry] | None]:
    """Return the folder that paths begin at, and the rows when the source is a table."""
    from .training.manifest import check_rows, read_rows, shown

    if hasattr(source, "columns") and hasattr(source, "itertuples"):
        columns = [str(name) for name in source.columns]
        rows = ([_cell(value) for value in row] for row in source.itertuples(index=False, name=None))
        return Path.cwd(), check_rows(columns, rows, "The DataFrame")
    if not isinstance(source, str | os.PathLike):
        raise DataError(
            f"A {type(source).__name__} is not a set of pictures.",
            "Give a folder, a CSV file, or a DataFrame with the columns ImageSource and Label.",
        )
    path = at_home(source).absolute()
    if reason := unreachable(path):
        raise DataError(f"'{shown(brief(path))}' cannot be opened: {reason}.", "Check the path.")
    if path.suffix.casefold() in (".csv", ".tsv"):
        return path.parent, read_rows(path)
    if path.suffix.casefold() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar") and path.is_file():
        raise DataError(f"'{shown(path)}' is an archive.", "Unpack it, and give the folder that comes out.")
    return path, None


def _cell(value: Any) -> str:
    """Return a cell of a DataFrame as text; what pandas calls missing is empty."""
    from .training.manifest import shown

    many: Any = getattr(value, "shape", None)  # an array of NumPy's or torch's
    if many or isinstance(value, list | tuple | set | frozenset | dict):
        raise DataError(
            f"A cell of the DataFrame holds a {type(value).__name__}: {shown(value)[:60]}.",
            "Each row is one image with one Label; a classifier gives every image exactly one class.",
        )
    missing = value is None or value != value or str(value) == "<NA>"  # noqa: PLR0124 - NaN
    return "" if missing else os.fspath(value) if isinstance(value, os.PathLike) else str(value).strip()


def _remembered(index: Path) -> dict[str, Picture]:
    """Return the pictures of an earlier scan by path; a lost or damaged index is an empty one."""
    try:
        stored = json.loads(index.read_text("utf-8"))
        if stored["version"] != INDEX_VERSION:
            return {}
        pictures = [_from_row(row) for row in stored["pictures"]]
        # a damaged value would be trusted for as long as the file does not change
        if not all(_sound(picture) for picture in pictures):
            return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {picture.path: picture for picture in pictures}


def _from_row(row: list[Any]) -> Picture:
    from .training.manifest import Picture

    return Picture(*(*row[:-1], tuple((name, cell) for name, cell in row[-1])))


def _sound(picture: Picture) -> bool:
    texts = [picture.path, picture.label, picture.split, picture.sha256, picture.format, picture.group]
    texts += [picture.user_group, picture.copies, picture.taken, picture.thumbnail]
    texts += [text for pair in picture.slices for text in pair]
    numbers = [picture.width, picture.height, *picture.identity, picture.phash or 0, picture.settled]
    numbers += [picture.bits, picture.spread]
    return all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers)


def _remember(index: Path, pictures: Iterable[Picture]) -> None:
    """Store what is known of the images; two kernels never see half an index."""
    from .training import disk

    stored: Mapping[str, Any] = {"version": INDEX_VERSION, "pictures": [astuple(p) for p in pictures]}
    try:
        disk.store(index, json.dumps(stored).encode())
        for other in index.parent.iterdir():
            if time.time() - other.stat().st_mtime > INDEX_DAYS * 86400:
                other.unlink(missing_ok=True)
    except OSError:  # a full disk or a home without write permission only makes the next look slower
        return
