from __future__ import annotations

import json
import os
import sys
import threading
import time
import types

import pytest

from mb_jupyter.training import progress, record
from mb_jupyter.training.errors import StoppedError, TrainingError
from mb_jupyter.training.record import Recorder


@pytest.fixture
def clock(monkeypatch):
    """Return the time of day as the recorder sees it; it stands still until ``now`` is changed."""
    stopped = types.SimpleNamespace(now=1000.0)
    seen = types.SimpleNamespace(**{**vars(time), "monotonic": lambda: stopped.now})
    for module in (record, progress):
        monkeypatch.setattr(module, "time", seen)
    return stopped


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
    assert "epoch 1: train loss 0.5000" in capsys.readouterr().out


def test_the_status_tells_stage_progress_and_outlook(tmp_path, clock):
    recorder = Recorder(tmp_path)
    recorder.expect("features", 10)
    recorder.expect("head", 10)
    recorder.expect("evaluate", 20)
    recorder.stage("features", total=100, message="Seeing every picture once.")
    now = status(tmp_path)
    assert (now["state"], now["stage"], now["done"], now["total"]) == ("running", "features", 0, 100)
    assert now["pid"] == os.getpid()
    assert now["eta_seconds"] == 40
    clock.now += 4
    recorder.stage("evaluate", total=10)
    now = status(tmp_path)
    assert now["eta_seconds"] == 20
    assert [stage["stage"] for stage in now["stages"]] == ["features", "evaluate"]
    assert [stage["seconds"] for stage in now["stages"]] == [4, None]


def test_the_fraction_never_goes_back(tmp_path, clock):
    recorder = Recorder(tmp_path)
    recorder.plan("features", 2, 0.1)
    recorder.expect("epoch", 0.1)
    recorder.stage("features", total=2)
    clock.now += 0.1
    recorder.stage("epoch", total=5)
    first = status(tmp_path)["fraction"]
    recorder.expect("epoch", 1000)
    recorder.stage("epoch", total=5)
    assert 0 < first <= status(tmp_path)["fraction"] < 1


def test_progress_is_written_seldom_however_often_it_is_told(tmp_path, clock):
    recorder = Recorder(tmp_path)
    recorder.stage("features", total=10_000)
    written = set()
    for done in range(10_000):
        clock.now += 0.0001
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
    for epoch in range(2):
        recorder.event("epoch", epoch=epoch)
    kept = recorder.history
    for epoch in range(2, 4):
        recorder.event("epoch", epoch=epoch)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epo')  # a kill in the middle of a line
    again = Recorder(tmp_path)
    again.keep(kept)
    again.event("epoch", epoch="again")
    assert [record["epoch"] for record in records(tmp_path)] == [0, 1, "again"]


def test_records_that_a_copy_of_the_folder_has_not_yet_are_those_of_the_checkpoint(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.event("epoch", epoch=0)
    behind = (tmp_path / "metrics.jsonl").read_bytes()
    recorder.event("epoch", epoch=1, name="日本\udc80")
    kept = recorder.history
    (tmp_path / "metrics.jsonl").write_bytes(behind)
    again = Recorder(tmp_path)
    again.keep(kept)
    assert [record["epoch"] for record in records(tmp_path)] == [0, 1]


def test_keep_nothing_begins_anew(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.event("start")
    again = Recorder(tmp_path)
    again.keep("")
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
    with pytest.raises(TrainingError, match=r"The folder .*run cannot be written"):
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


def wait_for(what):
    """Wait until a thread has done what it does by itself."""
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_clock_goes_on_while_nothing_is_told(tmp_path):
    recorder = Recorder(tmp_path)
    with recorder.clock.beating():
        recorder.stage("export", message="One long call.")
        first = status(tmp_path)
        wait_for(lambda: status(tmp_path)["stage_seconds"] >= first["stage_seconds"] + 1)
        now = status(tmp_path)
        assert now["seconds"] > first["seconds"] and now["updated"] > first["updated"]


def test_a_stop_is_answered_although_the_program_is_busy(tmp_path):
    recorder = Recorder(tmp_path)
    with recorder.clock.beating():
        recorder.stage("export", message="One long call.")
        assert status(tmp_path)["stopping"] is False
        (tmp_path / "stop").touch()
        wait_for(lambda: status(tmp_path)["stopping"])


def test_the_heart_stops_with_the_run_and_changes_nothing_after_it(tmp_path):
    recorder = Recorder(tmp_path)
    with recorder.clock.beating():
        recorder.stage("export")
        (beat,) = (thread for thread in threading.enumerate() if thread.name == "mb-heartbeat")
        assert beat.daemon, "whatever ends the program must not wait for it"
        recorder.finish("completed")
        written = (tmp_path / "status.json").read_bytes()
        wait_for(lambda: not beat.is_alive())
    assert (tmp_path / "status.json").read_bytes() == written
    with recorder.clock.beating():
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "mb-heartbeat"]


def test_losing_the_status_loses_nothing_else(tmp_path):
    (tmp_path / "status.json").mkdir()  # nothing can take its place
    recorder = Recorder(tmp_path)
    recorder.stage("features", total=10)
    recorder.progress(3)
    recorder.message("Still here.")
    recorder.finish("completed")
    assert records(tmp_path)[0]["stage"] == "features"
    (tmp_path / "status.json").rmdir()
    recorder.clock.write()
    assert status(tmp_path)["state"] == "completed"


def test_a_record_that_cannot_be_written_stops_the_run(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(TrainingError, match="cannot be written"):
        Recorder(tmp_path).stage("features")


@pytest.mark.parametrize("name", ["status.json", "before.json"])
def test_the_time_before_a_restart_counts(tmp_path, name):
    told = {"state": "running", "seconds": 100.0}
    (tmp_path / name).write_text(json.dumps(told))
    recorder = Recorder(tmp_path)
    recorder.stage("start")
    assert 100 <= status(tmp_path)["seconds"] < 160
    recorder.clock.count_from(70.0)  # what a checkpoint knows, which is less
    assert recorder.clock.seconds >= 100
    recorder.clock.count_from(300.0)
    assert recorder.clock.seconds >= 300


@pytest.mark.parametrize(
    "content", ['{"state": "completed", "seconds": 100}', "[]", "", '{"state": "running", "seconds": "x"}',
                '{"state": "running", "seconds": Infinity}', '{"state": "running"}'],
)  # fmt: skip
def test_a_clock_begins_anew_where_nothing_was_cut_short(tmp_path, content):
    (tmp_path / "before.json").write_text(content)
    assert Recorder(tmp_path).clock.seconds < 60


def test_a_system_clock_that_is_set_back_moves_no_clock_of_the_run(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path)
    recorder.stage("features")
    before = status(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 1.0)
    recorder.stage("head")
    now = status(tmp_path)
    assert now["seconds"] >= before["seconds"]
    assert 0 <= now["stages"][0]["seconds"] < 60


def test_time_left_stays_within_the_limit(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.expect("epoch", 1906.0)
    recorder.clock.limit(600)
    recorder.stage("epoch")
    assert 590 < status(tmp_path)["eta_seconds"] <= 600


def test_what_a_run_can_do_without_ends_at_a_stop(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.heed()
    recorder.terminate()
    with pytest.raises(StoppedError):
        recorder.heed()
