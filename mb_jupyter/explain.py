"""Which parts of a picture spoke for a class: cover them one after another and ask the model again.

Occlusion, after Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014 (arXiv:1311.2901).
It asks nothing of the network but its answers, so what is explained is the exported model itself. What is not
promised: that parts which only count together are found, since they are covered one at a time.
"""

from __future__ import annotations

import difflib
import io
import os
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .display import Markup, card, elide, escape, image, percent, table, text_table
from .errors import PredictionError
from .prediction import ModelOutput, is_unsure, ordered
from .seen import notes
from .sources import content_of, expand

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .model import Model

CELLS = 8  # of the heat, a side
WINDOW = 2  # cells a side that are covered at once
NINTHS = tuple(
    f"{row} {column}".replace("middle centre", "centre")
    for row in ("top", "middle", "bottom")
    for column in ("left", "centre", "right")
)
SHOWN = 256  # pixels a side of the pictures in the output
LITTLE = 0.01  # of a score: less is said to be nothing
FAINTEST = 1.0  # log odds at which the colour is full, at the least: noise must not glow
FOR, AGAINST = (234, 88, 12), (37, 99, 235)  # orange and blue, which the colour-blind tell apart too
PIXELS = f"width:{SHOWN}px;max-width:100%;border-radius:4px;display:block"


@dataclass(frozen=True, repr=False)
class Explanation:
    """What each part of a picture did to the score of the predicted class, and of another one if asked for.

    ``heat`` is class to (8, 8) float: by how much the log odds of the class fall when that place is covered; below
    zero they rise. ``ninths`` is part to class to the score when that ninth of the picture is covered.
    """

    source: str
    output: ModelOutput
    labels: tuple[str, ...]
    heat: dict[str, np.ndarray[Any, Any]] = field(compare=False)
    ninths: dict[str, dict[str, float]]
    turned: dict[str, str]
    pixels: np.ndarray[Any, Any] = field(compare=False)
    run: str = field(default="", compare=False)  # which run's model answered, in words

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each ninth, the weightiest first: Part, Score.<class> when it is covered, Change.<class>."""
        import pandas as pd

        rows = [
            {
                "Part": part,
                **{f"Score.{label}": self.ninths[part][label] for label in self.labels},
                **{f"Change.{label}": self._change(part, label) for label in self.labels},
                "Prediction": self.turned[part],
            }
            for part in self._order()
        ]
        return pd.DataFrame(rows)

    def overlay(self, label: str) -> bytes:
        """Return the picture in grey as PNG, with what spoke for a class in orange and against it in blue."""
        import numpy as np
        from PIL import Image

        strongest = max(FAINTEST, *(float(np.abs(heat).max()) for heat in self.heat.values()))
        small = Image.fromarray((self.heat[label] / strongest).astype(np.float32))
        heat = np.asarray(small.resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)).clip(-1, 1)[..., None]
        grey = np.asarray(Image.fromarray(self.pixels).convert("L").resize((SHOWN, SHOWN)), np.float32)[..., None]
        colour = np.where(heat > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
        share = 0.75 * np.abs(heat)
        return _encoded((grey * (1 - share) + colour * share).astype(np.uint8))

    def png(self) -> bytes:
        """Return the picture and its overlays side by side."""
        import numpy as np
        from PIL import Image

        parts = [_encoded(self._square()), *(self.overlay(label) for label in self.labels)]
        arrays = [np.asarray(Image.open(io.BytesIO(part))) for part in parts]
        strip = np.concatenate([np.pad(array, ((0, 0), (0, 8), (0, 0)), constant_values=255) for array in arrays], 1)
        return _encoded(np.concatenate([strip, *(_written(line, strip.shape[1]) for line in self._notes())], 0))

    def _notes(self) -> list[str]:
        """Return which run's model is explained, and whether its score flatters."""
        return notes(self.run, [self.output.seen], alone=True)

    def __repr__(self) -> str:
        return f"<Explanation of {self.source!r}: {', '.join(self.labels)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        columns, rows = self._columns(), [*self._rows()]
        right = range(1, 1 + 2 * len(self.labels))
        said, table_text = [*self._sentences(), *self._notes(), METHOD], text_table(columns, rows, right=right)
        text = "\n".join([self._headline(), *said, "", table_text])
        before = "".join(f"<div>{escape(line)}</div>" for line in self._sentences())
        pictures = [
            _figure(
                _encoded(self._square(), "JPEG"), f"The picture {self.source} as the network sees it", "as it is seen"
            )
        ]
        for label in self.labels:
            alt = f"The same picture, coloured where parts spoke for {label}. {self._said(label)}"
            pictures.append(_figure(self.overlay(label), alt, f"for {label}: orange; against: blue"))
        page = (
            f'{before}<div style="display:flex;flex-wrap:wrap;gap:12px;margin:8px 0">{"".join(pictures)}</div>'
            f"{table(columns, rows, right=right)}"
            f'<div style="opacity:.75">{escape(" ".join([*self._notes(), METHOD]))}</div>'
        )
        bundle: dict[str, Any] = {"text/plain": text, "text/html": card(self._headline(), page)}
        if include and "image/png" in include:
            bundle["image/png"] = self.png()
        return bundle

    def _headline(self) -> str:
        score = percent(self.output.Score[self.output.Prediction])
        said = self.output.outcome if self.output.unsure else f"{self.output.Prediction}, {score}"
        return f"Why {elide(self.source, 60)}: {elide(said, 60)}"

    def _sentences(self) -> Iterator[str]:
        for label in self.labels:
            yield self._said(label)

    def _said(self, label: str) -> str:
        """Say in words what the colours show."""
        score = self.output.Score[label]
        by_drop = sorted(self.ninths, key=lambda part: self.ninths[part][label])
        most, least = by_drop[0], by_drop[-1]
        lost, gained = -self._change(most, label), self._change(least, label)
        name = f"{elide(label, 40)} ({percent(score)})"
        if max(lost, gained) < LITTLE:
            return f"For {name} no single part counts: covering any ninth changes the score by less than 1 point."
        said = []
        if lost >= LITTLE:
            said.append(f"the {most} spoke most for it (without it the score is {percent(self.ninths[most][label])})")
        if gained >= LITTLE:
            said.append(
                f"the {least} spoke most against it (without it the score is {percent(self.ninths[least][label])})"
            )
        return f"{name}: {', '.join(said)}."

    def _order(self) -> list[str]:
        """Return the parts, the one that changes the first class's score most first."""
        return sorted(self.ninths, key=lambda part: -abs(self._change(part, self.labels[0])))

    def _change(self, part: str, label: str) -> float:
        return self.ninths[part][label] - self.output.Score[label]

    def _columns(self) -> tuple[str, ...]:
        scores = (name for label in self.labels for name in (elide(label, 24), "points"))
        return ("Covered part", *scores, "Prediction then")

    def _rows(self) -> Iterator[tuple[str | Markup, ...]]:
        for part in self._order():
            cells: list[str] = []
            for label in self.labels:
                cells += [percent(self.ninths[part][label]), f"{100 * self._change(part, label):+.1f}"]
            yield part, *cells, elide(self.turned[part], 24)

    def _square(self) -> np.ndarray[Any, Any]:
        import numpy as np
        from PIL import Image

        return np.asarray(Image.fromarray(self.pixels).resize((SHOWN, SHOWN)))


METHOD = "Parts were covered with the picture's mean colour, one at a time, and the exported model was asked again."


def explain(model: Model, source: Any, *, label: str | None = None, urls: bool = False) -> Explanation:
    """Return which parts of one picture spoke for its class, and for ``label`` where that is another class."""
    if label is not None:  # the name may come from a Mac
        known = {unicodedata.normalize("NFC", name): name for name in model.classes}
        label = known.get(unicodedata.normalize("NFC", label), label)
    if label is not None and label not in model.classes:
        near = difflib.get_close_matches(label, model.classes, n=1)
        raise PredictionError(
            f"There is no class '{elide(label, 60)}' in this model.",
            f"Did you mean '{near[0]}'?" if near else f"Its classes are {elide(', '.join(model.classes), 200)}.",
        )
    name, pixels, seen = _pixels(model, source, urls)
    masks = [*_windows(model.size), *_ninths(model.size)]
    scores = _asked(model, pixels, masks)
    whole, covered, ninths = scores[0], scores[1 : -len(NINTHS)], scores[-len(NINTHS) :]
    answer = ordered(model.classes, whole)
    first = next(iter(answer))
    labels = (first,) if label in (None, first) else (first, str(label))
    columns = {name: model.classes.index(name) for name in labels}
    return Explanation(
        source=name,
        output=ModelOutput(first, answer, unsure=is_unsure(answer[first], model.unsure_below), seen=seen),
        labels=labels,
        heat={name: _heat(whole[column], covered[:, column]) for name, column in columns.items()},
        ninths={
            part: {name: float(row[column]) for name, column in columns.items()}
            for part, row in zip(NINTHS, ninths, strict=True)
        },
        turned={part: model.classes[int(row.argmax())] for part, row in zip(NINTHS, ninths, strict=True)},
        pixels=pixels,
        run=model.origin.text,
    )


def _pixels(model: Model, source: Any, urls: bool) -> tuple[str, np.ndarray[Any, Any], str | None]:
    """Return the name and the pixels of the one image, as the network sees it, and the part of the data it was in."""
    from .training.errors import PictureError

    picture, *others = expand([source], urls=urls)
    if others:
        raise PredictionError("More than one image was given.", "Pass a single one.")
    try:
        content = content_of(picture)
        return picture.name, model.squared(model.opened(content)), model.seen(content)
    except (PictureError, OSError) as error:
        raise PredictionError(
            f"{picture.name} cannot be explained: {getattr(error, 'strerror', None) or error}.",
            "Check the file, or pass another picture.",
        ) from None


def _asked(model: Model, pixels: np.ndarray[Any, Any], masks: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return the scores of the picture as it is, then with each mask covered; on all cores."""
    import numpy as np

    mean = pixels.reshape(-1, 3).mean(0)

    def scored(mask: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        seen = pixels if mask is None else (pixels * (1 - mask) + mean * mask).round().astype(np.uint8)
        return np.asarray(model.scores(seen[None])[0])

    rows = [scored(None)]  # opens the model before several threads ask for it
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mb-explain") as pool:
        rows += pool.map(scored, masks)
    return np.stack(rows)


def _windows(size: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield a soft mask for every window of the heat, row by row."""
    edges = [round(size * place / CELLS) for place in range(CELLS + 1)]
    for top in range(CELLS - WINDOW + 1):
        for left in range(CELLS - WINDOW + 1):
            yield _soft(size, edges[top], edges[left], edges[top + WINDOW], edges[left + WINDOW])


def _ninths(size: int) -> Iterator[np.ndarray[Any, Any]]:
    edges = [round(size * third / 3) for third in range(4)]
    for row in range(3):
        for column in range(3):
            yield _soft(size, edges[row], edges[column], edges[row + 1], edges[column + 1])


def _soft(size: int, top: int, left: int, bottom: int, right: int) -> np.ndarray[Any, Any]:
    """Return a mask (size, size, 1): 1 inside and 0 outside, without a hard edge that would be something new to see."""
    import numpy as np
    from PIL import Image, ImageFilter

    mask = Image.new("L", (size, size))
    mask.paste(255, (left, top, right, bottom))
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(size / 64)), np.float32)[..., None] / 255


def _heat(whole: Any, covered: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return (cells, cells): the fall of the log odds, the mean over the windows that cover a cell."""
    import numpy as np

    def odds(score: Any) -> np.ndarray[Any, Any]:
        kept = np.clip(np.asarray(score, np.float64), 1e-6, 1 - 1e-6)
        return np.asarray(np.log(kept) - np.log1p(-kept))

    side = CELLS - WINDOW + 1
    drops = (odds(whole) - odds(covered)).reshape(side, side)
    total, count = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for top in range(side):
        for left in range(side):
            place = (slice(top, top + WINDOW), slice(left, left + WINDOW))
            total[place] += drops[top, left]
            count[place] += 1
    return total / count


def _figure(png: bytes, alt: str, caption: str) -> str:
    said = f'<figcaption style="opacity:.75;font-size:12px">{escape(caption)}</figcaption>'
    return f'<figure style="margin:0;max-width:100%">{image(png, alt, style=PIXELS)}{said}</figure>'


def _written(line: str, width: int) -> np.ndarray[Any, Any]:
    """Return a line of text as pixels (height, width, 3), dark on white."""
    import numpy as np
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (width, 16), "white")
    fits = max(10, width // 7)  # letters of the font that comes with Pillow
    plain = elide(line, fits).encode("latin-1", "replace").decode("latin-1")  # the font has no other letters
    ImageDraw.Draw(strip).text((2, 2), plain, fill=(80, 80, 80))
    return np.asarray(strip)


def _encoded(pixels: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, optimize=True, quality=88)
    return file.getvalue()
