"""Azure Machine Learning: a command job in a workspace, and what it leaves in the workspace's storage.

::

    send      pictures, program and settings up; one job       folder   what is kept of the run here
    follow    one thread for each run: sends, looks, fetches   look     one look at the job and its files
    fetch     the run's files down, checked                    node     goes along and starts the program there

Everything that speaks to Azure runs in that thread; whoever shows a run reads the files of its folder.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from mb_jupyter.backends import Job, RunState, Status
from mb_jupyter.backends.local import LocalBackend
from mb_jupyter.errors import AzureError
from mb_jupyter.records import read_object

from .fetch import adopt
from .folder import RunFolder
from .follow import Follower
from .send import RUNS

__all__ = ["AzureBackend", "adopt_job", "open_backend"]

KNOWN = ("place", "sign_in", "compute", "size", "priority", "price", "currency")  # of the options
PLACE = ("subscription", "resource_group", "workspace", "region", "tenant")
MOST_MINUTES = 24 * 60.0  # of a job that was given no limit: a forgotten one ends
FRESH_SECONDS = 20.0  # after which what is known is no longer how it stands
PATIENCE = 10.0  # seconds that somebody who asks waits for a first look

CUT = {
    "kind": "gone",
    "cause": "The kernel ended before the job was submitted; nothing runs in Azure.",
    "fix": "Run the cell again: what was sent already is not sent twice.",
}

_followers: dict[Path, Follower] = {}  # one for each folder, however many look at it
_lock = threading.Lock()


def open_backend() -> AzureBackend:
    """Return Azure."""
    return AzureBackend()


class AzureBackend(LocalBackend):
    """Runs jobs in Azure; see :class:`mb_jupyter.backends.Backend`. Metrics and log are read from the folder."""

    detaches = True

    def submit(self, job: Job, folder: Path) -> bool:
        """Begin to send the job, from a thread; :meth:`status` tells how far that is."""
        here, options = RunFolder(folder), dict(job.options)
        before = here.facts
        attempt = int(before.get("attempt", 0)) + 1 if before.get("submitted") else int(before.get("attempt", 1))
        experiment = str(options.get("azure_name") or folder.parent.name)  # what Azure can take
        name = f"{experiment}-{folder.name}"[:200]
        for stale in ("status.json", "ended.json", "log.txt"):
            (folder / stale).unlink(missing_ok=True)
        here.know(
            **{key: options.get(key) for key in KNOWN},
            nodes=int(options.get("nodes") or 1),
            queue_minutes=options.get("queue_minutes"),
            minutes=job.minutes or MOST_MINUTES,
            job=name if attempt == 1 else f"{name}-{attempt}",
            attempt=attempt,
            submitted=False,
            handle=job.name,
            experiment=options.get("experiment") or experiment,
            prefix=f"{RUNS}{experiment}/{folder.name}/",
            kernel=_process(os.getpid()),
            stages=[],
            **dict.fromkeys(("ran", "begun", "queue_over", "submitting")),
        )  # fmt: skip
        here.tell(RunState.STARTING, stage="upload", message="opening the workspace", stages=[], error=None)
        with _lock:
            _followers[folder] = follower = Follower(folder, job)
        follower.start()
        return True

    def status(self, folder: Path) -> Status:
        """Tell what is known, and see to it that somebody looks; waits some seconds for a first look."""
        here = RunFolder(folder)
        status = here.status()
        if status.state.is_terminal:
            return status
        facts = here.facts
        follower = _followers.get(folder)
        if not facts.get("submitted") and (follower is None or not follower.is_alive()):
            status = here.status()  # it may have ended in between
            if status.state.is_terminal or _lives(facts.get("kernel")):
                return status
            if not facts.get("submitting"):
                here.tell(RunState.FAILED, error=CUT, message=CUT["cause"], stages=here.close_stages())
                return here.status()
            facts = here.know(submitted=True)  # or not: a look tells
        if (status.error or {}).get("kind") == "lost" and follower is not None and follower.gave_up_lately:
            return status
        follower = self._follower(folder)
        if facts.get("submitted") and time.time() - (status.updated or 0.0) > FRESH_SECONDS:
            follower.looked.wait(PATIENCE)
        return here.status()

    def stop(self, folder: Path) -> None:
        """Put the tag on the run that the program watches, and leave the file for one without MLflow."""

        from mb_jupyter.azureml.aside import aside

        def ask() -> None:
            from mb_jupyter.azureml.storage import Store
            from mb_jupyter.azureml.tracking import Tracking

            here = RunFolder(folder)
            connection, facts = here.connect(), here.facts
            Store(connection).put(f"{facts['prefix']}stop", b"")
            try:
                Tracking(connection, str(facts["job"])).tag("mb_stop", "true")
            except AzureError as error:
                if error.status != 404:  # nothing is tracked before the job runs; the file is there
                    raise

        if self._sending(folder):
            self.cancel(folder)
        else:
            aside(ask)
            self._follower(folder).hurry()

    def cancel(self, folder: Path) -> None:
        """Cancel the job; one that was not submitted yet never is."""

        from mb_jupyter.azureml.aside import aside

        def ask() -> None:
            from mb_jupyter.azureml import jobs

            here = RunFolder(folder)
            jobs.cancel(here.connect(), str(here.facts["job"]))

        follower = _followers.get(folder)
        if self._sending(folder) and follower is not None:
            follower.cancel()
            follower.join(PATIENCE)
            if follower.is_alive() and not RunFolder(folder).facts.get("submitted"):
                said = "The submission is under way; the job is canceled as soon as it is there."
                RunFolder(folder).tell(RunState.STARTING, message=said)
        if RunFolder(folder).facts.get("submitted"):
            aside(ask)
            self._follower(folder).hurry()

    def fetch(self, folder: Path) -> None:
        """Do nothing: a run is said to have ended when its files are here."""

    def _sending(self, folder: Path) -> bool:
        follower = _followers.get(folder)
        return follower is not None and follower.is_alive() and not RunFolder(folder).facts.get("submitted")

    def _follower(self, folder: Path) -> Follower:
        with _lock:
            follower = _followers.get(folder)
            if follower is None or not follower.is_alive():
                status = RunFolder(folder).status()
                if not status.state.is_terminal:  # the follower before may just have said why the run failed
                    RunFolder(folder).tell(status.state, error=None, updated=status.updated)
                follower = _followers[folder] = Follower(folder)
                follower.start()
        follower.asked = time.monotonic()
        return follower


def adopt_job(workspace: str, job: str, root: Path) -> Path:
    """Return a folder in the local workspace ``root`` for a job that another machine has submitted."""
    chosen = read_object(root / "azure.json") or {}
    if str(chosen.get("workspace", "")).casefold() != workspace.casefold():
        now = f"the one chosen here is {chosen['workspace']}" if chosen.get("workspace") else "none is chosen here yet"
        raise AzureError(
            f"The job {job} is in the Azure workspace {workspace}; {now}.",
            f"Choose it: %mb_workspace use {workspace} --sign-in cli --subscription ID --resource-group GROUP.",
        )

    def find() -> Path:
        from mb_jupyter.azureml import Place, connect

        known = {name: str(chosen.get(name, "")) for name in PLACE}
        how = str(chosen.get("sign_in", ""))
        return adopt(connect(how, Place(**known)), how, job, root)

    from mb_jupyter.azureml.aside import aside

    return aside(find)


def _process(pid: int) -> dict[str, float]:
    import psutil

    return {"pid": pid, "created": psutil.Process(pid).create_time()}


def _lives(process: Any) -> bool:
    """Tell whether the kernel that sends a job is still there."""
    import psutil

    try:
        return abs(psutil.Process(int(process["pid"])).create_time() - process["created"]) < 1.0
    except (psutil.Error, TypeError, LookupError):
        return False
