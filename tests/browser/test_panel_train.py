"""The Train step: settings, a run that goes on beside other cells, Stop, Cancel, a restarted kernel, earlier runs."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from playwright.sync_api import Locator, expect

from mb_jupyter.panels.settings import RECIPES
from tests.standin import USE

from .conftest import Lab
from .panels import LOAD, OTHER_WORK, button, folded, inserted, panel, press, reopened, text_of


@pytest.fixture
def place(lab: Lab, shared_data: Path) -> Iterator[Path]:
    """Return the folder of the notebooks, with photos of trees; leave no training behind."""
    folder = lab.server.folder
    if not (folder / "trees").exists():
        shutil.copytree(shared_data / "hemlock_cherry", folder / "trees")
    yield folder
    for record in folder.glob("mb_workspace/*/*/process.json"):
        if not (record.parent / "exit.json").exists():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(json.loads(record.read_bytes())["pid"])
                for each in (*process.children(recursive=True), process):
                    each.kill()
    lab.leaves("mb_workspace")


def opened(lab: Lab, name: str, behaviour: str, *cells: str, more: str = "", **chosen: Any) -> Locator:
    """Open the step on a stand-in for the training program, the pictures chosen already."""
    state = lab.server.folder / "mb_workspace" / "panel.json"
    state.parent.mkdir(exist_ok=True)
    state.write_text(json.dumps({"data": "trees", **chosen}))
    here = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); os.environ['STANDIN'] = {behaviour!r}"
    )
    lab.notebook(name, f"{LOAD}\n{here}\n{USE}{more}", "%mb_train", *cells)
    lab.run(0)
    lab.run(1)
    return panel(lab)


def test_a_run_is_started_watched_and_stopped(lab: Lab, place: Path, tmp_path: Path) -> None:
    step = opened(lab, "train.ipynb", "slow", OTHER_WORK.format("watched"))
    press(step, "Start")
    expect(step).to_contain_text(re.compile(r"check .+ > start"))
    expect(step).to_contain_text(re.compile(r"epoch \d+/"))
    expect(step.locator('img[alt^="Loss and accuracy over"]')).to_be_visible()
    expect(step).to_contain_text(re.compile(r"50 % done, a few seconds left"))
    expect(step).to_contain_text("The buttons below end it")
    expect(button(step, "Start")).to_be_disabled()
    lab.start(2)
    before = step.locator("table").first.inner_text()
    expect(step.locator("table").first).not_to_have_text(before)
    (place / "watched").touch()  # until here the other cell was running
    expect(lab.output(2)).to_contain_text("other work")
    lab.interrupt()  # the notebook's own Stop ends cells, not the training that a button began
    before = step.locator("table").first.inner_text()
    expect(step.locator("table").first).not_to_have_text(before)
    folded(step, "Log")
    expect(step).to_contain_text("stage epoch")
    press(step, "Stop and keep")
    expect(step).to_contain_text("trees: stopped")
    expect(step).to_contain_text("Accuracy 100.0 % on test images")
    expect(button(step, "Stop and keep")).to_have_count(0)
    expect(button(step, "Start")).to_be_enabled()
    lab.idle()
    assert text_of(lab.outputs()[2][0]) == "" and lab.outputs()[2][0]["text"] == "other work\n"

    summary = lab.output(1).locator(".mb-summary")
    expect(summary).to_contain_text("trees: stopped")
    expect(summary).to_be_hidden()
    lab.save()
    reopened(lab, "train.ipynb")
    expect(summary).to_be_visible()
    expect(summary).to_contain_text("trees: stopped")
    assert "model not found" not in lab.output(1).inner_text()
    convert = (sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", "--output-dir", str(tmp_path))
    subprocess.run((*convert, str(place / "train.ipynb")), check=True, capture_output=True)
    page = (tmp_path / "train.html").read_text("utf-8")
    assert "trees: stopped" in page and "Accuracy 100.0 %" in page and "model not found" not in page


def test_a_restarted_kernel_finds_the_run_again(lab: Lab, place: Path) -> None:
    step = opened(lab, "again.ipynb", "slow")
    step.get_by_label("Experiment").fill("wood")
    press(step, "Start")
    expect(step).to_contain_text(re.compile(r"wood: running.*epoch \d+/", re.DOTALL))
    lab.restart()
    expect(lab.output(1).locator(".mb-panel")).to_be_hidden()
    expect(lab.output(1).locator(".mb-summary")).to_be_visible()
    lab.run(0)
    lab.run(1)
    step = panel(lab)
    expect(step.get_by_label("Experiment")).to_have_value("wood")
    expect(step).to_contain_text("wood: running")
    press(step, "Cancel")
    expect(step).to_contain_text("wood: cancelled")
    expect(step.get_by_role("alert")).to_contain_text("was cancelled")


def test_settings_become_the_cell(lab: Lab, place: Path) -> None:
    step = opened(lab, "settings.ipynb", "")
    step.get_by_label("Epochs").fill("three")
    expect(step).to_contain_text("error: `epochs` cannot be `three`; allowed is a whole number from 1 to 10000.")
    expect(button(step, "Start")).to_be_disabled()
    step.get_by_label("Epochs").fill("3")
    step.get_by_label("Network").fill("resnet5")
    expect(step).to_contain_text("did you mean `resnet50`?")
    step.get_by_label("Network").fill("resnet50")
    step.get_by_label("Recipe").select_option(label=RECIPES[2][0])
    step.get_by_label("Experiment").fill("a b")
    expect(step).to_contain_text("error: `experiment` cannot be `a b`")
    step.get_by_label("Experiment").fill("wood")
    folded(step, "More settings")
    step.get_by_label("Seed").fill("7")
    expect(step.locator("pre").last).to_contain_text("seed: 7")
    expect(button(step, "Start")).to_be_enabled()
    head, _, body = step.locator("pre").last.inner_text().partition("\n")
    assert head == "%%mb_train wood"
    wanted = {"data": "trees", "epochs": 3, "architecture": "resnet50", "recipe": "finetune", "seed": 7}
    assert yaml.safe_load(body) == wanted
    press(step, "Check")
    expect(step).to_contain_text("Nothing was changed. Would begin a new run")
    inserted(lab, step)
    expect(lab.page.locator(".jp-NotebookPanel:visible .jp-Cell").nth(2)).to_contain_text("%%mb_train wood")
    sources = lab.js("return app.shell.currentWidget.content.model.toJSON().cells.map(cell => cell.source)")
    assert sources[2] == f"{head}\n{body}"
    lab.run(2)
    assert "wood: completed" in text_of(lab.outputs()[2][0]), "the inserted cell runs as it stands"


def test_a_training_in_azure_shows_its_page_in_the_portal(lab: Lab, place: Path, azure: Any) -> None:
    """From the Start button to a job of the stand-in's, and to its end."""
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu", "Standard_NC4as_T4_v3", low_priority=True, nodes=(0, 1))
    chosen = {"sign_in": "environment", "subscription": azure.subscription, "resource_group": "rg", "workspace": "ws",
              "compute": "gpu"}  # fmt: skip
    here = f"os.environ.update({dict(azure.environment)!r}); from mb_jupyter import cloud; cloud.choose(**{chosen!r})"
    step = opened(lab, "there.ipynb", "", more=f"\n{here}", environment="azure", azure=chosen)
    expect(step).to_contain_text("Trains on azure, compute gpu")
    expect(step.locator("pre").last).to_contain_text("backend: azure")
    press(step, "Check")
    expect(step).to_contain_text("Pre-flight")
    press(step, "Start")
    portal = step.get_by_role("link", name="Monitor current run in Azure portal")
    expect(portal).to_have_attribute("href", re.compile("^https://ml.azure.com/runs/"))
    expect(step).to_contain_text("trees: completed")
    expect(step).to_contain_text("Cost: about")
    expect(step.get_by_role("alert")).to_have_count(0)
    (job,) = azure.jobs.values()
    assert job.name in step.inner_text()


def test_a_failed_training_says_why(lab: Lab, place: Path) -> None:
    step = opened(lab, "fails.ipynb", "refuse")
    press(step, "Start")
    expect(step.get_by_role("alert")).to_contain_text("The weights of another network.")
    expect(step.get_by_role("alert")).to_contain_text("fix: Name the right file.")
    expect(button(step, "Start")).to_be_enabled()


def test_earlier_runs_are_opened_and_compared(lab: Lab, place: Path) -> None:
    step = opened(lab, "earlier.ipynb", "")
    for epochs in ("2", "3"):
        step.get_by_label("Epochs").fill(epochs)
        press(step, "Start")
        expect(step).to_contain_text(f"epoch {epochs}/{epochs}")
        expect(step).to_contain_text("trees: completed")
    folded(step, "Earlier runs")
    expect(step).to_contain_text("2 runs in mb_workspace")
    runs = step.get_by_label("Run", exact=True).locator("option").all_inner_texts()
    step.get_by_label("Run", exact=True).select_option(label=runs[1])
    press(step, "Open")
    expect(step).to_contain_text("epoch 2/2")
    step.get_by_label("Compare with").select_option(label=runs[0])
    press(step, "Compare")
    expect(step).to_contain_text(re.compile("compar", re.IGNORECASE))
    expect(step).to_contain_text("epochs")
    expect(step.get_by_role("alert")).to_have_count(0)
