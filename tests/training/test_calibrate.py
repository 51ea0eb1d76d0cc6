"""Temperature and calibration error, on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from mb_jupyter.training.calibrate import cross_fitted, expected_calibration_error, temperature
from mb_jupyter.training.errors import TrainingError


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def drawn(count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and labels drawn as likely as the logits say."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (count, 5))
    chances = softmax(logits).cumsum(1)
    return logits, (random.random((count, 1)) > chances).sum(1).clip(max=4)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_it_finds_how_much_too_sure_the_logits_are(factor: float) -> None:
    logits, labels = drawn()
    assert temperature(logits * factor, labels) == pytest.approx(factor, rel=0.05)


def test_it_lowers_the_calibration_error() -> None:
    logits, labels = drawn()
    sure = logits * 3
    before = expected_calibration_error(softmax(sure), labels)
    after = expected_calibration_error(softmax(sure / temperature(sure, labels)), labels)
    assert after < 0.02
    assert before > 0.1


def test_a_few_pictures_that_are_all_right_do_not_make_every_score_certain() -> None:
    logits = np.eye(4)[np.arange(3)] * 2
    assert 0.4 < temperature(logits, np.arange(3)) < 1


def test_it_is_bounded_where_everything_is_wrong() -> None:
    logits = np.eye(4)[np.arange(400) % 4] * 100
    assert temperature(logits, (np.arange(400) + 1) % 4) == pytest.approx(20, rel=0.01)


def test_without_pictures_it_is_one() -> None:
    assert temperature(np.empty((0, 3)), np.empty(0, int)) == 1
    assert expected_calibration_error(np.empty((0, 3)), np.empty(0, int)) == 0


def test_huge_logits_are_no_overflow() -> None:
    assert 0.05 <= temperature(np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 0]]), np.array([0, 1, 1])) <= 20.1


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(softmax(logits)[np.arange(len(labels)), labels]).mean())


def test_a_temperature_that_helps_images_that_did_not_set_it_is_kept() -> None:
    logits, labels = drawn(1000)
    folds = np.arange(1000) % 5
    found = cross_fitted(3 * logits, labels, folds)
    assert found.kept and found.temperature == temperature(3 * logits, labels)
    assert found.log_loss_before == pytest.approx(log_loss(3 * logits, labels))
    by_hand = [
        log_loss(3 * logits[folds == fold] / temperature(3 * logits[folds != fold], labels[folds != fold]),
                 labels[folds == fold])
        for fold in range(5)
    ]  # fmt: skip
    assert found.log_loss_after == pytest.approx(np.mean(by_hand))
    assert found.facts("a.csv") == {
        "kept": True, "temperature": found.temperature, "images": 1000, "source": "a.csv",
        "log_loss_before": found.log_loss_before, "log_loss_after": found.log_loss_after,
    }  # fmt: skip


def test_one_mistake_that_would_set_the_temperature_alone_does_not() -> None:
    """On its own images any temperature helps; that of this one mistake harms where it is judged without it."""
    logits, labels = np.eye(3)[np.arange(60) % 3] * 4.0, np.arange(60) % 3
    labels[7] = (labels[7] + 1) % 3
    alone = temperature(logits, labels)
    assert log_loss(logits / alone, labels) < log_loss(logits, labels)
    found = cross_fitted(logits, labels, np.arange(60) // 12)
    assert not found.kept and found.temperature == 1.0
    assert found.log_loss_before is not None and found.log_loss_after is not None
    assert found.log_loss_after > found.log_loss_before
    assert "not kept" in found.sentence()


def test_without_images_or_with_one_fold_nothing_is_known_and_nothing_kept() -> None:
    logits, labels = drawn(50)
    assert not cross_fitted(3 * logits, labels, np.zeros(50, int)).kept
    found = cross_fitted(np.empty((0, 3)), np.empty(0, int), np.empty(0, int))
    assert (found.kept, found.temperature, found.images, found.log_loss_before) == (False, 1.0, 0, None)
    assert "no images" in found.sentence()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_training_is_told(value: float) -> None:
    with pytest.raises(TrainingError, match="not finite numbers") as error:
        temperature(np.array([[0.0, value]]), np.array([0]))
    assert "learning_rate" in error.value.fix


def test_the_error_by_hand() -> None:
    # bin 9 of 10 holds .95 (right) and .91 (wrong): gap |.5 - .93|; bin 6 holds .65 (right): gap .35
    scores = np.array([[0.95, 0.05], [0.09, 0.91], [0.65, 0.35]])
    labels = np.array([0, 0, 0])
    assert expected_calibration_error(scores, labels, bins=10) == pytest.approx((2 * 0.43 + 0.35) / 3)


def test_a_score_of_one_falls_into_the_last_bin() -> None:
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
