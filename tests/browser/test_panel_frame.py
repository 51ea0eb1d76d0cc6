"""The frame: five steps, two views of one state, closed and opened again, by keyboard, in a saved notebook."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.finished_run import write_run

from .conftest import Lab
from .panels import LOAD, OTHER_WORK, button, open_step, opened, panel, press, reopened

#: controls and texts beyond the panel's right edge that no part of it lets scroll into view
OUTSIDE = """panel => {
    const edge = panel.getBoundingClientRect().right + 1;
    const scrolls = element => {
        for (let each = element.parentElement; each !== panel; each = each.parentElement) {
            if (getComputedStyle(each).overflowX !== 'visible') return true;
        }
        return false;
    };
    return [...panel.querySelectorAll('*')].filter(each => each.checkVisibility() && !scrolls(each)
        && each.getBoundingClientRect().right > edge).map(each => each.outerHTML.slice(0, 200));
}"""
STEPS = ("Environment", "Data", "Train", "Evaluate", "Consume")


@pytest.fixture
def place(lab: Lab, shared_data: Path) -> Iterator[Path]:
    """Return the folder of the notebooks, with photos of two classes of trees in it."""
    folder = lab.server.folder
    if not (folder / "trees").exists():
        shutil.copytree(shared_data / "hemlock_cherry", folder / "trees")
    lab.leaves("mb_workspace")
    yield folder


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


def test_each_step_opens_alone(lab: Lab, place: Path) -> None:
    commands = {
        "%mb_workspace": "environment", "%mb_compute": "environment", "%mb_data": "data", "%mb_train": "train",
        "%mb_evaluate": "evaluate", "%mb_predict": "evaluate", "%mb_export": "consume", "%mb train": "train",
    }  # fmt: skip
    lab.notebook("alone.ipynb", LOAD, *commands)
    lab.run_all()
    for index, name in enumerate(commands.values(), 1):
        expect(panel(lab, index).locator(f".mb-step-{name}")).to_be_visible()
        expect(panel(lab, index).get_by_role("alert")).to_have_count(0)


def test_the_button_that_inserts_is_hidden_where_nothing_obeys_it(lab: Lab, place: Path) -> None:
    step = opened(lab, "insert.ipynb", "%mb_data")
    step.get_by_label("Folder or CSV file").fill("trees")
    expect(step.get_by_role("button", name="Insert below")).to_be_visible()
    elsewhere = lab.page.evaluate(
        """() => {
            const copy = document.querySelector('.mb-insert').cloneNode(true);
            document.body.append(copy);
            const shown = getComputedStyle(copy).display;
            copy.remove();
            return shown;
        }"""
    )
    assert elsewhere == "none"


def test_a_press_waits_for_what_was_typed_before_it(lab: Lab, place: Path) -> None:
    """Also while another cell runs, when the page holds back all but the first letter."""
    step = opened(lab, "press.ipynb", "%mb_data", OTHER_WORK.format("pressed"))
    path = step.get_by_label("Folder or CSV file")
    path.fill("tree")
    expect(step).to_contain_text("There is no folder tree here.")
    path.fill("trees")
    expect(button(step, "Look at the pictures")).to_be_enabled()
    expect(step.locator("pre")).to_have_text("%mb_data trees")
    lab.start(2)
    expect(lab.page.locator(".jp-InputPrompt", has_text="*")).to_have_count(1)
    path.press("End")
    path.press_sequentially("x", delay=20)
    path.press("Backspace")
    press(step, "Look at the pictures")
    (place / "pressed").touch()  # until here the cell went on
    expect(step).to_contain_text("20 pictures in 2 classes")
    expect(step.get_by_role("alert")).to_have_count(0)
    lab.idle()
    assert lab.output(2).inner_text().strip() == "other work"


def test_600_pixels(lab: Lab, place: Path) -> None:
    names = tuple(f"class {number} of a name that is longer than the page is wide {'x' * 80}" for number in range(3))
    write_run(place, names)
    lab.page.set_viewport_size({"width": 600, "height": 900})
    lab.js("await app.commands.execute('application:toggle-left-area')")
    try:
        step = opened(lab, "narrow.ipynb", "%mb")
        for name in STEPS:
            open_step(step, name)
            if name == "Environment":
                step.get_by_role("radio", name="azure: a compute in the cloud").check()
                expect(step.get_by_role("table", name="Sizes of a compute")).to_be_visible()
            if name == "Consume":
                press(step, "Export")
                expect(step.get_by_text("HuesModel/README.md")).to_be_visible()
            lab.still()
            assert not step.evaluate(OUTSIDE), f"{name} has parts that stick out"
    finally:
        lab.js("await app.commands.execute('application:toggle-left-area')")
        lab.page.set_viewport_size({"width": 1200, "height": 900})
        lab.leaves("mb_workspace", "colours", "exported")


def test_the_saved_notebook_shows_the_summary(lab: Lab, place: Path, tmp_path: Path) -> None:
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
    for name, more in (("saved", ()), ("executed", ("--execute",))):  # there nobody presses buttons
        command = (sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", *more, "--output-dir", str(tmp_path))
        subprocess.run((*command, "--output", name, str(place / "saved.ipynb")), check=True, capture_output=True)
        page = (tmp_path / f"{name}.html").read_text("utf-8")
        assert "Local workspace mb_workspace" in page and "trees" in page and "model not found" not in page


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
