"""What the node finds before the program starts there: an environment that is not ours."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from mb_jupyter import training
from mb_jupyter.backends.azure import node, send
from mb_jupyter.errors import TrainingFailed
from tests.azure_shell import fails, run

from .cells import cell, the_run

BROUGHT = {"torch", "torchvision", "numpy"}  # by every environment with PyTorch
OPTIONAL = {"openvino", "mlflow"}  # used where they are


def test_all_that_the_program_imports_is_brought_or_installed() -> None:
    imported = set()
    for path in Path(training.__file__).parent.glob("*.py"):
        for found in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(found, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in found.names}
            elif isinstance(found, ast.ImportFrom) and not found.level:
                imported.add((found.module or "").split(".")[0])
    installed = {module for _, module in (*send.REQUIREMENTS, send.HEIC_READER)}
    assert imported - set(sys.stdlib_module_names) - OPTIONAL - BROUGHT - installed == set()
    assert all("==" in pinned for pinned, _ in send.REQUIREMENTS)


def test_what_cannot_be_installed_is_told_in_pips_words(azure, shell, monkeypatch):
    monkeypatch.setattr(send, "REQUIREMENTS", (("no-such-package==1.0", "no_such_package"),))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    error = fails(shell, cell(), "No matching distribution found for no-such-package==1.0", TrainingFailed)
    assert "could not install no-such-package==1.0" in error.cause and "PyPI" in error.fix
    assert "Could not find a version" in run(shell, "%mb_why")
    assert "node: installing no-such-package==1.0" in the_run(shell).logs()


def test_a_python_that_is_too_old_is_told(tmp_path):
    old = (
        "import runpy, sys\n"
        "sys.version_info, sys.version = (3, 9, 18, 'final', 0), '3.9.18 (main)'\n"
        f"sys.argv = ['node.py', '--output', {str(tmp_path)!r}, '--', 'python', '-c', 'pass']\n"
        f"runpy.run_path({node.__file__!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", old], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    told = json.loads((tmp_path / "status.json").read_text())
    assert told["error"]["cause"] == "The environment has Python 3.9.18; the program needs 3.10 or later."
    assert told["state"] == "failed" and "azure: {environment:" in told["error"]["fix"]


def test_features_that_took_long_are_there_on_the_next_node_and_gone_after_the_training(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for name, age in (("young.npy", 0), ("old.npy", 90)):
        path = here / node.CACHE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"features")
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    mirror = node.Mirror(here, there)
    mirror.update()
    assert [path.name for path in (there / node.CACHE).iterdir()] == ["old.npy"]

    look = f"import pathlib, sys; sys.exit(not (pathlib.Path(sys.argv[1]) / {node.CACHE!r} / 'old.npy').exists())"
    command = [sys.executable, node.__file__, "--output", there, "--", "python", "-c", look, "{output}"]
    own = {**os.environ, "AZUREML_RUN_ID": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (there / "ended.json").exists() and not (there / node.CACHE).exists()
