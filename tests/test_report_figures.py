"""The report's arithmetic and files, against cases worked by hand."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mb_jupyter import Report
from mb_jupyter.errors import DataError
from mb_jupyter.report import Comparison, compare_reports
from mb_jupyter.report import statistics as st
from mb_jupyter.report.intervals import wilson
from mb_jupyter.report.sections import ends
from mb_jupyter.training.review import read_patch


def table(rows: list[tuple[str, str, float]], classes: tuple[str, str] = ("cat", "dog")) -> pd.DataFrame:
    """Return predictions of two classes from (true, answered, score of the answer)."""
    first = [score if given == classes[0] else 1 - score for _, given, score in rows]
    return pd.DataFrame({
        "ImageSource": [f"{i}.png" for i in range(len(rows))],
        "Label": [true for true, _, _ in rows],
        "Prediction": [given for _, given, _ in rows],
        f"Score.{classes[0]}": first,
        f"Score.{classes[1]}": [1 - value for value in first],
    })  # fmt: skip


# five cats and five dogs: one surely wrong, one hardly
ROWS = [("cat", "cat", 0.9)] * 4 + [("cat", "dog", 0.95)] + [("dog", "dog", 0.7)] * 4 + [("dog", "cat", 0.6)]


def write_run(folder: Path, rows: list[tuple[str, str, float]] = ROWS, **record: object) -> Path:
    folder.mkdir(parents=True)
    table(rows).to_csv(folder / "predictions.csv", index=False)
    told = {
        "handle": f"local://pets/{folder.name}",
        "id": folder.name,
        "experiment": "pets",
        "root": str(folder.parent / "data"),
        "config": {},
    }
    (folder / "run.json").write_text(json.dumps({**told, **record}))
    (folder / "status.json").write_text(json.dumps({"state": "completed"}))
    (folder / "exit.json").write_text(json.dumps({"returncode": 0}))
    return folder


def test_calibration_by_hand() -> None:
    # bins of 1/15: .6 in [.6, .667), .7 in [.667, .733), .9 in [.867, .933), .95 in the last
    bins = Report.from_frame(table(ROWS)).calibration
    filled = bins[bins["Pictures"] > 0]
    assert filled["Pictures"].tolist() == [1, 4, 4, 1]
    assert filled["Right"].tolist() == [0, 4, 4, 0]
    # |0 - .6| + 4 |1 - .7| + 4 |1 - .9| + |0 - .95| = 3.15, over ten images
    assert Report.from_frame(table(ROWS)).ece == pytest.approx(0.315)


def test_the_scores_before_calibration_are_found_again() -> None:
    logits = np.array([[2.0, 0.5, -1.0], [0.1, 0.0, 3.0]])

    def softmax(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    np.testing.assert_allclose(st.heated(softmax(logits / 1.7), 1.7), softmax(logits))
    report = Report.from_frame(table(ROWS), {"temperature": 1.0})
    assert report.ece_before == pytest.approx(report.ece)
    assert Report.from_frame(table(ROWS)).ece_before is None


def test_chance_makes_no_error_of_certain_answers_and_some_of_others() -> None:
    assert st.calibration_error_by_chance(np.ones(10), np.arange(10)) == (0.0, 0.0)
    # one image of score 1/2: right or wrong, it is missed by 1/2
    assert st.calibration_error_by_chance(np.array([0.5]), np.zeros(1)) == (0.5, 0.5)


def test_thresholds_by_hand() -> None:
    report = Report.from_frame(table(ROWS))
    found = report.thresholds
    assert found["Threshold"].tolist() == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert found["Answered"].tolist() == [10, 10, 9, 5, 5]
    assert found["Right"].tolist() == [8, 8, 8, 4, 4]
    assert found["Coverage"].tolist() == [1, 1, 0.9, 0.5, 0.5]
    at = report.at(0.7)
    assert list(at.loc["dog"]) == [5, 5, 0.8, 0.8, 4]  # the sure mistake names the dog
    assert list(at.loc["cat"]) == [5, 4, 1.0, 0.8, 4]


def test_recommended_thresholds() -> None:
    report = Report.from_frame(table(ROWS))
    assert report.recommended_threshold(0.8) == 0.0, "all are answered"
    threshold = report.recommended_threshold(0.85)  # 8 of the 9 best scores are right
    assert threshold is not None and 0.6 < threshold <= 0.7
    assert report.recommended_threshold(0.95) is None, "the surest answer is wrong"
    # a score of 1 is above it, and no model takes 1 as its threshold
    top = st.lowest_threshold(np.array([1.0, 0.99999994]), np.array([True, False]), 0.95)
    assert top is not None and 0.99999994 < top < 1
    # equal scores cannot be parted
    assert st.lowest_threshold(np.array([0.9, 0.9, 0.5]), np.array([True, False, True]), 0.99) is None


def test_average_precision_by_hand() -> None:
    # cats in the order of their scores: right, wrong, right: (1 + 2/3) / 2
    frame = pd.DataFrame({"ImageSource": list("abc"), "Label": ["cat", "dog", "cat"], "Prediction": ["cat"] * 3,
                          "Score.cat": [0.9, 0.8, 0.7], "Score.dog": [0.1, 0.2, 0.3]})  # fmt: skip
    figures = Report.from_frame(frame).per_class
    assert figures.loc["cat", "AP"] == pytest.approx(5 / 6)
    assert (figures.loc["cat", "Right"], figures.loc["cat", "Answered"], figures.loc["dog", "Answered"]) == (2, 3, 0)
    assert figures.loc["cat", "RecallLow"] == pytest.approx(wilson(2, 2).low)
    assert math.isnan(wilson(0, 0).low)


def test_mistakes_and_cells() -> None:
    report = Report.from_frame(table(ROWS))
    assert report.mistakes[["Label", "Prediction", "Score"]].values.tolist() == [
        ["cat", "dog", 0.95],
        ["dog", "cat", 0.6],
    ]
    assert report.mistakes["LabelScore"].tolist() == pytest.approx([0.05, 0.4])
    assert len(report.pictures_in("cat", "cat")) == 4
    assert report.pictures_in("dog", "cat")["ImageSource"].tolist() == ["9.png"]


def test_two_runs_that_differ_by_noise_are_equal(tmp_path: Path) -> None:
    better = [("cat", "cat", 0.9)] * 5 + ROWS[5:]
    before, after = (Report.from_run(write_run(tmp_path / n, rows)) for n, rows in (("1", ROWS), ("2", better)))
    compared = after.comparison(before)
    assert compared.equal and "equal as far as these images can tell" in compared.summary
    assert compared.flips["ImageSource"].tolist() == ["4.png"]
    assert compared.flips[["Before", "After"]].values.tolist() == [["dog", "cat"]]
    assert after.previous is not None and after.previous.name == "local://pets/1"
    assert before.previous is None
    assert "Compared with the previous run" in after._repr_mimebundle_()["text/plain"]


def test_runs_are_compared_on_what_both_held_out_with_the_same_label(tmp_path: Path) -> None:
    wrong, right = [("cat", "dog", 0.9)] * 8, [("cat", "cat", 0.9)] * 8
    before = write_run(tmp_path / "1", [*wrong, ("dog", "dog", 0.9)], config={"seed": 0})
    after = write_run(tmp_path / "2", [*right, ("cat", "cat", 0.9), ("dog", "dog", 0.9)], config={"seed": 1})
    compared = compare_reports([Report.from_run(before), Report.from_run(after)])
    assert (compared.test.pictures, compared.test.second_only, compared.pairs[0].relabelled) == (8, 8, 1)
    assert compared.pairs[0].outcome == "better" and not compared.equal
    assert ["seed", "0", "1"] in compared.changes.values.tolist()
    assert "1 image was given another label" in compared.summary
    assert isinstance(compared, Comparison)
    with pytest.raises(DataError, match="One run alone"):
        compare_reports([Report.from_run(before)])


def test_runs_without_a_common_picture_are_neither_equal_nor_not(tmp_path: Path) -> None:
    before, after = write_run(tmp_path / "1"), write_run(tmp_path / "2")
    frame = pd.read_csv(after / "predictions.csv")
    frame.assign(ImageSource="new " + frame["ImageSource"]).to_csv(after / "predictions.csv", index=False)
    report = Report.from_run(after)
    assert report.comparison(Report.from_run(before)).equal is None
    told = json.loads(report.to_json(tmp_path / "told.json").read_text("utf-8"))
    assert (told["previous"]["pictures"], told["previous"]["equal"]) == (0, None)


def test_a_network_that_was_chosen_otherwise_is_a_change(tmp_path: Path) -> None:
    reports = []
    for name in ("resnet50", "efficientnet_lite0"):
        folder = write_run(tmp_path / name, config={"architecture": "auto"})
        (folder / "report.json").write_text(json.dumps({"architecture": name}))
        reports.append(Report.from_run(folder))
    assert compare_reports(reports).changes.values.tolist() == [["network", "resnet50", "efficientnet_lite0"]]


def write_out_of_fold(folder: Path) -> None:
    rows = [("cat", "cat", 0.97)] * 20 + [("dog", "dog", 0.97)] * 20 + [("cat", "dog", 0.99)]
    table(rows).assign(Fold=0).to_csv(folder / "out_of_fold.csv", index=False)


def test_a_label_that_looks_wrong_is_found_and_reviewed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    write_out_of_fold(folder)
    report = Report.from_run(folder)
    assert report.suspects[["ImageSource", "Label", "Suggested", "Split"]].values.tolist() == [
        ["40.png", "cat", "dog", "train"], ["4.png", "cat", "dog", "test"],
    ]  # fmt: skip
    said = report._repr_mimebundle_()["text/plain"]
    assert "2 label issues in 41 training and validation images and 10 test images" in said
    assert "The models agree with 97.6 % of the training and validation labels" in said, "40 of 41"
    assert "1 of 2 mistakes on test images is among them: where the label is wrong, the figures above count it" in said
    path = report.write_patch(tmp_path / "labels.patch.csv")
    patch = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert patch[["ImageSource", "Label", "NewLabel"]].values.tolist() == [["40.png", "cat", ""], ["4.png", "cat", ""]]
    report.write_patch(path, accept=["40.png"])
    report.write_patch(path)  # what was reviewed stays
    assert pd.read_csv(path)["NewLabel"].fillna("").tolist() == ["dog", ""]


def test_the_list_keeps_the_corrections_that_the_run_was_trained_with(tmp_path: Path) -> None:
    earlier = tmp_path / "my labels.csv"
    # somebody wrote it by hand: 40.png lies in the folder of the birds, and was made a cat; 7.png is decided
    earlier.write_text("ImageSource,NewLabel,Label\n40.png,cat,bird\n7.png,dog,cat\n8.png,,cat\n")
    folder = write_run(tmp_path / "1", config={"labels": str(earlier)})
    write_out_of_fold(folder)
    report = Report.from_run(folder)
    report.write()
    columns = ["ImageSource", "Label", "NewLabel"]
    patch = pd.read_csv(folder / "labels.patch.csv", dtype=str, keep_default_na=False)
    assert patch[columns].values.tolist() == [["40.png", "bird", "cat"], ["4.png", "cat", ""], ["7.png", "cat", "dog"]]
    assert [(row.source, row.label, row.new_label) for row in read_patch(folder / "labels.patch.csv")] == [
        ("40.png", "bird", "cat"), ("7.png", "cat", "dog"),
    ]  # fmt: skip
    again = report.write_patch(tmp_path / "accepted.csv", accept=["40.png"])
    assert pd.read_csv(again)[columns].values.tolist()[0] == ["40.png", "bird", "dog"], "as the data have it"
    assert "trained with are in the list too" in report._repr_mimebundle_()["text/plain"]


def test_corrections_that_are_gone_are_not_said_to_be_in_the_list(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1", config={"labels": "gone.csv"})
    write_out_of_fold(folder)
    said = Report.from_run(folder)._repr_mimebundle_()["text/plain"]
    assert "trained with (gone.csv) cannot be read now, so they may be missing in the list." in said
    assert "are in the list too" not in said


def test_what_a_spreadsheet_saved_is_kept_and_what_is_no_list_is_left_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    write_out_of_fold(folder)
    report, path = Report.from_run(folder), tmp_path / "mine.csv"
    text = report.write_patch(path).read_text(encoding="utf-8")
    assert text.startswith("\ufeffImageSource,"), "a spreadsheet shows accents with the mark only"
    rows = text.replace("40.png,cat,,", "40.png,cat,dög,") + "0.png,cat,dog,,,\n"
    path.write_text(rows.replace(",", ";"), encoding="utf-8")
    report.write_patch(path)
    decided = [("40.png", "cat", "dög"), ("0.png", "cat", "dog")]
    assert [(row.source, row.label, row.new_label) for row in read_patch(path)] == decided
    path.write_bytes(b"Dear diary")
    with pytest.raises(DataError, match="cannot be read as a list of labels, so it was left as it is"):
        report.write_patch(path)
    assert path.read_bytes() == b"Dear diary"


def test_the_files_in_the_runs_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    write_out_of_fold(folder)
    (tmp_path / "data").mkdir()
    for i in (4, 9):
        Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "data" / f"{i}.png")
    said = Report.from_run(folder)._repr_mimebundle_()["text/plain"]
    assert "report.html, evaluation.json, labels.patch.csv" in said
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64") >= 2 and "http" not in page
    evaluation = json.loads((folder / "evaluation.json").read_text("utf-8"))
    assert (evaluation["right"], evaluation["pictures"]) == (8, 10)
    (folder / "report.html").write_text("kept")
    (folder / "labels.patch.csv").write_text("somebody's review")
    Report.from_run(folder).write()
    assert (folder / "report.html").read_text() == "kept", "nothing has changed, so nothing is written"
    (folder / "report.json").write_text('{"temperature": 1.5}')
    Report.from_run(folder).write()
    assert "temperature 1.50" in (folder / "report.html").read_text("utf-8")
    assert (folder / "labels.patch.csv").read_text() == "somebody's review"


def test_nothing_is_written_while_the_run_goes_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    (folder / "status.json").write_text('{"state": "running"}')
    assert Report.from_run(folder).write() == []
    assert not (folder / "report.html").exists()


def test_variants_and_next_steps(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    variants = [
        {"name": "float32", "file": "bestModel.onnx", "bytes": 13_500_000, "right": 8, "pictures": 10, "ms_first": 20.0,
         "ms_per_picture": 5.0, "agreement": 1.0},
        {"name": "int8", "reason": "too few images <to calibrate>"},
    ]  # fmt: skip
    (folder / "report.json").write_text(json.dumps({"variants": variants, "recommended_variant": "float32"}))
    report = Report.from_run(folder)
    text = report._repr_mimebundle_()["text/plain"]
    assert "13.5 MB" in text and "80.0 % (8 of 10)" in text and "too few images <to calibrate>" in text
    assert "Recommended: float32" in text
    assert "2 of the 2 mistakes" in report.next_steps[0]
    assert "At most 2 more of 10 test images would be right (20.0 points)." in report.next_steps[0]


def test_the_tendency_by_hand() -> None:
    # 100 scores of .9: the deviation of chance is sqrt(100 x .9 x .1) / 100 = .03, and 1.96 of it .0588
    scores = np.full(100, 0.9)
    rights = {number: st.tendency(scores, np.arange(100) < number, np.arange(100)) for number in (84, 85, 95, 96)}
    assert rights == {84: 1, 85: 0, 95: 0, 96: -1}
    assert st.tendency(np.ones(3), np.array([True] * 3), np.arange(3)) == 0
    assert st.tendency(np.ones(3), np.array([True, True, False]), np.arange(3)) == 1


def test_an_interval_keeps_its_ends_apart() -> None:
    assert ends(0.704, 0.951) == "70 to 95 %"
    assert ends(0.9987, 0.9995) == "99.9 to 100.0 %"
    assert ends(0.0018, 0.0032) == "0.2 to 0.3 %"
    assert ends(0.99981, 1.0) == "99.98 to 100.00 %"
    assert ends(math.nan, math.nan) == "–"


def test_the_log_loss_by_hand() -> None:
    scores = np.array([[0.5, 0.5], [0.75, 0.25], [0.0, 1.0]])
    assert st.log_loss(scores[:2], np.array([0, 1])) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert math.isfinite(st.log_loss(scores, np.array([0, 1, 0]))), "a score of 0 is not the end of the world"
    report = Report.from_frame(table(ROWS), {"temperature": 1.0})
    assert report.log_loss_before == pytest.approx(report.log_loss)


def test_what_is_said_of_the_scores() -> None:
    said = Report.from_frame(table(ROWS), {"temperature": 1.0})._repr_mimebundle_()["text/plain"]
    assert "miss the share that is right by 0.315 on average (ECE, 15 bins)" in said
    # mean score .795 and .8 right: .005 apart, where chance alone makes .11
    assert "as sure as they are right, as far as so many images can tell: the mean score is 79.5 %" in said
    sure = Report.from_frame(table([("cat", "dog", 0.99)] * 20))._repr_mimebundle_()["text/plain"]
    assert (
        "surer than they are right, by more than chance explains: the mean score is 99.0 %, and 0.0 % are right."
        in sure
    )
    assert "so the scores are not well calibrated." in sure


def write_split(folder: Path, rows: list[tuple[str, str, str, str]]) -> None:
    columns = ["ImageSource", "Label", "Split", "Group"]
    pd.DataFrame(rows, columns=columns).assign(Sha256=[row[0] for row in rows]).to_csv(folder / "split.csv")


def test_a_split_that_leaks_is_said_first(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    (folder / "metrics.jsonl").write_text('{"event": "epoch", "phase": "features", "epoch": 0, "best": true}\n')
    tested = [(f"{i}.png", "cat", "test", f"g{i}") for i in range(10)]
    write_split(folder, [*tested, ("a.png", "cat", "train", "other")])
    apart = Report.from_run(folder)
    assert apart.leaked == 0
    assert "No test image is in a group with a training or validation image" in apart._repr_mimebundle_()["text/plain"]
    write_split(folder, [*tested, ("a.png", "cat", "train", "g3"), ("b.png", "cat", "validation", "g4")])
    leaking = Report.from_run(folder)
    assert leaking.leaked == 2
    assert leaking.next_steps[0].startswith("Mend the split: 2 of 10 test images have near copies")
    assert "so the accuracy looks better than it is" in leaking._repr_mimebundle_()["text/plain"]


def test_curves_are_drawn_where_there_is_something_to_draw(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    epochs = [
        {"event": "epoch", "phase": phase, "epoch": number, "train_loss": 0.5, "validation_loss": 0.4 - 0.1 * number,
         "validation_accuracy": 0.8, "best": True} for number, phase in enumerate(("features", "finetune"))
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text(json.dumps(epochs[0]) + "\n")
    first = Report.from_run(folder)
    page = first._repr_mimebundle_()
    assert "so there is no curve" in page["text/plain"]
    assert 'alt="Loss' not in page["text/html"]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in epochs))
    second = Report.from_run(folder)
    assert second.curves[["phase", "epoch"]].values.tolist() == [["features", 0], ["finetune", 1]]
    page = second._repr_mimebundle_()
    assert "after epoch 1, the best:" in page["text/plain"]
    assert 'alt="Loss and accuracy over 2 epochs' in page["text/html"]


def test_the_list_of_suspects_is_named_so_that_a_training_finds_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path / "runs" / "1")
    write_out_of_fold(folder)
    said = Report.from_run(folder)._repr_mimebundle_()["text/plain"]
    named = set(re.findall(r"`labels: (.+?)`", said))
    assert named == {"runs/1/labels.patch.csv"}
    assert Path(named.pop()).is_file()


def test_the_record_for_programs_holds_every_part(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1")
    write_out_of_fold(folder)
    (folder / "report.json").write_text(json.dumps({"temperature": 1.2, "verification": {"agreement": 1.0}}))
    (folder / "reproducibility.json").write_text(json.dumps({"seed": 3}))
    report = Report.from_run(folder)
    told = json.loads(report.to_json(tmp_path / "told.json").read_text("utf-8"))
    assert (told["summary"], told["next_steps"]) == (report.summary, report.next_steps)
    for name in ("per_class", "confusions", "curves", "mistakes", "thresholds", "baselines", "suspects", "variants"):
        assert isinstance(told[name], list), name
    assert told["calibration"]["ece"] == report.ece and told["calibration"]["log_loss_before"] is not None
    assert told["reproducibility"] == {"seed": 3} and told["verification"] == {"agreement": 1.0}
    frames = (report.per_class, report.confusion, report.curves, report.mistakes, report.suspects, report.calibration,
              report.thresholds, report.baselines, report.variants)  # fmt: skip
    assert all(isinstance(frame, pd.DataFrame) for frame in frames)


def test_macro_and_weighted_averages_by_hand() -> None:
    # cats: 3 of 3 found, 3 of 4 answers right; dogs: 1 of 2 found, 1 of 1 right
    rows = [("cat", "cat", 0.9)] * 3 + [("dog", "cat", 0.8), ("dog", "dog", 0.7)]
    averages = Report.from_frame(table(rows)).averages
    f1 = {"cat": 2 * 0.75 * 1 / 1.75, "dog": 2 * 1 * 0.5 / 1.5}
    macro = [(0.75 + 1) / 2, (1 + 0.5) / 2, (f1["cat"] + f1["dog"]) / 2]
    weighted = [(3 * 0.75 + 2 * 1) / 5, (3 * 1 + 2 * 0.5) / 5, (3 * f1["cat"] + 2 * f1["dog"]) / 5]
    assert averages.loc["macro"].to_numpy() == pytest.approx(macro)
    assert averages.loc["weighted"].to_numpy() == pytest.approx(weighted)
