"""From a configuration to a run: check the pictures, find the identical run or make one, hand it over.

``train`` is what ``%%mb_train`` calls; ``Experiment.start`` is the same without showing anything.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backends import Job, RunState, open_backend
from .display import card, details, escape, near, table, text_table
from .errors import ConfigError, MBError
from .history import Runs, runs
from .live import Live
from .run import Run
from .workspace import Workspace

if TYPE_CHECKING:
    from .config import Resolved, TrainConfig
    from .dataset import Dataset

PROGRAM = Path(__file__).parent / "training"
COMMAND = (
    "python", "-m", PROGRAM.name, "--config", "{output}/config.json", "--data", "{data}", "--output", "{output}",
)  # fmt: skip

UNSET = {
    "weights": "those of the architecture", "max_minutes": "10 on a processor, no limit on a GPU",
    "batch_size": "chosen by the program", "learning_rate": "chosen by the program", "min_accuracy": "none",
    "processes": "1", "unsure_below": "never unsure", "exclude": "nothing", "labels": "as the data have them",
}  # fmt: skip

Say = Callable[..., None]  # (message, done=None, total=None)


@dataclass(frozen=True)
class Experiment:
    """A name under which runs are kept; it is registered when it is used for the first time."""

    name: str
    workspace: Workspace

    @classmethod
    def local(cls, name: str) -> Experiment:
        """Return the experiment of that name in the local workspace."""
        return cls(name, Workspace.local())

    @property
    def runs(self) -> Runs:
        """Its runs, the latest first."""
        return runs(self.name, self.workspace)

    def plan(self, resolved: Resolved, say: Say | None = None) -> Plan:
        """Resolve everything and look at the data; change nothing."""
        dataset = _check(resolved.config, say)
        return Plan(self, resolved, dataset, self._identical(_identity(resolved.config, dataset)))

    def start(self, config: TrainConfig, *, fresh: bool = False, say: Say | None = None) -> Run:
        """Return the identical run if there is one, else begin a new one; ``run.notes`` say which.

        A run that was killed or failed is begun again in its own folder, where it goes on from its
        checkpoint. With ``fresh`` a new run is made in any case.
        """
        begun = time.monotonic()
        dataset = _check(config, say)
        identity = _identity(config, dataset)
        found = None if fresh else self._identical(identity)
        if found is None:
            return self._new(config, dataset, identity, time.monotonic() - begun)
        state = found.state
        if state is not RunState.FAILED:
            found.notes.append(_found(found, state))
            return found
        found.notes.append(f"Found the identical run {found.handle}, which failed; it goes on from its checkpoint.")
        self._submit(found, config, dataset)
        return found

    def _identical(self, identity: str) -> Run | None:
        """Return the latest run with this identity that was not canceled."""
        for run in self.runs:
            try:
                same = run.record.get("identity") == identity
            except MBError:  # a damaged record is no reason not to train
                continue
            if same and run.state is not RunState.CANCELED:
                return run
        return None

    def _new(self, config: TrainConfig, dataset: Dataset, identity: str, check_seconds: float) -> Run:
        folder = self.workspace.new_run(self.name)
        try:
            dataset.write_split(
                folder / "split.csv",
                seed=config.seed,
                validation_fraction=config.validation_fraction,
                test_fraction=config.test_fraction,
            )
            self.workspace.record_run(
                folder,
                {
                    "handle": f"local://{self.name}/{folder.name}",
                    "experiment": self.name,
                    "id": folder.name,
                    "backend": config.backend,
                    "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
                    "config": config.shown(),
                    "identity": identity,
                    "fingerprint": dataset.fingerprint,
                    "data": config.shown()["data"],
                    "root": str(dataset.root),
                    "classes": list(dataset.classes),
                    "counts": dict(dataset.counts),
                    "left_out": _left_out(dataset),
                    "check_seconds": round(check_seconds, 3),
                },
            )
            run = Run(folder)
            self._submit(run, config, dataset)
        except BaseException:  # an interrupt too: half a run is none
            open_backend(config.backend).cancel(folder)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return run

    def _submit(self, run: Run, config: TrainConfig, dataset: Dataset) -> None:
        settings = {**config.program_settings(), "run": run.handle, "fingerprint": dataset.fingerprint}
        job = Job(
            name=run.handle,
            command=COMMAND,
            code=PROGRAM,
            data=Path(dataset.root),
            files={"config.json": json.dumps(settings, indent=1, ensure_ascii=False)},
            processes=config.processes or 1,
        )
        open_backend(config.backend).submit(job, run.folder)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = self.runs._repr_mimebundle_()
        return {"text/plain": f"Experiment {self.name}\n{shown['text/plain']}", "text/html": shown["text/html"]}


@dataclass(frozen=True)
class Plan:
    """What a training would do (``--dry-run``): every value with its origin, the data, the split, the place."""

    experiment: Experiment
    resolved: Resolved
    dataset: Dataset
    identical: Run | None

    @property
    def outlook(self) -> str:
        """What would happen, in a sentence."""
        if self.identical is None:
            return f"Would begin a new run in {near(self.experiment.workspace.root / self.experiment.name)}."
        state = self.identical.state
        what = {
            RunState.FAILED: "it would go on from its checkpoint",
            RunState.STARTING: "it would be shown while it goes on",
            RunState.RUNNING: "it would be shown while it goes on",
        }.get(state, "its report would be shown")
        return f"The identical run {self.identical.handle} is {state}: {what}; --fresh would train anew."

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        config = self.resolved.config
        values = [
            (key, UNSET[key] if value is None else value, self.resolved.origins[key])
            for key, value in config.shown().items()
        ]
        parts = self.dataset.plan_split(config.seed, config.validation_fraction, config.test_fraction)
        split = [("held out" if part == "test" else part, f"{count:,}") for part, count in parts.items()]
        findings = [(f.severity, f.message) for f in self.dataset.findings]
        data = (
            f"{sum(parts.values()):,} pictures in {len(self.dataset.classes)} classes under {near(self.dataset.root)}"
        )
        said = "Nothing was changed. " + self.outlook
        columns = ("Setting", "Value", "From")
        text = [f"Dry run of {config.experiment}", said, "", text_table(columns, values), "", data]
        text += [text_table(("Part", "Pictures"), split)]
        text += [f"{severity}: {message}" for severity, message in findings]
        page = f"<div>{escape(said)}</div>{table(columns, values)}<div>{escape(data)}</div>"
        page += table(("Part", "Pictures"), split, right=[1])
        if findings:
            page += details(f"{len(findings)} findings", table(("", "Finding"), findings), is_open=True)
        return {"text/plain": "\n".join(text), "text/html": card(f"Dry run of {config.experiment}", page)}


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
    when the pictures cannot be used, ``TrainingFailed`` when the training fails or is canceled.
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
    run.show(live)
    return run


def begin(config: TrainConfig, live: Live, *, fresh: bool = False) -> Run:
    """Start the training and show in ``live`` what is done until there is a run."""
    live.say(_looking(config))
    try:
        return Experiment(config.experiment, Workspace.local()).start(config, fresh=fresh, say=live.say)
    except KeyboardInterrupt:
        live.end("Stopped while the pictures were checked; nothing was started.")
        raise MBError(
            "The check of the pictures was stopped; nothing was started.", "Run the cell again to train."
        ) from None
    except MBError as error:
        live.end(error.cause)
        raise


def _check(config: TrainConfig, say: Say | None) -> Dataset:
    """Look at the pictures, and at what else the program would only miss later."""
    from .dataset import Dataset

    if config.weights is not None and not Path(config.weights).expanduser().is_file():
        raise ConfigError(f"There is no file of weights {config.weights}.", "Correct `weights`, or leave it out.")

    def progress(done: int, total: int | None = None) -> None:
        if say is not None:
            say(_looking(config), done, total)

    return Dataset(config.data, exclude=config.exclude or (), labels=config.labels, progress=progress)


def _looking(config: TrainConfig) -> str:
    return f"looking at the pictures of {config.shown()['data']}"


def _left_out(dataset: Dataset) -> int:
    return sum(len(found.files) for found in dataset.findings if found.excluded and found.kind != "hidden")


def _identity(config: TrainConfig, dataset: Dataset) -> str:
    """Return what two runs share when the second would only repeat the first."""
    from .config import FILES

    settings = config.program_settings()
    for name in FILES:  # what is in a file counts, not where it lies
        if settings[name] is not None:
            settings[name] = hashlib.sha256(Path(settings[name]).read_bytes()).hexdigest()
    told = [settings, config.backend, config.processes, dataset.fingerprint, program_version()]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def program_version() -> str:
    """Return a hash of the training program's source: another program gives another run."""
    digest = hashlib.sha256()
    for file in sorted(PROGRAM.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _found(run: Run, state: RunState) -> str:
    begun = str(run.record.get("created", ""))[:16].replace("T", " ")
    if state.is_terminal:
        return f"Found the identical run of {begun} UTC, {state}: this is its result. --fresh trains anew."
    return f"Found the identical run of {begun} UTC, which goes on: this is how it stands."
