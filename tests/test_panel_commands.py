"""The panel and the commands in cells know of each other: one state for a kernel and a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from mb_jupyter import Dataset
from mb_jupyter.panels.data import Data
from mb_jupyter.panels.evaluate import Evaluate
from mb_jupyter.panels.state import State
from mb_jupyter.panels.train import Train
from tests.finished_run import write_run
from tests.magic_shell import run
from tests.panel_widgets import shown, until
from tests.standin import write_pictures
from tests.test_magics import shell, trees  # noqa: F401 - fixtures


def test_the_panel_shows_what_commands_have_used(shell, trees, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "mb_workspace"))
    made = write_run(tmp_path)
    run(shell, "%mb_data trees")
    run(shell, "%%mb_train wood --epochs 1\ndata: trees")
    said = run(shell, "%mb")
    for part in ("30 pictures in 3 classes", "wood: completed", "local://wood/", "Accuracy"):
        assert part in said, part
    for denial in ("No images are chosen", "Not yet", "No run has been evaluated"):
        assert denial not in said
    run(shell, f"%mb_export {made.handle} --to out")
    said = run(shell, "%mb")
    assert f"Exported to {Path('out')}" in said and made.handle in run(shell, "%mb evaluate")
    run(shell, "%mb_attach hues")
    assert "hues: completed" in run(shell, "%mb train")
    state = State.of()
    assert (state.training, state.run, state.data) == (made.handle, made.handle, "colours")


def test_where_another_kernel_has_trained_the_panel_shows_the_latest_run(shell, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "mb_workspace"))
    write_run(tmp_path)
    said = run(shell, "%mb")
    assert "hues: completed" in said and "Not yet" not in said and "Accuracy" in said


def test_a_command_alone_makes_no_workspace(shell, trees, tmp_path):  # noqa: F811
    run(shell, "%mb_data trees")
    assert "30 pictures in 3 classes" in run(shell, "%mb")
    assert not (tmp_path / "kept").exists()


def test_an_open_panel_follows(shell, trees, tmp_path):  # noqa: F811
    data, train = Data(State.of()), Train(State.of())
    assert "No images" in data.summary().text
    _ = data.widget, train.widget
    run(shell, "%mb_data trees")
    until(lambda: "30 pictures in 3 classes" in shown(data))
    State.of().exclude = ["oak/1.png"]
    run(shell, "%mb_data trees")
    assert State.of().exclude == ["oak/1.png"], "the same images: what was left out stays"
    write_pictures(tmp_path / "others", ("ash", "elm"))
    run(shell, "%%mb_train --epochs 1\ndata: others")
    until(lambda: "others: completed" in shown(train))
    assert (State.of().data, State.of().exclude) == ("others", [])


def test_what_a_command_has_seen_is_not_looked_at_again(shell, trees, tmp_path):  # noqa: F811
    run(shell, "%mb_data trees")
    seen = State.of().dataset
    assert isinstance(seen, Dataset)
    data = Data(State.of())
    data.refresh()
    until(lambda: data.dataset is not None)
    assert data.dataset is seen
    State.of().data = "elsewhere"
    assert State.of().dataset is None


@pytest.mark.usefixtures("shell")
def test_evaluate_shows_the_report_that_the_command_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "mb_workspace"))
    made = write_run(tmp_path)
    step = Evaluate(State.of())
    _ = step.widget
    until(lambda: step.report is not None)
    whole = made.report._repr_mimebundle_()
    assert step.whole.value == whole["text/html"] and step.summary().text == whole["text/plain"]
    for title in ("Next steps", "Compared with the previous run", "Reproduce this run"):
        assert title in step.whole.value
    assert "Next steps" in step.headline.value and "<li" in step.headline.value
