"""Which variant is recommended: decided on images that neither knows, with speeds measured in turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from mb_jupyter.training import export, graph, variants

from .test_export import FACTS


def scores(count: int, fall: float = 0.0, noise: float = 0.0, flips: int = 0) -> tuple[np.ndarray, ...]:
    """Return the scores of both variants (N, 2) and the labels: int8 is less sure of the truth by ``fall``."""
    random = np.random.default_rng(0)
    true = random.uniform(0.6, 0.95, count)
    lower = true - fall + noise * random.normal(size=count)
    lower[:flips] = 0.1
    return np.stack((true, 1 - true), 1), np.stack((lower, 1 - lower), 1), np.zeros(count, np.int64)


def seconds(ratio: float, *, noise: float = 0.02, turns: int = 40) -> np.ndarray:
    random = np.random.default_rng(1)
    return np.stack((ratio * (1 + noise * random.normal(size=turns)), np.ones(turns)), 1) / 100


@pytest.mark.parametrize(
    ("given", "took", "code"),
    [
        (scores(30, 0.002, 0.01), seconds(1.5), "int8"),  # thirty validation images can say yes
        (scores(30, 0.002, 0.01), seconds(1.1), "not_faster"),
        (scores(30, 0.002, 0.01), seconds(1.3, noise=2.0), "not_faster"),  # 1.3 at first sight, within the noise
        (scores(30, 0.03, 0.01), seconds(3), "loses"),
        (scores(30, 0.01, 0.2), seconds(3), "loses"),  # perhaps
        (scores(30, 0.0, 0.001, flips=2), seconds(3), "loses"),
        (scores(19, 0.0), seconds(3), "too_few"),
        (scores(0), seconds(3), "too_few"),
    ],
)
def test_the_rule(given: tuple[np.ndarray, ...], took: np.ndarray, code: str) -> None:
    whole, small, labels = given
    found = variants.choose(whole, small, labels, took)
    assert found["code"] == code
    assert found["images"] == len(labels) and found["source"] == "validation"


def test_the_interval_of_the_fall_is_students() -> None:
    whole, small, labels = scores(40, 0.01, 0.05, flips=1)
    found = variants.choose(whole, small, labels, seconds(2))
    low, high = ttest_1samp(whole[:, 0] - small[:, 0], 0).confidence_interval()
    assert (found["fall_low"], found["fall_high"]) == pytest.approx((low, high))
    assert found["lost"] == 1 and found["gained"] == 0


def test_speeds_are_measured_in_turns_and_in_changing_order() -> None:
    """A machine that becomes four times as slow half-way makes neither variant look faster than it is."""
    now, calls = 0.0, [0, 0]
    order: list[int] = []

    def call(number: int, cost: float) -> None:
        nonlocal now
        calls[number] += 1
        order.append(number)
        now += cost * (4 if calls[0] > 20 else 1)

    took = variants.in_turns([lambda: call(0, 0.03), lambda: call(1, 0.02)], clock=lambda: now)
    assert len(took) >= variants.FEWEST_TURNS
    speed, low, high = variants._ratio(took)
    assert (speed, low, high) == pytest.approx((1.5, 1.5, 1.5))
    pairs = [tuple(order[place : place + 2]) for place in range(2, len(order), 2)]  # the first two warm up
    assert set(pairs) == {(0, 1), (1, 0)}
    assert abs(pairs.count((0, 1)) - pairs.count((1, 0))) <= 1


def test_slow_models_are_timed_in_fewer_turns() -> None:
    now = 0.0

    def slow() -> None:
        nonlocal now
        now += 10

    assert len(variants.in_turns([slow, slow], clock=lambda: now)) == variants.FEWEST_TURNS


def test_another_head_is_swapped_in(classifier, warm_cache, tmp_path: Path, images: np.ndarray) -> None:
    export.write_model(tmp_path, classifier, FACTS, published=True)
    warm_cache()
    weight, bias = classifier.head.folded()
    changed = graph.with_another_head((tmp_path / "bestModel.onnx").read_bytes(), weight.flip(0), bias.flip(0))
    asked = [
        export.session_of(model).run(None, {"images": images})[0]
        for model in (str(tmp_path / "bestModel.onnx"), changed)
    ]
    np.testing.assert_allclose(asked[0], asked[1][:, ::-1], atol=1e-6)
    with pytest.raises(ValueError, match=r"no head\.weight"):
        graph.with_another_head(graph.features_graph(classifier.backbone, classifier.size, keep=False), weight, bias)


def test_the_judging_head_is_the_one_that_never_saw_the_validation_images(
    classifier, warm_cache, tmp_path: Path, images: np.ndarray
) -> None:
    export.write_model(tmp_path, classifier, FACTS, published=True)
    warm_cache()
    start = {"weight": torch.randn(3, classifier.head.linear.in_features) / 50, "bias": torch.tensor([0.1, 0.2, -0.3])}

    class Session:
        def __init__(self, **state: object) -> None:
            self.state = {"head": classifier.head.state_dict(), "start": start, **state}

    content = (tmp_path / "bestModel.onnx").read_bytes()
    unseeing = variants._unseeing(Session(), content)  # type: ignore[arg-type]
    classifier.head.linear.load_state_dict(start)
    with torch.no_grad():
        expected = classifier.probabilities(torch.from_numpy(images)).numpy()
    found = export.session_of(unseeing).run(None, {"images": images})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert variants._unseeing(Session(finetune={"best": 2}), content) == content  # type: ignore[arg-type]
