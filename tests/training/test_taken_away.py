"""A machine that is taken away: killed at any moment, or again and again, a run ends with the same figures.

The moments are file events of the program itself (a file opened for writing, a rename), not seconds: an audit hook in
its process counts them and kills it, so that a busy machine changes nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from .test_main import PROGRAM, Program

pytestmark = pytest.mark.timeout(1200)  # programs one after the other, on a machine that may be busy
MOMENTS = int(os.environ.get("MB_KILL_MOMENTS", "4"))  # at which a fresh run is killed; 20 are promised
KEPT_BETWEEN = 4  # kept files from one loss of the machine to the next
TABLES = ("predictions.csv", "baselines.csv", "out_of_fold.csv", "validation.csv", "learning_curve.csv",
          "neighbours.csv", "split.csv", "bestModelMap.json")  # fmt: skip
#: goes into the program's process before anything else; MB_KILL is `event NUMBER`, `kept NUMBER`, `write NUMBER` or
#: empty, which only counts
HOOK = """
import atexit, os, signal, sys

_output, _kind, _number = os.environ["MB_OUTPUT"], *(os.environ["MB_KILL"] or "event 0").split()
_left, _seen = int(_number), 0


def _end():
    os.kill(os.getpid(), signal.SIGKILL)


def _count(kind):
    global _left, _seen
    _seen += kind == "event"
    if kind == _kind:
        _left -= 1
        if _left == 0:
            _end()


def _profile(frame, event, argument):
    if event == "c_call" and getattr(argument, "__name__", "") == "write_record":
        _count("write")


def _hook(name, given):
    global _left
    if name == "open":
        path, mode, flags = given
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
    elif name == "os.rename":
        path, writes = given[1], True
    else:
        return
    path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    if not writes or not path.startswith(_output) or os.path.basename(path).strip(".").startswith("status.json"):
        return  # the status is renewed every second
    _count("event")
    if name == "os.rename" and path.endswith(("last.pt", ".npy")):
        _count("kept")
    if _kind == "write":
        sys.setprofile(_profile if os.path.basename(path).startswith(".last.pt.") else None)


def _tell():
    with open(os.environ["MB_COUNTED"], "w") as file:
        file.write(str(_seen))


sys.addaudithook(_hook)
atexit.register(_tell)
"""

#: goes into the copy of the program: a checkpoint is due each third time that somebody asks, not each minute
OFTEN = """
def _due(session):
    session.asked = getattr(session, "asked", 0) + 1
    return session.asked % 3 == 0


Session.due = _due
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Return a folder of three classes of 12 noisy images each, too few for a learning curve."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number, name in enumerate(["ape", "bee", "cat"]):
        (root / name).mkdir()
        for index in range(12):
            noise = random.normal((100 + 14 * number, 120, 130), 60, (32, 32, 3))
            Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """Return a copy of the program that writes a checkpoint every three batches, and the hook beside it."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(PROGRAM, folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    append(folder, "variants", "def _in_int8(*_):\n    return 'it takes seconds'\n\n\nTURNS = FEWEST_TURNS = 1\n")
    append(folder, "checkpoint", "EVERY = 0.0\n")  # of features: a file for each batch
    append(folder, "session", OFTEN)
    return folder


def append(code: Path, module: str, lines: str) -> None:
    with (code / "training" / f"{module}.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{lines}")


class Hunted(Program):
    """A fresh run, with features of its own, that can be killed at a moment."""

    def attempt(self, moment: str = "") -> int:
        """Run the program until it ends or its moment has come."""
        env = {
            "PYTHONPATH": os.pathsep.join((str(self.code / "hook"), os.environ.get("PYTHONPATH", ""))),
            "MB_OUTPUT": str(self.output), "MB_KILL": moment, "MB_COUNTED": str(self.output / "counted"),
            "OMP_NUM_THREADS": "1",  # a network so small gains nothing by several threads
        }  # fmt: skip
        process = self.start(env=env)
        try:
            return process.wait(timeout=600)
        finally:
            process.kill()
            process.wait()

    @property
    def counted(self) -> int:
        return int((self.output / "counted").read_text())

    @property
    def checkpoint(self) -> dict[str, Any]:
        path = self.output / "checkpoint" / "last.pt"
        return torch.load(path, weights_only=True) if path.exists() else {}

    def figures(self) -> dict[str, Any]:
        """Return all that must not depend on how often the run was begun."""
        kept = self.checkpoint["finetune"]
        tensors = {f"{kind} {name}": kept[kind][name] for kind in ("weights", "best_weights") for name in kept[kind]}
        tensors |= {f"average {number}": value for number, value in enumerate(kept["average"]["weights"])}
        for number, state in kept["optimizer"]["state"].items():
            tensors |= {f"optimizer {number} {name}": value for name, value in state.items()}
        names = [name for name in TABLES if (self.output / name).exists()]
        return {
            "epochs": self.of("epoch"),
            "result": self.of("result"),
            "files": {name: (self.output / name).read_bytes() for name in (*names, "bestModel.onnx")},
            "tensors": {name: value.numpy().tobytes() for name, value in tensors.items()},
        }


@pytest.fixture(scope="module")
def hunt(code, pictures, weights, tmp_path_factory) -> Callable[..., Hunted]:
    """Return what makes a fresh run."""

    def make(program: Path = code) -> Hunted:
        output = tmp_path_factory.mktemp("run")
        network = {"architecture": "squeezenet1_1", "weights": str(weights), "learning_rate": 2e-5, "batch_size": 4}
        return Hunted(program, pictures, output, seed=5, cache=str(output / "kept"), **network)

    return make


@pytest.fixture(scope="module")
def undisturbed(hunt) -> Hunted:
    program = hunt()
    assert program.attempt() == 0, program.log
    assert program.of("result")[0]["best_phase"] == "finetune"
    return program


def test_checkpoints_change_no_figure(undisturbed, hunt, tmp_path):
    shutil.copytree(undisturbed.code, tmp_path / "code")
    for module in ("checkpoint", "session"):
        shutil.copy(PROGRAM / f"{module}.py", tmp_path / "code" / "training")
    program = hunt(tmp_path / "code")
    assert program.attempt() == 0, program.log
    assert program.figures() == undisturbed.figures()
    assert program.counted < 0.8 * undisturbed.counted


@pytest.mark.parametrize("number", range(MOMENTS))
def test_killed_at_any_moment_it_ends_with_the_same_figures(undisturbed, hunt, number):
    program = hunt()
    event = 1 + (undisturbed.counted - 1) * number // MOMENTS
    moment = f"event {event}" if number else "write 150"
    assert program.attempt(moment) == -signal.SIGKILL, program.log
    if not number:  # inside the write of a checkpoint
        (torn,) = (program.output / "checkpoint").glob(".last.pt.*")
        assert torn.stat().st_size > 0
        with pytest.raises((RuntimeError, EOFError, OSError)):
            torch.load(torn, weights_only=True)
    stage = program.status["stage"]
    assert program.attempt() == 0, program.log
    assert program.figures() == undisturbed.figures()
    sys.stderr.write(f"killed at {moment} of {undisturbed.counted}, in {stage}: the same figures\n")


def test_taken_away_again_and_again_it_still_ends(undisturbed, hunt):
    program = hunt()
    steps: list[tuple[int, int]] = []
    while program.attempt(f"kept {KEPT_BETWEEN}") != 0:
        assert len(steps) < 40, program.log
        tuned = program.checkpoint.get("finetune", {})
        steps.append((tuned.get("epoch", 0), (tuned.get("begun") or {"steps": 0})["steps"]))
    assert len(steps) >= 3 and steps == sorted(steps)
    assert any(within for _, within in steps), f"taken away in the middle of an epoch, not only between: {steps}"
    assert program.figures() == undisturbed.figures()
    sys.stderr.write(f"taken away {len(steps)} times, at (epochs, steps) {steps}: the same figures\n")
