"""Whether a file is still the one that was read, by what its file system says, and when not to believe that.

Size and time of change can be the same for another content: archives, ``rsync -t`` and reproducible builds set
the time. The time of the last change of the entry (ctime) and the inode cannot be set so easily. Where a file
system does not keep them, or where a change could follow within the same tick of its clock, nothing is believed
and the content is hashed.
"""

from __future__ import annotations

import functools
import os
import sys
from time import time_ns
from typing import NamedTuple

TICK_NS = 2 * 10**9  # the coarsest clock of a file system (FAT) counts in steps of two seconds
# file systems of this machine that renew ctime with every change, whatever a program sets mtime to
KEEPS_CTIME = frozenset(
    (
        "apfs", "aufs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "nilfs2", "ntfs3", "overlay",
        "ramfs", "reiserfs", "tmpfs", "ufs", "xfs", "zfs",
    )
)  # fmt: skip


class Stamp(NamedTuple):
    """What a file system says about a file; times in nanoseconds."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int = 0

    @classmethod
    def of(cls, facts: os.stat_result) -> Stamp:
        """Return the stamp of a file."""
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What changes with the content; the number of the device changes when it is mounted again."""
        return self[:4]


def is_settled(stamp: Stamp, path: str | os.PathLike[str], now_ns: int | None = None) -> bool:
    """Return whether the same stamp will mean the same content, for a file that is read now.

    False when the file changed within the last tick, has a time in the future, has no inode, or lies where
    ctime says nothing: on Windows (it is the time of creation there), on network and on unknown file systems.
    """
    now = time_ns() if now_ns is None else now_ns
    return (
        stamp.inode != 0
        and stamp.ctime_ns != 0
        and max(stamp.mtime_ns, stamp.ctime_ns) + TICK_NS < now
        and _keeps_ctime(stamp.device, os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120
    )


@functools.cache
def _devices() -> dict[int, bool]:
    return {}


def _keeps_ctime(device: int, folder: str) -> bool:
    """Return whether the file system of a device, on which ``folder`` lies, keeps ctime; asked once for each."""
    known = _devices()
    if device not in known:
        known[device] = sys.platform != "win32" and _file_system(folder) in KEEPS_CTIME
    return known[device]


def _file_system(folder: str) -> str:
    """Return the type of the file system that holds a folder, such as ``ext4``; empty when nobody knows."""
    import psutil

    folder = os.path.realpath(folder)
    try:
        mounts = [(mount.mountpoint, mount.fstype) for mount in psutil.disk_partitions(all=True)]
    except (OSError, RuntimeError, psutil.Error):
        return ""
    around = [
        (len(point), place)
        for place, (point, _) in enumerate(mounts)
        if f"{folder}{os.sep}".startswith(point.rstrip(os.sep) + os.sep)
    ]
    # of two that are mounted on the same folder, the later one hides the other
    return mounts[max(around)[1]][1].casefold() if around else ""
