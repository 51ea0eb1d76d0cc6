"""The fields of a training, their cell, and what %config sets: a click and its cell do the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mb_jupyter
from mb_jupyter.panels.state import State
from mb_jupyter.panels.train import Train
from tests.magic_shell import run
from tests.panel_widgets import named, press, shown, until
from tests.test_magics import shell, trees  # noqa: F401 - fixtures


def opened(**chosen: Any) -> Train:
    state = State(Path("kept/panel.json"))
    state.choose(data="trees", **chosen)
    step = Train(state)
    step.refresh()
    return step


def configured(shell: Any, **values: Any) -> None:  # noqa: F811
    for name, value in values.items():
        shell.run_line_magic("config", f"MBMagics.{name} = {value!r}")


def test_a_click_and_its_cell_take_what_config_sets(shell, trees):  # noqa: F811
    configured(shell, epochs=2, seed=5)
    step = opened()
    assert [named(step, label).placeholder for label in ("Epochs", "Seed", "Patience")] == ["2", "5", "4"]
    press(step, "Start")
    until(lambda: "trees: completed" in shown(step))
    assert (mb_jupyter.runs()[0].config["epochs"], mb_jupyter.runs()[0].config["seed"]) == (2, 5)
    assert "Found the identical run" in run(shell, step.magic())
    configured(shell, epochs=None, seed=None)
    step.refresh()
    assert named(step, "Epochs").placeholder == "12"


def test_this_machine_is_said_where_config_says_another(shell, trees):  # noqa: F811
    assert opened().magic() == "%%mb_train\ndata: trees"
    configured(shell, backend="azure")
    assert opened().magic() == "%%mb_train\ndata: trees\nbackend: local"
    configured(shell, backend=None)


def test_the_recipe_that_config_sets_is_the_one_that_is_shown(shell, trees):  # noqa: F811
    configured(shell, recipe="features")
    step = opened()
    recipe = named(step, "Recipe")
    assert recipe.value == "features" and "recipe" not in step.magic()
    recipe.value = "auto"
    assert "recipe: auto" in step.magic()
    recipe.value = "features"
    configured(shell, recipe=None)
    step.refresh()
    assert recipe.value == "auto" and step.magic() == "%%mb_train\ndata: trees"


def test_a_training_anew_is_repeated_anew(shell, trees):  # noqa: F811
    step = opened(experiment="wood", settings={"epochs": 1})
    named(step, "Train anew even if the identical run is there").value = True
    assert step.magic() == "%%mb_train wood --fresh\ndata: trees\nepochs: 1"
    press(step, "Start")
    until(lambda: "wood: completed" in shown(step))
    assert step.magic() == "%%mb_train wood\ndata: trees\nepochs: 1", "who runs all cells does not pay again"


def test_a_field_means_what_a_cell_means(shell, trees):  # noqa: F811
    step = opened()
    named(step, "Epochs").value = "010"
    named(step, "Minutes at the most").value = "1:30"
    named(step, "File of weights").value = "007"
    assert step.magic() == "%%mb_train\ndata: trees\nepochs: 10\nmax_minutes: '1:30'\nweights: '007'"
    assert "for 1:30 write 1.5 (minutes)" in shown(step)
