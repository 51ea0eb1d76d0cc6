"""One process or several: rank, world and what they tell each other.

torchrun, here or on Azure, sets ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; without them this is the only
process, and every function below does nothing or returns what it was given.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
from typing import Any

# one process exports or scans while the others wait: longer than any of that lasts
PATIENCE = datetime.timedelta(hours=3)


def rank() -> int:
    """Return the number of this process, 0 for the one that writes."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return the number of this process on its machine: which GPU it takes."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def on_this_machine() -> int:
    """Return how many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def start(cuda: bool) -> None:
    """Join the other processes."""
    if world() > 1:
        import torch.distributed as dist

        dist.init_process_group(transport(cuda), timeout=PATIENCE)


def transport(cuda: bool) -> str:
    """Return what the processes talk through: NCCL on GPUs, gloo on processors, and for both on Windows."""
    return "cpu:gloo,cuda:nccl" if cuda and platform.system() != "Windows" else "gloo"


def leave() -> None:
    """Part from the other processes."""
    if world() > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def abandon(code: int) -> None:
    """End this process at once when there are others: they wait for it, and parting properly would wait for them."""
    if world() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait() -> None:
    """Wait until every process has come here."""
    tell(None)


def tell(value: Any) -> Any:
    """Return the first process's value in every process."""
    if world() == 1:
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: Any) -> list[Any]:
    """Return every process's value, in order of rank, in every process."""
    if world() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values
