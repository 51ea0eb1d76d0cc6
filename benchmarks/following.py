"""What following a run in Azure costs this machine, against asking in a plain loop every two seconds, in the same run.

``python benchmarks/following.py [SECONDS]``; needs node and Azurite as the tests do (``MB_AZURITE``). The stand-in for
Azure and its job are other processes; here only the kernel's side is measured: the thread that follows the run, and
the view, drawn every second as a cell does. What it tells of an hour is extrapolated
from SECONDS (default 180) of a steady run: one epoch every 20 seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mb_jupyter.azureml import Place, connect, jobs
from mb_jupyter.backends import Job, open_backend
from mb_jupyter.live import Live
from mb_jupyter.run import RARELY_THERE, Run

PROGRAM = """
import json, pathlib, sys, time
output = pathlib.Path(sys.argv[1])
for epoch in range(100_000):
    with (output / "metrics.jsonl").open("a") as file:
        record = {"event": "epoch", "epoch": epoch, "validation_accuracy": 0.9, "train_loss": 0.1}
        file.write(json.dumps(record) + "\\n")
    (output / "aside").write_text(json.dumps({"state": "running", "stage": "epoch", "done": epoch, "stages": []}))
    (output / "aside").replace(output / "status.json")
    print("epoch", epoch, flush=True)
    time.sleep(20)
"""
STANDIN = """
import json, sys, tempfile
from pathlib import Path
from tests.azure_emulator.emulator import Azure
with tempfile.TemporaryDirectory() as place:
    azure = Azure(Path(place))
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    told = {"environment": azure.environment, "subscription": azure.subscription, "tenant": azure.tenant}
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    azure.stop()
"""
SETTLE = 130.0  # seconds until the pauses have grown to their longest


def used() -> float:
    """Return the seconds of processor time of this process."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return mine.ru_utime + mine.ru_stime


def main() -> None:
    """Print a table."""
    seconds = float((sys.argv[1:] or ["180"])[0])
    standin = subprocess.Popen(
        [sys.executable, "-c", STANDIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert standin.stdin is not None and standin.stdout is not None
    try:
        told = json.loads(standin.stdout.readline())
        os.environ.update(told["environment"])
        with tempfile.TemporaryDirectory() as place:
            measure(Place(told["subscription"], "rg", "ws", "westeurope", told["tenant"]), Path(place), seconds)
    finally:
        standin.stdin.close()
        standin.wait(30)


def measure(where: Place, place: Path, seconds: float) -> None:
    folder = place / "lines/20260101-000000-abcd"
    folder.mkdir(parents=True)
    (place / "code/steady").mkdir(parents=True)
    (place / "code/steady/__main__.py").write_text(PROGRAM)
    options: dict[str, Any] = {"place": vars(where), "sign_in": "environment", "compute": "gpu", "price": 0.5}
    command = ("python", "-m", "steady", "{output}")
    backend = open_backend("azure")
    backend.submit(Job("steady", command, place / "code/steady", options=options), folder)
    record = {"handle": "azure://ws/steady", "experiment": "lines", "id": folder.name, "backend": "azure", "config": {}}
    (folder / "run.json").write_text(json.dumps(record))
    run = Run(folder)
    while run.status.stage != "epoch":
        assert not run.state.is_terminal, run.why()
        time.sleep(0.5)
    watch(run, SETTLE)
    ours = watch(run, seconds)
    follow = watch(run, seconds, shown=False)
    name = json.loads((folder / "azure.json").read_text())["job"]
    connection = connect("environment", where)
    plain = ask(connection, name, seconds / 3)
    run.cancel()
    while not run.state.is_terminal:
        time.sleep(0.5)
    print(f"{seconds:.0f} s of a steady run, {os.cpu_count()} cores")
    for what, share in (
        ("ours: poll", follow),
        ("ours: poll, and draw the cell", ours),
        ("peer: one request every 2 s", plain),
    ):
        print(f"{what:36} {share * 100:6.3f} % of a core, {share * 3600:6.1f} s of processor time in an hour")


def watch(run: Run, seconds: float, *, shown: bool = True) -> float:
    """Look as the cell does, and draw if it is to be ``shown``; return the share of a core that it took."""
    live = Live("lines", watched=True)
    begun, before = time.monotonic(), used()
    with contextlib.redirect_stdout(io.StringIO()):
        while time.monotonic() - begun < seconds:
            if shown:
                run.show(live)
            else:
                _ = run.state  # so that the thread goes on
            time.sleep(RARELY_THERE)
    return (used() - before) / (time.monotonic() - begun)


def ask(connection: Any, name: str, seconds: float) -> float:
    begun, before = time.monotonic(), used()
    while time.monotonic() - begun < seconds:
        jobs.look(connection, name)
        time.sleep(2)
    return (used() - before) / (time.monotonic() - begun)


if __name__ == "__main__":
    main()
