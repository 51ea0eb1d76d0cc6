"""One thing to do next."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Order(IntEnum):
    """What comes before what; within each, the larger gain does."""

    FIRST = 0  # a class that is never found
    DATA = 1  # what makes the figures themselves doubtful
    BETTER = 2  # answers that may become right
    SURER = 3  # no better answer, but a more certain, quicker or cheaper one


class Step(NamedTuple):
    """One thing to do: its rule, and how many test images it may put right, at the most."""

    code: str
    gain: float
    sentence: str
    order: Order = Order.BETTER
