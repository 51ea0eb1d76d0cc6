"""What a run's folder says, checked where it is read: another program, another version or a torn write may have
left anything there.

Of ``run.json`` every named field must fit, or the run cannot be opened. Of the other files a field that does not
fit is absent, like a file that is not there; a line of ``metrics.jsonl`` that does not fit is skipped. Fields that
are not named here pass as they are.
"""

from __future__ import annotations

import functools
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import WorkspaceError
from .training import disk

if TYPE_CHECKING:
    from pydantic import BaseModel

RUN, STATUS, METRICS, REPORT, REPRODUCIBILITY = (
    "run.json", "status.json", "metrics.jsonl", "report.json", "reproducibility.json",
)  # fmt: skip
READ_PAUSES = (0.005, 0.02, 0.05, 0.1)  # seconds before another try


def read_run(folder: Path) -> dict[str, Any]:
    """Return the ``run.json`` of a run; raises ``WorkspaceError`` that says what is wrong with it."""
    from pydantic import ValidationError

    path = folder / RUN
    try:
        found = _parsed(_content(path))
    except OSError as error:
        raise _unreadable(folder, error.strerror or str(error)) from None
    if not isinstance(found, dict):
        raise _unreadable(folder, "it is damaged" if found is None else "it is not the record of a run")
    try:
        _shape(RUN).model_validate(found)
    except ValidationError as error:
        wrong = sorted({str(one["loc"][0]) for one in error.errors()})
        raise _unreadable(folder, f"it does not fit a run in {', '.join(f'`{name}`' for name in wrong)}") from None
    return found


def read_fields(folder: Path, name: str) -> dict[str, Any]:
    """Return the fields of a JSON file that fit; none without such a file."""
    return _fitting(_shape(name), read_object(folder / name) or {})


def fields_of(content: bytes, name: str) -> dict[str, Any]:
    """Return the fields that fit of what a file called ``name`` holds elsewhere."""
    found = _parsed(content)
    return _fitting(_shape(name), found) if isinstance(found, dict) else {}


def read_ended(folder: Path) -> dict[str, Any] | None:
    """Return what ``exit.json`` says (``returncode``, ``oom_kills``); None where it does not say how a run ended."""
    ended = read_object(folder / "exit.json")
    fitting = _fitting(_shape("exit.json"), ended) if ended is not None else {}
    return fitting if "returncode" in fitting else None


def read_processes(folder: Path) -> tuple[int | None, int | None]:
    """Return the process ids of a run's supervisor and program, as ``process.json`` has them."""
    found = _fitting(_shape("process.json"), read_object(folder / "process.json") or {})
    return found.get("pid"), found.get("program")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the records of ``metrics.jsonl``; a line that is being written, was torn or does not fit is skipped."""
    try:
        return metrics_of(_content(folder / METRICS))
    except OSError:
        return []


def metrics_of(content: bytes) -> list[dict[str, Any]]:
    """Return the records that a ``metrics.jsonl`` elsewhere holds, as :func:`read_metrics` does."""
    from pydantic import ValidationError

    shape, records = _shape(METRICS), []
    for line in content.splitlines(keepends=True):
        record = _parsed(line) if line.endswith(b"\n") else None
        if isinstance(record, dict):
            try:
                shape.model_validate(record)
            except ValidationError:
                continue
            records.append(record)
    return records


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None when there is no such file, or none that is whole."""
    try:
        found = _parsed(_content(path))
    except OSError:
        return None
    return found if isinstance(found, dict) else None


def _content(path: Path) -> bytes:
    """Return a file's bytes; Windows may refuse one for a moment while it is replaced: that is not a missing file."""
    pauses = READ_PAUSES if platform.system() == "Windows" else disk.ONCE
    return disk.patiently(path.read_bytes, pauses)


def _parsed(content: bytes) -> Any:
    try:
        found = json.loads(content, parse_constant=lambda _: None)  # NaN and infinities are no JSON
        if b"\\u" in content:  # a half of a surrogate pair can be shown nowhere; a byte of a file name can
            json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError):
        return None
    return found


def _fitting(shape: type[BaseModel], found: dict[str, Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    try:
        shape.model_validate(found)
    except ValidationError as error:
        wrong = {one["loc"][0] for one in error.errors() if one["loc"]}
        return {name: value for name, value in found.items() if name not in wrong}
    return found


def _unreadable(folder: Path, reason: str) -> WorkspaceError:
    return WorkspaceError(f"The run in {folder} cannot be opened: {RUN}: {reason}.", "List the runs with %mb_runs.")


@functools.cache
def _shape(name: str) -> type[BaseModel]:
    """Return what a file has to look like; pydantic is loaded when the first file is read."""
    from . import recordshapes

    return recordshapes.SHAPES[name]
