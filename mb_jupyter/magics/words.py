"""A line of a magic in words, on every system alike."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator

# a backslash hides only a space or a quotation mark: everywhere else it is one, as in C:\Users\me
_PIECE = re.compile(
    r"""
    '(?P<single>[^']*)'
    | "(?P<double>(?:\\"|[^"])*)"
    | \\(?P<hidden>[\s"'])
    | (?P<plain>[^\s"'\\]+|\\)
    | (?P<gap>\s+)
    """,
    re.VERBOSE,
)
_SHELL = re.compile(r"\$\{?([A-Za-z_]\w*)\}?|\{([A-Za-z_]\w*)\}")  # $folder, ${folder}, {folder}


def split(line: str) -> list[str]:
    """Return the words of a line; quotes group. Raises ``ValueError`` when one is not closed.

    On Windows, a folder's backslash may stand before the closing quote: there it hides nothing.
    """
    return list(_words(line, windows=os.name == "nt"))


def _words(line: str, *, windows: bool) -> Iterator[str]:
    word: str | None = None
    at = 0
    while at < len(line):
        found = _PIECE.match(line, at)
        if found is None or (windows and found.lastgroup in ("double", "hidden") and "\\" in found[0]):
            found = re.compile(r'"(?P<double>[^"]*)"|(?P<plain>\\)').match(line, at)
        if found is None:
            raise ValueError(f"a quotation mark is not closed: {line[at:]}")
        at = found.end()
        kind = str(found.lastgroup)
        if kind == "gap":
            if word is not None:
                yield word
            word = None
            continue
        piece = found[kind]
        word = (word or "") + (piece.replace('\\"', '"') if kind == "double" and not windows else piece)
    if word is not None:
        yield word


def meant_variable(word: str, names: Container[str]) -> str:
    """Return the notebook's variable that a word names as a shell or IPython would; empty when there is none."""
    found = _SHELL.match(word)
    name = next(filter(None, found.groups()), "") if found else ""
    return name if name in names and not os.path.lexists(word) else ""
