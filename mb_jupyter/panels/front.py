"""The view of a training inside a step, from its first check on."""

from __future__ import annotations

from collections.abc import Callable

from mb_jupyter.display import Durable, Shown
from mb_jupyter.errors import MBError
from mb_jupyter.live import Live


class Into(Durable):
    """Shows what a :class:`~mb_jupyter.live.Live` shows in a widget of the step."""

    def __init__(self, show: Callable[[Shown], None]) -> None:
        super().__init__()
        self._into = show

    def show(self, shown: Shown) -> None:
        """Show, or replace what was shown."""
        self._into(shown)


class Front(Live):
    """Shows a run from its first check on; as long as nothing has begun, the start can be abandoned."""

    abandoned = False

    def say(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Show what goes on before there is a run; raise when there shall be none."""
        if self.abandoned:
            raise MBError("The start was abandoned; nothing was started.")
        super().say(message, done, total)
