"""What a model answers of many images, kept as far as it is: a run that is begun again goes on behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import data, loop, processes

if TYPE_CHECKING:
    from .session import Session
    from .tail import Source

Array = np.ndarray[Any, Any]


class Answers:
    """The rows (n, classes) that a stage has found so far, which the checkpoints hold.

    ``of`` says whose answers they are, the best epoch's if it is not given; those of another model are dropped. Several
    processes keep none: together they have answered before a checkpoint is due.
    """

    def __init__(self, session: Session, stage: str, of: int | None = None) -> None:
        self._session, self._alone = session, processes.world() == 1
        whose = session.state.get("finetune", {}).get("best", 0) if of is None else of
        everything = session.state.setdefault("answers", {})
        if not self._alone or everything.get(stage, {}).get("of") != whose:
            everything[stage] = {"of": whose, "rows": []}
        self._rows: list[torch.Tensor] = everything[stage]["rows"]
        self.count = sum(map(len, self._rows))

    def add(self, rows: torch.Tensor | Array) -> None:
        """Take in the next rows, and save them when it is time for a checkpoint."""
        self._rows.append(torch.as_tensor(rows))
        self.count += len(rows)
        if self._alone and self._session.due():
            self.whole()
            self._session.save()

    def whole(self) -> torch.Tensor:
        """Return the rows so far as one tensor; there is one at least."""
        self._rows[:] = [torch.cat(self._rows)]  # also for the checkpoints, where each tensor is a file of its own
        return self._rows[0]


def logits(
    answers: Answers,
    model: torch.nn.Module,
    source: Source,
    batch: int,
    *,
    precision: loop.Precision,
    progress: Callable[[int], None] = lambda done: None,
    stop: Callable[[], bool] = lambda: False,
) -> torch.Tensor:
    """Return the logits (N, classes) of all images of a source, in their order, in every process.

    ``progress`` gets how many images have been answered. Raises ``StoppedError`` as :func:`loop.evaluate` does.
    """
    world, images = processes.world(), len(source.pictures)
    plan: Sequence[data.Step] = data.in_order(images, batch, rank=processes.rank(), world=world)
    plan = plan[-(-answers.count // batch) :]
    if world == 1 and not plan:
        return answers.whole()

    def found(rows: torch.Tensor) -> None:
        answers.add(rows)
        progress(min(answers.count * world, images))

    everything, _ = loop.evaluate(model, source.batches(plan), precision=precision, found=found, stop=stop)
    return answers.whole() if world == 1 else everything
