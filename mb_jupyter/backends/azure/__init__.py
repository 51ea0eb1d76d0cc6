"""Azure Machine Learning: a command job in a workspace, and what it leaves in the workspace's storage.

::

    send      pictures, program and settings up; one job       folder   what is kept of the run here
    follow    one thread for each run: sends, looks, fetches   look     one look at the job and its files
    fetch     the run's files down, checked                    node     goes along and starts the program there

Everything that speaks to Azure runs in that thread; whoever shows a run reads the files of its folder.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from mb_jupyter.backends import Job, RunState, Status, locks, supervise
from mb_jupyter.backends.local import LocalBackend, never_ended
from mb_jupyter.errors import AzureError
from mb_jupyter.records import read_object

from . import look
from .fetch import adopt
from .folder import FACTS, RunFolder
from .follow import Follower
from .send import RUNS

__all__ = ["AzureBackend", "adopt_job", "open_backend"]

KNOWN = ("place", "sign_in", "compute", "size", "priority", "price", "currency")  # of the options
PLACE = ("subscription", "resource_group", "workspace", "region", "tenant")
MOST_MINUTES = 24 * 60.0  # of a job that was given no limit: a forgotten one ends
NEEDED = {"place", "job", "prefix"}  # of what is known of a job, to ask for it
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
        """Begin to send the job, from a thread that owns the folder meanwhile; :meth:`status` tells how far that is."""
        with locks.starting(folder):
            here = RunFolder(folder)
            before = here.facts
            begun = before.get("submitted") or before.get("submitting")
            status = here.status()
            if locks.is_owned(folder) or (begun and not status.state.is_terminal and not status.may_begin_again):
                return False
            owner = supervise.own(folder)
            if owner is None:
                return False
            self._begin(job, here, before)
            with _lock:
                _followers[folder] = follower = Follower(folder, job, owner)
            follower.start()
        return True

    def _begin(self, job: Job, here: RunFolder, before: dict[str, Any]) -> None:
        """Write down what is to be sent, and where."""
        folder, options = here.path, dict(job.options)
        # a job that Azure has never shown keeps its name, so that there is one if it is there after all
        is_new = before.get("submitted") and before.get("seen") is not False
        attempt = int(before.get("attempt") or (0 if is_new else 1)) + (1 if is_new else 0)
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
            seen=False,
            handle=job.name,
            experiment=options.get("experiment") or experiment,
            prefix=f"{RUNS}{experiment}/{folder.name}/",
            stages=[],
            submitting=None if is_new else before.get("submitting"),
            **dict.fromkeys(("ran", "begun", "queue_over", "missing_since")),
        )  # fmt: skip
        here.tell(RunState.STARTING, stage="upload", message="opening the workspace", stages=[], error=None)

    def status(self, folder: Path) -> Status:
        """Tell what is known, and see to it that somebody looks; waits some seconds for a first look."""
        here = RunFolder(folder)
        follower = _followers.get(folder)
        if follower is None or not follower.is_alive():
            if not here.status().state.is_terminal and not self._was_submitted(here):
                return _not_submitted(here)
            if follower is not None and follower.gave_up_lately:
                return here.status()
        status = here.status()
        if status.state.is_terminal:
            return status
        follower = self._follower(folder)
        is_old = status.is_lost or time.time() - (status.updated or 0.0) > FRESH_SECONDS
        if is_old and here.facts.get("submitted"):
            follower.looked.wait(PATIENCE)
        return here.status()

    def _was_submitted(self, here: RunFolder) -> bool:
        """Tell whether Azure may have the job; nobody sends it in this process."""
        if locks.is_owned(here.path) or locks.is_starting(here.path):  # another one does
            return False
        facts = here.facts  # read afterwards: it may have been sent in between
        if facts.get("submitting") and not facts.get("submitted"):
            facts = here.know(submitted=True)  # or not: a look tells
        return bool(facts.get("submitted")) and facts.keys() >= NEEDED

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
        """Cancel the job; one that was not submitted yet never is, and one that Azure has lost is given up here."""

        from mb_jupyter.azureml.aside import aside

        def ask() -> None:
            from mb_jupyter.azureml import jobs

            here = RunFolder(folder)
            connection, job = here.connect(), str(here.facts["job"])
            if jobs.cancel(connection, job):
                self._follower(folder).hurry()
            else:
                _close(here, jobs.portal(connection, job))

        follower = _followers.get(folder)
        if self._sending(folder) and follower is not None:
            follower.cancel()
            follower.join(PATIENCE)
            if follower.is_alive() and not RunFolder(folder).facts.get("submitted"):
                said = "The submission is under way; the job is canceled as soon as it is there."
                RunFolder(folder).tell(RunState.STARTING, message=said)
        if RunFolder(folder).facts.get("submitted"):
            aside(ask)

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


def _close(here: RunFolder, page: str) -> None:
    """Give a run up whose job Azure does not find, once that is no passing trouble."""
    since = here.facts.get("missing_since")
    if since is None or time.time() - since < look.MISSING_SECONDS:
        raise AzureError(
            "Azure does not find the job now, so it was not cancelled.",
            f"Try again in a minute, or cancel it in the portal: {page}",
        )
    note = f"Azure did not find its job. Should there be one, it goes on and costs: {page}"
    here.tell(RunState.CANCELED, error=None, note=note, stages=here.close_stages())


def _not_submitted(here: RunFolder) -> Status:
    """Return how a run stands that no thread of this process sends, and that is not known to be in Azure."""
    folder = here.path
    if locks.is_owned(folder) or locks.is_starting(folder):
        return here.status()
    if not (folder / FACTS).exists():
        return never_ended(folder, {})
    if here.facts.keys() >= NEEDED:
        if not (here.facts.get("submitted") or here.status().state.is_terminal):  # it may have been, in between
            here.tell(RunState.FAILED, error=CUT, message=CUT["cause"], stages=here.close_stages())
        return here.status()
    error = {
        "kind": "lost",
        "cause": f"Which job of Azure the run is cannot be read: {FACTS} is damaged.",
        "fix": f"Move the folder {folder} away; %mb_attach with the run's handle makes it anew from Azure.",
    }
    return Status(RunState.RUNNING, error=error)
