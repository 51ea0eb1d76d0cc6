"""The tile in JupyterLab's Launcher."""

from __future__ import annotations

from playwright.sync_api import expect

from .conftest import Lab


def test_the_tile_opens_a_notebook_with_the_magics_loaded(lab: Lab) -> None:
    lab.js("await app.commands.execute('launcher:create')")
    tile = lab.page.locator('.jp-LauncherCard[data-category="Notebook"][title*="Model Builder"]').last
    expect(tile).to_be_visible()
    assert tile.locator("img").evaluate("picture => picture.naturalWidth") > 0
    tile.click()
    lab.page.locator(".jp-NotebookPanel:visible .jp-Notebook").wait_for()
    lab.idle()
    lab.page.keyboard.type("%mb_runs")
    lab.run(0)
    assert "not found" not in lab.output(0).inner_text()
