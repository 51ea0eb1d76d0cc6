"""The frame: five steps, two views of one state, closed and opened again, by keyboard, in a saved notebook."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .conftest import Lab
from .panels import clear, open_step, opened, panel, press, reopened

STEPS = ("Environment", "Data", "Train", "Evaluate", "Consume")


@pytest.fixture
def place(lab: Lab, shared_data: Path) -> Iterator[Path]:
    """Return the folder of the notebooks, with photos of two classes of trees in it."""
    folder = lab.server.folder
    if not (folder / "trees").exists():
        shutil.copytree(shared_data / "hemlock_cherry", folder / "trees")
    yield folder
    clear(lab, "mb_workspace")


def test_five_steps_shown_twice_closed_and_found_again(lab: Lab, place: Path) -> None:
    one = opened(lab, "frame.ipynb", "%mb", "%mb")
    for name in STEPS:
        open_step(one, name)
        expect(one.get_by_role("alert")).to_have_count(0)
    lab.run(2)
    two = panel(lab, 2)
    open_step(one, "Data")
    expect(two.locator(".mb-step-data")).to_be_visible()
    one.get_by_label("Folder or CSV file").fill("trees")
    expect(two.get_by_label("Folder or CSV file")).to_have_value("trees")
    press(one, "Close")
    expect(one).to_have_count(0)
    expect(lab.output(1)).to_contain_text("The panel is closed")
    expect(two.get_by_label("Folder or CSV file")).to_be_visible()
    expect(lab.output(1).locator(".mb-summary")).to_contain_text("trees")
    lab.save()
    saved = json.loads((place / "frame.ipynb").read_text("utf-8"))
    assert "widget-view+json" not in json.dumps(saved["cells"][1]), "no trace of a closed view"
    lab.restart()
    lab.run(0)
    lab.run(1)
    again = panel(lab)
    expect(again.get_by_label("Folder or CSV file")).to_have_value("trees")


def test_the_saved_notebook_shows_the_summary(lab: Lab, place: Path) -> None:
    step = opened(lab, "saved.ipynb", "%mb")
    open_step(step, "Data")
    step.get_by_label("Folder or CSV file").fill("trees")
    press(step, "Look at the pictures")
    expect(step).to_contain_text("20 pictures in 2 classes")
    summary = lab.output(1).locator(".mb-summary")
    expect(summary).to_contain_text("20 pictures in 2 classes")
    expect(summary).to_be_hidden()
    lab.save()
    reopened(lab, "saved.ipynb")
    expect(summary).to_be_visible()
    assert "model not found" not in lab.output(1).inner_text()
    lab.no_errors()


def test_by_keyboard_alone(lab: Lab, place: Path) -> None:
    step = opened(lab, "keys.ipynb", "%mb")
    step.get_by_role("tab", name="1 Environment").focus()
    lab.page.keyboard.press("ArrowRight")
    lab.page.keyboard.press("Enter")
    expect(step.locator(".mb-step-data")).to_be_visible()
    for _ in range(12):
        lab.page.keyboard.press("Tab")
        if lab.page.evaluate("() => document.activeElement.getAttribute('list') !== null"):
            break
    lab.page.keyboard.type("trees")
    expect(step).to_contain_text("2 subfolders.")
    lab.page.keyboard.press("Tab")
    lab.page.keyboard.press("Enter")
    expect(step).to_contain_text("20 pictures in 2 classes")
