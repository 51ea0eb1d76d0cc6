"""Something done off the kernel's own thread: importing the SDK there would keep it from its front end for seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.1

Answer = TypeVar("Answer")


def aside(work: Callable[[], Answer], look: Callable[[], None] = lambda: None) -> Answer:
    """Return what ``work`` returns, or raise what it raises; done in another thread, which is waited for.

    ``look`` is called here every now and then, to show how far it is. A Stop (``KeyboardInterrupt``) is heard
    meanwhile, and leaves the other thread to end by itself.
    """
    answers: list[Answer] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # raised again where somebody waits for it
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True, name="azure aside")
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
        look()
    if raised:
        raise raised[0]
    return answers[0]
