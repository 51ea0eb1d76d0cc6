"""What the generated package has to reproduce: answers of the model on pictures, as the network sees these.

The pictures are held-out ones where they can still be read and still get the recorded answer; else drawn ones.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.report.files import data_root
from mb_jupyter.training.cells import records
from mb_jupyter.training.errors import PictureError

if TYPE_CHECKING:
    import numpy as np

    from mb_jupyter.model import Model
    from mb_jupyter.run import Run

MOST = 6
MOST_BYTES = 600_000  # of all recorded pictures together
MOST_TRIED = 40
TOLERANCE = 1e-3  # by which an answer may differ from the run's own, made on other hardware perhaps


@dataclass(frozen=True)
class Recorded:
    """``files`` are paths below the project and their contents; ``held_out`` says that they are real pictures."""

    files: dict[str, bytes]
    first: str
    held_out: bool
    changed: int  # test images that are answered otherwise than in the run: they were changed since


def record(run: Run, model: Model) -> Recorded:
    """Return recorded answers on a few pictures, of different classes as far as possible."""
    chosen: list[tuple[np.ndarray[Any, Any], bytes, str]] = []
    size = tried = changed = 0
    for row in _held_out(run.folder / "predictions.csv"):
        if tried >= MOST_TRIED or len(chosen) >= MOST:
            break
        tried += 1
        try:
            pixels = model.squared(model.opened(_root(run) / row["ImageSource"]))
        except PictureError:
            continue
        if not _as_recorded(model, pixels, row):
            changed += 1
            continue
        png = _png(pixels)
        if size + len(png) <= MOST_BYTES:
            size += len(png)
            chosen.append((pixels, png, row["Label"]))
    held_out = bool(chosen)
    chosen = chosen or [(pixels, _png(pixels), "") for pixels in _drawn(model.size)]
    pictures, files = [], {}
    for number, (pixels, png, label) in enumerate(chosen, start=1):
        name = f"{number}.png"
        files[f"tests/pictures/{name}"] = png
        pictures.append({"file": name, "Label": label, **_answer(model, pixels)})
    said = {
        "size": model.size,
        "computed_with": {"onnxruntime": metadata.version("onnxruntime"), "processor": _processor()},
        "pictures": pictures,
    }
    files["tests/recorded.json"] = json.dumps(said, ensure_ascii=False, indent=1).encode()
    return Recorded(files, "1.png", held_out, changed)


def _root(run: Run) -> Path:
    return data_root(dict(run.record)) or Path("nowhere")


def _held_out(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of ``predictions.csv``, one of every class before the second of any."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = [row for row in records(file) if row.get("ImageSource") and row.get("Label")]
    except (OSError, csv.Error):
        return
    by_class: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_class.setdefault(row["Label"], []).append(row)
    for turn in range(max(map(len, by_class.values()), default=0)):
        yield from (of_class[turn] for of_class in by_class.values() if turn < len(of_class))


def _as_recorded(model: Model, pixels: np.ndarray[Any, Any], row: dict[str, str]) -> bool:
    scores = model.scores(pixels[None])[0].tolist()
    try:
        told = [float(row[f"Score.{name}"]) for name in model.classes]
    except (KeyError, ValueError, TypeError):
        return False
    return all(abs(score - other) <= TOLERANCE for score, other in zip(scores, told, strict=True))


def _answer(model: Model, pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    answer: Any = model.predict(pixels)  # what %mb_predict shows
    return {
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "Prediction": answer.Prediction,
        "unsure": answer.unsure,
        "Score": dict(answer.Score),
    }


def _drawn(size: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield a gradient and stripes."""
    import numpy as np

    ramp = np.linspace(0, 255, size).astype(np.uint8)
    yield np.dstack([np.tile(ramp, (size, 1)), np.tile(ramp[:, None], (1, size)), np.full((size, size), 128, np.uint8)])
    down, right = np.indices((size, size))
    yield np.dstack([(down + right) // 7 * 60 % 256, right // 5 * 90 % 256, down // 9 * 70 % 256]).astype(np.uint8)


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", optimize=True)
    return data.getvalue()


def _processor() -> str:
    """Return the processor's name as the generated test finds it, to know where the last digits must agree."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
