"""Up with a folder of pictures: small files travel together, and nothing that is there already travels again.

::

    mb_jupyter/data/packs/<hash>              some MB of files, one after the other, or one large file
    mb_jupyter/data/manifests/<hash>.json.gz  which file is where: path, size, hash, pack, offset

Names are hashes of the contents, so an upload that was cut off goes on, an unchanged folder costs two requests and
a changed file costs that file. ``mb_jupyter.backends.azure.node`` puts the folder together again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mb_jupyter.errors import AzureError, DataError
from mb_jupyter.training import index
from mb_jupyter.training.identity import Stamp, is_settled

from .sent import Entry, Found, Memory
from .storage import Blob, Store

ROOT = "mb_jupyter/data/"
PACKS, MANIFESTS = f"{ROOT}packs/", f"{ROOT}manifests/"
PACK_BYTES = 8 * 2**20  # what one request carries; a larger file travels alone, in blocks
PACK_FILES = 4_000
WORKERS = 6  # of them one packs while the others send; memory is at most a pack for each
RECENT_MANIFESTS = 5  # that are read where nothing is remembered here
LAST_WORD = 2.0  # seconds that requests under way have to end when the others are given up
TICK = 0.2  # seconds between two looks at whether somebody wants to stop


@dataclass(frozen=True)
class Progress:
    """How far an upload is. ``sent`` bytes went over the network; the rest of ``done`` was there already."""

    done: int
    total: int
    files: int
    sent: int
    seconds: float

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the end at this pace, None while nobody can know."""
        return None if self.seconds < 1 or not self.done else self.seconds / self.done * (self.total - self.done)


@dataclass(frozen=True)
class Uploaded:
    """A folder that is up. ``manifest`` is the name of its list."""

    manifest: str
    files: int
    bytes: int
    sent: int


class CanceledError(Exception):
    """Somebody asked to stop an upload."""


def upload_folder(
    store: Store,
    root: Path,
    files: Iterable[str] | Mapping[str, str] | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    canceled: Callable[[], bool] = lambda: False,
) -> Uploaded:
    """Bring the files below ``root`` (all of them, or those named) into the store.

    ``files`` may map each path to its hash; then a file with another content stops the upload with an error that
    names it, so that what trains is what was looked at.
    Raises :class:`CanceledError` soon after ``canceled()`` is true; what is up by then is used by the next try.
    """
    return _Upload(store, root, list(_list(root, files)), progress, canceled).run()


class _Upload:
    def __init__(
        self,
        store: Store,
        root: Path,
        found: list[Found],
        progress: Callable[[Progress], None] | None,
        canceled: Callable[[], bool],
    ) -> None:
        self.store, self.root, self.found = store, root, found
        self.progress, self.canceled = progress, canceled
        self.total = sum(each.size for each in found)
        self.done = self.sent = self.files = 0
        self.begun = time.monotonic()
        self.stopping = threading.Event()
        self.packs: dict[str, int] = {}
        self.by_content: dict[str, tuple[str, int]] = {}
        self.lock = threading.Lock()

    def run(self) -> Uploaded:
        self.packs = {blob.name: blob.size for blob in self.store.names(PACKS)}
        memory = Memory(self.root, self.store.address)
        entries: dict[str, Entry] = {}
        for entry in memory.entries():  # of files, too, that have another name now
            if self._is_there(entry):
                self.by_content[entry.sha256] = (entry.pack, entry.offset)
        for each in self.found:
            recalled = memory.recall(each)
            if recalled is not None and self._is_there(recalled):
                entries[each.path] = recalled
                self.done += each.size
                self.files += 1
        rest = [each for each in self.found if each.path not in entries]
        if rest and not self.by_content and self.packs:
            self._learn(self.store.names(MANIFESTS))
        self._tell()
        facts = {each.path: each for each in rest}
        with memory:
            for group in self._send(rest):
                for entry in group:
                    entries[entry.path] = entry
                    memory.remember(entry, facts[entry.path])
                self._tell()
        whole = [entries[each.path] for each in self.found]
        manifest = _name(whole)
        if self.store.find(manifest) is None:
            self.store.put(manifest, _written(whole))
        return Uploaded(manifest, len(whole), self.total, self.sent)

    def _is_there(self, entry: Entry) -> bool:
        return entry.size == 0 or self.packs.get(entry.pack, -1) >= entry.offset + entry.size

    def _learn(self, manifests: Iterator[Blob]) -> None:
        """Take from the latest manifests where contents are: somebody else, or another machine, has sent them."""
        latest = sorted(manifests, key=lambda blob: blob.modified, reverse=True)[:RECENT_MANIFESTS]
        for blob in latest:
            for entry in read_manifest(self.store.get(blob.name) or b""):
                if self._is_there(entry):
                    self.by_content.setdefault(entry.sha256, (entry.pack, entry.offset))

    def _send(self, files: Sequence[Found]) -> Iterator[list[Entry]]:
        """Yield the entries of each group of files as it is up; a few groups are on their way at a time."""
        groups = iter(_groups(files))
        going: set[Future[list[Entry]]] = set()
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="mb-upload")
        try:
            while True:
                while len(going) < WORKERS and (group := next(groups, None)) is not None:
                    going.add(pool.submit(self._group, group))
                if not going:
                    return
                ended, going = wait(going, TICK, FIRST_COMPLETED)
                if self.canceled():
                    raise CanceledError
                if not ended:
                    self._tell()
                for future in ended:
                    yield future.result()
        finally:
            self.stopping.set()
            wait(going, LAST_WORD)
            pool.shutdown(wait=False, cancel_futures=True)  # a request that hangs holds nobody up

    def _group(self, group: Sequence[Found]) -> list[Entry]:
        """Send the files of a group that are not there yet, as one pack."""
        if len(group) == 1 and group[0].size > PACK_BYTES:
            return [self._large(group[0])]
        entries: list[Entry] = []
        fresh, digest, offset = io.BytesIO(), hashlib.sha256(), 0
        inside: dict[str, int] = {}
        for each in group:
            if self.stopping.is_set():
                raise CanceledError
            content = self._read(each)
            sha256 = _expected(self.root, each, hashlib.sha256(content).hexdigest())
            known = self.by_content.get(sha256)
            if known is not None or not content:
                entries.append(Entry(each.path, len(content), sha256, *(known or ("", 0))))
                continue
            if sha256 not in inside:
                inside[sha256] = offset
                fresh.write(content)
                digest.update(sha256.encode())
                offset += len(content)
            entries.append(Entry(each.path, len(content), sha256, "", inside[sha256]))
        if offset:
            pack = f"{PACKS}{digest.hexdigest()}"
            if self.packs.get(pack) != offset:
                self._put(pack, fresh.getvalue())  # no copy
            entries = [Entry(e.path, e.size, e.sha256, pack, e.offset) if e.size and not e.pack else e for e in entries]
        self._count(group)
        return entries

    def _large(self, each: Found) -> Entry:
        digest = hashlib.sha256()
        try:
            with (self.root / each.path).open("rb") as file:
                while piece := file.read(2**20):
                    digest.update(piece)
                    if self.stopping.is_set():
                        raise CanceledError
                size, sha256 = file.tell(), _expected(self.root, each, digest.hexdigest())
                known = self.by_content.get(sha256)
                pack = known[0] if known else f"{PACKS}{sha256}"
                if known is None and self.packs.get(pack) != size:
                    self.store.put(pack, _Stoppable(file, self.stopping), size)  # type: ignore[arg-type]
                    with self.lock:
                        self.sent += size
        except OSError as error:
            raise _unreadable(each.path, error) from error
        self._count([each])
        return Entry(each.path, size, sha256, pack, known[1] if known else 0)

    def _put(self, pack: str, content: bytes) -> None:
        self.store.put(pack, content)
        with self.lock:
            self.sent += len(content)

    def _read(self, each: Found) -> bytes:
        try:
            return (self.root / each.path).read_bytes()
        except OSError as error:
            raise _unreadable(each.path, error) from error

    def _count(self, group: Sequence[Found]) -> None:
        with self.lock:
            self.done += sum(each.size for each in group)
            self.files += len(group)

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(Progress(self.done, self.total, self.files, self.sent, time.monotonic() - self.begun))


class _Stoppable:
    """A file whose reading ends with an error when somebody wants to stop."""

    def __init__(self, file: BinaryIO, stopping: threading.Event) -> None:
        self._file, self._stopping = file, stopping
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if self._stopping.is_set():
            raise CanceledError
        return self._file.read(size)


def read_manifest(content: bytes) -> list[Entry]:
    """Return the entries of a manifest; of a damaged one, none."""
    try:
        return [Entry(*row) for row in json.loads(gzip.decompress(content))["files"]]
    except (OSError, EOFError, ValueError, LookupError, TypeError):
        return []


def _written(entries: Sequence[Entry]) -> bytes:
    rows = [[e.path, e.size, e.sha256, e.pack, e.offset] for e in entries]
    return gzip.compress(json.dumps({"version": 1, "files": rows}).encode(), 6, mtime=0)


def _name(entries: Sequence[Entry]) -> str:
    lines = "".join(f"{e.path}\0{e.size}\0{e.sha256}\n" for e in entries)
    return f"{MANIFESTS}{hashlib.sha256(lines.encode('utf-8', 'surrogateescape')).hexdigest()}.json.gz"


def _groups(files: Sequence[Found]) -> Iterator[list[Found]]:
    """Yield the files in groups of some MB; a file larger than that is a group of its own."""
    group: list[Found] = []
    size = 0
    for each in files:
        if each.size > PACK_BYTES:
            yield [each]
            continue
        if group and (size + each.size > PACK_BYTES or len(group) == PACK_FILES):
            yield group
            group, size = [], 0
        group.append(each)
        size += each.size
    if group:
        yield group


def _list(root: Path, files: Iterable[str] | Mapping[str, str] | None) -> Iterator[Found]:
    """Yield the files, sorted by path; the paths are data, and none leads out of the folder."""
    if files is None:
        names = sorted(
            (Path(folder) / name).relative_to(root).as_posix() for folder, _, inside in os.walk(root) for name in inside
        )
    else:
        names = sorted(set(files))
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "" in parts:
            raise DataError(
                f"{name} lies outside {root}, and only what is below that folder goes up.",
                "Put the CSV file above all of its pictures, or copy them into one folder.",
            )
        try:
            facts = (root / name).stat()
        except OSError as error:
            raise _unreadable(name, error) from error
        stamp = Stamp.of(facts)
        sha256 = files[name] if isinstance(files, Mapping) else ""
        yield Found(name, stamp, is_settled(stamp, root / name), sha256)


def _expected(root: Path, found: Found, sha256: str) -> str:
    """Return the hash of a file's content; another one than was expected is an error."""
    if found.sha256 not in ("", sha256):
        index.forget(root)
        raise DataError(
            f"The image {found.path} changed after the images were checked.",
            "Run the cell again: it checks the images again and sends those that changed.",
        )
    return sha256


def _unreadable(path: str, error: OSError) -> AzureError:
    return AzureError(
        f"{path} could not be read while it was sent: {error.strerror or error}.",
        "Run the cell again; what is up already is not sent twice.",
    )
