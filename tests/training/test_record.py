from __future__ import annotations

import json
import os
import sys
import time
import types

import pytest

from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.record import Recorder


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def status(folder):
    return json.loads((folder / "status.json").read_text(encoding="utf-8"))


EPOCH = {
    "phase": "finetune", "epoch": 1, "train_loss": 0.5, "train_accuracy": 0.8, "validation_loss": 0.4,
    "validation_accuracy": 0.9, "learning_rate": 1e-3, "seconds": 2.0, "pictures_per_second": 10.0, "best": True,
}  # fmt: skip


def test_every_record_is_one_line_on_the_disk_when_the_call_returns(tmp_path, capsys):
    recorder = Recorder(tmp_path / "run")
    before = time.time()
    recorder.event("start", classes=["a\nb", "日本", "\udc80"], nothing=float("nan"))
    recorder.epoch(EPOCH)
    start, epoch = records(tmp_path / "run")
    assert start["classes"] == ["a\nb", "日本", "\udc80"]
    assert start["nothing"] is None  # JSON has no NaN, and other readers than Python's refuse it
    assert before <= start["time"] <= time.time()
    assert {**EPOCH, "event": "epoch", "time": epoch["time"]} == epoch
    assert recorder.records == 2
    assert "epoch 1: train loss 0.5000" in capsys.readouterr().out


def test_the_status_tells_stage_progress_and_outlook(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.expect("features", 10)
    recorder.expect("head", 10)
    recorder.expect("evaluate", 20)
    recorder.stage("features", total=100, message="Seeing every picture once.")
    now = status(tmp_path)
    assert (now["state"], now["stage"], now["done"], now["total"]) == ("running", "features", 0, 100)
    assert now["pid"] == os.getpid()
    assert now["eta_seconds"] == pytest.approx(40, abs=1)
    recorder.stage("evaluate", total=10)
    now = status(tmp_path)
    assert now["eta_seconds"] == pytest.approx(20, abs=1)
    assert [stage["stage"] for stage in now["stages"]] == ["features", "evaluate"]
    assert now["stages"][0]["seconds"] is not None
    assert now["stages"][1]["seconds"] is None


def test_the_fraction_never_goes_back(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.plan("features", 2, 0.1)
    recorder.expect("epoch", 0.1)
    recorder.stage("features", total=2)
    time.sleep(0.1)
    recorder.stage("epoch", total=5)
    first = status(tmp_path)["fraction"]
    recorder.expect("epoch", 1000)
    recorder.stage("epoch", total=5)
    assert 0 < first <= status(tmp_path)["fraction"] < 1


def test_progress_is_written_seldom_however_often_it_is_told(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.stage("features", total=10_000)
    written = set()
    for done in range(10_000):
        recorder.progress(done)
        written.add((tmp_path / "status.json").stat().st_ino)
    assert len(written) <= 3


def test_the_end_is_told(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.stage("export")
    recorder.finish("completed", "All done.")
    now = status(tmp_path)
    assert (now["state"], now["fraction"], now["eta_seconds"], now["error"]) == ("completed", 1.0, 0.0, None)
    assert now["stages"][0]["seconds"] is not None


def test_a_refusal_keeps_cause_and_fix_and_no_traceback(tmp_path, capsys):
    recorder = Recorder(tmp_path)
    recorder.fail(TrainingError("The disk is full.", "Make room.", "Take another disk."))
    now = status(tmp_path)
    assert now["state"] == "failed"
    assert now["error"] == {"cause": "The disk is full.", "fix": "Make room.", "alternative": "Take another disk."}
    assert "The disk is full. Make room. Take another disk." in capsys.readouterr().out


def test_a_bug_keeps_its_traceback(tmp_path):
    recorder = Recorder(tmp_path)
    try:
        raise KeyError("missing")
    except KeyError as error:
        recorder.fail(error)
    assert "KeyError: 'missing'" in status(tmp_path)["error"]["cause"]
    assert 'in test_a_bug_keeps_its_traceback\n    raise KeyError("missing")' in status(tmp_path)["error"]["traceback"]


def test_records_after_the_checkpoint_are_cut_off(tmp_path):
    recorder = Recorder(tmp_path)
    for epoch in range(4):
        recorder.event("epoch", epoch=epoch)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epo')  # a kill in the middle of a line
    again = Recorder(tmp_path)
    again.keep(2)
    again.event("epoch", epoch="again")
    assert [record["epoch"] for record in records(tmp_path)] == [0, 1, "again"]
    assert again.records == 3


def test_keep_nothing_begins_anew(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.event("start")
    again = Recorder(tmp_path)
    again.keep(0)
    assert again.records == 0
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_stop_is_asked_for_by_a_file_or_a_signal(tmp_path):
    recorder = Recorder(tmp_path)
    assert not recorder.stop_requested()
    (tmp_path / "stop").touch()
    assert recorder.stop_requested()
    (tmp_path / "stop").unlink()
    recorder.terminate()
    assert recorder.stop_requested()


def test_only_the_first_process_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    recorder = Recorder(tmp_path / "run")
    recorder.stage("features", total=2)
    recorder.event("start")
    recorder.finish("completed")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TrainingError, match=r"The run's folder .*run cannot be written"):
        Recorder(tmp_path / "run")


def test_metrics_go_to_mlflow_where_it_is(tmp_path, monkeypatch):
    logged = []
    module = types.ModuleType("mlflow")
    vars(module)["log_metrics"] = lambda figures, step: logged.append((step, figures))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:nowhere")
    recorder = Recorder(tmp_path)
    recorder.event("start", classes=["a"])
    recorder.epoch(EPOCH)
    assert logged == [(1, {key: value for key, value in EPOCH.items() if key not in ("phase", "epoch", "best")})]


def test_a_lost_tracking_server_does_not_lose_the_training(tmp_path, monkeypatch, capsys):
    def refuse(figures, step):
        raise ConnectionError("gone")

    module = types.ModuleType("mlflow")
    vars(module)["log_metrics"] = refuse
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere")
    recorder = Recorder(tmp_path)
    recorder.epoch(EPOCH)
    recorder.epoch(EPOCH)
    assert capsys.readouterr().out.count("MLflow no longer takes the metrics (ConnectionError: gone)") == 1
    assert len(records(tmp_path)) == 2


def test_a_download_shows_how_far_it_is(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.downloaded(0, 98_000_000)
    recorder.downloaded(49_000_000, 98_000_000)
    said = recorder.status
    assert said["message"] == "Downloading the pretrained weights (98 MB)."
    assert (said["done"], said["total"]) == (49, 98)
    recorder.downloaded(1_000_000, 0)  # a server that does not say how long the file is
    assert recorder.status["message"] == "Downloading the pretrained weights."
