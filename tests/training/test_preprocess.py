from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mb_jupyter.training.errors import PictureError
from mb_jupyter.training.preprocess import MAX_PIXELS, load, open_bytes, open_picture, squared
from tests.picture_files import encoded, photo

PHOTO = photo(1, (320, 240))


def difference(a: Image.Image | np.ndarray, b: Image.Image | np.ndarray) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_every_format_gives_the_same_picture(format: str, tmp_path: Path) -> None:
    data = encoded(PHOTO, format)
    path = tmp_path / "without-extension"
    path.write_bytes(data)
    with Image.open(path) as image:
        for source in (path, str(path), data, io.BytesIO(data), image):
            opened = open_picture(source)
            assert (opened.mode, opened.size) == ("RGB", PHOTO.size)
            assert difference(opened, PHOTO) < 6  # GIF has 256 colours
    assert open_bytes(data)[1:] == (format, 320, 240, 0)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.open(io.BytesIO(encoded(PHOTO, "PNG", exif=exif)))
    from PIL import ImageOps

    expected = ImageOps.exif_transpose(turned)
    data = encoded(PHOTO, format, exif=exif)
    for at_least in (None, 60):
        opened = open_bytes(data, at_least=at_least)
        assert (opened.width, opened.height) == expected.size
        assert difference(opened.image.resize((64, 64)), expected.resize((64, 64))) < 4


def test_an_animation_shows_its_first_frame() -> None:
    frames = [photo(seed, (40, 30)) for seed in (1, 2, 3)]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert difference(open_picture(data), frames[0]) < 8


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256 * 16).astype(np.uint16).reshape(16, 256)
    expected = (ramp >> 8).astype(np.uint8)
    for format in ("PNG", "TIFF"):
        grey = np.asarray(open_picture(encoded(Image.fromarray(ramp), format)))
        assert (grey == expected[:, :, None]).all()
    assert (np.asarray(open_picture(ramp))[:, :, 1] == expected).all()
    colour = np.asarray(open_picture(png_of_sixteen_bits(np.stack([ramp, ramp // 2, ramp // 4], axis=2))))
    assert np.abs(colour.astype(int) - np.stack([ramp >> 8, ramp >> 9, ramp >> 10], axis=2)).max() <= 1


def png_of_sixteen_bits(pixels: np.ndarray) -> bytes:
    """Return a PNG of 48-bit colour, which Pillow reads but does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), (b"IDAT", zlib.compress(rows)))


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), *chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_transparency_goes_over_white() -> None:
    red = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    red.paste((0, 0, 255, 0), (0, 0, 10, 10))
    half = Image.new("LA", (20, 10), (0, 128))
    for format in ("PNG", "WEBP", "TIFF"):
        pixels = np.asarray(open_picture(encoded(red, format, **({"lossless": True} if format == "WEBP" else {}))))
        assert pixels[5, 2].tolist() == [255, 255, 255]
        assert pixels[5, 15].tolist() == [255, 0, 0]
    assert np.asarray(open_picture(encoded(half, "PNG")))[0, 0].tolist() == [127, 127, 127]
    key = Image.new("L", (4, 4), 7)
    assert np.asarray(open_picture(encoded(key, "PNG", transparency=7)))[0, 0].tolist() == [255, 255, 255]
    sixteen = Image.fromarray(np.full((4, 4), 700, dtype=np.uint16))
    assert np.asarray(open_picture(encoded(sixteen, "PNG", transparency=700)))[0, 0].tolist() == [255] * 3


def test_palettes() -> None:
    palette = PHOTO.quantize(64)
    assert difference(open_picture(encoded(palette, "PNG")), palette.convert("RGB")) == 0
    index = int(np.asarray(palette)[0, 0])
    one = np.asarray(open_picture(encoded(palette, "PNG", transparency=index)))
    many = np.asarray(
        open_picture(encoded(palette, "PNG", transparency=bytes([0 if i == index else 255 for i in range(64)])))
    )
    gif = np.asarray(open_picture(encoded(palette, "GIF", transparency=index)))
    for pixels in (one, many, gif):
        assert pixels[0, 0].tolist() == [255, 255, 255]


def test_cmyk_and_one_bit() -> None:
    for format in ("JPEG", "TIFF"):
        assert difference(open_picture(encoded(PHOTO.convert("CMYK"), format)), PHOTO) < 6
    bits = PHOTO.convert("1")
    assert set(np.unique(np.asarray(open_picture(encoded(bits, "PNG"))))) == {0, 255}


def test_arrays() -> None:
    pixels = np.asarray(PHOTO)
    assert (np.asarray(open_picture(pixels)) == pixels).all()
    assert (np.asarray(open_picture(pixels[::2, ::-1])) == pixels[::2, ::-1]).all()  # not contiguous
    assert np.asarray(open_picture(pixels[:, :, :1])).shape == (240, 320, 3)
    assert np.asarray(open_picture(np.eye(8, dtype=bool)))[0, 0].tolist() == [255, 255, 255]
    with pytest.raises(PictureError, match=r"array of float32 has no fixed range; bring it to 0\.\.255"):
        open_picture(pixels.astype(np.float32))
    with pytest.raises(PictureError, match=r"array of shape \(3, 240, 320\) is not an image"):
        open_picture(pixels.transpose(2, 0, 1))


def test_values_without_a_fixed_range_are_refused() -> None:
    decimals = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(PictureError, match="decimal numbers without a fixed range; save it with 8 or 16 bits"):
        open_picture(encoded(decimals, "TIFF"))
    large = Image.fromarray(np.full((8, 8), 70_000, dtype=np.int32))
    with pytest.raises(PictureError, match="32 bits without a fixed range"):
        open_picture(encoded(large, "TIFF"))


def test_fit_takes_the_centred_square() -> None:
    wide = Image.new("RGB", (300, 100), "black")
    wide.paste((255, 255, 255), (100, 0, 200, 100))
    # the filter of the outermost pixels reaches beyond the square, as it does when all is resized, then cropped
    assert squared(wide, 50)[1:-1, 1:-1].min() == 255
    assert squared(wide.transpose(Image.Transpose.ROTATE_90), 50)[1:-1, 1:-1].min() == 255
    assert squared(PHOTO.resize((1, 500)), 32).shape == (32, 32, 3)
    assert (squared(PHOTO.crop((0, 0, 64, 64)), 64) == np.asarray(PHOTO.crop((0, 0, 64, 64)))).all()


def test_resizing_is_antialiased() -> None:
    stripes = Image.fromarray(np.tile(np.array([[0, 255]], dtype=np.uint8), (512, 256))).convert("RGB")
    grey = squared(stripes, 64)
    assert grey.min() > 118 and grey.max() < 138


def test_a_large_jpeg_is_decoded_smaller_and_hardly_differs() -> None:
    large = photo(5, (2000, 1500))
    data = encoded(large)
    opened = open_bytes(data, at_least=224)
    assert opened.image.size == (500, 375)
    assert (opened.width, opened.height) == (2000, 1500)
    assert difference(load(data, 224), squared(open_picture(data), 224)) < 1.5
    assert open_bytes(encoded(PHOTO), at_least=224).image.size == PHOTO.size


def test_a_users_image_is_left_as_it_was() -> None:
    image = Image.open(io.BytesIO(encoded(photo(2, (800, 600)))))
    load(image, 32)
    assert (image.mode, image.size) == ("RGB", (800, 600))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_cut_short(format: str, share: float) -> None:
    data = encoded(PHOTO, format)
    with pytest.raises(PictureError, match="it is cut short; the end of the file is missing") as caught:
        open_picture(data[: int(len(data) * share)])
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "it is not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is not a JPEG"),
        (b"%PDF-1.7", "it is not a JPEG"),
    ],
)
def test_no_picture(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason) as caught:
        open_picture(data)
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_damaged_in_the_middle(format: str) -> None:
    data = bytearray(encoded(PHOTO, format))
    data[len(data) // 3 : len(data) // 2] = np.random.default_rng(0).bytes(len(data) // 2 - len(data) // 3)
    with pytest.raises(PictureError, match=f"its {format} data are damaged"):
        open_picture(bytes(data))


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    import os

    with pytest.raises(PictureError, match="there is no such file"):
        open_picture(tmp_path / "missing.jpg")
    with pytest.raises(PictureError, match="it is not a file"):
        open_picture(tmp_path)
    with pytest.raises(PictureError, match="cannot be read"):
        open_picture("a\0b")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(PictureError, match="it is not a file"):  # and does not wait for a writer
            open_picture(tmp_path / "pipe.jpg")


def bomb(format: str) -> bytes:
    """Return a small file that says it has 30,000 x 30,000 pixels."""
    side = 30_000
    if format == "PNG":
        return png(struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), (b"IDAT", zlib.compress(bytes(3751 * 100))))
    data = bytearray(encoded(PHOTO, format))
    if format == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif format == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif format == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "JPEG"])
def test_a_decompression_bomb_is_refused_before_it_unpacks(format: str) -> None:
    with pytest.raises(PictureError, match="million") as caught:
        open_picture(bomb(format))
    assert caught.value.kind == "huge"


def test_the_limit_is_ours_and_pillow_does_not_warn() -> None:
    # Pillow would warn of 89 million and refuse 179 million; 100 million is the limit here
    allowed = Image.new("1", (10_000, 9_900))
    assert open_bytes(encoded(allowed, "PNG")).width == 10_000
    with pytest.raises(PictureError, match=r"10,100 x 10,000 pixels, more than the 100 million allowed"):
        open_picture(encoded(Image.new("1", (10_100, 10_000)), "PNG"))
    assert MAX_PIXELS == 100_000_000


def test_a_text_bomb_is_refused() -> None:
    text = b"comment\0\0" + zlib.compress(bytes(50_000_000))
    data = png(struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), (b"zTXt", text), (b"IDAT", zlib.compress(b"\0\0")))
    with pytest.raises(PictureError, match="text unpacks to far more") as caught:
        open_picture(data)
    assert caught.value.kind == "huge"


def test_damaged_exif_data_neither_warn_nor_fail() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description " * 20
    data = encoded(PHOTO, exif=exif)
    start = data.index(b"Exif\0\0") + 6
    filters = list(warnings.filters)
    for damage in (range(start, start + 8), range(start + 8, start + 40)):
        broken = bytearray(data)
        for index in damage:
            broken[index] = 0xFF
        assert open_picture(bytes(broken)).mode == "RGB"
    tail = bytearray(data)
    tail[start + 10 : start + 22] = struct.pack(">HHII", 0x010E, 2, 0xFFFFFF, 0xFFFFFF)
    assert open_picture(bytes(tail)).mode == "RGB"
    assert warnings.filters == filters


def test_threads_give_the_same_pixels_and_leave_no_filter() -> None:
    files = [encoded(photo(seed, (600, 450))) for seed in range(8)]
    alone = [load(file, 96) for file in files]
    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda i: load(files[i % 8], 96), range(64)))
    assert all((picture == alone[i % 8]).all() for i, picture in enumerate(together))
    assert warnings.filters == filters


def test_needs_neither_torch_nor_the_package() -> None:
    folder = Path(__file__).parents[2] / "mb_jupyter"
    program = "import sys; import training.manifest; print('torch' in sys.modules, 'mb_jupyter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
