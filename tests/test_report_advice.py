"""What the report advises and compares with, each rule on figures that call for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mb_jupyter import Report
from mb_jupyter.panels.state import State
from mb_jupyter.panels.step import Step
from mb_jupyter.panels.threshold import Threshold
from mb_jupyter.report import reasons
from mb_jupyter.report.intervals import wilson
from tests.test_report_figures import table, write_run

CAT, DOG, CAT_AS_DOG, DOG_AS_CAT = ("cat", "cat", 0.9), ("dog", "dog", 0.9), ("cat", "dog", 0.7), ("dog", "cat", 0.7)
FEATURES = {"event": "epoch", "phase": "features", "epoch": 0, "train_loss": 0.1, "train_accuracy": 1.0,
            "validation_loss": 0.3, "validation_accuracy": 0.9, "best": True}  # fmt: skip
TUNED = {**FEATURES, "phase": "finetune", "epoch": 1}


def reported(folder: Path, rows: list[tuple[str, str, float]], *epochs: dict[str, Any], **files: Any) -> Report:
    """Return the report on a run; ``files`` are JSON files of its folder, ``config`` what it was asked for."""
    write_run(folder, rows, config=files.pop("config", {}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in epochs))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return Report.from_run(folder)


def advice(report: Report, words: str) -> str:
    """Return the one step that says these words."""
    (found,) = [step for step in report.next_steps if words in step]
    return found


def left_out(code: str) -> dict[str, Any]:
    return {"event": "left out", "stage": "epoch", "code": code}


MIXED = [CAT] * 15 + [CAT_AS_DOG] * 2 + [DOG] * 15 + [DOG_AS_CAT]


@pytest.mark.parametrize(
    ("recipe", "epochs", "best_phase", "said"),
    [
        (
            "features",
            [FEATURES, left_out("recipe_features")],
            "features",
            "Train with `recipe: auto`: so far only the head was trained, and 3 of 33",
        ),
        ("auto", [FEATURES], "features", "Allow more time (max_minutes): it was too short for an epoch"),
        ("auto", [FEATURES, TUNED], "finetune", "Train longer: the last epoch (1) was still the best."),
        ("auto", [FEATURES, {**TUNED, "best": False}], "features", "Save the time of fine-tuning (`recipe: features`)"),
        ("auto", [FEATURES, {**TUNED, "validation_accuracy": 0.8}], "finetune", "100.0 % of 40 training images are"),
    ],
)
def test_the_training(tmp_path: Path, recipe: str, epochs: list[Any], best_phase: str, said: str) -> None:
    report = reported(
        tmp_path / "1", MIXED, *epochs, config={"recipe": recipe}, report={"best_phase": best_phase},
        reproducibility={"counts": {"train": 40, "validation": 10}},
    )  # fmt: skip
    assert advice(report, said)


ADVICE = {
    "recipe_features": "Train with `recipe: auto`",
    "no_mistake": "Train with `recipe: finetune`",
    "no_validation": "Add images to validate with",
    "stop_asked": "Train again without a Stop",
    "no_time": "Allow more time (max_minutes)",
}


@pytest.mark.parametrize(("code", "said"), ADVICE.items())
@pytest.mark.parametrize("old", [False, True], ids=["code", "sentence of 0.1.0"])
def test_what_the_program_recorded_has_its_advice(tmp_path: Path, code: str, said: str, old: bool) -> None:
    told = {"reason": next(words for words, one in reasons.OLD.items() if one == code)} if old else {"code": code}
    record = {"event": "left out", "stage": "epoch", **told}
    report = reported(tmp_path / "1", MIXED, FEATURES, record, config={"recipe": "auto"}, status={"state": "completed"})
    assert advice(report, said).count("3 of 33 test images are wrong") == 1
    assert [step.code for step in report.steps].count(f"not_tuned_{code}") == 1
    assert ("max_minutes" in " ".join(report.next_steps)) == (code == "no_time")
    (stage,) = [one for one in report.records if one["event"] == "left out"]
    assert reasons.not_tuned(stage) == code


def test_a_stop_within_the_first_epoch_is_no_lack_of_time(tmp_path: Path) -> None:
    stopped = reported(tmp_path / "1", MIXED, FEATURES, config={"recipe": "auto"}, status={"state": "stopped"})
    assert advice(stopped, "Train again without a Stop")


def test_every_code_of_the_program_has_its_words() -> None:
    program = (Path(__file__).parent.parent / "mb_jupyter/training/finetune.py").read_text(encoding="utf-8")
    assert [code for code in reasons.NOT_TUNED if f'"{code}"' not in program] == []
    assert set(reasons.OLD.values()) == set(reasons.NOT_TUNED)
    assert reasons.not_tuned({"reason": "the moon is full"}) == ""


def test_the_largest_gain_comes_first(tmp_path: Path) -> None:
    sure = [("cat", "dog", 0.95)] * 2
    report = reported(
        tmp_path / "1", [CAT] * 15 + sure + [CAT_AS_DOG] + [DOG] * 18, FEATURES, config={"recipe": "auto"}
    )
    steps = report.next_steps
    # 3 mistakes between the two, 2 of them sure; a third of all is reckoned for fine-tuning
    words = ("what tells cat and dog apart", "with a score of 0.9 or more", "Allow more time", "unsure_below")
    places = [next(i for i, step in enumerate(steps) if word in step) for word in words[:3]]
    assert places == sorted(places)
    assert "At most 3 more of 36 test images would be right (8.3 points)." in steps[0]


def test_a_model_that_beats_nothing_is_said_first(tmp_path: Path) -> None:
    report = reported(tmp_path / "1", [CAT] * 15 + [DOG_AS_CAT] * 5, FEATURES)
    assert [step.code for step in report.steps][:2] == ["class_never_found", "beats_nothing"]
    assert report.next_steps[1].startswith("Look at the data: 15 of 20 right cannot be told from always answering cat")


def test_a_good_model_with_few_pictures_of_the_other_classes_is_not_doubted(tmp_path: Path) -> None:
    report = reported(tmp_path / "1", [CAT] * 95 + [DOG] * 5, FEATURES)
    # five images one way and none the other: 2 / 2**5 = 0.0625, which nothing could make less
    step = advice(report, "Add images of the other classes than cat")
    assert "the model has 5 of their 5 right, too few for any test to tell it from always answering cat" in step
    said = report._repr_mimebundle_()["text/plain"]
    assert "Too few images to tell whether the model is better" in said
    assert "Look at the data" not in said and "Nothing shows" not in said
    poor = reported(tmp_path / "2", [CAT] * 50 + [DOG] * 4 + [DOG_AS_CAT] * 46, FEATURES)
    assert poor.next_steps[0].startswith("Look at the data: 54 of 100")


def test_the_threshold_that_is_advised_is_the_one_that_was_counted(tmp_path: Path) -> None:
    rows = [("cat", "cat", 0.99999995)] * 20 + [("dog", "cat", 0.99999991)] * 5
    report = reported(tmp_path / "1", rows)
    (number,) = re.findall(r"`unsure_below: (.+?)`: 20 of 25 test images", advice(report, "costs more than none"))
    assert report.at(float(number))["Answered"].sum() == 20 and 0 < float(number) < 1
    said = report._repr_mimebundle_()["text/plain"]
    assert f"unsure below {number}, chosen on the test images themselves, so expect a little less" in said
    assert "On the test images 100.0 % (20 of 20) of the answers are right then" in said
    slider = Threshold(Step(State(tmp_path / "panel.json")), report)
    slider.recommend()
    assert f"unsure_below: {number} " in slider.said.value and "5 of 25" in slider.said.value
    slider.slider.value = 1.0
    assert "unsure_below" not in slider.said.value


def test_a_small_class_and_one_without_held_out_pictures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1", [CAT] * 20 + [DOG, DOG_AS_CAT])
    frame = pd.read_csv(folder / "predictions.csv").assign(**{"Score.bird": 0.0})
    frame.to_csv(folder / "predictions.csv", index=False)
    learned = pd.DataFrame({"Label": ["cat"] * 40 + ["dog"] * 6 + ["bird"] * 30, "Split": "train"})
    learned.assign(ImageSource=[f"{i}.jpg" for i in range(76)]).to_csv(folder / "split.csv", index=False)
    report = Report.from_run(folder)
    assert advice(
        report, "Add images of dog: it has 6 to learn from, the median class has 30, and 1 of its 2 test images is"
    )
    assert advice(
        report, "Hold out images of bird (30 groups): no test image shows it, so nothing is known of how often"
    )


def test_scores_that_are_not_true_and_pictures_that_are_few(tmp_path: Path) -> None:
    rows, counts = [("cat", "dog", 0.99), ("cat", "cat", 0.99)] * 10, {"counts": {"validation": 1}}
    report = reported(tmp_path / "1", rows, report={"best_phase": "finetune"}, reproducibility=counts)
    assert "test images): 1 validation image set them, and more would" in advice(
        report, "Take the scores with care (ECE 0.490"
    )
    # half the width of Wilson's interval about one half is z / 2 sqrt(n + z2): (1.96 / 0.1)^2 - 1.96^2 = 380.3
    assert "about 381 would tell it to within 5 points" in advice(
        report, "Add images to know more: 20 test images leave"
    )


def test_more_pictures_are_more_than_there_are(tmp_path: Path) -> None:
    report = reported(tmp_path / "1", [CAT] * 39 + [DOG] * 37 + [DOG_AS_CAT] * 4)
    (said,) = re.findall(r"about (\d+) would tell", advice(report, "Add images to know more: 80 test images leave"))
    low, high = wilson(round(76 / 80 * int(said)), int(said))
    assert int(said) > 80 and high - low == pytest.approx(0.1, abs=0.005)


def test_a_smaller_variant_that_is_recommended(tmp_path: Path) -> None:
    variants = [
        {"name": "float32", "file": "bestModel.onnx", "bytes": 13_500_000, "right": 30, "pictures": 33},
        {"name": "int8", "file": "bestModel-int8.onnx", "bytes": 3_900_000, "right": 29, "pictures": 33},
    ]
    report = reported(tmp_path / "1", MIXED, report={"variants": variants, "recommended_variant": "int8"})
    assert "3.9 MB instead of 13.5, 29 of 33 right instead of 30" in advice(report, "use bestModel-int8.onnx")
    assert report.variants["right"].tolist() == [30, 29]


def test_the_baselines_by_hand(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1", [CAT] * 12 + [DOG] * 8)
    table([CAT] * 12 + [DOG_AS_CAT] * 8).to_csv(folder / "baselines.csv", index=False)
    report = Report.from_run(folder)
    assert report.baselines[["Model", "Right", "Pictures"]].values.tolist() == [
        ["this model", 20, 20], ["frozen features", 12, 20], ["always cat", 12, 20],
    ]  # fmt: skip
    said = report._repr_mimebundle_()["text/plain"]
    # eight images one way and none the other: 2 / 2**8
    assert "Fine-tuning made the model better: 8 images are right only with fine-tuning, 0 only without" in said
    assert said.count("McNemar's exact test, p = 0.0078") == 2


def test_a_model_that_is_the_frozen_features(tmp_path: Path) -> None:
    report = reported(tmp_path / "1", MIXED, FEATURES, {**TUNED, "best": False})
    (tmp_path / "1" / "baselines.csv").write_bytes((tmp_path / "1" / "predictions.csv").read_bytes())
    said = report._repr_mimebundle_()["text/plain"]
    assert "is that of the frozen features: the fine-tuning (1 epoch) was not better on the validation images." in said


def test_what_made_the_run(tmp_path: Path) -> None:
    record = {
        "seed": 7, "weights_sha256": "5793", "counts": {"train": 1064, "test": 327}, "notes": ["The same bits."],
        "versions": {"python": "3.11", "torch": "2.14"}, "hardware": {"processor": "Z80", "system": "CP/M"},
    }  # fmt: skip
    said = reported(tmp_path / "1", MIXED, reproducibility=record)._repr_mimebundle_()["text/plain"]
    for fact in ("5793", "train 1,064, test 327", "Z80, CP/M", "python 3.11, torch 2.14", "The same bits."):
        assert fact in said
    assert "%mb_rerun local://pets/1 repeats the run and reports differences." in said


def test_a_run_from_a_dataframe_cannot_be_repeated(tmp_path: Path) -> None:
    config = {"data": "a table of 33 images"}
    said = reported(tmp_path / "1", MIXED, config=config, reproducibility={"seed": 7})._repr_mimebundle_()["text/plain"]
    assert "The run was trained from a DataFrame, which is not kept" in said and "%mb_rerun" not in said


def test_a_tendency_that_the_ece_does_not_show(tmp_path: Path) -> None:
    rows = []
    for place, score in enumerate((0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)):
        right = round(20 * score) - 1 - place % 2  # one or two fewer than the score promises
        rows += [("cat", "cat", score)] * right + [("cat", "dog", score)] * (20 - right)
    report = reported(tmp_path / "1", rows, report={"temperature": 1.0})
    said = report._repr_mimebundle_()["text/plain"]
    # ECE 13 / 180, and chance makes up to 0.094
    assert "so the ECE alone shows no fault of these scores." in said and "nothing speaks against" not in said
    assert "surer than they are right, by more than chance explains: the mean score is 75.0 %" in said
    assert "right 67.8 % of 180 test images, too sure for chance" in advice(report, "Take the scores with care")


def test_a_calibration_error_too_small_to_matter_is_no_advice(tmp_path: Path) -> None:
    # one of 200 is wrong: more than chance explains of scores so near 1, and half a point
    report = reported(tmp_path / "1", [("cat", "cat", 0.9999)] * 199 + [("dog", "cat", 0.9999)], FEATURES)
    assert report.ece_by_chance[1] < report.ece < 0.01
    said = report._repr_mimebundle_()["text/plain"]
    assert "nothing speaks against these scores" in said and "up to <0.001 in 95 % of cases" in said
    assert "scores_off" not in [step.code for step in report.steps]


def test_a_threshold_that_would_leave_out_right_answers_only_is_no_advice(tmp_path: Path) -> None:
    # recommended by the choice on other images; of the test images it leaves out one, which is right
    rows = [("cat", "cat", 0.6), *[CAT] * 30, *[DOG] * 30, ("cat", "dog", 0.95)]
    reported(tmp_path / "1", rows, FEATURES, report={"choices_from": "out_of_fold.csv"})
    learned = table([CAT] * 40 + [CAT_AS_DOG] * 20).assign(Fold=0)
    learned.to_csv(tmp_path / "1" / "out_of_fold.csv", index=False)
    report = Report.from_run(tmp_path / "1")
    found = report.recommended_threshold()
    assert found is not None and 0.6 < found < 0.95
    assert "unsure_below" not in [step.code for step in report.steps]
