"""What a notebook has set of Pillow and numpy changes neither a finding, nor the index, nor an answer."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin
from PIL import PngImagePlugin as Png

from mb_jupyter import Dataset
from mb_jupyter.training.errors import PictureError
from mb_jupyter.training.guard import GLOBALS, guarded
from mb_jupyter.training.preprocess import load, open_picture
from tests.picture_files import encoded, folder_of, photo, put

THEIRS: tuple[tuple[Any, str, Any], ...] = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    (Image, "MAX_IMAGE_PIXELS", 50),
    (PngImagePlugin, "MAX_TEXT_CHUNK", 4),
    (PngImagePlugin, "MAX_TEXT_MEMORY", 4),
    (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS),
    (TiffImagePlugin, "READ_LIBTIFF", True),
)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set everything otherwise, as a notebook may, and see that it is still so afterwards."""
    for module, name, value in THEIRS:
        monkeypatch.setattr(module, name, value)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert [getattr(module, name) for module, name, _ in THEIRS] == [value for _, _, value in THEIRS]


def test_every_global_that_we_keep_is_set_otherwise_here() -> None:
    assert [(module, name) for module, name, _ in GLOBALS] == [(module, name) for module, name, _ in THEIRS]


def files() -> list[bytes]:
    text = Png.PngInfo()
    text.add_text("comment", "a long text " * 50, zip=True)
    return [
        encoded(photo(1), "JPEG"),
        encoded(photo(2), "PNG", pnginfo=text),
        encoded(photo(3).quantize(32), "GIF", transparency=3),
        encoded(photo(4), "TIFF"),
        encoded(photo(5), "WEBP"),
        encoded(photo(6), "AVIF"),
    ]


def test_the_pixels_are_the_same(request: pytest.FixtureRequest) -> None:
    given = files()
    before = [load(data, 32) for data in given]
    request.getfixturevalue("theirs")
    assert all((load(data, 32) == pixels).all() for data, pixels in zip(given, before, strict=True))


def test_a_cut_file_is_refused_all_the_same(theirs: None) -> None:
    for data in (encoded(photo(1), "JPEG"), encoded(photo(1), "PNG")):
        with pytest.raises(PictureError, match="cut short"):
            open_picture(data[: len(data) // 2])


def test_the_findings_and_what_is_remembered_of_them(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = folder_of(tmp_path / "set", {"a": 4, "b": 4})
    put(folder / "a/cut.jpg", encoded(photo(50))[:-300])
    request.getfixturevalue("theirs")
    for _ in range(2):  # read, then remembered
        data = Dataset(folder)
        assert len(data) == 8
        assert next(f.files for f in data.findings if f.kind == "truncated") == ("a/cut.jpg",)


def test_an_image_of_the_notebooks_own_is_read_by_our_rules_too(theirs: None) -> None:
    data = encoded(photo(1), "PNG")
    with pytest.raises(PictureError, match=r"cut short|damaged"):
        monkey = Image.MAX_IMAGE_PIXELS
        try:
            Image.MAX_IMAGE_PIXELS = None
            image = Image.open(io.BytesIO(data[: len(data) // 2]))
        finally:
            Image.MAX_IMAGE_PIXELS = monkey
        open_picture(image)


def test_many_threads_at_once_restore_what_was_there(theirs: None) -> None:
    given = files()
    meeting = threading.Barrier(4)

    def work(number: int) -> int:
        with guarded():
            meeting.wait()
            return int(load(given[number % len(given)], 32).sum())

    with ThreadPoolExecutor(4) as threads:
        assert len(list(threads.map(work, range(16)))) == 16


def test_an_error_inside_restores_them_too(theirs: None) -> None:
    with pytest.raises(KeyError), guarded():
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        raise KeyError
