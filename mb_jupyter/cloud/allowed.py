"""Questions about a whole subscription, which somebody with a role on one resource group may not ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mb_jupyter.errors import AzureError

NOT_CHECKED = "Not checked: "
"""How a report of progress begins that should stay to be read."""

Answer = TypeVar("Answer")


def if_allowed(ask: Callable[[], Answer], what: str, say: Callable[[str], None] | None) -> Answer | None:
    """Return the answer; None, and say so, when the account may not ask: what is made then is checked by Azure."""
    try:
        return ask()
    except AzureError as error:
        if error.status != 403:
            raise
    if say is not None:
        say(
            f"{NOT_CHECKED}{what}, because the account's role is not of the whole subscription; Azure checks it itself."
        )
    return None
