"""Where a training is carried out: what must be known of the place before, and what the backend is told.

This machine needs nothing. For Azure the pre-flight asks all its questions first, because a missing quota is
worth knowing in ten seconds and not after twenty minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, DataError
from .naming import in_azure
from .training.paths import at_home

if TYPE_CHECKING:
    from .cloud import Chosen, Preflight
    from .config import TrainConfig
    from .dataset import Dataset

SPARE_MINUTES = 15.0  # for a node to unpack and to install, before the program's own clock begins
PLACE = ("subscription", "resource_group", "workspace", "sign_in", "tenant", "compute")  # of azure:, over the choice
SENT = ("weights", "labels")  # settings that are files of this machine
CACHE = "checkpoint/cache"  # node.py knows it too


@dataclass(frozen=True)
class Placement:
    """What a run needs to know of its place. ``minutes`` bound the program, ``job_minutes`` the whole job."""

    workspace: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    minutes: float | None = None
    job_minutes: float | None = None

    def handle(self, experiment: str, run_id: str) -> str:
        """Return the text that reopens a run of this place."""
        if self.workspace:
            return f"azure://{self.workspace}/{in_azure(experiment)}-{run_id}"
        return f"local://{experiment}/{run_id}"


def place(config: TrainConfig, dataset: Dataset | None) -> Placement:
    """Return the place of a training; raises ``AzureError`` with every line of the pre-flight that would stop it."""
    if config.backend != "azure":
        return Placement(processes=config.processes or 1, minutes=config.max_minutes)
    from .cloud import aside

    chosen = _chosen(config)
    return aside(lambda: _placement(config, chosen, _preflight(config, chosen, dataset).require()))


def preflight(config: TrainConfig, dataset: Dataset | None) -> Preflight | None:
    """Return what the pre-flight finds, None for this machine; changes nothing."""
    if config.backend != "azure":
        return None
    from .cloud import aside

    chosen = _chosen(config)
    return aside(lambda: _preflight(config, chosen, dataset))


def check(config: TrainConfig, dataset: Dataset | None) -> None:
    """Refuse what cannot be there: pictures in Azure for this machine, pictures all over the disk for Azure."""
    if config.is_in_azure and config.backend != "azure":
        raise ConfigError(
            f"The pictures of {config.data} are in Azure.", "Train there: --backend azure.", "Name a folder here."
        )
    if config.is_in_azure and config.group is not None and config.group.casefold().startswith("column"):
        raise ConfigError(
            f"`group` names a column, but the images of {config.data} come from a folder, without a list.",
            "Write a regular expression for their paths, folder or burst.",
        )
    outside = [p.path for p in dataset.pictures if Path(p.path).is_absolute()] if dataset is not None else []
    if config.backend == "azure" and outside:
        raise DataError(
            f"{len(outside):,} pictures lie outside {dataset.root if dataset else ''}, such as {outside[0]}.",
            "For Azure, all pictures lie below one folder: put the CSV file there, or start the kernel there.",
        )


def sent_files(config: TrainConfig) -> dict[str, Path]:
    """Return the files of this machine that a run elsewhere needs, by the names they have there."""
    paths = {name: getattr(config, name) for name in SENT}
    return {f"{name}-{Path(path).name}": at_home(path) for name, path in paths.items() if path}


def settings_there(config: TrainConfig, placement: Placement) -> dict[str, Any]:
    """Return what the program is told where it runs: within the limits of the place, with files that are there."""
    settings = {**config.program_settings(), "max_minutes": placement.minutes}
    if config.backend != "azure":
        return settings
    there = {name: f"{{output}}/{name}-{Path(settings[name]).name}" for name in SENT if settings.get(name)}
    there["cache"] = f"{{output}}/{CACHE}"  # a node that is taken away leaves the features to the next one
    return {**settings, **there}


def register(config: TrainConfig) -> None:
    """Register the experiment where it is used for the first time."""
    if config.backend != "azure":
        return
    from .cloud import aside, register_experiment

    chosen = _chosen(config)
    aside(lambda: register_experiment(config.experiment, chosen.connect(), called=config.azure.experiment))


def _chosen(config: TrainConfig) -> Chosen:
    from .cloud import chosen

    wanted = {name: getattr(config.azure, name) for name in PLACE if getattr(config.azure, name)}
    before = chosen()
    another = any(
        wanted.get(name, getattr(before, name)) != getattr(before, name)
        for name in ("subscription", "resource_group", "workspace")
    )
    # a compute and a region that were chosen belong to the workspace that was chosen
    return replace(before, **({"compute": "", "region": ""} if another else {}) | wanted)


def _preflight(config: TrainConfig, chosen: Chosen, dataset: Dataset | None) -> Preflight:
    from .cloud import Wanted, preflight

    pictures = dataset.pictures if dataset is not None else []
    wanted = Wanted(
        nodes=config.azure.nodes,
        max_minutes=config.max_minutes,
        job_minutes=_longest(config),
        max_cost=config.max_cost,
        pictures=len(pictures) if dataset is not None else None,
        data_bytes=sum(p.size for p in pictures) if dataset is not None else None,
        remote=config.is_in_azure,
    )
    return preflight(chosen, wanted)


def _placement(config: TrainConfig, chosen: Chosen, flight: Preflight) -> Placement:
    from dataclasses import asdict

    compute, azure = flight.compute, config.azure
    assert compute is not None
    minutes, most = _limits(config, flight.price_per_hour)
    return Placement(
        workspace=chosen.workspace,
        options={
            "place": asdict(replace(chosen.place, region=flight.region or chosen.region)),
            "sign_in": chosen.sign_in,
            "compute": compute.name,
            "size": compute.size,
            "priority": compute.priority,
            "nodes": azure.nodes,
            "environment": azure.environment,
            "wheels": flight.has_closed_nodes and not azure.environment,
            "experiment": azure.experiment or in_azure(config.experiment),
            "azure_name": in_azure(config.experiment),
            "queue_minutes": azure.queue_minutes,
            "price": flight.price_per_hour,
            "currency": flight.currency,
        },
        processes=config.processes or max(1, flight.gpus or 1),
        minutes=minutes,
        job_minutes=most,
    )


def _longest(config: TrainConfig) -> float:
    """Return the minutes after which Azure itself ends the job."""
    from .backends.azure import MOST_MINUTES

    return MOST_MINUTES if config.max_minutes is None else config.max_minutes + SPARE_MINUTES


def _limits(config: TrainConfig, price: float | None) -> tuple[float | None, float]:
    """Return the minutes of the program and of the job: what was asked for, and what ``max_cost`` pays for."""
    minutes, most = config.max_minutes, _longest(config)
    if config.max_cost is None:
        return minutes, most
    if not price:  # the pre-flight has seen to it that there are max_minutes
        return minutes, most
    paid = config.max_cost / price * 60
    # the program ends before the job is ended, so that the money buys a model
    own = max(paid - SPARE_MINUTES, paid / 2)
    return min(own, minutes or own), min(paid, most)
