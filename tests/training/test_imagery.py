"""What is told of images that a network can hardly learn from, and of those that cannot be read here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mb_jupyter.training.manifest import Finding, scan
from mb_jupyter.training.preprocess import load
from tests.picture_files import encoded, folder_of, photo, put


def found(folder: Path) -> dict[str, Finding]:
    return {finding.kind: finding for finding in scan(folder).findings}


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Return two classes of ordinary images, of which nothing is to be told."""
    folder = folder_of(tmp_path / "flowers", {"rose": 12, "tulip": 12})
    assert found(folder) == {}
    return folder


def test_empty_and_nearly_empty_images(flowers: Path) -> None:
    put(flowers / "rose/white.png", encoded(Image.new("RGB", (60, 40), "white"), "PNG"))
    put(flowers / "rose/black.jpg", encoded(Image.new("L", (60, 40), 0)))
    noise = np.random.default_rng(0).integers(100, 103, (40, 60), dtype=np.uint8)
    put(flowers / "tulip/fog.png", encoded(Image.fromarray(noise), "PNG"))
    told = found(flowers)
    assert told["empty image"].files == ("rose/black.jpg", "rose/white.png")
    assert told["empty image"].severity == "warning" and not told["empty image"].excluded
    assert told["nearly empty image"].files == ("tulip/fog.png",)


def test_where_most_images_of_a_class_are_nearly_empty_nothing_is_told(flowers: Path) -> None:
    for number in range(10):
        noise = np.random.default_rng(number).integers(100, 103, (40, 60), dtype=np.uint8)
        put(flowers / f"sea/{number}.png", encoded(Image.fromarray(noise), "PNG"))
    assert "nearly empty image" not in found(flowers)


def test_tiny_images(flowers: Path) -> None:
    put(flowers / "rose/dot.png", encoded(photo(90).resize((1, 1)), "PNG"))
    assert found(flowers)["tiny image"].message.startswith(
        "1 image has fewer than 8 pixels on one side: 'rose/dot.png' (1 x 1)."
    )


@pytest.mark.parametrize(("size", "share"), [((3000, 200), "93 %"), ((200, 3000), "93 %"), ((300, 100), "67 %")])
def test_a_wide_image_tells_what_is_never_seen_and_how_to_see_it(
    flowers: Path, size: tuple[int, int], share: str
) -> None:
    put(flowers / "rose/long.jpg", photo(91, size))
    told = found(flowers)["wide image"]
    assert told.severity == "warning"
    assert f"{share} of 'rose/long.jpg' ({size[0]} x {size[1]}) is never seen" in told.message
    assert "`fit: pad`" in told.message


def camera(folder: Path, highest: int, number: int = 6) -> None:
    """Write images of 16 bits that use the values up to ``highest`` only."""
    for label in ("dark", "light"):
        for index in range(number):
            grey = np.asarray(photo(200 + index + 50 * (label == "light")).convert("L"), np.uint32)
            values = (grey - grey.min()) * highest // (grey.max() - grey.min())
            put(folder / label / f"{highest}-{index}.png", encoded(Image.fromarray(values.astype(np.uint16)), "PNG"))


@pytest.mark.parametrize(("highest", "bits"), [(200, 8), (1000, 10), (4000, 12), (16_000, 14)])
def test_values_of_16_bits_are_scaled_by_what_they_hold(tmp_path: Path, highest: int, bits: int) -> None:
    camera(tmp_path, highest)
    told = found(tmp_path)["few bits"]
    assert told.severity == "note" and f"{bits} bits in 12 images" in told.message
    path = next(tmp_path.rglob("*.png"))
    assert load(path, 64).max() > 180  # it was black
    assert (load(path, 64) == load(np.asarray(Image.open(path)), 64)).all()


def test_images_of_different_ranges_are_a_warning(tmp_path: Path) -> None:
    camera(tmp_path, 4000)
    camera(tmp_path, 1000)
    assert found(tmp_path)["few bits"].severity == "warning"


def test_of_all_16_bits_nothing_is_told(tmp_path: Path) -> None:
    camera(tmp_path, 65_535)
    assert "few bits" not in found(tmp_path)


# -- a format that cannot be read here -------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules["pillow_heif"] = None
from mb_jupyter import Dataset, errors
try:
    data = Dataset(sys.argv[1])
    for finding in data.findings:
        print(finding.severity, "|", finding.kind, "|", finding.message)
    print(repr(data), "|", data._repr_mimebundle_()["text/plain"])
except errors.DataError as error:
    print(error.cause, "|", error.fix)
"""


def without_heif(folder: Path) -> str:
    """Return what is told of a folder where pillow-heif is not installed."""
    home = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", WITHOUT, folder], capture_output=True, text=True, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def heic() -> bytes:
    return b"\0\0\0\x18ftypheic" + os.urandom(300)


def test_heic_without_its_reader_names_the_classes_and_the_command(flowers: Path) -> None:
    for label in ("rose", "tulip"):
        for number in range(40):
            put(flowers / label / f"IMG_{number}.HEIC", heic())
    first, *_, shown = without_heif(flowers).splitlines()
    assert first.startswith(
        "warning | unsupported | 80 of 104 files are HEIC images, which cannot be read here, and left out: "
        "40 of 52 in 'rose', 40 of 52 in 'tulip'. Install the reader with `pip install pillow-heif`"
    )
    assert "80 in a format that cannot be read here" in without_heif(flowers)
    assert shown


def test_a_class_that_is_emptied_is_an_error_and_names_it(flowers: Path) -> None:
    for number in range(4):
        put(flowers / "lily" / f"IMG_{number}.heic", heic())
    told = without_heif(flowers)
    assert told.startswith("error | unsupported | 4 of 28 files are HEIC images")
    assert "Nothing is left of 'lily'." in told


def test_where_only_one_class_is_left_the_refusal_says_how_to_read_the_other(tmp_path: Path) -> None:
    folder_of(tmp_path, {"rose": 3})
    put(tmp_path / "tulip/1.heic", heic())
    assert "pip install pillow-heif" in without_heif(tmp_path)
    put(tmp_path / "rose/0.heic", heic())
    for number in range(3):
        (tmp_path / "rose" / f"{number:03d}.jpg").unlink()
    assert "pip install pillow-heif" in without_heif(tmp_path)


def test_a_heic_under_another_name_is_unreadable_and_says_why(flowers: Path) -> None:
    put(flowers / "rose/phone.jpg", heic())
    (line,) = [line for line in without_heif(flowers).splitlines() if line.startswith("warning | unreadable")]
    assert "it is a HEIC image, and the reader is missing: pip install pillow-heif" in line


def test_the_content_decides_and_what_only_claims_to_be_an_image_is_named(flowers: Path) -> None:
    put(flowers / "rose/w.jpg", encoded(photo(60), "WEBP"))
    put(flowers / "rose/j.png", encoded(photo(61), "JPEG"))
    put(flowers / "tulip/page.jpg", b"<!DOCTYPE html><html>403</html>")
    put(flowers / "tulip/lfs.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n")
    put(flowers / "tulip/phone.jpg", heic())
    told = found(flowers)
    assert told["wrong extension"].files == ("rose/j.png", "rose/w.jpg")
    assert told["unreadable"].files == ("tulip/lfs.jpg", "tulip/page.jpg", "tulip/phone.jpg")
    assert told["unreadable"].severity == "warning" and told["unreadable"].excluded
