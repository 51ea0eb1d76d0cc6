"""Pictures that a person left out or relabelled: in the findings, the split, the run's identity."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mb_jupyter import Dataset
from mb_jupyter.config import resolve
from mb_jupyter.errors import ConfigError, DataError
from mb_jupyter.experiment import Experiment
from mb_jupyter.run import Run
from mb_jupyter.training.parts import find
from mb_jupyter.training.record import Recorder
from mb_jupyter.training.review import read_patch
from mb_jupyter.training.settings import Settings
from tests.picture_files import folder_of
from tests.standin import move_in

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    move_in(tmp_path, monkeypatch)
    folder_of(tmp_path / "flowers", {"rose": 12, "tulip": 20})
    return tmp_path


def patch(folder: Path, *rows: tuple[str, str, str], name: str = "labels.patch.csv") -> Path:
    """Write a file as the report writes it and a person reviews it."""
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("ImageSource", "Label", "NewLabel"), *rows])
    return folder / name


def test_excluded_and_relabelled_pictures_are_named(place: Path) -> None:
    plain = Dataset("flowers")
    labels = patch(place, ("rose/003.jpg", "rose", "tulip"))
    data = Dataset("flowers", exclude=["rose/001.jpg", "./tulip/000.jpg"], labels=labels)
    assert data.counts == {"rose": 10, "tulip": 20}
    assert {"rose/001.jpg", "tulip/000.jpg"}.isdisjoint(data.frame.ImageSource)
    assert data.frame.set_index("ImageSource").Label["rose/003.jpg"] == "tulip"
    found = {finding.kind: finding for finding in data.findings}
    assert found["excluded"].files == ("rose/001.jpg", "tulip/000.jpg") and found["excluded"].excluded
    assert found["relabelled"].files == ("rose/003.jpg",)
    text = data._repr_mimebundle_()["text/plain"]
    assert "2 pictures are left out because `exclude` says so: 'rose/001.jpg' and 'tulip/000.jpg'." in text
    assert "1 picture has another label because `labels` says so, such as 'rose/003.jpg': 'tulip' instead of" in text
    assert data.fingerprint != plain.fingerprint
    assert Dataset("flowers").fingerprint == plain.fingerprint  # nothing was changed on the disk or remembered


def test_a_table_is_reviewed_like_a_folder(place: Path) -> None:
    rows = [(str(path.relative_to(place)), path.parent.name) for path in sorted(place.glob("flowers/*/*.jpg"))]
    table = pd.DataFrame(rows, columns=["ImageSource", "Label"])
    labels = patch(place, ("flowers\\rose\\003.jpg", "rose", "tulip"))
    data = Dataset(table, exclude=["flowers/rose/001.jpg"], labels=labels)
    assert data.counts == {"rose": 10, "tulip": 21}


def test_rows_nobody_decided_change_nothing(place: Path) -> None:
    labels = patch(place, ("rose/003.jpg", "rose", ""), ("tulip/003.jpg", "tulip", "tulip"))
    data = Dataset("flowers", labels=labels)
    assert data.fingerprint == Dataset("flowers").fingerprint
    assert not [finding for finding in data.findings if finding.kind == "relabelled"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_patch_that_a_spreadsheet_saved(place: Path, delimiter: str) -> None:
    rows = ["ImageSource,Label,NewLabel,Suggested", "rose/003.jpg,rose,tulip,tulip", "rose/004.jpg,rose,,tulip"]
    text = "\ufeff" + "\r\n".join(rows).replace(",", delimiter)
    (place / "mine.csv").write_bytes(text.encode())
    assert Dataset("flowers", labels="mine.csv").counts == {"rose": 11, "tulip": 21}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("rose/999.jpg", "rose", "tulip"), "'rose/999.jpg' is not there"),
        (("rose/003.jpg", "rose", "tulpi"), "'rose/003.jpg' gets the new label 'tulpi', which is no class"),
        (("rose/003.jpg", "tulip", "rose"), "'rose/003.jpg' is said to be 'tulip' and is 'rose' now"),
        ((HOSTILE, "rose", "tulip"), f"'{HOSTILE}' is not there"),
    ],
)
def test_a_row_that_does_not_fit_is_named(place: Path, row: tuple[str, str, str], said: str) -> None:
    labels = patch(place, ("rose/004.jpg", "rose", "tulip"), row)
    with pytest.raises(DataError) as refused:
        Dataset("flowers", labels=labels)
    assert refused.value.cause == f"`labels` does not fit the pictures: {said}."
    assert refused.value.fix == "Correct or delete these rows. The classes are 'rose' and 'tulip'."


def test_a_picture_twice_in_the_patch(place: Path) -> None:
    labels = patch(place, ("rose/004.jpg", "rose", "tulip"), ("rose/004.jpg", "rose", "tulip"))
    with pytest.raises(DataError, match=r"'rose/004\.jpg' is there twice"):
        Dataset("flowers", labels=labels)


def test_excluding_what_is_not_there_is_a_mistake(place: Path) -> None:
    with pytest.raises(DataError, match=r"`exclude` does not fit the pictures: 'rose/99\.jpg' is not there\."):
        Dataset("flowers", exclude=["rose/99.jpg"])
    with pytest.raises(
        DataError, match=r"'rose/1\.jpg' is not there, 'rose/001\.jpg' is; 'ROSE/002\.PNG' is not there, "
    ):
        Dataset("flowers", exclude=["rose/1.jpg", "ROSE/002.PNG"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no file of labels"),
        (b"ImageSource,Label\nrose/003.jpg,rose\n", "has no column NewLabel"),
        (b"", "has no column ImageSource and no column Label and no column NewLabel"),
    ],
)
def test_what_is_no_patch(place: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (place / "odd.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        Dataset("flowers", labels="odd.csv")


def start(**settings: Any) -> Run:
    run = Experiment.local("flowers").start(resolve({"data": "flowers", "epochs": 1, **settings}).config)
    return run.wait()


def test_they_are_part_of_the_run_and_of_what_it_is(place: Path) -> None:
    before = start()
    labels = patch(place, ("rose/003.jpg", "rose", "tulip"))
    run = start(exclude=["rose/001.jpg"], labels=str(labels))
    assert run.id != before.id
    with (run.folder / "split.csv").open(encoding="utf-8", newline="") as file:
        split = {row["ImageSource"]: row["Label"] for row in csv.DictReader(file)}
    assert "rose/001.jpg" not in split and split["rose/003.jpg"] == "tulip"
    record = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    assert record["left_out"] == 1
    assert record["config"]["exclude"] == ["rose/001.jpg"]
    moved = patch(place, ("rose/003.jpg", "rose", "tulip"), name="other name.csv")
    assert start(exclude="rose/001.jpg", labels=str(moved)).id == run.id  # the same decisions are the same run
    patch(place, ("rose/004.jpg", "rose", "tulip"))
    assert start(exclude=["rose/001.jpg"], labels=str(labels)).id not in (run.id, before.id)


def test_the_corrections_stay_with_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch(place, ("rose/003.jpg", "rose", "tulip"))
    run = start(labels="labels.patch.csv")
    patch(place, ("rose/004.jpg", "rose", "tulip"))  # decided after the training
    monkeypatch.chdir(place / "kept")
    path = run.report.write_patch(place / "next.csv")
    assert [(row.source, row.label, row.new_label) for row in read_patch(path)] == [("rose/003.jpg", "rose", "tulip")]


def test_the_configuration_takes_a_list(place: Path) -> None:
    config = resolve(
        {}, "data: x\nexclude:\n  - a b.jpg\n  - {{name}}\nunsure_below: .6", namespace={"name": "c"}
    ).config
    assert config.exclude == ("a b.jpg", "c") and config.unsure_below == 0.6
    assert resolve({}, "data: x\nexclude: [a.jpg]").config.exclude == ("a.jpg",)
    with pytest.raises(ConfigError) as refused:
        resolve({}, "data: x\nexclude: [[a]]\nlabels: [a]\nunsure_below: 60")
    assert [line.split(" ")[:3] for line in refused.value.cause.splitlines()] == [
        ["line", "3:", "`exclude`"], ["line", "4:", "`labels`"], ["line", "5:", "`unsure_below`"]
    ]  # fmt: skip


def test_the_program_on_its_own_honours_them_too(place: Path) -> None:
    labels = patch(place, ("rose/003.jpg", "rose", "tulip"))
    settings = Settings.from_dict({"exclude": ["rose/001.jpg"], "labels": str(labels)})
    parts = find(settings, place / "flowers", place, Recorder(place))
    samples = {sample.source: parts.classes[sample.label] for sample in (*parts.train, *parts.validation, *parts.test)}
    assert "rose/001.jpg" not in samples and samples["rose/003.jpg"] == "tulip"
