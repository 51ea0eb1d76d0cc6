"""What can go wrong in the program and be put right by the person who started it."""

from __future__ import annotations


class TrainingError(Exception):
    """An expected end without a model: what happened, what to do, what else is possible."""

    def __init__(self, cause: str, fix: str = "", alternative: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.fix = fix
        self.alternative = alternative


class ChangedError(TrainingError):
    """An image is no longer the one that was checked: what is remembered about its folder is to be forgotten."""


class PictureError(ValueError):
    """One picture cannot be used; the text is the reason, without the file's name.

    ``kind`` sorts the reasons: ``unreadable``, ``truncated``, ``huge`` or ``unsupported``.
    """

    def __init__(self, reason: str, kind: str = "unreadable") -> None:
        super().__init__(reason)
        self.kind = kind


class StoppedError(Exception):
    """Somebody asked to stop in the middle of work that the run can do without; whoever began it goes on without it."""
