"""Runs the training program and ends it at a moment of its own: ``ended_at.py MOMENT -m training ...``.

A test that watches from outside may look too late, above all on a machine that has much else to do.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path.cwd())  # where ``-m`` would look
OUTPUT = Path(sys.argv[sys.argv.index("--output") + 1])


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(where: Any, name: str, act: Callable[..., object]) -> None:
    """Act before each call of a function, with what it is given."""
    original = getattr(where, name)

    def called(*given: Any, **named: Any) -> Any:
        act(*given, **named)
        return original(*given, **named)

    setattr(where, name, called)


def in_the_second_epoch() -> bool:
    records = (OUTPUT / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["event"] == "epoch" for line in records) >= 2  # the frozen features are one


def prepare(moment: str) -> None:
    training = importlib.import_module
    if moment in ("features", "notice"):
        how = {"features": signal.SIGKILL, "notice": signal.SIGTERM}[moment]

        def begins(_: object, stage: str, *__: Any, **___: Any) -> None:
            if stage == "features":
                os.kill(os.getpid(), how)

        before(training("training.record").Recorder, "stage", begins)
    elif moment == "second epoch":

        def step(*_: Any, **__: Any) -> None:
            if in_the_second_epoch():
                kill()

        before(training("training.loop"), "backward", step)
    elif moment == "after a checkpoint":
        session = training("training.session").Session
        save = session.save

        def saved(*given: Any, **named: Any) -> None:
            save(*given, **named)
            kill()

        session.save = saved
    elif moment == "half a checkpoint":

        def half(descriptor: int) -> None:
            written = Path(f"/proc/self/fd/{descriptor}").resolve()
            if written.name.startswith(".last.pt.") and in_the_second_epoch():
                os.truncate(written, written.stat().st_size // 2)
                kill()

        before(os, "fsync", half)
    else:
        raise ValueError(moment)


prepare(sys.argv[1])
sys.argv[:] = sys.argv[3:]
runpy.run_module("training", run_name="__main__", alter_sys=True)
