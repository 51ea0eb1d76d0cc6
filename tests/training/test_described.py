"""The preprocessing in words, followed to the letter by a program that was written from the words alone.

``Follower`` knows what an exported README says, and of Pillow only what the words name: how a file is decoded and
``convert``. It counts with whole numbers and never resizes with Pillow.
"""

from __future__ import annotations

import io
import json
import re
from math import floor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mb_jupyter import load as load_model
from mb_jupyter.run import Run
from mb_jupyter.training.described import CURRENT, Preparation, described, preparation
from mb_jupyter.training.preprocess import load
from tests.finished_run import write_run
from tests.picture_files import encoded, photo
from tests.tiny_model import network

TURNS = {2: "h", 3: "hv", 4: "v", 5: "t", 6: "th", 7: "thv", 8: "tv"}  # of EXIF: transposed, then mirrored


class Follower:
    """Does what the description says, line by line."""

    def __init__(self, told: dict[str, str]) -> None:
        self.size, self.fit = int(told["size"]), told["fit"]

    def pixels(self, data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data))
        short = min(image.size)
        if image.format == "JPEG" and short >= 2 * self.size:
            image.draft(None, (self.size, self.size))
        return self.square(self.colours(self.turned(image)))

    def turned(self, image: Image.Image) -> Image.Image:
        orientation = image.getexif().get(0x0112, 1) if image.format != "TIFF" else 1  # which Pillow turns itself
        for step in TURNS.get(orientation, ""):
            method = {"t": "TRANSPOSE", "h": "FLIP_LEFT_RIGHT", "v": "FLIP_TOP_BOTTOM"}[step]
            image = image.transpose(Image.Transpose[method])
        return image

    def colours(self, image: Image.Image) -> np.ndarray:
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(np.int64)
            bits = next(b for b in (8, 10, 12, 14, 16) if values.max() < 2**b)
            return np.repeat((values // 2 ** (bits - 8))[:, :, None], 3, 2).astype(np.uint8)
        if image.has_transparency_data:
            seen = np.asarray(image.convert("RGBA")).astype(np.int64)
            c, a = seen[:, :, :3], seen[:, :, 3:]
            return ((2 * (c * a + 255 * (255 - a)) + 255) // (2 * 255)).astype(np.uint8)
        return np.asarray(image.convert("RGB"))

    def square(self, image: np.ndarray) -> np.ndarray:
        h, w, _ = image.shape
        size = self.size
        if self.fit == "stretch":
            return resized(image, size, size)
        if self.fit == "pad":
            m = max(w, h)
            W, H = (max(1, (2 * side * size + m) // (2 * m)) for side in (w, h))
            canvas = np.full((size, size, 3), 127, np.uint8)
            x, y = (size - W) // 2, (size - H) // 2
            canvas[y : y + H, x : x + W] = resized(image, W, H)
            return canvas
        s = min(w, h)
        x, y = (w - s) // 2, (h - s) // 2
        return resized(image[y : y + s, x : x + s], size, size)


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    rows = along_first(image.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return along_first(rows, height)


def along_first(image: np.ndarray, k: int) -> np.ndarray:
    n = len(image)
    if n == k:
        return image
    s, result = n / k, []
    r = max(s, 1)
    for j in range(k):
        c = (j + 0.5) * s
        taken = range(max(0, floor(c - r + 0.5)), min(n, floor(c + r + 0.5)))
        weights = [max(0, 1 - abs(i - c + 0.5) / r) for i in taken]
        whole = [floor(weight / sum(weights) * 2**22 + 0.5) for weight in weights]
        total = sum(weight * image[i].astype(np.int64) for weight, i in zip(whole, taken, strict=True))
        result.append(np.minimum(255, (total + 2**21) // 2**22).astype(np.uint8))
    return np.stack(result)


def turned(orientation: int, size: tuple[int, int] = (61, 40), format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(orientation, size), format, exif=exif)


def files() -> dict[str, bytes]:
    """Return files of every kind that has its own way through the preprocessing."""
    ramp = np.arange(50 * 31, dtype=np.uint16).reshape(31, 50)
    clear = np.dstack([np.asarray(photo(2, (50, 31))), np.linspace(0, 255, 50 * 31).reshape(31, 50).astype(np.uint8)])
    palette = photo(3, (45, 70)).quantize(64)
    index = int(np.asarray(palette)[0, 0])
    return {
        "an even margin": encoded(photo(1, (60, 40)), "PNG"),
        "an odd margin": encoded(photo(1, (61, 40)), "PNG"),
        "an odd margin, upright": encoded(photo(1, (40, 75)), "PNG"),
        "no margin": encoded(photo(1, (37, 37)), "PNG"),
        "smaller than the square": encoded(photo(1, (9, 5)), "PNG"),
        "a line": encoded(photo(1, (120, 1)), "PNG"),
        "wider than high": encoded(photo(1, (300, 20)), "BMP"),
        **{f"a large JPEG, 1/{scale}": encoded(photo(4, (37 * scale + 11, 37 * scale + 2))) for scale in (1, 2, 4, 8)},
        **{f"orientation {number}": turned(number) for number in range(1, 9)},
        "orientation 6 of a large one": turned(6, (331, 200)),
        "orientation 6 of a PNG": turned(6, format="PNG"),
        "orientation 6 of a TIFF": turned(6, format="TIFF"),
        "16 bits": encoded(Image.fromarray(ramp * 42), "PNG"),
        "12 of 16 bits": encoded(Image.fromarray(ramp), "TIFF"),
        "8 of 16 bits": encoded(Image.fromarray(ramp % 250), "PNG"),
        "opacity": encoded(Image.fromarray(clear), "PNG"),
        "a palette": encoded(palette, "PNG"),
        "a palette with a clear colour": encoded(palette, "PNG", transparency=index),
        "a GIF": encoded(palette, "GIF"),
        "grey": encoded(photo(5, (50, 31)).convert("L"), "PNG"),
        "grey with opacity": encoded(Image.fromarray(clear).convert("LA"), "PNG"),
        "two colours": encoded(photo(5, (50, 31)).convert("1"), "PNG"),
        "CMYK": encoded(photo(5, (50, 31)).convert("CMYK")),
    }


FILES = files()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("name", FILES)
def test_who_follows_the_words_gets_the_same_bits(name: str, fit: str) -> None:
    for size in (37, 32):
        told = {key: str(value) for key, value in described(size, Preparation(fit)).items()}
        assert (Follower(told).pixels(FILES[name]) == load(FILES[name], size, Preparation(fit))).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_the_model_carries_its_fit_and_everybody_keeps_to_it(
    tmp_path: Path, fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path, data=str(tmp_path / "colours"))
    prepared = json.dumps(described(32, Preparation(fit)))
    (run.folder / "bestModel.onnx").write_bytes(network(changes={"preprocess": prepared}).SerializeToString())
    (run.folder / "MLModel.zip").unlink()
    wide = encoded(
        Image.fromarray(np.repeat([[[250, 0, 0]] * 30 + [[0, 0, 250]] * 170], 40, 0).astype(np.uint8)), "PNG"
    )
    model = load_model(run.folder)
    made = Run(run.folder).export(tmp_path / "out", name=f"fitted {fit}")
    readme = (made.model / "README.md").read_text("utf-8")
    told = dict(re.findall(r"^(\w+): (.*)$", readme.split("```text")[1].split("```")[0], re.MULTILINE))
    assert {key: str(value) for key, value in described(32, Preparation(fit)).items()} == told
    pixels = Follower(told).pixels(wide)
    assert (model.squared(model.opened(wide)) == pixels).all()
    assert (model.explain(wide).pixels == pixels).all()
    wanted = dict(zip(model.classes, model.scores(pixels[None])[0].tolist(), strict=True))
    assert dict(model.predict(wide).Score) == wanted  # type: ignore[union-attr]
    monkeypatch.syspath_prepend(made.model / "src")
    package = __import__(f"fitted_{fit}_model")
    assert dict(package.predict(wide).Score) == wanted


def test_a_model_of_the_first_version_keeps_its_way() -> None:
    told = described(32, Preparation("crop", 1))
    assert preparation(told) == Preparation("crop", 1) and preparation(json.loads(json.dumps(told))) != CURRENT
    image = photo(1, (61, 40))
    half = image.resize((32, 32), Image.Resampling.BILINEAR, box=(10.5, 0, 50.5, 40), reducing_gap=3.0)
    assert (load(encoded(image, "PNG"), 32, Preparation("crop", 1)) == np.asarray(half)).all()
    assert (load(np.full((9, 9), 4000, np.uint16), 32, Preparation("crop", 1)) == 4000 >> 8).all()


@pytest.mark.parametrize(
    "told", [None, [], {}, {"version": 3}, {"version": 2, "fit": "other"}, {"version": 1, "fit": "pad"}]
)
def test_an_unknown_way_is_no_way(told: object) -> None:
    assert preparation(told) is None
