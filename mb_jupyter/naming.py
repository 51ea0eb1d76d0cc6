"""What an experiment may be called: any script here, ASCII in Azure, and never what a file system cannot keep apart."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 128  # characters, as in Azure
LONGEST_BYTES = 200  # in UTF-8: the name of a folder has at most 255, and some file systems add to it
RULE = "1 to 128 letters and digits of any script, hyphens and underscores, beginning with a letter or a digit"
AZURE_RULE = "1 to 128 letters a-z, digits, hyphens and underscores, beginning with a letter or a digit"
AZURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
FALLBACK = "images"  # for what holds no letter at all
HASH = 6  # hex digits that keep two names apart which are written alike in ASCII
_INSIDE = "-_\u200c\u200d"  # the joiners are part of emoji and of several scripts
_INVISIBLE = "\u115f\u1160\u3164\uffa0"  # letters by their category that show nothing
_SKIN = range(0x1F3FB, 0x1F400)
_RESERVED = re.compile(r"con|prn|aux|nul|(?:com|lpt)[0-9¹²³]", re.IGNORECASE)  # with any ending, on Windows
# letters that Unicode does not take apart into a Latin one and its accent
_LATIN = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "Oe", "ł": "l", "Ł": "L",
                        "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "Þ": "Th", "ı": "i", "ẞ": "SS"})  # fmt: skip
_SPOKEN = re.compile(r"(?:HANGUL SYLLABLE|HIRAGANA LETTER|KATAKANA LETTER)(?: SMALL)? ([A-Z]+)")


def clean(name: str) -> str:
    """Return the name in the form in which it is kept and compared (Unicode NFC)."""
    return unicodedata.normalize("NFC", name)


def is_name(name: str) -> bool:
    """Return whether this has the form of a name, one that was given by an earlier version included."""
    name = clean(name)
    return (
        0 < len(name) <= LONGEST
        and len(name.encode("utf-8", "surrogatepass")) <= LONGEST_BYTES
        and _may_begin(name[0])
        and all(map(_is_allowed, name))
    )


def problem(name: str) -> str:
    """Return why a new experiment cannot be called this, as a sentence; empty when it can."""
    if is_reserved(name):
        return f"{name} is a reserved name on Windows; choose another, such as {name}-1."
    if is_name(name):
        return ""
    if len(name) <= LONGEST and len(name.encode("utf-8", "surrogatepass")) > LONGEST_BYTES:
        return f"Allowed are {RULE}, and no more than {LONGEST_BYTES} bytes in UTF-8."
    return f"Allowed are {RULE}."


def is_reserved(name: str) -> bool:
    """Return whether Windows takes a name of a file or folder for a device, as it does ``con`` and ``aux.csv``."""
    return _RESERVED.fullmatch(name.partition(".")[0].rstrip()) is not None


def alike(name: str, others: Iterable[str]) -> str:
    """Return which of the others some file systems take for the same name; empty where none, or only itself."""
    return next((other for other in others if clean(other) != clean(name) and same(other, name)), "")


def derived(text: str) -> str:
    """Return a name made from any text, such as the name of a folder: as much of it as a name may hold."""
    name = "".join(char if _is_allowed(char) else "-" for char in clean(text))
    name = re.sub(r"-{2,}", "-", name)[:LONGEST]
    while len(name.encode("utf-8", "surrogatepass")) > LONGEST_BYTES:
        name = name[:-1]
    while name and not _may_begin(name[0]):
        name = name[1:]
    name = name.rstrip(_INSIDE)
    return f"{name}-{FALLBACK}" if is_reserved(name) else name or FALLBACK


def same(one: str, other: str) -> bool:
    """Return whether some file systems take two names for the same: capitals and Unicode forms do not count there."""
    return clean(clean(one).casefold()) == clean(clean(other).casefold())


def in_azure(name: str) -> str:
    """Return what an experiment is called in Azure: its own name where Azure takes it, else one derived from it.

    The same name always gives the same; a part of its hash keeps apart what is written alike in ASCII.
    """
    name = clean(name)
    if AZURE_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH]
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", in_ascii(name)).strip("-_")[: LONGEST - HASH - 1].rstrip("-_")
    return f"{readable or 'experiment'}-{digest}"


def in_ascii(text: str) -> str:
    """Return a text in ASCII: without accents, Korean and Japanese syllables as they sound, a space for the rest."""
    written = []
    for char in clean(text).translate(_LATIN):
        spoken = _SPOKEN.fullmatch(unicodedata.name(char, ""))
        if spoken:
            written.append(spoken[1].lower())
        else:
            apart = unicodedata.normalize("NFKD", char)
            written += [c if c.isascii() else "" if unicodedata.combining(c) else " " for c in apart]
    return "".join(written)


def _may_begin(char: str) -> bool:
    return _is_allowed(char) and char not in _INSIDE and unicodedata.category(char)[0] != "M"


def _is_allowed(char: str) -> bool:
    if char.isascii():
        return char.isalnum() or char in _INSIDE
    category = unicodedata.category(char)
    known = category[0] in "LMN" or category == "So" or ord(char) in _SKIN or char in _INSIDE
    return known and char not in _INVISIBLE
