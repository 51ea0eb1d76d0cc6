"""Which device a training takes. There is no Apple GPU here: torch is made to say so, and to compute as one would."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mb_jupyter.training import loop, plan, schedule, session

step = session._step


@pytest.fixture
def apple(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def answering(monkeypatch: pytest.MonkeyPatch, change: float) -> None:
    """Let a step of training on an Apple GPU be that of the processor, but for so much."""
    monkeypatch.setattr(session, "_step", lambda device: step(torch.device("cpu")) + change * (device.type == "mps"))


def test_an_apple_gpu_that_computes_as_the_processor_is_taken(apple, monkeypatch):
    answering(monkeypatch, 1e-6)
    device = session.choose_device()
    assert device.type == "mps"
    precision = loop.Precision.best(nn.Conv2d(3, 8, 3), device)
    assert (precision.device, precision.name) == ("mps", "float32") and not precision.scaler().is_enabled()
    for table in (schedule.FEATURES, schedule.EVALUATION, plan.BATCHES):
        assert device.type in table


@pytest.mark.parametrize("change", [0.1, float("nan")])
def test_one_that_computes_something_else_is_not(apple, monkeypatch, change):
    answering(monkeypatch, change)
    assert session.choose_device().type == "cpu"


def test_one_that_torch_cannot_use_is_not(apple):
    assert session.choose_device().type == "cpu"  # this torch was built without


def test_several_processes_compute_on_the_processor(apple, monkeypatch):
    answering(monkeypatch, 0.0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert session.choose_device().type == "cpu"
