"""For whoever sees little, or nothing, or uses no mouse: names, roles, order, focus and contrast, in both themes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.finished_run import ID, write_run

from .conftest import Lab
from .panels import folded, open_step, opened, press

STEPS = ("Environment", "Data", "Train", "Evaluate", "Consume")
TABS = ("Classes", "Confusions", "Mistakes", "Threshold", "Try it")
#: what of a page somebody who does not see it is told: a control's name, as browsers compute it
NAMELESS = """panel => {
    const text = element => (element?.innerText ?? '').replace(/[^\\p{L}\\p{N}]/gu, '');
    const name = element => text(element) || element.getAttribute('aria-label') || element.title
        || [...(element.labels ?? [])].map(text).join('') || element.alt;
    const all = panel.querySelectorAll('input,select,textarea,button,a,summary,img,[role=tab],[role=table]');
    return [...all].filter(element => element.checkVisibility() && !name(element)).map(element => element.outerHTML);
}"""
#: every text whose contrast is less than WCAG 2.2 demands for AA, with its ratio
FAINT = """panel => {
    const rgba = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const light = colour => {
        const [r, g, b] = colour.map(part => part / 255).map(
            part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        const layers = [];
        for (let each = element; each; each = each.parentElement) {
            const colour = rgba(getComputedStyle(each).backgroundColor);
            if (colour[3]) layers.push(colour);
            if (colour[3] === 1) break;
        }
        return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
    };
    const opacity = element => {
        let product = 1;
        for (let each = element; each; each = each.parentElement) product *= +getComputedStyle(each).opacity;
        return product;
    };
    const found = [];
    const check = (element, colour, text) => {
        const below = ground(element), style = getComputedStyle(element), top = rgba(colour);
        top[3] *= opacity(element);
        const [high, low] = [light(over(top, below)), light(below)].sort((a, b) => b - a);
        const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}: ${text.trim().slice(0, 60)}`);
    };
    const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
    let texts = 0;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim() || !element.checkVisibility() || element.closest('style,option,[aria-hidden=true]')
            || element.closest('button')?.disabled) continue;
        texts += 1;
        check(element, getComputedStyle(element).color, node.data);
    }
    for (const field of panel.querySelectorAll('input:not([type=radio],[type=checkbox]),select,textarea')) {
        if (!field.checkVisibility() || field.disabled) continue;
        check(field, getComputedStyle(field).color, field.value || field.name);
        if (field.placeholder) check(field, getComputedStyle(field, '::placeholder').color, field.placeholder);
    }
    return [texts, found];
}"""
#: whether something shows where the keyboard is
FOCUS = """element => {
    const style = getComputedStyle(element);
    return [element.outerHTML.slice(0, 200), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
            element.getBoundingClientRect().width > 0];
}"""


@pytest.fixture
def place(lab: Lab, shared_data: Path) -> Iterator[Path]:
    """Return the folder of the notebooks, with a finished run and the photos of another in it."""
    folder = lab.server.folder
    write_run(folder)
    if not (folder / "trees").exists():
        shutil.copytree(shared_data / "hemlock_cherry", folder / "trees")
    yield folder
    lab.js("await app.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    lab.leaves("mb_workspace", "colours", "exported")


@pytest.fixture
def step(lab: Lab, place: Path) -> Locator:
    return opened(lab, "access.ipynb", "%mb")


def scenes(lab: Lab, step: Locator) -> Iterator[tuple[str, Locator]]:
    """Yield the panel with each step and each tab in front, filled and with something wrong in it."""
    step.get_by_role("radio", name="azure: a compute in the cloud").check()
    step.get_by_role("textbox", name="Compute name").fill("gpu_2")
    expect(step).to_contain_text("only letters a-z, digits and hyphens")
    yield "Environment: Azure", step
    step.get_by_role("radio", name="local: this machine").check()
    expect(step).to_contain_text("no account is needed")
    yield "Environment: local", step
    open_step(step, "Data")
    step.get_by_label("Folder or CSV file").fill("nowhere")
    expect(step).to_contain_text("There is no folder nowhere here.")
    yield "Data: a mistake", step
    step.get_by_label("Folder or CSV file").fill("trees")
    press(step, "Look at the pictures")
    expect(step).to_contain_text("20 pictures in 2 classes")
    expect(step.get_by_alt_text("The picture Hemlock/hemlock_1.jpg")).to_be_visible()
    folded(step, "Upload a few pictures")
    press(step, "Add to the class")
    expect(step.get_by_role("alert")).to_contain_text("The class has no name.")
    yield "Data", step
    open_step(step, "Train")
    folded(step, "More settings")
    folded(step, "Earlier runs")
    step.get_by_label("Epochs").fill("three")
    expect(step).to_contain_text("`epochs` cannot be `three`")
    yield "Train", step
    open_step(step, "Evaluate")
    for name in TABS:
        step.get_by_role("tab", name=name).click()
        if name == "Confusions":
            step.locator(".mb-matrix").get_by_role("button").nth(1).click()
        if name == "Try it":
            press(step, "Another picture")
            expect(step).to_contain_text("its true class is")
        if name in ("Confusions", "Mistakes"):
            expect(step.get_by_role("img", name="The picture").first).to_be_visible()
        yield f"Evaluate: {name}", step
    open_step(step, "Consume")
    press(step, "Export")
    expect(step.get_by_text("HuesModel/README.md")).to_be_visible()
    yield "Consume", step


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_control_has_a_name_and_every_text_its_contrast(lab: Lab, step: Locator, theme: str) -> None:
    lab.js("await app.commands.execute('apputils:change-theme', {theme: argument})", f"JupyterLab {theme}")
    lab.page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=f"JupyterLab {theme}")
    problems: list[Any] = []
    for scene, panel in scenes(lab, step):
        lab.still()
        texts, faint = panel.evaluate(FAINT)
        assert texts > 10, scene
        problems += [(scene, "faint", each) for each in faint]
        problems += [(scene, "nameless", each) for each in panel.evaluate(NAMELESS)]
    assert not problems, "\n".join(map(str, problems))


def test_tab_walks_through_a_step_in_its_order_and_shows_where_it_is(lab: Lab, step: Locator) -> None:
    for name in STEPS:
        open_step(step, name)
        if name == "Evaluate":
            expect(step.get_by_role("table", name="Every class")).to_be_visible()
        if name == "Train":
            folded(step, "More settings")
        lab.js("app.shell.currentWidget.content.mode = 'command'")
        wanted = step.evaluate(
            """panel => [...panel.querySelectorAll(
                'input,select,textarea,button,a[href],summary,[tabindex="0"]')].filter(
                each => each.checkVisibility() && !each.disabled && each.tabIndex >= 0).length"""
        )
        button = step.get_by_role("button", name="Close")
        button.focus()
        for key in ("Shift+Tab", "Tab"):  # after a click a page does not show the focus
            lab.page.keyboard.press(key)
        walked = [button.evaluate(FOCUS)]
        while len(walked) < wanted:
            before = lab.page.evaluate_handle("() => document.activeElement")
            lab.page.keyboard.press("Tab")
            now = step.locator(":focus")
            assert now.count() == 1, f"{name}: Tab leaves the panel after {walked[-1][0]}"
            follows = now.evaluate(
                "(now, before) => !!(before.compareDocumentPosition(now) & Node.DOCUMENT_POSITION_FOLLOWING)", before
            )
            walked.append(now.evaluate(FOCUS))
            assert follows, f"{name}: Tab goes back to {walked[-1][0]}"
        unseen = [what for what, ring, size in walked if not (ring and size)]
        assert not unseen, f"{name}: nothing shows that the keyboard is at {unseen}"


def test_the_steps_and_their_parts_say_what_they_are(lab: Lab, step: Locator) -> None:
    steps = step.get_by_role("tablist").first.get_by_role("tab")
    assert [tab.inner_text() for tab in steps.all()] == [f"{i} {name}" for i, name in enumerate(STEPS, 1)]
    for number, name in enumerate(STEPS):
        open_step(step, name)
        expect(steps.nth(number)).to_have_attribute("aria-selected", "true")
        expect(step.get_by_role("heading", name=name, exact=True)).to_be_visible()
    open_step(step, "Train")
    part = step.locator("details", has_text="More settings")
    for is_open in (True, False):
        step.get_by_text("More settings", exact=True).press("Enter")
        expect(step.get_by_label("Seed")).to_be_visible(visible=is_open)
        assert part.evaluate("part => part.open") is is_open
    for each in step.get_by_label("Run", exact=True).all():  # what is folded away is not in the keyboard's way
        expect(each).to_be_hidden()
    open_step(step, "Evaluate")
    table = step.get_by_role("table", name="Every class")
    assert table.get_by_role("columnheader").count() == len(table.get_by_role("row").nth(1).get_by_role("cell").all())
    expect(step.locator(".mb-step-evaluate").get_by_label("Run", exact=True)).to_have_value(re.compile(ID))
