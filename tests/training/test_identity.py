from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mb_jupyter.training import identity
from mb_jupyter.training.identity import Stamp, is_settled
from mb_jupyter.training.manifest import Picture, scan
from tests.picture_files import encoded, photo, put

HOUR = 3600 * 10**9

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or identity._file_system(os.path.dirname(__file__)) not in identity.KEEPS_CTIME,  # noqa: PTH120
    reason="where a file system says nothing of changes, everything is read again",
)


class _Opened:
    """The images opened while it is watched; an audit hook cannot be taken back, so there is one."""

    names: list[str] | None = None

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.names is not None and event == "open" and str(arguments[0]).endswith((".jpg", ".bmp")):
            cls.names.append(Path(str(arguments[0])).name)


sys.addaudithook(_Opened.hook)


@contextlib.contextmanager
def opened() -> Iterator[list[str]]:
    names: list[str] = []
    _Opened.names = names
    try:
        yield names
    finally:
        _Opened.names = None


def known(root: Path, **options: Any) -> dict[str, Picture]:
    return {picture.path: picture for picture in scan(root, **options).pictures}


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour pass between writing the files of a test and looking at them."""
    real = time.time_ns
    monkeypatch.setattr(identity, "time_ns", lambda: real() + HOUR)


def replace_quietly(path: Path, data: bytes, how: str) -> None:
    """Give a file another content, of the same size and the same time of change."""
    before = path.stat()
    assert len(data) == before.st_size
    if how == "in place":
        path.write_bytes(data)
    else:
        aside = path.with_name("aside")
        aside.write_bytes(data)
        shutil.move(aside, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("how", ["in place", "renamed over"])
@pytest.mark.parametrize("age", ["just written", "settled"])
def test_a_change_that_keeps_size_and_time_is_noticed(
    tmp_path: Path, how: str, age: str, request: pytest.FixtureRequest
) -> None:
    for label in "ab":
        for number in range(3):
            put(tmp_path / f"{label}/{number}.bmp", encoded(photo(number + 10 * (label == "b")), "BMP"))
    if age == "settled":
        request.getfixturevalue("later")
    before = known(tmp_path)
    data = encoded(photo(77), "BMP")
    replace_quietly(tmp_path / "a/0.bmp", data, how)
    after = known(tmp_path, known=before)
    assert after["a/0.bmp"].sha256 == hashlib.sha256(data).hexdigest() != before["a/0.bmp"].sha256
    assert after["a/1.bmp"].sha256 == before["a/1.bmp"].sha256


@on_linux
@pytest.mark.usefixtures("later")
def test_what_is_settled_is_not_opened_again(flowers: Path) -> None:
    before = known(flowers)
    assert all(picture.settled and picture.inode and picture.ctime_ns for picture in before.values())
    with opened() as names:
        assert known(flowers, known=before) == before
    assert names == []
    os.utime(flowers / "rose/000.jpg")  # the same content at another time
    with opened() as names:
        after = known(flowers, known=before)
    assert names == ["000.jpg"]
    assert after["rose/000.jpg"].group == before["rose/000.jpg"].group
    assert after["rose/000.jpg"].mtime_ns != before["rose/000.jpg"].mtime_ns
    with opened() as names:
        known(flowers, known=before, recheck=True)
    assert len(names) == len(before)


def test_what_changed_a_moment_ago_is_read_again(flowers: Path) -> None:
    before = known(flowers)
    assert not any(picture.settled for picture in before.values())
    with opened() as names:
        known(flowers, known=before)
    assert len(names) == len(before)


def test_when_nothing_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "a.jpg", photo(1))
    monkeypatch.setattr(identity, "_file_system", lambda _: "ext4")
    now = file.stat().st_ctime_ns + HOUR
    monkeypatch.setattr(identity, "_devices", dict)  # asked anew each time
    stamp = Stamp.of(file.stat())
    settled = sys.platform != "win32"
    assert is_settled(stamp, file, now) == settled
    assert not is_settled(stamp._replace(inode=0), file, now), "a file system without inodes"
    assert not is_settled(stamp._replace(ctime_ns=0), file, now)
    assert not is_settled(stamp, file, stamp.ctime_ns + identity.TICK_NS // 2), "within a tick of the clock"
    assert not is_settled(stamp._replace(mtime_ns=now + HOUR), file, now), "a time in the future"
    for kind in ("nfs4", "cifs", "fuse.sshfs", "9p", "vfat", ""):
        monkeypatch.setattr(identity, "_file_system", lambda _, kind=kind: kind)
        assert not is_settled(stamp, file, now), kind
