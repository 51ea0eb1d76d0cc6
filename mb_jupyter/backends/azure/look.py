"""One look at a run in Azure: the job, the files the program has written so far, its metrics, its log."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mb_jupyter.backends import RunState
from mb_jupyter.errors import AzureError

from .folder import RunFolder, write

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection
    from mb_jupyter.azureml.jobs import Facts
    from mb_jupyter.azureml.storage import Store
    from mb_jupyter.azureml.tracking import Tracking

KILLED = (137, -9)  # exit codes of a program that the system has ended
ENDED_ON_NODE = {
    "kind": "killed",
    "cause": "The training was ended by the node's system, probably because the memory ran out.",
    "fix": "Take a compute of a size with more memory: %mb_compute sizes, %mb_compute create NAME --size SIZE.",
}
KEYLESS = "KeyBasedAuthenticationNotPermitted"
HINT_MINUTES = 10.0  # in the queue, after which it is said what that may mean
QUEUE_MINUTES = 120.0  # in the queue, after which the job is canceled: nobody would look any more
MISSING_SECONDS = 30.0  # for which the service must say that there is no such job
LOG_PIECE = 4 * 2**20  # of a log that is read at a time

#: Azure's word -> ours, the stage, and what to say
WORDS: dict[str, tuple[RunState, str, str]] = {
    "NotStarted": (RunState.STARTING, "queue", "Azure has taken the job"),
    "Starting": (RunState.STARTING, "queue", "Azure has taken the job"),
    "Provisioning": (RunState.STARTING, "node", "a node is being started"),
    "Preparing": (RunState.STARTING, "node", "the environment is being prepared; the first time takes minutes"),
    "Queued": (RunState.STARTING, "queue", "waiting for a node"),
    "Running": (RunState.RUNNING, "node", "the node unpacks the pictures"),
    "Finalizing": (RunState.RUNNING, "", "Azure is putting the files away"),
    "CancelRequested": (RunState.RUNNING, "", "the job is being canceled"),
    "Paused": (RunState.STARTING, "queue", "Azure has paused the job"),
    "Completed": (RunState.COMPLETED, "", ""),
    "Failed": (RunState.FAILED, "", ""),
    "NotResponding": (RunState.FAILED, "", ""),
    "Canceled": (RunState.CANCELED, "", ""),
}
UNKNOWN = (RunState.STARTING, "queue", "Azure does not say how the job stands")


#: what the program's own ``status.json`` tells of a run that goes on
TOLD = (
    "stage", "message", "done", "total", "fraction", "eta_seconds", "eta_at_most", "started", "seconds",
    "stage_seconds", "planned", "stopping",
)  # fmt: skip


class Looker:
    """Looks at one run, and remembers what it has read so that a look costs only what is new."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.ended: RunState | None = None
        self._facts: Facts | None = None
        self._missing_since: float | None = None
        self._etags: dict[str, str] = {}
        self._program: dict[str, Any] = {}
        self._records: list[bytes] = []
        self._log_name, self._log_end = "", 0
        self._store: Store | None = None
        self._artifacts: Store | None = None
        self._tracking: Tracking | None = None
        self._url = ""
        self._last: tuple[Any, ...] = ()

    @property
    def leaves_files(self) -> bool:
        """Tell whether there is something to bring: the program has begun, and its job is still there."""
        return self._facts is not None and bool(self.folder.facts.get("ran"))

    def look(self, connection: Connection) -> bool:
        """Look once; tell whether the run has taken a turn, so that it is worth looking again soon."""
        from mb_jupyter.azureml import jobs

        self._facts = jobs.look(connection, str(self.folder.facts["job"]))
        if self._facts is None:
            self._miss()
            return True
        self._missing_since = None
        state = WORDS.get(self._facts.status, UNKNOWN)[0]
        if self._facts.status in ("Running", "Finalizing") or (state.is_terminal and self._facts.started):
            self.folder.know(ran=True, environment=self._facts.environment)
        if self.folder.facts.get("ran") and (state is not RunState.STARTING):
            self._read_files(connection)
            self._read_log(connection, str(self._facts.name))
            if not state.is_terminal:
                self._read_metrics(connection)
        if state.is_terminal:
            self.ended = self._outcome(state)
            return True
        self._tell(connection)
        now = (self._facts.status, self._program.get("stage"))
        turned, self._last = now != self._last, now
        return turned

    # -- what the program has written ------------------------------------------------------------------

    def _read_files(self, connection: Connection) -> None:
        from mb_jupyter.azureml.storage import Store

        self._store = self._store or Store(connection)
        prefix = str(self.folder.facts["prefix"])
        for blob in self._store.names(prefix):
            name = blob.name[len(prefix) :]
            if name not in ("status.json", "metrics.jsonl") or self._etags.get(name) == blob.etag:
                continue
            content = self._store.get(blob.name)
            if content is None:
                continue
            self._etags[name] = blob.etag
            if name == "status.json":
                self._program = _object(content) or self._program
            else:
                self._records = content.splitlines(keepends=True)
                self._write_records({})

    def _read_metrics(self, connection: Connection) -> None:
        """Take the epochs that the workspace's metrics know of and the program's file does not show yet."""
        from mb_jupyter.azureml.tracking import Tracking

        self._tracking = self._tracking or Tracking(connection, str(self.folder.facts["job"]))
        try:
            self._write_records(self._tracking.metrics(self._epochs()))
        except AzureError as error:
            if error.status not in (400, 403):  # a workspace without these routes still has the program's file
                raise

    def _epochs(self) -> set[int]:
        """Return the epochs that the program's own file tells."""
        return {record["epoch"] for record in map(_object, self._records) if record and "epoch" in record}

    def _write_records(self, metrics: Mapping[str, list[tuple[int, float]]]) -> None:
        known = self._epochs()
        steps: dict[int, dict[str, Any]] = {}
        for key, values in metrics.items():
            for step, value in values:
                steps.setdefault(step, {})[key] = value
        lines = list(self._records)
        for step, figures in sorted(steps.items()):
            if step not in known and "validation_accuracy" in figures:
                phase = "finetune" if step else "features"
                record = {"event": "epoch", "phase": phase, "epoch": step, **figures}
                lines.append(json.dumps(record).encode() + b"\n")
        content = b"".join(lines)
        path = self.folder.path / "metrics.jsonl"
        if content and (not path.exists() or path.read_bytes() != content):
            write(path, content)

    def _read_log(self, connection: Connection, job: str) -> None:
        from mb_jupyter.azureml.storage import Store

        self._artifacts = self._artifacts or Store(connection, "workspaceartifactstore")
        prefix = f"ExperimentRun/dcid.{job}/user_logs/"
        if not self._log_name:
            names = sorted(blob.name for blob in self._artifacts.names(prefix))
            wanted = [f"{prefix}{name}" for name in ("std_log.txt", "std_log_process_0.txt", "std_log_process_00.txt")]
            self._log_name = next((name for name in wanted if name in names), names[0] if names else "")
        while self._log_name:
            piece = self._artifacts.get(self._log_name, self._log_end, LOG_PIECE)
            if not piece:
                return
            self.folder.append_log(piece, self._log_end)
            self._log_end += len(piece)

    def _read_build_log(self, connection: Connection) -> bool:
        """Take the log of an image that was built for the job, the only one when no node has begun with it."""
        from mb_jupyter.azureml.storage import Store

        store = Store(connection, "workspaceartifactstore")
        prefix = f"ExperimentRun/dcid.{self.folder.facts['job']}/azureml-logs/"
        names = [blob.name for blob in store.names(prefix) if "image_build" in blob.name]
        log = b"".join(store.get(name) or b"" for name in sorted(names))
        if log:
            write(self.folder.path / "log.txt", log)
        return bool(log)

    # -- what it means ---------------------------------------------------------------------------------

    def _outcome(self, state: RunState) -> RunState:
        if state is RunState.COMPLETED and self._program.get("state") == "stopped":
            return RunState.STOPPED
        return state

    def _miss(self) -> None:
        """Believe that a job is gone only when the service says so for a while: it forgets, and remembers."""
        self._missing_since = self._missing_since or time.monotonic()
        if time.monotonic() - self._missing_since > MISSING_SECONDS:
            self.ended = RunState.FAILED

    def stages(self, ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return our stages with the program's between them."""
        after = [each for each in ours if each["stage"] == "download"]
        return [*(each for each in ours if each not in after), *(self._program.get("stages") or []), *after]

    def _tell(self, connection: Connection) -> None:
        """Write down how a job stands that goes on."""
        assert self._facts is not None
        state, stage, said = WORDS.get(self._facts.status, UNKNOWN)
        if state is RunState.RUNNING and self._program.get("stage"):
            ours = self.folder.close_stages()
            values = {key: self._program.get(key) for key in TOLD}
        else:
            ours = self.folder.stage(stage) if stage else self.folder.close_stages()
            said = self._waiting(connection, said, ours) if stage == "queue" else said
            values = {"message": said, "done": None, "total": None, "eta_seconds": None}
            values |= {"stage": stage} if stage else {}
        self.folder.tell(state, **values, stages=self.stages(ours), error=None, **self._cost(connection))

    def _waiting(self, connection: Connection, said: str, ours: list[dict[str, Any]]) -> str:
        """Return what the queue means; after the limit, cancel the job."""
        from mb_jupyter.azureml import jobs

        assert self._facts is not None
        facts = self.folder.facts
        said = f"{said}: {self._facts.waiting}" if self._facts.waiting else said
        if facts.get("ran"):
            said += "; the node was taken away, and the training goes on from its checkpoint on another"
        minutes = (time.time() - ours[-1]["started"]) / 60
        limit = float(facts.get("queue_minutes") or QUEUE_MINUTES)
        if minutes > limit and not facts.get("queue_over"):
            self.folder.know(queue_over=round(minutes, 1))
            jobs.cancel(connection, self._facts.name)
        if minutes > min(HINT_MINUTES, limit):
            name = facts.get("compute", "")
            said += (
                f"; for {minutes:.0f} minutes: there may be no free machines of this size in the region, or no quota "
                f"left. %mb_compute show {name} tells more; it costs nothing until a node comes, and %mb_cancel ends it"
            )
        return said

    def _cost(self, connection: Connection) -> dict[str, Any]:
        assert self._facts is not None
        if not self._url:
            tenant = connection.facts.tenant
            self._url = f"{self._facts.url}&tid={tenant}" if self._facts.url and tenant else self._facts.url
        facts = self.folder.facts
        price, begun = facts.get("price"), self._facts.started or facts.get("begun")
        if begun is None and self._facts.status == "Running":
            begun = time.time()
            self.folder.know(begun=begun)
        spent = None
        if price is not None and begun is not None:
            hours = max(0.0, (self._facts.ended or time.time()) - begun) / 3600
            spent = round(price * hours, 4)  # the price is of all nodes
        return {"url": self._url, "spent": spent, "currency": facts.get("currency", "")}

    def conclude(self, connection: Connection) -> None:
        """Write down how it ended; the files are here already."""
        assert self.ended is not None
        ours = self.folder.close_stages()
        if self._facts is None:
            gone = {
                "cause": "The job is not in the workspace: somebody has deleted it, or it never arrived there.",
                "fix": "Run the cell again to train anew.",
            }
            self.folder.tell(RunState.FAILED, stages=ours, error=gone, message="")
            return
        if self._facts.status in ("Running", "Finalizing"):
            return
        values = {key: self._program.get(key) for key in ("stage", "fraction", "started", "seconds", "planned")}
        state, error = self.ended, None
        over = self.folder.facts.get("queue_over")
        if over is not None and state is RunState.CANCELED:
            state = RunState.FAILED
            error = _never_ran(float(over), str(self.folder.facts.get("compute", "")))
        elif state is RunState.CANCELED and self._ran_out_of_time():
            state, error = RunState.FAILED, _out_of_time(float(self.folder.facts["minutes"]))
        elif state is RunState.FAILED:
            error = self._reason(connection)
        self.folder.tell(
            state, **values, done=None, total=None, eta_seconds=0.0, message="", stages=self.stages(ours), error=error,
            **self._cost(connection),
        )  # fmt: skip

    def _ran_out_of_time(self) -> bool:
        """Tell whether it was Azure that canceled the job, at its limit."""
        facts, limit = self._facts, self.folder.facts.get("minutes")
        if limit is None or facts is None or facts.started is None or facts.ended is None:
            return False
        return facts.ended - facts.started >= float(limit) * 60 - 1  # Azure tells whole seconds

    def _reason(self, connection: Connection) -> dict[str, str]:
        """Return why a job failed: in the program's own words, by its exit code, by the run history and the log."""
        from mb_jupyter.azureml import jobs
        from mb_jupyter.azureml.translate import redacted

        told = self._program.get("error")
        if self._program.get("state") == "failed" and isinstance(told, dict):
            return {key: str(value) for key, value in told.items() if value}
        ended = _object(_read(self.folder.path / "ended.json")) or {}
        if ended.get("returncode") in KILLED:
            return dict(ENDED_ON_NODE)
        assert self._facts is not None
        code, message = jobs.why(connection, self._facts.name)
        last = _last_error(_read(self.folder.path / "log.txt").decode("utf-8", "replace"))
        said = last or redacted(message.strip().splitlines()[0] if message.strip() else "without an explanation")
        kind = f" ({code})" if code else ""
        if KEYLESS in f"{code} {message} {last}" and not self.folder.facts.get("by_https"):
            self.folder.know(by_https=True)
            return {
                "cause": f"The storage takes no shared keys, and the node could not mount it ({KEYLESS}).",
                "fix": "Run the cell again: the node then opens the storage by HTTPS, as the person who submits.",
                "details": redacted(f"Azure said ({code}): {message}"),
            }
        if not _read(self.folder.path / "log.txt") and self._read_build_log(connection):
            return {
                "cause": f"Azure could not build the environment's image{kind}: {said}",
                "fix": "Its log is in %mb_why: correct the environment, or leave azure: {environment} out.",
                "alternative": "Azure's own page of the run has more: run.url",
            }
        return {
            "cause": f"The job failed in Azure{kind}: {said}",
            "fix": "Its log is in %mb_why; correct what it says and run the cell again: what is up is not sent twice.",
            "alternative": "Azure's own page of the run has more: run.url",
            "details": redacted(f"Azure said ({code}): {message}") if message else "",
        }


def _never_ran(minutes: float, compute: str) -> dict[str, str]:
    return {
        "cause": f"No node was free for {minutes:.0f} minutes; the job was canceled and has cost nothing.",
        "fix": f"Take another size, region or the priority dedicated: %mb_compute show {compute}, %mb_compute sizes.",
        "alternative": "Wait longer: azure: {queue_minutes: 600}.",
    }


def _out_of_time(minutes: float) -> dict[str, str]:
    return {
        "cause": f"The job reached its limit of {minutes:g} minutes, and Azure ended it before there was a model.",
        "fix": "Set `max_minutes` higher (or `max_cost`) and run the cell again.",
        "alternative": "`recipe: features` has a model after minutes.",
    }


def _last_error(log: str) -> str:
    """Return the last line of the last traceback in a log; empty when there is none."""
    lines = log.rstrip().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if not starts:
        return ""
    return next((line.strip() for line in lines[starts[-1] + 1 :] if line and not line[0].isspace()), "")


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read(path: Any) -> bytes:
    try:
        return bytes(path.read_bytes())
    except OSError:
        return b""
