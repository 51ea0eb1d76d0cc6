"""Where experiments and runs are kept: a folder, always there, no account needed.

::

    mb_workspace/                       beside the notebook, or $MB_WORKSPACE
        <experiment>/experiment.json    written when the name is used for the first time
        <experiment>/<run id>/run.json  one folder per run, plain files

Nothing is written before something is kept: looking at a workspace that is not there shows an empty one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .display import card, escape, near, table, text_table
from .errors import WorkspaceError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
"""What an experiment may be called; Azure's rule, so that the same cell works there."""
RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
NAME_RULE = "1 to 128 letters, digits, hyphens and underscores, beginning with a letter or a digit"


@dataclass(frozen=True)
class Workspace:
    """A folder of experiments. Get one with :meth:`local`."""

    root: Path

    @classmethod
    def local(cls, path: str | os.PathLike[str] | None = None) -> Workspace:
        """Return the workspace at ``path``, at ``$MB_WORKSPACE`` or at ``mb_workspace`` beside the notebook."""
        chosen = path or os.environ.get("MB_WORKSPACE") or "mb_workspace"
        return cls(Path(os.path.abspath(Path(chosen).expanduser())))  # noqa: PTH100 - a link stays as written

    def experiments(self) -> list[str]:
        """Return the names of the experiments, sorted."""
        try:
            with os.scandir(self.root) as entries:
                names = [entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(error) from error
        return sorted(name for name in names if (self.root / name / "experiment.json").is_file())

    @staticmethod
    def check(name: str) -> None:
        """Raise ``WorkspaceError`` where this cannot be the name of an experiment."""
        if not NAME.fullmatch(name):
            raise WorkspaceError(f"{name!r} cannot be the name of an experiment.", f"Allowed are {NAME_RULE}.")

    def delete(self, name: str) -> None:
        """Delete an experiment with all its runs; put aside first, so that nobody ever sees a half of it."""
        aside = self.root / f".deleted-{secrets.token_hex(4)}"
        try:
            (self.root / name).rename(aside)
            shutil.rmtree(aside)
        except OSError as error:
            raise self._unwritable(error) from error

    def experiment(self, name: str) -> Path:
        """Return the folder of an experiment; its name is registered when it is used for the first time."""
        self.check(name)
        folder = self.root / name
        record = folder / "experiment.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not record.exists():
                _write_json(record, {"name": name, "created": _now().isoformat(timespec="seconds")})
        except OSError as error:
            raise self._unwritable(error) from error
        return folder

    def runs(self, experiment: str | None = None) -> list[Path]:
        """Return the folders of the runs, the latest first; of one experiment or of all."""
        names = self.experiments() if experiment is None else [experiment] if NAME.fullmatch(experiment) else []
        folders: list[tuple[str, Path]] = []
        for name in names:
            try:
                with os.scandir(self.root / name) as entries:
                    ids = [entry.name for entry in entries if RUN_ID.fullmatch(entry.name)]
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._unreadable(error) from error
            folders += [(run_id, self.root / name / run_id) for run_id in ids]
        return [folder for _, folder in sorted(folders, reverse=True)]

    def new_run(self, experiment: str) -> Path:
        """Make the folder of a new run; two trainings at once never get the same one."""
        parent = self.experiment(experiment)
        while True:
            folder = parent / f"{_now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise self._unwritable(error) from error
            return folder

    def record_run(self, folder: Path, record: dict[str, Any]) -> None:
        """Write a run's ``run.json``; until then its folder is no run."""
        try:
            _write_json(folder / "run.json", record)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> WorkspaceError:
        return WorkspaceError(
            f"The workspace {self.root} cannot be written to: {error.strerror or error}.",
            "Set the environment variable MB_WORKSPACE to a folder of yours, or get the right to write there.",
        )

    def _unreadable(self, error: OSError) -> WorkspaceError:
        return WorkspaceError(
            f"The workspace {self.root} cannot be read: {error.strerror or error}.",
            "Set the environment variable MB_WORKSPACE to a folder that can be read.",
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [(name, len(self.runs(name))) for name in self.experiments()]
        columns = ("Experiment", "Runs")
        there = "" if self.root.is_dir() else " It is made when the first training begins."
        said = f"Local workspace {near(self.root)}: {_count(len(rows), 'experiment')}.{there}"
        text, page = said, f"<div>{escape(said)}</div>"
        if rows:
            text = f"{said}\n{text_table(columns, rows)}"
            page += table(columns, rows, right=[1])
        return {"text/plain": text, "text/html": card("Workspace", page)}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _now() -> datetime:
    return datetime.now(UTC)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    aside.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    aside.replace(path)
