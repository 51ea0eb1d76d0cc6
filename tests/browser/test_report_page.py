"""The page of a report in a real browser, by itself: no notebook, no server, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.finished_run import write_run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_cell_of_the_matrix_opens_to_its_pictures(browser: Browser, tmp_path: Path, scheme: str) -> None:
    run = write_run(tmp_path, data=str(tmp_path / "colours"))
    wrong = run.report.confusions[0]
    page = browser.new_page(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 1000, "height": 800}
    )
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(run.report.to_html(tmp_path / "report.html").as_uri())
        expect(page.get_by_role("heading", level=1)).to_contain_text(run.handle)
        expect(page.locator("p b")).to_have_text(run.report.summary)
        summary = f"{wrong.count} · {100 * wrong.count / wrong.support:.1f} %"
        opened = page.locator("td details", has=page.get_by_text(summary, exact=True)).first
        cell, picture = opened.locator("summary"), opened.locator("img[src^='data:image/jpeg']").first
        box = cell.bounding_box()
        assert box is not None and box["height"] < 30, "one line"
        expect(picture).to_be_hidden()
        cell.focus()
        page.keyboard.press("Enter")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 0
        page.get_by_role("link", name="Next steps").click()
        expect(page.get_by_role("heading", name="Next steps")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(22, 24, 28)") is (scheme == "dark")
    finally:
        page.close()
    assert said == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}, "it needs nothing but itself"
