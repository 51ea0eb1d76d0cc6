"""From a configuration to a run, with a stand-in for the training program."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest

import mb_jupyter
from mb_jupyter import Dataset
from mb_jupyter.backends import RunState
from mb_jupyter.config import TrainConfig, resolve
from mb_jupyter.errors import ConfigError, DataError, MBError, TrainingFailed
from mb_jupyter.experiment import Experiment, program_version
from mb_jupyter.run import Run
from mb_jupyter.training.manifest import Picture
from mb_jupyter.workspace import Workspace
from tests.standin import PROGRAM, move_in, write_pictures


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    move_in(tmp_path, monkeypatch)
    write_pictures(tmp_path / "trees")
    return tmp_path


def config(**settings: Any) -> TrainConfig:
    return resolve({"data": "trees", "epochs": 2, **settings}).config


def start(fresh: bool = False, **settings: Any) -> Run:
    return Experiment.local("trees").start(config(**settings), fresh=fresh)


def test_a_run_leaves_plain_files_that_explain_it(place):
    run = start(min_accuracy=0.5).wait()
    assert run.state is RunState.COMPLETED
    assert run.folder.parent == place / "kept/trees"
    record = json.loads((run.folder / "run.json").read_text())
    assert record["handle"] == run.handle == f"local://trees/{run.id}"
    assert record["classes"] == ["birch", "oak", "pine"]
    assert record["counts"] == {"birch": 10, "oak": 10, "pine": 10}
    assert record["config"]["epochs"] == 2
    assert record["left_out"] == 0
    settings = json.loads((run.folder / "config.json").read_text())
    assert settings["min_accuracy"] == 0.5
    assert settings["run"] == run.handle
    assert settings["fingerprint"] == record["fingerprint"]
    assert not {"data", "experiment", "backend", "processes"} & set(settings)
    assert (run.folder / "split.csv").read_text().startswith("ImageSource,Label,Split,Sha256,Group")
    assert (run.folder / "code/training/__main__.py").exists()
    assert Workspace.local().experiments() == ["trees"]


def test_nothing_is_left_out_silently(place):
    (place / "trees/oak/broken.png").write_bytes(b"\x89PNG no picture")
    shown = start().wait()._repr_mimebundle_()["text/plain"]
    assert "Data: 30 pictures in 3 classes" in shown
    assert "; 1 file is left out: %mb_data says which and why" in shown


def test_two_trainings_at_once(place):
    both = [start(seed=1), start(seed=2)]
    assert [run.wait(120).state for run in both] == ["completed", "completed"]
    assert both[0].folder != both[1].folder


def test_the_same_again_finds_the_run(place):
    run = start().wait()
    again = start()
    assert again.handle == run.handle
    assert "Found the identical run of" in again.notes[0] and "--fresh trains again" in again.notes[0]
    # the data may have moved: its content counts
    (place / "trees").rename(place / "moved")
    assert start(data="moved").handle == run.handle
    assert len(mb_jupyter.runs()) == 1


def test_anything_that_matters_makes_another_run(place, monkeypatch):
    first = start().wait()
    other = [start(seed=1), start(epochs=3), start(fresh=True)]
    (place / "trees/oak/9.png").unlink()
    other.append(start())
    monkeypatch.setattr("mb_jupyter.experiment.program_version", lambda: "another program")
    other.append(start())
    assert len({run.handle for run in [first, *other]}) == 6
    assert not any(run.notes for run in other)
    for run in other:
        run.wait()


def test_one_that_goes_on_is_found(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    run = start()
    again = start()
    assert again.handle == run.handle
    assert "no second one was started" in again.notes[0]
    assert again.stop() is again
    assert run.wait(120).state is RunState.STOPPED
    assert "stopped" in start().notes[0]


STARTS = """
import pathlib, sys
import mb_jupyter.experiment as experiment
from concurrent.futures import ThreadPoolExecutor
from mb_jupyter.config import resolve
experiment.PROGRAM = pathlib.Path(sys.argv[1])
config = resolve({"data": "trees", "epochs": 2}).config
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(5) as threads:
    runs = list(threads.map(lambda _: experiment.Experiment.local("trees").start(config), range(5)))
print(sum(run.begun_here for run in runs), *{run.handle for run in runs})
"""


def start_twenty_times_at_once() -> list[list[str]]:
    """Return of each of four processes how many of its five starts began something, and the handles they returned."""
    command = (sys.executable, "-c", STARTS, str(PROGRAM))
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    said = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate()
        said.append(out.split())
    return said


def test_of_twenty_starts_at_once_one_trains_and_the_others_find_it(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    new = start_twenty_times_at_once()
    run = mb_jupyter.runs()[0]
    while run.state is RunState.STARTING:
        time.sleep(0.02)
    psutil.Process(json.loads((run.folder / "status.json").read_text())["pid"]).kill()
    with pytest.raises(TrainingFailed):
        run.wait(120)
    failed = start_twenty_times_at_once()
    assert run.stop().wait(120).state is RunState.STOPPED
    stopped = start_twenty_times_at_once()
    assert len(mb_jupyter.runs()) == 1
    assert [sum(int(began) for began, *_ in starts) for starts in (new, failed, stopped)] == [1, 1, 0]
    assert {handle for starts in (new, failed, stopped) for _, *handles in starts for handle in handles} == {run.handle}


def test_a_canceled_one_is_not_found(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "slow")
    run = start()
    run.cancel()
    assert run.state is RunState.CANCELED
    with pytest.raises(TrainingFailed, match="was cancelled"):
        run.wait()
    monkeypatch.delenv("STANDIN")
    assert start().wait().handle != run.handle


def test_a_killed_one_goes_on_in_its_folder(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "die")
    run = start()
    with pytest.raises(TrainingFailed, match="probably because the memory ran out") as caught:
        run.wait(120)
    assert "`batch_size: 32`" in caught.value.fix  # the half of what the program said it uses
    assert "Close other programs" in caught.value.alternative
    assert (
        str(run.folder.relative_to(place) / "log.txt") in caught.value.details and "stage epoch" in caught.value.details
    )
    again = start()
    assert again.handle == run.handle
    assert "resumed from its checkpoint" in again.notes[0]
    assert again.wait(120).state is RunState.COMPLETED
    assert run.state is RunState.COMPLETED
    epochs = again.metrics
    assert list(epochs["epoch"]) == [0, 1, 2], "an epoch that was done twice stands once"


@pytest.mark.parametrize("fresh", [False, True])
def test_after_a_failure_what_is_remembered_of_the_images_is_not_believed(place, monkeypatch, fresh):
    """A file system that hides changes makes the index wrong; the program finds out, and its advice has to work."""
    true = Dataset("trees").fingerprint
    (index,) = (place / "cache").rglob("index/*.json")
    stored = json.loads(index.read_text())
    settled = [field.name for field in fields(Picture)].index("settled")
    for picture, row in zip(stored["pictures"], Dataset("trees").pictures, strict=True):
        assert picture[settled] is row.settled
        picture[settled] = True
    wrong = stored["pictures"][0]
    wrong[3] = "0" * 64
    index.write_text(json.dumps(stored))
    monkeypatch.setenv("STANDIN", "refuse")
    run = start()
    with pytest.raises(TrainingFailed):
        run.wait(120)
    assert run.record["fingerprint"] != true
    monkeypatch.delenv("STANDIN")
    again = start(fresh=fresh)
    assert again.handle != run.handle and again.record["fingerprint"] == true
    assert again.wait(120).state is RunState.COMPLETED
    assert "0" * 64 not in index.read_text()


def test_a_plan_changes_nothing(place):
    resolved = resolve({"data": "trees", "epochs": 2}, "seed: 5\n")
    plan = Experiment.local("trees").plan(resolved)
    assert not (place / "kept").exists()
    text = plan._repr_mimebundle_()["text/plain"]
    assert "Nothing was changed. Would begin a new run in" in text
    assert re.search(r"^seed +5 +line 2$", text, re.MULTILINE)
    assert "30 pictures in 3 classes" in text
    assert (
        sum(
            int(line.split()[-1])
            for line in text.splitlines()
            if line.startswith(("train ", "validation ", "held out "))
        )
        == 30
    )
    Experiment.local("trees").start(resolved.config).wait()
    assert "is completed: its report would be shown" in Experiment.local("trees").plan(resolved).outlook


def test_what_only_the_program_would_find_late_is_told_first(place):
    with pytest.raises(ConfigError, match="There is no file of weights lost"):
        start(weights="lost.pth")
    with pytest.raises(DataError, match="There is no folder"):
        start(data="lost")
    assert not (place / "kept").exists()


def test_an_interrupt_while_it_is_made_leaves_nothing(place, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mb_jupyter.backends.local._environment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start()
    assert Workspace.local().runs() == []
    with pytest.raises(MBError, match="nothing was started"):
        mb_jupyter.train(data="trees", epochs=2)


def test_train_shows_and_waits(place, capsys):
    begun: list[str] = []
    run = mb_jupyter.train(data="trees", epochs=2, on_start=lambda run: begun.append(run.state))
    assert begun[0] in ("starting", "running")
    said = capsys.readouterr().out
    for line in ("looking at the pictures of trees", "trees: evaluate", "trees: completed", "10", "Next: %mb_evaluate"):
        assert line in said
    again = mb_jupyter.train(config(), wait=False)
    assert again.handle == run.handle
    with pytest.raises(ConfigError, match="`epochs` cannot be `0`"):
        mb_jupyter.train(config(), epochs=0)


def pressing(times: int) -> threading.Thread:
    """Press the notebook's Stop button once an epoch is over; the second time when the first one was answered."""

    def until(there: Callable[[], object], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not there() and time.monotonic() < end:
            time.sleep(0.02)
        return bool(there())

    def press() -> None:
        assert until(lambda: mb_jupyter.runs() and len(mb_jupyter.runs()[0].metrics), 120)
        folder = mb_jupyter.runs()[0].folder
        for answer in ("stop", "canceled")[:times]:
            answered = [folder / answer, folder / "canceled"]
            while not any(file.exists() for file in answered):
                os.kill(os.getpid(), signal.SIGINT)  # Python may lose one, in a finalizer
                until(lambda: any(file.exists() for file in answered), 20)  # noqa: B023 - it is over before the next

    thread = threading.Thread(target=press)
    thread.start()
    return thread


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let an interrupt be one, also where these tests are a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_stop_pressed_once_and_twice(place, monkeypatch, capsys, interruptible):
    monkeypatch.setenv("STANDIN", "slow")
    monkeypatch.setattr("mb_jupyter.run.SECOND_STOP", 0.0)  # no press is a second one
    presser = pressing(1)
    assert mb_jupyter.train(data="trees").state is RunState.STOPPED
    presser.join()
    assert "Stopping: the best model so far is evaluated and saved. Press Stop again" in capsys.readouterr().out
    shutil.rmtree(mb_jupyter.runs()[0].folder)
    monkeypatch.setenv("STANDIN", "deaf")
    monkeypatch.setattr("mb_jupyter.run.SECOND_STOP", 1e9)  # every later press is
    presser = pressing(2)
    with pytest.raises(TrainingFailed, match="was cancelled"):
        mb_jupyter.train(data="trees", seed=2)
    presser.join()
    assert "Discarded by a second Stop" in capsys.readouterr().out


def test_a_refusal_keeps_its_words(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "refuse")
    with pytest.raises(TrainingFailed) as caught:
        mb_jupyter.train(data="trees")
    assert (caught.value.cause, caught.value.fix) == ("The weights of another network.", "Name the right file.")
    assert "the last line of the log" in caught.value.why()
    assert len(caught.value.lines()) <= 6


def test_a_bug_of_the_program_shows_its_traceback_on_request(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "bug")
    with pytest.raises(TrainingFailed) as caught:
        mb_jupyter.train(data="trees")
    assert "Traceback: a bug" in caught.value.details
    assert "Traceback" not in "".join(caught.value.lines())


def test_missed_accuracy_fails_but_the_report_is_there(place, monkeypatch):
    monkeypatch.setenv("STANDIN", "missed")
    run = start(min_accuracy=0.9)
    with pytest.raises(TrainingFailed, match="below min_accuracy"):
        run.wait()
    assert run.report.accuracy == 1.0


def test_no_process_is_left(place):
    run = start().wait()
    pid = json.loads((run.folder / "process.json").read_text())["pid"]
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=120)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_another_program_is_another_version(monkeypatch, tmp_path):
    here = program_version()
    monkeypatch.setattr("mb_jupyter.experiment.PROGRAM", PROGRAM)
    assert program_version() != here


def test_fit_belongs_to_a_run_only_where_it_is_not_the_default(place):
    from mb_jupyter.experiment import _identity

    dataset = Dataset("trees")
    before = _identity(config(), dataset)  # with nothing of `fit` in it, as runs of before have it
    assert _identity(config(fit="crop"), dataset) == before
    assert len({before, _identity(config(fit="pad"), dataset), _identity(config(fit="stretch"), dataset)}) == 3
    with pytest.raises(ConfigError, match="`fit` cannot be `zoom`; allowed is crop, pad or stretch"):
        config(fit="zoom")
    assert json.loads((start(fit="pad").wait().folder / "config.json").read_text())["fit"] == "pad"
