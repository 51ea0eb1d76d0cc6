"""The Data step and the kept state, without a browser; two states of one file stand for two notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter.panels.data import Data
from mb_jupyter.panels.parts import Progress
from mb_jupyter.panels.state import State
from tests.panel_widgets import named, press, shown, until, widgets
from tests.standin import write_pictures


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "kept"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_pictures(tmp_path / "trees")
    write_pictures(tmp_path / "herbs", ("mint", "sage"))
    return tmp_path


def notebook(**chosen: Any) -> State:
    state = State(Path("kept/panel.json"))
    state.choose(**chosen)
    return state


def looked_at(state: State) -> Data:
    """Open the step, which looks at what is chosen."""
    step = Data(state)
    step.refresh()
    until(lambda: step.dataset is not None and boxes(step))
    return step


def boxes(step: Data) -> list[Any]:
    """Return the boxes to tick that are seen."""
    cells = (each for each in widgets(step._sheet.widget) if type(each).__name__ == "VBox")
    ticks = [cell.children[1] for cell in cells if len(cell.children) == 2 and cell.layout.display != "none"]
    hidden = step._sheet.widget.layout.display == "none"
    return [] if hidden else [tick for tick in ticks if type(tick).__name__ == "Checkbox" and tick.description]


def test_another_notebook_chooses_other_pictures(place):
    one = notebook(data="trees")
    step = looked_at(one)
    assert "30 pictures in 3 classes" in shown(step)
    notebook(data="herbs", exclude=["mint/1.png"])
    one.read()
    assert step.dataset is None and "30 pictures" not in shown(step) and not boxes(step)
    assert step.summary().text == "Data\nChosen: herbs. Left out by choice: mint/1.png."
    step.refresh()
    until(lambda: "20 pictures in 2 classes" in shown(step))


def test_the_look_knows_the_groups(place):
    step = looked_at(notebook(data="trees", settings={"group": "[0-4].png"}))
    assert "15 images are in 5 groups, given by the pattern" in shown(step)
    assert step.magic() == "%mb_data trees --group '[0-4].png'"


def test_what_is_ticked_belongs_to_the_pictures_that_are_seen(place):
    one = notebook(data="trees")
    step = looked_at(one)
    two = notebook(data="herbs")
    boxes(step)[0].value = True  # before this notebook knows of the other
    (left_out,) = one.exclude
    two.read()
    assert (two.data, list(two.exclude)) == ("trees", [left_out])


def test_a_notebook_writes_only_what_changed_in_it(place):
    one, two = notebook(data="trees"), notebook()
    two.choose(settings={"epochs": 3}, run="local://trees/x")
    one.experiment = "wood"
    kept = json.loads((place / "kept/panel.json").read_text("utf-8"))
    assert (kept["settings"], kept["run"], kept["experiment"]) == ({"epochs": 3}, "local://trees/x", "wood")
    one.read()
    assert one.settings == {"epochs": 3} and one.experiment == "wood"
    two.read()
    assert two.experiment == "wood"


def test_only_what_goes_on_is_read_aloud_not_its_figures_and_clock(place):
    progress = Progress()
    progress.begin("looking")
    said, beside = (part.value for part in progress.widget.children)
    assert 'role="status"' in said and "looking" in said and "s)" not in said
    assert "role" not in beside and '<span aria-hidden="true">(0 s)' in beside
    for done in (3, 10):
        progress.say("looking at trees", done, 10)
    told, beside = (part.value for part in progress.widget.children)
    assert told == said.replace("looking", "looking at trees") and "10 of 10" in beside
    progress.end()


def test_a_folder_that_is_typed_is_looked_at_anew(place):
    step = looked_at(notebook(data="trees"))
    boxes(step)[0].value = True
    named(step, "Folder or CSV file").value = "herbs"
    assert not step.state.exclude and not boxes(step) and "30 pictures" not in shown(step)
    press(step, "Look at the pictures")
    until(lambda: "20 pictures in 2 classes" in shown(step) and boxes(step))
