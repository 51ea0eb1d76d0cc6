"""A run in which no image could be held out says so, in the cell, in the report and as a command's answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from mb_jupyter import Report
from mb_jupyter.errors import MBError
from mb_jupyter.run import Run
from tests.finished_run import write_run

# class: the groups of its images in the training part
FEW = {"one of each": {"red": 1, "green": 1, "blue": 1}, "two of each": {"red": 2, "green": 2}}


def without_test_images(place: Path, classes: dict[str, int]) -> Run:
    """Return a completed run that has trained on all of its images."""
    run = write_run(place, tuple(classes))
    (run.folder / "predictions.csv").unlink()
    rows = [
        (f"{name}/{n}.png", name, "train", f"{name}{n}", f"{name}{n}") for name in classes for n in range(classes[name])
    ]
    columns = ["ImageSource", "Label", "Split", "Sha256", "Group"]
    pd.DataFrame(rows, columns=columns).to_csv(run.folder / "split.csv", index=False)
    result = {"event": "result", "test_accuracy": None, "agreement": None, "best_phase": "features"}
    (run.folder / "metrics.jsonl").write_text(json.dumps(result) + "\n")
    return run


@pytest.mark.parametrize("classes", FEW.values(), ids=FEW)
def test_nothing_held_out_is_said_with_what_to_add(tmp_path: Path, classes: dict[str, int]) -> None:
    run = without_test_images(tmp_path, classes)
    with pytest.raises(MBError) as caught:
        _ = run.report
    (run.folder / "report.json").write_text('{"test_accuracy": null}')
    with pytest.raises(MBError) as direct:
        Report.from_run(run.folder)
    cell = run._repr_mimebundle_()["text/plain"]
    errors = [f"{one.value.cause} {one.value.fix}" for one in (caught, direct)]
    for said in (*errors, cell):
        assert f"no accuracy: all {sum(classes.values())} images were used for training" in said
        assert "at least 3 that are not copies of each other" in said
        for name, number in classes.items():
            assert f"{name} has {number}" in said
        assert "Train again" not in said and "?" not in said
    assert re.findall(r"Next: (.*)", cell) == ["%mb_predict IMAGE"], "there is nothing to evaluate"


def test_a_tested_run_offers_its_report(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run.folder / "metrics.jsonl").write_text('{"event": "result", "test_accuracy": 0.9}\n')
    cell = run._repr_mimebundle_()["text/plain"]
    assert "Next: %mb_evaluate" in cell and "on test images" in cell
