"""The Evaluate step without a browser: it follows the list of runs, and lets go of what it showed before."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ipywidgets.widgets.widget import _instances

import mb_jupyter
from mb_jupyter.panels.evaluate import Evaluate
from mb_jupyter.panels.state import State
from mb_jupyter.panels.tryit import TryIt
from mb_jupyter.run import Run
from tests.panel_widgets import alerted, named, shown, until
from tests.standin import move_in, write_pictures
from tests.test_magics import shell  # noqa: F401 - fixture


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Run, Run]]:
    move_in(tmp_path, monkeypatch)
    write_pictures(tmp_path / "trees")
    one, other = (mb_jupyter.train(data="trees", experiment=name, epochs=1) for name in ("one", "other"))
    yield one, other


def opened(run: Run, tab: str = "") -> Evaluate:
    state = State(Path("kept/panel.json"))
    state.choose(run=run.handle, tab=tab)
    step = Evaluate(state)
    named(step, "Run")
    settled()
    assert shown_run(step) == run.handle
    return step


def settled() -> None:
    """Wait until every thread of the panel has ended."""
    for thread in [each for each in threading.enumerate() if each.name == "mb panel"]:
        thread.join(20)


def shown_run(step: Evaluate) -> str:
    return step.run.handle if step.run is not None else ""


def choose(step: Evaluate, run: Run) -> None:
    named(step, "Run").value = run.handle


def test_an_answer_that_comes_late_is_not_of_the_chosen_run(runs):
    one, other = runs
    step = opened(one)
    choose(step, other)
    choose(step, one)
    settled()
    assert named(step, "Run").value == shown_run(step) == one.handle
    assert step.magic() == f"%mb_evaluate {one.handle}" and one.handle in shown(step)
    choose(step, other)
    settled()
    assert shown_run(step) == other.handle


@pytest.mark.parametrize("name", ["it's.png", 'a "b" c.png', "a\\b $x `y`.png", "a;", "plain.png"])
def test_the_cell_that_repeats_an_answer_names_the_same_picture(shell, runs, name):  # noqa: F811
    step = opened(runs[0], "Try it")
    step.state.picture = name
    magic, words = step.magic().split(maxsplit=1)
    assert magic == "%mb_predict"
    assert shell.magics_manager.registry["MBMagics"].words(words) == ["--run", runs[0].handle, name]


def test_what_is_not_one_picture_is_refused_before_anything_is_scored(runs):
    step = opened(runs[0], "Try it")
    path = named(step, "Path")
    for several in ("trees", "trees/oak/*.png"):
        path.value = several  # these runs have left no model: opening it would be told
        said = f"{several} is not one picture."
        until(lambda: said in alerted(step))  # noqa: B023 - it is over before the next


def test_what_was_shown_before_is_let_go(runs):
    one, other = runs
    step = opened(one, "Try it")
    counts, before = [], tried()
    for run in (other, one) * 3:
        choose(step, run)
        settled()
        assert shown_run(step) == run.handle
        counts.append(len(_instances))
    assert counts[1] == counts[-1]
    assert tried() == before, "and its model with it"


def tried() -> int:
    gc.collect()
    return len([each for each in gc.get_objects() if type(each) is TryIt])


def test_the_headline_carries_the_caveat(runs):
    run, _ = runs
    path = run.folder / "split.csv"
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    group = rows[0].index("Group")
    rows = [rows[0], *([*row[:group], "one", *row[group + 1 :]] for row in rows[1:])]
    path.write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")
    step = opened(run)
    assert run.report.leaked and run.report.caveats
    assert run.report.caveats[0] in step.headline.value
