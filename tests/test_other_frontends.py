"""Front ends and systems that are not at hand: Colab's IPython, VS Code's page, a server elsewhere, Windows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

import mb_jupyter
from mb_jupyter.backends import Job, RunState
from mb_jupyter.backends.local import LocalBackend
from mb_jupyter.errors import PredictionError
from mb_jupyter.panels import style
from mb_jupyter.panels.data import Data
from mb_jupyter.panels.state import State
from mb_jupyter.panels.uploads import keep
from mb_jupyter.training import processes
from tests.panel_widgets import alerted, named, press, until, widgets
from tests.tiny_model import write_model

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "jupyter-config" / "kernels" / "mb_jupyter"

#: what IPython 7.34, which Colab has, does not know
OLD_IPYTHON = """
from IPython.core import completer

for name in ("CompletionContext", "SimpleCompletion", "SimpleMatcherResult", "context_matcher"):
    delattr(completer, name)
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
del shell.Completer.custom_matchers
for cell in ("%load_ext mb_jupyter", "%mb_runs", "%unload_ext mb_jupyter", "%load_ext mb_jupyter", "%mb_runs"):
    shell.run_cell(cell).raise_error()
"""


def test_an_ipython_without_matchers_has_the_magics_without_completion(tmp_path: Path) -> None:
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", OLD_IPYTHON], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 runs") == 2


def test_every_colour_and_font_of_jupyterlab_has_one_for_vs_code_and_a_plain_one() -> None:
    found = []
    for path in Path(mb_jupyter.__file__).parent.rglob("*.py"):
        for use in re.finditer(r"var\(--jp-[\w-]+(.{0,100})", path.read_text(encoding="utf-8")):
            found.append(use[0])
            assert re.match(r",var\(--vscode-[\w-]+,[^()]+\)\)", use[1]), f"{path.name}: {use[0]}"
    assert len(found) >= 3


def test_a_summary_is_hidden_by_jupyterlab_only() -> None:
    """VS Code and GitHub show no widgets of a notebook that is opened again: there the summary has to be seen."""
    rules = re.findall(r"([^{}>]+(?:>[^{}]+)?)\{display:none\}", style.SUMMARY.removeprefix("<style>"))
    assert rules
    for selector in (one.strip() for rule in rules for one in rule.split(",")):
        assert selector.startswith((".jp-OutputArea", ".mb-panel.jupyter-widgets-disconnected")), selector


def test_where_uploads_are_not_delivered_the_path_is_there_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    step = Data(State(tmp_path / "panel.json"))
    fields = {getattr(each, "description", ""): each for each in widgets(step.widget, hidden=False)}
    assert fields["Folder or CSV file"].layout.display != "none"
    named(step, "Class").value = "tulips"
    press(step, "Add to the class")
    until(lambda: alerted(step))
    assert "VS Code" in alerted(step) and "my_pictures" in alerted(step) and "tulips" in alerted(step)


@pytest.mark.parametrize(("label", "reason"), [("con", "reserved"), ("Tulips", "differs only in capitals")])
def test_a_class_that_windows_cannot_keep_apart_is_refused_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers" / "tulips").mkdir(parents=True)
    step = Data(State(tmp_path / "panel.json"))
    named(step, "Folder or CSV file").value = "flowers"
    named(step, "Class").value = label
    named(step, "Choose pictures").value = ({"name": "a.png", "type": "", "size": 1, "content": b"x",
                                             "last_modified": datetime.now(UTC)},)  # fmt: skip
    press(step, "Add to the class")
    until(lambda: alerted(step))
    assert reason in alerted(step)
    assert [path.name for path in (tmp_path / "flowers").iterdir()] == ["tulips"]


@pytest.mark.parametrize("name", ["con.csv", "AUX.csv", "nul.csv", "com1.csv", "LPT9.old.csv"])
def test_files_that_windows_takes_for_devices_are_written_nowhere(tmp_path: Path, name: str) -> None:
    model = mb_jupyter.load(write_model(tmp_path))
    with pytest.raises(PredictionError, match="reserved name on Windows"):
        model.predict_to(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    kept = keep([{"name": name, "content": b"x"}], tmp_path / "class")
    assert [path.name for path in kept] == [f"image-{name}"]


@pytest.mark.parametrize("has_python", [True, False])
def test_the_tile_starts_the_python_of_its_own_environment(tmp_path: Path, has_python: bool) -> None:
    """Jupyter starts "python" of a kernelspec with its server's Python: here that of the tests."""
    other = tmp_path / "environment"
    if has_python:
        venv.create(other, symlinks=os.name != "nt")
    spec = other / "share" / "jupyter" / "kernels" / "mb_jupyter"
    shutil.copytree(SPEC, spec)
    manager = KernelManager(kernel_name="mb_jupyter")
    manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[str(spec.parent)])
    packages = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
    manager.start_kernel(
        cwd=str(tmp_path), env={**os.environ, "PYTHONPATH": packages, "IPYTHONDIR": str(tmp_path / "ipython")}
    )
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=300)
        told: list[str] = []
        client.execute_interactive(
            "import sys; print(sys.prefix)\n%mb_runs",
            output_hook=lambda message: told.append(str(message["content"])), timeout=300,
        )  # fmt: skip
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    expected = os.path.realpath(other if has_python else sys.prefix)
    assert any(expected in line for line in told), told
    assert any("0 runs" in line for line in told), "the magics are loaded"


def test_several_processes_on_windows_talk_without_libuv_and_nccl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch has neither there. What torchrun is given is really run, on this system."""
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert processes.transport(cuda=True) == processes.transport(cuda=False) == "gloo"
    code = tmp_path / "program" / "tenlines"
    code.mkdir(parents=True)
    (code / "__main__.py").write_text(
        "import os, pathlib, sys, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "told = [None, None]\n"
        "dist.all_gather_object(told, os.environ['USE_LIBUV'])\n"
        '(pathlib.Path(sys.argv[1]) / f"rank{dist.get_rank()}").write_text(repr(told))\n'
        "dist.destroy_process_group()\n"
    )
    folder = tmp_path / "run"
    folder.mkdir()
    backend = LocalBackend()
    backend.submit(Job("two", ("python", "-m", "tenlines", "{output}"), code, processes=2), folder)
    until(lambda: backend.status(folder).state.is_terminal, seconds=120)
    assert backend.status(folder).state is RunState.COMPLETED, backend.log(folder)
    assert [(folder / f"rank{rank}").read_text() for rank in (0, 1)] == ["['0', '0']"] * 2


def test_elsewhere_gpus_talk_through_nccl() -> None:
    assert processes.transport(cuda=True) == "cpu:gloo,cuda:nccl"
