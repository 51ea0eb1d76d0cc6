"""Leaks in the report: accuracy with and without them, and a caveat wherever the headline stands."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mb_jupyter.history import compare, runs
from mb_jupyter.report import Report
from mb_jupyter.run import Run
from mb_jupyter.workspace import Workspace
from tests.finished_run import write_run

CLOSE = "have a close neighbour in the training or validation part"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    made = write_run(tmp_path)
    result = {"event": "result", "time": 1.0, "test_accuracy": 0.9, "best_phase": "features", "seconds": 1.0}
    (made.folder / "metrics.jsonl").write_text(json.dumps(result) + "\n")
    return made


def parts(report: Report) -> list[tuple[int, int]]:
    """Return Right and Pictures with near copies, with close neighbours, and without."""
    assert report.leaks is not None
    return list(zip(report.leaks["Right"], report.leaks["Pictures"], strict=True))


def told(run: Run, close: int, copies: int = 0, *, old: bool = False) -> Report:
    """Write split.csv and neighbours.csv beside the predictions; the first test images leak, wrong ones last."""
    predictions = Report.from_run(run.folder).frame
    order = predictions.assign(right=predictions["Label"] == predictions["Prediction"])
    sources = list(order.sort_values("right", ascending=False, kind="stable")["ImageSource"])
    learned = [f"red/learned{index}.png" for index in range(len(sources))]
    rows = [(name, "red", "test", f"hash{index}", f"group{index}") for index, name in enumerate(sources)]
    rows += [
        (name, "red", "train", f"other{index}", f"group{index if index < copies else index + 900}")
        for index, name in enumerate(learned)
    ]
    write(run.folder / "split.csv", ("ImageSource", "Label", "Split", "Sha256", "Group"), rows)
    if not old:
        pairs = [(name, learned[i], "train", f"{0.9 - i / 100:.4f}", int(i < close)) for i, name in enumerate(sources)]
        columns = ("ImageSource", "Neighbour", "NeighbourSplit", "Similarity", "Close")
        write(run.folder / "neighbours.csv", columns, pairs)
        record = json.loads((run.folder / "report.json").read_text())
        record |= {"neighbours": {"close": close, "test": len(sources), "above": 3.5, "chance": 0.01}, "leaked": copies}
        (run.folder / "report.json").write_text(json.dumps(record))
    return Report.from_run(run.folder)


def write(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def test_close_neighbours_of_most_are_a_caveat_everywhere(run: Run) -> None:
    number = Report.from_run(run.folder).pictures
    close = number * 3 // 4
    report = told(run, close)
    assert [number for _, number in parts(report)] == [0, close, number - close]
    assert sum(right for right, _ in parts(report)) == report.right
    (caveat,) = report.caveats
    assert caveat.startswith(f"Most test images ({close} of {number}) {CLOSE}; on the other {number - close} it is ")
    assert "keep them together with `group:`" in caveat
    bundle = report._repr_mimebundle_()
    page = (run.folder / "report.html").read_text()
    for shown in (bundle["text/plain"], bundle["text/html"], page, run._repr_mimebundle_()["text/plain"],
                  run._repr_mimebundle_()["text/html"]):  # fmt: skip
        assert f"({close} of {number}) {CLOSE}" in shown
    assert caveat in bundle["text/plain"].splitlines()[:3]
    for html, below in ((bundle["text/html"], "<details"), (page, "<nav")):  # beside the accuracy, not only under Leaks
        assert html.index(f"({close} of {number}) {CLOSE}") < html.index(below)
    assert "Pairs of close neighbours (4 of" in bundle["text/plain"]
    assert json.loads((run.folder / "evaluation.json").read_text())["caveats"] == [caveat]
    run.export("exported")
    (card,) = Path("exported").rglob("MODEL_CARD.md")
    assert caveat in card.read_text(encoding="utf-8")
    assert [step.code for step in report.steps if "close" in step.code] == ["close_neighbours"]
    assert "(close neighbours)" in runs()._repr_mimebundle_()["text/plain"]
    other = write_run(Workspace.local().root.parent, experiment="other")
    compared = compare([run, other])._repr_mimebundle_()
    assert all(f"({close} of {number}) {CLOSE}" in text for text in (compared["text/plain"], compared["text/html"]))


def test_near_copies_are_a_caveat_from_the_first_one_on(run: Run) -> None:
    epoch = {"event": "epoch", "phase": "features", "epoch": 0, "train_loss": 0.1, "best": True}
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(epoch) + "\n")
    report = told(run, close=0, copies=1)
    number = report.pictures
    (caveat,) = report.caveats
    assert caveat.startswith(
        f"Leak: 1 of {number} test images has a near copy or an image of its group in the training or validation part, "
        f"so the accuracy looks better than it is; on the other {number - 1} it is "
    )
    assert [number for _, number in parts(report)] == [1, 0, number - 1]
    assert "(leaks)" in runs()._repr_mimebundle_()["text/plain"]
    assert "split_leaks" in [step.code for step in report.steps]
    training = "1 of {} test images has a near copy or an image of its group in the training or validation part.\n"
    whole = report._repr_mimebundle_()["text/plain"]
    assert training.format(number) in whole and "No test image is in a group with" not in whole
    clean = told(run, close=0)
    assert "split_leaks" not in [step.code for step in clean.steps]
    assert "No test image is in a group with" in clean._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize(("share", "caveats"), [(0.17, 0), (0.21, 1), (0.49, 1), (0.51, 1), (1.0, 1)])
def test_a_few_close_neighbours_are_no_caveat(run: Run, share: float, caveats: int) -> None:
    number = Report.from_run(run.folder).pictures
    close = round(number * share)
    report = told(run, close)
    assert len(report.caveats) == (1 if close >= 0.2 * number else 0) == caveats
    if caveats:
        assert report.caveats[0].startswith("Most" if close > number / 2 else "Many")
    if share == 1.0:
        assert "no other test images are left to compare with" in report.caveats[0]
    assert "Leaks" in report._repr_mimebundle_()["text/plain"]


def test_what_is_not_known_is_not_shown(run: Run) -> None:
    assert Report.from_run(run.folder).leaks is None and Report.from_run(run.folder).caveats == []
    assert "Leaks" not in run.report._repr_mimebundle_()["text/plain"]
    listed = runs()._repr_mimebundle_()["text/plain"]
    assert "(leaks)" not in listed and "(close neighbours)" not in listed
    old = told(run, close=0, old=True)
    assert old.caveats == [] and "did not compare the features" in old._repr_mimebundle_()["text/plain"]


def test_nothing_is_said_to_be_without_neighbours_that_could_not_be_told_apart(run: Run) -> None:
    told(run, close=0)
    record = json.loads((run.folder / "report.json").read_text())
    record["neighbours"]["above"] = None
    (run.folder / "report.json").write_text(json.dumps(record))
    said = Report.from_run(run.folder)._repr_mimebundle_()["text/plain"]
    leaks = said[said.index("\nLeaks\n") : said.index("\nConfusions\n")]
    assert "could not be told apart" in leaks
    assert "without" not in leaks and "none found" not in leaks


def test_what_leaks_from_the_validation_part_and_what_has_no_group(run: Run) -> None:
    told(run, close=0, copies=2)
    rows = list(csv.reader((run.folder / "split.csv").read_text(encoding="utf-8").splitlines()))
    part, group = (rows[0].index(name) for name in ("Split", "Group"))
    for row in rows[1:]:
        row[part] = row[part].replace("train", "validation")
        row[group] = row[group] if row[group] in ("group0", "group1") else ""
    write(run.folder / "split.csv", tuple(rows[0]), [tuple(row) for row in rows[1:]])
    report = Report.from_run(run.folder)
    assert report.leaked == 2 and [number for _, number in parts(report)] == [2, 0, report.pictures - 2]


def test_a_single_close_neighbour_is_no_caveat(tmp_path: Path) -> None:
    made = write_run(tmp_path, each=1)
    report = told(made, 1)
    assert report.pictures <= 5  # one is a fifth of them
    assert report.caveats == [] and [step.code for step in report.steps if "close" in step.code] == []


def test_a_near_copy_is_not_counted_as_a_close_neighbour_too(run: Run) -> None:
    report = told(run, close=3, copies=2)
    assert [number for _, number in parts(report)] == [2, 1, report.pictures - 3]


def test_the_intervals_know_which_test_images_belong_together(run: Run) -> None:
    report = told(run, close=4)
    alone = report.leaks
    rows = list(csv.reader((run.folder / "split.csv").read_text(encoding="utf-8").splitlines()))
    part, group = (rows[0].index(name) for name in ("Split", "Group"))
    tested = [row for row in rows[1:] if row[part] == "test"]
    for number, row in enumerate(tested):  # those with a close neighbour come first; both kinds in runs of six
        row[group] = f"series{(number - 4) // 6}" if number >= 4 else row[group]
    write(run.folder / "split.csv", tuple(rows[0]), [tuple(row) for row in rows[1:]])
    together = Report.from_run(run.folder).leaks
    assert alone is not None and together is not None
    width = [frame["AccuracyHigh"].iloc[2] - frame["AccuracyLow"].iloc[2] for frame in (alone, together)]
    assert width[1] > width[0], "wrong answers come last, in a series or two: these are fewer witnesses"
    assert alone.iloc[1].equals(together.iloc[1])
