"""The main job in Azure, whole, with the real training program: two processes, low priority, score bars at the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from azure.ai.ml.entities import Data
from nbclient import NotebookClient

from mb_jupyter import cloud
from tests.azure_emulator.emulator import Azure
from tests.azure_shell import run

CELLS = [
    "%load_ext mb_jupyter",
    "from mb_jupyter import cloud\ncloud.choose(**place).workspace",
    "%%mb_train woods -o run --dry-run\n{body}",
    "%%mb_train woods -o run\n{body}",
    "%mb_predict {{one}}",
    "%mb_evaluate",
    "%%mb_train woods -o again\n{body}",
    "print(run.state, run.handle, again.handle == run.handle, len(run.metrics), run.model.classes)",
]
LAND = "azureml://datastores/workspaceblobstore/paths/land/"
QUICK = "recipe: features\narchitecture: efficientnet_lite0"
BODY = (
    "data: {{folder}}\nbackend: azure\nrecipe: features\narchitecture: efficientnet_lite0\nmax_minutes: 5\n"
    "processes: 2\nazure: {compute: gpu}"
)


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """Return some of the photos, under names that are not plain."""
    target = tmp_path / "wälder mit Leerzeichen"
    for group in sorted(path for path in (shared_data / "hemlock_cherry").rglob("*") if path.is_dir()):
        pictures = sorted(path for path in group.iterdir() if path.is_file())[:14]
        for picture in pictures:
            (target / group.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, target / group.name / picture.name)
    return target


def shown(book: nbformat.NotebookNode, cell: int) -> str:
    return "\n".join(
        output.text if output.output_type == "stream" else output.data["text/plain"]
        for output in book.cells[cell + 1].outputs
    )


def test_from_photos_to_score_bars(azure: Azure, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu", "Standard_NC4as_T4_v3", low_priority=True, nodes=(0, 1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    place = {
        "sign_in": "environment", "subscription": azure.subscription, "resource_group": "rg", "workspace": "ws",
    }  # fmt: skip
    names = f"folder, one, place = {str(folder)!r}, {str(one)!r}, {place!r}"
    sources = [names, *(cell.replace("{body}", BODY) for cell in CELLS)]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    work = tmp_path / "work"
    work.mkdir()
    client = NotebookClient(
        book, kernel_name="python3", resources={"metadata": {"path": str(work)}}, timeout=800, coalesce_streams=True
    )
    client.execute()
    plan, said = shown(book, 2), shown(book, 3)
    assert "Nothing was changed" in plan and "Ready" in plan and "low-priority" in plan
    for stage in ("features", "head", "evaluate", "export", "verify"):
        assert f"\nwoods: {stage}" in said, f"{stage}\n{said}"
    assert "woods: completed" in said and "95 % interval" in said
    assert "Monitor current run in Azure portal: https://ml.azure.com/runs/" in said
    assert "Cost: about" in said
    assert "<img" in book.cells[5].outputs[0].data["text/html"]
    assert "Found the identical run" in shown(book, 6)
    state, handle, same = shown(book, 7).split()[:3]
    assert (state, same) == ("completed", "True")
    (job,) = azure.jobs.values()
    assert handle == f"azure://ws/{job.name}"
    assert job.given["distribution"]["processCountPerInstance"] == 2
    assert job.given["limits"]["timeout"] == "PT20M"
    assert not any(key.startswith("mlflow.source.git") for key in job.given["properties"])
    kept = json.dumps(book) + "".join(path.read_text("utf-8", "replace") for path in work.rglob("*.json"))
    for secret in (azure.client_secret, "sig=", "eyJ"):
        assert secret not in kept


@pytest.mark.parametrize("data", [LAND, "azureml:land:1"])
def test_pictures_that_are_there_already_are_looked_at_there(azure, azure_shell, shared_data, monkeypatch, data):
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    place = {"subscription": azure.subscription, "resource_group": "rg", "workspace": "ws", "compute": "gpu"}
    cloud.choose(sign_in="environment", **place)
    for kind in ("Forest", "River", "Highway"):
        pictures = sorted((shared_data / "eurosat" / kind).iterdir())[:14]
        azure.put_blobs(f"{LAND}{kind}", {p.name: p.read_bytes() for p in pictures})
    client = cloud.chosen().connect().client
    client.data.create_or_update(Data(name="land", version="1", path=LAND, type="uri_folder"))
    said = run(azure_shell, f"%%mb_train land -o run --backend azure\ndata: {data}\n{QUICK}")
    assert "land: completed" in said
    done = azure_shell.user_ns["run"]
    assert not azure.asked("PUT", "*/data/packs/*"), "no picture went up"
    (job,) = azure.jobs.values()
    assert job.given["inputs"]["data"]["uri"].endswith(("/paths/land/", "/data/land/versions/1"))
    assert set(done.model.classes) == {"Forest", "Highway", "River"}
    assert len((done.folder / "split.csv").read_text().splitlines()) > 40, "the split was made on the node"
    if data == LAND:
        said = run(azure_shell, f"%mb_rerun {done.handle}")
        assert "The split is the same." in said, "pictures in Azure are looked at there again"
