"""Would more images help? On curves whose truth is known, and on files that say nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mb_jupyter import Report
from mb_jupyter.report import learning
from tests.test_report_figures import write_run

CLASSES = ("cat", "dog")


def measured(
    error: Callable[[float], float], *, count: int = 1000, noise: float = 0.01, draws: int = 1
) -> pd.DataFrame:
    """Return a learning curve on so many images, whose true error is known; every fold errs by its own."""
    random, rows = np.random.default_rng(0), []
    for draw in range(draws):
        for fold in range(5):
            own = noise * random.normal()
            for fraction in (1 / 8, 1 / 4, 1 / 2, 1.0):
                images, total = round(fraction * 0.8 * count), count // 5
                each = [(round(total / 2 * (1 - min(1, max(0, error(images) + own)))), total // 2) for _ in CLASSES]
                right = sum(one for one, _ in each)
                rows.append([fraction, 5 * draw + fold, fold, images, images, right, total, 0.3, *sum(each, ())])
    names = [f"{kind}.{name}" for name in CLASSES for kind in ("Right", "Total")]
    return pd.DataFrame(rows, columns=[*learning.COLUMNS, *names])


def power(level: float, height: float, exponent: float) -> Callable[[float], float]:
    return lambda images: level + height * (images / 1000) ** -exponent


@pytest.mark.parametrize("truth", [power(0, 0.2, 0.5), power(0.05, 0.1, 0.7), power(0, 0.15, 0.3), power(0.1, 0.05, 1)])
@pytest.mark.parametrize("draws", [1, 3])
def test_the_interval_holds_the_true_gain(truth: Callable[[float], float], draws: int) -> None:
    found = learning.gain(measured(truth, draws=draws))
    assert found is not None and found.images == 1000
    assert found.low <= truth(1000) - truth(2000) <= found.high
    assert found.high - found.low < 0.1
    assert found.error == pytest.approx(truth(1000), abs=0.02)


def test_the_answers() -> None:
    steep = learning.gain(measured(power(0, 0.2, 0.5), count=5000, noise=0.002))
    assert steep is not None and steep.code == "helps" and 0 < steep.low < steep.gain < steep.high
    flat = learning.gain(measured(power(0.1, 0, 1), count=5000, noise=0.002))
    assert flat is not None and flat.code == "little" and flat.low <= 0 and flat.high < 0.01
    noisy = learning.gain(measured(power(0.2, 0.02, 0.3), count=100, noise=0.08))
    assert noisy is not None and noisy.code == "unknown" and noisy.high > 0.01


def test_folds_are_the_witnesses_and_not_the_draws() -> None:
    """The same images judged three times over are no more images."""
    one = measured(power(0, 0.2, 0.5), draws=1, noise=0.02)
    thrice = pd.concat([one.assign(Repeat=one["Repeat"] + 5 * draw) for draw in range(3)])
    first, second = learning.gain(one), learning.gain(thrice)
    assert first is not None and second is not None
    assert second[1:] == pytest.approx(first[1:])


@pytest.mark.parametrize("count", [20, 35])
def test_few_images_tell_nothing(count: int) -> None:
    assert learning.gain(measured(power(0, 0.2, 0.5), count=count)) is None


def test_a_curve_at_its_beginning_tells_nothing() -> None:
    assert learning.gain(measured(power(0.6, 0.1, 0.5))) is None


def test_two_points_tell_nothing() -> None:
    frame = measured(power(0, 0.2, 0.5))
    assert learning.gain(frame[frame["Fraction"] >= 0.5]) is None


def test_a_class_of_its_own() -> None:
    frame = measured(power(0, 0.2, 0.5), count=5000, noise=0.002)
    frame["Right.dog"] = frame["Total.dog"]  # always found
    found = learning.gains(frame, [*CLASSES, "bird"])
    assert list(found) == ["cat"]
    dog = learning.gain(frame, "dog")
    assert dog is not None and dog.code == "little" and dog.gain == pytest.approx(0, abs=1e-6)
    assert learning.gain(frame, "bird") is None


def reported(folder: Path, frame: pd.DataFrame | str | None, **record: Any) -> Report:
    write_run(folder, [("cat", "cat", 0.9)] * 40 + [("dog", "dog", 0.9)] * 40 + [("dog", "cat", 0.8)] * 20)
    if isinstance(frame, pd.DataFrame):
        frame.to_csv(folder / learning.FILE, index=False)
    elif frame is not None:
        (folder / learning.FILE).write_text(frame)
    (folder / "report.json").write_text(json.dumps(record))
    return Report.from_run(folder)


def test_the_report_answers_the_question(tmp_path: Path) -> None:
    report = reported(tmp_path / "1", measured(power(0, 0.2, 0.5), count=5000, noise=0.002), best_phase="finetune")
    said = report._repr_mimebundle_()
    found = report.more_images
    assert found is not None
    assert f"Twice as many images would bring about +{100 * found.gain:.1f} points of accuracy" in said["text/plain"]
    assert "the test images were not used. The fine-tuned model may gain more or less." in said["text/plain"]
    assert "With twice as many images of every class, the most would be gained by: " in said["text/plain"]
    assert "Learning curve, the share that is right with so many images to learn from: 500 images" in said["text/html"]
    (step,) = [one for one in report.steps if one.code == "more_images"]
    assert step.gain == round(100 * found.gain) and "of 100 test images right" in step.sentence
    told = json.loads(report.to_json(tmp_path / "told.json").read_text("utf-8"))
    assert told["more_images"]["code"] == "helps" and len(told["learning_curve"]) == 4
    assert set(told["more_images_of_a_class"]) == {"cat", "dog"}
    assert list(report.learning_curve["Images"]) == [500, 1000, 2000, 4000]


def test_no_class_gains_where_all_together_are_not_known_to(tmp_path: Path) -> None:
    frame = measured(power(0, 0.2, 0.5), count=5000, noise=0.002)
    frame["Right"] = (0.9 * frame["Total"]).round()
    report = reported(tmp_path / "1", frame)
    assert learning.gains(frame, CLASSES) and not report.more_images_of_a_class
    assert "With twice as many images of every class" not in report._repr_mimebundle_()["text/plain"]


def test_little_is_said_to_be_little_and_nothing_is_advised(tmp_path: Path) -> None:
    report = reported(tmp_path / "1", measured(power(0.1, 0, 1), count=5000, noise=0.002))
    assert "More images of the same kind would change little" in report._repr_mimebundle_()["text/plain"]
    assert not [one for one in report.steps if one.code == "more_images"]


@pytest.mark.parametrize(
    "content",
    [None, "", "Fraction,Right\n1,1\n", "a,b\n\x00", measured(power(0, 0.2, 0.5)).assign(Right="many"),
     measured(power(0, 0.2, 0.5)).assign(Total=0), measured(power(0, 0.2, 0.5)).assign(Fraction=7)],
    ids=["none", "empty", "columns", "no table", "text", "of none", "fraction"],
)  # fmt: skip
def test_a_run_without_a_curve_says_nothing_of_it(tmp_path: Path, content: pd.DataFrame | str | None) -> None:
    report = reported(tmp_path / "1", content)
    assert report.learning_curve.empty and report.more_images is None
    assert "Learning curve" not in report._repr_mimebundle_()["text/plain"]


def test_few_images_have_a_curve_and_no_figure(tmp_path: Path) -> None:
    said = reported(tmp_path / "1", measured(power(0, 0.2, 0.5), count=35))._repr_mimebundle_()["text/plain"]
    assert "Whether more images would help cannot be told from so few images." in said
