"""How much memory there is, and how large a batch fits into it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import parallel
from .errors import TrainingError
from .failures import ran_out

PER_CORE = 2  # pictures of a batch that a core trains on at once: more leave its caches and fill the memory
SHARE = 0.5  # of the free memory that a step may take: the estimate below is rough
_CGROUP = Path("/sys/fs/cgroup")


def free(device: torch.device) -> int:
    """Return the bytes this process may still take on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    room = int(psutil.virtual_memory().available)
    try:  # a container's own limit, which the machine's figures do not show
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            room = min(room, int(limit) - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(room, 0)


def step_bytes(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """Return about how many bytes one picture needs in a training step; ``inputs`` hold one picture."""
    total = 0

    def count(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * 4

    leaves = [module for module in model.modules() if next(module.children(), None) is None]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return 3 * total  # every output, its gradient, and what happens between modules


def at_once(batch: int, device: str) -> int:
    """Return how many pictures of a batch are trained on at once: a GPU takes all, a processor a few."""
    return max(1, min(batch, PER_CORE * parallel.cores()) if device == "cpu" else batch)


def fitting(batch: int, each: int, device: torch.device) -> int:
    """Return the batch, halved until a step of so many bytes per picture fits into memory."""
    room = SHARE * free(device)
    while batch > 1 and at_once(batch, device.type) * each > room:
        batch //= 2
    return batch


@contextlib.contextmanager
def named(batch: int, device: str) -> Iterator[None]:
    """Turn "out of memory" into an error that names the batch size to try."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        smaller = max(1, at_once(batch, device) // 2)
        raise TrainingError(
            f"There was not enough memory for batches of {batch} pictures.",
            f"Try batch_size: {smaller}." if smaller < batch else "Try a smaller image_size.",
            "A smaller image_size, or recipe: features, needs less memory too.",
        ) from error
