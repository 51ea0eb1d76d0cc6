"""What the fine-tuning will do: how many blocks stay frozen, how many epochs there is time for."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from . import data, loop, memory, processes
from .errors import StoppedError
from .network import Classifier
from .session import Session
from .tail import Source, Tail

FEWEST_EPOCHS = 8  # before another block is trained, there must be time for so many
FROZEN_COST = 0.15  # of a frozen block, forward in the fastest engine, over training it
BATCHES = {"cpu": 32, "mps": 32, "cuda": 128}
FEWEST_STEPS = 10  # of an epoch: smaller batches where there are few pictures
SMALLEST_BATCH = 8
TIMED_PICTURES = 48  # on a processor, a few at a time
MEASURING = 0.15  # of the seconds for the fine-tuning that the measuring may take
TIMED_BATCHES = 9  # of a GPU
WAYS = (0.5, 1.0)  # shares of the way from the pretrained weights to the trained ones that validation judges
LEARNING_RATE = 5e-4  # for batches of 32

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

    On a processor real batches are timed, and as many blocks stay frozen as it takes to have time for enough
    epochs. Without a limit of time nothing is measured, so that nothing depends on how busy the machine was. Measuring
    asks the clock and for a stop after every few images, and returns ``None`` for a stop.
    """
    try:
        return _plan(session, classifier, open_sources, seconds)
    except StoppedError:
        return None


class _Watch:
    """Asks between two steps of the measuring whether to go on; the same answer in every process.

    ``measured`` holds what was measured, by name; it is in the checkpoints that are written meanwhile.
    """

    def __init__(self, session: Session, seconds: float) -> None:
        self._session, self._until = session, time.monotonic() + MEASURING * seconds
        self.measured: dict[str, list[Any]] = session.state.setdefault("measured", {})

    def is_over(self) -> bool:
        """Return whether the measuring has had its time; raise ``StoppedError`` when somebody asked to stop."""
        stopped, late = processes.tell((self._session.recorder.stop_requested(), time.monotonic() >= self._until))
        if stopped:
            raise StoppedError
        if self._session.due():
            self._session.save()
        return bool(late)


def _plan(session: Session, classifier: Classifier, open_sources: Opener, seconds: float) -> Plan | None:
    limited, began = math.isfinite(seconds), time.monotonic()
    if seconds <= 0:
        return None
    watch = _Watch(session, seconds)
    cut = _affordable_cut(session, classifier, open_sources, seconds, watch) if limited else 0
    watch.is_over()
    tail = Tail(classifier, cut)
    train, validation = open_sources(tail)
    precision = loop.Precision.best(tail, session.device)
    batch = _batch(session, tail, train)
    took = 0.0
    if limited:
        took = _epoch_seconds(tail, train, validation, batch, precision=precision, watch=watch, name=f"cut {cut}")
    epochs = session.settings.epochs
    if limited:
        spent = float(processes.tell(time.monotonic() - began))
        epochs = min(epochs, int((seconds - spent) / took))
    rate = session.settings.learning_rate or LEARNING_RATE * math.sqrt(batch / 32)
    return Plan(cut, epochs, batch, rate, precision.name, took) if epochs >= 1 else None


def _affordable_cut(
    session: Session, classifier: Classifier, open_sources: Opener, seconds: float, watch: _Watch
) -> int:
    """Return the earliest cut that leaves time for enough epochs, else the latest; 0 on a GPU.

    One step of the whole network is timed, and its forward pass block by block: training from a cut on takes about
    the share of the blocks behind it.
    """
    if session.device.type != "cpu":
        return 0
    tail = Tail(classifier, 0)
    train, validation = open_sources(tail)
    precision = loop.Precision.best(tail, session.device)
    batch = _batch(session, tail, train)
    whole = _epoch_seconds(tail, train, validation, batch, precision=precision, watch=watch, name="whole")
    if "blocks" not in watch.measured:
        watch.measured["blocks"] = processes.tell(_block_seconds(tail, train))
    blocks = np.array(watch.measured["blocks"])
    wanted = min(session.settings.epochs, FEWEST_EPOCHS)
    cuts = [0, *(cut for cut in classifier.backbone.stages if cut)]
    for cut in cuts:
        trained = blocks[cut:].sum() / blocks.sum()
        if seconds >= wanted * whole * (trained + FROZEN_COST * (1 - trained)):
            return cut
    return cuts[-1]


def _block_seconds(tail: Tail, train: Source) -> list[float]:
    """Return the seconds that each block's forward pass takes."""
    parts, ends = tail.classifier.backbone.parts, []
    hooks = [part.register_forward_hook(lambda *_: ends.append(time.perf_counter())) for part in parts]
    try:
        for inputs, _, _ in train.batches([data.Step(data.first(min(_few(train), len(train.pictures))), 1)]):
            begin = time.perf_counter()
            with torch.no_grad():
                tail(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [max(0.0, end - start) for start, end in itertools.pairwise([begin, *ends])]


def _few(train: Source) -> int:
    """Return how many images are timed at a time: as many as a processor trains on at once."""
    return memory.at_once(max(BATCHES.values()), train.device.type)


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


def _epoch_seconds(
    tail: Tail, train: Source, validation: Source, batch: int, *, precision: loop.Precision, watch: _Watch, name: str
) -> float:
    """Return the seconds that an epoch will take, from some steps on real pictures; the weights stay.

    The first step is not timed, unless the time for measuring is over with it: workers start, kernels are chosen. On a
    processor few images tell enough; a GPU is timed with whole batches, as its workers decode them ahead. Steps that
    were timed before a restart, under the same ``name``, are not taken again.
    """
    timed: list[list[float]] = watch.measured.setdefault(name, [])  # seconds and images of each step
    share = min(_few(train), -(-batch // processes.world()), len(train.pictures))
    steps = [data.Step(data.first(share), batch)] * (1 + max(1, TIMED_PICTURES // share))
    if precision.device != "cpu":
        whole = data.steps(len(train.pictures), batch, seed=0, epoch=0, rank=processes.rank(), world=processes.world())
        steps = list(itertools.islice(itertools.cycle(whole), TIMED_BATCHES))
    steps = [] if len(timed) >= len(steps) - 1 else steps[len(timed) :]
    first: list[list[float]] = []
    begun = time.monotonic()
    with memory.named(batch, precision.device):
        for inputs, labels, _ in train.batches(steps):
            logits = loop.backward(tail, inputs, labels, cross_entropy, precision)
            float(logits.sum())  # a GPU computes until somebody looks
            tail.zero_grad(set_to_none=True)
            begun, before = time.monotonic(), begun
            (timed if first else first).append([begun - before, len(labels)])
            if watch.is_over():
                break
    seconds, images = zip(*(timed or first), strict=True)
    each = sum(seconds) / max(1, sum(images))
    pictures = len(train.pictures) + len(WAYS) * len(validation.pictures) / 3  # forward is a third of a step
    return float(processes.tell(each * pictures / processes.world()))
