"""``examples/quickstart.ipynb``: executed here, and committed with what a reader is to see."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "examples" / "quickstart.ipynb"
ENOUGH = 0.9  # accuracy that these digits must reach
SECONDS = 1_100  # three minutes are promised for two cores that do nothing else
pytestmark = pytest.mark.timeout(1_200)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nbformat.NotebookNode]:
    place = tmp_path_factory.mktemp("quickstart")
    shutil.copy(NOTEBOOK, place)
    book = nbformat.read(place / NOTEBOOK.name, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.setenv("IPYTHONDIR", str(place / "ipython"))
        patch.delenv("MB_WORKSPACE", raising=False)
        client = NotebookClient(
            book, kernel_name="python3", resources={"metadata": {"path": str(place)}}, timeout=SECONDS,
            coalesce_streams=True,
        )  # fmt: skip
        client.execute()
    yield book
    shutil.rmtree(place, ignore_errors=True)


def texts(book: nbformat.NotebookNode, command: str) -> str:
    """Return what the cell with that command shows, as text."""
    (cell,) = (cell for cell in book.cells if cell.cell_type == "code" and command in cell.source)
    return "\n".join(
        output.text if output.output_type == "stream" else output.data["text/plain"] for output in cell.outputs
    )


def accuracy(book: nbformat.NotebookNode) -> float:
    found = re.search(r"Accuracy (\d+\.\d) % on (?:test images|test images)", texts(book, "%%mb_train"))
    assert found
    return float(found[1]) / 100


def check(book: nbformat.NotebookNode) -> None:
    """Check what must hold for the notebook that was executed here, and for the committed one."""
    assert accuracy(book) > ENOUGH
    assert "1,797 pictures in 10 classes" in texts(book, "%mb_data")
    assert "the same answer as torch for 100.0 %" in texts(book, "%%mb_train")
    assert texts(book, "%mb_evaluate").startswith("Accuracy ")
    assert texts(book, "%mb_predict digits/5/").startswith("5/0005.png: 5, ")
    assert texts(book, "%mb_predict digits/0/").startswith("4 pictures: ")
    assert texts(book, "mb_jupyter.load").startswith("('3', ")
    for cell in book.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error" and output.get("name") != "stderr", output
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            page = output.get("data", {}).get("text/html", "")
            assert page.count("<img ") == page.count(' alt="'), "every picture is told in words too"
    for command in ("%mb_data", "%%mb_train", "%mb_evaluate", "%mb_predict digits/5/", "%mb_predict digits/0/"):
        (cell,) = (cell for cell in book.cells if command in cell.source)
        assert any("text/html" in output.get("data", {}) for output in cell.outputs), command


def test_it_runs(executed: nbformat.NotebookNode) -> None:
    check(executed)


def test_it_is_committed_with_its_outputs() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    check(book)
    told = json.dumps(book)
    for machine in (
        "/root/",
        "/home/",
        "/tmp/",
        str(NOTEBOOK.parents[1]),
        str(NOTEBOOK.parents[2]) + "/shared",
        "C:\\\\",
    ):
        assert machine not in told, "a path of the machine it was executed on"
    assert len(told) < 500_000
