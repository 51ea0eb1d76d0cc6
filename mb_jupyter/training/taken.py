"""When an image was taken and by which camera, from the EXIF data of a JPEG.

Read by hand, because Pillow warns of damaged EXIF data, and warnings are a setting of the user's process. The format
is TIFF 6.0 within Exif 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import struct
from datetime import datetime, timezone

FIRST_BYTES = 70_000  # EXIF stands in one of the first segments, and no segment is longer than 64 KiB
_MARK = b"Exif\0\0"
_EXIF_IFD, _TAKEN, _SERIAL, _MAKE, _MODEL = 0x8769, 0x9003, 0xA431, 0x010F, 0x0110
_ASCII, _LONG = 2, 4  # types of a value


def taken(data: bytes) -> str:
    """Return ``<seconds since 1970> <camera>``, the clock of the camera taken for UTC; empty where it is not known."""
    start = data.find(_MARK, 0, FIRST_BYTES) if data.startswith(b"\xff\xd8") else -1
    if start < 0:
        return ""
    tiff = data[start + len(_MARK) : start + FIRST_BYTES]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
    try:
        main = _directory(tiff, order, *struct.unpack_from(f"{order}L", tiff, 4)) if order else {}
        place = main.get(_EXIF_IFD)
        own = _directory(tiff, order, place) if isinstance(place, int) else {}
        time = datetime.strptime(str(own.get(_TAKEN, "")), "%Y:%m:%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except (struct.error, ValueError):  # cut short, or a time that is none
        return ""
    camera = " ".join(str(part) for part in (main.get(_MAKE), main.get(_MODEL), own.get(_SERIAL)) if part)
    return f"{int(time.timestamp())} {camera}" if camera else ""


def _directory(tiff: bytes, order: str, start: int) -> dict[int, int | str]:
    """Return the texts and the pointers of a directory, by tag."""
    found: dict[int, int | str] = {}
    (number,) = struct.unpack_from(f"{order}H", tiff, start)
    for place in range(start + 2, start + 2 + 12 * number, 12):
        tag, kind, length, value = struct.unpack_from(f"{order}HHLL", tiff, place)
        if kind == _LONG and length == 1:
            found[tag] = value
        elif kind == _ASCII:
            begin = place + 8 if length <= 4 else value
            text = tiff[begin : begin + length].decode("latin-1").replace("\0", " ")
            found[tag] = " ".join(text.split())
    return found
