"""Names in CSV files: no spreadsheet takes one for a formula, and every reader gets it back exactly."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

import numpy as np
import pytest

from mb_jupyter.training.cells import KEPT, from_csv, neutral, original, records, to_csv

TRIGGERS = "=+-@\t\r\n＝＋－＠"
KNOWN = (
    "=cmd|' '!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "'", "'tis", " =1", '"=1"',
    "a;=1", 'a;"=1', "a\t=1", "a\n=1", "a\r\n=1", ";;=1", "-1", "+1", "-1.5e3", "--1", "-", "＝1", "x\t\t=1", "a\\b",
    "日本", "", " ", "\ud800=", "=\ud800", "rose", "it's - a rose", "a,=b",
)  # fmt: skip
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.IGNORECASE)


def texts(number: int = 3000) -> Iterator[str]:
    """Yield the known texts, and some that chance makes of what matters."""
    yield from KNOWN
    random = np.random.default_rng(7)
    letters = np.array([*TRIGGERS, *"'\"; ,a1|!"])
    for _ in range(number):
        yield "".join(random.choice(letters, random.integers(1, 9)))


def formulas(text: str, delimiter: str) -> list[str]:
    """Return the cells that a spreadsheet would run which parts a text in this way."""
    cells = [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row]
    begun = [
        cell if delimiter == "," else cell.lstrip() for cell in cells
    ]  # elsewhere our quotation marks mean nothing
    return [cell for cell in begun if cell.lstrip(" ")[:1] in {*TRIGGERS} and not NUMBER.fullmatch(cell)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_spreadsheet_runs_a_name(delimiter):
    names = list(texts())
    for name, other in zip(names, reversed(names), strict=True):
        first = "x" if NUMBER.fullmatch(name) else name  # a plain number is none where its row is parted as we part it
        text = to_csv([[first, name, other], [f"Score.{name}", 0.5]])
        assert formulas(text, delimiter) == [], (name, other)


def test_every_text_comes_back_as_it_was():
    names = list(texts())
    for name in names:
        assert original(neutral(name)) == name
        assert original(neutral(neutral(name))) == neutral(name)
        assert re.sub(KEPT, "", neutral(name)) == name, "what the documentation tells other programs to do"
    assert len({neutral(name) for name in names}) == len(set(names))
    rows = [[name, "x", other] for name, other in zip(names, reversed(names), strict=True)]
    assert from_csv(to_csv(rows)) == rows
    assert list(records(io.StringIO(to_csv([["=a", "b"], *[row[:2] for row in rows]]), newline=""))) == [
        {"=a": row[0], "b": row[1]} for row in rows
    ]


@pytest.mark.parametrize("name", ["rose", "'tis", "it's - a rose", "a,=b", "-1", "+1.5", "1e-05", "", "a = b", "a-b;c"])
def test_other_texts_stay_as_they_are(name):
    assert neutral(name) == original(name) == name


def test_figures_are_no_texts():
    assert to_csv([[-0.5, "-0.5", None, 3]]) == "-0.5,-0.5,,3\r\n"
