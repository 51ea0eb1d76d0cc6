"""The Evaluate step in a real JupyterLab: a report looked into by mouse alone and by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.finished_run import ID, write_run

from .conftest import Lab
from .panels import reach

LOAD = "%load_ext mb_jupyter"
HANDLE = f"local://hues/{ID}"


@pytest.fixture
def place(lab: Lab) -> Iterator[Path]:
    lab.leaves("mb_workspace", "colours")
    yield lab.server.folder


@pytest.fixture
def panel(lab: Lab, place: Path) -> Locator:
    write_run(place)
    lab.notebook("evaluate.ipynb", LOAD, "shown = %mb_evaluate", "shown.report.right, shown.run.handle")
    lab.run(0)
    lab.run(1)
    return lab.output(1).locator(".mb-panel")


def expect_rows(table: Locator, *names: str) -> None:
    """Wait until the first cells of a sorted table's rows are these."""
    for number, name in enumerate(names, 1):
        expect(table.get_by_role("row").nth(number).get_by_role("cell").first).to_have_text(name)
    expect(table.get_by_role("row")).to_have_count(len(names) + 1)


def tab(panel: Locator, name: str) -> None:
    panel.get_by_role("tab", name=name).click()


def test_headline_and_classes_that_sort(lab: Lab, panel: Locator) -> None:
    expect(panel).to_contain_text(re.compile(r"Accuracy 75\.0 %.*95 % interval 55\.1 to 88\.0 %"))
    # what to do next is seen at once, and the whole report stands below the tabs
    for part in ("Next steps", "Compared with the previous run", "Reproduce this run"):
        expect(panel.get_by_text(part, exact=True).first).to_be_visible()
    table = panel.get_by_role("table", name="Every class")
    expect_rows(table, "blue", "red", "green")  # the weakest F1 first
    panel.get_by_role("button", name="Class").click()
    expect_rows(table, "blue", "green", "red")
    panel.get_by_role("button", name="Class ▲").click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("red")
    panel.get_by_role("button", name="Precision").click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("85.7 %")
    expect(panel).to_contain_text(f"%mb_evaluate {HANDLE}")
    lab.run(2)
    assert f"(18, '{HANDLE}')" in lab.output(2).inner_text(), "the panel carries the report"


def test_a_cell_of_the_matrix_shows_its_pictures(lab: Lab, panel: Locator) -> None:
    tab(panel, "Confusions")
    panel = panel.locator(".mb-looks")  # the whole report below has images too
    matrix = panel.locator(".mb-matrix")
    expect(matrix.get_by_role("button")).to_have_count(7)  # of nine cells two are empty
    cell = matrix.get_by_title("2 of 8 pictures of green were taken for blue")
    cell.click()
    expect(panel.get_by_role("status").filter(has_text="2 of 8 pictures of green")).to_be_visible()
    expect(panel.get_by_role("img", name=re.compile("taken for blue"))).to_have_count(2)
    loaded = panel.get_by_role("img").first.evaluate("picture => picture.naturalWidth")
    assert loaded > 50
    panel.get_by_role("combobox", name="Mix-ups").select_option(label="1 of 8 images of red was taken for green")
    expect(panel.get_by_role("img", name=re.compile("taken for green"))).to_have_count(1)


def test_worst_mistakes_and_a_picture_that_is_gone(lab: Lab, panel: Locator, place: Path) -> None:
    (place / "colours/green/02.png").unlink()
    tab(panel, "Mistakes")
    expect(panel.get_by_text("6 of 24 test images are answered wrongly; the most confident")).to_be_visible()
    cards = panel.get_by_text(re.compile(r"^taken for"))
    expect(cards).to_have_count(6)
    scores = [float(re.findall(r"([\d.]+)\s%", text)[0]) for text in cards.all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    expect(panel.get_by_role("img", name=re.compile("^The picture"))).to_have_count(5)
    expect(panel.get_by_text("The picture cannot be read here.")).to_have_count(1)


def test_the_threshold_by_slider_and_by_figure(lab: Lab, panel: Locator) -> None:
    tab(panel, "Threshold")
    panel = panel.locator(".mb-looks")
    expect(panel.get_by_text("Every one of the 24 test images is answered.")).to_be_visible()
    table = panel.get_by_role("table", name=re.compile("at this threshold"))
    before = table.text_content() or ""
    panel.get_by_role("button", name="Use the recommended threshold").click()
    expect(panel.get_by_text(re.compile(r"would be called unsure.* are right \((9[5-9]|100)\.\d %\)"))).to_be_visible()
    expect(table).not_to_have_text(before)
    field = panel.get_by_role("spinbutton", name="Unsure below")
    assert 0 < float(field.input_value()) <= 1
    handle = panel.get_by_role("slider")
    handle.focus()
    lab.page.keyboard.press("Home")
    expect(panel.get_by_text("Every one of the 24 test images is answered.")).to_be_visible()
    field.fill("1")
    field.press("Tab")
    expect(panel.get_by_text("24 of 24 test images would be called unsure")).to_be_visible()
    expect(panel.get_by_text("unsure_below")).to_have_count(0)  # of everything no model is unsure
    field.fill("0.57")
    field.press("Tab")
    expect(panel.get_by_text("unsure_below: 0.57 ")).to_be_visible()


def test_try_it_with_a_held_out_picture_a_path_and_an_upload(lab: Lab, panel: Locator, place: Path) -> None:
    tab(panel, "Try it")
    panel.get_by_role("combobox", name="True class").select_option(label="green (8)")
    panel.get_by_role("combobox", name="Held-out picture").select_option("green/02.png")
    expect(panel.get_by_text(re.compile(r"green/02\.png: blue, 53\.\d %"))).to_be_visible()
    expect(panel.get_by_text("Model: hues, 23 Nov").first).to_be_visible()
    expect(panel.get_by_text("Wrong: its true class is green.")).to_be_visible()
    bars = panel.get_by_role("table", name="Probability of every class")
    expect(bars.get_by_role("row")).to_have_count(3)
    expect(panel).to_contain_text(f"%mb_predict --run {HANDLE} colours/green/02.png")

    path = panel.get_by_role("textbox", name="Path")
    path.fill("colours/red/01.png")
    path.press("Enter")
    expect(panel.get_by_text(re.compile(r"red/01\.png: \w+, "))).to_be_visible()
    path.fill("nowhere.png")
    path.press("Enter")
    expect(panel.get_by_role("alert")).to_contain_text("nowhere.png")

    upload = place / "colours/blue/00.png"
    with lab.page.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="Upload a picture").click()
    chooser.value.set_files(upload)
    expect(panel.get_by_text(re.compile(r"00\.png: \w+, "))).to_be_visible()
    expect(panel.get_by_role("alert")).to_have_count(0)


def test_predict_without_a_picture_opens_try_it(lab: Lab, place: Path) -> None:
    write_run(place)
    lab.notebook("predict.ipynb", LOAD, "%mb_predict", "%mb_evaluate hues")
    lab.run(0)
    lab.run(1)
    panel = lab.output(1).locator(".mb-panel")
    expect(panel.get_by_role("tab", name="Try it")).to_have_attribute("aria-selected", "true")
    panel.get_by_role("button", name="Another picture").click()
    expect(panel.get_by_text(re.compile("(Right|Wrong): its true class is"))).to_be_visible()
    lab.run(2)
    assert lab.output(2).locator(".mb-panel").count() == 0, "a named run is shown as it always was"


def test_without_any_run_it_says_so(lab: Lab, place: Path) -> None:
    lab.notebook("empty.ipynb", LOAD, "%mb_evaluate")
    lab.run(0)
    lab.run(1)
    expect(lab.output(1).locator(".mb-panel")).to_contain_text("No run has been evaluated yet")


def test_by_keyboard_alone(lab: Lab, panel: Locator) -> None:
    """Tab, arrows, Space and Enter reach every part; nothing is clicked."""
    page = lab.page
    head = panel.get_by_role("button", name="Class")
    panel.get_by_role("combobox", name="Run").focus()
    reach(lab, head)
    page.keyboard.press("Enter")
    table = panel.get_by_role("table", name="Every class")
    expect(table.get_by_role("row").nth(2)).to_contain_text("green")

    page.keyboard.press("Shift+Tab")  # from the first head back to the tabs
    expect(panel.get_by_role("tab", name="Classes")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    cell = panel.locator(".mb-matrix").get_by_role("button").nth(1)
    reach(lab, cell)
    page.keyboard.press("Space")
    expect(panel.get_by_role("img", name=re.compile("^The picture")).first).to_be_visible()


def test_many_classes_with_long_hostile_names(lab: Lab, place: Path) -> None:
    names = tuple(f"<b onclick=alert({i})>{i:03d}</b> & a name that is longer than a narrow page" for i in range(200))
    write_run(place, tuple(name.replace("/", "⁄") for name in names), each=2)
    lab.notebook("many.ipynb", LOAD, "%mb_evaluate")
    lab.run(0)
    lab.run(1)
    lab.page.set_viewport_size({"width": 600, "height": 900})
    try:
        panel = lab.output(1).locator(".mb-panel")
        expect(panel.get_by_text("rows 1 to 20 of 200")).to_be_visible()
        panel.get_by_role("button", name="Next").first.click()
        expect(panel.get_by_text("rows 21 to 40 of 200")).to_be_visible()
        panel.get_by_role("textbox", name="Filter").fill(">117")
        expect(panel.get_by_role("table", name="Every class").get_by_role("row")).to_have_count(2)
        for name in ("Confusions", "Mistakes", "Threshold", "Try it"):
            tab(panel, name)
        panel.get_by_role("button", name="Another picture").click()
        expect(panel.get_by_text(re.compile("(Right|Wrong): its true class is"))).to_be_visible()
        assert panel.locator("[onclick]").count() == 0
        assert overflow(panel) <= 1, "nothing sticks out of a narrow page"
    finally:
        lab.page.set_viewport_size({"width": 1200, "height": 900})


def overflow(panel: Locator) -> Any:
    return panel.evaluate("panel => panel.scrollWidth - panel.clientWidth")
