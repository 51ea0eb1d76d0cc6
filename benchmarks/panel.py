"""Time the panel in a real JupyterLab and a real Chromium, each figure beside a plain ipywidgets peer in the same page.

pip install -e ".[test]" && python benchmarks/panel.py

``visible``: from the start of the cell in a warm kernel until the widgets are on the page; the peer is a cell that
shows as many plain widgets. ``keystroke``: from a letter typed into a name field until what it means stands under it;
the peer is a ``Text`` whose callback writes into a ``Label``. ``metric``: from a record written to ``metrics.jsonl``
until it is on the page. ``memory``: of the page (the browser's JavaScript heap after a collection, and its nodes)
over a run of 500 epochs. That run is simulated: a program of a few lines writes real records through the local
backend, so that what is measured is the panel and not a network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import CDPSession, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import CHROMIUM_FLAGS, Lab, start_server, stop_server  # noqa: E402

PROGRAM = """
import argparse, json, os, pathlib, time
parser = argparse.ArgumentParser()
for name in ("--config", "--data", "--output"):
    parser.add_argument(name, type=pathlib.Path)
output = parser.parse_args().output
status = {"state": "running", "stages": [], "started": time.time(), "pid": os.getpid(), "error": None, "stage": "epoch"}
def tell(**values):
    status.update(values, updated=time.time())
    (output / ".status").write_text(json.dumps(status))
    (output / ".status").replace(output / "status.json")
for epoch in range(1, EPOCHS + 1):
    with (output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": "epoch", "phase": "finetune", "epoch": epoch, "train_loss": 1 / epoch,
            "train_accuracy": 0.9, "validation_loss": 1 / epoch, "validation_accuracy": 0.5 + epoch / 2000,
            "seconds": PACE, "time": time.time()}) + chr(10))
    tell(done=epoch, total=EPOCHS, fraction=epoch / EPOCHS, eta_seconds=(EPOCHS - epoch) * PACE)
    print("epoch", epoch, flush=True)
    time.sleep(PACE)
tell(state="completed")
"""
PEER = """
import ipywidgets as widgets
kinds = ({kinds})
peer = widgets.VBox([kind(description=str(number)) for number, kind in enumerate(kinds)])
peer.add_class("peer")
peer
"""
TYPED = """
import ipywidgets as widgets
typed, said = widgets.Text(description="Name"), widgets.Label()
typed.observe(lambda change: setattr(said, "value", f"said: {change['new']}"), "value")
box = widgets.VBox([typed, said])
box.add_class("typed")
box
"""
#: the widgets of the panel, as plain ones
KINDS = """() => [...document.querySelectorAll('.mb-panel .jupyter-widgets')].map(each =>
    ({'widget-text': 'Text', 'widget-button': 'Button', 'widget-dropdown': 'Dropdown'})[[...each.classList].find(
        name => ['widget-text', 'widget-button', 'widget-dropdown'].includes(name))] ?? 'HTML')
"""
#: milliseconds, by the page's own clock, from now until a text is seen in an element
UNTIL = """
    const begun = performance.now();
    const seen = () => { const found = document.querySelector(argument.where);
                         return found?.checkVisibility() && found.innerText.includes(argument.text); };
    const waited = new Promise(done => {
        const watch = new MutationObserver(() => {
            if (seen()) { watch.disconnect(); done(performance.now() - begun); }
        });
        watch.observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
    });
    DO
    return await waited;
"""
RUN_CELL = """
    app.shell.currentWidget.content.activeCellIndex = argument.cell;
    app.shell.currentWidget.content.deselectAll();
    void app.commands.execute('notebook:run-cell');
"""
TYPE = """
    const field = document.querySelector(argument.field);
    field.value = argument.value;
    field.dispatchEvent(new InputEvent('input', {bubbles: true}));
    field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));
"""


def until(lab: Lab, where: str, text: str, does: str, **more: object) -> float:
    """Return the milliseconds from an act in the page until ``text`` is seen in it."""
    return float(lab.js(UNTIL.replace("DO", does), {"where": where, "text": text, **more}))


def visible(lab: Lab, step: str, repeats: int) -> tuple[list[float], list[float], int]:
    """Return milliseconds until the panel is seen and its peer is, and how many widgets each has.

    Each time in a new kernel that has loaded ipywidgets and the extension and has shown a widget before: what the
    first panel of a notebook takes.
    """
    command, text = {"environment": ("%mb", "Train on"), "train": ("%mb train", "Start")}[step]
    warm = "%load_ext mb_jupyter\nimport ipywidgets as widgets\nwidgets.Button(description='warm')"
    ours: list[float] = []
    peers: list[float] = []
    kinds: list[str] = []
    for number in range(repeats + 1):
        plain = PEER.format(kinds=" ".join(f"widgets.{kind}," for kind in kinds))
        lab.notebook(f"{step}{number}.ipynb", warm, command, plain)
        lab.run(0)
        lab.page.get_by_role("button", name="warm").wait_for()
        if kinds:
            peers.append(until(lab, ".peer", str(len(kinds) - 1), RUN_CELL, cell=2))
            lab.idle()
        ours.append(until(lab, f".mb-panel .mb-step-{step}", text, RUN_CELL, cell=1))
        lab.idle()
        lab.page.wait_for_timeout(500)
        kinds = kinds or list(lab.page.evaluate(KINDS))
        lab.close()
    return ours[1:], peers, len(kinds)  # the first has only told what widgets there are


def keystroke(lab: Lab, repeats: int) -> tuple[list[float], list[float]]:
    """Return milliseconds from a letter to what it means, in a name field of the panel and in a plain Text."""
    lab.notebook("keystroke.ipynb", "%load_ext mb_jupyter", "%mb environment", TYPED)
    for cell in range(3):
        lab.run(cell)
    lab.page.get_by_role("radio", name="azure: a compute in the cloud").check()
    field = lab.page.get_by_role("textbox", name="Compute name")
    field.wait_for()
    field.evaluate("field => field.classList.add('named')")
    lab.page.locator(".typed input").evaluate("field => field.classList.add('plain')")
    ours, peers = [], []
    for number in range(repeats):
        wrong = "a" * 16 + "b" * (number % 7 + 1)  # too long: the rule names the length
        ours.append(until(lab, ".mb-panel", f"has {len(wrong)}", TYPE, field=".named", value=wrong))
        lab.page.wait_for_timeout(150)
        until(lab, ".mb-panel", "Still needed", TYPE, field=".named", value="gpu")
        lab.page.wait_for_timeout(150)
        peers.append(until(lab, ".typed", f"said: {number}.", TYPE, field=".plain", value=f"{number}."))
        lab.page.wait_for_timeout(150)
    lab.close()
    return ours, peers


def begin(lab: Lab, folder: Path, epochs: int, pace: float) -> Path:
    """Start the simulated run by the panel's button; return the folder of the run."""
    program = folder / "simulated" / "training"
    shutil.rmtree(program, ignore_errors=True)
    program.mkdir(parents=True)
    (program / "__main__.py").write_text(f"EPOCHS, PACE = {epochs}, {pace}\n{PROGRAM}")
    (program / "__init__.py").write_text("")
    use = f"import pathlib, mb_jupyter.experiment as e; e.PROGRAM = pathlib.Path({str(program)!r})"
    shutil.rmtree(lab.server.folder / "mb_workspace", ignore_errors=True)
    (lab.server.folder / "mb_workspace").mkdir()
    (lab.server.folder / "mb_workspace" / "panel.json").write_text(json.dumps({"data": "pictures"}))
    lab.notebook(f"run{epochs}.ipynb", f"%load_ext mb_jupyter\n{use}", "%mb_train")
    lab.run(0)
    lab.run(1)
    lab.page.locator(".mb-panel").get_by_role("button", name="Start").click()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := list((lab.server.folder / "mb_workspace").glob("*/*/metrics.jsonl")):
            return found[0].parent
        time.sleep(0.05)
    raise RuntimeError("the run did not begin")


def metric(lab: Lab, folder: Path, epochs: int = 12, pace: float = 2.3) -> list[float]:
    """Return seconds from the time in a record until its epoch is in the table on the page."""
    run = begin(lab, folder, epochs, pace)
    late = []
    for epoch in range(2, epochs):
        lab.page.wait_for_function(
            """epoch => [...document.querySelectorAll('.mb-panel tbody tr td:first-child')].some(
                cell => cell.innerText.trim() === String(epoch))""",
            arg=epoch, timeout=60_000, polling=20,
        )  # fmt: skip
        seen = time.time()
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        late.append(seen - next(record["time"] for record in records if record["epoch"] == epoch))
    lab.page.locator(".mb-panel", has_text="completed").wait_for()
    lab.close()
    return late


def memory(lab: Lab, folder: Path, cdp: CDPSession, epochs: int, pace: float) -> list[tuple[int, float, int]]:
    """Return epoch, MB of the page's heap after a collection, and its number of nodes, ten times over the run."""
    run = begin(lab, folder, epochs, pace)
    found = []
    for share in range(1, 11):
        wanted = epochs * share // 10
        while len((run / "metrics.jsonl").read_text().splitlines()) < wanted:
            time.sleep(0.2)
        lab.page.wait_for_timeout(1500)
        cdp.send("HeapProfiler.collectGarbage")
        counted: dict[str, Any] = cdp.send("Memory.getDOMCounters")
        heap = cdp.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        found.append((wanted, heap, int(counted["nodes"])))
    lab.close()
    return found


def row(what: str, values: list[float], target: float, unit: str, peer: list[float] | None = None) -> None:
    middle, worst = statistics.median(values), max(values)
    beside = statistics.median(peer) if peer else None
    ratio = f"{middle / beside:.1f}" if beside else ""
    shown = f"{beside:.0f}" if beside else ""
    missed = "" if middle < target else ", **missed**"
    digits = 0 if unit == "ms" else 2
    print(
        f"| {what} | {middle:.{digits}f} {unit} | {worst:.{digits}f} | {shown} | {ratio} | {target:g} {unit}{missed} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--pace", type=float, default=0.25, help="seconds an epoch of the long run takes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = start_server(Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        try:
            for label in ("one", "two"):
                (server.folder / "pictures" / label).mkdir(parents=True)
                for number in range(10):
                    spread = 20 + number * 7 + 90 * (label == "two")
                    picture = Image.effect_noise((32, 32), spread).convert("RGB")
                    picture.save(server.folder / "pictures" / label / f"{number}.png")
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            lab = Lab(server, page)
            lab.watch()
            lab.visit()
            print("| what | median | worst | peer, median | ratio | target |\n|---|---|---|---|---|---|")
            for step, what in (("environment", "`%mb` is visible"), ("train", "`%mb_train` alone is visible")):
                ours, peers, count = visible(lab, step, args.repeats)
                row(f"{what} ({count} widgets)", ours, 500, "ms", peers)
            ours, peers = keystroke(lab, 2 * args.repeats)
            row("a letter in a name field is answered", ours, 100, "ms", peers)
            row("a metric is on the page", metric(lab, Path(folder)), 2, "s")
            cdp = page.context.new_cdp_session(page)
            print("\n| epoch | heap, MB | nodes |\n|---|---|---|")
            for epoch, heap, nodes in memory(lab, Path(folder), cdp, args.epochs, args.pace):
                print(f"| {epoch} | {heap:.1f} | {nodes:,} |")
            print(*lab.problems, sep="\n")
        finally:
            browser.close()
            stop_server(server)


if __name__ == "__main__":
    main()
