"""Work on several threads with results in order and never more than a few ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 0) -> Iterator[Result]:
    """Yield ``function(item)`` for every item; unlike ``Executor.map`` it holds a handful of results only.

    ``ahead`` asks for more of them, where the reader takes many at once. Pillow, hashlib and numpy let go of the
    interpreter's lock, so threads use all cores.
    """
    workers = cores()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mb") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) > max(2 * workers, ahead):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the reader stopped early: do not make it wait for what nobody reads
            for future in waiting:
                future.cancel()
