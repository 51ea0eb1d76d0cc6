"""Own a run's folder, run its program, and write down how it ended. No library but portalocker.

``launch`` starts ``watch`` in a session of its own and returns with its process id as soon as the folder is
owned, so that the program is no child of the notebook's kernel: it survives the kernel, no signal of the notebook
reaches it, and nobody has to reap it. ``watch`` holds an operating-system lock on ``owner.lock`` for as long as it
lives: whether a run lives is a question to that lock, never to a clock or to a process id that may have been given
to another process since. It writes ``exit.json``, which is the difference between a program that ended and one
whose machine went away.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

OWNER = "owner.lock"
PROBED_SECONDS = 10.0  # somebody who asks whether the run lives holds the lock for a moment
HELD_BY_ANOTHER = 3  # exit code of a watcher that may not own the folder


def launch(folder: Path, command: list[str]) -> None:
    """Start ``watch`` detached, wait until it owns the folder, and print its process id."""
    # -P: no file beside the notebook can stand in for a library
    watcher = [sys.executable, "-P", __file__, "watch", str(folder), *command]
    windows = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            watcher,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            creationflags=windows,
        )
    assert process.stdout is not None
    if not process.stdout.readline():  # it ended without owning the folder
        sys.stderr.write(f"the supervisor ended with exit code {process.wait()}; its last words are in log.txt\n")
        sys.stderr.flush()
        os._exit(1)
    print(process.pid, flush=True)  # noqa: T201 - this is how the kernel learns it
    os._exit(0)  # without waiting for the child, which is on its own now


def watch(folder: Path, command: list[str]) -> None:
    """Own the folder, run the program to its end and write ``exit.json``."""
    lock = own(folder)
    if lock is None:
        sys.exit(HELD_BY_ANOTHER)
    print("owned", flush=True)  # noqa: T201 - launch waits for it
    killed_before = oom_kills()
    try:
        with (folder / "log.txt").open("ab") as log:
            program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_with_parent(),  # noqa: PLW1509 - this process has one thread
                **_heirs(lock),
            )
        write_json(folder / "process.json", {"pid": os.getpid(), "program": program.pid})
        returncode = program.wait()
    except OSError as error:
        sys.stderr.write(f"{command[0]} could not be started: {error}\n")
        returncode = 127
    write_json(
        folder / "exit.json",
        {"returncode": returncode, "ended": time.time(), "oom_kills": oom_kills() - killed_before},
    )


def own(folder: Path) -> IO[bytes] | None:
    """Return the open file whose lock makes this process the owner of the folder; None when another is."""
    import portalocker

    try:
        file = (folder / OWNER).open("ab")
    except FileNotFoundError:  # the start was abandoned, and the folder with it
        return None
    until = time.monotonic() + PROBED_SECONDS
    while True:
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
            return file
        except portalocker.AlreadyLocked:
            if time.monotonic() > until:
                return None
            time.sleep(0.005)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a small file whole, so that it outlives a power cut."""
    from mb_jupyter.training.disk import swap

    swap(path, json.dumps(value).encode(), durable=True)


def oom_kills() -> int:
    """Return how many processes the system has ended for memory since it started; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _with_parent() -> Callable[[], None] | None:
    """Return what makes Linux end the program when this process is killed: nobody would watch it any more."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG
    return lambda: prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)


def _heirs(lock: IO[bytes]) -> dict[str, Any]:
    """Return what lets the program hold the lock too, where it would outlive this process (macOS)."""
    return {} if sys.platform in ("linux", "win32") else {"pass_fds": (lock.fileno(),)}


if __name__ == "__main__":
    # this package, wherever it lies; last, so that it stands in for no library
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    _, what, where, *program = sys.argv
    {"launch": launch, "watch": watch}[what](Path(where), program)
