"""Make the README's pictures and the quickstart's outputs: it is run in a real JupyterLab, shown light and dark.

pip install -e ".[test]" && python docs/screenshots.py

The panel's Azure is the tests' stand-in, which CONTRIBUTING.md says how to set up.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, expect, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from mb_jupyter.panels.settings import RECIPES  # noqa: E402
from tests.azure_emulator.emulator import Azure, available  # noqa: E402
from tests.azure_emulator.fixtures import CLEARED  # noqa: E402
from tests.browser.conftest import CHROMIUM_FLAGS, Lab, start_server, stop_server  # noqa: E402
from tests.browser.panels import open_step, panel, press  # noqa: E402

#: name of the picture -> index of the quickstart's cell whose output it shows
SHOTS = {"data": 5, "train": 7, "evaluate": 9, "predict": 11, "grid": 13}
SIGN_IN = "Environment: AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET"
FINETUNE = next(said for said, value in RECIPES if value == "finetune")
WIDTH = 1100
MAX_BYTES = 120_000
QUICKSTART_MS = 600_000


def main() -> None:
    """Run the notebook, keep it with its outputs, go through the panel, and save small PNGs of both."""
    if reason := available():
        sys.exit(reason)
    for name in CLEARED:
        os.environ.pop(name, None)
    expect.set_options(timeout=QUICKSTART_MS)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = start_server(Path(folder) / "lab")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        (Path(folder) / "azure").mkdir()
        azure = Azure(Path(folder) / "azure")
        try:
            shutil.copy(ROOT / "examples" / "quickstart.ipynb", server.folder)
            # high enough for the longest output, sharp enough for a fine screen
            page = browser.new_page(viewport={"width": WIDTH, "height": 2200}, device_scale_factor=1.5)
            page.set_default_timeout(QUICKSTART_MS)
            lab = Lab(server, page)
            lab.visit()
            lab.js("await app.commands.execute('application:toggle-left-area')")
            quickstart(lab)
            lab.close()
            steps(lab, azure)
        finally:
            browser.close()
            stop_server(server)
            azure.stop()


def quickstart(lab: Lab) -> None:
    """Run the quickstart, keep it, and take a picture of its outputs."""
    lab.open("quickstart.ipynb")
    lab.run_all(QUICKSTART_MS)
    lab.save()
    shutil.copy(lab.server.folder / "quickstart.ipynb", ROOT / "examples")
    outputs = {name: lab.output(cell).locator(".jp-OutputArea-output").last for name, cell in SHOTS.items()}
    in_both_themes(lab, lambda dark: [shoot(place, f"{name}{dark}") for name, place in outputs.items()])


def steps(lab: Lab, azure: Azure) -> None:
    """Go through the panel's five steps on the quickstart's pictures, and take a picture of each."""
    azure.reset()
    azure.make_workspace("flowers-ws", "flowers-rg")
    (lab.server.folder / "azure-environment.json").write_text(json.dumps(dict(azure.environment)))
    there = "json.loads(pathlib.Path('azure-environment.json').read_text())"
    lab.notebook("panel.ipynb", f"import json, os, pathlib\nos.environ.update({there})\n%load_ext mb_jupyter", "%mb")
    lab.run(0)
    lab.run(1)
    step = panel(lab)
    for name, act in (
        ("environment", on_azure), ("data", look), ("train", train), ("evaluate", evaluate), ("consume", export),
    ):  # fmt: skip
        open_step(step, name.capitalize())
        act(step)
        lab.page.mouse.move(0, 0)
        lab.page.evaluate("() => document.activeElement.blur()")
        in_both_themes(lab, lambda dark, name=name: shoot(step, f"panel-{name}{dark}"))  # type: ignore[misc]
        if name == "environment":
            step.get_by_role("radio", name="local: this machine").check()
        if name == "train":
            press(step, "Stop and keep")
            expect(step).to_contain_text("digits: stopped")


def on_azure(step: Locator) -> None:
    """Sign in, choose the workspace, and begin to describe a compute."""
    step.get_by_role("radio", name="azure: a compute in the cloud").check()
    step.get_by_role("combobox", name="Sign in by").select_option(SIGN_IN)
    press(step, "Sign in")
    workspace = step.get_by_role("combobox", name="Workspace", exact=True)
    named = workspace.locator("option", has_text="flowers-ws").first
    expect(named).to_be_attached()
    workspace.select_option(named.inner_text())
    sizes = step.get_by_role("table", name="Sizes of a compute")
    expect(sizes).to_contain_text(re.compile(r"0\.\d\d"))  # a price, so from the stand-in
    step.get_by_role("textbox", name="Compute name").fill("gpu_t4")
    expect(step).to_contain_text("only letters a-z, digits and hyphens")


def look(step: Locator) -> None:
    """Look at the pictures."""
    step.get_by_label("Folder or CSV file").fill("digits")
    press(step, "Look at the pictures")
    expect(step).to_contain_text("pictures in 10 classes")
    expect(step.get_by_role("img", name="The picture").first).to_be_visible()


def train(step: Locator) -> None:
    """Fine-tune until there are curves to see."""
    step.get_by_label("Recipe").select_option(FINETUNE)
    step.get_by_label("Network").fill("efficientnet_lite0")
    press(step, "Start")
    expect(step).to_contain_text("epoch 5 of")


def evaluate(step: Locator) -> None:
    """Open the confusion matrix of the run, and the pictures in one of its cells."""
    step.get_by_role("tab", name="Confusions").click()
    mixed_up = step.get_by_role("combobox", name="Mix-ups")
    mixed_up.select_option(index=1)
    expect(step.get_by_role("img", name="The picture").first).to_be_visible()


def export(step: Locator) -> None:
    """Write the two projects."""
    press(step, "Export")
    expect(step.get_by_text("DigitsModel/README.md")).to_be_visible()
    step.get_by_text(re.compile(r"^\d+ files$")).click()


def in_both_themes(lab: Lab, act: Callable[[str], object]) -> None:
    """Act in the light theme with an empty text, in the dark one with the end of its pictures' names."""
    for theme in ("Light", "Dark"):
        lab.js("await app.commands.execute('apputils:change-theme', {theme: argument})", f"JupyterLab {theme}")
        lab.page.wait_for_timeout(1500)
        act("-dark" if theme == "Dark" else "")
    lab.js("await app.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")


def shoot(place: Locator, name: str) -> None:
    """Save a small picture of a place on the page."""
    path = ROOT / "docs" / "images" / f"{name}.png"
    place.screenshot(path=path)
    shrink(path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")


def shrink(path: Path) -> None:
    """Take as few pixels and colours as it needs to be small."""
    picture = Image.open(path).convert("RGB")
    for width in (picture.width, WIDTH, 900, 700):
        height = round(picture.height * width / picture.width)
        smaller = picture.resize((width, height), Image.Resampling.LANCZOS) if width < picture.width else picture
        for colours in (96, 48):
            smaller.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
            if path.stat().st_size < MAX_BYTES:
                return


if __name__ == "__main__":
    main()
