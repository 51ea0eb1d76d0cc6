"""Which files are images: the one table, for training, prediction, the data report and exported projects.

A file is taken for an image by the extension of its name, or by its first bytes when the extension says nothing.
What it is in truth, its first bytes decide. Needs nothing but Pillow, and imports that only when it is asked what
can be read here.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, NamedTuple

FIRST_BYTES = 64  # of a file, which are enough to tell its format
MOST_NAMES = 100_000  # of a folder in memory at once


class Format(NamedTuple):
    """A format: its name, the extensions of its files, and Pillow's decoder for it (none: pillow-heif's)."""

    name: str
    extensions: tuple[str, ...]
    decoder: str


TABLE = (
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG"),
    Format("PNG", (".png", ".apng"), "PNG"),
    Format("WEBP", (".webp",), "WEBP"),
    Format("BMP", (".bmp", ".dib"), "BMP"),
    Format("GIF", (".gif",), "GIF"),
    Format("TIFF", (".tif", ".tiff"), "TIFF"),
    Format("AVIF", (".avif",), "AVIF"),
    Format("HEIC", (".heic", ".heif", ".hif"), ""),
)
EXTENSIONS = {each.name: each.extensions for each in TABLE}
SUFFIXES = tuple(extension for each in TABLE for extension in each.extensions)
DECODERS = {each.name: each.decoder for each in TABLE}

NAMES = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC"  # for a sentence
MISSING = {  # what to install where a format cannot be read
    "HEIC": "pip install pillow-heif",
    "AVIF": "pip install --upgrade Pillow",
    "WEBP": "pip install --upgrade Pillow",
}

# names, in small letters, that systems and programs give to what they leave in folders
_LEFT_BEHIND = frozenset(
    (
        "__macosx", "icon\r", "network trash folder", "temporary items", "desktop db", "desktop df",  # macOS
        "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler", "recycled",
        "system volume information", "found.000",  # Windows
        "lost+found", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",  # Linux, NAS
        "picasa.ini", "__pycache__",
    )
)  # fmt: skip
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".filepart", ".aria2", ".tmp", "~")  # downloads, copies

_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    *((order, "TIFF") for order in (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of the second header, by version
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


def is_left_behind(name: str) -> bool:
    """Tell whether a file or folder is hidden, or left behind by a system or program, and so never data."""
    folded = name.casefold()
    return name.startswith((".", "~$")) or folded in _LEFT_BEHIND or folded.endswith(_UNFINISHED)


def has_image_name(name: str | PurePath) -> bool:
    """Tell whether a file's name ends as an image's does; capitals do not matter."""
    return str(name).casefold().endswith(SUFFIXES)


def format_by_name(name: str | PurePath) -> str:
    """Return the format that the extension of a file's name tells; empty when it tells of none."""
    return next((each.name for each in TABLE if str(name).casefold().endswith(each.extensions)), "")


def may_be_image(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is to be taken for an image: by its name, else by its first bytes."""
    return has_image_name(os.fspath(path)) or bool(format_of_file(path))


def format_of_file(path: str | os.PathLike[str]) -> str:
    """Return the format that the first bytes of a file tell; empty when there is none, or no file to read."""
    try:
        if not Path(path).is_file():  # a pipe would wait for ever
            return ""
        with Path(path).open("rb") as file:
            return format_of(file.read(FIRST_BYTES))
    except (OSError, ValueError):
        return ""


def format_of(data: bytes) -> str:
    """Return the format that the first bytes tell, as named in the table; empty when they tell of none."""
    for beginning, name in _BEGINNINGS:
        if data.startswith(beginning):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    # a BMP without the first of its two headers is a DIB
    if int.from_bytes(data[14:18] if data.startswith(b"BM") else data[:4], "little") in _BMP_HEADERS:
        return "BMP" if data.startswith(b"BM") or data[12:14] == b"\1\0" else ""
    return _brand(data) if data[4:8] == b"ftyp" else ""


def _brand(data: bytes) -> str:
    """Return what an ISO base media file holds, by its major brand and those that it is compatible with."""
    length = int.from_bytes(data[:4], "big")
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data)), 4))]
    if brands[0] in _AVIF_BRANDS or (brands[0] in (b"mif1", b"msf1") and _AVIF_BRANDS & set(brands)):
        return "AVIF"
    return "HEIC" if brands[0] in _HEIC_BRANDS else ""


def readable() -> frozenset[str]:
    """Return the formats that can be read by this installation."""
    from PIL import features

    able = {each.name for each in TABLE} - {"WEBP", "AVIF", "HEIC"}
    able |= {name.upper() for name in ("webp", "avif") if features.check(name)}
    return frozenset(able | ({"HEIC"} if heif() is not None else set()))


def heif() -> Any:
    """Return pillow-heif's class of an image file, which registers nothing with Pillow; None without it."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return None
    return HeifImageFile


def named(extensions: Iterable[str] = SUFFIXES) -> str:
    """Return the extensions for a sentence."""
    return ", ".join(extensions)


def below(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield every file below a folder by name, and whether it is to be taken for an image.

    Hidden files and folders, what systems leave behind and linked folders are left out. However many files there are,
    100,000 names of each folder on the way are in memory at the most.
    """
    for name, is_folder in _listed(folder):
        if is_left_behind(name):
            continue
        if is_folder:
            yield from below(folder / name)
        else:
            yield folder / name, may_be_image(folder / name)


def _listed(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield what is in a folder by name, and whether it is a folder; a larger one is read again for each part."""
    last = ""
    while True:
        with os.scandir(folder) as entries:
            later = ((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if entry.name > last)
            some = heapq.nsmallest(MOST_NAMES, later)
        yield from some
        if len(some) < MOST_NAMES:
            return
        last = some[-1][0]
