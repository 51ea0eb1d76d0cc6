"""Run one program, wait for it and write down how it ended. Standard library only.

``launch`` starts ``watch`` in a session of its own and returns at once with its process id, so that the
program is no child of the notebook's kernel: it survives the kernel, no signal of the notebook reaches
it, and nobody has to reap it. ``watch`` writes ``exit.json``, which is the difference between a program
that ended and one whose machine went away.
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


def launch(folder: Path, command: list[str]) -> None:
    """Start ``watch`` detached and print its process id."""
    watcher = [sys.executable, "-I", "-S", __file__, "watch", str(folder), *command]
    windows = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            watcher,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            creationflags=windows,
        )
    print(process.pid, flush=True)  # noqa: T201 - this is how the kernel learns it
    os._exit(0)  # without waiting for the child, which is on its own now


def watch(folder: Path, command: list[str]) -> None:
    """Run the program to its end and write ``exit.json``."""
    killed_before = oom_kills()
    try:
        returncode = subprocess.call(command, stdin=subprocess.DEVNULL, preexec_fn=_with_parent())
    except OSError as error:
        print(f"{command[0]} could not be started: {error}", flush=True)  # noqa: T201 - goes to log.txt
        returncode = 127
    ended = {"returncode": returncode, "ended": time.time(), "oom_kills": oom_kills() - killed_before}
    aside = folder / "exit.json.new"
    aside.write_text(json.dumps(ended), encoding="utf-8")
    aside.replace(folder / "exit.json")


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


if __name__ == "__main__":
    _, what, where, *program = sys.argv
    {"launch": launch, "watch": watch}[what](Path(where), program)
