"""Which runs there are: listed, and found again by handle, id or the name of their experiment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from . import when
from .backends import RunState
from .display import card, escape, near, percent, table, text_table, unbroken
from .errors import WorkspaceError
from .naming import AZURE_NAME
from .records import REPORT, read_fields
from .run import Run
from .standing import Use
from .workspace import RUN_ID, Workspace

if TYPE_CHECKING:
    import pandas as pd

    from .report import Comparison

AZURE_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
SHOWN = 50  # runs that a list shows


class Runs(Sequence[Run]):
    """Runs, the latest first. Shows itself as a table; ``frame`` has every column of all of them."""

    COLUMNS = ("Handle", "State", "Begun", "Accuracy", "Architecture", "Data")

    def __init__(self, runs: Sequence[Run], where: str) -> None:
        self._runs = list(runs)
        self._where = where

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        if isinstance(index, slice):
            return Runs(self._runs[index], self._where)
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per run."""
        import pandas as pd

        return pd.DataFrame([_row(run) for run in self], columns=list(self.COLUMNS))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        said = f"{len(self):,} run{'' if len(self) == 1 else 's'} in {self._where}"
        if not self._runs:
            return {"text/plain": f"{said}.", "text/html": card("Runs", f"<div>{escape(said)}.</div>")}
        rows = [_row(run) for run in self._runs[:SHOWN]]
        rest = f"; the latest {SHOWN} are shown" if len(self) > SHOWN else ""
        text = f"{said}{rest}.\n{text_table(self.COLUMNS, rows)}"
        whole = [(unbroken(handle), state, unbroken(begun), *others) for handle, state, begun, *others in rows]
        page = f"<div>{escape(said + rest)}.</div>{table(self.COLUMNS, whole, right=[3])}"
        return {"text/plain": text, "text/html": card("Runs", page)}

    def __repr__(self) -> str:
        return f"<{len(self)} runs in {self._where}>"


def _row(run: Run) -> tuple[str, ...]:
    try:
        record, status = run.record, run.status
    except WorkspaceError:  # one that was damaged, or belongs to a backend that is not here, does not hide the others
        return (str(run.folder), "unreadable", *[""] * 4)
    report = read_fields(run.folder, REPORT) if status.state is not RunState.CANCELED else {}
    accuracy, network = report.get("test_accuracy"), report.get("architecture")
    return (
        run.handle,
        status.word,
        when.minute(record.get("created")),
        f"{percent(accuracy)} {_mark(report)}".rstrip() if isinstance(accuracy, float | int) else "",
        str(network or run.config.get("architecture", "")),
        str(record.get("data", "")),
    )


def _mark(record: dict[str, Any]) -> str:
    """Return in a word what speaks against an accuracy, as the report's caveats tell in full."""
    from .report import marked

    mark = marked(record)
    return f"({mark})" if mark else ""


def runs(experiment: str | None = None, workspace: Workspace | None = None) -> Runs:
    """Return the runs of the workspace, or of one experiment, the latest first."""
    place = workspace or Workspace.local()
    folders = [folder for folder in place.runs(experiment) if (folder / "run.json").exists()]
    return Runs([Run(folder) for folder in folders], f"experiment {experiment}" if experiment else near(place.root))


def attach(name: str | Run | None = None, workspace: Workspace | None = None) -> Run:
    """Return a run by its handle or id, the latest of an experiment by its name, or the latest of all."""
    if isinstance(name, Run):
        return name
    place = workspace or Workspace.local()
    if name is not None and "://" in name:
        return _by_handle(name, place)
    if name is not None and RUN_ID.fullmatch(name):
        found = [Run(folder) for folder in place.runs() if folder.name == name]
    else:
        found = list(runs(name, place))
    if found:
        return found[0]
    known = place.experiments()
    raise WorkspaceError(
        f"There is no run {name} in {place.root}." if name else f"There is no run in {place.root} yet.",
        f"Experiments with runs are {', '.join(known)}; list them with %mb_runs."
        if known
        else "Train with %%mb_train.",
    )


def compare(*runs: str | Run | Sequence[str | Run], workspace: Workspace | None = None) -> Comparison:
    """Compare runs on the pictures that they all held out: each with the first, which is usually the earliest.

    ``runs`` are handles, ids or :class:`Run`, one by one or as a list; an experiment's name means its latest run.
    One alone is compared with the run before it.
    """
    from .report import compare_reports

    named = [one for given in runs for one in ([given] if isinstance(given, str | Run) else given)]
    found = [chosen(one, "report", workspace) for one in named]
    for run in found:
        if len(found) > 1 and sum(run.folder == other.folder for other in found) > 1:
            raise WorkspaceError(
                f"{run.handle} is named twice; a run is not compared with itself.",
                "Name two different runs: %mb_runs lists them. One alone is compared with the run before it.",
            )
    reports = [run.report for run in found]
    if len(reports) == 1 and reports[0].previous is not None:
        reports.insert(0, reports[0].previous)
    return compare_reports(reports)


def going_on(name: str | Run | None = None, workspace: Workspace | None = None) -> Run:
    """Return the run that is meant by ``%mb_stop`` and ``%mb_cancel``: the named one, else the only one going on.

    An experiment's name means its run that goes on. Raises ``WorkspaceError`` when none or several do.
    """
    if isinstance(name, Run) or (name is not None and ("://" in name or RUN_ID.fullmatch(name))):
        return attach(name, workspace)
    active = [run for run in runs(name, workspace) if not run.state.is_terminal]
    if len(active) == 1:
        return active[0]
    if not active:
        raise WorkspaceError(
            f"No run of {name} goes on." if name else "No run goes on.", "List the runs with %mb_runs."
        )
    raise WorkspaceError(
        f"{len(active)} runs go on: {', '.join(run.handle for run in active)}.", "Name the one that is meant."
    )


def latest_with(use: Use, workspace: Workspace | None = None, experiment: str | None = None) -> Run:
    """Return the latest run whose ``model`` or ``report`` may be used, of all or of one experiment."""
    place = workspace or Workspace.local()
    for folder in place.runs(experiment):
        run = Run(folder)
        if (folder / "run.json").exists() and run.standing.offers(use):
            return run
    where = f"experiment {experiment}" if experiment else str(place.root)
    raise WorkspaceError(f"No run in {where} has a {use} yet.", "Train with %%mb_train; %mb_runs lists the runs.")


def chosen(name: str | Run | None, use: Use, workspace: Workspace | None = None) -> Run:
    """Return the run that was named, for its ``model`` or ``report``; by an experiment's name or none the latest.

    An experiment whose runs all lack it gives its latest, which then says why.
    """
    if isinstance(name, Run) or (name is not None and ("://" in name or RUN_ID.fullmatch(name))):
        return attach(name, workspace)
    try:
        return latest_with(use, workspace, name)
    except WorkspaceError:
        if name is None:
            raise
        return attach(name, workspace)


def _by_handle(handle: str, place: Workspace) -> Run:
    kind, _, path = handle.partition("://")
    if kind == "azure":
        return _in_azure(handle, place)
    if kind != "local":
        raise WorkspaceError(
            f"{handle} cannot be opened: a handle begins with local:// or azure://.", "%mb_runs lists the runs."
        )
    experiment, _, run_id = path.partition("/")
    found = [folder for folder in place.runs(experiment) if folder.name == run_id]
    if found and (found[0] / "run.json").is_file():
        return Run(found[0])
    raise WorkspaceError(
        f"There is no run {handle} in {place.root}.",
        "List the runs with %mb_runs, or set MB_WORKSPACE to the workspace it was trained in.",
    )


def _in_azure(handle: str, place: Workspace) -> Run:
    """Return a run of Azure by its folder here, or make its folder from what it has left there."""
    for run in runs(workspace=place):
        try:
            if run.handle == handle:
                return run
        except WorkspaceError:  # one that was damaged does not hide the others
            continue
    workspace, _, job = handle.removeprefix("azure://").partition("/")
    if not AZURE_NAME.fullmatch(workspace) or not AZURE_JOB.fullmatch(job):
        raise WorkspaceError(f"{handle} is no handle.", "It reads azure://WORKSPACE/JOB; %mb_runs lists the runs.")
    from .backends.azure import adopt_job

    return Run(adopt_job(workspace, job, place.root))
