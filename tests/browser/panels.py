"""What the tests of the panel's steps share: how a person finds things in it."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, expect

from .conftest import Lab

LOAD = "%load_ext mb_jupyter"
OTHER_WORK = "import pathlib, time\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.05)\nprint('other work')"


def opened(lab: Lab, name: str, command: str = "%mb", *more: str) -> Locator:
    """Open the panel in a new notebook; cell 1 shows it."""
    lab.notebook(name, LOAD, command, *more)
    lab.run(0)
    lab.run(1)
    return panel(lab)


def panel(lab: Lab, index: int = 1) -> Locator:
    """Return the live panel below a cell."""
    found: Locator = lab.output(index).locator(".mb-panel")
    expect(found).to_be_visible()
    return found


def press(place: Locator, name: str) -> None:
    """Press a button by its name; an icon before it counts as a letter."""
    button(place, name).click()


def button(place: Locator, name: str) -> Locator:
    return place.get_by_role("button", name=re.compile(rf"^\W*{re.escape(name)}$"))


def open_step(place: Locator, name: str) -> None:
    """Press the tab of one of the five steps."""
    place.get_by_role("tab", name=re.compile(rf"^\d {name}$")).click()
    expect(place.locator(f".mb-step-{name.lower()}")).to_be_visible()


def folded(place: Locator, title: str) -> None:
    """Open or shut a part that folds."""
    place.get_by_text(title, exact=True).click()


def text_of(output: dict[str, Any]) -> str:
    return "".join(output.get("data", {}).get("text/plain", ""))


def reopened(lab: Lab, name: str) -> None:
    """Open a saved notebook with another kernel: JupyterLab's word about the lost widgets is there, but hidden."""
    lab.close()
    lab.open(name)
    lost = lab.output(1).get_by_text("Error displaying widget")
    expect(lost).to_have_count(1)
    expect(lost).to_be_hidden()
    # it also tells its console; nothing else may be told
    lab.problems[:] = [problem for problem in lab.problems if "widget model not found" not in problem]


def inserted(lab: Lab, place: Locator) -> None:
    """Insert the cell that repeats the step; JupyterLab may ask whether the page may do so."""
    cells = lab.page.locator(".jp-NotebookPanel:visible .jp-Cell")
    before = cells.count()
    place.locator(".mb-insert:visible").click()
    asked = lab.page.locator(".jp-Dialog").get_by_role("button", name="Run Once")
    asked.or_(cells.nth(before)).first.wait_for()
    if asked.count():
        asked.click()
    expect(cells).to_have_count(before + 1)


def cell_of(place: Locator) -> Locator:
    """Return the cell that repeats the step in front."""
    return place.locator(".mb-repeat pre:visible")


def reach(lab: Lab, wanted: Locator) -> None:
    """Press Tab, or Shift+Tab where that is nearer, until ``wanted`` has the focus.

    In the notebook's command mode, as after a click on an output: there JupyterLab's own keys are in force.
    """
    lab.js("app.shell.currentWidget.content.mode = 'command'")
    expect(wanted).to_be_visible()
    expect(wanted).to_be_enabled()
    backward = wanted.evaluate(
        "wanted => !!(wanted.compareDocumentPosition(document.activeElement) & Node.DOCUMENT_POSITION_FOLLOWING)"
    )
    for _ in range(60):
        if wanted.evaluate("wanted => wanted === document.activeElement"):
            return
        lab.page.keyboard.press("Shift+Tab" if backward else "Tab")
    raise AssertionError(f"the keyboard does not reach {wanted}")
