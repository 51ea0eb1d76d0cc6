"""Near copies of synthetic photos: each way of altering one, with the bounds the product promises; nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from mb_jupyter.training import similar
from mb_jupyter.training.pictures import Picture

PHOTOS = 40


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Return an image with structure from the whole down to a few pixels, in colours of its own."""
    rng = np.random.default_rng(seed)
    mixed = np.zeros((size[1], size[0], 3), np.float32)
    for cells, weight in ((2, 50), (4, 45), (8, 40), (16, 35), (32, 25), (64, 15)):
        noise = rng.normal(0, 1, (cells, cells, 1)) + 0.5 * rng.normal(0, 1, (cells, cells, 3))
        layers = [Image.fromarray(noise[:, :, channel].astype(np.float32)) for channel in range(3)]
        mixed += weight * np.stack([np.asarray(layer.resize(size, Image.Resampling.BICUBIC)) for layer in layers], 2)
    return Image.fromarray((mixed * 0.8 + 125).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 90) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cut(share: float, side: int = 0) -> Callable[[Image.Image], Image.Image]:
    def done(image: Image.Image) -> Image.Image:
        x, y = round(image.width * share), round(image.height * share)
        return image.crop((x + side * x, y + side * y, image.width - x + side * x, image.height - y + side * y))

    return done


def written_on(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((10, image.height * 0.85), "(c) 2026", fill="white")
    return image


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": lambda image: jpeg(image, 40),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "double": lambda image: image.resize((image.width * 2, image.height * 2)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "written on": written_on,
    "cut 1 %": cut(0.01),
    "cut 2.5 %": cut(0.025),
    "cut 5 %": cut(0.05),
    "cut 10 %": cut(0.1),
    "cut on one side": cut(0.04, 1),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "a quarter left": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "a quarter right": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "half a turn": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "turned 1 degree": lambda image: image.rotate(1, Image.Resampling.BICUBIC),
    "turned 2 degrees": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "white border": lambda image: ImageOps.expand(image, 6, "white"),
    "black border": lambda image: ImageOps.expand(image, 6, "black"),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "more colour": lambda image: ImageEnhance.Color(image).enhance(1.6),
    "less colour": lambda image: ImageEnhance.Color(image).enhance(0.5),
    "mirrored, cut and paler": lambda image: ImageEnhance.Color(ImageOps.mirror(cut(0.05)(image))).enhance(0.7),
}


def known(name: str, image: Image.Image) -> Picture:
    phash, thumbnail = similar.marks(image)
    sha256 = f"{abs(hash(name)):016x}".ljust(64, "0")
    return Picture(name, "a", "", sha256, *image.size, "JPEG", phash, 1, 1, thumbnail=thumbnail)


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [jpeg(scene(seed)) for seed in range(PHOTOS)]


@pytest.fixture(scope="module")
def originals(scenes: list[Image.Image]) -> list[Picture]:
    return [known(f"original {index}", image) for index, image in enumerate(scenes)]


def pairs(images: list[Picture]) -> list[set[str]]:
    """Return the groups of more than one."""
    groups: dict[str, set[str]] = {}
    for image in similar.group(images):
        groups.setdefault(image.group, set()).add(image.path)
    return [members for members in groups.values() if len(members) > 1]


@pytest.mark.parametrize("how", ALTERED)
def test_altered_copies_are_found(how: str, scenes: list[Image.Image], originals: list[Picture]) -> None:
    altered = [known(f"altered {index}", jpeg(ALTERED[how](image))) for index, image in enumerate(scenes)]
    found = pairs([*originals, *altered])
    right = [{f"original {index}", f"altered {index}"} for index in range(PHOTOS)]
    assert all(members in right for members in found)
    assert len(found) >= 0.95 * PHOTOS


def test_among_many_images_too(scenes: list[Image.Image], originals: list[Picture]) -> None:
    many = [known(f"other {index}", scene(10_000 + index, (64, 64))) for index in range(600)]
    altered = [known(f"altered {index}", ImageOps.mirror(cut(0.05)(image))) for index, image in enumerate(scenes)]
    found = pairs([*many, *originals, *altered])
    assert len(found) == PHOTOS and all(len(members) == 2 for members in found)


def test_the_same_drawing_in_other_colours_is_another_image() -> None:
    def ball(colour: str, *, mirrored: bool = False) -> Image.Image:
        image = Image.new("RGB", (120, 90), "#e6e6e6")
        draw = ImageDraw.Draw(image)
        for x, y, r in ((20, 20, 14), (70, 30, 22), (40, 65, 17), (100, 70, 12), (95, 15, 8)):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline="black", width=2)
        return ImageOps.mirror(image) if mirrored else image

    colours = ("#c81e1e", "#1e1ec8", "#146e14")
    plain = [known(colour, ball(colour)) for colour in colours]
    assert pairs(plain) == []
    turned = [known(f"{colour} mirrored", ball(colour, mirrored=True)) for colour in colours]
    assert sorted(map(sorted, pairs([*plain, *turned]))) == [[c, f"{c} mirrored"] for c in sorted(colours)]


def test_a_grey_copy_is_one_of_its_original_and_of_no_other(scenes: list[Image.Image]) -> None:
    images = [known(f"{index}", image) for index, image in enumerate(scenes[:10])]
    grey = [known(f"{index} grey", image.convert("L").convert("RGB")) for index, image in enumerate(scenes[:10])]
    assert sorted(map(sorted, pairs([*images, *grey]))) == [[f"{index}", f"{index} grey"] for index in range(10)]


def test_handwriting_of_two_people_is_not_a_copy() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    eight = np.clip(datasets.load_digits().images * 16, 0, 255).astype(np.uint8)
    images = [Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC).convert("RGB") for one in eight]
    # the hashes of these are near in pairs: 67 and 212, 522, 582 and 611, 989 and 1183
    near = [67, 212, 522, 582, 611, 989, 1183, *range(0, 1797, 9)]
    assert pairs([known(f"{index}", images[index]) for index in dict.fromkeys(near)]) == []
    again = [known(f"{index} again", jpeg(images[index], 60)) for index in near[:7]]
    assert len(pairs([*(known(f"{index}", images[index]) for index in near[:7]), *again])) >= 6


def test_plain_images_are_copies_of_none() -> None:
    levels = [known(f"{level}", Image.new("RGB", (64, 64), (level, level, level))) for level in range(0, 250, 10)]
    assert pairs(levels) == [] and {image.thumbnail for image in levels} == {""}
