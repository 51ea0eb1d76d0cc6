"""The Environment step in a real JupyterLab: this machine, and Azure as its stand-in answers."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, TimeoutError, expect

from .conftest import PATIENCE_MS, Lab
from .panels import reach

LOAD = "%load_ext mb_jupyter"
SIZE = "Standard_NC4as_T4_v3"
QUOTA = "The specified subscription has a total vCPU quota of 6 and is <b>less</b> than the requested."


@pytest.fixture
def place(lab: Lab) -> Iterator[Path]:
    lab.leaves("mb_workspace")
    yield lab.server.folder


@pytest.fixture
def opened(lab: Lab, place: Path) -> Locator:
    """Return the step, opened with this machine chosen."""
    lab.notebook("environment.ipynb", LOAD, "%mb_workspace", "6 * 7")
    lab.run(0)
    lab.run(1)
    return lab.output(1).locator(".mb-panel")


@pytest.fixture
def in_azure(lab: Lab, place: Path, azure: Any) -> Callable[[], Locator]:
    """Return what opens the step in a kernel whose Azure is the stand-in, with Azure chosen."""

    def open_it() -> Locator:
        (place / "azure-environment.json").write_text(json.dumps(dict(azure.environment)))
        there = "json.loads(pathlib.Path('azure-environment.json').read_text())"
        here = f"import json, os, pathlib\nos.environ.update({there})"
        lab.notebook("azure.ipynb", f"{here}\n%load_ext mb_jupyter", "%mb_workspace", "6 * 7")
        lab.run(0)
        lab.run(1)
        panel = lab.output(1).locator(".mb-panel")
        panel.get_by_role("radio", name="azure: a compute in the cloud").check()
        return panel

    return open_it


def sign_in(panel: Locator, way: str = "environment") -> None:
    panel.get_by_role("combobox", name="Sign in by").select_option(way_of(way))
    panel.get_by_role("button", name="Sign in").click()


def way_of(way: str) -> str:
    words = {
        "environment": "Environment: AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET",
        "device": "Device code: typed in on a web page, on any device",
    }
    return words[way]


def field(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("textbox", name=name)


def choose(panel: Locator, name: str, option: str) -> None:
    """Choose the option whose text holds so much; wait until it is offered.

    An answer of Azure may come between the look and the choice and fill the list anew, the prices with it.
    """
    listed = panel.get_by_role("combobox", name=name, exact=True)
    wanted = listed.locator("option", has_text=option).first
    expect(wanted).to_be_attached()
    end = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            listed.select_option(label=wanted.inner_text(), timeout=2_000)
        except TimeoutError:
            if time.monotonic() > end:
                raise
        else:
            return


def test_this_machine_needs_no_account(lab: Lab, opened: Locator) -> None:
    expect(opened).to_contain_text("no account is needed")
    expect(opened).to_contain_text("Local workspace mb_workspace")
    expect(opened).to_contain_text("%mb_workspace show")
    expect(opened.get_by_role("radio", name="local")).to_be_checked()
    expect(opened.get_by_role("button", name="Sign in")).to_be_hidden()


def test_names_are_checked_while_they_are_typed(lab: Lab, opened: Locator) -> None:
    opened.get_by_role("radio", name="azure: a compute in the cloud").check()
    compute = field(opened, "Compute name")
    for name, rule in (
        ("9gpu", "begins with a letter"),
        ("gpu_2", "only letters a-z, digits and hyphens, not '_'"),
        ("a" * 17, "2 to 16 characters"),
        ("gpu-1", "does not end with a hyphen and digits"),
    ):
        compute.fill("")
        compute.press_sequentially(name)
        expect(opened.get_by_role("status").filter(has_text=rule)).to_be_visible()
    compute.fill("gpu")
    expect(opened.get_by_text("hyphen and digits")).to_be_hidden()
    field(opened, "Workspace name").fill("ab")
    expect(opened.get_by_text("3 to 33 characters; 'ab' has 2")).to_be_visible()
    field(opened, "Workspace name").fill("a<b>c</b>")
    expect(opened.get_by_text("only letters a-z, digits and hyphens, not '<' '>' '/'")).to_be_visible()
    opened.get_by_role("combobox", name="Resource group").fill("rg.")
    expect(opened.get_by_text("does not end with a full stop")).to_be_visible()
    for button in ("Create workspace", "Create compute"):
        expect(opened.get_by_role("button", name=button)).to_be_disabled()
    expect(opened.get_by_text("Still needed: a workspace.")).to_be_visible()


def test_sizes_have_every_column_sort_and_filter(lab: Lab, opened: Locator) -> None:
    opened.get_by_role("radio", name="azure: a compute in the cloud").check()
    table = opened.get_by_role("table", name="Sizes of a compute")
    expect(table.get_by_role("row").nth(1)).to_be_visible()
    heads = [head.text_content() for head in table.get_by_role("columnheader").all()]
    assert heads[:8] == ["Size", "vCPU", "Memory GiB", "Storage GiB", "GPUs", "GPU memory GiB", "Data disks", "NICs"]
    opened.get_by_role("button", name="vCPU").click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("96")
    field(opened, "Filter").fill("NC12")
    expect(table.get_by_role("row")).to_have_count(3)
    row = table.get_by_role("row").filter(has_text="retired by Azure, 2023")
    cells = [cell.inner_text() for cell in row.get_by_role("cell").all()]
    assert cells[:8] == ["Standard_NC12", "12", "112", "680", "2", "24", "48", "2"]
    choose(opened, "Size", "Standard_NC12:")
    expect(opened.get_by_text("The size Standard_NC12 is retired by Azure, 2023.")).to_be_visible()
    for meaning in ("spare capacity (Azure serves it as Spot): cheaper, may be interrupted; for short trainings",
                    "reserved: dearer, not interrupted; for long trainings"):  # fmt: skip
        expect(opened.get_by_text(meaning)).to_be_visible()


def test_from_sign_in_to_a_compute(lab: Lab, in_azure: Callable[[], Locator], azure: Any) -> None:
    azure.make_workspace("flowers-ws", "flowers-rg")
    panel = in_azure()
    sign_in(panel)
    expect(panel.get_by_text(re.compile("Signed in: .*tenant"))).to_be_visible()
    choose(panel, "Workspace", "flowers-ws (flowers-rg")
    expect(field(panel, "Workspace name")).to_be_hidden()
    table = panel.get_by_role("table", name="Sizes of a compute")
    expect(table.get_by_role("row").filter(has_text=SIZE).first).to_contain_text(re.compile(r"0\.\d\d"))
    choose(panel, "Size", f"{SIZE}:")
    field(panel, "Compute name").fill("gpu-t4")
    create = panel.get_by_role("button", name="Create compute")
    expect(create).to_be_enabled()
    azure.operations_held = True
    create.click()
    expect(panel.get_by_role("status").filter(has_text="gpu-t4")).to_be_visible()
    expect(panel.get_by_text(re.compile(r"\(\d+ s\)"))).to_be_visible()
    lab.run(2)
    assert "42" in lab.output(2).inner_text(), "the kernel is free while Azure works"
    azure.operations_held = False
    expect(panel.get_by_role("status").filter(has_text="The compute gpu-t4 was created.")).to_be_visible()
    compute = panel.get_by_role("combobox", name="Compute", exact=True)
    expect(compute.locator("option:checked")).to_have_text(f"gpu-t4 ({SIZE}, low-priority, ready)")
    expect(panel).to_contain_text("%mb_workspace use flowers-ws --sign-in environment")
    expect(panel).to_contain_text("%mb_compute use gpu-t4")
    kept = json.loads((lab.server.folder / "mb_workspace" / "azure.json").read_text())
    assert (kept["workspace"], kept["compute"]) == ("flowers-ws", "gpu-t4")
    secret = azure.environment["AZURE_CLIENT_SECRET"]
    assert secret not in json.dumps(lab.outputs())
    for file in (lab.server.folder / "mb_workspace").rglob("*.json"):
        assert secret not in file.read_text()


def test_a_device_code_is_shown(lab: Lab, in_azure: Callable[[], Locator], azure: Any) -> None:
    azure.device_code_polls = sys.maxsize  # nobody has typed the code yet
    panel = in_azure()
    sign_in(panel, "device")
    shown = panel.locator("code")
    expect(shown).to_have_text(re.compile(r"^[A-Z0-9-]{6,}$"))
    expect(panel.get_by_role("link")).to_have_attribute("href", re.compile("^https://"))
    expect(panel.get_by_text("Valid until")).to_be_visible()
    lab.run(2)
    assert "42" in lab.output(2).inner_text()
    azure.device_code_polls = 0
    expect(panel.get_by_text("Signed in:")).to_be_visible()
    expect(shown).to_have_count(0)


def test_a_workspace_is_made(lab: Lab, in_azure: Callable[[], Locator], azure: Any) -> None:
    panel = in_azure()
    sign_in(panel)
    expect(panel.get_by_role("combobox", name="Subscription").locator("option:checked")).to_contain_text(
        azure.subscription
    )
    field(panel, "Workspace name").fill("new-ws")
    panel.get_by_role("combobox", name="Resource group").fill("new-rg")
    region = panel.get_by_role("combobox", name="Region")
    create = panel.get_by_role("button", name="Create workspace")
    region.fill("westeurop")
    expect(panel.get_by_text("did you mean westeurope?")).to_be_visible()
    expect(create).to_be_disabled()
    region.fill("westeurope")
    expect(create).to_be_enabled()
    create.click()
    chosen = panel.get_by_role("combobox", name="Workspace", exact=True).locator("option:checked")
    expect(chosen).to_have_text("new-ws (new-rg, westeurope)")
    expect(panel.get_by_text("The workspace new-ws was created in westeurope.")).to_be_visible()
    assert azure.asked("PUT", "*/resourcegroups/new-rg*")


@pytest.mark.parametrize("way", ["again", "another"])
def test_an_errored_compute_has_two_ways_out(lab: Lab, in_azure: Callable[[], Locator], azure: Any, way: str) -> None:
    azure.make_workspace("ws", "rg")
    error = {"code": "ClusterCoreQuotaReached", "message": QUOTA}
    azure.make_compute("gpu", SIZE, low_priority=True, nodes=(0, 1), error=error)
    panel = in_azure()
    sign_in(panel)
    choose(panel, "Workspace", "ws (rg")
    alert = panel.get_by_role("alert")
    expect(alert).to_contain_text(QUOTA)
    expect(alert).to_contain_text("the quota of vCPUs is used up")
    compute = panel.get_by_role("combobox", name="Compute", exact=True)
    if way == "again":
        panel.get_by_role("button", name="Delete and create again").click()
        expect(compute.locator("option:checked")).to_have_text(f"gpu ({SIZE}, low-priority, ready)")
        assert azure.asked("DELETE", "*/computes/gpu*")
    else:
        panel.get_by_role("button", name="Use another name").click()
        expect(field(panel, "Compute name")).to_have_value("gpu-b")
        panel.get_by_role("button", name="Create compute").click()
        expect(compute.locator("option:checked")).to_have_text(f"gpu-b ({SIZE}, low-priority, ready)")
        assert not azure.asked("DELETE", "*/computes/*")
    expect(alert).to_be_hidden()


def test_a_creation_that_fails_offers_the_same(lab: Lab, in_azure: Callable[[], Locator], azure: Any) -> None:
    azure.make_workspace("ws", "rg")
    azure.compute_error = {"code": "ClusterCoreQuotaReached", "message": QUOTA}
    panel = in_azure()
    sign_in(panel)
    choose(panel, "Workspace", "ws (rg")
    choose(panel, "Size", f"{SIZE}:")
    field(panel, "Compute name").fill("gpu")
    panel.get_by_role("button", name="Create compute").click()
    expect(panel.get_by_role("alert")).to_contain_text(QUOTA)
    azure.compute_error = None
    panel.get_by_role("button", name="Delete and create again").click()
    compute = panel.get_by_role("combobox", name="Compute", exact=True)
    expect(compute.locator("option:checked")).to_have_text(f"gpu ({SIZE}, low-priority, ready)")


def test_nobody_signed_in_is_told_with_a_fix(lab: Lab, in_azure: Callable[[], Locator], azure: Any) -> None:
    azure.device_refused = "authorization_declined"
    panel = in_azure()
    sign_in(panel, "device")
    expect(panel.get_by_role("alert")).to_contain_text("SignInError")
    expect(panel.get_by_role("button", name="Sign in")).to_be_enabled()


def test_by_keyboard_alone(lab: Lab, opened: Locator) -> None:
    page = lab.page
    reach(lab, opened.get_by_role("radio", name="azure: a compute in the cloud"))
    page.keyboard.press("Space")
    expect(opened.get_by_role("radio", name="azure: a compute in the cloud")).to_be_checked()
    reach(lab, field(opened, "Workspace name"))
    page.keyboard.type("x")
    expect(opened.get_by_text("3 to 33 characters; 'x' has 1")).to_be_visible()
    reach(lab, opened.get_by_role("radio", name="dedicated: reserved"))
    page.keyboard.press("Space")
    expect(opened.get_by_role("radio", name="dedicated: reserved")).to_be_checked()


def test_the_choice_is_found_again_after_a_restart(lab: Lab, in_azure: Callable[[], Locator], azure: Any) -> None:
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu", SIZE, low_priority=True, nodes=(0, 1))
    panel = in_azure()
    sign_in(panel)
    choose(panel, "Workspace", "ws (rg")
    expect(panel).to_contain_text("%mb_compute use gpu")
    lab.restart()
    lab.run(0)
    lab.run(1)
    panel = lab.output(1).locator(".mb-panel:visible")
    expect(panel.get_by_text("Signed in:")).to_be_visible()
    compute = panel.get_by_role("combobox", name="Compute", exact=True)
    expect(compute.locator("option:checked")).to_have_text(f"gpu ({SIZE}, low-priority, ready)")
