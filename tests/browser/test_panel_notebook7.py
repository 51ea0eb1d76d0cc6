"""The panel in Notebook 7, which has JupyterLab's notebook in another frame."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.finished_run import write_run

from .conftest import PATIENCE_MS, Lab, start_server, stop_server
from .panels import LOAD, cell_of, inserted, open_step, panel, press


@pytest.fixture
def seven(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Lab]:
    """Return a page on a server of Notebook 7."""
    server = start_server(tmp_path_factory.mktemp("seven"), "notebook")
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    try:
        page = Lab(server, context.new_page())
        page.watch()
        yield page
    finally:
        context.close()
        stop_server(server)


def test_all_five_steps_in_notebook_7(seven: Lab) -> None:
    write_run(seven.server.folder)
    seven.write("seven.ipynb", LOAD, "%mb")
    seven.visit("notebooks/seven.ipynb")
    seven.idle()
    seven.problems.clear()  # its own, about JupyterLab's settings that it does not have
    seven.run(0)
    seven.run(1)
    step = panel(seven)
    for name in ("Environment", "Data", "Train", "Evaluate"):
        open_step(step, name)
        expect(step.get_by_role("alert")).to_have_count(0)
    step.get_by_role("tab", name="Try it").click()
    press(step, "Another picture")
    expect(step).to_contain_text(re.compile("(Right|Wrong): its true class is (red|green|blue)"))
    press(step, "Next: Consume")
    press(step, "Export")
    expect(step.get_by_text("HuesModel/README.md")).to_be_visible()
    said = cell_of(step).inner_text()
    inserted(seven, step)
    sources = seven.js("return app.shell.currentWidget.content.model.toJSON().cells.map(cell => cell.source)")
    assert sources[2] == said
    summary = seven.output(1).locator(".mb-summary")
    expect(summary).to_contain_text("Accuracy 75.0 %")
    expect(summary).to_be_hidden()
    seven.save()
    assert not seven.problems, seven.problems
    seven.server.end_kernels()
    seven.visit("notebooks/seven.ipynb")
    expect(summary).to_be_visible()
    expect(summary).to_contain_text("Accuracy 75.0 %")
    lost = seven.output(1).get_by_text("Error displaying widget")
    expect(lost).to_be_hidden()
    seven.problems.clear()  # the same again, and what it says of the lost widgets
