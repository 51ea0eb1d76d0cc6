"""A run reopened from its files; what is around it is in test_experiment.py."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter import attach, runs
from mb_jupyter.errors import ModelError, TrainingFailed, WorkspaceError
from mb_jupyter.history import going_on, latest_with
from mb_jupyter.run import Run
from mb_jupyter.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path))
    return Workspace.local()


def write(workspace: Workspace, experiment: str = "a", files: dict[str, Any] | None = None) -> Run:
    """Write an ended run by hand: what runs are is what their files say."""
    folder = workspace.new_run(experiment)
    record = {"handle": f"local://{experiment}/{folder.name}", "experiment": experiment, "id": folder.name}
    workspace.record_run(
        folder, {**record, "config": {"architecture": "auto", "epochs": 3}, "created": "2026-01-02T03:04"}
    )
    contents = {"exit.json": {"returncode": 0}, "status.json": {"state": "completed"}, **(files or {})}
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return Run(folder)


def test_it_is_what_its_files_say(workspace):
    run = write(
        workspace,
        files={
            "metrics.jsonl": '{"event": "epoch", "time": 1, "phase": "finetune", "epoch": 1, "train_loss": 0.5}\n',
            "log.txt": "one\ntwo\n",
        },
    )
    assert (run.state, run.experiment, run.url, run.config["epochs"]) == ("completed", "a", None, 3)
    assert run.metrics.to_dict("records") == [{"phase": "finetune", "epoch": 1, "train_loss": 0.5}]
    assert (run.logs(), run.logs(1)) == ("one\ntwo", "two")
    assert "is completed" in run.why() and "two" in run.why()
    assert repr(run) == f"<Run {run.handle} completed>"
    assert run.wait() is run
    assert run.stop() is run and not (run.folder / "stop").exists()
    assert run.cancel().state == "completed"


def test_what_is_not_there_yet_is_said(workspace):
    run = write(workspace)
    with pytest.raises(ModelError, match="has no model: it is completed"):
        _ = run.model
    with pytest.raises(ModelError, match="has not been evaluated"):
        _ = run.report
    assert run.metrics.empty


def test_waiting_has_an_end(workspace):
    run = write(workspace, files={"exit.json": None})
    with pytest.raises(TimeoutError, match=r"goes on after 0\.2 seconds"):
        run.wait(0.2)


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"handle": 1}'])
def test_a_damaged_record_is_named(workspace, record):
    run = Run(write(workspace, files={"run.json": record}).folder)
    with pytest.raises(WorkspaceError, match=r"cannot be opened: run\.json"):
        _ = run.handle


def test_a_worker_that_the_system_killed_for_memory(workspace):
    told = {"state": "failed", "error": {"cause": "DataLoader worker was killed", "fix": ""}}
    files = {"exit.json": {"returncode": 1, "oom_kills": 1}, "status.json": told}
    run = write(workspace, files={**files, "metrics.jsonl": '{"event": "start", "batch_size": 48}\n'})
    with pytest.raises(TrainingFailed, match="memory ran out") as caught:
        run.wait()
    assert "`batch_size: 24`" in caught.value.fix
    refused = write(workspace, files={**files, "exit.json": {"returncode": 2, "oom_kills": 1}})
    with pytest.raises(TrainingFailed, match="DataLoader worker was killed"):
        refused.wait()


def test_damaged_predictions_hide_nothing_else(workspace):
    run = write(
        workspace, files={"predictions.csv": "\x00", "metrics.jsonl": '{"event": "result", "test_accuracy": 0.5}\n'}
    )
    assert "Accuracy 50.0 % on test images." in run._repr_mimebundle_()["text/plain"]


def test_found_by_handle_id_experiment_and_time(workspace):
    first, other, last = write(workspace, "a"), write(workspace, "b"), None
    while last is None or last.id <= first.id:  # ids tell seconds
        last = write(workspace, "a")
        time.sleep(0.02)
    assert attach(first.handle).folder == attach(first.id).folder == first.folder
    assert attach("a").folder == last.folder
    assert attach("b").folder == other.folder
    assert attach(first) is first
    assert attach().id == max(first.id, other.id, last.id)
    assert {run.handle for run in runs("a")} >= {first.handle, last.handle}
    assert [run.id for run in runs()] == sorted((run.id for run in runs()), reverse=True)
    assert len(runs()[:2]) == 2
    with pytest.raises(WorkspaceError, match="Experiments with runs are a, b"):
        attach("c")


def test_the_table_has_every_run(workspace, zone):
    zone("Europe/Berlin")
    write(workspace, files={"report.json": {"test_accuracy": 0.875}})
    frame = runs().frame
    assert list(frame["Accuracy"]) == ["87.5 %"]
    assert list(frame["Begun"]) == ["2026-01-02 04:04 CET"]
    for _ in range(60):
        write(workspace, "many")
    assert "61 runs in" in repr(runs())
    assert "the latest 50 are shown" in runs()._repr_mimebundle_()["text/plain"]
    assert len(runs().frame) == 61


def test_only_what_goes_on_is_meant(workspace):
    write(workspace)
    with pytest.raises(WorkspaceError, match="No run goes on"):
        going_on()
    first = write(workspace, "a", files={"exit.json": None})
    assert going_on().folder == going_on("a").folder == first.folder
    second = write(workspace, "b", files={"exit.json": None})
    with pytest.raises(WorkspaceError, match="2 runs go on"):
        going_on()
    assert going_on("b").folder == going_on(second.handle).folder == second.folder


def test_the_latest_that_has_left_a_file(workspace):
    with pytest.raises(WorkspaceError, match=r"No run in .* has a model yet"):
        latest_with("model")
    run = write(workspace, files={"bestModel.onnx": "x"})
    assert latest_with("model").folder == run.folder
