from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mb_jupyter.training.manifest import (
    Picture,
    scan,
    split,
)
from mb_jupyter.training.similar import group
from tests.picture_files import encoded, photo, put
from tests.training.scanned import of, parted


def test_copies_stay_together_and_are_named(flowers: Path) -> None:
    for index in range(6):
        shutil.copy(flowers / f"rose/{index:03d}.jpg", flowers / f"rose/copy{index}.jpg")
    found = scan(flowers)
    finding = of(found, "duplicate")
    assert finding.message.startswith("6 times there is the same file more than once in a class (12 pictures)")
    assert not finding.excluded and finding.severity == "note"
    for seed in range(20):
        parts = defaultdict(set)
        for picture in parted(found, seed=seed):
            parts[picture.sha256].add(picture.split)
        assert all(len(part) == 1 for part in parts.values())


ALTERED: dict[str, Callable[[Image.Image], bytes]] = {
    "smaller": lambda image: encoded(image.resize((image.width // 2, image.height // 2))),
    "larger": lambda image: encoded(image.resize((image.width * 2, image.height * 2))),
    "recompressed": lambda image: encoded(image, quality=40),
    "as PNG": lambda image: encoded(image, "PNG"),
    "trimmed": lambda image: encoded(image.crop((2, 2, image.width - 2, image.height - 2))),
}


@pytest.mark.parametrize("how", ALTERED)
def test_near_copies_are_found(shared_data: Path, tmp_path: Path, how: str) -> None:
    originals = sorted((shared_data / "flowers_small").glob("*/*"))[::8]
    for index, path in enumerate(originals):
        shutil.copy(path, put(tmp_path / f"{index % 2}/{index}.jpg", b""))
        with Image.open(path) as image:
            put(tmp_path / f"{index % 2}/{index}-again.img", ALTERED[how](image.convert("RGB")))
    found = scan(tmp_path)
    together = Counter(picture.group for picture in found.pictures)
    assert max(together.values()) == 2
    assert sum(number == 2 for number in together.values()) >= 0.9 * len(originals)
    assert "so that no test image has a near copy in training" in of(found, "near duplicate").message


def test_near_copies_with_two_labels(flowers: Path) -> None:
    put(flowers / "tulip/again.jpg", encoded(photo(0), quality=60))
    finding = of(scan(flowers), "near duplicate, two labels")
    assert set(finding.files) == {"rose/000.jpg", "tulip/again.jpg"} and finding.severity == "warning"
    assert "Once there is nearly the same picture in different classes (2 pictures)" in finding.message


def test_colour_tells_pictures_apart(tmp_path: Path) -> None:
    for label, colour in {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (20, 110, 20)}.items():
        for index in range(10):
            image = Image.new("RGB", (64, 64), (230, 230, 230))
            image.paste(colour, (5 + index * 3, 10, 30 + index * 3, 50))
            put(tmp_path / label / f"{index}.png", encoded(image, "PNG"))
    assert "near duplicate, two labels" not in {finding.kind for finding in scan(tmp_path).findings}


def test_plain_pictures_are_not_near_copies(tmp_path: Path) -> None:
    for label, level in {"dark": 20, "light": 220}.items():
        for index in range(10):
            put(tmp_path / label / f"{index}.png", encoded(Image.new("L", (64, 64), level + index), "PNG"))
    assert [finding.kind for finding in scan(tmp_path).findings] == ["empty image"]


def test_the_same_file_with_two_labels_is_left_out(flowers: Path) -> None:
    shutil.copy(flowers / "rose/003.jpg", flowers / "tulip/rose?.jpg")
    found = scan(flowers)
    finding = of(found, "conflicting label")
    assert finding.severity == "error" and finding.excluded
    assert finding.files == ("rose/003.jpg", "tulip/rose?.jpg")
    assert finding.message == (
        "Once there is the same file in different classes (2 pictures): 'rose/003.jpg' and 'tulip/rose?.jpg'. "
        "All of them are left out; keep each in its right class only."
    )
    assert len(found.pictures) == 23 and found.findings[0] is finding


@pytest.mark.parametrize(
    ("bits", "colours", "together"),
    [(32, (140, 140), True), (33, (140, 140), False), (0, (140, 152), True), (0, (140, 153), False),
     (32, (128, 180), True), (33, (128, 180), False)],
)  # fmt: skip
def test_how_near_hashes_are_without_thumbnails(bits: int, colours: tuple[int, int], together: bool) -> None:
    """``colours`` are Cb and Cr of all quarters; 128 is grey, and a grey copy has the structure of any colour."""
    pictures = [
        Picture(
            f"{i}", "a", "", f"{i}".ljust(64, "0"), 8, 8, "JPEG", structure << 64 | int(f"{colour:02x}" * 8, 16), 1, 1
        )
        for i, (structure, colour) in enumerate(zip((0, (1 << bits) - 1), colours, strict=True))
    ]
    assert (len({picture.group for picture in group(pictures)}) == 1) is together


@pytest.mark.parametrize("numpy", [1, 2])
def test_one_near_copy_among_twenty_thousand(numpy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if numpy == 1:
        monkeypatch.delattr(np, "bitwise_count")
    rng = np.random.default_rng(0)
    number = 20_000
    hashes = [int.from_bytes(rng.bytes(40), "big") for _ in range(number)]
    pictures = [
        Picture(f"{i}", "a", "", f"{i:016x}".ljust(64, "0"), 8, 8, "JPEG", value, 1, 1)
        for i, value in enumerate([*hashes, hashes[5] ^ (0b1011 << 200)])
    ]
    rows = split(pictures, seed=0, validation_fraction=0.15, test_fraction=0.2)
    assert rows[5].group == rows[-1].group
    assert len({row.group for row in rows}) == number
