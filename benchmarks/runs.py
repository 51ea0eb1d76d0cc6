"""How long it takes to list thousands of runs, and to find the identical one among them.

Peer: reading the same ``run.json`` files with a bare loop, which is the least that a listing with states can cost.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mb_jupyter.history import runs
from mb_jupyter.workspace import Workspace

RUNS = 3_000


def fill(workspace: Workspace) -> None:
    for number in range(RUNS):
        folder = workspace.root / "many" / f"2026{number // 1000:02d}01-{number % 1000:06d}-{number:04x}"
        folder.mkdir(parents=True)
        record = {
            "handle": f"local://many/{folder.name}",
            "experiment": "many",
            "id": folder.name,
            "identity": str(number),
        }
        config = {"architecture": "auto", "epochs": 12}
        (folder / "run.json").write_text(
            json.dumps({**record, "config": config, "created": "2026-01-01T00:00:00+00:00"})
        )
        (folder / "status.json").write_text(json.dumps({"state": "completed", "stage": "verify", "stages": []}))
        (folder / "exit.json").write_text(json.dumps({"returncode": 0, "ended": 0, "oom_kills": 0}))
        (folder / "report.json").write_text(json.dumps({"test_accuracy": 0.9}))
    workspace.experiment("many")


def bare_loop(workspace: Workspace) -> None:
    for path in (workspace.root / "many").iterdir():
        if path.is_dir():
            json.loads((path / "run.json").read_bytes())


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        fill(workspace)
        peer = seconds(lambda: bare_loop(workspace))
        listed = runs(workspace=workspace)
        for name, work in {
            "list and show (%mb_runs)": lambda: runs(workspace=workspace)._repr_mimebundle_(),
            "every state": lambda: [run.state for run in runs(workspace=workspace)],
            "every record, to find the identical run": lambda: [
                run.record["identity"] for run in runs(workspace=workspace)
            ],
            "the whole table (.frame, pandas imported)": lambda: listed.frame,
            "the bare loop": lambda: bare_loop(workspace),
        }.items():
            print(f"{name:<45} {seconds(work):6.3f} s   ({peer:.3f} s for the bare loop, {RUNS:,} runs)")


if __name__ == "__main__":
    main()
