"""Trainings in a real JupyterLab: watched, stopped, found again after a restart, read again from the saved file."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from PIL import Image
from playwright.sync_api import expect

from .conftest import Lab
from .panels import OTHER_WORK

EVIL = "<img src=x onerror=alert(1)>"
LOAD = "%load_ext mb_jupyter"
#: small pictures: the tests are about the page, not about accuracy
QUICK = "data: trees\narchitecture: efficientnet_lite0\nrecipe: features\nimage_size: 96"
#: goes on until somebody ends it
LONG = "data: trees\narchitecture: efficientnet_lite0\nrecipe: finetune\nepochs: 500\npatience: 500\nimage_size: 96"
TRAINED_MS = 300_000
SECOND_EPOCH = r"> epoch (?:[2-9]|\d\d+)/\d+"


@pytest.fixture
def place(lab: Lab, shared_data: Path) -> Iterator[Path]:
    """Return the folder of the notebooks with photos of two classes of trees in it; leave no training behind."""
    folder = lab.server.folder
    if not (folder / "trees").exists():
        shutil.copytree(shared_data / "hemlock_cherry", folder / "trees")
    yield folder
    for record in folder.glob("mb_workspace/*/*/process.json"):
        if not (record.parent / "exit.json").exists():
            _end(json.loads(record.read_bytes())["pid"])
    shutil.rmtree(folder / "mb_workspace", ignore_errors=True)


@contextlib.contextmanager
def suspended(place: Path) -> Iterator[None]:
    """Hold the one training that goes on: what its cell shows meanwhile stays."""
    (record,) = place.glob("mb_workspace/*/*/process.json")
    program = psutil.Process(json.loads(record.read_bytes())["pid"]).children(recursive=True)
    for each in program:
        each.suspend()
    try:
        yield
    finally:
        for each in program:
            each.resume()


def _end(supervisor: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(supervisor)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def texts(lab: Lab, index: int) -> str:
    """Return what a cell shows, as plain text."""
    found = []
    for output in lab.outputs()[index]:
        said = output.get("text") or output.get("data", {}).get("text/plain", "")
        found.append("".join(said))
    return "\n".join(found)


def shows(lab: Lab, index: int, pattern: str, timeout_ms: int = TRAINED_MS) -> None:
    """Wait until a cell shows text that matches."""
    expect(lab.output(index)).to_contain_text(re.compile(pattern), timeout=timeout_ms)


def error_of(lab: Lab, index: int) -> str:
    """Return the one error of a cell as it is read in the page; IPython prints a ``UsageError``."""
    errors = [
        "\n".join(output.get("traceback") or output["text"].splitlines())
        for output in lab.outputs()[index]
        if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert len(errors) == 1
    return re.sub(r"\x1b\[[\d;]*m", "", errors[0])


def saved(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def test_the_whole_story(lab: Lab, place: Path) -> None:
    one, two = "trees/Hemlock/hemlock_1.jpg", "trees/Japanese_Cherry/japanese_cherry_2.jpg"
    cells = (LOAD, "%mb_data trees", f"%%mb_train\n{QUICK}", "%mb_evaluate trees", f"%mb_predict {one}",
             f"%mb_predict {one} {two}", f"%%mb_train\n{QUICK}")  # fmt: skip
    path = lab.notebook("story.ipynb", *cells)
    lab.run(0)
    assert lab.outputs()[0] == [], "loading is silent"
    lab.run(1)
    expect(lab.output(1)).to_contain_text("20 pictures in 2 classes")
    assert lab.output(1).locator("img").count() == 2

    lab.run(2, TRAINED_MS)
    shows(lab, 2, "trees: completed")
    shows(lab, 2, "check .+ > start .+ > features .+ > head .+ > calibrate .+ > evaluate .+ > export .+ > verify")
    final = lab.output(2).inner_text()
    assert "Stop button" not in final and "log:" not in final
    assert re.search(r"Accuracy \d+\.\d % on test images: \d of 4 are right", final)
    assert "gives the same answer as torch for 100.0 %" in final
    assert str(place) not in texts(lab, 2), "the saved notebook tells no folder of this machine"
    assert len(lab.outputs()[2]) == 1

    for index in (3, 4, 5):
        lab.run(index)
        assert not lab.output(index).locator("img:not([alt])").count()
    expect(lab.output(3)).to_contain_text("Recall")
    matrix = lab.output(3).get_by_role("img", name=re.compile("^Confusion matrix of 2 classes: 4 of 4 pictures"))
    assert matrix.evaluate("picture => picture.naturalWidth") > 200
    expect(lab.output(4)).to_contain_text(re.compile(r"Hemlock/hemlock_1.jpg: \w+, [<>]?\d+\.\d %"))
    assert lab.output(4).locator("table tr").count() == 2, "a bar for each class"
    assert lab.output(5).locator("img").count() == 2

    lab.run(6, TRAINED_MS)
    expect(lab.output(6)).to_contain_text("Found the identical run")
    assert len(list(place.glob("mb_workspace/trees/*/run.json"))) == 1

    before = [lab.output(index).inner_text() for index in range(1, 7)]
    lab.save()
    assert "widget" not in json.dumps(saved(path)["cells"])
    lab.close()
    lab.open(path.name)
    assert [lab.output(index).inner_text() for index in range(1, 7)] == before, "reopened, with a new kernel"
    lab.no_errors()


def test_the_stop_button_keeps_the_best(lab: Lab, place: Path) -> None:
    path = lab.notebook("stop.ipynb", LOAD, f"%%mb_train -o run\n{LONG}", "run.state, run.model.classes")
    lab.run(0)
    lab.start(1)
    shows(lab, 1, SECOND_EPOCH)
    shows(lab, 1, "Stop button ends the training early and keeps the best model")
    shows(lab, 1, "check .+ > start .+ > features .+ > head .+ > epoch .+ > calibrate > evaluate > export > verify")
    with suspended(place):
        lab.interrupt()
        shows(lab, 1, "Stopping: the best model so far")
    shows(lab, 1, "trees: stopped")
    lab.idle()
    lab.no_errors()
    shows(lab, 1, r"bestModel\.onnx|Files in")
    assert lab.output(1).locator('img[alt^="Loss and accuracy over"]').count() == 1
    lab.run(2)
    assert "stopped" in texts(lab, 2) and "Hemlock" in texts(lab, 2)
    lab.save()
    assert not [
        output for cell in saved(path)["cells"] for output in cell["outputs"] if output["output_type"] == "error"
    ]


def test_a_training_outlives_its_kernel(lab: Lab, place: Path) -> None:
    patient = "import mb_jupyter.run as home; home.RESTART_SHOWS = 60.0"  # the kernel's end may follow a Stop late
    lab.notebook("restart.ipynb", f"{LOAD}\n{patient}", f"%%mb_train\n{LONG}", "%mb_attach", "%mb_runs")
    lab.run(0)
    lab.start(1)
    shows(lab, 1, SECOND_EPOCH)
    lab.restart()
    lab.run(0, fails=True)
    lab.run(3, fails=True)
    assert "running" in texts(lab, 3)
    lab.start(2)
    shows(lab, 2, r"trees: running")
    (record,) = place.glob("mb_workspace/trees/*/run.json")
    (record.parent / "stop").touch()  # what %mb_stop does; the kernel is busy
    shows(lab, 2, "trees: stopped")
    lab.idle()
    shows(lab, 2, r"Accuracy \d")


def test_buttons_of_a_training_that_does_not_block(lab: Lab, place: Path) -> None:
    path = lab.notebook("nowait.ipynb", LOAD, f"%%mb_train --no-wait\n{LONG}", OTHER_WORK.format("stopped"))
    lab.run(0)
    lab.run(1)
    stop = lab.output(1).get_by_role("button", name="Stop and keep")
    expect(stop).to_be_visible()
    shows(lab, 1, SECOND_EPOCH)
    shows(lab, 1, "the buttons below, %mb_stop and %mb_cancel end the training")
    lab.start(2)
    stop.focus()
    lab.page.keyboard.press("Enter")
    (place / "stopped").touch()  # until here the cell went on
    shows(lab, 2, "other work")
    shows(lab, 1, "trees: stopped")
    expect(stop).to_have_count(0)
    shows(lab, 1, r"local://trees/\S+ is stopped\.")
    lab.idle()
    lab.no_errors()
    assert "local://" not in texts(lab, 2), "a thread writes into its own cell"
    lab.save()
    assert "widget" not in json.dumps(saved(path)["cells"])


def test_mistakes_are_told_shortly(lab: Lab, place: Path) -> None:
    (place / "no pictures").mkdir(exist_ok=True)
    lab.notebook(
        "mistakes.ipynb", LOAD, "%%mb_train\ndata: trees\nepoch: -1\nseed: [", "%%mb_train\ndata: trees\nepoch: 3",
        "%%mb_train\ndata: no pictures", "%mb_why",
    )  # fmt: skip
    for index in range(5):
        lab.run(index, fails=True)
    for index in (1, 2):
        told = error_of(lab, index)
        assert told.startswith("UsageError") and "Traceback" not in told and len(told.splitlines()) < 8
    assert "did you mean `epochs`" in error_of(lab, 2)
    told = error_of(lab, 3)
    assert "DataError" in told and "no pictures" in told and "fix:" in told and len(told.splitlines()) <= 6
    expect(lab.output(3)).to_contain_text("no pictures")
    assert "Traceback" not in told
    assert "no pictures" in texts(lab, 4)


def test_names_are_shown_and_never_run(lab: Lab, place: Path) -> None:
    folder = place / "hostile"
    for spread, label in zip((20, 60, 120), (EVIL, "b & c", "ünïcode 🌲"), strict=True):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            picture = Image.effect_noise((80, 80), spread + number).convert("RGB")
            picture.save(folder / label / f"{number} {EVIL}.png")
    dialogs: list[str] = []
    lab.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    training = f"%%mb_train hostile\n{QUICK.replace('trees', 'hostile')}"
    cells = (LOAD, "%mb_data hostile", training, "%mb_evaluate hostile", "%mb_predict hostile", "%mb_runs")
    lab.notebook("hostile.ipynb", *cells)
    for index in range(len(cells)):
        lab.run(index, TRAINED_MS)
    for index in (1, 3, 4):
        expect(lab.output(index)).to_contain_text(EVIL)
    assert lab.page.locator("img[onerror]").count() == 0
    assert dialogs == []


def test_by_keyboard_alone(lab: Lab, place: Path) -> None:
    lab.notebook("keyboard.ipynb", "", "")
    lab.page.locator(".jp-NotebookPanel:visible .cm-content").first.click()
    lab.page.keyboard.type(f"{LOAD}\n%mb_data trees")
    lab.page.keyboard.press("Shift+Enter")
    shows(lab, 0, "Data report of trees")
    lab.page.keyboard.press("Enter")
    lab.page.keyboard.type("%mb_tr")
    lab.page.keyboard.press("Tab")
    expect(lab.page.locator(".jp-Completer:visible, .cm-content:has-text('%mb_train')").first).to_be_visible()
    lab.page.keyboard.press("Escape")


def test_a_notebook_nobody_watched_opens_untrusted(lab: Lab, place: Path) -> None:
    """JupyterLab cleans the outputs of notebooks it does not know: nothing of ours is lost by that."""
    lab.notebook("source.ipynb", LOAD, "%mb_data trees")
    lab.run(0)
    lab.run(1)
    before = lab.output(1).inner_text(), lab.output(1).locator("img").count()
    lab.save()
    book = nbformat.read(place / "source.ipynb", as_version=4)
    book.metadata.pop("signature", None)
    book.cells.append(nbformat.v4.new_markdown_cell("changed outside, so that the signature does not hold"))
    nbformat.write(book, place / "foreign.ipynb")
    lab.close()
    lab.open("foreign.ipynb")
    assert (lab.output(1).inner_text(), lab.output(1).locator("img").count()) == before
