"""Paths as people write them: any text, which may be no path of this system at all."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path

MAX_WINDOWS_PATH = 260  # characters, with the zero at its end, unless the system was told otherwise
MAX_SHOWN = 200  # characters of a path in a sentence


def at_home(path: str | os.PathLike[str]) -> Path:
    """Return the path with ``~`` replaced; a home that nobody has is left as it is, and is missing later."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises


def brief(path: str | os.PathLike[str]) -> str:
    """Return a path for a sentence: text in any case, and the begin of one that is far too long."""
    name = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}\N{HORIZONTAL ELLIPSIS}"


def unreachable(path: Path) -> str:
    """Return why the system cannot look at a path, as part of a sentence; empty when it can, or nothing is there."""
    try:
        path.stat()
        return ""
    except (FileNotFoundError, NotADirectoryError):
        return _missing(path)
    except ValueError as error:  # a null character
        return str(error)
    except OSError as error:
        known = {
            errno.ELOOP: "it is a link that leads in a circle",
            errno.ENAMETOOLONG: f"it is too long for a path ({len(str(path)):,} characters)",
        }
        return known.get(error.errno or 0) or error.strerror or str(error)


def _missing(path: Path) -> str:
    """Return why there is nothing, where there is more to say than that."""
    if path.is_symlink():
        return f"it is a link to {path.readlink()}, which is not there"
    long = len(str(path.absolute()))
    if long >= MAX_WINDOWS_PATH and platform.system() == "Windows":
        return f"its whole path has {long} characters, and Windows takes {MAX_WINDOWS_PATH - 1}"
    return ""
