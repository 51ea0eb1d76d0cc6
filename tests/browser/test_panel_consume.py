"""The Consume step in a real JupyterLab: a model exported by mouse and by keyboard, edits kept, mistakes told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.finished_run import ID, write_run

from .conftest import Lab
from .panels import button, opened, press

HANDLE = f"local://hues/{ID}"


@pytest.fixture
def place(lab: Lab) -> Iterator[Path]:
    lab.leaves("mb_workspace", "colours", "taken away", "exported")
    yield lab.server.folder
    (lab.server.folder / "a file").unlink(missing_ok=True)


@pytest.fixture
def panel(lab: Lab, place: Path) -> Locator:
    write_run(place)
    return opened(lab, "consume.ipynb", "%mb_export")


def test_exported_by_mouse_and_the_snippet_runs(lab: Lab, panel: Locator, place: Path) -> None:
    panel.get_by_role("textbox", name="Folder").fill("taken away")
    expect(panel).to_contain_text(f"%mb_export {HANDLE} --to 'taken away'")
    press(panel, "Export")
    expect(panel.get_by_text("HuesModel/README.md")).to_be_visible()
    assert (place / "taken away" / "HuesConsoleApp" / "pyproject.toml").is_file()
    snippet = panel.locator("pre").filter(has_text="from hues_model import predict").first.inner_text()
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=True, cwd=place)
    assert re.search(r"[\d.]+%  (red|green|blue)", done.stdout)

    readme = place / "taken away" / "HuesModel" / "README.md"
    readme.write_text("mine")
    press(panel, "Export")
    expect(panel.get_by_text(re.compile("This file was edited and left as it is: HuesModel/README.md"))).to_be_visible()
    assert readme.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_told(lab: Lab, panel: Locator, place: Path) -> None:
    (place / "a file").write_text("")
    panel.get_by_role("textbox", name="Folder").fill("a file")
    press(panel, "Export")
    expect(panel.get_by_role("alert")).to_contain_text("a file")
    expect(button(panel, "Export")).to_be_enabled()
    panel.get_by_role("textbox", name="Folder").fill("")
    expect(button(panel, "Export")).to_be_disabled()


def test_by_keyboard_alone(lab: Lab, panel: Locator, place: Path) -> None:
    panel.get_by_role("textbox", name="Name").focus()
    lab.page.keyboard.type("Élan 2")
    lab.page.keyboard.press("Tab")
    lab.page.keyboard.press("Space")  # the web service
    lab.page.keyboard.press("Tab")
    expect(panel).to_contain_text("--name 'Élan 2' --with api")
    lab.page.keyboard.press("Enter")
    expect(panel.get_by_text(re.compile("Api/README.md"))).to_be_visible()


def test_without_a_model_it_says_so(lab: Lab, place: Path) -> None:
    panel = opened(lab, "none.ipynb", "%mb_export")
    expect(panel.get_by_text("No run has left a model yet")).to_be_visible()
    expect(button(panel, "Export")).to_be_disabled()
