"""The Train step without a browser: its buttons are pressed, and its widgets are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mb_jupyter
from mb_jupyter.backends import RunState
from mb_jupyter.panels.state import State
from mb_jupyter.panels.train import Train
from mb_jupyter.training import manifest
from tests.panel_widgets import alerted, named, press, shown, until
from tests.standin import move_in, write_pictures


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    move_in(tmp_path, monkeypatch)
    write_pictures(tmp_path / "trees")
    yield tmp_path
    for run in mb_jupyter.runs():
        run.cancel()


def opened(**chosen: Any) -> Train:
    """Open the step with the state as it is kept, as a kernel does that was started anew."""
    state = State(Path("kept/panel.json"))
    state.choose(**{"data": "trees", **chosen})
    step = Train(state)
    step.refresh()
    return step


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hold the check of the pictures until the event is set; it goes on asking whether it is still wanted."""
    scan, go_on = manifest.scan, threading.Event()

    def held(root: Any, *, progress: Any, **others: Any) -> Any:
        while not go_on.wait(0.02):
            progress(0, 30)
        return scan(root, progress=progress, **others)

    monkeypatch.setattr(manifest, "scan", held)
    yield go_on
    go_on.set()


@pytest.mark.parametrize("label", ["Stop and keep", "Cancel"])
def test_a_start_is_abandoned_while_the_pictures_are_checked(place, looking, label):
    step = opened()
    press(step, "Start")
    named(step, label).click()
    until(lambda: "nothing was started" in shown(step))
    looking.set()
    until(lambda: not named(step, "Start").disabled)
    assert not mb_jupyter.runs() and alerted(step) == ""
    assert "abandoning" not in shown(step)
    press(step, "Start")
    until(lambda: "trees: completed" in shown(step))


def test_a_start_that_is_abandoned_does_not_touch_the_run_before(place, looking, monkeypatch):
    looking.set()
    monkeypatch.setenv("STANDIN", "slow")
    before = mb_jupyter.train(data="trees", experiment="wood", wait=False)
    monkeypatch.delenv("STANDIN")
    step = opened(training=mb_jupyter.train(data="trees", epochs=1).handle, run=before.handle)
    looking.clear()
    press(step, "Start")
    named(step, "Cancel").click()
    until(lambda: "nothing was started" in shown(step))
    assert not before.state.is_terminal
    assert sorted(run.experiment for run in mb_jupyter.runs()) == ["trees", "wood"]


def test_a_run_that_begins_while_its_start_is_abandoned_is_canceled(place, monkeypatch):
    import mb_jupyter.experiment as home

    monkeypatch.setenv("STANDIN", "slow")
    submit, submitting, go_on = home._submit, threading.Event(), threading.Event()

    def late(*given: Any) -> None:
        submitting.set()
        assert go_on.wait(120)
        submit(*given)

    monkeypatch.setattr(home, "_submit", late)
    step = opened()
    press(step, "Start")
    assert submitting.wait(120)
    named(step, "Stop and keep").click()
    go_on.set()
    until(lambda: "trees: cancelled" in shown(step))
    assert "It had begun when it was abandoned" in shown(step)
    assert [run.state for run in mb_jupyter.runs()] == [RunState.CANCELED]
    until(lambda: not named(step, "Start").disabled)


def test_a_run_stays_in_front_when_the_report_of_another_is_looked_at(place, monkeypatch):
    ended = mb_jupyter.train(data="trees", experiment="wood", epochs=1)
    monkeypatch.setenv("STANDIN", "slow")
    step = opened()
    press(step, "Start")
    until(lambda: "trees: running" in shown(step))
    step.state.run = ended.handle  # as the list of runs in Evaluate does
    step.refresh()
    again = opened()  # by another kernel
    assert again.state.run == ended.handle
    until(lambda: "trees: running" in shown(again))
    assert "trees: running" in shown(step) and "trees: running" in step.summary().text
    press(again, "Stop and keep")
    until(lambda: "trees: stopped" in shown(step) and "trees: stopped" in shown(again))
    assert again.state.run == ended.handle
    assert ended.state is RunState.COMPLETED


def test_the_failure_of_a_run_is_no_news_about_the_one_in_front(place, monkeypatch):
    ended = mb_jupyter.train(data="trees", experiment="wood", epochs=1)
    monkeypatch.setenv("STANDIN", "slow")
    step = opened()
    press(step, "Start")
    until(lambda: "trees: running" in shown(step))
    going_on = step.state.training
    until(lambda: named(step, "Run").options)
    named(step, "Run").value = ended.handle
    press(step, "Open")
    until(lambda: "wood: completed" in shown(step))
    threads = [each for each in threading.enumerate() if each.name == "mb panel"]
    mb_jupyter.attach(going_on).cancel()
    for thread in threads:
        thread.join(120)
    assert alerted(step) == "" and "wood: completed" in shown(step)
    assert named(step, "Cancel").layout.display == "none"
