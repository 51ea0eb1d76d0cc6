"""The engines: all see the same, the fastest is taken and remembered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mb_jupyter.training import engines


@pytest.mark.parametrize("name", ["openvino float32", "onnxruntime float32", "torch float32"])
def test_engines_in_float32_agree(name: str, classifier, images, warm_cache) -> None:
    engine = engines.made(classifier, name)
    if engine is None:
        pytest.skip(f"{name} is not installed on this kind of machine")
    with torch.inference_mode():
        expected = classifier.features(torch.from_numpy(images)).numpy()
    found = engine.run(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    many = np.concatenate([images] * 20)[: engine.batch]
    np.testing.assert_allclose(engine.run(many)[:5], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", engines.entrants())
def test_batches_of_any_size_come_back_in_order(name: str, classifier, images, warm_cache) -> None:
    engine = engines.made(classifier, name)
    if engine is None:
        pytest.skip(f"{name} is not installed on this kind of machine")
    many = np.concatenate([images, images[:, ::-1], 255 - images])  # 15 different ones
    batches = [many[:1], many, many[3:11], many[:9], many[4:5]]
    found = list(engine.through(iter(batches)))
    alone = engine.run(many)
    assert [len(part) for part in found] == [1, 15, 8, 9, 1]
    np.testing.assert_allclose(
        np.concatenate(found),
        np.concatenate((alone[:1], alone, alone[3:11], alone[:9], alone[4:5])),
        rtol=1e-3,
        atol=1e-3,
    )
    assert list(engine.through([])) == []


def test_a_batch_that_nobody_reads_disturbs_no_other(classifier, images, warm_cache) -> None:
    engine = engines.made(classifier, "openvino float32")
    if engine is None:
        pytest.skip("openvino is not installed on this kind of machine")
    expected = engine.run(images)
    unread = engine.through([images[::-1].copy()] * 20)
    next(unread)
    for _ in range(3):
        np.testing.assert_array_equal(engine.run(images), expected)


@pytest.mark.parametrize("name", ["openvino bfloat16", "torch bfloat16"])
def test_engines_in_bfloat16_are_close(name: str, classifier, images, warm_cache) -> None:
    engine = engines.made(classifier, name)
    if engine is None or not engines.bf16():
        pytest.skip("this processor does not multiply bfloat16")
    with torch.inference_mode():
        expected = classifier.features(torch.from_numpy(images)).numpy()
    error = np.abs(engine.run(images) - expected).mean() / np.abs(expected).mean()
    assert error < 0.02


def test_the_winner_is_remembered_by_the_run_and_by_the_machine(
    classifier, warm_cache, own_cache: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(engines, "_RACE_SECONDS", 0.05)
    told: list[str] = []
    winner = engines.fastest(classifier, tmp_path / "one" / "engine.json", told.append)
    assert len(told) == 1 and "fastest" in told[0], "a race takes a while: it is said before"
    assert json.loads((tmp_path / "one" / "engine.json").read_text()) == {"engine": winner.name}
    monkeypatch.setattr(engines, "_race", lambda *_: pytest.fail("it raced again"))
    assert engines.fastest(classifier, tmp_path / "one" / "engine.json").name == winner.name
    assert engines.fastest(classifier, tmp_path / "two" / "engine.json", told.append).name == winner.name
    assert len(told) == 1
    assert (tmp_path / "two" / "engine.json").exists()


def test_the_runs_own_engine_comes_before_the_machines(classifier, warm_cache, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(engines, "_race", lambda *_: pytest.fail("it raced"))
    (tmp_path / "engine.json").write_text('{"engine": "torch float32"}')
    assert engines.fastest(classifier, tmp_path / "engine.json").name == "torch float32"


@pytest.mark.parametrize("content", ["", "{}", '{"engine": "abacus float32"}', "[]", "\x00"])
def test_what_cannot_be_read_is_forgotten(content: str, classifier, own_cache, tmp_path: Path, monkeypatch) -> None:
    raced = engines.Engine("torch float32", 1, iter)
    monkeypatch.setattr(engines, "_race", lambda *_: raced)
    (tmp_path / "engine.json").write_text(content)
    assert engines.fastest(classifier, tmp_path / "engine.json") is raced


def test_an_engine_that_fails_is_no_entrant(classifier, own_cache, monkeypatch) -> None:
    def broken(*_: object) -> engines.Engine:
        raise RuntimeError("no such operator")

    monkeypatch.setitem(engines._MAKERS, "openvino", broken)
    assert engines.made(classifier, "openvino float32") is None


def test_the_race_leaves_the_network_as_it_is(classifier, own_cache) -> None:
    before = [weight.stride() for weight in classifier.parameters()]
    engine = engines.made(classifier.train(), "torch float32")
    assert engine is not None
    assert classifier.training
    assert [weight.stride() for weight in classifier.parameters()] == before
