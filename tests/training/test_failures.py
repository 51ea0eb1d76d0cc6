"""Libraries that do not load, and memory that is not there: said in a sentence, by a program that has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter.backends import Job, RunState
from mb_jupyter.backends.local import LocalBackend
from mb_jupyter.training import failures
from mb_jupyter.training.errors import TrainingError

PROGRAM = Path(__file__).parents[2] / "mb_jupyter" / "training"
MIB = 2**20


def run(folder: Path, before: Callable[[], None] | None = None, **environment: str) -> dict[str, Any]:
    """Run the program and return its status, which must tell that it has failed by no fault of its own."""
    (folder / "config.json").write_text("{}")
    given = {"--config": folder / "config.json", "--data": folder / "none", "--output": folder / "run"}
    command = (sys.executable, "-m", "training", *(str(word) for pair in given.items() for word in pair))
    done = subprocess.run(
        command, cwd=PROGRAM.parent, env={**os.environ, **environment}, preexec_fn=before, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    status: dict[str, Any] = json.loads((folder / "run" / "status.json").read_text("utf-8"))
    assert status["state"] == "failed"
    return status


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process by its address space")
@pytest.mark.parametrize("mib", [250, 1000])
def test_too_little_memory_to_load_torch(tmp_path, mib):
    import resource

    error = run(tmp_path, lambda: resource.setrlimit(resource.RLIMIT_AS, (mib * MIB,) * 2))["error"]
    assert error["cause"].startswith("There was not enough memory to load")
    assert "Close other programs" in error["fix"]


def test_a_broken_torch_is_named(tmp_path):
    broken = tmp_path / "site-packages"
    (broken / "torch").mkdir(parents=True)
    (broken / "torch" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    error = run(tmp_path, PYTHONPATH=str(broken))["error"]
    assert error["cause"] == "torch cannot be loaded (RuntimeError: operator torchvision::nms does not exist)."
    assert error["fix"] == "Reinstall it: pip install --force-reinstall torch"


def test_a_missing_library_is_named_as_pip_knows_it():
    with pytest.raises(TrainingError, match=r"^nowhere cannot be loaded"), failures.loading():
        raise ModuleNotFoundError("No module named 'nowhere.inside'", name="nowhere.inside")
    with pytest.raises(TrainingError) as caught, failures.loading():
        raise ImportError("it is of another Python", name="PIL")
    assert "--force-reinstall pillow" in caught.value.fix.lower()


def test_the_backend_tells_it_too(tmp_path):
    code = tmp_path / "code" / "training"
    code.mkdir(parents=True)
    for file in PROGRAM.glob("*.py"):
        (code / file.name).write_bytes(file.read_bytes())
    (code / "network.py").write_text("import torch_of_another_world")
    folder = tmp_path / "run"
    folder.mkdir()
    given = {"--config": "{output}/config.json", "--data": "{data}", "--output": "{output}"}
    command = ("python", "-m", "training", *(word for pair in given.items() for word in pair))
    backend = LocalBackend()
    assert backend.submit(Job("broken", command, code, data=tmp_path, files={"config.json": "{}"}), folder)
    while not (status := backend.status(folder)).state.is_terminal:
        time.sleep(0.02)
    assert status.state is RunState.FAILED and status.error is not None
    assert status.error["cause"].startswith("torch_of_another_world cannot be loaded")
