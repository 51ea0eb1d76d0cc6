"""The shapes of a run's files, as version 0.1.0 and later write them. Loads pydantic: import it when needed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field  # noqa: TID253

Figure = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0, lt=1e12)]
Counts = dict[str, Count]


class _Shape(BaseModel):
    """Named fields must fit as they are, without a conversion; others pass."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())


class RunShape(_Shape):
    """``run.json``: written once, when the run is begun."""

    handle: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://[^\x00-\x1f]+$")]
    experiment: str
    id: str
    config: dict[str, Any]
    backend: str = "local"
    created: str = ""
    data: str = ""
    root: str = ""
    fingerprint: str = ""
    identity: str = ""
    classes: list[str] = []
    counts: Counts = {}
    left_out: Count = 0
    check_seconds: Seconds = 0.0
    azure: dict[str, Any] | None = None


class StageShape(_Shape):
    """A stage in ``status.json``."""

    stage: str
    started: Figure | None = None
    seconds: Seconds | None = None


class StatusShape(_Shape):
    """``status.json``: replaced about twice a second while the program runs."""

    state: str | None = None
    stage: str | None = None
    done: Count | None = None
    total: Count | None = None
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    eta_seconds: Seconds | None = None
    message: str | None = None
    stages: list[StageShape] | None = None
    started: Figure | None = None
    updated: Figure | None = None
    seconds: Seconds | None = None
    stage_seconds: Seconds | None = None
    eta_at_most: bool | None = None
    planned: list[str] | None = None
    stopping: bool | None = None
    error: dict[str, Any] | None = None
    note: str | None = None
    url: str | None = None
    spent: Annotated[float, Field(allow_inf_nan=False, ge=0)] | None = None
    currency: str | None = None


class PlaceShape(_Shape):
    """Where a job of Azure is."""

    subscription: str
    resource_group: str = ""
    workspace: str = ""
    region: str = ""
    tenant: str = ""


class AzureStageShape(_Shape):
    """A stage around the program's, in ``azure.json``."""

    stage: str
    started: Figure
    seconds: Seconds | None


class AzureShape(_Shape):
    """``azure.json``: what is known of a run's job, and of how it is sent and followed."""

    place: PlaceShape
    job: str
    prefix: str
    sign_in: str | None = None
    compute: str | None = None
    size: str | None = None
    priority: str | None = None
    price: Annotated[float, Field(allow_inf_nan=False, ge=0)] | None = None
    currency: str | None = None
    nodes: Count | None = None
    minutes: Seconds | None = None
    queue_minutes: Seconds | None = None
    attempt: Count | None = None
    handle: str | None = None
    experiment: str | None = None
    submitting: bool | None = None
    submitted: bool | None = None
    seen: bool | None = None
    ran: bool | None = None
    begun: Figure | None = None
    missing_since: Figure | None = None
    queue_over: Seconds | None = None
    stages: list[AzureStageShape] | None = None


class EndedShape(_Shape):
    """``ended.json``: how the program ended on a node, and (size, hash) of each file that it has left."""

    returncode: int
    ended: Figure | None = None
    files: dict[str, Annotated[list[int | str], Field(min_length=2)]] | None = None


class ExitShape(_Shape):
    """``exit.json``: how the program ended."""

    returncode: int
    ended: Figure | None = None
    oom_kills: int = 0


class ProcessShape(_Shape):
    """``process.json``: the supervisor and the program."""

    pid: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    program: Annotated[int, Field(gt=0, lt=2**31)] | None = None


class MetricShape(_Shape):
    """A line of ``metrics.jsonl``: an event with its figures."""

    event: str | None = None
    time: Figure | None = None
    stage: str | None = None
    message: str | None = None
    reason: str | None = None
    code: str | None = None
    phase: Literal["features", "finetune"] | None = None
    epoch: Count | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    at_once: Count | None = None
    train_loss: Figure | None = None
    train_accuracy: Figure | None = None
    validation_loss: Figure | None = None
    validation_accuracy: Figure | None = None
    test_accuracy: Figure | None = None
    learning_rate: Figure | None = None
    seconds: Seconds | None = None
    pictures_per_second: Figure | None = None
    best: bool | None = None
    pictures: Counts | None = None
    classes: list[str] | None = None
    agreement: Figure | None = None
    largest_difference: Figure | None = None


class ReportShape(_Shape):
    """``report.json``: what the training itself wrote down at its end."""

    architecture: str | None = None
    test_accuracy: Figure | None = None
    test_loss: Figure | None = None
    temperature: Annotated[float, Field(gt=0, lt=1e6)] | None = None
    ece_before: Figure | None = None
    ece_after: Figure | None = None
    best_phase: str | None = None
    agreement: Figure | None = None
    largest_difference: Figure | None = None
    verification: dict[str, Any] | None = None
    counts: Counts | None = None
    variants: list[dict[str, Any]] | None = None
    recommended_variant: str | None = None
    recommendation: str | None = None
    measured_on: str | None = None
    calibration: dict[str, Any] | None = None
    choices_from: str | None = None
    neighbours: dict[str, Any] | None = None


class HardwareShape(_Shape):
    """What computed."""

    processor: str | None = None
    system: str | None = None
    gpus: list[str] | None = None


class ReproducibilityShape(_Shape):
    """``reproducibility.json``: what made the run."""

    architecture: str | None = None
    weights_sha256: str | None = None
    fingerprint: str | None = None
    counts: Counts | None = None
    classes: list[str] | None = None
    engine: str | None = None
    settings: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    hardware: HardwareShape | None = None
    notes: list[str] | None = None


class MetricsShape(_Shape):
    """The figures in a model's card."""

    test_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    test_loss: Figure | None = None
    best_phase: str | None = None


class CardShape(_Shape):
    """What a model file says of itself: ``card.json``, and the network's metadata over it."""

    classes: list[str]
    metrics: MetricsShape | None = None
    versions: dict[str, str] | None = None
    pictures: Counts | None = None
    tests: Count | Annotated[str, Field(pattern=r"^[0-9]{0,15}$")] | None = None
    architecture: str = ""
    fingerprint: str = ""
    run: str = ""
    created: str = ""


SHAPES: dict[str, type[BaseModel]] = {
    "run.json": RunShape,
    "status.json": StatusShape,
    "azure.json": AzureShape,
    "ended.json": EndedShape,
    "exit.json": ExitShape,
    "process.json": ProcessShape,
    "metrics.jsonl": MetricShape,
    "report.json": ReportShape,
    "reproducibility.json": ReproducibilityShape,
}
