"""Answers for any number of images: kept as they come, so that a stop or a crash loses none, then written as a table.

::

    scores.csv.part    a line of JSON for each image, below one that says which model answers
    scores.csv         appears when all images are answered, in place of an older one; the .part is then removed

The same call continues where it was. Image by image it compares what it is given with what is kept: the name, and the
size and time of change of a file, or the content of what is not a file. It answers anew from the first difference on,
and everything for another model. In memory are only the images in work.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import itertools
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

from .errors import PredictionError
from .naming import is_reserved
from .prediction import is_unsure
from .sources import URL, Picture
from .training import disk, inputs
from .training.cells import neutral
from .training.paths import brief, unreachable
from .written import Written

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1  # of the file of kept answers
FLUSH_SECONDS = 2.0  # of answers that a crash may lose
CELLS = 1_000_000  # scores of a row group of Parquet, which is in memory at once
LONGEST_NAME = 200  # characters of the target's name that its companions take over

Progress: TypeAlias = "Callable[[int, int | None], None]"


class Answer(NamedTuple):
    """What the network says of one image."""

    name: str
    scores: np.ndarray[Any, Any] | None  # float32, one for each class; None with an error
    error: str
    thumbnail: bytes = b""
    seen: str | None = None  # the part of the run's data that the image was in


@dataclass(frozen=True)
class Columns:
    """What a table of answers is about: the classes, in the order of the scores, and the model's threshold."""

    classes: tuple[str, ...]
    unsure_below: float | None

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        last = ["Error", "Unsure"] if self.unsure_below is not None else ["Error"]
        return ["ImageSource", "Prediction", *(f"Score.{name}" for name in self.classes), *last]

    def label(self, answer: Answer) -> str:
        """Return the class of an answer; empty without one."""
        return "" if answer.scores is None else self.classes[int(answer.scores.argmax())]

    def unsure(self, answer: Answer) -> bool:
        """Return whether the model says of an answer that it is unsure."""
        return answer.scores is not None and is_unsure(float(answer.scores.max()), self.unsure_below)


def check_name(path: Path) -> Path:
    """Return the path of a table to write; refuse a name that is of none, and Parquet where it cannot be written."""
    reason = unreachable(path)
    if reason and not os.path.islink(path):  # noqa: PTH114 - pathlib's raises; the table takes the place of a link
        raise PredictionError(f"{brief(path)} cannot be written: {reason}.", "Choose another place for the file.")
    if is_reserved(path.name):
        name = path.name
        raise PredictionError(f"{name} is a reserved name on Windows.", f"Choose another, such as answers-{name}.")
    suffix = path.suffix.casefold()
    if suffix not in WRITERS:
        stem = path.stem[:LONGEST_NAME] or "answers"
        raise PredictionError(
            f"{path.name[:LONGEST_NAME] or 'An empty name'} is no .csv or .parquet file, and only these are written.",
            f"Call it {stem}.csv, which a spreadsheet opens too.",
            f"{stem}.parquet is smaller and quicker to read.",
        )
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise PredictionError(
                "Parquet is written by pyarrow, which is not installed.",
                '%pip install "mb_jupyter[parquet]"',
                f"Write {path.stem[:LONGEST_NAME]}.csv instead.",
            ) from error
    if path.is_dir():
        raise PredictionError(f"{path} cannot be written: it is a folder.", "Choose another name for the file.")
    return path


class Call(NamedTuple):
    """One call of ``predict_to``: where to, by which model, and whom to tell how far it is."""

    path: Path
    columns: Columns
    model: str  # digest of everything that decides the answers
    total: int | None
    progress: Progress | None = None
    notify: Callable[[str], None] | None = None


def write(call: Call, pictures: Iterable[Picture], ask: Callable[[Iterable[Picture]], Iterator[Answer]]) -> Written:
    """Answer the images that have no answer yet, write the table, and return what was done."""
    started = time.monotonic()
    part = call.path.with_name(f"{call.path.name[:LONGEST_NAME]}.part")
    ours = False
    try:
        with _locked(part, call.path) as file:
            ours = True
            kept = Kept(file, {"format": FORMAT, "table": call.path.name, "model": call.model}, call.columns)
            note = _answer_all(call, kept, pictures, ask)
            tally = Tally(call.columns, call.path)
            _replace(call.path, call.columns, map(tally.count, kept.answers()))
        disk.remove(part)
    except OSError as error:
        raise PredictionError(
            f"{call.path} cannot be written: {error.strerror or error}.",
            (ours and _kept_for_later(part)) or "Choose another place for the file.",
        ) from error
    except BaseException as error:
        if ours and (kept_for_later := _kept_for_later(part)):
            error.add_note(kept_for_later)
        raise
    return tally.written(time.monotonic() - started, note)


def _answer_all(
    call: Call, kept: Kept, pictures: Iterable[Picture], ask: Callable[[Iterable[Picture]], Iterator[Answer]]
) -> str:
    """Answer what is not answered yet; return a sentence about what was, and tell it at once."""

    def step() -> None:
        if call.progress is not None:
            call.progress(kept.count, call.total)

    rest = kept.resume(pictures, step)
    note = f"{kept.count:,} answer{'' if kept.count == 1 else 's'} kept from before. " if kept.count else ""
    if kept.refused:
        what = "The others that were kept are" if kept.count else "What was kept from before is"
        note += f"{what} of {kept.refused} and not used."
    if note and call.notify is not None:
        call.notify(note.strip())
    keys: deque[str] = deque()

    def remembered() -> Iterator[Picture]:
        for picture in rest:
            keys.append(key_of(picture))
            yield picture

    for answer in ask(remembered()):
        kept.add(keys.popleft(), answer)
        step()
    return note.strip()


def _kept_for_later(part: Path) -> str:
    """Return what becomes of the answers that are there; nothing where there are none."""
    try:
        with part.open("rb") as file:
            some = bool(file.readline() and file.readline())
        if not some:
            part.unlink()
    except OSError:
        return ""
    return f"The answers so far are kept in {part}; the same call continues there." if some else ""


# -- what is kept ------------------------------------------------------------------------------------------


class Kept:
    """The answers so far, in an open file that is this call's own."""

    def __init__(self, file: BinaryIO, whose: dict[str, Any], columns: Columns) -> None:
        self._file, self._bytes = file, 4 * len(columns.classes)
        self.count = 0
        self.refused = ""  # whose what was kept and cannot be used is
        self._flushed = time.monotonic()
        file.seek(0)
        first, head = file.readline(), json.dumps(whose).encode() + b"\n"
        if first != head:
            self.refused = "another model" if file.readline() else ""
            file.truncate(0)
            file.write(head)
            file.flush()
        self._begin = len(head)

    def resume(self, pictures: Iterable[Picture], step: Callable[[], None]) -> Iterator[Picture]:
        """Keep the answers to these images, drop all from the first difference on, and return the images left."""
        pictures = iter(pictures)
        self._file.seek(self._begin)
        end = self._begin
        for line in self._file:
            found = self._read(line)
            if found is None:  # a crash has cut it
                break
            picture = next(pictures, None)
            if picture is None or not found[0] or found[0] != key_of(picture):
                self.refused = "other images"
                pictures = pictures if picture is None else itertools.chain([picture], pictures)
                break
            end += len(line)
            self.count += 1
            step()
        self._file.seek(end)
        self._file.truncate()
        return pictures

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer; a crash loses those of the last two seconds."""
        scores = "" if answer.scores is None else base64.b64encode(answer.scores.astype("<f4").tobytes()).decode()
        self._file.write(json.dumps([key, answer.name, scores, answer.error, answer.seen]).encode() + b"\n")
        self.count += 1
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def answers(self) -> Iterator[Answer]:
        """Yield all that is kept."""
        self._file.seek(self._begin)
        for line in self._file:
            if found := self._read(line):
                yield found[1]

    def _read(self, line: bytes) -> tuple[str, Answer] | None:
        """Return what an image is known by and its answer; None for a line that is cut or damaged."""
        import numpy as np

        try:
            key, name, text, error, seen = json.loads(line)
            scores = base64.b64decode(text, validate=True)
        except (ValueError, TypeError, RecursionError):
            return None
        whole = line.endswith(b"\n") and len(scores) in (0, self._bytes)
        if not whole or not all(isinstance(one, str) for one in (key, name, error, seen or "")):
            return None
        return key, Answer(name, np.frombuffer(scores, "<f4") if scores else None, error, seen=seen)


def key_of(picture: Picture) -> str:
    """Return what an image is known by in the next call.

    A file by its name, its size and its time of change, an address by itself, bytes and arrays by their content. Empty
    for the others, such as a Pillow image or an open file, which are always answered anew.
    """
    content, digest = picture.content, hashlib.blake2b(picture.name.encode(), digest_size=12)
    kind = "url" if isinstance(content, URL) else inputs.kind_of(content)
    if kind == "path":
        try:
            facts = os.stat(content)  # noqa: PTH116 - a third of the time that pathlib takes
            digest.update(f"\n{facts.st_size} {facts.st_mtime_ns}".encode())
        except (OSError, ValueError):
            digest.update(b"\ngone")
    elif kind == "array":
        digest.update(f"\n{content.shape} {content.dtype}".encode() + content.tobytes())
    elif kind == "bytes":
        digest.update(b"\n" + bytes(content))
    elif kind != "url":
        return ""
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(part: Path, target: Path) -> Iterator[BinaryIO]:
    """Open the file of what is kept, for this call alone."""
    import portalocker

    while True:
        with part.open("a+b") as file:
            try:
                portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
            except portalocker.AlreadyLocked as error:
                raise PredictionError(
                    f"Another call is writing {target} now.",
                    "Wait until it has ended, or choose another name for the file.",
                ) from error
            except portalocker.LockException:  # a file system without locks
                pass
            if _is(part, file):
                yield file
                return


def _is(path: Path, file: BinaryIO) -> bool:
    """Tell whether an open file is still that of its name: whoever held it before may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


# -- the table ---------------------------------------------------------------------------------------------


class Tally:
    """Counts what the answers are while they are written."""

    def __init__(self, columns: Columns, path: Path) -> None:
        self._columns, self._path = columns, path
        self._labels: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._failed = self._unsure = 0

    def count(self, answer: Answer) -> Answer:
        """Count an answer and hand it on."""
        if answer.scores is None:
            self._failed += 1
        else:
            self._labels[self._columns.label(answer)] += 1
            self._unsure += self._columns.unsure(answer)
        if answer.seen:
            self._seen[answer.seen] += 1
        return answer

    def written(self, seconds: float, note: str) -> Written:
        """Return what was done."""
        return Written(self._path, self._labels, self._failed, seconds, self._unsure, "", self._seen, note)


def _replace(path: Path, columns: Columns, answers: Iterator[Answer]) -> None:
    """Write the table aside, then put it in the place of an older one."""
    with disk.staged(path, durable=True) as aside:  # what was kept is removed next
        WRITERS[path.suffix.casefold()](aside, columns, answers)


def _write_csv(path: Path, columns: Columns, answers: Iterator[Answer]) -> None:
    doubts = columns.unsure_below is not None
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(map(neutral, columns.names))
        for answer in answers:
            scores = [""] * len(columns.classes)
            if answer.scores is not None:  # nine digits give back every float32 exactly
                scores = [f"{score:.9g}" for score in answer.scores.tolist()]
            cells = [neutral(answer.name), neutral(columns.label(answer)), *scores, neutral(answer.error)]
            rows.writerow([*cells, columns.unsure(answer)] if doubts else cells)


def _write_parquet(path: Path, columns: Columns, answers: Iterator[Answer]) -> None:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.string()
    last = [pa.bool_()] if columns.unsure_below is not None else []
    kinds = [text, text, *[pa.float32()] * len(columns.classes), text, *last]
    schema = pa.schema(list(zip(columns.names, kinds, strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(itertools.islice(answers, max(1, CELLS // len(columns.classes)))):
            none = np.full(len(columns.classes), np.nan, np.float32)
            scores = np.stack([none if one.scores is None else one.scores for one in some])
            missing = np.array([one.scores is None for one in some])
            table = [
                [_clean(one.name) for one in some],
                [columns.label(one) for one in some],
                *(pa.array(column, pa.float32(), mask=missing) for column in scores.T),
                [_clean(one.error) for one in some],
                *([[columns.unsure(one) for one in some]] if last else []),
            ]
            writer.write_table(pa.table(table, schema=schema))


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


WRITERS: dict[str, Callable[[Path, Columns, Iterator[Answer]], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
