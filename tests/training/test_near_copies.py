"""Near copies of synthetic photos: each way of altering one, with the bounds the product promises; nothing else."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from mb_jupyter.training import similar
from mb_jupyter.training.pictures import Picture
from mb_jupyter.training.registration import Match, are_copies

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


def thing(seed: int) -> Image.Image:
    """Return an image of one object on an empty ground: few details, and all others have as few."""
    rng = np.random.default_rng(seed)
    down, right = np.linspace(0, 1, 120)[:, None, None], np.linspace(0, 1, 160)[None, :, None]
    ground = right * rng.uniform(-40, 40) + down * rng.uniform(-40, 40) + rng.uniform(150, 200, 3)
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    x, y, radius = rng.uniform(50, 110), rng.uniform(45, 75), rng.uniform(22, 34)
    angles, radii = np.sort(rng.uniform(0, 2 * math.pi, 7)), rng.uniform(0.6, 1.2, 7) * radius
    corners = [(x + far * math.cos(angle), y + far * math.sin(angle)) for angle, far in zip(angles, radii, strict=True)]
    draw.polygon(corners, fill=tuple(rng.integers(30, 220, 3).tolist()))
    u, v = x + rng.uniform(-9, 9), y + rng.uniform(-9, 9)
    draw.ellipse((u - 8, v - 5, u + 8, v + 5), fill=tuple(rng.integers(30, 220, 3).tolist()))
    return image


@pytest.mark.parametrize("how", ["cut 5 %", "cut 10 %", "white border", "black border", "mirrored", "grey"])
def test_one_object_on_an_empty_ground(how: str) -> None:
    things = [jpeg(thing(seed)) for seed in range(PHOTOS)]
    originals = [known(f"original {index}", image) for index, image in enumerate(things)]
    altered = [known(f"altered {index}", jpeg(ALTERED[how](image))) for index, image in enumerate(things)]
    found = pairs([*originals, *altered])
    right = [{f"original {index}", f"altered {index}"} for index in range(PHOTOS)]
    assert all(members in right for members in found) and len(found) >= 0.9 * PHOTOS


@pytest.mark.parametrize(
    ("fit", "copies"),
    [  # evidence, correlation, shear, how many are grey, whether one was turned
        ((7.6, 0.97, 0.02, 0, False), True),  # a crop of an image with few details
        ((7.4, 0.97, 0.02, 0, False), False),
        ((7.6, 0.97, 0.02, 0, True), False),  # seven more ways to fit by chance
        ((8.1, 0.97, 0.02, 0, True), True),
        ((9.2, 0.97, 0.04, 0, False), False),  # what fits only askew is probably something else
        ((9.4, 0.97, 0.04, 0, False), True),
        ((9.1, 0.97, 0.02, 1, False), False),  # colours tell nothing where one has none
        ((9.3, 0.97, 0.02, 1, False), True),
        ((11.3, 0.98, 0.02, 2, False), False),  # two strokes of a pen
        ((11.5, 0.98, 0.02, 2, False), True),
        ((10.9, 0.91, 0.02, 0, False), False),
        ((11.1, 0.81, 0.02, 0, False), True),  # a dark image: many details below the noise
        ((11.1, 0.79, 0.02, 0, False), False),
        ((11.1, 0.91, 0.04, 0, False), False),
    ],
)
def test_how_much_evidence_a_copy_needs(fit: tuple[float, float, float, int, bool], copies: bool) -> None:
    evidence, correlation, shear, grey, turned = fit
    detail = (evidence / math.atanh(correlation)) ** 2
    found = Match(*(np.array([value]) for value in (correlation, detail, 0.0, grey, turned, shear)))
    assert are_copies(found).tolist() == [copies]


@pytest.mark.parametrize(
    ("evidence", "colour", "copies"),
    [(7.6, 5.9, True), (7.6, 6.5, False), (11.5, 15.9, True), (20.0, 16.1, False)],
)
def test_how_much_the_colours_may_differ(evidence: float, colour: float, copies: bool) -> None:
    detail = (evidence / math.atanh(0.97)) ** 2
    found = Match(*(np.array([value]) for value in (0.97, detail, colour, 0, False, 0.0)))
    assert are_copies(found).tolist() == [copies]


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
