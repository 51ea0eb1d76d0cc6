"""Stands for the training program where a test is about what is around it: the same files, nothing learned.

``STANDIN`` in the environment says how it behaves: ``slow`` waits to be stopped, ``deaf`` for ever, ``held``
stays in its last epoch, also after a stop, until the file that ``STANDIN_GO`` names is there, ``refuse``, ``bug``
and ``crash`` fail, ``die`` is killed once and goes on the second time.
"""

import argparse
import csv
import json
import os
import pathlib
import shutil
import signal
import sys
import time

parser = argparse.ArgumentParser()
for name in ("--config", "--data", "--output"):
    parser.add_argument(name, type=pathlib.Path, required=True)
args = parser.parse_args()
output, settings = args.output, json.loads(args.config.read_text())
behaviour = os.environ.get("STANDIN", "")
if os.environ.get("RANK", "0") != "0":  # the first process of all writes
    sys.exit(0)
status: dict = {"state": "running", "stages": [], "started": time.time(), "pid": os.getpid(), "error": None}


def tell(**values):
    status.update(values, updated=time.time())
    (output / ".status").write_text(json.dumps(status))
    (output / ".status").replace(output / "status.json")


def record(event, **values):
    with (output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "time": time.time(), **values}) + "\n")


def stage(name, **values):
    if status["stages"]:
        status["stages"][-1]["seconds"] = time.time() - status["stages"][-1]["started"]
    status["stages"].append({"stage": name, "started": time.time(), "seconds": None})
    tell(stage=name, message="", **values)
    record("stage", stage=name)
    print("stage", name, flush=True)


with (output / "split.csv").open(newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
held_out = [row for row in rows if row["Split"] == "test"]
classes = sorted({row["Label"] for row in rows})
stage("start")
record("start", architecture="standin", reason="standin: asked for by a test", device="cpu", precision="fp32",
       pictures={"train": len(rows) - len(held_out), "test": len(held_out)}, classes=classes,
       batch_size=64)  # fmt: skip
if behaviour in ("refuse", "bug"):
    error = {"cause": "The weights of another network.", "fix": "Name the right file.", "alternative": ""}
    error |= {"traceback": "Traceback: a bug"} if behaviour == "bug" else {}
    tell(state="failed", error=error)
    print("the last line of the log", flush=True)
    sys.exit(2 if behaviour == "refuse" else 1)
if behaviour == "crash":
    raise LookupError("no such leaf")
first = not (output / "checkpoint").exists()
(output / "checkpoint").mkdir(exist_ok=True)
(output / "checkpoint/last").touch()
stage("features", done=0, total=len(rows), fraction=0.1, eta_seconds=3.0)
stage("head")
epochs = 6_000 if behaviour in ("slow", "deaf") else settings["epochs"]
stopped = False
for epoch in range(epochs + 1):
    record("epoch", phase="finetune" if epoch else "features", epoch=epoch, train_loss=1 / (epoch + 1),
           train_accuracy=0.9, validation_loss=1 / (epoch + 1), validation_accuracy=0.8 + epoch / 10000,
           learning_rate=0.1, seconds=0.05, pictures_per_second=100.0, best=True)  # fmt: skip
    if epoch == 1 and behaviour == "die" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if stopped or epoch == epochs:
        break
    stage("epoch", done=epoch, total=epochs, fraction=0.5, eta_seconds=2.0)
    time.sleep(0.05)
    stopped = behaviour != "deaf" and (output / "stop").exists()
    last = stopped or epoch == epochs - 1
    while behaviour == "held" and last and not pathlib.Path(os.environ["STANDIN_GO"]).exists():
        tell()  # as the program's heart does
        time.sleep(0.5)
        stopped = stopped or (output / "stop").exists()
for name in ("calibrate", "evaluate", "export", "verify"):
    stage(name, fraction=0.9, done=None, total=None, eta_seconds=0.5)
with (output / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["ImageSource", "Label", "Prediction", *(f"Score.{name}" for name in classes)])
    for row in held_out:
        scores = [1.0 if name == row["Label"] else 0.0 for name in classes]
        writer.writerow([row["ImageSource"], row["Label"], row["Label"], *scores])
result = {"test_accuracy": 1.0, "test_loss": 0.1, "agreement": 1.0, "largest_difference": 1e-7, "seconds": 1.0}
record("result", **result)
(output / "report.json").write_text(json.dumps(result))
if (model := pathlib.Path(os.environ.get("STANDIN_MODEL", ""))).is_file():
    shutil.copy(model, output / "bestModel.onnx")
missed = settings["min_accuracy"] is not None and behaviour == "missed"
if missed:
    tell(state="failed", error={"cause": "Accuracy 50.0% is below min_accuracy.", "fix": "Add pictures."})
    sys.exit(2)
tell(state="stopped" if stopped else "completed", fraction=1.0, eta_seconds=0.0)
