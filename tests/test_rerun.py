"""A run repeated from its record, with a stand-in for the training program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

import mb_jupyter
from mb_jupyter.config import resolve
from mb_jupyter.errors import DataError
from mb_jupyter.experiment import Experiment
from mb_jupyter.rerun import Rerun, begin_again, rerun
from mb_jupyter.run import Run
from tests.standin import move_in, write_pictures


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    move_in(tmp_path, monkeypatch)
    write_pictures(tmp_path / "trees")
    return Experiment.local("trees").start(resolve({"data": "trees", "epochs": 1, "seed": 3}).config).wait()


def test_the_same_again(before: Run) -> None:
    found = rerun(before)
    assert found.again.id != before.id and dict(found.again.config) == dict(before.config)
    assert found.same_split and found.flips == []
    assert all(old == new for _, old, new in found.figures)
    for shown in found._repr_mimebundle_().values():
        assert "Every figure and every answer is the same, of 6 test images that both have." in shown
        assert before.handle in shown


def test_renamed_pictures_are_the_same_pictures(before: Run, tmp_path: Path) -> None:
    for path in sorted((tmp_path / "trees").glob("*/*.png")):
        path.rename(path.with_name(f"new-{path.name}"))
    found = rerun(before)
    assert len(found.answers) == 6 and found.flips == []
    path = found.again.folder / "predictions.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",birch,birch,", ",birch,oak,"), encoding="utf-8")
    assert [(label, was, now) for _, label, was, now in found.flips] == [("birch", "birch", "oak")] * 2
    assert "2 answers differ, of 6 test images that both have." in found._repr_mimebundle_()["text/plain"]


def test_runs_with_no_picture_in_common_are_not_said_to_answer_the_same(before: Run) -> None:
    found = rerun(before)
    (found.again.folder / "predictions.csv").write_text("ImageSource,Label,Prediction\n", encoding="utf-8")
    said = found._repr_mimebundle_()["text/plain"]
    assert "No test image is in both runs" in said and "answer is the same" not in said


def test_a_repetition_that_goes_on_elsewhere_has_nothing_to_compare(
    before: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN", "deaf")
    found = Rerun(before, begin_again(before))  # as when it is detached from
    try:
        assert found.flips == []
        for shown in found._repr_mimebundle_().values():
            assert "has no report, so there is nothing to compare" in shown
    finally:
        found.again.cancel()


def test_a_flipped_answer_is_named(before: Run) -> None:
    found = rerun(before)
    path = found.again.folder / "predictions.csv"
    head, first, *rest = path.read_text(encoding="utf-8").splitlines()
    cells = first.split(",")
    was, cells[2] = cells[2], "<b>elm</b>"
    path.write_text("\n".join([head, ",".join(cells), *rest]), encoding="utf-8")
    assert found.flips == [(cells[0], cells[1], was, "<b>elm</b>")]
    page = found._repr_mimebundle_()["text/html"]
    assert "1 answer differs, of 6 test images" in page and "&lt;b&gt;elm" in page and "<b>elm" not in page


def test_another_figure_with_the_same_answers_is_said(before: Run) -> None:
    found = rerun(before)
    path = found.again.folder / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "test_loss": 9.0}), encoding="utf-8")
    said = found._repr_mimebundle_()["text/plain"]
    assert "Every answer is the same, not every figure, of 6" in said


def test_what_made_the_run_before_is_compared_too(before: Run) -> None:
    record = json.loads((before.folder / "run.json").read_text(encoding="utf-8"))
    program = record["program"]
    assert record["mb_jupyter"] == mb_jupyter.__version__
    (before.folder / "run.json").write_text(json.dumps({**record, "program": "0123"}), encoding="utf-8")
    (before.folder / "reproducibility.json").write_text(json.dumps({"weights_sha256": "ab", "engine": "torch"}))
    found = rerun(Run(before.folder))
    (found.again.folder / "reproducibility.json").write_text(json.dumps({"weights_sha256": "cd", "engine": "torch"}))
    said = found._repr_mimebundle_()["text/plain"]
    assert f"The training program was 0123 and is {program}." in said
    assert "The hash of the weights was ab and is cd." in said and "engine" not in said
    report = found.again.report
    changed = report.comparison(found.before.report).changes
    assert changed["What"].tolist() == ["training program", "weights (SHA-256)"]
    assert (
        f"mb_jupyter {mb_jupyter.__version__}, training program {program}" in report._repr_mimebundle_()["text/plain"]
    )


def test_other_pictures_are_named(before: Run, tmp_path: Path) -> None:
    (tmp_path / "trees/oak/0.png").unlink()
    Image.new("RGB", (20, 20), (9, 90, 9)).save(tmp_path / "trees/pine/1.png")
    with pytest.raises(DataError) as refused:
        rerun(before)
    assert "1 gone, such as 'oak/0.png'; 1 changed, such as 'pine/1.png'" in refused.value.cause


def test_the_command(before: Run) -> None:
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "mb_jupyter")
    found = shell.run_line_magic("mb_rerun", before.handle)
    assert found.before.id == before.id and found.same_split
