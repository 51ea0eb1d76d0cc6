"""From a configuration to a run: check the pictures, find the identical run or make one, hand it over.

``train`` is what ``%%mb_train`` calls; ``Experiment.start`` is the same without showing anything.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, placement, when
from .backends import Job, RunState, open_backend
from .backends.locks import starting
from .errors import ConfigError, MBError
from .history import Runs, runs
from .live import Live, how_to_stop
from .naming import clean
from .placement import Placement
from .plan import UNSET, Plan
from .run import Run
from .training.paths import at_home, brief, unreachable
from .workspace import Workspace

if TYPE_CHECKING:
    from .config import Resolved, TrainConfig
    from .dataset import Dataset

__all__ = ["UNSET", "Experiment", "Plan", "begin", "program_version", "train"]

PROGRAM = Path(__file__).parent / "training"
COMMAND = (
    "python", "-m", PROGRAM.name, "--config", "{output}/config.json", "--data", "{data}", "--output", "{output}",
)  # fmt: skip

UNSENT = "which may never have arrived; submitted again under its name"
ASKING = "asking Azure what stands in the way: sign-in, workspace, compute, quota, price"

Say = Callable[..., None]  # (message, done=None, total=None)


@dataclass(frozen=True)
class Experiment:
    """A name under which runs are kept; it is registered when it is used for the first time."""

    name: str
    workspace: Workspace

    @classmethod
    def local(cls, name: str) -> Experiment:
        """Return the experiment of that name in the local workspace."""
        return cls(clean(name), Workspace.local())

    @property
    def runs(self) -> Runs:
        """Its runs, the latest first."""
        return runs(self.name, self.workspace)

    def plan(self, resolved: Resolved, say: Say | None = None) -> Plan:
        """Resolve everything, look at the data and ask Azure what stands in the way; change nothing."""
        config = resolved.config
        self.workspace.check(self.name)
        dataset = _check(config, say)
        if say is not None and config.backend == "azure":
            say(ASKING)
        identical = self._identical(_identity(config, dataset))
        folder = self.workspace.folder(self.name)
        return Plan(folder, resolved, dataset, identical, placement.preflight(config, dataset))

    def start(self, config: TrainConfig, *, fresh: bool = False, say: Say | None = None) -> Run:
        """Return the identical run if there is one, else begin a new one; ``run.notes`` say which.

        A run that was killed or failed, or that may never have arrived where it was sent, is begun again in its own
        folder, where it goes on from its checkpoint. With ``fresh`` a new run is made in any case. What ``say`` raises
        abandons the start; it is called once more when everything is known and nothing is begun.
        """
        begun = time.monotonic()
        self.workspace.check(self.name)
        dataset, identity, found = self._looked_at(config, say, fresh)
        if found is not None and not found.status.may_begin_again:
            return _as_it_stands(found)
        says = ASKING if config.backend == "azure" else _looking(config)
        if say is not None:
            say(says)
        place = placement.place(config, dataset)
        if say is not None:
            say(says)
        placement.register(config)
        with starting(self.workspace.experiment(self.name)):  # of several starts at once one begins, the others find it
            found = None if fresh else self._identical(identity)
            if found is None:
                return self._new(config, dataset, place, identity, time.monotonic() - begun)
            before = found.status
            if before.may_begin_again and _submit(found, config, dataset, place):
                how = "which had failed; resumed from its checkpoint" if before.state.is_terminal else UNSENT
                found.notes.append(f"Found the identical run {found.handle}, {how}.")
                return found
            return _as_it_stands(found)

    def _looked_at(self, config: TrainConfig, say: Say | None, fresh: bool) -> tuple[Dataset | None, str, Run | None]:
        """Return the data, the run's identity and the identical run, none with ``fresh``.

        After a failure, nothing that is remembered of the images is believed: one may have changed unseen.
        """
        dataset = _check(config, say, recheck=fresh)
        identity = _identity(config, dataset)
        found = None if fresh else self._identical(identity)
        if dataset is not None and found is not None and found.status.may_begin_again:
            dataset = _check(config, say, recheck=True)
            identity = _identity(config, dataset)
            found = self._identical(identity)
        return dataset, identity, found

    def _identical(self, identity: str) -> Run | None:
        """Return the latest run with this identity that was not cancelled."""
        for run in self.runs:
            try:
                same = run.record.get("identity") == identity
            except MBError:  # a damaged record is no reason not to train
                continue
            if same and run.state is not RunState.CANCELED:
                return run
        return None

    def _new(
        self, config: TrainConfig, dataset: Dataset | None, place: Placement, identity: str, check_seconds: float
    ) -> Run:
        folder = self.workspace.new_run(self.name)
        try:
            if dataset is not None:
                dataset.write_split(
                    folder / "split.csv",
                    seed=config.seed,
                    validation_fraction=config.validation_fraction,
                    test_fraction=config.test_fraction,
                )
            if config.labels is not None:  # the report needs it wherever the run is looked at, and as it is now
                shutil.copyfile(at_home(config.labels), folder / "corrections.csv")
            record = {
                "handle": place.handle(self.name, folder.name),
                "experiment": self.name,
                "id": folder.name,
                "backend": config.backend,
                "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
                "config": config.shown(),
                "identity": identity,
                "mb_jupyter": __version__,
                "program": program_version(),
                "check_seconds": round(check_seconds, 3),
                **_about(config, dataset),
            }
            if place.options:
                record["azure"] = {key: value for key, value in place.options.items() if value is not None}
            self.workspace.record_run(folder, record)
            run = Run(folder)
            _submit(run, config, dataset, place)
        except BaseException as error:  # an interrupt too: half a run is none
            open_backend(config.backend).cancel(folder)
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise self.workspace.unwritable(error) from error
            raise
        return run

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = self.runs._repr_mimebundle_()
        return {"text/plain": f"Experiment {self.name}\n{shown['text/plain']}", "text/html": shown["text/html"]}


def train(
    config: TrainConfig | Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
    wait: bool = True,
    on_start: Callable[[Run], None] | None = None,
    **settings: Any,
) -> Run:
    """Train, show it until it ends, and return the run.

    ``settings`` are those of :class:`mb_jupyter.TrainConfig`: ``train(data="flowers", epochs=5)``.
    ``on_start`` gets the run as soon as there is one, long before it ends. With ``wait=False`` the run is
    returned as soon as it is begun. Raises ``ConfigError`` with every wrong setting, ``DataError``
    when the pictures cannot be used, ``TrainingFailed`` when the training fails or is cancelled.
    """
    from .config import TrainConfig, resolve

    if not isinstance(config, TrainConfig):
        config = resolve({**(config or {}), **settings}).config
    elif settings:
        config = resolve({**config.model_dump(), **settings}).config
    live = Live(config.experiment)
    run = begin(config, live, fresh=fresh)
    if on_start is not None:
        on_start(run)
    if wait:
        return run.watch(live)
    live.detach()
    run.show(live)
    return run.submitted()


def begin(config: TrainConfig, live: Live, *, fresh: bool = False) -> Run:
    """Start the training and show in ``live`` what is done until there is a run."""
    live.hint = live.hint or how_to_stop(config.backend == "azure")  # whoever shows it may have buttons instead
    with checking(live):
        live.say(_looking(config))
        return Experiment(config.experiment, Workspace.local()).start(config, fresh=fresh, say=live.say)


@contextmanager
def checking(live: Live) -> Iterator[None]:
    """Show in ``live`` why there is no run, when it ends before there is one."""
    try:
        yield
    except KeyboardInterrupt:
        live.end("Stopped while the pictures were checked; nothing was started.")
        raise MBError(
            "The check of the pictures was stopped; nothing was started.", "Run the cell again to train."
        ) from None
    except MBError as error:
        live.end(error.cause)
        raise


def look(config: TrainConfig, say: Say | None = None, *, recheck: bool = False) -> Dataset:
    """Look at the pictures of a training, as it will see them; with ``recheck`` at the content of every one."""
    from .dataset import Dataset

    def progress(done: int, total: int | None = None) -> None:
        if say is not None:
            say(_looking(config), done, total)

    return Dataset(
        config.data,
        progress=progress,
        exclude=config.exclude or (),
        labels=config.labels,
        group=config.group,
        recheck=recheck,
    )


def _check(config: TrainConfig, say: Say | None, *, recheck: bool = False) -> Dataset | None:
    """Look at the pictures, and at what else the program would only miss later; None where they are in Azure."""
    if config.weights is not None:
        weights = at_home(config.weights)
        if reason := unreachable(weights):
            raise ConfigError(f"The file of weights {brief(weights)} cannot be read: {reason}.", "Correct `weights`.")
        if not weights.is_file():
            raise ConfigError(f"There is no file of weights {config.weights}.", "Correct `weights`, or leave it out.")
    if config.is_in_azure:
        placement.check(config, None)
        return None
    dataset = look(config, say, recheck=recheck)
    placement.check(config, dataset)
    return dataset


def _looking(config: TrainConfig) -> str:
    return f"looking at the pictures of {config.shown()['data']}"


def _left_out(dataset: Dataset) -> int:
    return sum(len(found.files) for found in dataset.findings if found.excluded and found.kind != "hidden")


def _about(config: TrainConfig, dataset: Dataset | None) -> dict[str, Any]:
    """Return what a run's record says of its data."""
    told = {"data": config.shown()["data"]}
    if dataset is None:
        return {**told, "fingerprint": "", "classes": [], "counts": {}}
    return {
        **told,
        "fingerprint": dataset.fingerprint,
        "root": str(dataset.root),
        "classes": list(dataset.classes),
        "counts": dict(dataset.counts),
        "left_out": _left_out(dataset),
    }


def _identity(config: TrainConfig, dataset: Dataset | None) -> str:
    """Return what two runs share when the second would only repeat the first."""
    from .config import FILES, LATER

    settings = config.program_settings()
    for name in LATER:
        if settings[name] == type(config).model_fields[name].default:
            del settings[name]
    for name in FILES:  # what is in a file counts, not where it lies
        if settings[name] is not None:
            settings[name] = hashlib.sha256(Path(settings[name]).read_bytes()).hexdigest()
    fingerprint = config.data if dataset is None else dataset.fingerprint
    told = [settings, config.backend, config.processes, fingerprint, program_version()]
    further = [] if dataset is None else sorted([p.sha256, p.slices] for p in dataset.pictures if p.slices)
    if further:  # they change no number of the training, but what the report says
        told.append(further)
    if config.backend == "azure":
        told += [config.azure.workspace, config.azure.nodes, config.azure.environment]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _submit(run: Run, config: TrainConfig, dataset: Dataset | None, place: Placement) -> bool:
    """Hand the run over; False where somebody else has begun it in the meantime."""
    fingerprint = "" if dataset is None else dataset.fingerprint
    settings = {**placement.settings_there(config, place), "run": run.handle, "fingerprint": fingerprint}
    job = Job(
        name=run.handle,
        command=COMMAND,
        code=PROGRAM,
        data=config.data if dataset is None else Path(dataset.root),
        files={"config.json": json.dumps(settings, indent=1, ensure_ascii=False)},
        processes=place.processes,
        needs=None if dataset is None else {picture.path: picture.sha256 for picture in dataset.pictures},
        minutes=place.job_minutes,
        attachments=placement.sent_files(config) if config.backend == "azure" else {},
        options=place.options,
    )
    run.begun_here = open_backend(config.backend).submit(job, run.folder)
    return run.begun_here


def program_version() -> str:
    """Return a hash of the training program's source: another program gives another run."""
    digest = hashlib.sha256()
    for file in sorted(PROGRAM.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _as_it_stands(run: Run) -> Run:
    run.notes.append(_found(run, run.state))
    return run


def _found(run: Run, state: RunState) -> str:
    begun = when.minute(run.record.get("created"))
    if state.is_terminal:
        return f"Found the identical run of {begun}, {state.word}: this is its result. --fresh trains again."
    # true to the end of that run: the note stays under its view
    return f"Found the identical run, begun {begun}: no second one was started."
