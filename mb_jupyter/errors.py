"""What a user can put right.

::

    MBError                 a cause, a fix, perhaps an alternative; shown without a traceback
    +-- ConfigError         a setting is wrong or missing
    +-- DataError           the pictures cannot be used as they are
    +-- WorkspaceError      a workspace, experiment or run cannot be opened or written
    +-- TrainingFailed      a run ended without a model; carries the log's path and its last lines
    +-- ModelError          a model file cannot be read, or is not one of ours
    +-- PredictionError     a picture cannot be scored
    +-- ExportError         the projects cannot be generated, or not put where they were wanted
    +-- AzureError          Azure refused, or could not be reached; carries the service's code
        +-- SignInError     nobody is signed in, or the sign-in was not accepted

Anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar

MAX_LINES = 6


class MBError(Exception):
    """An expected failure: what happened, what to do now, what else is possible.

    ``latest`` is the last one that somebody was shown in this process, for ``%mb_why``.
    """

    latest: ClassVar[MBError | None] = None
    whole = False  # every line is shown: for a log, where nobody can ask %mb_why

    def __init__(self, cause: str, fix: str = "", alternative: str = "", details: str = "") -> None:
        self.cause, self.fix, self.alternative, self.details = map(_shown, (cause, fix, alternative, details))
        super().__init__(self.cause)

    def __str__(self) -> str:
        return " ".join(part for part in (self.cause, self.fix, self.alternative) if part)

    def lines(self) -> list[str]:
        """Return the error as at most six lines of plain text."""
        shown = [f"{type(self).__name__}: {self.cause}"]
        shown += [f"  fix: {self.fix}"] if self.fix else []
        shown += [f"  or:  {self.alternative}"] if self.alternative else []
        shown += ["  more: %mb_why"] if self.details else []
        lines = "\n".join(shown).splitlines()
        if len(lines) > MAX_LINES and not self.whole:
            lines = [*lines[: MAX_LINES - 1], "  more: %mb_why"]
        return lines

    def why(self) -> str:
        """Return everything that is known: the lines, without a limit, and the details below."""
        parts = [self.cause, self.fix, self.alternative, self.details]
        return "\n\n".join(part for part in parts if part)

    def remember(self) -> None:
        """Be what ``%mb_why`` tells: called where an error is shown, since many are caught and are nobody's trouble."""
        MBError.latest = self

    def _render_traceback_(self) -> list[str]:
        # IPython asks the exception itself how it wants to be shown
        self.remember()
        return self.lines()


def _shown(text: str) -> str:
    """Return a text that a notebook can keep: the name of a file may hold bytes that are none of UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class ConfigError(MBError):
    """A setting is wrong or missing."""


class DataError(MBError):
    """The pictures cannot be used as they are."""


class WorkspaceError(MBError):
    """A workspace, an experiment or a run cannot be opened or written."""


class TrainingFailed(MBError):  # noqa: N818 - reads as what happened
    """A run ended without a model; ``details`` holds the log's path and its last lines."""


class ModelError(MBError):
    """A model file cannot be read, or is not one of ours."""


class PredictionError(MBError):
    """A picture cannot be scored."""


class ExportError(MBError):
    """The projects cannot be generated, or not be put where they were wanted."""


class AzureError(MBError):
    """Azure refused something, or could not be reached; ``details`` holds all that the service said.

    ``code`` is the service's own word for it, ``status`` the HTTP status.
    """

    def __init__(
        self,
        cause: str,
        fix: str = "",
        alternative: str = "",
        details: str = "",
        *,
        code: str = "",
        status: int | None = None,
    ) -> None:
        super().__init__(cause, fix, alternative, details)
        self.code = code
        self.status = status


class SignInError(AzureError):
    """Nobody is signed in to Azure, or the sign-in was not accepted."""
