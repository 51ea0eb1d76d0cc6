"""Foreign errors that a person can put right, translated in one place: memory, disks, libraries that do not load.

Imports nothing that can fail: when torch cannot be loaded, this is what says so.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from . import disk
from .errors import TrainingError

# what libraries say when an allocation fails: torch on a processor and on a GPU, the loader of shared libraries
# on Linux and macOS, Windows' page file
_NO_MEMORY = (
    "DefaultCPUAllocator", "MPS backend out of memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED",
    "Cannot allocate memory",
    "failed to map segment", "cannot allocate memory in static TLS", "can't start new thread",
    "paging file is too small", "std::bad_alloc",
)  # fmt: skip
_INSTALLED = ("site-packages", "dist-packages")


def expected(error: BaseException) -> TrainingError | None:
    """Return what the person can put right: a refusal, a full disk, too little memory; ``None`` for a bug."""
    if isinstance(error, TrainingError):
        return error
    if ran_out(error):
        return TrainingError(
            "There was not enough memory.",
            "Close other programs, or try a smaller image_size.",
            "Fewer images need less memory too.",
        )
    if isinstance(error, OSError) and error.errno in disk.NO_ROOM:
        return disk.refused(Path(error.filename or ".").absolute().parent, error)
    return None


def ran_out(error: BaseException) -> bool:
    """Return whether an allocation failed, on the GPU or on the processor."""
    torch = sys.modules.get("torch")
    # torch has a class for its own allocator on GPUs only; everything else is a plain RuntimeError
    known = (MemoryError, getattr(torch, "OutOfMemoryError", MemoryError))
    if isinstance(error, known) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(said in str(error) for said in _NO_MEMORY)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Turn a library that cannot be imported into an error that names it."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        if ran_out(error):
            raise TrainingError(
                f"There was not enough memory to load {_library(error)}.",
                "Close other programs, or use a machine with more memory.",
            ) from error
        library = _library(error)
        raise TrainingError(
            f"{library} cannot be loaded ({type(error).__name__}: {error}).",
            f"Reinstall it: pip install --force-reinstall {library}",
            "%mb_doctor checks the whole installation.",
        ) from error


def _library(error: BaseException) -> str:
    """Return the package whose import failed, as pip calls it: the outermost one, else the missing one."""
    for frame in traceback.extract_tb(error.__traceback__):
        parts = Path(frame.filename).parts
        for name in _INSTALLED:
            if name in parts[:-1]:
                return _distribution(Path(parts[parts.index(name) + 1]).stem)
    return _distribution((getattr(error, "name", None) or "a library").partition(".")[0])


def _distribution(package: str) -> str:
    return next(iter(metadata.packages_distributions().get(package, ())), package)
