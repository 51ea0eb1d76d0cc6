"""What a front end sees: cells in a real kernel, interrupts, buttons, restarts, notebooks nobody watches."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.finished_run import write_run
from tests.standin import USE, Cell, write_pictures

LOAD = f"{USE}\n%load_ext mb_jupyter"
TIME = r"(?:\d+ s|\d+:\d\d)"
Execute = Callable[..., Cell]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))  # the tests package, in the kernel
    monkeypatch.delenv("MB_WORKSPACE", raising=False)
    write_pictures(tmp_path / "trees")
    return tmp_path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """One kernel for all tests that do not end it: it takes longer to start than most of them."""
    manager = KernelManager(kernel_name="python3")
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "IPYTHONDIR": str(home), "PYTHONPATH": str(Path(__file__).parent.parent)}
    manager.start_kernel(cwd=str(home), env=environment)
    client: BlockingKernelClient = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=300)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


@pytest.fixture
def kernel(started: tuple[KernelManager, BlockingKernelClient]) -> KernelManager:
    return started[0]


@pytest.fixture
def execute(started: tuple[KernelManager, BlockingKernelClient], place: Path) -> Execute:
    """Return a function that runs a cell as somebody in front of a notebook does."""
    client = started[1]

    def run(code: str, *, wait: bool = True) -> Cell:
        cell = Cell(client, code, allow_stdin=True)
        return cell.read() if wait else cell

    variables = {"XDG_CACHE_HOME": str(place / "cache"), "STANDIN": "", "STANDIN_GO": str(place / "go")}
    assert not run(f"import os; os.chdir({str(place)!r}); os.environ.update({variables!r})\n{LOAD}").error
    return run


def html(cell: Cell) -> str:
    return "".join(output["data"].get("text/html", "") for output in cell.outputs)


def test_a_training_is_one_output_that_stays(execute, place):
    execute("import os; os.environ['STANDIN'] = 'held'")
    cell = execute("%%mb_train --epochs 30\ndata: trees", wait=False)
    cell.read(lambda cell: cell.outputs)
    assert "trees\ncheck: looking at the pictures of trees" in cell.text
    assert "Stop button" in cell.text
    cell.read(lambda cell: "[epoch 30/30" in cell.text)
    assert "50 % done, a few seconds left" in cell.text
    assert "log: stage epoch" in cell.text
    (place / "go").touch()
    cell.read()
    assert not cell.error
    (output,) = cell.outputs
    assert set(output["data"]) == {"text/plain", "text/html"}
    assert re.search(rf"trees: completed, {TIME}", cell.text)
    assert "30" in cell.text and "Stop button" not in cell.text
    stages = " > ".join(f"{stage} {TIME}" for stage in ("check", "start", "features", "head", "epoch 30/30"))
    assert re.search(f"{stages} > calibrate", cell.text)
    assert "Proof of the export: bestModel.onnx gives the same answer as torch for 100.0 %" in cell.text
    page = html(cell)
    assert page.count('<img src="data:image/png;base64,') == 1
    assert re.search(r'alt="[^"]*30 epochs[^"]*"|alt="[^"]*31 epochs[^"]*"', page)
    assert not re.search(r"<script|<style|<svg|widget", page)


def test_stop_keeps_the_best(execute, kernel, place):
    execute("import os; os.environ['STANDIN'] = 'held'")
    cell = execute("%%mb_train\ndata: trees", wait=False).read(lambda cell: "[epoch" in cell.text)
    kernel.interrupt_kernel()
    cell.read(lambda cell: "Stopping: the best model so far is evaluated and saved." in cell.text)
    cell.read(lambda _: list(place.glob("mb_workspace/trees/*/stop")))  # a moment later: it may be a restart
    (place / "go").touch()
    cell.read()
    assert not cell.error
    assert "trees: stopped" in cell.text and "Stopping" not in cell.text, "nothing is stopping any more"
    assert "Next: %mb_evaluate" in cell.text


def test_a_second_stop_discards(execute, kernel):
    execute("import os; os.environ['STANDIN'] = 'deaf'\nimport mb_jupyter.run as home; home.SECOND_STOP = 1e9")
    cell = execute("%%mb_train\ndata: trees", wait=False).read(lambda cell: "[epoch" in cell.text)
    kernel.interrupt_kernel()
    cell.read(lambda cell: "Stopping" in cell.text)
    kernel.interrupt_kernel()
    cell.read()
    assert cell.error == "TrainingFailed"
    assert "trees: cancelled" in cell.text and "Discarded: this run has no model" in cell.text
    assert "canceled" in execute("home.SECOND_STOP = 5.0; print(mb_run.state)").text


def test_without_waiting_buttons_steer(execute):
    execute("import os; os.environ['STANDIN'] = 'slow'")
    cell = execute("%%mb_train --no-wait\ndata: trees")
    assert re.search("starting|running", execute("print(mb_run.state)").text), "the cell returned before the run ended"
    view, row = cell.outputs
    assert "application/vnd.jupyter.widget-view+json" in row["data"]
    cell.read(lambda cell: "[epoch" in view["data"]["text/plain"])
    assert "the buttons below" in view["data"]["text/plain"]
    assert execute("print(mb_run.state)").text.strip() == "running"
    clicked = execute(
        "import gc, ipywidgets\n"
        "buttons = [w for w in gc.get_objects() if isinstance(w, ipywidgets.Button) and w.comm is not None]\n"
        "stop, cancel = sorted(buttons, key=lambda w: w.description, reverse=True)\n"
        "assert (stop.description, cancel.description) == ('Stop and keep', 'Cancel')\n"
        "assert stop.tooltip and cancel.tooltip and not stop.disabled\n"
        "stop.click()\n"
        "assert stop.disabled and not cancel.disabled"
    )
    assert not clicked.error, clicked.text
    cell.read(lambda cell: "widget" not in str(row["data"]))
    assert "trees: stopped" in view["data"]["text/plain"]
    assert row["data"]["text/plain"].endswith("is stopped.")
    closed = "import time\nwhile stop.comm or cancel.comm: time.sleep(0.05)\nprint('closed')"
    assert execute(closed).text.strip() == "closed"


def test_without_waiting_a_failure_stays_in_its_view(execute):
    execute("import os; os.environ['STANDIN'] = 'refuse'")
    cell = execute("%%mb_train --no-wait\ndata: trees")
    cell.read(lambda cell: "%mb_why says more" in cell.outputs[-1]["data"]["text/plain"])
    assert "The weights of another network." in cell.outputs[0]["data"]["text/plain"]
    assert not cell.error
    assert "the last line of the log" in execute("%mb_why").text


def test_a_failure_keeps_its_view(execute):
    execute("import os; os.environ['STANDIN'] = 'refuse'")
    cell = execute("%%mb_train\ndata: trees")
    assert cell.error == "TrainingFailed"
    view, error = cell.outputs
    assert "trees: failed" in view["data"]["text/plain"]
    assert len(error["data"]["text/plain"].splitlines()) <= 6


def test_stop_while_the_pictures_are_checked(execute, kernel, place):
    execute(
        "import mb_jupyter.training.manifest as m, time\n"
        "scan = m.scan\n"
        "def slow(root, *, progress, **others):\n"
        "    while True: progress(1, 100); time.sleep(0.1)\n"
        "m.scan = slow"
    )
    cell = execute("%%mb_train\ndata: trees", wait=False).read(lambda cell: " of 100" in cell.text)
    kernel.interrupt_kernel()
    cell.read()
    assert cell.error == "MBError"
    execute("m.scan = scan")
    assert "Stopped while the pictures were checked; nothing was started." in cell.text
    assert not (place / "mb_workspace").exists()


def test_what_a_panel_shows_is_in_the_document_when_its_cell_has_ended(execute, place):
    write_run(place, each=3)
    cell = execute("%mb_evaluate")
    summary, _ = (output["data"] for output in cell.outputs)
    for kind in ("text/plain", "text/html"):
        assert "Accuracy 77.8 %" in summary[kind] and "Next steps" in summary[kind], kind
    whole = execute("%mb").outputs[0]["data"]["text/plain"]
    assert "Local workspace mb_workspace" in whole and "hues: completed" in whole and "Next steps" in whole


def test_a_run_survives_its_kernel(execute, started, place):
    # the last of those that share the kernel
    kernel, client = started
    # the end of the kernel may follow late on a busy machine
    execute("import os; os.environ['STANDIN'] = 'slow'\nimport mb_jupyter.run as home; home.RESTART_SHOWS = 60.0")
    execute("%%mb_train\ndata: trees", wait=False).read(lambda cell: "[epoch" in cell.text)
    kernel.restart_kernel(now=False)  # as JupyterLab does it: an interrupt goes before, which is no Stop
    client.wait_for_ready(timeout=300)
    Cell(client, f"import os; os.chdir({str(place)!r})\n{LOAD}", True).read()
    assert "running" in Cell(client, "%mb_runs", True).read().text
    cell = Cell(client, "%mb_attach", True).read(lambda cell: "[epoch" in cell.text)
    assert 'alt="' in html(cell)
    kernel.interrupt_kernel()
    cell.read()
    assert not cell.error and "trees: stopped" in cell.text
    assert len(cell.outputs) == 1
    assert "Found the identical run" in Cell(client, "%%mb_train\ndata: trees", True).read().text


# -- nobody there ----------------------------------------------------------------------------------------


def notebook(place: Path, *cells: str) -> nbformat.NotebookNode:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (LOAD, *cells)])
    for number, cell in enumerate(book.cells):
        cell.id = f"cell{number}"
    return book


def perform(book: nbformat.NotebookNode, place: Path) -> None:
    NotebookClient(
        book, kernel_name="python3", resources={"metadata": {"path": str(place)}}, timeout=800, coalesce_streams=True
    ).execute()


def test_a_notebook_nobody_watches(place):
    book = notebook(place, "%%mb_train --no-wait --epochs 3\ndata: trees", "%mb_runs", "%mb_evaluate")
    perform(book, place)
    printed, view = book.cells[1].outputs
    lines = printed.text.splitlines()
    assert lines[0] == "trees: looking at the pictures of trees"
    assert "trees: Nobody is there, and the kernel ends with the last cell: --no-wait waits here." in lines
    stages = [
        line.split()[1] for line in lines if line.split()[1] in ("start", "features", "head", "evaluate", "export")
    ]
    assert stages == ["start", "features", "head", "evaluate", "export"]
    assert len(lines) == len(set(lines))
    assert "trees: completed" in view.data["text/plain"]
    assert "<img" in view.data["text/html"]
    assert "local://trees/" in book.cells[2].outputs[0].data["text/plain"]
    assert "widget" not in nbformat.writes(book)


def test_a_failure_fails_the_notebook(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "missed")
    book = notebook(place, "%%mb_train --epochs 1\ndata: trees\nmin_accuracy: 0.9", "print('not reached')")
    with pytest.raises(CellExecutionError, match="below min_accuracy"):
        perform(book, place)
    assert book.cells[1].outputs[1].data["text/plain"].startswith("trees: failed")
    assert book.cells[2].outputs == []


@pytest.mark.skipif(os.name == "nt", reason="there are no signals")
def test_papermill_fails_too(place, monkeypatch):
    import subprocess
    import sys

    monkeypatch.setenv("STANDIN", "refuse")
    book = notebook(place, "%%mb_train --epochs 1\ndata: trees")
    nbformat.write(book, place / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "-k", "python3", "in.ipynb", "out.ipynb"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode != 0
    assert "The weights of another network." in (place / "out.ipynb").read_text()


def test_what_a_panel_leaves_stands_without_its_widgets(execute):
    """A front end that cannot show a saved widget, as VS Code, still shows the output above it: the summary."""
    summary, view = execute("%mb data").outputs[:2]
    assert "application/vnd.jupyter.widget-view+json" not in summary["data"]
    assert "mb-summary" in summary["data"]["text/html"] and "No images are chosen" in summary["data"]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in view["data"]
    assert "Run the cell again to reopen" in view["data"]["text/html"]
    assert "Run the cell again to reopen" in view["data"]["text/plain"]


@pytest.mark.usefixtures("place")
def test_where_nobody_watches_a_mistake_is_in_the_log_with_its_cause(place):
    mistakes = {
        "%%mb_train\nepoch: 3\nseed: x\nbatch_size: no\ndata: trees\nrecipe: best\narchitecture: 5\npatience: y": [
            "ConfigError", "did you mean `epochs`?", "`seed` cannot be `x`", "`batch_size`", "`recipe`", "`patience`",
        ],
        "%mb_train -d trees --epoch-count 3": ["ConfigError", "unrecognized arguments: --epoch-count"],
        "%mb_data 'trees": ["ConfigError", "A quotation mark is not closed"],
        "%mb_predict": ["ConfigError", "Say which"],
        "%mb_export": ["ConfigError", "Say where the projects go"],
    }  # fmt: skip
    book = notebook(place, *mistakes)
    NotebookClient(book, resources={"metadata": {"path": str(place)}}, allow_errors=True, timeout=800).execute()
    for cell, words in zip(book.cells[1:], mistakes.values(), strict=True):
        told = "\n".join("\n".join(output.get("traceback", [])) for output in cell.outputs)
        for word in words:
            assert word in told, (cell.source, told)
