"""What may be done with what a run has left is decided by its recorded state, never by the files that are there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

import mb_jupyter
from mb_jupyter import compare, load, when
from mb_jupyter.errors import MBError, ModelError, WorkspaceError
from mb_jupyter.export import export
from mb_jupyter.history import chosen, latest_with
from mb_jupyter.panels.choosing import opened
from mb_jupyter.prediction import Prediction
from mb_jupyter.rerun import begin_again
from mb_jupyter.run import Run
from mb_jupyter.standing import Origin, in_card
from tests.finished_run import write_run
from tests.magic_shell import open_shell
from tests.magic_shell import run as said
from tests.tiny_model import write_model, write_zip

LATER = "20261124-090000-cd34"
ENDS: dict[str, dict[str, Any]] = {
    # what is recorded of a run that left every file of a model and did not end with one
    "cancelled": {"exit.json": {"returncode": -9}, "canceled": "", "status.json": {"state": "running"}},
    "failed": {"exit.json": {"returncode": 1}, "status.json": {"state": "failed", "error": {"cause": "No."}}},
    "gone": {
        "exit.json": None,
        "process.json": {"pid": 2**22 + 5, "created": 1.0},
        "status.json": {"state": "running"},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    write_run(place, each=3)
    return place


@pytest.fixture
def good(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: Callable[[str], None]) -> Run:
    """Return a completed run in a workspace of its own; its data are in the current folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MB_WORKSPACE", raising=False)
    zone("Europe/Berlin")
    return Run(next((tmp_path / "mb_workspace").glob("*/2*")))


def later(good: Run, end: str) -> Run:
    """Return a later run of the same experiment with the same files, and another end."""
    folder = good.folder.with_name(LATER)
    shutil.copytree(good.folder, folder)
    record = json.loads((folder / "run.json").read_text())
    shutil.copy(folder / "bestModel.onnx", folder / "bestModel.int8.onnx")
    # a first model is none of a run that failed; nor are the figures of one that was cancelled after its evaluation
    events = ["model", "result"] if end == "cancelled" else ["model"]
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"event": event}) + "\n" for event in events)
    record |= {"id": LATER, "handle": f"local://hues/{LATER}", "created": "2026-11-24T09:00:00+00:00"}
    for name, value in {**ENDS[end], "run.json": record}.items():
        if value is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return Run(folder)


@pytest.fixture
def shell(good: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    with open_shell(tmp_path, monkeypatch) as shell:
        yield shell


def refused(shell: InteractiveShell, cell: str) -> str:
    with capture_output(), pytest.raises(MBError) as caught:
        shell.run_cell(cell).raise_error()
    return str(caught.value)


# -- which runs have a model ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS)
def test_its_files_are_no_model_for_any_command(good, shell, end):
    bad = later(good, end)
    word = "was cancelled" if end == "cancelled" else "failed"
    assert "hues, 23 Nov 11:15, 90.0 %" in said(shell, "%mb_predict colours/red/00.png")
    assert "hues, 23 Nov 11:15, 90.0 %" in said(shell, "%mb_explain colours/red/00.png")
    assert good.handle in said(shell, "%mb_evaluate")
    assert good.handle in said(shell, "%mb_evaluate hues"), "an experiment means its latest run with a report"
    said(shell, "%mb_export --to out")
    assert good.handle in (Path("out") / "HuesModel/MODEL_CARD.md").read_text()
    with capture_output():  # from here on it is the kernel's last run
        shell.run_cell(f"%mb_attach {bad.handle}")
    assert "hues, 23 Nov 11:15, 90.0 %" in said(shell, "%mb_predict colours/red/00.png")
    for command in (
        f"%mb_predict -r {bad.handle} colours/red/00.png",
        f"%mb_predict -m {bad.folder} colours/red/00.png",
        f"%mb_predict -m {bad.folder}/MLModel.zip colours/red/00.png",
        f"%mb_explain -r {bad.handle} colours/red/00.png",
        f"%mb_evaluate {bad.handle}",
        f"%mb_export {bad.handle} --to out2",
        f"%mb_compare {bad.handle} {good.handle}",
        f"%mb_rerun {bad.handle}",
    ):
        told = refused(shell, command)
        assert f"{bad.handle} {word}: it has no " in told and "%mb_runs" in told, command


@pytest.mark.parametrize("end", ENDS)
def test_nor_for_any_function(good, end):
    bad = later(good, end)
    for ask in (
        lambda: bad.model, lambda: bad.report, lambda: bad.predict("colours/red/00.png"), lambda: load(bad.folder),
        lambda: load(bad.folder / "bestModel.onnx"), lambda: load(bad.folder / "bestModel.int8.onnx"),
        lambda: export(bad, "out"), lambda: compare(bad, good),
        lambda: begin_again(bad),
    ):  # fmt: skip
        with pytest.raises(ModelError, match="no command uses the files it has left"):
            ask()
    assert latest_with("model").folder == latest_with("report").folder == good.folder
    assert opened(bad.handle, "model") is None and opened(bad.handle, "report") is None
    assert chosen("hues", "model").folder == good.folder
    (newest := good.folder.with_name("20261125-090000-ef56")).mkdir()
    for file in good.folder.iterdir():
        shutil.copy(file, newest)
    before = Run(newest).report.previous
    assert before is not None and before.folder == good.folder, "a report is compared with a run that has one"
    row = mb_jupyter.runs().frame.set_index("Handle").loc[bad.handle]
    assert row["State"] == ("cancelled" if end == "cancelled" else "failed")
    assert row["Accuracy"] == "" or end != "cancelled"


def test_a_run_that_only_missed_its_accuracy_still_has_a_report(good):
    bad = later(good, "failed")
    (bad.folder / "metrics.jsonl").write_text('{"event": "result", "test_accuracy": 0.5}\n')
    assert bad.report.right == good.report.right
    with pytest.raises(ModelError, match="%mb_why"):
        _ = bad.model
    assert latest_with("report").folder == good.folder


def test_the_first_model_of_a_run_that_goes_on_may_be_used_and_says_so(good):
    (good.folder / "run.json").touch()  # it was submitted a moment ago
    (good.folder / "exit.json").unlink()
    with pytest.raises(ModelError, match="has no model: it is starting"):
        _ = good.model
    with (good.folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "model", "phase": "features", "validation_accuracy": 0.8}\n')
    answer = good.predict("colours/red/00.png")
    assert "Model: hues, 23 Nov 11:15, from the first model of a run still in training" in str(
        answer._repr_mimebundle_()["text/plain"]
    )
    with pytest.raises(ModelError, match="has not been evaluated"):
        _ = good.report
    with (good.folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "model", "phase": "features", "test_accuracy": 0.8}\n')
    assert "from a run whose model is still being checked" in good.model.origin.text


def test_the_view_of_a_discarded_run_says_where_its_files_are(good):
    shown = later(good, "cancelled")._repr_mimebundle_()
    for text in shown.values():
        assert f"Discarded: this run has no model. Its files are in mb_workspace/hues/{LATER}; no command" in text
    assert "hues: cancelled" in shown["text/plain"] and "Accuracy" not in shown["text/plain"]


def test_a_run_is_not_compared_with_itself(good):
    for names in ((good.handle, good.id), ("hues", "hues")):
        with pytest.raises(WorkspaceError, match="is named twice"):
            compare(*names)


# -- whose model answers ----------------------------------------------------------------------------------


def test_every_answer_names_its_run(good, tmp_path):
    name = "hues, 23 Nov 11:15, 90.0 %"
    one = good.predict("colours/red/00.png")
    some, many = good.predict("colours/red"), good.predict(["colours/red", "colours"] * 5)
    to = good.model.predict_to(tmp_path / "out.csv", "colours")
    for answer in (one, some, many, to, good.model.explain("colours/red/00.png"), good.model):
        bundle = answer._repr_mimebundle_()
        assert name in bundle["text/plain"] and name in bundle["text/html"], type(answer)
    assert one.run == some[0].run == some[:2].run == name
    assert "hues" not in (tmp_path / "out.csv").read_text()
    plain = Prediction("a", {"a": 0.5, "b": 0.3, "c": 0.2}, source="x.png")
    heights = [Image.open(io.BytesIO(each.png())).height for each in (plain, one)]
    assert heights[1] > heights[0]


def test_a_file_without_its_folder_names_the_run_from_its_metadata(good, tmp_path):
    zipped = write_zip(tmp_path / "away.zip")
    answer = load(zipped).predict("colours/red/00.png")
    assert answer.run == "colours, 23 Nov 11:15, 88.9 %"
    assert answer.seen is None
    assert load(write_model(tmp_path, tests="27")).origin.text == "colours, 23 Nov 11:15, 88.9 % (24 of 27 test images)"
    assert load(write_model(tmp_path, run="", metrics="{}")).predict("colours/red/00.png").run == ""


def test_a_model_put_into_the_folder_of_another_run_is_not_given_its_name(good):
    shutil.copy(write_model(good.folder.parent), good.folder / "other.onnx")
    assert load(good.folder / "other.onnx").origin.text == "colours, 23 Nov 11:15, 88.9 %"


@pytest.mark.parametrize(
    ("card", "origin"),
    [
        ({"run": "azure://space/wood-20261123-101502-ab12-2"}, Origin("wood", "2026-11-23T10:15:02+00:00")),
        ({"run": "local://a-b/20261123-101502-ab12"}, Origin("a-b", "2026-11-23T10:15:02+00:00")),
        ({"run": "something", "metrics": {"test_accuracy": None}}, Origin()),
        ({"metrics": {"test_accuracy": 0.5}, "pictures": {"test": 4}}, Origin(accuracy=0.5, tests=4)),
        ({}, Origin()),
    ],
)
def test_what_old_files_do_not_say_is_left_out(card, origin):
    assert in_card(card) == origin


def test_times_are_in_the_zone_of_the_machine(zone):
    zone("Asia/Tokyo")
    assert when.minute("2025-11-29T20:31:04+00:00") == "2025-11-30 05:31 JST"
    assert when.short("2025-11-29T20:31") == "30 Nov 2025 05:31"
    assert when.second(0) == "09:00:00 JST"
    assert when.short("yesterday") == when.minute(None) == when.second("") == ""


# -- images that the run has learned from -----------------------------------------------------------------


def test_an_answer_says_that_its_image_was_trained_on(good):
    files = sorted(Path("colours").glob("*/*.png"))
    parts = dict(zip(files, ["train", "train", "validation", "test"], strict=False))
    with (good.folder / "split.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageSource", "Label", "Split", "Sha256", "Group"])
        for path, part in parts.items():
            rows.writerow([path.name, "x", part, hashlib.sha256(path.read_bytes()).hexdigest(), "g"])
        for path, part in ((files[0], "test"), (files[2], "test")):  # a copy elsewhere takes nothing back
            rows.writerow([f"copy-{path.name}", "x", part, hashlib.sha256(path.read_bytes()).hexdigest(), "g"])
    model = good.model
    assert [model.predict(path).seen for path in files[:5]] == ["train", "train", "validation", "test", None]
    assert model.predict(files[0].read_bytes()).seen == "train"
    assert model.predict(Image.open(files[0])).seen is None, "what was decoded is no file"
    text = model.predict(files[2])._repr_mimebundle_()["text/plain"]
    assert "This image was in the validation images of this run: its score flatters." in text
    assert "flatters" in model.explain(files[0])._repr_mimebundle_()["text/html"]
    table = model.predict("colours")
    note = "2 of these images were in the training images of this run and 1 in its validation images: their scores"
    assert all(note in text for text in table._repr_mimebundle_().values())
    assert table.seen[:5] == ["train", "train", "validation", "test", None] == table[:5].seen
    assert "flatter" not in str(table[3:]._repr_mimebundle_())
    written = model.predict_to("out.csv", "colours")
    assert note in written._repr_mimebundle_()["text/plain"] and "train" not in Path("out.csv").read_text()


def test_without_hashes_nothing_is_claimed(good):
    assert good.predict("colours/red/00.png").seen is None
    (good.folder / "split.csv").unlink()
    assert good.predict("colours/red/00.png").seen is None
