"""A run in which no image could be held out: why there is no accuracy, and what would give one."""

from __future__ import annotations

from pathlib import Path

from mb_jupyter.display import counted, elide

from .files import InFolder
from .surer import IN_ALL_PARTS

NAMED = 5


class _Untested(InFolder):
    """What such a run has left in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def untested(folder: Path) -> tuple[str, str]:
    """Return the cause and the fix, in words, of a run without test images."""
    has = _Untested(folder).learned_from
    every = f": all {sum(one.images for one in has.values()):,} images were used for training" if has else ""
    few = [f"{elide(name, 40)} has {one.groups:,}" for name, one in has.items() if one.groups < IN_ALL_PARTS]
    more = (
        f" and {counted(len(few) - NAMED, 'more class has', 'more classes have')} too few" if len(few) > NAMED else ""
    )
    named = f" ({', '.join(few[:NAMED])}{more})" if few else ""
    return (
        f"No image was held out for testing, so there is no accuracy{every}.",
        f"Add images: a class needs at least {IN_ALL_PARTS} that are not copies of each other, so that one can be a "
        f"test image{named}. Then run the cell again.",
    )
