"""Experiments, those of the local workspace and those of the chosen Azure workspace alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mb_jupyter import when
from mb_jupyter.errors import AzureError
from mb_jupyter.history import Runs, runs
from mb_jupyter.naming import in_azure
from mb_jupyter.workspace import Workspace

from .listing import Listing
from .names import check_experiment_name, require

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection
    from mb_jupyter.azureml.experiments import FoundRun

HERE, AZURE = "this machine", "Azure"


@dataclass(frozen=True)
class NamedExperiment:
    """An experiment and where it is known: here, in Azure or in both."""

    name: str
    here: bool
    azure: bool
    local_runs: int = 0

    @property
    def where(self) -> str:
        """Where it is known, in words."""
        return " and ".join(place for place, known in ((HERE, self.here), (AZURE, self.azure)) if known)


def experiments(connection: Connection | None = None, local: Workspace | None = None) -> Listing[NamedExperiment]:
    """Return the experiments of the local workspace, with a connection those of the Azure workspace too."""
    place = local or Workspace.local()
    here, there = place.experiments(), list[str]()
    if connection is not None:
        from mb_jupyter.azureml.experiments import experiments as ask

        there = [each.name for each in ask(connection)]
    known = {in_azure(name): name for name in here}  # by what Azure calls it
    found = [
        NamedExperiment(name, name in here, in_azure(name) in there, len(place.runs(name)) if name in here else 0)
        for name in sorted({*here, *(known.get(name, name) for name in there)})
    ]
    said = f"{len(found)} in {place.root.name}" + (
        f" and in the Azure workspace {connection.place.workspace}." if connection is not None else "."
    )
    rows = [(each.name, each.where, each.local_runs) for each in found]
    return Listing("Experiments", found, ("Experiment", "Known to", "Runs kept here"), rows, said=said, right=[2])


@dataclass(frozen=True)
class ExperimentView:
    """One experiment with its runs from both sides."""

    name: str
    local: Runs
    remote: Listing[FoundRun] | None

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        shown = [
            self.local._repr_mimebundle_(),
            *([self.remote._repr_mimebundle_()] if self.remote is not None else []),
        ]
        text = "\n".join(each["text/plain"] for each in shown)
        return {"text/plain": f"Experiment {self.name}\n{text}", "text/html": "".join(e["text/html"] for e in shown)}


def experiment(name: str, connection: Connection | None = None, local: Workspace | None = None) -> ExperimentView:
    """Return an experiment with its runs; raises when neither side knows it."""
    require(check_experiment_name(name), f"The experiment {name}")
    place = local or Workspace.local()
    remote = None if connection is None else _remote(name, connection)
    here = runs(name, place)
    if remote is None and not here and name not in place.experiments():
        sides = place.root.name if connection is None else f"{place.root.name} nor in {connection.place.workspace}"
        raise AzureError(
            f"There is no experiment {name} in {sides}.", "It is registered when it is used for the first time.",
            "List them: %mb_experiment list.",
        )  # fmt: skip
    return ExperimentView(name, here, remote)


def _remote(name: str, connection: Connection) -> Listing[FoundRun] | None:
    from mb_jupyter.azureml import experiments as service

    known = service.experiment(connection, in_azure(name))
    if known is None:
        return None
    found = service.runs(connection, known)
    workspace = connection.place.workspace
    rows = [
        (
            f"azure://{workspace}/{run.id}",
            run.state,
            when.minute(run.begun.timestamp()) if run.begun else "",
            ", ".join(f"{key} {value:.3g}" for key, value in sorted(run.metrics.items())[:3]),
        )
        for run in found
    ]
    columns = ("Handle", "State", "Begun", "Latest metrics")
    return Listing("Runs in Azure", found, columns, rows, said=f"{len(found)} in {workspace}.")


def register_experiment(
    name: str, connection: Connection | None = None, local: Workspace | None = None, *, called: str | None = None
) -> None:
    """Register an experiment here, and with a connection in the Azure workspace; one that is there is joined.

    ``called`` is its name there; without it Azure gets its own name, or what is derived from it.
    """
    require(check_experiment_name(name), f"The experiment {name}")
    (local or Workspace.local()).experiment(name)
    if connection is not None:
        from mb_jupyter.azureml.experiments import register

        register(connection, called or in_azure(name))
