"""A step of the panel without a browser: its buttons are pressed, and its widgets are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from mb_jupyter.panels.step import Step


def widgets(top: Any, hidden: bool = True) -> Iterator[Any]:
    if hidden or top.layout.display != "none":
        yield top
        for child in getattr(top, "children", ()):
            yield from widgets(child, hidden)


def named(step: Step, label: str) -> Any:
    return next(each for each in widgets(step.widget) if getattr(each, "description", "") == label)


def press(step: Step, label: str) -> None:
    """Press a button as a person does: once it is there and can be pressed."""
    button = named(step, label)
    until(lambda: not button.disabled and button.layout.display != "none")
    button.click()


def shown(step: Step) -> str:
    """Return what the step shows."""
    seen = widgets(step.widget, hidden=False)
    return "".join(str(getattr(each, "value", "")) for each in seen if type(each).__name__ == "HTML")


def alerted(step: Step) -> str:
    return str(step.problem._page.value) if step.problem.widget.layout.display != "none" else ""


def until(true: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
