"""Names: what is derived from a folder, what Azure gets, what two file systems take for the same."""

from __future__ import annotations

import unicodedata

import pytest

from mb_jupyter import naming

NAMES = [
    "꽃",
    "꽃-사진",
    "花の写真",
    "花卉",
    "زهور",
    "Blümchen",
    "Straße",
    "цветы",
    "🌹",
    "a" * 128,
    "꽃" * 66,
    "con-1",
    "2026",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_azure_gets_is_a_name_there_and_always_the_same(name: str) -> None:
    there = naming.in_azure(name)
    assert naming.AZURE_NAME.fullmatch(there)
    assert there == naming.in_azure(unicodedata.normalize("NFD", name)) == naming.in_azure(there)
    assert (there == name) == name.isascii()


def test_what_azure_gets_can_be_read_and_is_unique() -> None:
    assert naming.in_azure("꽃-사진").startswith("ggoc-sajin-")
    assert naming.in_azure("さくら").startswith("sakura-")
    assert naming.in_azure("Blümchen-groß").startswith("Blumchen-gross-")
    assert naming.in_azure("花卉").startswith("experiment-")
    different = ["花卉", "花", "Blumchen", "Blümchen", "Blùmchen", "꽃", "Ggoc"]
    assert len({naming.in_azure(name).casefold() for name in different}) == len(different)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/../b", "CON", "x" * 500, "꽃" * 500, "\u200d", "\u0301", "a\0b", "\ud800x", "ㅤ", "-_-"]
)
def test_what_is_derived_is_always_a_name(text: str) -> None:
    name = naming.derived(text)
    assert naming.is_name(name) and naming.problem(name) == "" and naming.derived(name) == name
    assert name == naming.clean(name)


def test_a_name_stays_as_it_is() -> None:
    for name in NAMES:
        assert naming.problem(name) == "" and naming.derived(name) == name
