"""The Data step: a path typed or completed, the report, the sheet, what is left out, uploads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from playwright.sync_api import expect

from .conftest import Lab
from .panels import button, folded, opened, panel, press


@pytest.fixture
def place(lab: Lab, shared_data: Path) -> Iterator[Path]:
    """Return the folder of the notebooks, with photos of two classes of trees in it."""
    folder = lab.server.folder
    if not (folder / "trees").exists():
        shutil.copytree(shared_data / "hemlock_cherry", folder / "trees")
    lab.leaves("mb_workspace", "my_pictures")
    yield folder


def kept(place: Path) -> Any:
    return json.loads((place / "mb_workspace" / "panel.json").read_text("utf-8"))


def test_a_path_is_completed_checked_and_looked_at(lab: Lab, place: Path) -> None:
    step = opened(lab, "data.ipynb", "%mb_data")
    path = step.get_by_label("Folder or CSV file")
    path.press_sequentially("tre")
    expect(step.locator("datalist option[value='trees']")).to_have_count(1)
    expect(step).to_contain_text("error: There is no folder tre here.")
    expect(button(step, "Look at the pictures")).to_be_disabled()
    path.press_sequentially("es")
    expect(step).to_contain_text("2 subfolders.")
    press(step, "Look at the pictures")
    expect(step).to_contain_text("20 pictures in 2 classes")
    assert step.get_by_role("columnheader", name="Validation").is_visible()
    expect(step.get_by_alt_text("The picture Hemlock/hemlock_1.jpg")).to_be_visible()
    expect(step).to_contain_text("pictures 1 to 12 of 20")
    expect(step.locator("pre")).to_have_text("%mb_data trees")


def test_pictures_are_left_out_by_ticking(lab: Lab, place: Path) -> None:
    step = opened(lab, "tick.ipynb", "%mb_data", "%mb_train")
    step.get_by_label("Folder or CSV file").fill("trees")
    press(step, "Look at the pictures")
    step.get_by_label("hemlock_2.jpg").check()
    expect(step).to_contain_text("1 picture is left out of the training: Hemlock/hemlock_2.jpg")
    press(step, "Next")
    expect(step).to_contain_text("pictures 13 to 20 of 20")
    step.get_by_label("Show").select_option(label="class Hemlock (10)")
    expect(step.get_by_label("hemlock_2.jpg")).to_be_checked()
    lab.run(2)
    cell = panel(lab, 2).locator("pre").inner_text()
    assert yaml.safe_load(cell.removeprefix("%%mb_train")) == {"data": "trees", "exclude": ["Hemlock/hemlock_2.jpg"]}
    assert kept(place)["exclude"] == ["Hemlock/hemlock_2.jpg"]
    press(step, "Take all back")
    expect(step.get_by_label("hemlock_2.jpg")).not_to_be_checked()
    assert (place / "trees" / "Hemlock" / "hemlock_2.jpg").exists()


def test_a_few_pictures_are_uploaded(lab: Lab, place: Path, tmp_path: Path) -> None:
    step = opened(lab, "upload.ipynb", "%mb data")
    folded(step, "Upload a few pictures")
    press(step, "Add to the class")
    expect(step.get_by_role("alert")).to_contain_text("The class has no name.")
    step.get_by_label("Class", exact=True).fill("a/b")
    press(step, "Add to the class")
    expect(step.get_by_role("alert")).to_contain_text("cannot be a class")
    for spread, label in ((20, "oak"), (90, "b & <i>")):
        files = [tmp_path / f"{label.replace('<i>', '')} {number}.png" for number in range(3)]
        for number, file in enumerate(files):
            Image.effect_noise((80, 60), spread + 20 * number).convert("RGB").save(file)
        step.get_by_label("Class", exact=True).fill(label)
        with lab.page.expect_file_chooser() as chooser:
            step.get_by_role("button", name="Choose pictures").click()
        chooser.value.set_files(files)
        expect(step.get_by_role("button", name="Choose pictures (3)")).to_be_visible()
        press(step, "Add to the class")
        expect(step.get_by_role("button", name="Choose pictures (0)")).to_be_visible()
    expect(step.get_by_label("Folder or CSV file")).to_have_value("my_pictures")
    expect(step).to_contain_text("6 pictures in 2 classes")
    expect(step).to_contain_text("b & <i>")
    assert len(list((place / "my_pictures" / "oak").iterdir())) == 3


def test_200_classes_long_names_and_600_pixels(lab: Lab, place: Path) -> None:
    folder = place / "many"
    for number in range(200):
        label = f"class {number:03d} " + ("with_a_very_long_name_" * 6 if number % 40 == 0 else "<b>")
        (folder / label).mkdir(parents=True, exist_ok=True)
        for each in range(2):
            picture = Image.effect_noise((32, 32), 20 + number + each * 37).convert("RGB")
            picture.save(folder / label / f"picture_{each}_{'long' * 20}.png")
    window = lab.page.viewport_size
    lab.page.set_viewport_size({"width": 600, "height": 900})
    lab.js("await app.commands.execute('application:toggle-left-area')")
    try:
        step = opened(lab, "many.ipynb", "%mb_data")
        step.get_by_label("Folder or CSV file").fill("many")
        press(step, "Look at the pictures")
        expect(step).to_contain_text("400 pictures in 200 classes")
        expect(step).to_contain_text("pictures 1 to 12 of 400")
        for control in (button(step, "Close"), button(step, "Next"), step.get_by_label("Show")):
            box = control.bounding_box()
            assert box and box["x"] + box["width"] <= 600
        frame = step.bounding_box()
        assert frame and frame["width"] < 600
        assert step.locator("b:text('class')").count() == 0, "names are data"
    finally:
        lab.js("await app.commands.execute('application:toggle-left-area')")
        lab.page.set_viewport_size(window or {"width": 1200, "height": 900})
        shutil.rmtree(folder)


def test_a_mistake_is_told_in_the_step(lab: Lab, place: Path) -> None:
    (place / "empty" / "a").mkdir(parents=True, exist_ok=True)
    (place / "empty" / "b").mkdir(exist_ok=True)
    step = opened(lab, "wrong.ipynb", "%mb_data")
    step.get_by_label("Folder or CSV file").fill("empty")
    press(step, "Look at the pictures")
    expect(step.get_by_role("alert")).to_contain_text("DataError")
    expect(step.get_by_role("alert")).to_contain_text("fix:")
    step.get_by_label("Folder or CSV file").fill("trees")
    press(step, "Look at the pictures")
    expect(step).to_contain_text("20 pictures in 2 classes")
    expect(step.get_by_role("alert")).to_have_count(0)
