"""From the name of an experiment to names that Python, pip and every file system take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mb_jupyter.errors import ExportError
from mb_jupyter.naming import in_ascii

LONGEST = 40
NO_LETTER = "Pictures"  # before a name that begins with a digit, and instead of one without any Latin letter


@dataclass(frozen=True)
class Names:
    """The names of what is generated, all from one: ``Flowers`` and ``flowers``."""

    given: str
    camel: str
    snake: str

    def package(self, project: str) -> str:
        """Return the name of a project's package: ``flowers_model``."""
        return f"{self.snake}_{_snake(_words(project))}"

    def folder(self, project: str) -> str:
        """Return the name of a project's folder: ``FlowersModel``."""
        return f"{self.camel}{project}"

    @property
    def program(self) -> str:
        """The command of the console program; its ending keeps it apart from every other command."""
        return f"{self.snake.replace('_', '-')}-predict"

    @property
    def note(self) -> str:
        """What became of the name, if it could not stay; else an empty text."""
        if self.given in (self.camel, self.snake):
            return ""
        return f"{self.given!r} became {self.camel} in the names of folders, {self.snake} in those of packages."


def choose(name: str) -> Names:
    """Return the names for an experiment's name, whatever is in it; ``ExportError`` for an empty one."""
    if not name.strip():
        raise ExportError("The name for the projects is empty.", "Say one: --name Flowers.")
    words = _words(name)
    if len(words) > 1 and words[-1].lower() == "model":  # FlowersModelModel says nothing more
        words = words[:-1]
    if not words or words[0][0].isdigit():
        words = [NO_LETTER, *words]
    camel, snake = _camel(words), _snake(words)
    while len(snake) > LONGEST and len(words) > 1:
        words = words[:-1]
        camel, snake = _camel(words), _snake(words)
    return Names(name, camel[:LONGEST], snake[:LONGEST])


def _words(name: str) -> list[str]:
    """Return the words of a name in ASCII, as far as it can be written so."""
    # flowerPhotos and HTMLPages are two words each
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", in_ascii(name))
    return re.findall(r"[A-Za-z0-9]+", spaced)


def _camel(words: list[str]) -> str:
    return "".join(word[0].upper() + word[1:] for word in words)


def _snake(words: list[str]) -> str:
    return "_".join(word.lower() for word in words)
