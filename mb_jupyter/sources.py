"""What can be handed to ``predict``, turned into single images, one after the other.

Paths, globs, folders, addresses, ``ModelInput``, tables with a column ``ImageSource``, whatever
``training/inputs.py`` takes for one image, and lists of these. Nothing is opened here but folders; an image is read
when its turn comes.
"""

from __future__ import annotations

import glob
import http.client
import ipaddress
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .errors import PredictionError
from .training import inputs
from .training.formats import SUFFIXES, below, may_be_image, named
from .training.paths import at_home, brief, unreachable

LONGEST_WAIT = 20.0  # seconds for one picture from the internet
MOST_BYTES = 64 * 1024**2
EXAMPLES = f"Pass {inputs.TAKEN}; or a folder, a glob, a table with a column ImageSource, or a list of these."
ENDINGS = f"Names of images end in {named(SUFFIXES)}; files of other names are known by their first bytes."


class Picture(NamedTuple):
    """One image to come: its name for people, and what ``inputs.content_of`` takes, or a :class:`URL`."""

    name: str
    content: Any


class URL(str):
    """An address to fetch a picture from."""

    __slots__ = ()


def is_single(source: Any) -> bool:
    """Tell whether ``source`` is one picture by its kind; a folder, glob or list of one is still several."""
    if hasattr(source, "ImageSource") and not hasattr(source, "columns"):
        return is_single(source.ImageSource)
    if isinstance(source, str | Path):
        try:
            return _is_url(source) or not (_is_glob(source) or at_home(source).is_dir())
        except (OSError, ValueError):  # no name of a file; the reason is told when it is opened
            return True
    return _is_one(source)


def expand(sources: Iterable[Any], *, urls: bool = False) -> Iterator[Picture]:
    """Yield every picture in ``sources``, folders and globs in the order of their names.

    Raises ``PredictionError`` for what is missing, empty or no picture at all, and for an address unless
    ``urls`` allows them.
    """
    number = 0
    for source in sources:
        for picture in _expand(source, urls):
            number += 1
            yield picture if picture.name else picture._replace(name=f"picture {number}")


def count(sources: Iterable[Any], *, urls: bool = False) -> int | None:
    """Return how many pictures there are, or None where asking would use them up (a generator)."""
    if any(isinstance(source, Iterator) and not _is_one(source) for source in sources):
        return None
    return sum(1 for _ in expand(sources, urls=urls))


def content_of(picture: Picture) -> Any:
    """Return what an image is in, read now: bytes, a Pillow image or an array; ``PictureError`` says why not."""
    from .training.errors import PictureError

    if not isinstance(picture.content, URL):
        return inputs.content_of(picture.content)
    try:
        return fetch(picture.content)
    except OSError as error:
        raise PictureError(error.strerror or str(error)) from None


def _expand(source: Any, urls: bool) -> Iterator[Picture]:
    if isinstance(source, str | os.PathLike):
        yield from _from_text(source if isinstance(source, str) else Path(source), urls)
    elif _is_one(source):
        _refuse(source)
        yield Picture(_name_of(source), source)
    elif inputs.is_array(source) and source.ndim != 1:
        yield from (Picture("", image) for image in _batch(source))
    elif hasattr(source, "columns"):
        yield from expand(_column(source), urls=urls)
    elif hasattr(source, "ImageSource"):
        yield from _expand(source.ImageSource, urls)
    elif isinstance(source, Iterable) and not isinstance(source, dict):
        for part in source:
            yield from _expand(part, urls)
    else:
        _refuse(source)


# -- kinds -----------------------------------------------------------------------------------------------


def _is_one(source: Any) -> bool:
    """Tell whether something that is no path is one image by its kind."""
    kind = inputs.kind_of(source)
    return inputs.is_image_shape(source) if kind in ("array", "tensor") else kind in ("bytes", "image", "file")


def _refuse(source: Any) -> None:
    """Raise what is wrong with something that can be no image, if anything is."""
    reason = inputs.refusal(source)
    if reason:
        raise PredictionError(f"{reason[0].upper()}{reason[1:]}.", EXAMPLES)


def _name_of(source: Any) -> str:
    """Return the name of the file that an open file or a Pillow image is of; empty for one without."""
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return _clean(name) if isinstance(name, str | Path) and str(name) else ""


def _batch(array: Any) -> Any:
    if array.ndim == 4 and len(array) and inputs.is_image_shape(array[0]):
        return array
    _refuse(array)
    raise PredictionError(f"An array of shape {tuple(array.shape)} holds no image.", EXAMPLES)


def _column(table: Any) -> list[Any]:
    if "ImageSource" not in table.columns:
        raise PredictionError(
            "The table has no column ImageSource.", f"Rename one of its columns: {', '.join(map(str, table.columns))}."
        )
    return list(table["ImageSource"])


# -- paths -----------------------------------------------------------------------------------------------


def _is_url(source: str | Path) -> bool:
    return isinstance(source, str) and "://" in source


def _is_glob(source: str | Path) -> bool:
    return glob.has_magic(str(source)) and not os.path.lexists(at_home(source))


def _clean(name: Any) -> str:
    # a file's name may be no text at all; what is shown and written has to be
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def _from_text(source: str | Path, urls: bool) -> Iterator[Picture]:
    if _is_url(source):
        yield _address(str(source), urls)
        return
    _refuse(source)  # an empty text would be the current folder
    path = at_home(source)
    if _is_glob(source):
        yield from _matching(path)
        return
    if reason := unreachable(path):  # too long, a link in a circle, in a folder that may not be entered
        raise PredictionError(f"{brief(source)} cannot be opened: {reason}.", EXAMPLES)
    if path.is_dir():
        yield from _in_folder(path)
    elif path.exists():
        yield Picture(_clean(source), path)
    else:
        raise PredictionError(
            f"There is no file and no folder {_clean(source)}.",
            f"Check the spelling; a relative path begins at the current folder, {Path.cwd()}.",
        )


def _matching(pattern: Path) -> Iterator[Picture]:
    found = sorted(glob.iglob(str(pattern), recursive=True))  # noqa: PTH207 - pathlib's cannot take absolute ones
    empty = True
    for path in map(Path, found):  # one at a time: a path takes several times the memory of its name
        if not path.is_dir() and may_be_image(path):
            empty = False
            yield Picture(_clean(path), path)
    if empty:
        others = f" ({len(found):,} others do)" if found else ""
        raise PredictionError(f"No image matches {_clean(pattern)}{others}.", ENDINGS)


def _in_folder(folder: Path) -> Iterator[Picture]:
    others = 0
    empty = True
    try:
        for path, is_image in below(folder):
            if is_image:
                empty = False
                yield Picture(_clean(path), path)
            else:
                others += 1
    except OSError as error:
        raise PredictionError(
            f"The folder {_clean(error.filename or folder)} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    if empty:
        content = f"{others:,} other files" if others else "nothing"
        raise PredictionError(f"The folder {_clean(folder)} holds no image, but {content}.", ENDINGS)


# -- the internet ----------------------------------------------------------------------------------------


def _address(text: str, urls: bool) -> Picture:
    if not text.lower().startswith(("http://", "https://")):
        raise PredictionError(f"{_clean(text)} is no address of a picture: only http and https are read.", EXAMPLES)
    if not urls:
        raise PredictionError(
            f"{_clean(text)} is on the internet, and nothing is fetched from there unless asked for.",
            "Allow it with urls=True (in a magic: --urls).",
            "Download the picture and pass its path.",
        )
    return Picture(_clean(text), URL(text))


def fetch(url: str) -> bytes:
    """Return the bytes behind an http or https address; at most 64 MiB within 20 seconds, else ``OSError``."""
    opener = urllib.request.OpenerDirector()  # no handlers for file:, ftp: and data:, whatever a server answers
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    end = time.monotonic() + LONGEST_WAIT
    headers = {"User-Agent": "mb_jupyter", "Accept": "image/*"}
    parts: list[bytes] = []
    size = 0
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the opener knows http(s) only
        with opener.open(request, timeout=LONGEST_WAIT) as answer:
            while part := answer.read1(65_536):
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise OSError(f"it is larger than {MOST_BYTES // 1024**2} MiB")
                if time.monotonic() > end:
                    raise OSError(f"it did not arrive within {LONGEST_WAIT:.0f} seconds")
    except urllib.error.HTTPError as error:
        raise OSError(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise OSError(f"the server cannot be reached: {error.reason}") from error
    except (ValueError, http.client.HTTPException) as error:  # an address, or an answer, that is none
        raise OSError(f"the address cannot be used: {error}") from error
    return b"".join(parts)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a server elsewhere only on the public internet.

    A stranger's address could otherwise point at this machine's neighbours, such as a cloud's metadata
    service. A name that changes its meaning between this check and the connection is not caught.
    """

    max_redirections = 5

    def redirect_request(  # noqa: PLR0917 - urllib's own signature
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        address = urlsplit(newurl)
        if address.scheme not in ("http", "https"):
            raise urllib.error.URLError(f"it sends on to {address.scheme}:, which is not followed")
        if address.hostname != urlsplit(req.full_url).hostname:
            for found in socket.getaddrinfo(address.hostname, None):
                if not ipaddress.ip_address(found[4][0]).is_global:
                    raise urllib.error.URLError("it sends on to a private address, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
