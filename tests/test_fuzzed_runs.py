"""Runs whose files were edited, torn, written by another program or by another version.

Every command and every step of the panel has an answer or an error in plain words, and one such run never hides the
others.
"""

from __future__ import annotations

import functools
import html
import importlib
import json
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mb_jupyter.errors import MBError
from mb_jupyter.panels import STEPS
from mb_jupyter.panels.parts import close
from mb_jupyter.panels.state import State
from mb_jupyter.run import Run
from tests.finished_run import write_run
from tests.magic_shell import open_shell
from tests.standin import move_in

CHUNKS = 10

pytestmark = pytest.mark.timeout(900)  # what takes a minute takes ten where the machine has other work
ROUNDS = int(os.environ.get("MB_FUZZ_ROUNDS", "3"))  # of each; 30 make the 300 folders that are promised
FILES = ("run.json", "status.json", "exit.json", "process.json", "metrics.jsonl", "report.json", "reproducibility.json",
         "split.csv", "predictions.csv", "config.json", "bestModelMap.json", "failed.json")  # fmt: skip
JUNK: tuple[Any, ...] = (None, 5, -1, 2**70, 1e308, float("nan"), True, "", "x", "\ud800", "=cmd()", [], {}, [[]])
Ways: TypeAlias = Iterator[tuple[str, Callable[[], object]]]  # what is damaged, and how
#: file -> shapes that once were raw exceptions; each replaces the whole content
SHAPES = (
    ("exit.json", "{}"), ("exit.json", '{"returncode": "0"}'), ("exit.json", "[]"), ("exit.json", ""),
    ("process.json", '{"pid": -1}'), ("process.json", '{"pid": "x"}'), ("process.json", "7"),
    ("status.json", '{"stages": 5}'), ("status.json", '{"state": 5, "stages": [5]}'), ("status.json", "null"),
    ("status.json", '{"state": "completed", "stages": [{"seconds": "x"}]}'),
    ("status.json", '{"state": "running", "done": "x", "total": {}, "fraction": "y", "started": "z", "updated": []}'),
    ("status.json", '{"state": "failed", "error": 5}'), ("status.json", '{"state": "failed", "error": {"cause": 5}}'),
    ("metrics.jsonl", '{"event": "epoch", "epoch": 1, "seconds": "x"}\n'), ("metrics.jsonl", "[" * 100_000 + "\n"),
    ("metrics.jsonl", '{"event": 5}\n{"event": "stage"}\n{"event": "epoch", "epoch": "x", "phase": 7}\n'),
    ("metrics.jsonl", '{"event": "start", "pictures": 5, "classes": 5}\n{"event": "plan", "epochs": "x"}\n'),
    ("metrics.jsonl", '{"event": "result", "test_accuracy": "x", "agreement": "y", "largest_difference": []}\n'),
    ("run.json", "{}"), ("run.json", "[]"), ("run.json", "x"), ("run.json", "[" * 100_000),
    ("report.json", '{"test_accuracy": "x"}'), ("report.json", '{"variants": 5}'), ("report.json", '{"variants": [5]}'),
    ("report.json", '{"variants": [{"name": 5, "bytes": "x"}], "recommended_variant": [], "verification": 5}'),
    ("report.json", '{"temperature": "x", "calibration": 5, "neighbours": [], "choices_from": 7}'),
    ("report.json", '{"calibration": {"kept": "x", "temperature": [], "images": "y"}}'),
    ("report.json", '{"neighbours": {"threshold": "x"}}'), ("report.json", '{"architecture": 5, "best_phase": {}}'),
    ("reproducibility.json", '{"counts": 5, "versions": [], "hardware": "x", "notes": 7}'),
    ("reproducibility.json", '{"versions": {"torch": 5}, "hardware": {"gpus": 5}}'),
    ("split.csv", ""), ("split.csv", "a,b\n1,2\n"), ("split.csv", "\x00\x00"), ("predictions.csv", ""),
    ("predictions.csv", "ImageSource,Label,Prediction,Score.a\nx,a,b,c\n"), ("learning_curve.csv", "x,y\n1,2\n"),
    ("neighbours.csv", "x,y\n1,2\n"), ("out_of_fold.csv", "x,y\n1,2\n"), ("baselines.csv", "x\n"),
    ("validation.csv", "x\n"),
    ("config.json", "5"), ("bestModelMap.json", "5"),
)  # fmt: skip
#: key of run.json -> what it is replaced by
OTHER_RUNS: tuple[tuple[str, Any], ...] = (
    ("backend", "nowhere"), ("backend", 5), ("config", None), ("config", []), ("handle", 5), ("handle", "x"),
    ("experiment", None), ("id", 7), ("created", 5), ("classes", 5), ("counts", {"a": "x"}), ("azure", 5),
    ("data", {}), ("root", 5), ("check_seconds", "x"), ("left_out", "many"), ("fingerprint", []),
)  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    move_in(tmp_path, monkeypatch)
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "mb_workspace"))
    with open_shell(tmp_path, monkeypatch) as shell:
        yield shell


@pytest.fixture
def finished(shell: InteractiveShell, tmp_path: Path) -> Run:
    """Return a completed run beside which a whole one stands, which must always be there."""
    run = write_run(tmp_path, each=4)
    shutil.copytree(run.folder, tmp_path / "whole", copy_function=shutil.copyfile)
    other = run.folder.parent.parent / "other" / "20261122-101502-ab12"
    shutil.copytree(run.folder, other)
    record = json.loads((other / "run.json").read_text())
    record |= {"handle": f"local://other/{other.name}", "experiment": "other"}
    (other / "run.json").write_text(json.dumps(record))
    (other.parent / "experiment.json").write_text("{}")
    return run


def ask_everything(shell: InteractiveShell, run: Run, image: Path) -> None:
    """Run every command on a run; each answers or fails in plain words, and the whole run stays in the list."""
    handle = f"local://{run.folder.parent.name}/{run.folder.name}"
    commands = ("mb_runs", f"mb_why {handle}", f"mb_attach --no-wait {handle}", f"mb_evaluate {handle}",
                f"mb_compare {handle} local://other/20261122-101502-ab12", f"mb_predict {image} --run {handle}",
                f"mb_explain {image} --run {handle}", f"mb_predict {image} --run {handle} --to out/scores.csv",
                f"mb_export {handle} --to out --with api", f"mb_stop {handle}", f"mb_cancel {handle}",
                "mb_experiment")  # fmt: skip
    for line in commands:
        name, _, rest = line.partition(" ")
        with capture_output() as captured:
            try:
                shown = shell.run_line_magic(name, rest)
                said = "" if shown is None else shown._repr_mimebundle_()["text/plain"]
            except (MBError, UsageError) as error:
                said = str(error)
        said += captured.stdout + "".join(output.data.get("text/plain", "") for output in captured.outputs)
        said.encode("utf-8", "surrogateescape")
        if name == "mb_runs":
            assert "other" in said and "completed" in said, "one damaged run hides the others"


def open_panel(run: Run, image: Path) -> tuple[Callable[[], None], list[str]]:
    """Open every step of the panel on a run, and every look into its report; return what closes it, and its bugs."""
    handle = f"local://{run.folder.parent.name}/{run.folder.name}"
    state = State(run.folder.parent.parent / "panel.json")
    state.choose(run=handle, training=handle, data="colours", picture=str(image), tab="Classes")
    steps: dict[str, Any] = {}
    for name, where in STEPS.items():
        module, _, kind = where.partition(":")
        step = steps[name] = getattr(importlib.import_module(module), kind)(state)
        assert step.widget is not None
        step.refresh()
        wait_for(lambda: at_rest(steps))
    for tab in ("Confusions", "Mistakes", "Threshold", "Try it"):
        state.tab = tab
        wait_for(lambda: at_rest(steps))
    for step in steps.values():
        step.refresh()
        with suppress(MBError):  # the frame shows it in the summary's place
            step.summary().text.encode("utf-8", "surrogateescape")
    wait_for(lambda: at_rest(steps))

    def end() -> None:
        wait_for(lambda: not working())
        for step in steps.values():
            close(step.widget)

    lists = (steps["evaluate"].choice.widget, steps["train"]._one, steps["consume"].choice.widget)
    assert all("local://other/" in str(each.options) for each in lists), "one damaged run hides the others"
    pages = {name: html.unescape(step.problem._page.value) for name, step in steps.items()}
    return end, [f"{name}: {page}" for name, page in pages.items() if "This is a bug" in page]


def wait_for(true: Callable[[], bool]) -> None:
    """Wait for as long as it takes; the test has its own time limit."""
    while not true():
        time.sleep(0.02)


def working() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "mb panel"]


def at_rest(steps: dict[str, Any]) -> bool:
    """Tell whether the panel does nothing any more, or only follows a run that seems to go on, and its log."""
    follows = "train" in steps and steps["train"]._goes_on
    return len(working()) <= (2 if follows else 0)


def restore(run: Run, whole: Path) -> None:
    shutil.rmtree(run.folder)
    shutil.copytree(whole, run.folder)


def each_way(shell: InteractiveShell, run: Run, tmp_path: Path, ways: Ways) -> None:
    whole, image = tmp_path / "whole", next((tmp_path / "colours").rglob("*.png"))
    failed: list[str] = []
    for what, damage in ways:
        damage()
        end: Callable[[], object] = failed.copy
        bugs: list[str] = []
        try:
            ask_everything(shell, run, image)
            end, bugs = open_panel(run, image)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            failed.append(f"{what}: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")
        failed += [f"{what}: the panel's step {bug}" for bug in bugs]
        restore(run, whole)
        end()
    assert not failed, "\n".join(failed)


def mutate(value: Any, random: np.random.Generator) -> Any:
    """Return a JSON value in which one value, anywhere, is another."""
    junk = JUNK[random.integers(len(JUNK))]
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = list(value)[random.integers(len(value))]
        if random.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: mutate(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.integers(len(value))
        return [*value[:at], mutate(value[at], random), *value[at + 1 :]]
    return junk


def damage(path: Path, random: np.random.Generator) -> None:
    """Change a file: another value, a torn end, bytes that are no text."""
    if not path.exists() or random.random() < 0.1:
        path.write_bytes(bytes(random.integers(0, 256, 40, np.uint8)))
        return
    content = path.read_bytes()
    if random.random() < 0.2:
        path.write_bytes(content[: random.integers(len(content) + 1)])
    elif path.suffix == ".json":
        path.write_text(json.dumps(mutate(json.loads(content), random)))
    else:
        lines = content.decode().splitlines(keepends=True)
        at = int(random.integers(len(lines)))
        cells = lines[at].split(",")
        cells[random.integers(len(cells))] = str(JUNK[random.integers(len(JUNK))]).encode("utf-8", "replace").decode()
        path.write_text("".join([*lines[:at], ",".join(cells), *lines[at + 1 :]]))


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_folders_that_chance_has_damaged(shell, finished, tmp_path, seed):
    random = np.random.default_rng(seed)
    epoch = {"event": "epoch", "phase": "finetune", "epoch": 1, "train_loss": 0.5, "validation_loss": 0.4,
             "validation_accuracy": 0.8, "seconds": 2.0, "best": True, "batch_size": 32}  # fmt: skip
    for folder in (finished.folder, tmp_path / "whole"):
        epochs = ({**epoch, "epoch": 0, "phase": "features"}, epoch)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in epochs))

    def ways() -> Ways:
        for number in range(ROUNDS):
            name = FILES[random.integers(len(FILES))]
            yield f"{number} {name}", functools.partial(damage, finished.folder / name, random)

    each_way(shell, finished, tmp_path, ways())


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_shapes_that_are_known(shell, finished, tmp_path, chunk):
    record = json.loads((finished.folder / "run.json").read_text())
    others = [("run.json", json.dumps({**record, key: value})) for key, value in OTHER_RUNS]

    def ways() -> Ways:
        for name, content in (*SHAPES, *others)[chunk::CHUNKS]:
            yield f"{name} {content[:300]}", functools.partial((finished.folder / name).write_text, content)

    each_way(shell, finished, tmp_path, ways())
