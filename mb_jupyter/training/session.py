"""The run that goes on: its settings, its device, its clock, and what its checkpoint remembers across restarts."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import checkpoint, processes
from .errors import TrainingError
from .record import Recorder
from .settings import Settings

if TYPE_CHECKING:
    import torch

# settings that change no number of the training, or do so only by what the pictures and the weights are
INDIFFERENT = ("run", "cache", "weights", "min_accuracy", "unsure_below", "exclude", "labels", "group")
MINUTES_ON_A_PROCESSOR = 10.0


def choose_device() -> torch.device:
    """Return where this process computes: its GPU, an Apple GPU, else the processor.

    Every process refuses when the machine has fewer GPUs than processes: one alone would leave the others waiting.
    """
    import torch

    if not torch.cuda.is_available():
        return torch.device("mps" if processes.world() == 1 and _apple_gpu_is_right() else "cpu")
    gpus, here = torch.cuda.device_count(), max(processes.on_this_machine(), processes.local_rank() + 1)
    if here > gpus:
        raise TrainingError(
            f"{here} processes were asked for, and this machine has {gpus} GPU{'s' if gpus > 1 else ''}.",
            f"Set processes: {gpus}.",
        )
    # what is called float32 is to be it: the export is compared with the network to 1e-3, and TF32 errs by more
    torch.backends.cudnn.allow_tf32 = False
    torch.cuda.set_device(processes.local_rank())
    return torch.device("cuda", processes.local_rank())


def _apple_gpu_is_right() -> bool:
    """Return whether there is an Apple GPU (mps) that takes a training step as the processor does.

    What torch cannot do on one depends on the versions of torch and macOS, and shows itself here rather than in a run.
    """
    import torch

    if not torch.backends.mps.is_available():
        return False
    try:
        found, expected = (_step(torch.device(kind)) for kind in ("mps", "cpu"))
    except (RuntimeError, NotImplementedError, TypeError):
        return False
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def _step(device: torch.device) -> torch.Tensor:
    """Return the weights of a small network with a depthwise layer after a step of training on a device."""
    import torch
    from torch import nn

    weights = torch.Generator().manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8).eval(), nn.ReLU6()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=weights)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=weights).to(device)
    logits = model(images.permute(0, 3, 1, 2).float() / 255)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0], device=device), label_smoothing=0.1).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()])


class Session:
    """What every stage needs to know of the run.

    ``state`` is what the checkpoint holds: plain values and tensors. The clock counts the time before a restart
    up to the checkpoint.
    """

    def __init__(self, settings: Settings, output: Path, recorder: Recorder, device: torch.device) -> None:
        self.settings, self.output, self.recorder, self.device = settings, output, recorder, device
        self.path = output / "checkpoint" / "last.pt"
        self.state: dict[str, Any] = {}
        self.resumed = False
        self._key = ""
        self._before, self._began = 0.0, time.monotonic()
        self._saved, self._write_seconds = self._began, 0.0
        minutes = settings.max_minutes or (MINUTES_ON_A_PROCESSOR if device.type == "cpu" else math.inf)
        self._limit = 60 * minutes
        recorder.clock.limit(self._limit)

    def resume(self, *content: Any) -> None:
        """Take up the checkpoint of the same settings and content, and cut the records back to it; else begin."""
        asked = {name: value for name, value in self.settings.as_dict().items() if name not in INDIFFERENT}
        self._key = key = checkpoint.digest(asked, *content)
        found, reason = None, ""
        if processes.rank() == 0:
            found, reason = checkpoint.load(self.path, key)
        found, reason = processes.tell((found, reason))
        self.state = found or {}
        self.resumed = found is not None
        self._before = float(self.state.get("used", 0.0))
        self.recorder.keep(self.state.get("records", ""))
        self.recorder.clock.count_from(self._before)
        self.recorder.clock.limit(self._limit - self.used())
        if reason:
            self.recorder.say(reason)

    def save(self, **changes: Any) -> None:
        """Put the changes into the state and the state on the disk; returns when it is safe there."""
        self.state.update(changes, used=self.used(), records=self.recorder.history)
        began = time.monotonic()
        if processes.rank() == 0:
            checkpoint.save(self.path, self._key, self.state)
        self._saved = time.monotonic()
        self._write_seconds = self._saved - began

    def due(self) -> bool:
        """Return whether it is time for the next checkpoint; the same in every process."""
        pause = max(checkpoint.EVERY, self._write_seconds / checkpoint.MAX_SHARE)
        return bool(processes.tell(time.monotonic() - self._saved >= pause))

    def used(self) -> float:
        """Return the seconds that the run took so far, those before the checkpoint included."""
        return self._before + time.monotonic() - self._began

    def remaining(self) -> float:
        """Return the seconds that are left of the time allowed, by this process's clock."""
        return self._limit - self.used()

    def left(self) -> float:
        """Return the seconds that are left of the time allowed; the same in every process."""
        return float(processes.tell(self.remaining()))

    def affords(self, stage: str) -> bool:
        """Return whether an optional stage fits into the time left, and nobody asked to stop; the same everywhere.

        One that does not is taken out of the plan.
        """
        outlook = self.recorder.outlook
        fits = not self.recorder.stop_requested() and self._limit - self.used() >= outlook.seconds_of(stage)
        answer = bool(processes.tell(fits))
        if not answer:
            outlook.plan(stage, 0, 0)
        return answer

    def stopping(self) -> bool:
        """Return whether somebody asked to stop and keep the best; the same in every process."""
        return bool(processes.tell(self.recorder.stop_requested()))
