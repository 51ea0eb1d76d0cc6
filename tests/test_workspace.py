"""The folder in which experiments and runs are kept."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from mb_jupyter.errors import WorkspaceError
from mb_jupyter.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.local(tmp_path / "kept")


def test_it_lies_beside_the_notebook_or_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MB_WORKSPACE", raising=False)
    assert Workspace.local().root == tmp_path / "mb_workspace"
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "elsewhere"))
    assert Workspace.local().root == tmp_path / "elsewhere"


def test_looking_makes_nothing(workspace):
    assert workspace.experiments() == []
    assert workspace.runs() == []
    assert "0 experiments. It is made when the first training begins." in workspace._repr_mimebundle_()["text/plain"]
    assert not workspace.root.exists()


def test_a_name_is_registered_once_and_joined_later(workspace):
    folder = workspace.experiment("flowers")
    record = json.loads((folder / "experiment.json").read_text())
    assert record["name"] == "flowers"
    assert workspace.experiment("flowers") == folder
    assert json.loads((folder / "experiment.json").read_text()) == record
    workspace.experiment("Trash_2")
    (workspace.root / "no experiment").mkdir()
    assert workspace.experiments() == ["Trash_2", "flowers"]


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "a/b", "ü", "x" * 129])
def test_names_that_azure_would_refuse_are_refused_here(workspace, name):
    with pytest.raises(WorkspaceError, match="cannot be the name of an experiment"):
        workspace.experiment(name)
    assert workspace.runs(name or "?") == []


def test_two_trainings_at_once_get_two_runs(workspace):
    made: list[Path] = []
    threads = [threading.Thread(target=lambda: made.append(workspace.new_run("busy"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20
    assert sorted(made, reverse=True) == workspace.runs("busy") == workspace.runs()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written to") as caught:
        Workspace.local(tmp_path / "file" / "below").new_run("x")
    assert "MB_WORKSPACE" in caught.value.fix
    with pytest.raises(WorkspaceError, match="cannot be read"):
        Workspace.local(tmp_path / "file").experiments()


def test_a_folder_without_permission_is_named(tmp_path, ordinary_user):
    tmp_path.chmod(0o500)
    with ordinary_user(), pytest.raises(WorkspaceError, match="Permission denied"):
        Workspace.local(tmp_path / "kept").new_run("x")
