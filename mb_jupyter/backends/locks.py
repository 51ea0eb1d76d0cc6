"""Who may start, stop or end a run, and whether it lives: operating-system locks, which end with their process.

::

    owner.lock    held by a run's supervisor for as long as it lives (``supervise.own``)
    start.lock    held for a moment by whoever starts, resumes, stops or cancels; also of a whole experiment
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mb_jupyter.errors import WorkspaceError

from .supervise import OWNER

START = "start.lock"
START_SECONDS = 120.0  # a start takes a second; a machine that swaps takes longer


@contextmanager
def starting(folder: Path) -> Iterator[None]:
    """Be the only one who starts or ends something in ``folder``; wait for whoever is at it now.

    Raises ``WorkspaceError`` where that takes too long or the file system knows no locks.
    """
    import portalocker

    lock = portalocker.Lock(
        folder / START,
        mode="ab",
        timeout=START_SECONDS,
        check_interval=0.01,
        flags=portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING,
    )
    try:
        lock.acquire()
    except portalocker.AlreadyLocked as error:
        raise WorkspaceError(
            f"Another process has been starting or ending a run in {folder} for {START_SECONDS:.0f} seconds.",
            "Wait for it or end it, then try again.",
        ) from error
    except (portalocker.LockException, OSError) as error:
        raise _no_locks(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def is_starting(folder: Path) -> bool:
    """Tell whether somebody is starting or ending the run right now."""
    return _is_held(folder / START)


def is_owned(folder: Path) -> bool:
    """Tell whether the run's supervisor lives."""
    return _is_held(folder / OWNER)


def _is_held(path: Path) -> bool:
    """Tell whether a process holds the lock; askers share it, so they never take each other for the owner."""
    import portalocker

    try:
        file = path.open("rb")
    except OSError:  # never locked
        return False
    with file:
        try:
            portalocker.lock(file, portalocker.LockFlags.SHARED | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.AlreadyLocked:
            return True
        except portalocker.LockException as error:
            raise _no_locks(path.parent, error) from error
        portalocker.unlock(file)
        return False


def _no_locks(folder: Path, error: Exception) -> WorkspaceError:
    return WorkspaceError(
        f"The file system of {folder} refuses locks ({error}), without which two trainings could write into one run.",
        "Set the environment variable MB_WORKSPACE to a folder on a local disk.",
    )
