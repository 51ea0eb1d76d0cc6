"""The fixture ``shell``: a real shell whose cells train in the stand-in for Azure, on a workspace with one compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mb_jupyter.azureml import arm
from mb_jupyter.backends.azure import follow
from tests.azure_emulator.emulator import Azure
from tests.standin import PROGRAM, write_pictures

from .cells import choose


@pytest.fixture
def shell(azure: Azure, azure_shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STANDIN", "")
    monkeypatch.setattr("mb_jupyter.experiment.PROGRAM", PROGRAM)
    monkeypatch.setattr(follow, "OFTEN", 0.2)
    monkeypatch.setattr(follow, "RARELY", 0.5)
    write_pictures(tmp_path / "trees")
    choose(azure)
    return azure_shell


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up an answer of Azure's that does not come sooner than a person would."""
    monkeypatch.setattr(arm, "READ_SECONDS", 1)


@pytest.fixture
def held(shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the program in its last epoch until the test touches the file that this returns."""
    go = tmp_path / "go"
    monkeypatch.setenv("STANDIN", "held")
    monkeypatch.setenv("STANDIN_GO", str(go))
    return go
