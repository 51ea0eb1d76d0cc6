"""Which files are images: one table, and nobody who asks gets another answer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mb_jupyter.sources import expand
from mb_jupyter.training import formats
from mb_jupyter.training.manifest import scan
from mb_jupyter.training.preprocess import open_bytes
from tests.picture_files import encoded, photo, put

#: extension -> the format that is written into it
KINDS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".JFIF": "JPEG", ".mpo": "MPO", ".png": "PNG", ".apng": "PNG",
    ".webp": "WEBP", ".bmp": "BMP", ".dib": "DIB", ".gif": "GIF", ".tif": "TIFF", ".TIFF": "TIFF", ".avif": "AVIF",
    "": "PNG", ".data": "WEBP",
}  # fmt: skip


@pytest.fixture
def every_kind(tmp_path: Path) -> Path:
    """Return two classes with one image of every kind, and files that are none."""
    for first, label in enumerate(("a", "b")):
        for number, (extension, kind) in enumerate(KINDS.items()):
            image = photo(100 * first + number)
            put(tmp_path / label / f"{number}{extension}", encoded(image, kind))
        put(tmp_path / label / "notes.txt", b"BM is how a BMP begins")
        put(tmp_path / label / "sound.wav", b"RIFF\x24\0\0\0WAVEfmt ")
    return tmp_path


def test_what_is_trained_is_predicted(every_kind: Path) -> None:
    trained = {picture.path for picture in scan(every_kind).pictures}
    assert len(trained) == 2 * len(KINDS)
    for given in (every_kind, str(every_kind / "*" / "*")):
        predicted = {Path(image.name).relative_to(every_kind).as_posix() for image in expand([given])}
        assert predicted == trained


def test_the_first_bytes_tell_the_format(every_kind: Path) -> None:
    for number, kind in enumerate(KINDS.values()):
        (path,) = every_kind.glob(f"a/{number}.*" if number != 14 else "a/14")
        assert formats.format_of_file(path) == {"MPO": "JPEG", "DIB": "BMP"}.get(kind, kind)


def test_an_exported_program_reads_the_same_table() -> None:
    templates = Path(formats.__file__).parents[1] / "export" / "templates"
    for template in templates.rglob("*.template"):
        assert '".jpg"' not in template.read_text("utf-8"), f"{template} has a list of its own"


def heic(image: Image.Image, **options: object) -> bytes:
    """Return a HEIC file."""
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(image).save(file, format="HEIF", **options)
    return file.getvalue()


def test_heic_is_read_where_pillow_heif_is_installed() -> None:
    data = heic(photo(3, (320, 240)), quality=-1)
    opened = open_bytes(data)
    assert opened[1:] == ("HEIC", 320, 240, 0)
    assert abs(opened.image.getpixel((100, 100))[0] - photo(3, (320, 240)).getpixel((100, 100))[0]) < 12  # type: ignore[index]
    with Image.open(io.BytesIO(encoded(photo(3)))):  # and Pillow itself is as it was
        assert "HEIF" not in Image.OPEN


def test_heic_is_upright_as_its_camera_meant() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = open_bytes(heic(photo(3, (320, 240)), exif=exif.tobytes()))
    assert (opened.width, opened.height) == opened.image.size
