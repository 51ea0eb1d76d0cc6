"""What an environment brings and what is put before it: the node's program really run, pip really asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter.backends.azure import equipment, node, send
from mb_jupyter.errors import TrainingFailed
from tests.azure_emulator.emulator import Azure
from tests.azure_shell import fails, run

from .cells import cell, only_job, the_run
from .tiny_wheel import put_into, write_wheel

PROGRAM = "import leaf, tree, os, pathlib, sys\nsays = f'leaf {leaf.version}, tree {tree.version}'\n"
TRIAL = "import leaf\nif leaf.version != '2.0': raise ImportError(f'leaf {leaf.version} writes no models')\n"
BROKEN = "raise ImportError('no leaf writes a model here')"
OLD, PINNED, NEW = "1.17.3", "2.0", "2.1.dev3+cu126"


class Node:
    """A node before a job: ``environment`` is what its Python has, ``wheels`` what pip can reach."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code, self.environment, self.run = folder / "code", folder / "environment", folder / "run"
        (self.code / "program").mkdir(parents=True)
        for module in (node, equipment):
            shutil.copy(str(module.__file__), self.code)
        (self.code / "requirements.txt").write_text("leaf==2.0 # leaf\ntree==2.0 # tree\n")
        (self.code / "program/__main__.py").write_text(PROGRAM + "print('the program has', says)\n")
        self.run.mkdir()
        (folder / "tmp").mkdir()
        for name in ("leaf", "tree"):
            write_wheel(folder / "wheels", name, PINNED, name)
        put_into(self.environment, "tree", PINNED, "tree")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "wheels"))
        monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
        monkeypatch.setenv("PYTHONPATH", str(self.environment))

    def start(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "node.py", "--settings", str(self.run), "--output", str(self.run), "--"]
        return subprocess.run(
            [*command, "python", "-m", "program"], cwd=self.code, capture_output=True, text=True, env={**os.environ}
        )


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_an_older_package_of_the_environment_does_not_count(bare):
    put_into(bare.environment, "leaf", OLD, "leaf")
    done = bare.start()
    assert "the program has leaf 2.0, tree 2.0" in done.stdout, done.stdout + done.stderr
    assert "installing leaf==2.0\n" in done.stdout, "and nothing that is as it should be"
    assert f"leaf {OLD}, tree 2.0" in done.stdout, "what the environment had stands in the log"
    assert (bare.environment / "leaf.py").read_text() == f"version = {OLD!r}\n", "the environment stays as it is"


def test_a_later_package_of_the_environment_stays(bare):
    put_into(bare.environment, "leaf", NEW, "leaf")
    done = bare.start()
    assert f"the program has leaf {NEW}, tree 2.0" in done.stdout and "installing" not in done.stdout, done.stdout


def test_a_module_that_comes_under_another_name_does_not_count(bare):
    put_into(bare.environment, "leaf-training", NEW, "leaf")
    assert "the program has leaf 2.0" in bare.start().stdout


def test_packages_that_write_no_model_are_replaced_before_the_training(bare):
    put_into(bare.environment, "leaf", NEW, "leaf")
    (bare.code / "program/trial.py").write_text(TRIAL)
    done = bare.start()
    assert f"leaf {NEW} writes no models" in done.stdout, done.stdout + done.stderr
    assert "the program has leaf 2.0, tree 2.0" in done.stdout


def test_an_environment_that_cannot_write_a_model_is_refused_at_once(bare):
    (bare.code / "program/trial.py").write_text(BROKEN)
    done = bare.start()
    assert done.returncode and "the program has" not in done.stdout
    told = json.loads((bare.run / "status.json").read_text())["error"]
    assert "cannot be exported and loaded" in told["cause"] and "no leaf writes a model here" in told["cause"]
    assert "azure: {environment:" in told["fix"]


def test_the_settings_come_by_the_input(bare, tmp_path):
    """A folder that is mounted for output may look empty: what was sent is read elsewhere."""
    put_into(bare.environment, "leaf", PINNED, "leaf")
    sent = tmp_path / "sent"
    (sent / "checkpoint").mkdir(parents=True)
    (sent / "config.json").write_text('{"labels": "{output}/labels.csv"}')
    (sent / "checkpoint/last").write_text("epoch 3")
    show = "for name in ('config.json', 'checkpoint/last'): print(pathlib.Path(sys.argv[1], name).read_text())\n"
    (bare.code / "program/__main__.py").write_text(PROGRAM + show)
    before = {path: path.stat().st_mtime_ns for path in sent.rglob("*")}
    command = [sys.executable, "node.py", "--settings", str(sent), "--output", str(bare.run), "--", "python", "-m"]
    done = subprocess.run([*command, "program", "{output}"], cwd=bare.code, capture_output=True, text=True)
    assert "epoch 3" in done.stdout and "/labels.csv" in done.stdout, done.stdout + done.stderr
    assert (bare.run / "ended.json").exists() and before == {path: path.stat().st_mtime_ns for path in sent.rglob("*")}


def test_the_program_s_own_trial_holds_here() -> None:
    """What the node asks of an environment, this one can do."""
    from mb_jupyter import training

    place = Path(training.__file__).parent.parent
    done = subprocess.run([sys.executable, "-m", "training.trial"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def closed(azure: Azure, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shell whose workspace has nodes without internet; pip reaches packages here, and nothing there."""
    azure.isolation = "AllowOnlyApprovedOutbound"
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    write_wheel(tmp_path / "index", "leaf", PINNED, "leaf")
    monkeypatch.setattr(send, "REQUIREMENTS", (("leaf==2.0", "leaf"),))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return shell


def test_a_node_without_internet_gets_its_packages_with_the_program(azure, closed):
    run(closed, cell(epochs=1))
    assert "node: installing leaf==2.0" in the_run(closed).logs() and only_job(azure).status == "Completed"
    assert len(azure.asked("PUT", "*/wheels/leaf-2.0-py3-none-any.whl")) == 1


def test_packages_that_cannot_be_had_here_either_are_told_before_there_is_a_job(azure, closed, monkeypatch):
    monkeypatch.setattr(send, "REQUIREMENTS", (("leaf==3.0", "leaf"),))
    error = fails(closed, cell(epochs=1), "No matching distribution found for leaf==3.0", TrainingFailed)
    assert "azure: {environment:" in error.fix and not azure.jobs


def test_another_environment_is_believed_to_have_its_packages(azure, closed):
    error = fails(closed, cell("azure: {environment: 'azureml:mine:1'}", 1), "could not install leaf", TrainingFailed)
    assert "azure: {environment:" in error.fix and not azure.asked("PUT", "*/wheels/*")
