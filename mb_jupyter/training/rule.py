"""The setting ``group``: what it may say, read without a library."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import TrainingError
from .pictures import shown

BURST, FOLDER, SIMILAR = "burst", "folder", "similar"  # the settings that are no patterns
BURST_SECONDS = 10  # between two images that one camera took of the same object
_COLUMN = re.compile(r"column\s*:\s*(.*\S)\s*", re.DOTALL | re.IGNORECASE)
FIX = "`group` is a regular expression for the paths of images, folder, burst, similar, or column: NAME."


@dataclass(frozen=True, slots=True)
class Rule:
    """The setting ``group``; nothing of it is set where the column Group decides, if there is one."""

    column: str = ""
    folder: bool = False
    contents: str = ""  # burst or similar
    pattern: re.Pattern[str] | None = None

    @property
    def nested(self) -> bool:
        """Whether class folders may hold folders."""
        return self.folder or self.pattern is not None

    def __str__(self) -> str:
        if self.pattern is not None:
            return f"the pattern '{shown(self.pattern.pattern)}'"
        if self.contents == SIMILAR:
            return "likeness: images whose perceptual hashes are rather near"
        if self.contents == BURST:
            return f"bursts: one camera, at most {BURST_SECONDS} seconds between two images"
        return "the folders inside the class folders" if self.folder else f"the column '{shown(self.column)}'"


def read_rule(text: str | None) -> Rule:
    """Return what the setting ``group`` says; :class:`TrainingError` where it is no regular expression."""
    if text is None:
        return Rule()
    if text.strip() == FOLDER:
        return Rule(folder=True)
    if text.strip() in (BURST, SIMILAR):
        return Rule(contents=text.strip())
    if named := _COLUMN.fullmatch(text.strip()):
        return Rule(column=named[1])
    if problem := problem_of(text):
        raise TrainingError(problem, FIX)
    return Rule(pattern=re.compile(text))


def problem_of(text: str) -> str:
    """Return why a text is no setting ``group``, else nothing."""
    if not text.strip():
        return "`group` is empty."
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        return f"`group` is not a regular expression: {error} in '{shown(text)}'."
    return ""
