"""A real JupyterLab and a real headless Chromium.

One server, one browser and one page serve all tests of this folder and end with the last of them: while it runs,
playwright keeps an event loop in the main thread, where ``asyncio.run`` then fails. A test opens a notebook of its own
in that page through JupyterLab's command registry. A test fails when the page logged an error, when
the server answered 5xx, or when the page asked any host but this one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect, sync_playwright

from tests.demand import missing

TOKEN = "for-the-tests"
PATIENCE_MS = 60_000
SHOTS = Path(os.environ.get("BROWSER_SHOTS", Path(__file__).parents[2] / "shots"))

CHROMIUM_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip

#: JupyterLab itself: no toasts, no dialogs, and every cell in the page so that it can be found
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False, "renameUntitledFileOnSave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "scrollPastEnd": False},
}
DISABLED = ("@jupyterlab/debugger-extension", "@jupyterlab/apputils-extension:announcements",
            "@jupyterlab/extensionmanager-extension")  # fmt: skip
#: JupyterLab's own complaint when a kernel goes away under a notebook
NOISE = ("Canceled future for ",)


@dataclass
class Server:
    """A running JupyterLab: where it answers, the folder it serves, its process and its log."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(self.url + path, method=method, headers={"Authorization": f"token {TOKEN}"})
        # urlopen would go through whatever proxy the first request of this process went through
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def end_kernels(self) -> None:
        for session in self.ask("api/sessions"):
            with suppress(OSError):
                self.ask(f"api/sessions/{session['id']}", "DELETE")


def _environment(home: Path) -> dict[str, str]:
    private = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
               "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME")  # fmt: skip
    env = {name: v for name, v in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON", "MPLBACKEND"))}
    for name in private:
        folder = home / name.lower()
        folder.mkdir(parents=True, exist_ok=True)
        env[name] = str(folder)
    labconfig = home / "jupyter_config_dir" / "labconfig"
    labconfig.mkdir()
    (labconfig / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    (labconfig / "page_config.json").write_text(json.dumps({"disabledExtensions": dict.fromkeys(DISABLED, True)}))
    return env


def start_server(home: Path, application: str = "jupyterlab") -> Server:
    """Start JupyterLab, or another application with the same front end: ``notebook``."""
    folder = home / "notebooks"
    folder.mkdir(parents=True)
    log = home / "server.log"
    command = (
        sys.executable, "-m", application, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
        "--ServerApp.terminals_enabled=False", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
    )  # fmt: skip
    env = _environment(home)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    info = Path(env["JUPYTER_RUNTIME_DIR"]) / f"jpserver-{process.pid}.json"
    server = Server("", folder, process, log)
    deadline = time.monotonic() + 2 * PATIENCE_MS / 1000
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, ValueError, KeyError):  # not written, half written, or not listening yet
            server.url = json.loads(info.read_text())["url"]
            server.ask("api/status")
            return server
        time.sleep(0.1)
    stop_server(server)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def stop_server(server: Server) -> None:
    with suppress(OSError, ValueError):
        server.end_kernels()
        server.ask("api/shutdown", "POST")
    for end in (None, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            if end is not None:
                os.killpg(server.process.pid, end)
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(10)
            return


@dataclass
class Lab:
    """One page of JupyterLab, and what a person does in it."""

    server: Server
    page: Page
    problems: list[str] = field(default_factory=list)
    leftovers: set[str] = field(default_factory=set)

    def leaves(self, *names: str) -> None:
        """Name folders beside the notebook to be removed after the test, when no kernel can write them again."""
        self.leftovers.update(names)

    def js(self, body: str, argument: object = None, timeout_ms: int = PATIENCE_MS) -> Any:
        """Run the body of an async function with ``app`` and ``argument``; never wait for ever on a dialog."""
        return self.page.evaluate(
            """([body, argument, ms]) => {
                const AsyncFunction = (async () => {}).constructor;
                const late = new Promise((_, fail) => setTimeout(() => fail(new Error(
                    `no answer in ${ms} ms: ${body} ${document.querySelector('.jp-Dialog')?.innerText ?? ''}`)), ms));
                return Promise.race([new AsyncFunction('app', 'argument', body)(window.jupyterapp, argument), late]);
            }""",
            [body, argument, timeout_ms],
        )

    def visit(self, path: str = "lab?reset") -> None:
        self.page.goto(f"{self.server.url}{path}{'&' if '?' in path else '?'}token={TOKEN}")
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_function("() => !!window.jupyterapp", timeout=PATIENCE_MS)
        self.js("await app.restored")

    def notebook(self, name: str, *cells: str) -> Path:
        """Write a notebook and open it, with its kernel idle."""
        path = self.write(name, *cells)
        self.open(name)
        return path

    def write(self, name: str, *cells: str) -> Path:
        """Write a notebook."""
        path = self.server.folder / name
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, path)
        return path

    def open(self, name: str) -> None:
        self.js("await app.commands.execute('docmanager:open', {path: argument, factory: 'Notebook'})", name)
        self.page.locator(".jp-NotebookPanel:visible .jp-Notebook").wait_for()
        self.idle()

    def idle(self, timeout_ms: int = PATIENCE_MS) -> None:
        self.page.wait_for_function(
            """() => {
                const kernel = window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel;
                const prompts = [...document.querySelectorAll('.jp-InputPrompt')];
                const waiting = prompts.some(prompt => prompt.textContent.includes('*'));
                return kernel?.connectionStatus === 'connected' && kernel.status === 'idle' && !waiting;
            }""",
            timeout=timeout_ms, polling=100,
        )  # fmt: skip

    def start(self, index: int) -> None:
        """Run a cell without waiting for its end."""
        self.choose(index)
        self.js("void app.commands.execute('notebook:run-cell')")

    def choose(self, index: int) -> None:
        self.js(
            "const book = app.shell.currentWidget.content; book.activeCellIndex = argument; book.deselectAll()", index
        )

    def executed(self, index: int) -> None:
        """Wait until a cell that had not run before has run."""
        prompt = self.page.locator(".jp-NotebookPanel:visible .jp-Cell").nth(index).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"))
        self.idle()

    def still(self) -> None:
        """Wait until nothing moves or changes its shade any more."""
        self.js(
            """const moving = () => document.getAnimations().filter(each => each.playState === 'running'
                    && Number.isFinite(each.effect.getComputedTiming().endTime));
                for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
                while (moving().length) await Promise.allSettled(moving().map(each => each.finished));"""
        )

    def run(self, index: int, timeout_ms: int = PATIENCE_MS, *, fails: bool = False) -> None:
        self.choose(index)
        self.js("await app.commands.execute('notebook:run-cell')", timeout_ms=timeout_ms)
        self.idle(timeout_ms)
        if not fails:
            self.no_errors()

    def run_all(self, timeout_ms: int = PATIENCE_MS) -> None:
        self.js("await app.commands.execute('notebook:run-all-cells')", timeout_ms=timeout_ms)
        self.idle(timeout_ms)
        self.no_errors()

    def outputs(self) -> list[list[dict[str, Any]]]:
        model = "window.jupyterapp.shell.currentWidget.content.model.toJSON()"
        return list(self.page.evaluate(f"() => {model}.cells.map(cell => cell.outputs ?? [])"))

    def no_errors(self) -> None:
        for index, outputs in enumerate(self.outputs()):
            for output in outputs:
                assert output["output_type"] != "error", f"cell {index}: " + "\n".join(output["traceback"])
        # one of the panel's is there, but hidden behind its summary
        assert self.page.locator(":text('Error displaying widget'):visible").count() == 0

    def output(self, index: int) -> Any:
        return self.page.locator(".jp-NotebookPanel:visible .jp-Cell").nth(index).locator(".jp-Cell-outputWrapper")

    def interrupt(self) -> None:
        """Press the notebook's Stop button."""
        self.js("await app.commands.execute('notebook:interrupt-kernel')")

    def restart(self) -> None:
        self.js("await app.shell.currentWidget.context.sessionContext.session.kernel.restart()")
        self.idle()

    def save(self) -> None:
        self.js("await app.commands.execute('docmanager:save')")

    def close(self) -> None:
        self.js(
            """for (const widget of [...app.shell.widgets('main')]) {
                if (!widget.context) continue;
                await widget.context.sessionContext.shutdown().catch(() => null);
                if (widget.context.model) widget.context.model.dirty = false;
                widget.close(); widget.dispose();
            }"""
        )

    def screenshot(self, name: str) -> Path:
        """Take a picture of the whole notebook: the window grows until nothing is scrolled away."""
        SHOTS.mkdir(exist_ok=True)
        window = self.page.viewport_size or {"width": 1200, "height": 900}
        hidden = self.page.evaluate(
            """() => {
                const outer = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer');
                return outer ? outer.scrollHeight - outer.clientHeight : 0;
            }"""
        )
        self.page.set_viewport_size({"width": window["width"], "height": window["height"] + hidden + 10})
        try:
            path = SHOTS / f"{name}.png"
            self.page.screenshot(path=path, animations="disabled")
            return path
        finally:
            self.page.set_viewport_size({"width": window["width"], "height": window["height"]})

    def watch(self) -> None:
        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error" and not message.text.startswith(NOISE):
                self.problems.append(f"console: {message.text}")

        def on_request(request: Request) -> None:
            url = urlsplit(request.url)
            if url.scheme in ("http", "https", "ws", "wss") and url.hostname not in (
                "127.0.0.1",
                "localhost",
            ):
                self.problems.append(f"asked another host: {request.url}")

        def on_response(response: Response) -> None:
            if response.status >= 500:
                self.problems.append(f"{response.status} from {response.url}")

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"page: {error}"))
        self.page.on("request", on_request)
        self.page.on("response", on_response)
        self.page.on("dialog", lambda dialog: dialog.accept())


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("lab"))
    yield running
    stop_server(running)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        missing("no Chromium on this machine: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def shared_page(server: Server, browser: Browser) -> Iterator[Lab]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = Lab(server, context.new_page())
    page.watch()
    page.visit()
    yield page
    context.close()


@pytest.fixture
def lab(shared_page: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    shared_page.problems.clear()
    failures = request.session.testsfailed
    yield shared_page
    if request.session.testsfailed > failures:
        name = re.sub(r"\W+", "-", request.node.name)
        with suppress(Exception):
            shared_page.screenshot(f"failed-{name}")
    try:
        assert not shared_page.problems, "the page reported:\n" + "\n".join(shared_page.problems)
    finally:
        shared_page.close()
        shared_page.server.end_kernels()
        for leftover in shared_page.leftovers:
            shutil.rmtree(shared_page.server.folder / leftover, ignore_errors=True)
        shared_page.leftovers.clear()
