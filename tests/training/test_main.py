"""The program as a backend starts it: copied out, a process of its own, judged by the records it leaves."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from mb_jupyter import Dataset, load
from mb_jupyter.prediction import Prediction
from mb_jupyter.report import Report
from mb_jupyter.training import head, stages
from mb_jupyter.training.__main__ import main
from mb_jupyter.training.calibrate import temperature
from mb_jupyter.training.index import index_file
from mb_jupyter.training.record import Recorder

PROGRAM = Path(__file__).parents[2] / "mb_jupyter" / "training"
QUICK = {"architecture": "efficientnet_lite0", "image_size": 64, "epochs": 2, "recipe": "finetune", "max_minutes": 1000}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
TIMES = ("time", "seconds", "pictures_per_second")


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """Return a folder that holds nothing but a copy of the program."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(PROGRAM, folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Return a folder of three classes of noisy stripes, 24 pictures each; hard enough for mistakes."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for number, name in enumerate(["wide", "middle", "très étroit"]):
        (root / name).mkdir()
        for index in range(24):
            angle, phase = number + random.normal() * 0.4, random.uniform(0, 6)
            stripes = 127 + 60 * np.sin((0.15 + 0.12 * number) * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            noisy = stripes[..., None] + random.normal(0, 50, (64, 64, 3)) + random.normal(0, 30, 3)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
    return root


class Program:
    """One run folder, and the program started in it as often as a test likes."""

    def __init__(self, code: Path, data: Path, output: Path, **settings: Any) -> None:
        self.code, self.data, self.output = code, data, output
        output.mkdir(exist_ok=True)
        (output / "config.json").write_text(json.dumps({**QUICK, **settings}), encoding="utf-8")

    def start(
        self, *before: str, module: tuple[str, ...] = (), env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        command = (
            *before, sys.executable, *module, "-m", "training", "--config", self.output / "config.json",
            "--data", self.data, "--output", self.output,
        )  # fmt: skip
        with (self.output / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [str(part) for part in command], cwd=self.code, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, "XDG_CACHE_HOME": str(self.code / "cache"), **(env or {})}, **options,
            )  # fmt: skip

    def run(self, *before: str, **options: Any) -> int:
        process = self.start(*before, **options)
        try:
            return process.wait()
        finally:
            if process.poll() is None:  # it must not go on beside the next tests
                process.kill()
                process.wait()

    def call(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """Run the program in this process, which has torch already."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.code / "cache"))
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        given = {"--config": self.output / "config.json", "--data": self.data, "--output": self.output}
        with (self.output / "log.txt").open("a", encoding="utf-8") as log:
            monkeypatch.setattr(sys, "stdout", log)
            return main([str(part) for pair in given.items() for part in pair])

    def end_at(self, moment: str) -> int:
        """Run it until it ends itself at a moment that ``ended_at.py`` knows."""
        return self.run(module=(str(Path(__file__).with_name("ended_at.py")), moment))

    @property
    def records(self) -> list[dict[str, Any]]:
        path = self.output / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of a kind, without what a clock measured."""
        found = [record for record in self.records if record["event"] == kind]
        return [{key: value for key, value in record.items() if key not in TIMES} for record in found]

    @property
    def status(self) -> dict[str, Any]:
        return json.loads((self.output / "status.json").read_text(encoding="utf-8"))

    @property
    def log(self) -> str:
        return (self.output / "log.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def finished(code, pictures, tmp_path_factory) -> Program:
    """Return an uninterrupted run, that several tests look at."""
    program = Program(code, pictures, tmp_path_factory.mktemp("run"), seed=5)
    assert program.run() == 0, program.log
    # a checkpoint that was due on a slow machine holds answers too, which a run that is begun again would not ask for
    kept = program.output / "checkpoint" / "last.pt"
    torch.save({**torch.load(kept, weights_only=True), "answers": {}}, kept)
    return program


def test_nobody_outside_is_told_of_a_run(code, pictures, tmp_path, monkeypatch):
    asked: list[bytes] = []

    class Ear(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(200))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Ear) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY")  # the program itself has to see to it
        program = Program(code, pictures, tmp_path, recipe="features")
        assert program.run() == 0, program.log
        proxy.shutdown()
    assert asked == []


def test_a_run_leaves_everything_its_contract_names(finished):
    names = {path.name for path in finished.output.iterdir()}
    assert names >= {
        "metrics.jsonl", "status.json", "split.csv", "checkpoint", "bestModel.onnx", "bestModelMap.json",
        "MLModel.zip", "predictions.csv", "baselines.csv", "out_of_fold.csv", "report.json", "reproducibility.json",
    }  # fmt: skip
    assert json.loads((finished.output / "bestModelMap.json").read_text(encoding="utf-8")) == [
        "middle", "très étroit", "wide",
    ]  # fmt: skip
    assert not [name for name in names if name.endswith(".part")]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_frozen_features_are_there_to_compare_with(finished):
    best, baseline = (table(finished.output / name) for name in ("predictions.csv", "baselines.csv"))
    assert [(row["ImageSource"], row["Label"]) for row in best] == [
        (row["ImageSource"], row["Label"]) for row in baseline
    ]
    assert list(best[0]) == list(baseline[0])
    same = (finished.output / "baselines.csv").read_bytes() == (finished.output / "predictions.csv").read_bytes()
    assert same is (finished.of("result")[0]["best_phase"] == "features")


def test_every_picture_of_the_training_has_scores_of_a_head_that_never_saw_it(finished):
    rows, split = table(finished.output / "out_of_fold.csv"), table(finished.output / "split.csv")
    assert list(rows[0])[:4] == ["ImageSource", "Label", "Fold", "Prediction"]
    learned = {row["ImageSource"]: row["Label"] for row in split if row["Split"] != "test"}
    assert {row["ImageSource"]: row["Label"] for row in rows} == learned
    assert len(rows) == len(learned) and {row["Fold"] for row in rows} == set("01234")
    for row in rows:
        scores = {name.removeprefix("Score."): float(row[name]) for name in row if name.startswith("Score.")}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
        assert row["Prediction"] == max(scores, key=lambda name: scores[name])


def scores_of(rows: list[dict[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    names = [name.removeprefix("Score.") for name in rows[0] if name.startswith("Score.")]
    scores = np.array([[float(row[f"Score.{name}"]) for name in names] for row in rows])
    return scores, np.array([names.index(row["Label"]) for row in rows])


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(scores[np.arange(len(labels)), labels]).mean())


def test_the_frozen_features_temperature_is_judged_by_heads_that_never_saw_the_image(
    code, pictures, tmp_path, monkeypatch
):
    program = Program(code, pictures, tmp_path / "run", seed=5, recipe="features")
    assert program.call(monkeypatch) == 0, program.log
    scores, labels = scores_of(table(program.output / "out_of_fold.csv"))
    report = json.loads((program.output / "report.json").read_text(encoding="utf-8"))
    told, heat = report["calibration"], report["temperature"]
    assert told["source"] == report["choices_from"] == "out_of_fold.csv" and told["images"] == len(labels)
    assert told["temperature"] == pytest.approx(heat)
    assert told["kept"] is (told["log_loss_after"] < told["log_loss_before"])
    logits = np.log(scores) * heat
    before = np.exp(logits - logits.max(1, keepdims=True))
    assert told["log_loss_before"] == pytest.approx(log_loss(before / before.sum(1, keepdims=True), labels), rel=1e-3)
    assert heat == pytest.approx(temperature(logits, labels) if told["kept"] else 1, rel=1e-3)
    assert not (program.output / "validation.csv").exists()
    assert f"Calibration is {'' if told['kept'] else 'not '}kept" in program.log


def test_the_choices_about_a_fine_tuned_model_are_made_on_validation_images(finished):
    report = json.loads((finished.output / "report.json").read_text(encoding="utf-8"))
    tuned = report["best_phase"] == "finetune"
    assert report["choices_from"] == report["calibration"]["source"]
    assert report["choices_from"] == ("validation.csv" if tuned else "out_of_fold.csv")
    assert (finished.output / "validation.csv").exists() is tuned
    if tuned:
        rows, split = table(finished.output / "validation.csv"), table(finished.output / "split.csv")
        assert list(rows[0]) == list(table(finished.output / "predictions.csv")[0])
        assert [row["ImageSource"] for row in rows] == [
            row["ImageSource"] for row in split if row["Split"] == "validation"
        ]
        assert report["calibration"]["images"] == len(rows)
        model = load(finished.output / "bestModel.onnx")
        for row in rows[:3]:
            told = cast(Prediction, model.predict(finished.data / row["ImageSource"])).scores
            assert {name: float(row[f"Score.{name}"]) for name in told} == pytest.approx(told, abs=1e-3)
    for record in finished.of("epoch"):
        assert record["validation_loss_raw"] >= record["validation_loss"] - 1e-6  # one at 1, one at the best


def test_a_variant_in_int8_is_measured_beside_the_model(finished):
    report = json.loads((finished.output / "report.json").read_text(encoding="utf-8"))
    whole, small = report["variants"]
    assert [whole["name"], small["name"]] == ["float32", "int8"]
    held_out = table(finished.output / "predictions.csv")
    assert whole["pictures"] == small["pictures"] == len(held_out)
    assert whole["right"] == sum(row["Label"] == row["Prediction"] for row in held_out)
    for variant in (whole, small):
        assert (finished.output / variant["file"]).stat().st_size == variant["bytes"]
        assert variant["ms_first"] > 0 and variant["ms_per_picture"] > 0
    assert small["bytes"] < whole["bytes"] / 2 and 0 <= small["agreement"] <= 1
    choice, split = report["variant_choice"], table(finished.output / "split.csv")
    validation = sum(row["Split"] == "validation" for row in split)
    assert choice["source"] == "validation" and choice["images"] == validation < 20
    assert choice["code"] == "too_few" and report["recommended_variant"] == "float32"  # so few images say little
    assert choice["speed_low"] <= choice["speed"] <= choice["speed_high"]
    model = load(finished.output / small["file"])
    assert list(model.classes) == json.loads((finished.output / "bestModelMap.json").read_text(encoding="utf-8"))


def test_without_int8_the_model_itself_is_measured_all_the_same(finished, code, pictures, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("no such operator")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", refuse)
    program = Program(code, pictures, tmp_path / "run", seed=5, recipe="features")
    assert program.call(monkeypatch) == 0, program.log
    report = json.loads((program.output / "report.json").read_text(encoding="utf-8"))
    whole, small = report["variants"]
    rows = table(program.output / "predictions.csv")
    assert whole["right"] == sum(row["Label"] == row["Prediction"] for row in rows) and whole["pictures"] == len(rows)
    assert "NotImplementedError: no such operator" in small["reason"] and "bytes" not in small
    assert report["recommended_variant"] == "float32"


def test_the_records_tell_the_story_in_order(finished):
    stages = [record["stage"] for record in finished.of("stage")]
    assert list(dict.fromkeys(stages)) == [
        "start", "features", "head", "learning curve", "neighbours", "epoch", "calibrate", "evaluate", "export",
        "verify",
        *(["baseline"] if finished.of("result")[0]["best_phase"] == "finetune" else []), "int8",
    ]  # fmt: skip
    (start,) = finished.of("start")
    assert start["architecture"] == "efficientnet_lite0" and start["reason"].startswith("efficientnet_lite0: ")
    assert sum(start["pictures"].values()) == 72 and start["resumed"] is False
    epochs = finished.of("epoch")
    assert [(epoch["phase"], epoch["epoch"]) for epoch in epochs] == [
        ("features", 0), ("finetune", 1), ("finetune", 2)
    ]  # fmt: skip
    first_model = next(place for place, record in enumerate(finished.records) if record["event"] == "model")
    assert finished.records[first_model - 1]["epoch"] == 0  # usable before any fine-tuning
    (result,) = finished.of("result")
    assert 0 <= result["test_accuracy"] <= 1 and result["agreement"] == 1.0
    assert finished.records[-1]["event"] == "result"


def test_the_status_is_complete_at_the_end(finished):
    status = finished.status
    assert (status["state"], status["fraction"], status["eta_seconds"], status["error"]) == ("completed", 1, 0, None)
    assert all(stage["seconds"] is not None for stage in status["stages"])
    assert {stage["stage"] for stage in status["stages"]} <= {"start", *status["planned"]}, "every stage is planned"


def test_the_reproducibility_record_names_what_the_numbers_depend_on(finished):
    record = json.loads((finished.output / "reproducibility.json").read_text(encoding="utf-8"))
    assert record["seed"] == 5
    assert record["settings"]["image_size"] == 64
    assert record["architecture"] == "efficientnet_lite0" and len(record["weights_sha256"]) == 64
    assert {"python", "torch", "numpy", "onnxruntime"} <= set(record["versions"])
    assert str(finished.output) not in json.dumps(record)


def test_killed_and_started_again_it_ends_with_the_same_numbers(finished, code, pictures, tmp_path):
    program = Program(code, pictures, tmp_path / "run", seed=5)
    for moment in ("features", "second epoch", "half a checkpoint"):
        assert program.end_at(moment) == -signal.SIGKILL, program.log
    assert program.run() == 0, program.log
    assert program.of("result") == finished.of("result")
    assert program.of("epoch") == finished.of("epoch")
    assert program.of("start")[-1]["resumed"] is True
    for name in ("predictions.csv", "baselines.csv", "out_of_fold.csv"):
        assert (program.output / name).read_bytes() == (finished.output / name).read_bytes(), name
    trained, again = (
        torch.load(run.output / "checkpoint" / "last.pt", weights_only=True) for run in (finished, program)
    )
    for kind in ("weights", "best_weights"):
        assert all(
            torch.equal(weight, again["finetune"][kind][name]) for name, weight in trained["finetune"][kind].items()
        )


def test_changed_settings_start_anew(finished, code, tmp_path, monkeypatch):
    shutil.copytree(finished.output, tmp_path / "run")
    program = Program(code, finished.data, tmp_path / "run", seed=5, recipe="features")
    assert program.call(monkeypatch) == 0, program.log
    assert "The settings or the pictures changed since the checkpoint; starting from the beginning." in program.log
    assert [epoch["epoch"] for epoch in program.of("epoch")] == [0]
    assert program.of("start")[0]["resumed"] is False


def test_a_stop_keeps_the_best_and_exports(code, pictures, tmp_path):
    program = Program(code, pictures, tmp_path / "run", epochs=500, patience=500)
    process = program.start()
    while not any(epoch["phase"] == "finetune" for epoch in program.of("epoch")):
        assert process.poll() is None, program.log
        time.sleep(0.05)
    (program.output / "stop").touch()
    assert process.wait() == 0, program.log
    assert program.status["state"] == "stopped"
    assert len(program.of("epoch")) < 500
    assert (program.output / "MLModel.zip").exists() and program.of("result")[0]["agreement"] == 1.0
    whole, small = json.loads((program.output / "report.json").read_text(encoding="utf-8"))["variants"]
    assert whole["ms_per_picture"] > 0 and small["reason"] == "the run was stopped early."
    assert not (program.output / small["file"]).exists()


def stop_at(monkeypatch: pytest.MonkeyPatch, output: Path, stage: str, done: int = 0) -> list[tuple[str, int]]:
    """Leave the stop file when a stage begins, or when so much of it is done; return what is done after that."""
    begin, count, after = Recorder.stage, Recorder.progress, []

    def stages(recorder: Recorder, name: str, *given: Any, **named: Any) -> None:
        begin(recorder, name, *given, **named)
        if name == stage and not done:
            (output / "stop").touch()

    def progress(recorder: Recorder, number: int, *given: Any) -> None:
        count(recorder, number, *given)
        if recorder.stop_requested():
            after.append((recorder.status["stage"], number))
        elif recorder.status["stage"] == stage and done and number >= done:
            (output / "stop").touch()

    monkeypatch.setattr(Recorder, "stage", stages)
    monkeypatch.setattr(Recorder, "progress", progress)
    return after


def test_a_stop_before_there_is_a_model_ends_at_once_and_the_next_run_goes_on(finished, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    program = Program(finished.code, finished.data, tmp_path / "run", seed=5, recipe="features", cache=str(kept))
    with monkeypatch.context() as patched:
        assert stop_at(patched, program.output, "features", 1) == []
        assert program.call(patched) == 2, program.log
    rows = sum(len(json.loads(listing.read_text())) for listing in kept.rglob("features/*.json"))
    rows = rows or sum(len(json.loads(listing.read_text())) for listing in kept.glob("*/*.json"))
    error, total = program.status["error"], finished.of("start")[0]["pictures"]
    learned = total["train"] + total["validation"]
    assert error["cause"] == "The training was stopped before it had a model." and 0 < rows < learned
    assert error["fix"] == f"Run the cell again to go on: the features of {rows} of {learned} images are kept."
    assert "traceback" not in error and not (program.output / "bestModel.onnx").exists()
    (program.output / "stop").unlink()  # as the backend does
    told: list[int] = []
    count = Recorder.progress

    def listened(recorder, done, total=None):
        told.append(done)
        count(recorder, done, total)

    monkeypatch.setattr(Recorder, "progress", listened)
    assert program.call(monkeypatch) == 0, program.log
    assert rows in told and program.of("epoch") == finished.of("epoch")[:1]


def test_a_stop_while_images_are_checked_ends_at_once(finished, tmp_path, monkeypatch):
    program = Program(finished.code, finished.data, tmp_path / "run", seed=5)
    stop_at(monkeypatch, program.output, "start", 5)
    assert program.call(monkeypatch) == 2, program.log
    assert program.status["error"]["fix"] == "Run the cell again to train."


def test_a_stop_while_the_first_head_is_fitted_makes_that_model_and_no_more(finished, tmp_path, monkeypatch):
    program = Program(finished.code, finished.data, tmp_path / "run", seed=5)
    after = stop_at(monkeypatch, program.output, "head")
    assert program.call(monkeypatch) == 0, program.log
    assert (program.status["state"], program.status["stopping"]) == ("stopped", True)
    whole = len(head.PENALTIES)
    assert [done for name, done in after if name == "head" and done < whole] == [1], "one penalty, and the folds"
    assert [record["code"] for record in program.of("left out")] == ["stop_asked"]
    assert not {"epoch", "baseline"} & {record["stage"] for record in program.of("stage")}
    assert program.of("result")[0]["agreement"] == 1.0 and (program.output / "out_of_fold.csv").exists()


@pytest.mark.parametrize(("stage", "done"), [("evaluate", 0), ("verify", 3), ("int8", 16)])
def test_a_stop_after_the_training_leaves_out_what_the_run_can_do_without(finished, tmp_path, monkeypatch, stage, done):
    shutil.copytree(finished.output, tmp_path / "run")
    program = Program(finished.code, finished.data, tmp_path / "run", seed=5)
    after = stop_at(monkeypatch, program.output, stage, done)
    assert program.call(monkeypatch) == 0, program.log
    assert program.status["state"] == "stopped"
    held_out = table(program.output / "predictions.csv")
    variants = json.loads((program.output / "report.json").read_text(encoding="utf-8"))["variants"]
    assert variants[1]["reason"] == "the run was stopped early."
    asked = [number for name, number in after if name == "int8"]
    assert max(asked, default=0) <= max(len(held_out), done + 1), "none was asked after the stop but in float32"
    assert program.of("result")[0]["agreement"] == 1.0


def test_a_stop_while_test_images_are_scored_leaves_out_the_rest(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.output, tmp_path / "run")
    program = Program(finished.code, finished.data, tmp_path / "run", seed=5)
    monkeypatch.setattr(stages, "ENOUGH_SCORED", 4)
    monkeypatch.setattr(stages, "CHUNK", 2)
    stop_at(monkeypatch, program.output, "evaluate", 6)
    assert program.call(monkeypatch) == 0, program.log
    assert program.status["state"] == "stopped"
    (result,), rows = program.of("result"), table(program.output / "predictions.csv")
    whole = {row["ImageSource"]: row for row in table(finished.output / "predictions.csv")}
    assert len(rows) == 6 and result["test_images_left_out"] == len(whole) - 6
    assert result["test_accuracy"] == sum(row["Label"] == row["Prediction"] for row in rows) / 6
    for row in rows:
        assert row["Label"] == whole[row["ImageSource"]]["Label"]
        scores, before = (
            [float(value) for name, value in one.items() if name.startswith("Score.")]
            for one in (row, whole[row["ImageSource"]])
        )
        assert scores == pytest.approx(before, abs=1e-5)
    assert {row["ImageSource"] for row in rows} != set(list(whole)[:6]), "not the first: a random sample"
    report = Report.from_run(program.output)
    assert report.pictures == 6
    assert report.caveats[0].endswith(f"the accuracy comes from 6 of {len(whole)}, chosen at random.")


def test_notice_of_preemption_stops_as_well(code, pictures, tmp_path):
    program = Program(code, pictures, tmp_path / "run", epochs=500, patience=500)
    assert program.end_at("notice") == 0, program.log
    assert program.status["state"] == "stopped"
    assert [epoch["phase"] for epoch in program.of("epoch")] == ["features"]  # no model yet: that one first
    assert (program.output / "bestModel.onnx").exists()


def test_no_time_for_an_epoch_leaves_the_frozen_features(code, pictures, tmp_path, monkeypatch):
    program = Program(code, pictures, tmp_path / "run", max_minutes=0.01)
    assert program.call(monkeypatch) == 0, program.log
    assert program.status["state"] == "completed"
    assert program.of("result")[0]["best_phase"] == "features"
    assert [record["code"] for record in program.of("left out")] == ["no_time"]


def test_too_low_an_accuracy_fails_after_everything_is_written(code, pictures, tmp_path, monkeypatch):
    whole = tmp_path / "noise"
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (whole / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(whole / name / f"{index}.png")
    program = Program(code, whole, tmp_path / "run", recipe="features", min_accuracy=1.0)
    assert program.call(monkeypatch) == 2, program.log
    error = program.status["error"]
    assert error["cause"].startswith("The accuracy on the test images is ")
    assert error["cause"].endswith(", below min_accuracy 1.")
    assert (program.output / "report.json").exists() and (program.output / "MLModel.zip").exists()


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit of util-linux to limit the size of files")
def test_a_full_disk_is_named_and_the_earlier_checkpoint_stays(code, pictures, tmp_path):
    program = Program(code, pictures, tmp_path / "run")
    kept = program.output / "checkpoint" / "last.pt"
    assert program.end_at("after a checkpoint") == -signal.SIGKILL, program.log
    before = kept.read_bytes()
    # bytes that a file may have: the head fits, the fine-tuned network does not
    assert program.run("prlimit", "--fsize=2000000") == 2, program.log
    error = program.status["error"]
    assert error["cause"].startswith(f"There is no room in {kept.parent} (File too large): about ")
    assert error["cause"].endswith("MiB are left on its disk.")
    assert torch.load(io.BytesIO(before), weights_only=True)["format"] == 2
    assert "frozen" in torch.load(kept, weights_only=True)
    assert not list(kept.parent.glob(".*"))


@pytest.mark.parametrize("recipe", ["features", "auto"])
def test_a_disk_on_which_it_can_only_fail_is_refused_at_once(code, pictures, tmp_path, monkeypatch, recipe):
    left = shutil.disk_usage("/")._replace(free=3 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: left)
    program = Program(code, pictures, tmp_path / "run", recipe=recipe)
    assert program.call(monkeypatch) == 2, program.log
    cause = program.status["error"]["cause"]
    needed = {"features": "about 39 MiB", "auto": "about 154 MiB"}[recipe]
    assert str(program.output) in cause and needed in cause and "3.0 MiB are left" in cause
    assert not program.of("epoch")


def test_wrong_settings_are_refused_at_once(code, pictures, tmp_path, monkeypatch):
    program = Program(code, pictures, tmp_path / "run", epochs=-1, banana=3)
    assert program.call(monkeypatch) == 2
    assert program.status["error"]["cause"].startswith("2 settings are wrong: ")


def test_a_missing_folder_of_pictures_is_refused(code, tmp_path, monkeypatch):
    program = Program(code, tmp_path / "absent", tmp_path / "run")
    assert program.call(monkeypatch) == 2
    assert "absent" in program.status["error"]["cause"]


def test_a_picture_changed_since_the_split_is_named(finished, code, pictures, tmp_path, monkeypatch):
    shutil.copytree(pictures, tmp_path / "pictures")
    program = Program(code, tmp_path / "pictures", tmp_path / "run")
    shutil.copy(finished.output / "split.csv", program.output)
    monkeypatch.setenv("XDG_CACHE_HOME", str(code / "cache"))  # also the program's
    looked_at = len(Dataset(tmp_path / "pictures"))
    remembered = index_file(tmp_path / "pictures", False)
    assert looked_at == 72 and remembered.exists()
    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / "wide" / "7.png")
    assert program.call(monkeypatch) == 2, program.log
    assert program.status["error"]["cause"] == "The image wide/7.png changed after the images were checked."
    assert not remembered.exists(), "the next look reads every image again, whatever the file system says"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gloo over torchrun is tested on Unix")
def test_what_ends_the_second_process_is_told_by_the_run(finished, code, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "pictures")
    program = Program(code, tmp_path / "pictures", tmp_path / "run", image_size=48)
    shutil.copy(finished.output / "split.csv", program.output)
    with (finished.output / "split.csv").open(encoding="utf-8", newline="") as file:
        trained = [row["ImageSource"] for row in csv.DictReader(file) if row["Split"] == "train"]
    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / trained[1])  # the processes take turns
    assert program.run(module=TORCHRUN) != 0, program.log
    told = [json.loads((program.output / name).read_bytes()) for name in ("status.json", "failed.json")]
    assert program.status["state"] == "failed", program.log
    for each in told:
        assert each["error"]["cause"] == f"The image {trained[1]} changed after the images were checked."


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gloo over torchrun is tested on Unix")
def test_two_processes_give_the_numbers_of_one(finished, code, pictures, tmp_path):
    program = Program(code, pictures, tmp_path / "run", seed=5)
    # on a busy machine two processes may find another engine the fastest than one did: not what is tested here
    (program.output / "checkpoint").mkdir()
    shutil.copy(finished.output / "checkpoint" / "engine.json", program.output / "checkpoint")
    assert program.run(module=TORCHRUN) == 0, program.log
    assert len(program.of("epoch")) == len(finished.of("epoch"))
    for alone, together in zip(
        finished.of("epoch") + finished.of("result"), program.of("epoch") + program.of("result"), strict=True
    ):
        for name, value in alone.items():
            if isinstance(value, float):
                assert together[name] == pytest.approx(value, abs=1e-3), name
            else:
                assert together[name] == value, name
