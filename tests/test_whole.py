"""The main job, whole, with the real training program: from a folder of photos to score bars in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    "%load_ext mb_jupyter",
    "%mb_data {{folder}}",
    "%%mb_train woods -o run --seed 3\ndata: {{folder}}\nrecipe: features\narchitecture: efficientnet_lite0",
    "%mb_predict {{one}}",
    "%mb_evaluate",
    "%%mb_train woods --seed 3\ndata: {{folder}}\nrecipe: features\narchitecture: efficientnet_lite0",
    "print(run.state, run.report.pictures, len(run.metrics), run.model.classes)",
]


@pytest.fixture(scope="module")
def book(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    place = tmp_path_factory.mktemp("whole")
    folder = shared_data / "hemlock_cherry"
    one = next(path for path in sorted(folder.rglob("*")) if path.suffix.casefold() in (".jpg", ".jpeg", ".png"))
    names = f"folder, one = {str(folder)!r}, {str(one)!r}"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (names, *CELLS)])
    resources = {"metadata": {"path": str(place)}}
    NotebookClient(book, kernel_name="python3", resources=resources, timeout=800, coalesce_streams=True).execute()
    return book


def shown(book: nbformat.NotebookNode, cell: int) -> str:
    return "\n".join(
        output.text if output.output_type == "stream" else output.data["text/plain"]
        for output in book.cells[cell + 1].outputs
    )


def test_every_stage_has_its_line_and_the_result_stays(book):
    said = shown(book, 2)
    for stage in ("start", "features", "head", "evaluate", "export", "verify"):
        assert f"\nwoods: {stage}" in said, stage
    assert "woods: completed" in said
    assert "95 % interval" in said
    assert "Proof of the export: bestModel.onnx gives the same answer as torch for 100.0 %" in said
    for name in ("bestModel.onnx", "bestModelMap.json", "MLModel.zip", "predictions.csv", "report.json", "split.csv"):
        assert name in said, name


def test_the_data_the_answer_and_the_report_show_themselves(book):
    for cell in (1, 3, 4):
        (output,) = book.cells[cell + 1].outputs
        assert output.output_type == "execute_result"
        assert {"text/plain", "text/html"} <= set(output.data)
    assert "<img" in book.cells[4].outputs[0].data["text/html"]


def test_running_all_again_pays_nothing(book):
    assert "Found the identical run" in shown(book, 5)
    assert "\nwoods: features" not in shown(book, 5)
    assert shown(book, 6).startswith("completed ")


def test_no_widget_and_no_script_is_left(book):
    saved = json.dumps(book)
    for mark in ("widget-view", "<script", "<style", "<svg"):
        assert mark not in saved
