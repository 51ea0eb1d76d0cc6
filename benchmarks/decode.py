"""Decode and resize to 224 x 224: milliseconds a picture (the best of many), against what else there is.

pip install -e ".[benchmarks]" && python benchmarks/decode.py
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from mb_jupyter.training import preprocess

SIZE = 224
SHAPES = ((341, 256), (640, 480), (1280, 960), (2048, 1536), (4000, 3000))


def picture(width: int, height: int) -> bytes:
    """A JPEG with detail at every scale, like a photo."""
    noise, random = np.zeros((height, width, 3)), np.random.default_rng(0)
    for step in (4, 16, 64, 256):
        coarse = random.integers(0, 256, (height // step + 2, width // step + 2, 3), np.uint8)
        noise += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), float) / 4
    target = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(target, "JPEG", quality=90)
    return target.getvalue()


def pillow(data: bytes) -> None:
    preprocess.squared(Image.open(io.BytesIO(data)).convert("RGB"), SIZE)


def pillow_draft(data: bytes) -> None:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (SIZE, SIZE))
    preprocess.squared(image.convert("RGB"), SIZE)


def simple(data: bytes) -> None:
    import simplejpeg

    decoded = simplejpeg.decode_jpeg(data, min_height=SIZE, min_width=SIZE, min_factor=1)
    preprocess.squared(Image.fromarray(decoded), SIZE)


def torchvision(data: bytes) -> None:
    import torch
    from torchvision.io import decode_jpeg
    from torchvision.transforms.v2 import functional

    decoded = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    functional.center_crop(functional.resize(decoded, [SIZE], antialias=True), [SIZE, SIZE])


ROUTES: dict[str, Callable[[bytes], object]] = {
    "mb_jupyter": lambda data: preprocess.load(data, SIZE),
    "Pillow": pillow,
    "Pillow draft": pillow_draft,
    "simplejpeg": simple,
    "torchvision.io": torchvision,
}


def main(rounds: int = 21) -> None:
    import torch

    torch.set_num_threads(1)  # one picture on one core: threads take one picture each
    print("| picture | " + " | ".join(ROUTES) + " | best / ours |\n|" + "---|" * (len(ROUTES) + 2))
    for width, height in SHAPES:
        data = picture(width, height)
        times: dict[str, list[float]] = {name: [] for name in ROUTES}
        for _ in range(rounds):  # in turn, so that a busy moment meets all of them
            for name, route in ROUTES.items():
                begun = time.perf_counter()
                route(data)
                times[name].append(1000 * (time.perf_counter() - begun))
        best_of = {name: min(values) for name, values in times.items()}
        best = min(value for name, value in best_of.items() if name != "mb_jupyter")
        cells = " | ".join(f"{value:.2f}" for value in best_of.values())
        print(f"| {width} x {height} | {cells} | {best / best_of['mb_jupyter']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
