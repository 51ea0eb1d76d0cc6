"""One thread for each run: sends it, follows it, brings its files, and writes what it learns into the run's folder.

So whoever shows a run only reads files, as for a run of this machine. The thread ends with the run, or when nobody
has asked for a while.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mb_jupyter.backends import Job, RunState
from mb_jupyter.errors import AzureError, MBError, SignInError

from . import fetch, send
from .folder import RunFolder
from .look import Looker

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection

OFTEN, RARELY, SLOWER = 2.0, 15.0, 1.1  # seconds between two looks: at first, at the most; each longer by this factor
NOBODY_LOOKS = 60.0  # seconds after which a thread ends that nobody asked
LOST_SECONDS = 3.0  # for which the error stands before somebody who asks begins another try
REFUSED = 90.0  # seconds for which a refused sign-in is tried again
NEVER_SENT = (
    "Canceled before anything was submitted; nothing runs and nothing costs. What is up already is not sent twice."
)


class Follower(threading.Thread):
    """Follows the run in ``folder``; with ``job`` it submits it first, as the folder's owner."""

    def __init__(self, folder: Path, job: Job | None = None, owner: IO[bytes] | None = None) -> None:
        super().__init__(daemon=True, name=f"azure {folder.name}")
        self.folder = RunFolder(folder)
        self.job = job
        self._owner = owner  # its lock tells other kernels that the job is still being sent
        self.asked = time.monotonic()
        self.looked = threading.Event()  # after the first look
        self._canceled = threading.Event()
        self._wake = threading.Event()
        self._connection: Connection | None = None
        self._failing: float | None = None  # since when
        self._gave_up: float | None = None  # when
        self._over = False  # the job has ended, its files are on their way

    @property
    def gave_up_lately(self) -> bool:
        """Tell whether it has just said that it cannot follow the run any more."""
        return self._gave_up is not None and time.monotonic() - self._gave_up < LOST_SECONDS

    def cancel(self) -> None:
        """End an upload that goes on; nothing is submitted then."""
        self._canceled.set()
        self._wake.set()

    def hurry(self) -> None:
        """Look again at once: something was asked of the run."""
        self._wake.set()

    def run(self) -> None:
        """Do all of it; whatever goes wrong ends in the run's folder, because nobody would see it here."""
        from mb_jupyter.azureml.upload import CanceledError

        try:
            if self.job is not None:
                self._patiently(self._send)
                self._let_go()
            self._follow()
        except CanceledError:
            self.folder.tell(RunState.CANCELED, message=NEVER_SENT, stages=self.folder.close_stages())
        except MBError as error:
            error = self._naming_what_is_gone(error)
            words = ("cause", "fix", "alternative", "details")
            self._give_up({word: getattr(error, word) for word in words if getattr(error, word)})
        except Exception as error:
            from mb_jupyter.azureml.translate import redacted

            told = {
                "cause": redacted(f"Following the run failed by a bug: {type(error).__name__}: {error}"),
                "fix": "Please report it with what %mb_why shows.",
                "traceback": redacted(traceback.format_exc()),
            }
            self._give_up(told)
        finally:
            self._let_go()
            self.looked.set()

    def _let_go(self) -> None:
        if self._owner is not None:
            self._owner.close()

    def _send(self, connection: Connection) -> None:
        assert self.job is not None
        send.send(self.folder, self.job, connection, self._canceled.is_set)
        self.job = None

    def _call_back(self, connection: Connection) -> None:
        from mb_jupyter.azureml import jobs

        jobs.cancel(connection, str(self.folder.facts["job"]))
        self._canceled.clear()

    def _follow(self) -> None:
        looker = Looker(self.folder)
        pause = OFTEN
        while True:
            turned = self._patiently(looker.look)
            if self._canceled.is_set() and looker.sees_it:  # asked for while the submission was under way
                self._patiently(self._call_back)
            self.looked.set()
            if looker.ended is not None:
                self._over = looker.sees_it
                self._bring(looker)
                return
            if time.monotonic() - self.asked > NOBODY_LOOKS:
                return
            pause = OFTEN if turned else min(pause * SLOWER, RARELY)
            if self._wake.wait(pause):
                self._wake.clear()
                pause = OFTEN

    def _bring(self, looker: Looker) -> None:
        """Bring the files, and only then say that the run has ended: whoever waits may use them."""
        stages = self.folder.stage("download") if looker.leaves_files else self.folder.close_stages()

        def progress(done: int, total: int) -> None:
            said = f"downloading the run's files: {done / 1e6:,.1f} of {total / 1e6:,.1f} MB"
            self.folder.tell(
                RunState.RUNNING, stage="download", message=said, stages=looker.stages(stages), done=None, total=None
            )

        def bring(connection: Connection) -> None:
            fetch.fetch(self.folder, looker.store(connection), progress)
            looker.conclude(connection)

        if looker.leaves_files:
            self._patiently(bring)
        else:
            self._patiently(looker.conclude)

    def _patiently(self, work: Callable[[Connection], Any]) -> Any:
        """Do something in Azure; as long as it is the network or the service that fails, wait and try again."""
        from mb_jupyter.azureml.translate import is_passing

        pause = OFTEN
        while True:
            try:
                # kept, because opening one costs more than a look
                self._connection = self._connection or self.folder.connect()
                answer = work(self._connection)
                self._failing = None
                return answer
            except AzureError as error:
                now = time.monotonic()
                self._failing = self._failing or now
                refused = isinstance(error, SignInError) or error.status == 401
                if refused:
                    self._connection = None
                # an upload has somebody waiting before it: a refusal is told at once
                patience = REFUSED if refused and self.job is None else float("inf")
                if not (is_passing(error) or refused) or now - self._failing > patience:
                    raise
                if refused and self.job is not None:
                    raise
                seconds = now - self._failing
                since = f" since {seconds:.0f} s" if seconds >= 1 else ""
                on = "" if self.job is not None or self._over else " The run itself goes on."
                self._note(f"{error.cause.rstrip('.')}{since}; trying again.{on}")
            if self._canceled.is_set() and self.job is not None and not self.folder.facts.get("submitting"):
                from mb_jupyter.azureml.upload import CanceledError

                raise CanceledError
            if self.job is None and time.monotonic() - self.asked > NOBODY_LOOKS:
                raise AzureError("Azure could not be reached while nobody looked.", "Attach again: %mb_attach.")
            self._wake.wait(pause)
            self._wake.clear()
            pause = min(pause * SLOWER, RARELY)

    def _note(self, said: str) -> None:
        with contextlib.suppress(OSError):
            self.folder.tell(self.folder.status().state, message=said)

    def _naming_what_is_gone(self, error: MBError) -> MBError:
        """Return the error, or for one that says only that something is not there what it is."""
        from mb_jupyter.azureml import jobs

        if isinstance(error, AzureError) and error.status == 404 and self._connection is not None:
            with contextlib.suppress(AzureError):
                if gone := jobs.gone(self._connection):
                    fix = "%mb_workspace list shows what there is; %mb_workspace use NAME, or create NAME, chooses."
                    return AzureError(gone, fix, details=error.details)
        return error

    def _give_up(self, error: dict[str, str]) -> None:
        """Say what went wrong. A job that Azure may have goes on without us: that is no word on how the run ends."""
        if not self.folder.path.is_dir():  # deleted: nobody is left to tell
            return
        facts, status = self.folder.facts, self.folder.status()
        if not (facts.get("submitted") or facts.get("submitting")):
            self.folder.tell(RunState.FAILED, error=error, message=error["cause"], stages=self.folder.close_stages())
            return
        self._gave_up = time.monotonic()
        handle = facts.get("handle", "")
        then = (
            f"The job has ended and costs nothing more; its files stay in Azure: %mb_attach {handle} fetches them."
            if self._over
            else f"It may go on, and cost. %mb_attach {handle} asks Azure again; its page: {status.url}"
        )
        is_unsent = facts.get("missing_since") and facts.get("seen") is False
        error = {**error, "kind": "unsent" if is_unsent else "lost", "alternative": then}
        self.folder.tell(status.state, error=error)
