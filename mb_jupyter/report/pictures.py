"""Small images inside the report: capped in size and in number, so that the page stays small."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mb_jupyter.display import FONT, Markup, elide, escape

if TYPE_CHECKING:
    from pathlib import Path

    from .evaluation import Report

SIDE = 88  # pixels of the longer side
QUALITY = 68
LARGEST = 6000  # bytes of one; a noisy one is made smaller
WORKERS = 4
STYLE = "display:block;width:{width}px;height:{height}px;object-fit:contain;border-radius:3px;margin:0"


class Album:
    """Gives out thumbnails until so many are used; after that there are names only."""

    def __init__(self, report: Report, most: int) -> None:
        self._report, self._left = report, most
        self.missing: set[str] = set()  # each is named in several places, perhaps

    def take(self, sources: Sequence[str]) -> dict[str, bytes]:
        """Return the JPEGs of the first of these images that can still be opened."""
        wanted = list(dict.fromkeys(sources))[: max(0, self._left)]
        kept = self._report.thumbnails
        new = [source for source in wanted if source not in kept]
        if new:
            with ThreadPoolExecutor(WORKERS) as pool:
                kept.update(zip(new, pool.map(_thumbnail, map(self._report.path, new)), strict=True))
        found = {source: kept[source] for source in wanted if kept[source]}
        self.missing.update(source for source in wanted if source not in found)
        self._left -= len(found)
        return found

    def strip(self, rows: Iterable[tuple[str, str]], most: int) -> str:
        """Return images side by side from rows of source and caption; those beyond ``most`` are counted."""
        rows = list(rows)
        found = self.take([source for source, _ in rows[:most]])
        boxes = [_box(source, caption, found.get(source)) for source, caption in rows[:most]]
        more = f'<div style="opacity:.75">and {len(rows) - most:,} more</div>' if len(rows) > most else ""
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:4px 0">{"".join(boxes)}</div>{more}'


def framed(jpeg: bytes | None, source: str, width: int = SIDE, height: int = 66) -> Markup:
    """Return one thumbnail as HTML, of one that there is none a word."""
    if not jpeg:
        return Markup('<span style="opacity:.7">no image</span>')
    inside = base64.b64encode(jpeg).decode("ascii")
    style = STYLE.format(width=width, height=height)
    return Markup(f'<img src="data:image/jpeg;base64,{inside}" alt="{escape(source)}" style="{style};max-width:none">')


def _box(source: str, caption: str, jpeg: bytes | None) -> str:
    line = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
    name = elide(source.replace("\\", "/").rpartition("/")[2], 40)
    return (
        f'<div style="width:{SIDE}px;{FONT};font-size:11px;line-height:1.3">{framed(jpeg, source) if jpeg else ""}'
        f'<div style="overflow-wrap:anywhere">{escape(caption)}</div>'
        f'<div style="{line};opacity:.75" title="{escape(source)}">{escape(name)}</div></div>'
    )


def _thumbnail(path: Path) -> bytes:
    from PIL import Image

    from mb_jupyter.training.errors import PictureError
    from mb_jupyter.training.preprocess import open_picture

    try:
        small = open_picture(path, at_least=SIDE).copy()
    except PictureError:  # gone since the training
        return b""
    for side, quality in ((SIDE, QUALITY), (SIDE // 2, QUALITY), (SIDE // 4, QUALITY)):
        small.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        if file.tell() <= LARGEST:
            break
    return file.getvalue()
