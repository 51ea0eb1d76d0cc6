"""What fine-tuning keeps: the best point on the way from the pretrained weights to the trained ones."""

from __future__ import annotations

import json
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mb_jupyter.training import baseline, data, finetune, loop, network, parts, plan, stages
from mb_jupyter.training.record import Recorder
from mb_jupyter.training.session import Session
from mb_jupyter.training.settings import Settings
from mb_jupyter.training.tail import Tail


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number, name in enumerate(("ape", "bee", "cat")):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for index in range(20):
            noise = random.normal((100 + 12 * number, 120, 130), 60, (64, 64, 3))
            Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "pictures"


def test_validation_chooses_a_point_between_pretrained_and_trained(pictures, tmp_path, own_cache):
    asked = {"architecture": "efficientnet_lite0", "image_size": 64, "epochs": 1, "recipe": "finetune"}
    (tmp_path / "config.json").write_text(json.dumps({**asked, "max_minutes": 1000, "learning_rate": 3e-3}))
    settings, output = Settings.read(tmp_path / "config.json"), tmp_path / "run"
    session = Session(settings, output, Recorder(output), torch.device("cpu"))
    found = parts.find(settings, pictures, output, session.recorder)
    choice = network.choose(settings.architecture, None)
    classifier = network.Classifier(network.load(choice), found.classes, settings.image_size)
    session.resume(choice.sha256, found.contents)
    stages.frozen(session, classifier, found)
    session.state["frozen"]["loss"] = session.state["frozen"]["loss"] + 100  # so that the epoch is what is kept
    frozen = {name: value.clone() for name, value in classifier.state_dict().items()}
    opener = stages.opener(session, classifier, found)
    outcome = finetune.finetune(session, classifier, opener, reserve=0)
    assert outcome.epoch == 1 and outcome.plan is not None
    kept = {name: weight.clone() for name, weight in classifier.named_parameters() if weight.requires_grad}

    # the same, from what the checkpoint holds
    state, start = session.state["finetune"], session.state["start"]
    begin = {name: frozen[name] for name in kept} | {f"head.linear.{name}": start[name] for name in start}
    begin = {f"classifier.{name}": weight for name, weight in begin.items()}
    tail = Tail(classifier, outcome.plan.cut)
    end = dict(zip(begin, state["average"]["weights"], strict=True))
    assert list(begin) == list(state["best_weights"])
    losses = {}
    _, validation = opener(tail)
    for way in plan.WAYS:
        tail.carry({name: begin[name].lerp(end[name], way) for name in begin})
        step = data.in_order(len(validation.pictures), outcome.plan.batch)
        precision = loop.Precision("cpu", outcome.plan.precision)
        logits, labels = loop.evaluate(tail, validation.batches(step), precision=precision)
        loss, _ = finetune.calibrated(logits, labels)
        assert loss is not None
        losses[way] = loss
    best = min(losses, key=lambda way: losses[way])
    assert losses[0.5] != losses[1.0]
    assert outcome.loss == pytest.approx(losses[best], abs=1e-9)
    for name, weight in kept.items():
        expected = begin[f"classifier.{name}"].lerp(end[f"classifier.{name}"], best)
        torch.testing.assert_close(weight, expected, rtol=0, atol=0)


@pytest.fixture
def begun(pictures, tmp_path, own_cache):
    """Return a session, a classifier and its opener, as they are when fine-tuning is planned."""
    settings = Settings(architecture="efficientnet_lite0", image_size=64, recipe="finetune", max_minutes=60)
    session = Session(settings, tmp_path / "run", Recorder(tmp_path / "run"), torch.device("cpu"))
    found = parts.find(settings, pictures, tmp_path / "run", session.recorder)
    choice = network.choose(settings.architecture, None)
    classifier = network.Classifier(network.load(choice), found.classes, settings.image_size)
    session.resume(choice.sha256, found.contents)
    session.state["frozen"] = {"loss": 1.0, "accuracy": 0.5, "temperature": 1.0, "engine": "x", "any_way_up": False}
    return session, classifier, stages.opener(session, classifier, found)


def steps_of(monkeypatch, after):
    """Count the training steps of a measuring; ``after`` is called after each."""
    taken: list[int] = []
    whole = loop.backward

    def counted(*given, **named):
        logits = whole(*given, **named)
        taken.append(len(logits))
        after(len(taken))
        return logits

    monkeypatch.setattr(loop, "backward", counted)
    return taken


def test_the_measuring_ends_at_a_stop(begun, monkeypatch):
    session, classifier, opener = begun
    taken = steps_of(monkeypatch, lambda count: count < 2 or (session.output / "stop").touch())
    assert plan.make_plan(session, classifier, opener, 3600.0) is None
    assert len(taken) == 2


def test_the_measuring_keeps_within_its_share_of_the_time(begun, monkeypatch):
    session, classifier, opener = begun
    late = [0.0]
    clock = time.monotonic
    taken = steps_of(monkeypatch, lambda count: late.__setitem__(0, late[0] + 50.0))  # a very busy machine
    monkeypatch.setattr(plan, "time", types.SimpleNamespace(
        monotonic=lambda: clock() + late[0], perf_counter=time.perf_counter))  # fmt: skip
    assert plan.make_plan(session, classifier, opener, 600.0) is None, "no epoch fits into ten minutes of that"
    assert len(taken) <= 3, "two of 50 seconds, and one for the blocks that are left: not 26"
    limited = plan.make_plan(session, classifier, opener, 36_000.0)
    assert limited is not None and limited.seconds > 400


def test_a_stop_while_measuring_is_why_there_is_no_fine_tuning(begun, monkeypatch):
    session, classifier, opener = begun
    steps_of(monkeypatch, lambda count: (session.output / "stop").touch())
    assert finetune.finetune(session, classifier, opener, reserve=10.0).epoch == 0
    told = [json.loads(line) for line in (session.output / "metrics.jsonl").read_text().splitlines()]
    assert [record["code"] for record in told if record["event"] == "left out"] == ["stop_asked"]


def test_the_comparison_with_the_frozen_features_ends_at_a_stop(begun, monkeypatch):
    session, classifier, _opener = begun
    choice = network.choose("efficientnet_lite0", None)
    found = parts.find(session.settings, session.output.parent / "pictures", session.output, session.recorder)
    session.state["head"] = classifier.head.state_dict()
    scored = []

    def progress(recorder, done):
        scored.append(done)
        (session.output / "stop").touch()

    monkeypatch.setattr(Recorder, "progress", progress)
    baseline.scored(session, choice, found, "finetune")
    assert scored == [1] and len(found.test) > 1
    assert not (session.output / baseline.FILE).exists()
