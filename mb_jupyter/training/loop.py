"""One epoch of training, one evaluation, and what they need: averages, schedule, precision.

The shape is that of torchvision's references: ``train_one_epoch`` and ``evaluate`` are functions over a model
and batches and know nothing of files, budgets or stages; see ``finetune.py`` for those.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from . import memory, processes
from .errors import StoppedError

Batch = tuple[tuple[torch.Tensor, ...], torch.Tensor, int]  # inputs, labels, pictures in all processes' batches
FLAG_EVERY = 8  # steps between two questions to the first process whether to stop
LONGEST_STEP = 1.0  # norm of a gradient, beyond which it is shortened


@dataclass(frozen=True, slots=True)
class Precision:
    """In which numbers the network computes: ``name`` is float32, bfloat16 or float16."""

    device: str
    name: str

    @classmethod
    def best(cls, model: nn.Module, device: torch.device) -> Precision:
        """Return the fastest for training this network on this device, by rule, so that it is always the same."""
        if device.type == "cuda":
            return cls("cuda", "bfloat16" if torch.cuda.is_bf16_supported(False) else "float16")
        if device.type == "mps":
            return cls("mps", "float32")
        # oneDNN trains the late depthwise blocks of a network faster in float32 than in bfloat16 (measured);
        # dense networks gain by bfloat16 where the processor multiplies in it
        depthwise = any(isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1 for part in model.modules())
        known = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return cls("cpu", "bfloat16" if known and not depthwise else "float32")

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the network runs forward."""
        if self.name == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=getattr(torch, self.name))

    def scaler(self) -> torch.amp.GradScaler:
        """Return the scaler of the loss: small gradients vanish in float16, and only there."""
        return torch.amp.GradScaler(self.device, enabled=self.name == "float16")


class Average:
    """The moving average of the trained weights (EMA); it is what is evaluated and kept.

    Its memory grows from a few steps to ``1 / (1 - decay)`` so that the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._live = [weight for weight in model.parameters() if weight.requires_grad]
        self.weights = [weight.detach().clone() for weight in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of one more step in."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.weights, [weight.detach() for weight in self._live], 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model carry the averages inside the block."""
        with torch.no_grad():
            before = [weight.detach().clone() for weight in self._live]
            _copy(self._live, self.weights)
        try:
            yield
        finally:
            with torch.no_grad():
                _copy(self._live, before)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.steps = state["steps"]
        _copy(self.weights, state["weights"])


def _copy(to: list[Any], source: list[torch.Tensor]) -> None:
    for target, value in zip(to, source, strict=True):
        target.copy_(value)


def one_cycle(total: int, warmup: int) -> Callable[[int], float]:
    """Return the factor of the learning rate at a step: up in a line, down in half a cosine."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return factor


class Tally:
    """What an epoch's steps so far add up to, over this process's images: loss, right answers, images.

    With the weights, their averages, the optimizer and the schedule it is all that an epoch goes on from: the order of
    the images and their augmentations follow from seed, epoch and index alone, and no layer draws a random number.
    """

    def __init__(self, steps: int = 0, sums: torch.Tensor | None = None) -> None:
        self.steps = steps
        self.sums = torch.zeros(3, dtype=torch.float64) if sums is None else sums.clone()

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one more step."""
        self.steps += 1
        self.sums += torch.stack(_sums(logits, labels)).cpu().double()

    def together(self) -> torch.Tensor:
        """Return the sums over all processes."""
        return torch.stack(processes.gather(self.sums)).sum(0)

    def means(self) -> dict[str, float]:
        """Return "loss" and "accuracy" over all processes' images."""
        loss, right, count = self.together().tolist()
        return {"loss": loss / count, "accuracy": right / count}


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: Average,
    *,
    precision: Precision,
    scaler: torch.amp.GradScaler,
    smoothing: float,
    stop: Callable[[], bool],
    progress: Callable[[int], None] = lambda done: None,
    tally: Tally | None = None,
    keep: Callable[[], None] = lambda: None,
) -> dict[str, float] | None:
    """Take one pass over the batches; ``None`` when it was stopped on the way.

    ``tally`` counts the steps and is renewed; that of an epoch that was broken off goes on, and ``batches`` are then
    those that are left. ``keep`` is called between two steps, by all processes, and may write a checkpoint.

    Returns "loss" (without smoothing) and "accuracy" over all processes' pictures, as they were while
    training. BatchNorm keeps its pretrained statistics, as usual in fine-tuning on few pictures: so the
    gradient of a batch is the same however many processes share it.
    """
    world, tally = processes.world(), tally or Tally()
    for inputs, labels, together in batches:
        optimizer.zero_grad(set_to_none=True)

        def loss_of(logits: torch.Tensor, truth: torch.Tensor, together: int = together) -> torch.Tensor:
            # the sum over all processes of this, divided by their number (DDP), is the mean over all pictures
            loss = cross_entropy(logits, truth, label_smoothing=smoothing, reduction="sum") * world / together
            return scaler.scale(loss)

        logits = backward(model, inputs, labels, loss_of, precision)
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_((p for group in optimizer.param_groups for p in group["params"]), LONGEST_STEP)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        average.update()
        tally.add(logits, labels)
        progress(tally.steps)
        if world == 1 or tally.steps % FLAG_EVERY == 1:
            if processes.tell(stop()):
                return None
            keep()
    return tally.means()


def backward(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    labels: torch.Tensor,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    precision: Precision,
) -> torch.Tensor:
    """Add a batch's gradient to that of the weights, on a processor in pieces; return the logits.

    The loss is a sum and BatchNorm keeps its statistics, so the pieces add up to the batch.
    """
    size = memory.at_once(len(labels), precision.device)
    found = []
    for start in range(0, max(1, len(labels)), size):
        piece, last = slice(start, start + size), start + size >= len(labels)
        several = isinstance(model, nn.parallel.DistributedDataParallel)
        # the processes exchange gradients once for a batch: their shares may have different numbers of pieces
        with model.no_sync() if several and not last else contextlib.nullcontext():  # type: ignore[operator]
            with precision.autocast():
                logits = model(*(part[piece] for part in inputs)).float()
            loss_of(logits, labels[piece]).backward()
        found.append(logits.detach())
    return torch.cat(found)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    precision: Precision,
    found: Callable[[torch.Tensor], None] = lambda logits: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (N, classes) and the labels (N,) of all pictures, in their order, in every process.

    The processes' batches are those of :func:`data.in_order`; together they hold a picture at least. ``found`` gets the
    logits of each batch of this process.
    Raises ``StoppedError`` when ``stop`` says so between two batches; several processes go on to the end.
    """
    logits, labels = [], []
    for inputs, truth, _ in batches:
        with precision.autocast():
            logits.append(model(*inputs).float().cpu())
        labels.append(truth.cpu())
        found(logits[-1])
        if processes.world() == 1 and stop():
            raise StoppedError
    shares = processes.gather((torch.cat(logits), torch.cat(labels)) if logits else None)
    parts = [share for share in shares if share is not None]  # the last have none where pictures are few
    return _interleave([part[0] for part in parts], len(shares)), _interleave([part[1] for part in parts], len(shares))


def _interleave(parts: list[torch.Tensor], world: int) -> torch.Tensor:
    """Put the processes' shares, every world-th picture, back in order."""
    whole = torch.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=parts[0].dtype)
    for rank, part in enumerate(parts):
        whole[rank::world] = part
    return whole


def _sums(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    loss = cross_entropy(logits, labels, reduction="sum")
    right = (logits.argmax(1) == labels).sum()
    # doubled only on the processor: an Apple GPU knows no float64
    return [loss, right.to(loss.dtype), torch.tensor(float(len(labels)), device=loss.device)]
