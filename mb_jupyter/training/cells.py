"""Names of files and classes in CSV: kept from being formulas of a spreadsheet, and given back exactly.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break, and a name may be
``=cmd|' '!A0``. Every CSV that the product writes puts an apostrophe before such text, and every reader takes it away
again. Text that begins with apostrophes already gets one more, so that nothing is lost; every other text stays as it
is, and so does a plain number. Another program undoes it with ``re.sub(KEPT, "", cell)``.

Needs the standard library only: exported projects take this file along.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

# A cell begins at the start of its text, and also inside it where a spreadsheet parts cells at semicolons or tabs,
# as it does in many countries: it knows nothing then of our quotation marks.
_BEGIN = r"(?:\A|(?<=[;\t\r\n]))"
_FORMULA = r"(?=[' \"]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
BARE = _BEGIN + _FORMULA
KEPT = _BEGIN + "'" + _FORMULA

_bare, _kept = re.compile(BARE), re.compile(KEPT)
_number = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.IGNORECASE)


def neutral(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    return text if _number.fullmatch(text) else _bare.sub("'", text)


def original(cell: str) -> str:
    """Return the text that :func:`neutral` made a cell of."""
    return _kept.sub("", cell) if "'" in cell else cell


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV, in which texts are neutral and everything else is written as it is."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([neutral(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def from_csv(text: str, delimiter: str = ",", *, strip: bool = False) -> list[list[str]]:
    """Return the rows of a CSV with their texts as they were; ``csv.Error`` where it is none.

    ``strip`` takes away the blanks around a cell, which people type; those that ``neutral`` has marked are kept.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [[original(cell.strip() if strip else cell) for cell in row] for row in rows]


def records(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV by the names of their columns, all as they were; ``csv.Error`` where it is none."""
    for row in csv.DictReader(lines):
        yield {original(name): original(cell or "") for name, cell in row.items() if name}
