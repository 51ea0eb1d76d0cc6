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

from . import naming
from .display import card, escape, near, table, text_table
from .errors import WorkspaceError
from .training import disk
from .training.paths import at_home, brief, unreachable

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True)
class Workspace:
    """A folder of experiments. Get one with :meth:`local`."""

    root: Path

    @classmethod
    def local(cls, path: str | os.PathLike[str] | None = None) -> Workspace:
        """Return the workspace at ``path``, at ``$MB_WORKSPACE`` or at ``mb_workspace`` beside the notebook."""
        chosen = path or os.environ.get("MB_WORKSPACE") or "mb_workspace"
        return cls(Path(os.path.abspath(at_home(chosen))))  # noqa: PTH100 - a link stays as written

    def experiments(self) -> list[str]:
        """Return the names of the experiments, sorted."""
        return sorted(name for name, folder in self._folders().items() if (folder / "experiment.json").is_file())

    def _folders(self) -> dict[str, Path]:
        """Return the folders that may be experiments by name; a folder's name may be in another Unicode form."""
        try:
            with os.scandir(self.root) as entries:
                found = sorted(entry.name for entry in entries if naming.is_name(entry.name) and entry.is_dir())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unreadable(error) from error
        exact = {name: self.root / name for name in found if name == naming.clean(name)}
        return {naming.clean(name): self.root / name for name in found} | exact

    def folder(self, name: str) -> Path:
        """Return the folder of an experiment, whether it is there or not."""
        name = naming.clean(name)
        return self._folders().get(name, self.root / name)

    def check(self, name: str) -> None:
        """Raise ``WorkspaceError`` where this cannot be the name of an experiment.

        Two names that differ only in capitals would be one folder on Windows and macOS.
        """
        name, said = naming.clean(name), naming.problem(name)
        folders = self._folders() if naming.is_name(name) else {}
        if name in folders:
            return
        if said:
            raise WorkspaceError(f"{name!r} cannot be the name of an experiment.", said)
        if alike := naming.alike(name, folders):
            raise WorkspaceError(
                f"There is an experiment {alike}, and {name} differs only in capitals.",
                f"Use {alike}, or choose a name that differs in more: Windows and macOS take the two for one.",
            )

    def delete(self, name: str) -> None:
        """Delete an experiment with all its runs; put aside first, so that nobody ever sees a half of it."""
        aside = self.root / f".deleted-{secrets.token_hex(4)}"
        try:
            disk.rename(self.folder(name), aside)
            shutil.rmtree(aside)
        except OSError as error:
            raise self.unwritable(error) from error

    def experiment(self, name: str) -> Path:
        """Return the folder of an experiment; its name is registered when it is used for the first time."""
        if naming.is_name(name):
            if reason := unreachable(self.root):
                raise self.unwritable(reason)
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self.unwritable(error) from error
        self.check(name)
        name, folder = naming.clean(name), self.folder(name)
        record = folder / "experiment.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not record.exists():
                _write_json(record, {"name": name, "created": _now().isoformat(timespec="seconds")})
        except OSError as error:
            raise self.unwritable(error) from error
        return folder

    def runs(self, experiment: str | None = None) -> list[Path]:
        """Return the folders of the runs, the latest first; of one experiment or of all."""
        known = self._folders()
        if experiment is not None:
            parents = [known[name] for name in [naming.clean(experiment)] if name in known]
        else:
            parents = [folder for folder in known.values() if (folder / "experiment.json").is_file()]
        folders: list[tuple[str, Path]] = []
        for parent in parents:
            try:
                with os.scandir(parent) as entries:
                    ids = [entry.name for entry in entries if RUN_ID.fullmatch(entry.name)]
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._unreadable(error) from error
            folders += [(run_id, parent / run_id) for run_id in ids]
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
                raise self.unwritable(error) from error
            return folder

    def record_run(self, folder: Path, record: dict[str, Any]) -> None:
        """Write a run's ``run.json``; until then its folder is no run."""
        try:
            _write_json(folder / "run.json", record)
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError | str) -> WorkspaceError:
        """Return the error to raise when something cannot be written there."""
        reason = error if isinstance(error, str) else error.strerror or str(error)
        if isinstance(error, OSError) and error.errno in disk.NO_ROOM:
            return WorkspaceError(f"The workspace {self.root} cannot be written to: {reason}.", disk.room(self.root))
        return WorkspaceError(
            f"The workspace {brief(self.root)} cannot be written to: {reason}.",
            "Set the environment variable MB_WORKSPACE to a folder of yours, or get the right to write there.",
        )

    def _unreadable(self, error: OSError) -> WorkspaceError:
        return WorkspaceError(
            f"The workspace {brief(self.root)} cannot be read: {error.strerror or error}.",
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
    disk.swap(path, json.dumps(value, ensure_ascii=False, indent=1).encode(), durable=True)
