"""What the fine-tuning will do: how many blocks stay frozen, how many epochs there is time for."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.nn.functional import cross_entropy

from . import data, loop, memory, processes
from .network import Classifier
from .session import Session
from .tail import Source, Tail

FEWEST_EPOCHS = 6  # before another block is trained, there must be time for so many
BATCHES = {"cpu": 32, "cuda": 128}
FEWEST_STEPS = 10  # of an epoch: smaller batches where there are few pictures
SMALLEST_BATCH = 8
TIMED_PICTURES = 16
LEARNING_RATE = 1e-4  # for batches of 32; see benchmarks/

Opener = Callable[[Tail], tuple[Source, Source]]  # opens the sources of training and validation pictures


@dataclass(frozen=True, slots=True)
class Plan:
    """``cut`` counts the blocks that stay frozen; ``batch`` is all processes' together; ``seconds`` are of an epoch."""

    cut: int
    epochs: int
    batch: int
    learning_rate: float
    precision: str
    seconds: float

    def sentence(self, blocks: int) -> str:
        """Say what will be done."""
        frozen = f"the first {self.cut} of {blocks} blocks stay frozen" if self.cut else "the whole network is trained"
        return (
            f"Fine-tuning: {frozen}, up to {self.epochs} epochs in batches of {self.batch}, {self.precision}, "
            f"learning rate {self.learning_rate:g}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the checkpoint and the record."""
        return dataclasses.asdict(self)


def make_plan(session: Session, classifier: Classifier, open_sources: Opener, seconds: float) -> Plan | None:
    """Return the plan for so many seconds; ``None`` when not even one epoch fits.

    On a processor real batches are timed, the whole network first, then with more and more blocks frozen, until
    there is time for enough epochs. Without a limit of time nothing is measured, so that nothing depends on how
    busy the machine was.
    """
    asked, device = session.settings.epochs, session.device
    limited = math.isfinite(seconds)
    shallow_last = [0, *(cut for cut in classifier.backbone.stages if cut)] if device.type == "cpu" and limited else [0]
    best: Plan | None = None
    for cut in shallow_last:
        began = time.monotonic()
        tail = Tail(classifier, cut)
        train, validation = open_sources(tail)
        precision = loop.Precision.best(tail, device)
        batch = _batch(session, tail, train)
        took = 0.0
        if limited:
            with memory.named(batch):
                took = _epoch_seconds(tail, train, validation, batch, precision)
        seconds -= processes.tell(time.monotonic() - began)
        epochs = asked if took <= 0 else min(asked, int(seconds / took))
        rate = session.settings.learning_rate or LEARNING_RATE * math.sqrt(batch / 32)
        if epochs >= 1:
            best = Plan(cut, epochs, batch, rate, precision.name, took)
        if epochs >= min(asked, FEWEST_EPOCHS) or session.stopping():
            break
    return best


def _batch(session: Session, tail: Tail, train: Source) -> int:
    """Return the global batch: as asked for, or the largest usual one that fits into memory."""
    world, count, device = processes.world(), len(train.pictures), session.device
    if session.settings.batch_size:
        return session.settings.batch_size
    batch = BATCHES[device.type] * (world if device.type == "cuda" else 1)
    while batch > max(SMALLEST_BATCH, world) and count / batch < FEWEST_STEPS:
        batch //= 2
    first = next(iter(train.batches([data.Step(data.first(1), 1)])))
    share = memory.fitting(-(-batch // world), memory.step_bytes(tail, first[0]), device)
    return int(min(processes.gather(min(batch, share * world))))


def _epoch_seconds(tail: Tail, train: Source, validation: Source, batch: int, precision: loop.Precision) -> float:
    """Return the seconds that an epoch will take, from two steps on real pictures; the weights stay."""
    share = min(TIMED_PICTURES, -(-batch // processes.world()), len(train.pictures))
    step = data.Step(data.first(share), batch)
    took = []
    for _ in range(2):
        began = time.monotonic()
        for inputs, labels, _ in train.batches([step]):
            with precision.autocast():
                loss = cross_entropy(tail(*inputs).float(), labels)
            loss.backward()
            float(loss.detach())  # a GPU computes until somebody looks
        tail.zero_grad(set_to_none=True)
        took.append(time.monotonic() - began)
    each = min(took) / len(step.indices)
    pictures = len(train.pictures) + len(validation.pictures) / 3  # forward is a third of a step
    return float(processes.tell(each * pictures / processes.world()))
