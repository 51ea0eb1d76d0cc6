"""A line in words: backslashes survive on every system, and quotes group."""

from __future__ import annotations

import os
import shlex

import pytest

from mb_jupyter.magics import words

EVERYWHERE = [
    ("", []),
    ("  a   b\t c ", ["a", "b", "c"]),
    (r"C:\Users\me", [r"C:\Users\me"]),
    (r"-d C:\Users\me\flowers --epochs 3", ["-d", r"C:\Users\me\flowers", "--epochs", "3"]),
    (r"\\server\share\flowers", [r"\\server\share\flowers"]),
    (r"'C:\Users\my flowers'", [r"C:\Users\my flowers"]),
    (r'"C:\Users\my flowers" x', [r"C:\Users\my flowers", "x"]),
    (r"C:\new\table\rose", [r"C:\new\table\rose"]),
    (r"x\ ".strip(), ["x\\"]),
    ('"it\'s" \'say "a"\' a"b c"d', ["it's", 'say "a"', "ab cd"]),
    ("'' \"\" x", ["", "", "x"]),
    ("꽃 'ein Bild'/ü.jpg", ["꽃", "ein Bild/ü.jpg"]),
]
POSIX = [
    (r"my\ flowers b", ["my flowers", "b"]),
    (r"O\'Brien", ["O'Brien"]),
    (r'"say \"a\""', ['say "a"']),
]
WINDOWS = [(r'"C:\my flowers\" x', ["C:\\my flowers\\", "x"]), (r"C:\a\ b", ["C:\\a\\", "b"])]


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize(("line", "expected"), EVERYWHERE)
def test_what_is_the_same_everywhere(line: str, expected: list[str], windows: bool) -> None:
    assert list(words._words(line, windows=windows)) == expected


@pytest.mark.parametrize(("line", "expected"), POSIX)
def test_where_a_backslash_hides(line: str, expected: list[str]) -> None:
    assert list(words._words(line, windows=False)) == expected == shlex.split(line)


@pytest.mark.parametrize(("line", "expected"), WINDOWS)
def test_where_it_only_separates(line: str, expected: list[str]) -> None:
    assert list(words._words(line, windows=True)) == expected


@pytest.mark.parametrize("line", ["'a", '"a b', "a 'b c\" d"])
@pytest.mark.parametrize("windows", [False, True])
def test_a_quote_that_is_not_closed(line: str, windows: bool) -> None:
    with pytest.raises(ValueError, match="not closed"):
        list(words._words(line, windows=windows))


def test_this_system() -> None:
    assert words.split(r"a\ b") == (["a\\", "b"] if os.name == "nt" else ["a b"])
