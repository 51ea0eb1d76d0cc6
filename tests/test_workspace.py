"""The folder in which experiments and runs are kept."""

from __future__ import annotations

import json
import threading
import unicodedata
from pathlib import Path

import pytest

from mb_jupyter.backends.azure.fetch import kept_as
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


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "../up",
        "..",
        ".x",
        "-x",
        "a/b",
        "a\\b",
        "a:b",
        "x.",
        "\u3164",
        "x" * 129,
        "꽃" * 100,
        "a\nb",
        "a\u202eb",
        "\u0301a",
    ],
)
def test_names_that_no_folder_should_have_are_refused(workspace, name):
    with pytest.raises(WorkspaceError, match="cannot be the name of an experiment"):
        workspace.experiment(name)
    assert workspace.runs(name or "?") == []
    assert not workspace.root.exists()


@pytest.mark.parametrize("name", ["con", "CON", "aux", "nul", "PRN", "com1", "Lpt9", "com²"])
def test_names_that_windows_reserves_are_refused_everywhere(workspace, name):
    with pytest.raises(WorkspaceError, match=f"{name} is a reserved name on Windows; choose another, such as {name}-1"):
        workspace.experiment(name)
    assert workspace.experiment(f"{name}-1").is_dir()
    (workspace.root / name).mkdir()
    (workspace.root / name / "experiment.json").write_text("{}")
    assert name in workspace.experiments(), "what an earlier version made can be read and joined"
    assert workspace.experiment(name) == workspace.root / name


SCRIPTS = ["꽃", "花の写真", "花卉", "زهور", "פרחים", "फूल", "Blümchen", "цветы", "λουλούδια", "🌹", "ดอกไม้", "Ảnh-hoa"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_of_any_script(workspace, name):
    folder = workspace.new_run(name)
    workspace.record_run(folder, {})
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, name)
        assert workspace.experiment(written) == folder.parent == workspace.folder(written)
        assert workspace.runs(written) == [folder]
    assert workspace.experiments() == [unicodedata.normalize("NFC", name)]


def test_a_workspace_from_a_mac_is_read(workspace):
    apart = unicodedata.normalize("NFD", "Blümchen")
    (workspace.root / apart / "20260101-000000-abcd").mkdir(parents=True)
    (workspace.root / apart / "experiment.json").write_text("{}")
    assert workspace.experiments() == ["Blümchen"]
    assert workspace.experiment("Blümchen") == workspace.root / apart
    assert [folder.name for folder in workspace.runs("Blümchen")] == ["20260101-000000-abcd"]
    workspace.delete("Blümchen")
    assert workspace.experiments() == []
    for name in ("\u8c48", "\uf900"):  # the second is the first, in a form for an old code page
        (workspace.root / name).mkdir()
    assert workspace.folder("\uf900") == workspace.root / "\u8c48", "of two, the one with the name itself"


@pytest.mark.parametrize(("there", "other"), [("Flowers", "flowers"), ("STRASSE", "straße"), ("Ärzte", "ärzte")])
def test_two_names_that_differ_only_in_capitals(workspace, there, other):
    workspace.experiment(there)
    with pytest.raises(WorkspaceError, match=f"There is an experiment {there}, and {other} differs only in capitals"):
        workspace.experiment(other)
    assert workspace.runs(other) == []
    (workspace.root / other).mkdir(exist_ok=True)
    (workspace.root / other / "experiment.json").write_text("{}")
    assert workspace.experiment(other).is_dir(), "of an earlier version, on a system that keeps them apart"


def test_an_experiment_of_another_machine_is_kept_under_one_name_on_every_system(tmp_path):
    (tmp_path / "Flowers").mkdir()
    assert [kept_as(name, tmp_path) for name in ("flowers", "Flowers", "trees")] == ["Flowers", "Flowers", "trees"]
    assert kept_as("aux", tmp_path) == "aux-images"


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
