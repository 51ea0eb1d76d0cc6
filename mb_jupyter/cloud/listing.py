"""A list that shows itself as a table, in text and in HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from mb_jupyter.display import FONT, Markup, card, escape, table, text_table

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class Listing(Sequence[T], Generic[T]):
    """What there is: a sequence of values that knows its table. ``frame`` is the same for pandas."""

    def __init__(
        self,
        title: str,
        items: Iterable[T],
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        said: str = "",
        right: Iterable[int] = (),
        notes: Iterable[str] = (),
    ) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.rows = [tuple(row) for row in rows]
        self.said = said
        self.notes = list(notes)
        self._items = list(items)
        self._right = tuple(right)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per item."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(self.columns))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        said = self.said or f"{len(self.rows):,} in all."
        text, page = [f"{self.title}: {said}"], f"<div>{escape(said)}</div>"
        if self.rows:
            text.append(text_table(self.columns, self.rows, right=self._right))
            page += table(self.columns, self.rows, right=self._right)
        text += self.notes
        page += "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return {"text/plain": "\n".join(text), "text/html": card(self.title, page)}

    def __repr__(self) -> str:
        return f"<{self.title}: {len(self)}>"


def pairs(rows: Sequence[tuple[str, object]]) -> tuple[str, str]:
    """Return names and their values as text and as HTML."""
    wide = max(len(name) for name, _ in rows)
    text = "\n".join(f"{name.ljust(wide)}  {value}" for name, value in rows)
    name_style = "text-align:left;font-weight:normal;opacity:.75;padding:2px 14px 2px 0;white-space:nowrap"
    value_style = "text-align:left;padding:2px 0;overflow-wrap:anywhere"
    cells = "".join(
        f'<tr><th scope="row" style="{name_style}">{escape(name)}</th>'
        f'<td style="{value_style}">{value if isinstance(value, Markup) else escape(value)}</td></tr>'
        for name, value in rows
    )
    return text, f'<table style="border-collapse:collapse;margin:4px 0;{FONT}"><tbody>{cells}</tbody></table>'


def shown(value: float | int | str | None, unit: str = "") -> str:
    """Return a figure as a table shows it; what is unknown is empty."""
    if value is None or value == "":
        return ""
    text = f"{value:,g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
    return f"{text}{unit}"


def money(amount: float | None, currency: str, per: str = "") -> str:
    """Return an amount of money, with cents."""
    return "" if amount is None else f"{amount:,.2f} {currency}{per}".strip()
