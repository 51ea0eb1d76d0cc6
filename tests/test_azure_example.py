"""``examples/train_on_azure.ipynb``: executed from the top before the stand-in for Azure; committed without outputs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.azure_emulator.checks import secrets_in
from tests.azure_emulator.emulator import Azure

NOTEBOOK = Path(__file__).parent.parent / "examples" / "train_on_azure.ipynb"
EACH = 100  # pictures of a class
ENOUGH = 0.9  # accuracy that frozen features must reach on these pictures
pytestmark = pytest.mark.timeout(1_200)


def executed(azure: Azure, place: Path, more: str) -> nbformat.NotebookNode:
    """Execute the notebook as papermill does: what is somebody's own follows the cell of the parameters."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    (at,) = (n for n, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", []))
    # nobody types a code in; the weights of resnet50 would be downloaded
    own = f"sign_in, subscription = 'environment', {azure.subscription!r}\n"
    own += "architecture, recipe = 'efficientnet_lite0', 'features'"
    book.cells.insert(at + 1, nbformat.v4.new_code_cell(own))
    book.cells.append(nbformat.v4.new_code_cell(more))
    client = NotebookClient(
        book, kernel_name="python3", resources={"metadata": {"path": str(place)}}, timeout=1_100, coalesce_streams=True
    )
    client.execute()
    return book


def shown(book: nbformat.NotebookNode, command: str) -> str:
    """Return what the cells with that command show, as text."""
    cells = [cell for cell in book.cells if cell.cell_type == "code" and command in cell.source]
    assert cells, command
    return "\n".join(
        output.text if output.output_type == "stream" else output.data["text/plain"]
        for cell in cells
        for output in cell.outputs
    )


def test_it_runs_from_the_top_and_again(
    azure: Azure, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MB_WORKSPACE", raising=False)
    place = tmp_path / "work"
    for folder in (shared_data / "eurosat").iterdir():
        there = place / "eurosat/2750" / folder.name  # where torchvision unpacks, and then downloads nothing
        there.mkdir(parents=True)
        for picture in sorted(folder.iterdir())[:EACH]:
            shutil.copy(picture, there)
    book = executed(azure, place, "6 * 7")
    assert "Stand-in" in shown(book, "--sign-in")
    assert "Azure workspace model-builder" in shown(book, "%mb_workspace create")
    assert "Standard_NC4as_T4_v3" in shown(book, "%mb_compute sizes") and "ready" in shown(book, "%mb_compute create")
    assert f"{10 * EACH:,} pictures in 10 classes" in shown(book, "%mb_data")
    assert "Ready" in shown(book, "--dry-run") and "at most" in shown(book, "--dry-run")
    said = shown(book, "%%mb_train eurosat --backend azure --max-minutes 30\n")
    assert "Monitor current run in Azure portal" in said and "eurosat: completed" in said
    found = re.search(r"Accuracy (\d+\.\d) %", shown(book, "%mb_evaluate"))
    assert found and float(found[1]) / 100 > ENOUGH
    assert "4 pictures: " in shown(book, "mb_run.predict")
    assert "gpu" in shown(book, "%mb_workspace cleanup") and "Nothing was deleted" in shown(
        book, "%mb_workspace cleanup"
    )
    assert len(azure.jobs) == 1
    again = executed(azure, place, "%mb_workspace cleanup --delete --purge -y")
    assert "Found the identical run" in shown(again, "%%mb_train eurosat --backend azure --max-minutes 30\n")
    assert not azure.jobs and not azure.workspaces and not azure.groups and not azure.soft_deleted
    assert not secrets_in(json.dumps([book, again]), azure.secrets)
    for cell in [*book.cells, *again.cells]:
        for output in cell.get("outputs", []):
            assert output.output_type != "error" and output.get("name") != "stderr", output


def test_it_is_committed_without_outputs() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    assert not [cell for cell in book.cells if cell.get("outputs") or cell.get("execution_count")]
    assert "kept without outputs" in book.cells[0].source
