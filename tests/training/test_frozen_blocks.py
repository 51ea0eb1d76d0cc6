"""Early blocks that stay frozen, as a tight limit of time makes them: a killed run ends with the same numbers."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from .test_main import PROGRAM, Program, pictures

__all__ = ["pictures"]  # the fixture

CUT = 9


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """Return a copy of the program that always finds so many blocks too dear to train."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(PROGRAM, folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "training" / "plan.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef _affordable_cut(*_) -> int:\n    return {CUT}\n")
    return folder


@pytest.fixture(scope="module")
def finished(code, pictures, tmp_path_factory) -> Program:
    program = Program(code, pictures, tmp_path_factory.mktemp("run"), seed=5)
    assert program.run() == 0, program.log
    assert program.of("plan")[-1]["cut"] == CUT
    return program


def test_killed_and_started_again_it_ends_with_the_same_numbers(finished, code, pictures, tmp_path):
    program = Program(code, pictures, tmp_path / "run", seed=5)
    assert program.end_at("second epoch") == -signal.SIGKILL, program.log
    assert program.run() == 0, program.log
    assert program.of("start")[-1]["resumed"] is True
    assert program.of("epoch") == finished.of("epoch")
    assert program.of("result") == finished.of("result")
