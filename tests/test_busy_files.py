"""A system that refuses to rename now and then, as Windows does while somebody has a file open: nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mb_jupyter.backends import RunState
from mb_jupyter.backends.local import LocalBackend
from mb_jupyter.training import disk
from tests.picture_files import folder_of

#: imported by every Python that finds it: the kernel's, the supervisor's and the training program's
REFUSES = """
import errno, os, sys

calls = 0


def refusing(act):
    def refused(source, target, **more):
        global calls
        calls += 1
        if calls % int(os.environ["REFUSE_EVERY"]) == 0:
            with open(os.environ["REFUSED"], "a", encoding="utf-8") as file:
                file.write(f"{sys.argv[0]}: {target}\\n")
            raise PermissionError(errno.EACCES, "Access is denied", source, None, target)
        return act(source, target, **more)

    return refused


os.replace, os.rename = refusing(os.replace), refusing(os.rename)
"""

#: the main job through its magics; the names are none that code page 1252 knows
CELLS = """
import pathlib, sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
for cell in (
    "%load_ext mb_jupyter",
    "%%mb_train woods -o run\\ndata: flowers\\nrecipe: features\\narchitecture: efficientnet_lite0\\nimage_size: 64",
    "%mb_predict flowers --to answers.csv",
    "%mb_export --to out",
    "%mb_export --to out",
    "before = sorted(path.name for path in run.folder.iterdir())",
    "state = str(run.state)",
    "%mb_experiment delete woods -y",
):
    shell.run_cell(cell).raise_error()
names = shell.user_ns
print("AT THE END", names["state"], *names["before"], sep="|")
print("LEFT", "", *pathlib.Path("kept").iterdir(), sep="|")
"""


def run_cells(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the cells in a process of their own that refuses every second rename, and give it to its children."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(REFUSES)
    folder_of(folder / "flowers", {"장미": 12, "tulip": 12})
    path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    env = {
        **os.environ, "PYTHONPATH": path, "REFUSE_EVERY": "2", "REFUSED": str(folder / "refused.txt"),
        "MB_WORKSPACE": str(folder / "kept"), "XDG_CACHE_HOME": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"), "MPLCONFIGDIR": str(folder / "matplotlib"), **environment,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", CELLS], cwd=folder, env=env, capture_output=True, encoding="utf-8", errors="replace"
    )


def test_a_training_survives_every_second_rename_refused_in_code_page_1252(tmp_path: Path) -> None:
    done = run_cells(tmp_path, PYTHONUTF8="0", PYTHONIOENCODING="cp1252:backslashreplace")
    assert done.returncode == 0, done.stdout + done.stderr
    told = {line.split("|")[0]: line.split("|")[1:] for line in done.stdout.splitlines() if "|" in line}
    state, *files = told["AT THE END"]
    assert state == "completed", done.stdout + done.stderr
    assert {"exit.json", "status.json", "metrics.jsonl", "MLModel.zip", "predictions.csv", "report.json"} <= {*files}
    assert not [name for name in [*files, *told["LEFT"]] if name.startswith(".") or ".deleted" in name]
    assert (tmp_path / "answers.csv").is_file() and (tmp_path / "out" / "WoodsModel").is_dir()
    assert not [path for path in tmp_path.rglob("*.part") if "site" not in path.parts]
    refused = (tmp_path / "refused.txt").read_text(encoding="utf-8")
    for program in ("-c: ", "supervise.py: ", "__main__.py: "):
        assert program in refused, f"this test has refused nothing of {program}"


def busy(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let the next renames be refused so many times; return the list that counts them."""
    real, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(1)
        if len(calls) <= times:
            raise PermissionError(13, "Access is denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return calls


def test_a_refused_read_is_no_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a file is replaced, Windows may refuse to open it: a run that is complete must not look gone."""
    files = {"run.json": {}, "process.json": {"pid": 1}, "owner.lock": {}, "exit.json": {"returncode": 0},
             "status.json": {"state": "completed", "stage": "verify"}}  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    real, calls = Path.read_bytes, Counter[str]()

    def read_bytes(self: Path) -> bytes:
        calls[self.name] += 1
        if calls[self.name] % 2:
            raise PermissionError(13, "Access is denied")
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr("platform.system", lambda: "Windows")
    for _ in range(4):
        status = LocalBackend().status(tmp_path)
        assert (status.state, status.stage) == (RunState.COMPLETED, "verify")


def test_who_waits_long_enough_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = busy(monkeypatch, len(disk.PAUSES))
    disk.swap(tmp_path / "x", b"new", durable=True)
    assert len(calls) == len(disk.PAUSES) + 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"new")]


def test_what_stays_refused_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"old")
    busy(monkeypatch, 1000)
    with pytest.raises(PermissionError) as caught:
        disk.swap(tmp_path / "x", b"new")
    assert caught.value.filename == str(tmp_path / "x"), "whoever says it can name the file"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]


def test_what_patience_cannot_mend_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = busy(monkeypatch, 0)
    with pytest.raises(FileNotFoundError):
        disk.rename(tmp_path / "not there", tmp_path / "x")
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["a" * 255, "장" * 85, ".x", "x"])
def test_a_name_of_any_length_can_be_written(tmp_path: Path, name: str) -> None:
    disk.swap(tmp_path / name, b"content")
    assert (tmp_path / name).read_bytes() == b"content"
