"""One look at a run in Azure: the job, the files the program has written so far, its metrics, its log."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mb_jupyter.backends import RunState
from mb_jupyter.errors import AzureError
from mb_jupyter.records import METRICS, STATUS, fields_of, metrics_of, read_fields

from .fetch import ENDED
from .folder import RunFolder, write

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection
    from mb_jupyter.azureml.jobs import Facts
    from mb_jupyter.azureml.storage import Store
    from mb_jupyter.azureml.tracking import Tracking

GIVE_IT_UP = "%mb_cancel closes the run here, --fresh trains anew; a job that goes on in Azure is not ended by that."
SEND_AGAIN = "Run the cell again: the job is submitted under the same name, so that there is only one in any case."
KILLED = (137, -9)  # exit codes of a program that the system has ended
ENDED_ON_NODE = {
    "kind": "killed",
    "cause": "The training was ended by the node's system, probably because the memory ran out.",
    "fix": "Take a compute of a size with more memory: %mb_compute sizes, %mb_compute create NAME --size SIZE.",
}
KEYLESS = "KeyBasedAuthenticationNotPermitted"
HINT_MINUTES = 10.0  # in the queue, after which it is said what that may mean
QUEUE_MINUTES = 120.0  # in the queue, after which the job is canceled: nobody would look any more
MISSING_SECONDS = 30.0  # for which a job that Azure does not find is looked for before somebody is told
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
    "NotResponding": (RunState.RUNNING, "", "Azure does not hear from the node"),
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
        """Tell whether there is something to bring: the program has begun."""
        return bool(self.folder.facts.get("ran"))

    @property
    def sees_it(self) -> bool:
        """Tell whether Azure has found the job at the last look."""
        return self._facts is not None

    def store(self, connection: Connection) -> Store:
        """Return the storage of the run's files; once open it can be read though the workspace is gone."""
        from mb_jupyter.azureml.storage import Store

        self._store = self._store or Store(connection)
        return self._store

    def look(self, connection: Connection) -> bool:
        """Look once; tell whether the run has taken a turn, so that it is worth looking again soon.

        Raises ``AzureError`` when Azure has not found the job for a while, which is no word on how the run ends.
        """
        from mb_jupyter.azureml import jobs

        self._facts = jobs.look(connection, str(self.folder.facts["job"]))
        if self._facts is None:
            self._miss(connection)
            return True
        if self.folder.facts.get("missing_since") or self.folder.facts.get("seen") is False:
            self.folder.know(missing_since=None, seen=True)
        state = WORDS.get(self._facts.status, UNKNOWN)[0]
        if self._facts.status in ("Running", "Finalizing") or (state.is_terminal and self._facts.started):
            self.folder.know(ran=True, environment=self._facts.environment)
        if self.folder.facts.get("ran") and (state is not RunState.STARTING):
            self._read_files(connection)
            self._read_log(connection, str(self._facts.name))
            if not state.is_terminal:
                self._read_metrics(connection)
        if state.is_terminal or (self._facts.status == "NotResponding" and self._has_ended(connection)):
            self.ended = state if state.is_terminal else RunState.FAILED
            return True
        self._tell(connection)
        now = (self._facts.status, self._program.get("stage"))
        turned, self._last = now != self._last, now
        return turned

    def _miss(self, connection: Connection) -> None:
        """Look for what the run itself has left where Azure does not find its job: it forgets, and remembers."""
        from mb_jupyter.azureml import jobs

        facts = self.folder.facts
        since = facts.get("missing_since") or self.folder.know(missing_since=time.time())["missing_since"]
        if self._has_ended(connection):
            self._read_files(connection)
            self.folder.know(ran=True)
            self.ended = RunState.FAILED
            return
        job, workspace = facts["job"], connection.place.workspace
        cause = jobs.gone(connection) or f"Azure does not find the job {job} in the workspace {workspace}."
        if time.time() - since > MISSING_SECONDS:
            if facts.get("seen") is False:
                raise AzureError(f"{cause} It may never have arrived there.", SEND_AGAIN)
            raise AzureError(f"{cause} How the run has ended, or whether it goes on, is not known.", GIVE_IT_UP)
        self.folder.tell(self.folder.status().state, message=f"{cause} Looking again.")

    def _has_ended(self, connection: Connection) -> bool:
        """Tell whether the program itself has written down how it ended."""
        try:
            return self.store(connection).get(f"{self.folder.facts['prefix']}{ENDED}") is not None
        except AzureError:
            return False

    # -- what the program has written ------------------------------------------------------------------

    def _read_files(self, connection: Connection) -> None:
        store, prefix = self.store(connection), str(self.folder.facts["prefix"])
        for blob in store.names(prefix):
            name = blob.name[len(prefix) :]
            if name not in (STATUS, METRICS) or self._etags.get(name) == blob.etag:
                continue
            content = store.get(blob.name)
            if not content:
                continue
            if name == METRICS:
                self._records = content.splitlines(keepends=True)
                self._write_records({})
            elif not (told := fields_of(content, STATUS)):  # cut off: it is read again
                continue
            else:
                self._program = told
            self._etags[name] = blob.etag

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
        return {record["epoch"] for record in metrics_of(b"".join(self._records)) if "epoch" in record}

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
        path = self.folder.path / METRICS
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

    # -- what it means ---------------------------------------------------------------------------------

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
        if self._facts is None:  # what was known of it stays
            return {}
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
        ours = self.folder.close_stages()
        values = {key: self._program.get(key) for key in ("stage", "fraction", "started", "seconds", "planned")}
        state, error, note = self._verdict(connection)
        self.folder.tell(
            state, **values, done=None, total=None, eta_seconds=0.0, message="", stages=self.stages(ours), error=error,
            note=note, **self._cost(connection),
        )  # fmt: skip

    def _verdict(self, connection: Connection) -> tuple[RunState, dict[str, str] | None, str]:
        """Return how it ended, why it failed, and what is to be said of it.

        A training that has written down that it ended well, and whose files are here as it has written them, is
        complete whatever Azure calls its job.
        """
        assert self.ended is not None
        state, code = self.ended, read_fields(self.folder.path, ENDED).get("returncode")
        if code == 0 or (code is None and state is RunState.COMPLETED):
            well = RunState.STOPPED if self._program.get("state") == "stopped" else RunState.COMPLETED
            return well, None, "" if state is RunState.COMPLETED else self._disagreement()
        over = self.folder.facts.get("queue_over")
        if over is not None and state is RunState.CANCELED:
            return RunState.FAILED, self._never_ran(float(over)), ""
        if state is RunState.CANCELED and self._ran_out_of_time():
            return RunState.FAILED, _out_of_time(float(self.folder.facts["minutes"])), ""
        if state is RunState.CANCELED:
            return state, None, ""
        return RunState.FAILED, self._reason(connection), ""

    def _disagreement(self) -> str:
        word = "does not find its job any more" if self._facts is None else f"calls its job {self._facts.status}"
        return (
            f"Azure {word}, but the training had ended well before: all that it has written is here, checked by hash."
        )

    def _never_ran(self, minutes: float) -> dict[str, str]:
        facts, compute = self._facts, self.folder.facts.get("compute", "")
        ran = facts is not None and facts.started and facts.ended and facts.ended - facts.started > 1
        return {
            "cause": f"No node was free for {minutes:.0f} minutes; the job was canceled"
            f"{' just after one had come' if ran else ' and has cost nothing'}.",
            "fix": "Take another size, region or the priority dedicated: "
            f"%mb_compute show {compute}, %mb_compute sizes.",
            "alternative": "Wait longer: azure: {queue_minutes: 600}.",
        }

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
        if self._program.get("state") == "failed" and told:
            return {key: str(value) for key, value in told.items() if value}
        if read_fields(self.folder.path, ENDED).get("returncode") in KILLED:
            return dict(ENDED_ON_NODE)
        code, message = jobs.why(connection, str(self.folder.facts["job"]))
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
        no_log = not _read(self.folder.path / "log.txt")  # no node has begun with it
        if no_log and (build := jobs.build_log(connection, str(self.folder.facts["job"]))):
            write(self.folder.path / "log.txt", build)
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


def _read(path: Any) -> bytes:
    try:
        return bytes(path.read_bytes())
    except OSError:
        return b""
