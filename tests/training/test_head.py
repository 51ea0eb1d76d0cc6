"""The logistic regression on frozen features: against scikit-learn, and where the numbers are unkind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mb_jupyter.training import head


def clouds(count: int, width: int, classes: int = 3, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return features (count, 2, width) float16 of noisy clouds, and labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, count)
    centres = random.normal(size=(classes, width))
    features = centres[labels][:, None] + spread * random.normal(size=(count, 2, width))
    return (features * random.uniform(0.1, 10, width) + 3).astype(np.float16), labels


def parts(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(count * 3 // 4), np.arange(count * 3 // 4, count)


def predict(fit: head.Fit, features: np.ndarray) -> np.ndarray:
    return ((features - fit.mean) * fit.scale) @ fit.weight.T + fit.bias


@pytest.mark.parametrize("width", [20, 700], ids=["fewer features than rows", "more features than rows"])
def test_it_is_the_regression_of_scikit_learn(width: int) -> None:
    features, labels = clouds(120, width)
    train, validation = parts(120)
    fit = head.fit_head(features, labels, train, validation, 3)
    rows = features.astype(np.float64).reshape(240, width)
    # ours is the mean loss, over features of length one; theirs the sum, over features as they are
    peer = LogisticRegression(C=1 / (fit.penalty * width * 240), tol=1e-8, max_iter=5000)
    peer.fit((rows - rows.mean(0)) / rows.std(0), labels.repeat(2))
    expected = peer.decision_function((rows - rows.mean(0)) / rows.std(0))
    found = predict(fit, rows)
    found -= found.mean(1, keepdims=True)  # a shift of all logits changes nothing
    np.testing.assert_allclose(found, expected - expected.mean(1, keepdims=True), atol=0.02 * np.abs(expected).max())
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.995


def test_the_penalty_is_the_best_on_validation() -> None:
    features, labels = clouds(200, 300, spread=6.0)
    fit = head.fit_head(features, labels, *parts(200), 3)
    losses = dict(fit.penalties)
    assert losses[fit.penalty] == min(losses.values())
    assert fit.validation_loss == pytest.approx(
        torch.nn.functional.cross_entropy(
            torch.from_numpy(fit.validation_logits), torch.from_numpy(labels[parts(200)[1]])
        ).item(),
        rel=1e-5,
    )
    before = (
        features[parts(200)[1], 0].astype(np.float32) - fit.mean
    ) * fit.scale @ fit.train_weight.T + fit.train_bias
    np.testing.assert_allclose(before, fit.validation_logits, atol=1e-3 * np.abs(before).max())


def test_the_same_input_gives_the_same_bits() -> None:
    features, labels = clouds(80, 200)
    first, second = (head.fit_head(features, labels, *parts(80), 3, seed=4) for _ in range(2))
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.bias, second.bias)


def test_many_pictures_are_spanned_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clouds(600, 400)
    train, validation = parts(600)
    exact = head.fit_head(features, labels, train, validation, 3)
    monkeypatch.setattr(head, "_SPAN", 200)
    sampled = head.fit_head(features, labels, train, validation, 3)
    assert sampled.weight.shape == exact.weight.shape
    assert sampled.validation_accuracy > exact.validation_accuracy - 0.05
    monkeypatch.setattr(head, "_MANY_ROWS", 100)  # so many that mirror images are left out
    assert head.fit_head(features, labels, train, validation, 3).validation_accuracy > 0.9


def test_constant_equal_and_huge_features() -> None:
    features, labels = clouds(60, 100)
    features[:, :, 0] = 7  # never changes
    features[:, :, 1] = 65504  # the largest number of half precision
    features[:, :, 2] *= 0  # always zero
    features[:, 1] = features[:, 0]  # every picture is its own mirror image
    features[10], labels[10] = features[11], labels[11]
    fit = head.fit_head(features, labels, *parts(60), 3)
    assert np.isfinite(fit.weight).all()
    assert not fit.scale[:3].any()
    assert fit.train_accuracy == 1


def test_without_validation_pictures() -> None:
    features, labels = clouds(12, 50)
    fit = head.fit_head(features, labels, np.arange(12), np.arange(0), 3)
    assert fit.penalties == []
    assert fit.validation_logits.shape == (0, 3)
    assert (predict(fit, features[:, 0].astype(np.float32)).argmax(1) == labels).all()


def test_a_class_without_training_pictures_is_not_predicted() -> None:
    features, labels = clouds(60, 50)
    fit = head.fit_head(features, labels, *parts(60), 4)
    assert fit.weight.shape == (4, 50)
    assert (predict(fit, features[:, 0].astype(np.float32)).argmax(1) < 3).all()


def test_progress_ends_at_the_end() -> None:
    features, labels = clouds(40, 30)
    seen: list[tuple[int, int]] = []
    head.fit_head(features, labels, *parts(40), 3, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_features_may_lie_on_the_disk(tmp_path) -> None:
    features, labels = clouds(40, 30)
    np.save(tmp_path / "features.npy", features)
    there = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert np.array_equal(
        head.fit_head(there, labels, *parts(40), 3).weight, head.fit_head(features, labels, *parts(40), 3).weight
    )


def test_the_number_of_threads_is_left_as_it_was() -> None:
    torch.set_num_threads(2)
    features, labels = clouds(40, 30)
    head.fit_head(features, labels, *parts(40), 3)
    assert torch.get_num_threads() == 2


def test_few_pictures_may_leave_out_the_early_blocks() -> None:
    features, labels = clouds(60, 400, spread=4.0)
    late = np.arange(400) < 60
    features[:, :, ~late] = np.random.default_rng(1).normal(size=(60, 2, 340)) * 50  # early blocks see nothing here
    chosen = head.fit_head(features, labels, *parts(60), 3, late=late)
    assert not chosen.scale[~late].any()
    assert chosen.validation_loss < head.fit_head(features, labels, *parts(60), 3).validation_loss
    features[:, :, late], features[:, :, 100:160] = features[:, :, 100:160].copy(), features[:, :, late].copy()
    assert head.fit_head(features, labels, *parts(60), 3, late=late).scale.all()


def test_a_stop_ends_the_search_with_the_best_there_is() -> None:
    features, labels = clouds(200, 300)
    late = np.arange(300) >= 150
    whole = head.fit_head(features, labels, *parts(200), 3, late=late)
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) >= 30)
        return asked[-1]

    fit = head.fit_head(features, labels, *parts(200), 3, late=late, stop=stop)
    assert asked.count(True) <= 4, "asked at every step, and none was taken after it but to come home"
    assert len(fit.penalties) < len(whole.penalties)
    assert fit.validation_accuracy > 0.9 and np.isfinite(fit.weight).all()


def test_a_stop_leaves_the_folds_whole() -> None:
    features, labels = clouds(100, 50)
    folds = np.arange(100) % 5
    fit = head.fit_head(features, labels, *parts(100), 3, folds=folds, stop=lambda: True)
    assert fit.out_of_fold is not None and (fit.out_of_fold.argmax(1) == labels).mean() > 0.8
