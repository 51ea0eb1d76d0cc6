"""This machine: a process of its own that outlives the notebook's kernel, and its folder.

Files beside the program's own: ``owner.lock`` (held by the supervisor for as long as it lives), ``process.json``
(the process ids, which mean something only while that lock is held), ``exit.json`` (how the program ended),
``canceled`` and ``stop`` (what was asked), ``log.txt``, ``code/``. Starting, stopping and ending a run happen under
``start.lock``, one at a time.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter import records
from mb_jupyter.errors import WorkspaceError
from mb_jupyter.training import disk

from . import Job, RunState, Status, locks, supervise

if TYPE_CHECKING:
    import psutil

BYTES_PER_LINE = 1_000  # of the log; where lines are longer, fewer are shown
EXPECTED_REFUSAL = 2
CANCEL_SECONDS = 5
LAST_WORD = 60.0  # seconds between a program's last status and its end, at the most
LEAST_BYTES = 4 * 2**20  # of the program and a run's records
SUBMIT_SECONDS = 30  # between the run's record and its process there is nothing to see

ENDED_BY_SYSTEM = {
    "kind": "killed",
    "cause": "The training was ended by the system, probably because the memory ran out.",
    "fix": "Close other programs and run the cell again; it goes on from its checkpoint.",
}
GONE = {
    "kind": "gone",
    "cause": "The training stopped without a word: the machine or the system ended it.",
    "fix": "Run the cell again; it goes on from its last checkpoint.",
}
UNLOCKED = "files of the run may have been deleted. Runs of early versions have none."
NEVER_STARTED = {
    "kind": "gone",
    "cause": "The training was never started: the kernel ended before it could be.",
    "fix": "Run the cell again.",
}


def open_backend() -> LocalBackend:
    """Return this machine."""
    return LocalBackend()


class LocalBackend:
    """Runs jobs as processes of this machine; see :class:`mb_jupyter.backends.Backend`."""

    detaches = False

    def submit(self, job: Job, folder: Path) -> bool:
        """Start the job in a session of its own, with its output in ``folder``; False where it runs already."""
        with locks.starting(folder):
            # a supervisor that has written exit.json is on its way out: the new one waits for its lock
            if locks.is_owned(folder) and records.read_ended(folder) is None:
                return False
            try:
                self._start(job, folder)
            except OSError as error:
                raise _unwritable(folder, error) from error
        return True

    def _start(self, job: Job, folder: Path) -> None:
        with contextlib.suppress(OSError):  # the clock of the attempts before this one
            disk.rename(folder / "status.json", folder / "before.json")
        for stale in ("exit.json", "status.json", "failed.json", "process.json", "canceled", "stop"):
            disk.remove(folder / stale)
        code = folder / "code"
        shutil.rmtree(code, ignore_errors=True)
        shutil.copytree(job.code, code / job.code.name, ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in job.files.items():
            disk.swap(folder / name, text.encode())
        launcher = [sys.executable, "-I", "-S", supervise.__file__, "launch", str(folder)]
        started = subprocess.run(
            [*launcher, *_command(job, folder)],
            cwd=code,  # `python -m` looks here first: no file beside the notebook can stand in for a library
            env=_environment(job, code),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if started.returncode != 0:
            raise WorkspaceError(
                f"The training of {job.name} could not be started: {started.stderr.strip()[-300:]}",
                "Run %mb_doctor to see whether this Python installation is whole.",
            )

    def status(self, folder: Path) -> Status:
        """Tell what the program says of itself, corrected by what its process says."""
        ended = records.read_ended(folder)
        alive = ended is None and locks.is_owned(folder)
        ended = ended or records.read_ended(folder)  # it may have ended while the lock was asked
        told = records.read_fields(folder, records.STATUS)
        if ended is None and alive:
            return Status.of(RunState.RUNNING if told else RunState.STARTING, told)
        if ended is None:
            return never_ended(folder, told)
        told = _until(told, ended)
        code = ended["returncode"]
        if code == 0:
            state = RunState.STOPPED if told.get("state") == "stopped" else RunState.COMPLETED
            return Status.of(state, told)
        if (folder / "canceled").exists():
            return Status.of(RunState.CANCELED, told)
        # the first process may be ended before it can say why, by the failure of another
        known = told if told.get("state") == "failed" else records.read_object(folder / "failed.json") or told
        return Status.of(RunState.FAILED, told, _explain(code, ended.get("oom_kills", 0), known))

    def metrics(self, folder: Path) -> list[dict[str, Any]]:
        """Return the records in ``metrics.jsonl``; a line that is being written, or was torn, is skipped."""
        return records.read_metrics(folder)

    def log(self, folder: Path, lines: int | None = None) -> str:
        """Return ``log.txt``, or its last ``lines``."""
        try:
            with (folder / "log.txt").open("rb") as file:
                if lines is not None:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(0, size - BYTES_PER_LINE * (lines + 8)))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        # a progress bar rewrites its line: what stands after the last carriage return is what was seen
        seen = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
        while seen and not seen[-1].strip():
            seen.pop()
        return "\n".join(seen if lines is None else seen[-lines:])

    def stop(self, folder: Path) -> None:
        """Leave the file that the program looks for between two batches."""
        with locks.starting(folder):
            if locks.is_owned(folder):
                (folder / "stop").touch()

    def cancel(self, folder: Path) -> None:
        """End the program, and every process it has started, now."""
        if not folder.is_dir():
            return
        with locks.starting(folder):
            if (folder / "exit.json").exists() or not locks.is_owned(folder):
                return
            (folder / "canceled").touch()
            _end(folder)

    def fetch(self, folder: Path) -> None:
        """Do nothing: the program has written its files here."""


def _unwritable(folder: Path, error: OSError) -> WorkspaceError:
    """Return why a run's folder cannot be prepared, with what to do about it."""
    left = disk.free_space(folder)
    if error.errno in disk.NO_ROOM or (left is not None and left < LEAST_BYTES):
        return WorkspaceError(f"There is no room for a run in {folder}.", disk.room(folder), details=str(error))
    reason = error.strerror or "the training program cannot be copied there"
    return WorkspaceError(
        f"The run's folder {folder} cannot be written to: {reason}.",
        "Get the right to write there.",
        details=str(error),
    )


def _command(job: Job, folder: Path) -> list[str]:
    """Return the job's command with this machine's Python and folders; torchrun for several processes."""
    places = {"data": str(job.data or ""), "output": str(folder)}
    program = [re.sub(r"\{(data|output)\}", lambda name: places[name[1]], word) for word in job.command[1:]]
    if job.processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(job.processes)]
        program = [*torchrun, *program]
    return [sys.executable, *program]


def _environment(job: Job, code: Path) -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(code), os.environ.get("PYTHONPATH", "")) if part)
    # whatever the system's code page: a name in a log line must never end a training
    text = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
    if platform.system() == "Windows":  # torch is built without libuv there, and torchrun asks for it
        text["USE_LIBUV"] = "0"
    return {**os.environ, **text, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path, **job.env}


def _end(folder: Path) -> None:
    """End the processes of a run whose folder is owned, until it no longer is."""
    import psutil

    until = time.monotonic() + CANCEL_SECONDS
    while locks.is_owned(folder):
        # unknown just after the launch; only while the lock is held do the numbers belong to these processes
        supervisor, program = map(_process, records.read_processes(folder))
        family = [one for one in (program, *_children(program), *_children(supervisor)) if one is not None]
        # the supervisor lives on to write exit.json, unless it does not come to that
        if supervisor is not None and time.monotonic() > until:
            family.append(supervisor)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=0.1)


def _process(pid: int | None) -> psutil.Process | None:
    import psutil

    try:
        return None if pid is None else psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _children(process: psutil.Process | None) -> list[psutil.Process]:
    import psutil

    try:
        return [] if process is None else process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def never_ended(folder: Path, told: Mapping[str, Any]) -> Status:
    """Return the status of a run without a living process that did not write how it ended."""
    if (folder / "canceled").exists():
        return Status.of(RunState.CANCELED, told)
    if deleted := _deleted(folder):
        return Status.of(RunState.FAILED, told, deleted)
    if (folder / "process.json").exists():
        lost = "" if (folder / supervise.OWNER).exists() else f" {folder / supervise.OWNER} is missing: {UNLOCKED}"
        return Status.of(RunState.FAILED, told, {**GONE, "cause": GONE["cause"] + lost})
    try:
        young = time.time() - (folder / "run.json").stat().st_mtime < SUBMIT_SECONDS
    except OSError:
        young = False
    begins = young or locks.is_starting(folder)
    return Status.of(RunState.STARTING, told) if begins else Status.of(RunState.FAILED, told, NEVER_STARTED)


def _deleted(folder: Path) -> dict[str, str]:
    """Return what somebody has deleted under a run, as the error to show; empty when all is there."""
    places = {"workspace": folder.parent.parent, "experiment's folder": folder.parent, "run's folder": folder}
    gone = next((f"The {what} {place} is missing" for what, place in places.items() if not place.is_dir()), "")
    if not gone:
        return {}
    fix = "Restore it from a backup or the trash, or train again."
    return {"kind": "deleted", "cause": f"{gone}: it was deleted or moved.", "fix": fix}


def _until(told: Mapping[str, Any], ended: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the program said, with its clock going on until it had ended: its last word is a little older."""
    last, end = told.get("updated"), ended.get("ended")
    if told.get("seconds") is None or last is None or end is None:
        return dict(told)
    more = min(LAST_WORD, max(0.0, end - last))
    return {**told, "seconds": told["seconds"] + more, "updated": max(last, end)}


def _explain(code: int, oom_kills: int, told: Mapping[str, Any]) -> Mapping[str, str]:
    """Return why a program ended with a code that is not 0, in its own words where it has left some."""
    if code == -9 or (oom_kills > 0 and code != EXPECTED_REFUSAL):
        return ENDED_BY_SYSTEM
    if told.get("state") == "failed" and isinstance(told.get("error"), dict):
        return {key: str(value) for key, value in told["error"].items() if value}
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return {
        "cause": f"The training program ended with {how} and without an explanation.",
        "fix": "Its last lines are in %mb_why.",
    }
