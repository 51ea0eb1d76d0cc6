"""``status.json``: how far the run is, renewed every second, so that no clock stands still while something lasts.

The clock is the process's own monotonic one; what an attempt before a restart took is added. Losing a write is never
fatal: the next one comes, and at the end the exit code tells.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import outlook, processes
from .disk import ONCE, PAUSES, as_bytes, plain, swap

BETWEEN_WRITES = 0.5  # seconds from one progress to the next on disk
BETWEEN_BEATS = 1.0  # seconds from one write to the next while nothing is told
BEFORE = ("status.json", "before.json")  # what an earlier attempt has left


class Progress:
    """What ``status.json`` says. Several threads may change it; only the first of several processes writes it."""

    def __init__(self, output: Path, stop_requested: Callable[[], bool]) -> None:
        self.outlook = outlook.Outlook()
        self.output, self._stop_requested = output, stop_requested
        self._writes = processes.rank() == 0
        self._lock = threading.RLock()
        self._before, self._began = (_seconds_before(output) if self._writes else 0.0), time.monotonic()
        self._stage_began = self._written = self._began
        self._deadline = math.inf
        now = time.time()
        self.status: dict[str, Any] = {
            "state": "running", "stage": "start", "done": None, "total": None, "fraction": None, "eta_seconds": None,
            "eta_at_most": False, "message": "", "stages": [], "planned": [], "stopping": False, "started": now,
            "updated": now, "seconds": self._before, "stage_seconds": 0.0, "pid": os.getpid(), "error": None,
        }  # fmt: skip

    @property
    def seconds(self) -> float:
        """The seconds that the run has taken so far, all attempts together."""
        return self._before + time.monotonic() - self._began

    @property
    def stage_seconds(self) -> float:
        """The seconds that the stage has taken so far."""
        return time.monotonic() - self._stage_began

    def count_from(self, seconds: float) -> None:
        """Take over what a checkpoint knows of the time before; the clock never goes back."""
        self._before = max(self._before, seconds)

    def limit(self, seconds: float) -> None:
        """Say how many seconds are left of the time allowed."""
        self._deadline = time.monotonic() + seconds

    def begin(self, name: str, total: int | None, message: str) -> None:
        """Begin a stage."""
        with self._lock:
            self.close()
            self._stage_began = time.monotonic()
            self.outlook.begin(name)
            self.status["stages"].append({"stage": name, "started": time.time(), "seconds": None})
            self.status.update(stage=name, done=None if total is None else 0, total=total, message=message)
        self.write(firm=True)

    def close(self) -> None:
        """Note how long the stage that goes on took."""
        with self._lock:
            stages = self.status["stages"]
            if stages and stages[-1]["seconds"] is None:
                stages[-1]["seconds"] = round(self.stage_seconds, 3)
                self.outlook.end(self.stage_seconds, whole=not self._stop_requested())

    def count(self, done: int, total: int | None) -> None:
        """Say how far the stage is; cheap enough for every batch."""
        self.status["done"] = done
        if total is not None:
            self.status["total"] = total
        if time.monotonic() - self._written >= BETWEEN_WRITES:
            self.write()

    def update(self, **values: Any) -> None:
        """Change what is said, and write it at once."""
        with self._lock:
            self.status.update(values)
            self.write(firm=True)

    def write(self, *, firm: bool = False) -> None:
        """Renew ``status.json``; where another program holds it, a ``firm`` change is tried again, any other is not."""
        if not self._writes:
            return
        with self._lock:
            self._written = time.monotonic()
            self._renew()
            content = as_bytes(json.dumps(plain(self.status), ensure_ascii=False))
            with contextlib.suppress(OSError):  # a full disk, or a reader on Windows that does not let go
                swap(self.output / "status.json", content, pauses=PAUSES if firm else ONCE)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Renew ``status.json`` from a thread inside the block: also while the program waits for a long call."""
        if not self._writes:
            yield
            return
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BETWEEN_BEATS):
                with self._lock:
                    if over.is_set() or self.status["state"] != "running":
                        return
                    self.write()

        # a daemon: whatever ends the program does not wait for it
        thread = threading.Thread(target=beat, name="mb-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10 * BETWEEN_BEATS)

    def _renew(self) -> None:
        status = self.status
        status.update(updated=time.time(), seconds=round(self.seconds, 3), stage_seconds=round(self.stage_seconds, 3))
        if status["state"] != "running":
            return
        status["stopping"] = status["stopping"] or self._stop_requested()
        done, total = status["done"], status["total"]
        # one stage per epoch: its count says nothing of its pace
        share = done / total if done and total and status["stage"] != "epoch" else None
        left = self._deadline - time.monotonic()
        status.update(outlook.as_status(self.outlook, self.seconds, self.stage_seconds, share, left))


def _seconds_before(output: Path) -> float:
    """Return the seconds of the attempts before this one, which were cut short; 0 when there are none."""
    found = [0.0]
    for name in BEFORE:
        try:
            told = json.loads((output / name).read_bytes())
            if told["state"] not in ("completed", "stopped"):
                found.append(float(told["seconds"]))
        except (OSError, ValueError, TypeError, LookupError):
            continue
    return max((seconds for seconds in found if math.isfinite(seconds)), default=0.0)
