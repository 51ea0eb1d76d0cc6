"""Near copies: how many of them are found, by what was done to the image; false pairs; seconds for many images.

    python benchmarks/near_copies.py ../shared/data/flowers_small ../shared/data/trashnet [--images 2000]
    python benchmarks/near_copies.py --simulated 2000 20000 100000

Peer in the same run: ImageHash's 64-bit perceptual hash, a pair being one that differs in at most 10 bits. Each
altered image stands beside 100 originals of its set. "False pairs" are pairs of different originals that are taken for
copies; ours are named, because a set may hold real ones. Handwritten digits of scikit-learn are one more set.
"""

from __future__ import annotations

import argparse
import base64
import io
import resource
import time
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from mb_jupyter.training import similar, thumbnails
from mb_jupyter.training.pictures import Picture

PEER_BITS = 10
PHOTOS = 100  # that are altered, at the most, of a set


def cut(share: float, right: float = 0, down: float = 0) -> Callable[[Image.Image], Image.Image]:
    """Return what cuts that share off every side, more on one side and less on the other where asked for."""

    def done(image: Image.Image) -> Image.Image:
        x, y = image.width * share, image.height * share
        box = (x + right * x, y + down * y, image.width - x + right * x, image.height - y + down * y)
        return image.crop(tuple(map(round, box)))  # type: ignore[arg-type]

    return done


def framed(colour: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: ImageOps.expand(image, round(0.05 * min(image.size)), colour)


def written_on(image: Image.Image) -> Image.Image:
    image = image.copy()
    at, size = (image.width * 0.1, image.height * 0.85), max(8, image.height // 16)
    ImageDraw.Draw(image).text(at, "(c) 2026", fill="white", font_size=size)
    return image


def turned(degrees: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int = 90) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 40": lambda image: jpeg(image, 40),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2)),
    "blur of 1 pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "text on it": written_on,
    "crop of 1 %": cut(0.01),
    "crop of 2.5 %": cut(0.025),
    "crop of 5 %": cut(0.05),
    "crop of 10 %": cut(0.1),
    "crop of 10 %, all on the left and above": cut(0.05, 1, 1),
    "centre square": lambda image: ImageOps.fit(image, (min(image.size),) * 2),
    "mirror image": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "quarter turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "half turn": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "rotation of 1 degree": turned(1),
    "rotation of 2 degrees": turned(2),
    "rotation of 5 degrees": turned(5),
    "white border of 5 %": framed("white"),
    "black border of 5 %": framed("black"),
    "greyscale": lambda image: image.convert("L").convert("RGB"),
    "greyscale mirror image": lambda image: ImageOps.mirror(image.convert("L").convert("RGB")),
    "brightness x 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "brightness x 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "saturation x 1.6": lambda image: ImageEnhance.Color(image).enhance(1.6),
    "saturation x 0.5": lambda image: ImageEnhance.Color(image).enhance(0.5),
}


def picture(name: str, image: Image.Image) -> Picture:
    """Return what a scan finds out about an image."""
    phash, thumbnail = similar.marks(image)
    sha256 = f"{hash(name) & 0xFFFFFFFFFFFFFFFF:016x}".ljust(64, "0")
    return Picture(name, "a", "", sha256, *image.size, "JPEG", phash, 1, 1, thumbnail=thumbnail)


def groups(pictures: list[Picture]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in similar.group(pictures):
        found.setdefault(one.group, []).append(one.path)
    return found


def peer_hash(image: Image.Image) -> int:
    return int(str(imagehash.phash(image)), 16)


def peer_near(one: int, others: np.ndarray) -> np.ndarray:
    return np.asarray(np.bitwise_count(others ^ np.uint64(one)) <= PEER_BITS)


def recall(images: list[Image.Image], originals: list[Picture]) -> dict[str, tuple[float, float]]:
    """Return for every alteration the share of the altered images that are found, ours and the peer's."""
    chosen = range(0, len(images), -(-len(images) // PHOTOS))
    theirs = np.array([peer_hash(image) for image in images], np.uint64)
    found = {}
    for name, alter in ALTERED.items():
        altered = {index: jpeg(alter(images[index])) for index in chosen}
        again = [picture(f"{name} {index}", image) for index, image in altered.items()]
        beside = [originals[index] for index in chosen]
        named = {one: members for members in groups([*beside, *again]).values() for one in members}
        ours = [originals[index].path in named[one.path] for index, one in zip(altered, again, strict=True)]
        peer = [bool(peer_near(peer_hash(image), theirs[[index]])[0]) for index, image in altered.items()]
        found[name] = (float(np.mean(ours)), float(np.mean(peer)))
    return found


def false_pairs(name: str, paths: list[str], images: list[Image.Image]) -> list[Picture]:
    """Print the originals of a set that are taken for copies; return what is known of all."""
    begun = time.perf_counter()
    originals = [picture(path, image) for path, image in zip(paths, images, strict=True)]
    marked = time.perf_counter()
    several = [members for members in groups(originals).values() if len(members) > 1]
    compared = time.perf_counter()
    theirs = np.array([peer_hash(image) for image in images], np.uint64)
    peer = sum(int(peer_near(int(one), theirs[index + 1 :]).sum()) for index, one in enumerate(theirs))
    print(
        f"{name}: {len(images):,} images, {len(images) * (len(images) - 1) // 2:,} pairs; taken for copies: "
        f"{sum(len(members) - 1 for members in several)}, by the peer {peer:,}; "
        f"{(marked - begun) / len(images) * 1e3:.2f} ms an image, {compared - marked:.1f} s to compare"
    )
    for members in several:
        print(f"    {', '.join(members)}")
    return originals


def digits() -> tuple[list[str], list[Image.Image]]:
    from sklearn.datasets import load_digits

    eight = np.clip(load_digits().images * 16, 0, 255).astype(np.uint8)
    images = [Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC).convert("RGB") for one in eight]
    return [f"digit {index}" for index in range(len(images))], images


def many(images: list[Image.Image], number: int) -> None:
    """Compare so many images: parts of the photos, and 100 of them mirrored and cut, which are looked for."""
    rng = np.random.default_rng(0)

    def part() -> Image.Image:
        image = images[rng.integers(len(images))]
        share = rng.uniform(0.3, 0.6)
        x, y = rng.uniform(0, 1 - share, 2) * image.size
        return image.crop((int(x), int(y), int(x + share * image.width), int(y + share * image.height)))

    begun = time.perf_counter()
    parts = [part() for _ in range(number)]
    pictures = [picture(f"part {index}", image) for index, image in enumerate(parts)]
    again = [picture(f"again {index}", ImageOps.mirror(cut(0.05)(parts[index]))) for index in range(100)]
    made, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = time.process_time()
    named = {one: members for members in groups([*pictures, *again]).values() for one in members}
    seconds, after = time.perf_counter() - made, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = sum(f"part {index}" in named[f"again {index}"] for index in range(100))
    print(
        f"{number:,} parts of photos (hashed in {made - begun:.0f} s): compared in {seconds:.1f} s, "
        f"{time.process_time() - spent:.1f} s of processor time, with "
        f"{(after - before) / 1024:,.0f} MiB; {found} of 100 mirrored and cut ones are found",
        flush=True,
    )


def simulated(number: int) -> None:
    """Compare so many random thumbnails and hashes, which no image stands behind: what is left is the comparing."""
    rng = np.random.default_rng(0)
    waves = np.outer(1 / (1 + np.arange(12)), 1 / (1 + np.arange(12)))
    cosines = np.cos(np.pi * np.outer(np.arange(12), np.arange(thumbnails.SIDE) + 0.5) / thumbnails.SIDE)

    def one(index: int) -> Picture:
        grey = 128 + 60 * (cosines.T @ (waves * rng.normal(0, 1, (12, 12))) @ cosines)
        colour = rng.normal(128, 12, thumbnails.CELLS**2 * 2)
        packed = b"".join(part.clip(0, 255).astype(np.uint8).tobytes() for part in (grey, colour))
        text = base64.b64encode(packed).decode("ascii")
        hashed = int.from_bytes(rng.bytes(40), "big")
        return Picture(
            f"{index}", "a", "", f"{index:016x}".ljust(64, "0"), 96, 72, "JPEG", hashed, 1, 1, thumbnail=text
        )

    pictures = [one(index) for index in range(number)]
    begun, spent, before = time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    joined = number - len(groups(pictures))
    seconds, processor = time.perf_counter() - begun, time.process_time() - spent
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{number:,} random thumbnails: compared in {seconds:.1f} s, {processor:.1f} s of processor time, with "
        f"{more:,.0f} MiB; {joined} joined",
        flush=True,
    )


def cost(images: list[Image.Image]) -> None:
    """Print the milliseconds of both marks beside those of the hash alone, in turns."""
    spent = [0.0, 0.0]
    for image in images[:400]:
        for which, work in enumerate((picture_hash, similar.marks)):
            begun = time.perf_counter()
            work(image)
            spent[which] += time.perf_counter() - begun
    hashed, both = (1e3 * each / len(images[:400]) for each in spent)
    print(f"hash {hashed:.2f} ms an image, hash and thumbnail {both:.2f} ms: {both / hashed:.2f} times as long")


def picture_hash(image: Image.Image) -> int | None:
    return similar.perceptual_hash(image.resize((similar.SMALL, similar.SMALL), Image.Resampling.LANCZOS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--images", type=int, nargs="*", default=(), help="compare so many parts of the photos as well")
    parser.add_argument(
        "--simulated", type=int, nargs="*", default=(), help="compare so many random thumbnails, no more"
    )
    given = parser.parse_args()
    if given.simulated:
        for number in given.simulated:
            simulated(number)
        return
    table: dict[str, dict[str, tuple[float, float]]] = {}
    every: list[Image.Image] = []
    for folder in given.sets:
        paths = sorted(path for path in folder.glob("*/*") if path.is_file())
        images = [Image.open(path).convert("RGB") for path in paths]
        every += images
        names = [f"{path.parent.name}/{path.name}" for path in paths]
        table[folder.name] = recall(images, false_pairs(folder.name, names, images))
    false_pairs("digits", *digits())
    print("\nrecall, ours / the peer's\n\n| what was done | " + " | ".join(table) + " |")
    print("|---" * (len(table) + 1) + "|")
    for name in ALTERED:
        figures = (f"{ours:.2f} / {peer:.2f}" for ours, peer in (found[name] for found in table.values()))
        print(f"| {name} | " + " | ".join(figures) + " |")
    print()
    cost(every)
    for number in given.images:
        many(every, number)


if __name__ == "__main__":
    main()
