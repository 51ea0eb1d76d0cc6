"""The whole way on real photos: from an empty workspace to score bars and a package, by mouse, then by keyboard."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Lab
from .panels import LOAD, button, cell_of, panel, press, reach

TRAINED = re.compile(r"flowers: completed.*Accuracy \d\d\.\d %", re.DOTALL)
TRAINING_MS = 300_000  # real photos, on a machine that may have other work
VERDICT = re.compile("(Right|Wrong): its true class is (daisy|dandelion|roses|sunflowers|tulips)")


@pytest.fixture(scope="module")
def photos(server: object, shared_data: Path) -> Iterator[Path]:
    """Return the notebooks' folder with 200 photos in it; the second way finds the first one's run there."""
    folder: Path = server.folder  # type: ignore[attr-defined]
    shutil.copytree(shared_data / "flowers_small", folder / "flowers")
    shutil.rmtree(folder / "mb_workspace", ignore_errors=True)
    yield folder
    for name in ("flowers", "mb_workspace", "exported", "by_keyboard"):
        shutil.rmtree(folder / name, ignore_errors=True)


def test_by_mouse_alone(lab: Lab, photos: Path) -> None:
    """What the browser's own lists offer is chosen in them; nothing else is typed."""
    lab.notebook("mouse.ipynb", LOAD, "%mb")
    for number in (0, 1):
        lab.page.locator(".jp-NotebookPanel:visible .jp-Cell .jp-InputArea-editor").nth(number).click()
        lab.page.locator('.jp-NotebookPanel:visible [data-command="notebook:run-cell-and-select-next"]').click()
        lab.executed(number)
    step = panel(lab)
    expect(step).to_contain_text("no account is needed")
    press(step, "Next: Data")
    path = step.get_by_label("Folder or CSV file")
    path.click()
    expect(step.locator("datalist option[value='flowers']")).to_have_count(1)
    path.fill("flowers")
    press(step, "Look at the pictures")
    expect(step).to_contain_text("200 pictures in 5 classes")
    press(step, "Next: Train")
    step.get_by_label("Recipe").select_option("features: the network as it is, only its head is trained; "
                                              "seconds to minutes")  # fmt: skip
    expect(cell_of(step)).to_contain_text("recipe: features")
    press(step, "Start")
    expect(step).to_contain_text(TRAINED, timeout=TRAINING_MS)
    press(step, "Next: Evaluate")
    expect(step).to_contain_text(re.compile(r"Accuracy \d\d\.\d %.*95 % interval"))
    step.get_by_role("tab", name="Confusions").click()
    step.locator(".mb-matrix").get_by_role("button").first.click()
    expect(step.get_by_role("img", name=re.compile("^The picture")).first).to_be_visible()
    step.get_by_role("tab", name="Try it").click()
    press(step, "Another picture")
    score_bars(step)
    press(step, "Next: Consume")
    press(step, "Export")
    expect(step.get_by_text("FlowersModel/README.md")).to_be_visible()
    expect(step.get_by_role("button", name="Next:")).to_have_count(0)
    expect(step.get_by_role("alert")).to_have_count(0)
    snippet = step.locator("pre").filter(has_text="from flowers_model import predict").first.inner_text()
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=True, cwd=photos)
    assert re.search(r"[\d.]+%  (daisy|dandelion|roses|sunflowers|tulips)", done.stdout)


def test_by_keyboard_alone(lab: Lab, photos: Path) -> None:
    """The same settings are the same run: the one of the first way is found again, and nothing is trained twice."""
    (photos / "mb_workspace" / "panel.json").unlink(missing_ok=True)  # nothing is chosen yet
    lab.notebook("keys.ipynb", LOAD, "%mb")
    keys = lab.page.keyboard
    for number in (0, 1):
        lab.js("app.shell.currentWidget.content.activeCellIndex = argument", number)
        lab.js("app.shell.currentWidget.content.mode = 'command'; app.shell.currentWidget.content.node.focus()")
        keys.press("Control+Enter")
        lab.executed(number)
    step = panel(lab)
    reach(lab, step.get_by_role("tab", selected=True))
    reach(lab, button(step, "Next: Data"))
    keys.press("Enter")
    path = step.get_by_label("Folder or CSV file")
    reach(lab, path)
    keys.type("flowers")
    expect(step).to_contain_text("5 subfolders.")
    reach(lab, button(step, "Look at the pictures"))
    keys.press("Space")
    expect(step).to_contain_text("200 pictures in 5 classes")
    reach(lab, button(step, "Next: Train"))
    keys.press("Enter")
    recipe = step.get_by_label("Recipe")
    reach(lab, recipe)
    for key in ("Space", "ArrowDown", "Enter"):  # opens the list, goes to the second, takes it
        keys.press(key)
    expect(cell_of(step)).to_contain_text("recipe: features")
    reach(lab, step.locator("summary", has_text="More settings"))
    keys.press("Enter")
    reach(lab, step.get_by_label("Seed"))
    keys.type("0")
    expect(cell_of(step)).to_contain_text("seed: 0")
    reach(lab, button(step, "Start"))
    keys.press("Enter")
    expect(step).to_contain_text(TRAINED, timeout=TRAINING_MS)
    reach(lab, button(step, "Next: Evaluate"))
    keys.press("Enter")
    tab = step.get_by_role("tab", name="Try it")
    expect(tab).to_be_visible()
    reach(lab, step.get_by_role("tab", selected=True).last)
    for _ in range(6):
        if tab.get_attribute("aria-selected") == "true":
            break
        keys.press("ArrowRight")
        keys.press("Enter")
    reach(lab, button(step, "Another picture"))
    keys.press("Enter")
    score_bars(step)
    reach(lab, button(step, "Next: Consume"))
    keys.press("Enter")
    reach(lab, step.get_by_label("Folder", exact=True))
    keys.press("Control+A")
    keys.type("by_keyboard")
    reach(lab, button(step, "Export"))
    keys.press("Enter")
    expect(step.get_by_text("FlowersModel/README.md")).to_be_visible()
    assert (photos / "by_keyboard" / "FlowersModel" / "README.md").is_file()
    expect(step.get_by_role("alert")).to_have_count(0)


def score_bars(step: Locator) -> None:
    expect(step).to_contain_text(VERDICT)
    bars = step.get_by_role("table", name="Probability of every class")
    expect(bars.get_by_role("row")).to_have_count(5)
