"""The Environment step without a browser, before the stand-in for Azure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mb_jupyter import cloud
from mb_jupyter.panels.environment import Environment
from mb_jupyter.panels.state import State
from tests.azure_shell import run
from tests.panel_widgets import named, until

SIZE = "Standard_NC4as_T4_v3"


def opened(azure: Any) -> Environment:
    """Open the step with a workspace of Azure chosen."""
    place = {"sign_in": "environment", "subscription": azure.subscription, "resource_group": "rg", "workspace": "ws"}
    state = State(Path("kept/panel.json"))
    state.choose(environment="azure", azure=place)
    return Environment(state)


def test_a_new_compute_stays_chosen_while_the_sizes_are_listed(azure, azure_shell):
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu", SIZE, low_priority=True, nodes=(0, 1))
    step = opened(azure)
    compute = named(step, "Compute")
    until(lambda: compute.value == "gpu")
    compute.value = ""
    sizes = named(step, "Size")
    until(lambda: len(sizes.options) > 1 and not any("DS3_v2" in value for _, value in sizes.options))
    named(step, "Sizes without a GPU too").value = True
    until(lambda: any("DS3_v2" in value for _, value in sizes.options))
    until(lambda: step.progress.widget.layout.display == "none")
    assert compute.value == "" and cloud.chosen().compute == ""


def test_the_cell_of_this_machine_means_it_whatever_is_chosen(azure, azure_shell):
    azure.make_workspace("ws", "rg")
    step = opened(azure)
    until(lambda: "use ws" in step.magic())
    run(azure_shell, step.magic())
    step.state.environment = "local"
    assert step.magic() == "%mb_workspace show local"
    assert "Local workspace" in run(azure_shell, step.magic())
    assert "Local workspace" in run(azure_shell, "%mb_workspace list local")
    assert "Local workspace" not in run(azure_shell, "%mb_workspace show")
